variable "name" {
  description = "Prefix of every name, so that several deployments can live in one account and on one Kafka."
  type        = string
  default     = "quoteflow"

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{1,19}$", var.name)) && !startswith(var.name, "gcp-")
    error_message = "name must have 2 to 20 lower-case letters, digits and hyphens, a letter first, and not begin with gcp-, which Google reserves."
  }
}

variable "aws_region" {
  description = "The AWS region of everything, including the secrets."
  type        = string
  default     = "us-east-1"

  validation {
    condition     = can(regex("^[a-z]{2}(-[a-z]+)+-[0-9]$", var.aws_region))
    error_message = "aws_region must be a region's name, as in us-east-1."
  }
}

variable "tags" {
  description = "Tags of every resource, in addition to `project`."
  type        = map(string)
  default     = {}
}

# What is fetched

variable "finnhub_api_key_secret_arn" {
  description = "The secret whose value is Finnhub's API key. Terraform never reads the value: it is in no plan and no state."
  type        = string

  validation {
    condition     = can(regex("^arn:[a-z-]+:secretsmanager:[a-z0-9-]+:[0-9]+:secret:.+", var.finnhub_api_key_secret_arn))
    error_message = "finnhub_api_key_secret_arn must be the ARN of a secret in Secrets Manager, not the key itself."
  }
}

variable "symbols" {
  description = "The symbols to poll, as Finnhub writes them: AAPL, BRK.B, BINANCE:BTCUSDT."
  type        = list(string)
  default     = ["AAPL", "MSFT", "TSLA", "GOOGL", "AMZN"]

  validation {
    condition     = length(var.symbols) > 0 && alltrue([for symbol in var.symbols : can(regex("^[A-Z0-9.:_-]{1,32}$", symbol))])
    error_message = "symbols must name at least one symbol, in capital letters."
  }

  validation {
    condition     = length(distinct(var.symbols)) == length(var.symbols)
    error_message = "symbols must not contain one twice."
  }
}

variable "poll_interval_seconds" {
  description = "Seconds from one poll to the next."
  type        = number
  default     = 6

  validation {
    condition     = var.poll_interval_seconds >= 0.05 && var.poll_interval_seconds <= 60
    error_message = "poll_interval_seconds must be from 0.05 to 60."
  }
}

variable "rate_limit_per_minute" {
  description = "Finnhub's limit of requests a minute for the key: at least one for each poll, and one more."
  type        = number
  default     = 60

  validation {
    condition     = var.rate_limit_per_minute >= 60 / var.poll_interval_seconds + 1
    error_message = "rate_limit_per_minute must allow a request a poll and one more: at least 60 / poll_interval_seconds + 1."
  }
}

# Kafka

variable "stream" {
  description = <<-EOT
    Which Kafka: type is server (one small server with Apache Kafka: the cheap way), msk_provisioned (two small brokers),
    msk_serverless (expensive) or self_managed (a cluster that exists, anywhere). infra/README.md has what each costs.
    server, msk_provisioned and self_managed have their own settings.
  EOT
  type = object({
    type = string
    server = optional(object({
      instance_type = optional(string, "t4g.small")
      volume_gib    = optional(number, 10)
      kafka_version = optional(string, "4.1.0")
    }), {})
    msk_provisioned = optional(object({
      kafka_version = optional(string)
      instance_type = optional(string)
      volume_gib    = optional(number)
    }), {})
    self_managed = optional(object({
      bootstrap_servers  = list(string)
      security           = optional(string, "sasl_scram")
      sasl_secret_arn    = optional(string)
      ca_secret_arn      = optional(string)
      subnet_ids         = optional(list(string), [])
      security_group_ids = optional(list(string), [])
    }))
  })

  validation {
    condition     = contains(["server", "msk_serverless", "msk_provisioned", "self_managed"], var.stream.type)
    error_message = "stream.type must be server, msk_serverless, msk_provisioned or self_managed."
  }

  validation {
    condition     = (var.stream.type == "self_managed") == (var.stream.self_managed != null)
    error_message = "stream.self_managed belongs to type = \"self_managed\" and to no other."
  }
}

variable "object_layout" {
  description = "Which objects quotes become: per_quote (each one of its own) or batch (those of a partition that one event brings, compressed; for hundreds of symbols and more). Both are read whatever is written."
  type        = string
  default     = "per_quote"

  validation {
    condition     = contains(["per_quote", "batch"], var.object_layout)
    error_message = "object_layout must be per_quote or batch."
  }
}

variable "object_compression" {
  description = "How batches are compressed: gzip or zstd."
  type        = string
  default     = "gzip"

  validation {
    condition     = contains(["gzip", "zstd"], var.object_compression)
    error_message = "object_compression must be gzip or zstd."
  }
}

variable "topic" {
  description = "The topic of quotes; null: NAME-stock-quotes, so that deployments on one Kafka do not read each other's."
  type        = string
  default     = null

  validation {
    condition     = can(regex("^[A-Za-z0-9._-]{1,249}$", coalesce(var.topic, "-")))
    error_message = "topic must be a valid name for Kafka: up to 249 letters, digits, dots, hyphens and underscores."
  }
}

variable "topic_partitions" {
  description = "fetch-quotes creates the topic with this number of partitions if it is missing; null: it exists."
  type        = number
  default     = 3

  validation {
    condition     = coalesce(var.topic_partitions, 1) >= 1 && floor(coalesce(var.topic_partitions, 1)) == coalesce(var.topic_partitions, 1)
    error_message = "topic_partitions must be a whole number from 1, or null."
  }
}

variable "kafka_pollers" {
  description = "The event pollers that read the topic for archive-quotes, at least and at most (provisioned mode), and no batching window: an object follows its record within 100 ms instead of half a second. Billed by the hour; see infra/README.md. null: Lambda's own pollers, with a window of 500 ms, without a charge."
  type        = object({ minimum = number, maximum = number })
  default     = null

  validation {
    condition = var.kafka_pollers == null ? true : (
      var.kafka_pollers.minimum >= 1 && var.kafka_pollers.minimum <= 200
      && var.kafka_pollers.maximum >= var.kafka_pollers.minimum && var.kafka_pollers.maximum <= 2000
      && floor(var.kafka_pollers.minimum) == var.kafka_pollers.minimum && floor(var.kafka_pollers.maximum) == var.kafka_pollers.maximum
    )
    error_message = "kafka_pollers must be whole numbers: minimum from 1 to 200, maximum from minimum to 2000."
  }
}

variable "has_kafka_trigger" {
  description = "Whether archive-quotes has its Kafka trigger. Set to false for emulators only, which have none."
  type        = bool
  default     = true
}

variable "vpc_cidr" {
  description = "The address range of the VPC of MSK or of the server; unused with self_managed."
  type        = string
  default     = "10.42.0.0/20"
}

variable "availability_zones" {
  description = "The availability zones of MSK, two or three; the server is in the first one. Empty: the region's a and b. They are not read from AWS, so that a new zone does not change a plan."
  type        = list(string)
  default     = []
}

# BigQuery

variable "google" {
  description = <<-EOT
    What infra/gcp made: the deployment's name and AWS account there, BigQuery's names, and for federation the audience and
    each function's service account. null: `make deploy` keeps it in the parameter /NAME/google of Systems Manager, where
    every operator's plan finds it. There is no secret in it.
  EOT
  type = object({
    name           = string
    aws_account_id = string
    bigquery = object({
      project  = string
      dataset  = optional(string, "stock")
      location = optional(string, "US")
    })
    audience         = optional(string)
    service_accounts = optional(map(string), {})
  })
  default = null

  validation {
    condition     = var.google == null || can(regex("^[a-z][a-z0-9-]{4,28}[a-z0-9]$", var.google.bigquery.project))
    error_message = "google.bigquery.project must be a Google Cloud project id."
  }

  validation {
    condition     = var.google == null || can(regex("^[A-Za-z0-9_]{1,1000}$", var.google.bigquery.dataset))
    error_message = "google.bigquery.dataset must have letters, digits and underscores only."
  }
}

variable "google_credentials_secret_arns" {
  description = "The fallback with keys: for each function the ARN of a secret whose value is a service account's key JSON."
  type        = map(string)
  default     = {}

  validation {
    condition     = alltrue([for arn in values(var.google_credentials_secret_arns) : can(regex("^arn:[a-z-]+:secretsmanager:[a-z0-9-]+:[0-9]+:secret:.+", arn))])
    error_message = "google_credentials_secret_arns has ARNs of secrets in Secrets Manager, not the keys themselves."
  }
}

# Functions

variable "package_dir" {
  description = "Where `make package` puts ARCHITECTURE/FUNCTION.zip; relative to this folder."
  type        = string
  default     = "../../target/package"
}

variable "architecture" {
  description = "x86_64 or arm64 (cheaper): the architecture of the packages and of the image of transform-quotes."
  type        = string
  default     = "x86_64"

  validation {
    condition     = contains(["x86_64", "arm64"], var.architecture)
    error_message = "architecture must be x86_64 or arm64."
  }
}

variable "are_schedules_enabled" {
  description = "Whether the schedules are enabled. false pauses fetching."
  type        = bool
  default     = true
}

variable "environment" {
  description = "Additional environment variables by a function's plain name, as in {\"load-quotes\" = {LOG_LEVEL = \"debug\"}}; null removes one."
  type        = map(map(string))
  default     = {}

  validation {
    condition     = alltrue([for function in keys(var.environment) : contains(keys(local.functions), function)])
    error_message = "environment is keyed by a function's plain name, as in load-quotes."
  }
}

variable "has_public_page" {
  description = "Whether the web page (serve-dashboard) is public on the internet."
  type        = bool
  default     = false
}

variable "page_requests_per_second" {
  description = "Requests to /api that are answered each second, for all readers together. An open page sends one every 6 s."
  type        = number
  default     = 5
}

# Storage

variable "bucket_suffix" {
  description = "The suffix of the buckets' names, which must be unique across AWS; null: the account's number."
  type        = string
  default     = null
}

variable "bronze_retention_days" {
  description = "Days after which archived quotes are deleted; null: never. reconcile-quotes and replays need them."
  type        = number
  default     = null

  validation {
    condition     = coalesce(var.bronze_retention_days, 30) >= 7
    error_message = "bronze_retention_days must be at least 7, because reconcile-quotes reads older objects."
  }
}

variable "are_buckets_destroyed_with_objects" {
  description = "Whether `terraform destroy` deletes the archived quotes, too. If not, it stops at a bucket with objects."
  type        = bool
  default     = false
}

# Watching

variable "log_retention_days" {
  description = "Days for which the functions' logs are kept: one of CloudWatch's periods."
  type        = number
  default     = 30

  validation {
    condition     = contains([1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288, 3653], var.log_retention_days)
    error_message = "log_retention_days must be one of CloudWatch's periods: 1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, …"
  }
}

variable "alarm_email" {
  description = "E-mail address that receives the alarms; null: none, alarms go to the SNS topic only."
  type        = string
  default     = null

  validation {
    condition     = var.alarm_email == null || can(regex("^[^@ ]+@[^@ ]+$", var.alarm_email))
    error_message = "alarm_email must be an e-mail address."
  }
}

variable "freshness_minutes" {
  description = "How many minutes may pass without a row in bronze while the US market is open, before the alarm; null: as in `infra/metrics.json`."
  type        = number
  default     = null
}
