variable "name" {
  description = "Prefix of every name, so that several can live in one account."
  type        = string
  default     = "quoteflow"

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{1,19}$", var.name))
    error_message = "name must have 2 to 20 lower-case letters, digits and hyphens, a letter first."
  }
}

variable "aws_region" {
  description = "The AWS region."
  type        = string
  default     = "us-east-1"

  validation {
    condition     = can(regex("^[a-z]{2}(-[a-z]+)+-[0-9]$", var.aws_region))
    error_message = "aws_region must be a region's name, as in us-east-1."
  }
}

variable "tags" {
  description = "Tags of every resource, beside project."
  type        = map(string)
  default     = {}
}

# What is fetched

variable "finnhub_api_key_secret_arn" {
  description = "The secret whose value is Finnhub's API key. Terraform never sees the value: no plan and no state holds it."
  type        = string

  validation {
    condition     = can(regex("^arn:[a-z-]+:secretsmanager:[a-z0-9-]+:[0-9]+:secret:.+", var.finnhub_api_key_secret_arn))
    error_message = "finnhub_api_key_secret_arn must be the ARN of a secret in Secrets Manager, not the key itself."
  }
}

variable "symbols" {
  description = "What is polled, by Finnhub's symbols: AAPL, BRK.B, BINANCE:BTCUSDT."
  type        = list(string)
  default     = ["AAPL", "MSFT", "TSLA", "GOOGL", "AMZN"]

  validation {
    condition     = length(var.symbols) > 0 && alltrue([for symbol in var.symbols : can(regex("^[A-Z0-9.:_-]{1,32}$", symbol))])
    error_message = "symbols must name at least one symbol, in capital letters."
  }

  validation {
    condition     = length(distinct(var.symbols)) == length(var.symbols)
    error_message = "symbols must not name one twice."
  }
}

variable "poll_interval_seconds" {
  description = "From one poll to the next."
  type        = number
  default     = 6

  validation {
    condition     = var.poll_interval_seconds >= 0.05 && var.poll_interval_seconds <= 60
    error_message = "poll_interval_seconds must be from 0.05 to 60."
  }
}

variable "rate_limit_per_minute" {
  description = "Finnhub's limit for the key: at least one request a poll and one more."
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
    Which Kafka: type is msk_serverless (dear), msk_provisioned (two small brokers) or self_managed (a cluster that exists,
    anywhere: the cheap way; see README.md for what each costs). msk_provisioned and self_managed hold their own settings.
  EOT
  type = object({
    type = string
    msk_provisioned = optional(object({
      kafka_version = optional(string)
      instance_type = optional(string)
      volume_gib    = optional(number)
    }), {})
    self_managed = optional(object({
      bootstrap_servers  = list(string)
      security           = optional(string)
      sasl_secret_arn    = optional(string)
      subnet_ids         = optional(list(string))
      security_group_ids = optional(list(string))
    }))
  })

  validation {
    condition     = contains(["msk_serverless", "msk_provisioned", "self_managed"], var.stream.type)
    error_message = "stream.type must be msk_serverless, msk_provisioned or self_managed."
  }
}

variable "topic_partitions" {
  description = "fetch-quotes makes the topic with so many partitions where it is missing; null: it is there."
  type        = number
  default     = 3

  validation {
    condition     = coalesce(var.topic_partitions, 1) >= 1 && floor(coalesce(var.topic_partitions, 1)) == coalesce(var.topic_partitions, 1)
    error_message = "topic_partitions must be a whole number from 1, or null."
  }
}

variable "has_kafka_trigger" {
  description = "Whether archive-quotes is triggered by Kafka. Off only on emulators: none has it."
  type        = bool
  default     = true
}

variable "vpc_cidr" {
  description = "The address range of the VPC that MSK needs; unused with self_managed."
  type        = string
  default     = "10.42.0.0/20"
}

variable "availability_zones" {
  description = "The VPC's zones, two or three; empty: the region's a and b."
  type        = list(string)
  default     = []
}

# BigQuery

variable "bigquery" {
  description = "The Google Cloud project, the dataset of the raw tables (the layers' have it as prefix), and its location. infra/gcp writes it."
  type = object({
    project  = string
    dataset  = optional(string, "stock")
    location = optional(string, "US")
  })

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{4,28}[a-z0-9]$", var.bigquery.project))
    error_message = "bigquery.project must be a Google Cloud project id."
  }

  validation {
    condition     = can(regex("^[A-Za-z0-9_]{1,1000}$", var.bigquery.dataset))
    error_message = "bigquery.dataset must have letters, digits and underscores only."
  }
}

variable "google_credentials" {
  description = "For each function that asks BigQuery, by its plain name: the external_account JSON. infra/gcp writes it. There is no secret in it."
  type        = map(string)
  default     = {}

  validation {
    condition     = alltrue([for json in values(var.google_credentials) : try(jsondecode(json).type, "") == "external_account"])
    error_message = "google_credentials holds external_account JSON only: a service account's key belongs in Secrets Manager (google_credentials_secret_arns)."
  }
}

variable "google_credentials_secret_arns" {
  description = "The fallback with keys: for each function the ARN of a secret that holds a service account's key JSON."
  type        = map(string)
  default     = {}

  validation {
    condition     = alltrue([for arn in values(var.google_credentials_secret_arns) : can(regex("^arn:[a-z-]+:secretsmanager:[a-z0-9-]+:[0-9]+:secret:.+", arn))])
    error_message = "google_credentials_secret_arns holds ARNs of secrets in Secrets Manager, not the keys themselves."
  }

  validation {
    condition = alltrue([
      for function in concat(["load-quotes", "reconcile-quotes", "transform-quotes"], var.dashboard == null ? [] : ["serve-dashboard"]) :
      contains(keys(var.google_credentials), function) != contains(keys(var.google_credentials_secret_arns), function)
      || try(var.environment[function].BIGQUERY_ENDPOINT, null) != null
    ])
    error_message = "Each function that asks BigQuery needs exactly one of google_credentials and google_credentials_secret_arns."
  }
}

variable "transform_image_uri" {
  description = "The image of transform-quotes with its digest; null until there is one in the repository that this makes."
  type        = string
  default     = null

  validation {
    condition     = var.transform_image_uri == null || can(regex("^[^@]+@sha256:[0-9a-f]{64}$", var.transform_image_uri))
    error_message = "transform_image_uri must name the image by its digest: REPOSITORY@sha256:…; a tag would hide a change."
  }
}

variable "transform_window_seconds" {
  description = "How long announced loads are gathered for one run of dbt. Each run is billed by BigQuery; longer is cheaper and less fresh."
  type        = number
  default     = 5

  validation {
    condition     = var.transform_window_seconds >= 1 && var.transform_window_seconds <= 300
    error_message = "transform_window_seconds must be from 1 to 300."
  }
}

# Functions

variable "package_dir" {
  description = "Where `make package` puts ARCHITECTURE/FUNCTION.zip; relative to this folder."
  type        = string
  default     = "../../target/package"
}

variable "architecture" {
  description = "x86_64 or arm64 (cheaper), as packaged; the image of transform-quotes has to be the same."
  type        = string
  default     = "x86_64"

  validation {
    condition     = contains(["x86_64", "arm64"], var.architecture)
    error_message = "architecture must be x86_64 or arm64."
  }
}

variable "are_schedules_enabled" {
  description = "Whether the schedules fire. false pauses fetching."
  type        = bool
  default     = true
}

variable "environment" {
  description = "More environment variables by a function's plain name, as in {\"load-quotes\" = {LOG_LEVEL = \"debug\"}}; a null takes one away."
  type        = map(map(string))
  default     = {}

  validation {
    condition = alltrue([for function in keys(var.environment) : contains(
      ["fetch-quotes", "archive-quotes", "load-quotes", "reconcile-quotes", "transform-quotes", "serve-dashboard"], function
    )])
    error_message = "environment is keyed by a function's plain name, as in load-quotes."
  }
}

variable "dashboard" {
  description = "The function behind the web page and who may open its URL: AWS_IAM (signed requests) or NONE (everyone). null: no page."
  type = object({
    authorization = optional(string, "AWS_IAM")
  })
  default = null

  validation {
    condition     = var.dashboard == null || contains(["AWS_IAM", "NONE"], try(var.dashboard.authorization, ""))
    error_message = "dashboard.authorization must be AWS_IAM or NONE."
  }
}

# Storage

variable "bucket_suffix" {
  description = "The end of the buckets' names, which are unique in the world; null: the account's number."
  type        = string
  default     = null
}

variable "bronze_retention_days" {
  description = "After how many days archived quotes are deleted; null: never. Reconciling and replaying need them."
  type        = number
  default     = null

  validation {
    condition     = coalesce(var.bronze_retention_days, 30) >= 7
    error_message = "bronze_retention_days must be at least 7: reconcile-quotes looks back."
  }
}

variable "are_buckets_destroyed_with_objects" {
  description = "Whether `terraform destroy` deletes the archived quotes as well. Otherwise it stops at a bucket that has any."
  type        = bool
  default     = false
}

# Watching

variable "log_retention_days" {
  description = "How long the functions' logs are kept, one of the periods that CloudWatch has."
  type        = number
  default     = 30

  validation {
    condition     = contains([1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288, 3653], var.log_retention_days)
    error_message = "log_retention_days must be a period that CloudWatch has: 1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, …"
  }
}

variable "alarm_email" {
  description = "Who is told of alarms; null: only the topic is made."
  type        = string
  default     = null

  validation {
    condition     = var.alarm_email == null || can(regex("^[^@ ]+@[^@ ]+$", var.alarm_email))
    error_message = "alarm_email must be an address."
  }
}

variable "freshness_minutes" {
  description = "How long no row may come to bronze while the US market is open, before the alarm."
  type        = number
  default     = 15
}
