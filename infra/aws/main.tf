# The flow from left to right: schedule → Kafka → S3 → SQS → BigQuery → dbt. `local` makes the same on one machine; a
# test compares the two (tests/infra/test_drift.py).

data "aws_caller_identity" "current" {}

locals {
  # Names without the deployment's, and limits. `quoteflow` reads the same file.
  flow      = jsondecode(file("${path.module}/../flow.json"))
  functions = { for function in local.flow.functions : function.name => function }

  topic          = coalesce(var.topic, "${var.name}-${local.flow.kafka.topic}")
  consumer_group = "${var.name}-${local.flow.kafka.group}"

  account_id    = data.aws_caller_identity.current.account_id
  bucket_suffix = coalesce(var.bucket_suffix, local.account_id)
  packages      = "${var.package_dir}/${var.architecture}"

  has_network = startswith(var.stream.type, "msk_")

  # Lambda asks for six timeouts.
  visibility_timeouts = 6

  # Symbols with an exchange trade at night and at weekends, too.
  trades_always = anytrue([for symbol in var.symbols : strcontains(symbol, ":")])
}

# Kafka

module "network" {
  source = "../modules/network"
  count  = local.has_network ? 1 : 0

  name               = var.name
  cidr               = var.vpc_cidr
  availability_zones = local.zones
}

module "server" {
  source = "../modules/server"
  count  = var.stream.type == "server" ? 1 : 0

  name              = var.name
  region            = var.aws_region
  cidr              = var.vpc_cidr
  availability_zone = local.zones[0]
  instance_type     = var.stream.server.instance_type
  volume_gib        = var.stream.server.volume_gib
  kafka_version     = var.stream.server.kafka_version
}

module "stream" {
  source = "../modules/stream"

  name            = var.name
  type            = local.has_network ? var.stream.type : "self_managed"
  topic           = local.topic
  consumer_group  = local.consumer_group
  vpc_id          = one(module.network[*].vpc_id)
  subnet_ids      = flatten(module.network[*].private_subnet_ids)
  msk_provisioned = { for setting, value in var.stream.msk_provisioned : setting => value if value != null }
  self_managed = one(concat(
    [for server in module.server : {
      bootstrap_servers  = server.bootstrap_servers
      security           = "plaintext"
      sasl_secret_arn    = null
      ca_secret_arn      = null
      subnet_ids         = server.subnet_ids
      security_group_ids = server.security_group_ids
    }],
    [for settings in var.stream.self_managed[*] : settings],
  ))
}

# Where quotes go

module "bronze_bucket" {
  source = "../modules/bucket"

  name                      = "${var.name}-${local.flow.buckets.bronze}-${local.bucket_suffix}"
  retention_days            = var.bronze_retention_days
  is_destroyed_with_objects = var.are_buckets_destroyed_with_objects
}

module "quarantine_bucket" {
  source = "../modules/bucket"

  name                      = "${var.name}-${local.flow.buckets.quarantine}-${local.bucket_suffix}"
  is_destroyed_with_objects = var.are_buckets_destroyed_with_objects
}

module "archived_queue" {
  source = "../modules/queue"

  name               = "${var.name}-${local.flow.queue.name}"
  visibility_seconds = local.visibility_timeouts * local.functions["load-quotes"].timeout_seconds
  # An hour: a message must survive an outage of BigQuery.
  max_receives       = 20
  sending_bucket_arn = module.bronze_bucket.arn
  account_id         = local.account_id
}

# Events of schedules that failed, or that reached no function.
module "failed_queue" {
  source = "../modules/queue"

  name                  = "${var.name}-failed-events"
  has_dead_letter_queue = false
  account_id            = local.account_id
}

resource "aws_s3_bucket_notification" "archived" {
  bucket = module.bronze_bucket.name

  queue {
    id        = local.flow.queue.name
    queue_arn = module.archived_queue.arn
    events    = ["s3:ObjectCreated:*"]
  }
}

# Schedule → fetch-quotes → Kafka

module "fetch_quotes" {
  source = "../modules/function"

  name         = "${var.name}-fetch-quotes"
  description  = "Schedule: Finnhub's quotes to Kafka"
  zip          = "${local.packages}/fetch-quotes.zip"
  architecture = var.architecture
  memory_mb    = local.functions["fetch-quotes"].memory_mb
  # A minute's polls, what the Scheduler may be late, and the 5 s that the function keeps at its end.
  timeout_seconds = local.functions["fetch-quotes"].timeout_seconds
  # Two at once would break Finnhub's rate limit.
  reserved_concurrency = local.functions["fetch-quotes"].reserved_concurrency
  network              = module.stream.producer_network
  # An event that meets the last minute's invocation waits for its end. Newer ones may overtake it again and again; when its
  # minute is over it polls nothing, which is not a failure.
  asynchronous       = { failed_queue_arn = module.failed_queue.arn, max_age_seconds = 21600 }
  log_retention_days = var.log_retention_days

  environment = merge({
    FINNHUB_API_KEY_SECRET  = var.finnhub_api_key_secret_arn
    KAFKA_BOOTSTRAP_SERVERS = module.stream.bootstrap_servers
    KAFKA_SECURITY          = module.stream.security
    KAFKA_SASL_SECRET       = module.stream.sasl_secret_arn
    KAFKA_CA_SECRET         = module.stream.ca_secret_arn
    KAFKA_TOPIC             = local.topic
    KAFKA_TOPIC_PARTITIONS  = var.topic_partitions
    POLL_INTERVAL_SECONDS   = var.poll_interval_seconds
    RATE_LIMIT_PER_MINUTE   = var.rate_limit_per_minute
    SYMBOLS                 = join(",", var.symbols)
  }, lookup(var.environment, "fetch-quotes", {}))

  statements = concat(
    [{ actions = ["secretsmanager:GetSecretValue"], resources = [var.finnhub_api_key_secret_arn] }],
    module.stream.producer_statements,
  )
}

# A Kafka trigger that finds no topic gives up. This invocation polls nothing, but the function creates the topic when it
# starts.
resource "aws_lambda_invocation" "topic" {
  function_name = module.fetch_quotes.name
  input         = jsonencode({ polls = 0 })

  triggers = {
    bootstrap_servers = module.stream.bootstrap_servers
    topic             = local.topic
  }

  depends_on = [module.server]
}

# Kafka → archive-quotes → S3

module "archive_quotes" {
  source = "../modules/function"

  name               = "${var.name}-archive-quotes"
  description        = "Kafka: each record to an object"
  zip                = "${local.packages}/archive-quotes.zip"
  architecture       = var.architecture
  memory_mb          = local.functions["archive-quotes"].memory_mb
  timeout_seconds    = local.functions["archive-quotes"].timeout_seconds
  log_retention_days = var.log_retention_days

  environment = merge({
    BRONZE_BUCKET      = module.bronze_bucket.name
    QUARANTINE_BUCKET  = module.quarantine_bucket.name
    OBJECT_LAYOUT      = var.object_layout
    OBJECT_COMPRESSION = var.object_compression
  }, lookup(var.environment, "archive-quotes", {}))

  statements = concat(
    [
      # A key that is taken is read, to see whether it has the same bytes.
      { actions = ["s3:GetObject", "s3:PutObject"], resources = ["${module.bronze_bucket.arn}/*"] },
      { actions = ["s3:PutObject"], resources = ["${module.quarantine_bucket.arn}/*"] },
    ],
    module.stream.consumer_statements,
  )
}

resource "aws_lambda_event_source_mapping" "archive_quotes" {
  count = var.has_kafka_trigger ? 1 : 0

  function_name = module.archive_quotes.arn
  topics        = [local.topic]
  # An object holds what one event has; an event has 6 MB at most.
  batch_size = var.object_layout == "batch" ? 10000 : local.flow.kafka.batch_records
  # The batching window is 500 ms, AWS's default, or 0: see no_batching_window.

  # From the topic's beginning: what was published before the trigger was there is archived too.
  starting_position = "TRIM_HORIZON"

  event_source_arn = module.stream.trigger.cluster_arn

  dynamic "amazon_managed_kafka_event_source_config" {
    for_each = module.stream.trigger.cluster_arn == null ? [] : [local.consumer_group]

    content {
      consumer_group_id = amazon_managed_kafka_event_source_config.value
    }
  }

  dynamic "self_managed_event_source" {
    for_each = module.stream.trigger.endpoints[*]

    content {
      endpoints = { KAFKA_BOOTSTRAP_SERVERS = self_managed_event_source.value }
    }
  }

  dynamic "self_managed_kafka_event_source_config" {
    for_each = module.stream.trigger.endpoints == null ? [] : [local.consumer_group]

    content {
      consumer_group_id = self_managed_kafka_event_source_config.value
    }
  }

  dynamic "source_access_configuration" {
    for_each = module.stream.trigger.access

    content {
      type = source_access_configuration.value.type
      uri  = source_access_configuration.value.uri
    }
  }

  dynamic "provisioned_poller_config" {
    for_each = var.kafka_pollers[*]

    content {
      minimum_pollers = provisioned_poller_config.value.minimum
      maximum_pollers = provisioned_poller_config.value.maximum
    }
  }

  # No on-failure destination: with one Lambda gives up after 10 retries, and an outage would cost good quotes. The
  # function itself moves what is not a quote to quarantine, so a batch fails only while something is down.

  depends_on = [aws_lambda_invocation.topic]

  lifecycle {
    # A window that was changed cannot be set back to 500 ms. A new mapping goes on where its consumer group is.
    replace_triggered_by = [terraform_data.has_kafka_pollers]
  }
}

resource "terraform_data" "has_kafka_pollers" {
  triggers_replace = var.kafka_pollers != null
}

# Provider 5.100 does not send a window of 0 (it takes 0 as "not set"), so AWS's command line sets it.
resource "terraform_data" "no_batching_window" {
  count = var.kafka_pollers == null ? 0 : length(aws_lambda_event_source_mapping.archive_quotes)

  triggers_replace = aws_lambda_event_source_mapping.archive_quotes[0].uuid

  provisioner "local-exec" {
    command = "aws lambda update-event-source-mapping --region ${var.aws_region} --uuid ${aws_lambda_event_source_mapping.archive_quotes[0].uuid} --maximum-batching-window-in-seconds 0"
  }
}

# S3 → SQS → load-quotes → BigQuery

module "load_quotes" {
  source = "../modules/function"

  name            = "${var.name}-load-quotes"
  description     = "S3's events in SQS: archived quotes to bronze"
  zip             = "${local.packages}/load-quotes.zip"
  architecture    = var.architecture
  memory_mb       = local.functions["load-quotes"].memory_mb
  timeout_seconds = local.functions["load-quotes"].timeout_seconds

  reserved_concurrency = local.functions["load-quotes"].reserved_concurrency
  log_retention_days   = var.log_retention_days
  environment          = merge(local.warehouse["load-quotes"], lookup(var.environment, "load-quotes", {}))

  statements = concat(
    [
      { actions = ["s3:GetObject"], resources = ["${module.bronze_bucket.arn}/*"] },
      # Without it a deleted object is answered by 403 and not by 404.
      { actions = ["s3:ListBucket"], resources = [module.bronze_bucket.arn] },
      { actions = ["sqs:DeleteMessage", "sqs:GetQueueAttributes", "sqs:ReceiveMessage"], resources = [module.archived_queue.arn] },
    ],
    local.warehouse_statements["load-quotes"],
  )
}

resource "aws_lambda_event_source_mapping" "load_quotes" {
  function_name    = module.load_quotes.arn
  event_source_arn = module.archived_queue.arn
  # About as many as a few statements take.
  batch_size                         = var.object_layout == "batch" ? 100 : local.flow.queue.batch_messages
  maximum_batching_window_in_seconds = local.flow.queue.batch_window_seconds
  function_response_types            = ["ReportBatchItemFailures"]

  scaling_config {
    # The least that a mapping of SQS allows.
    maximum_concurrency = local.flow.queue.concurrency
  }

  lifecycle {
    precondition {
      condition     = local.flow.queue.concurrency <= module.load_quotes.reserved_concurrency
      error_message = "load-quotes' trigger may start more invocations than the function's reserved concurrency. Lambda would throttle it, and valid messages would become dead letters."
    }
  }
}

# Schedule → reconcile-quotes → SQS

module "reconcile_quotes" {
  source = "../modules/function"

  name                 = "${var.name}-reconcile-quotes"
  description          = "Schedule: objects that are missing in bronze to the queue"
  zip                  = "${local.packages}/reconcile-quotes.zip"
  architecture         = var.architecture
  memory_mb            = local.functions["reconcile-quotes"].memory_mb
  timeout_seconds      = local.functions["reconcile-quotes"].timeout_seconds
  reserved_concurrency = local.functions["reconcile-quotes"].reserved_concurrency
  # It finds the rest of a failed run.
  asynchronous       = { failed_queue_arn = module.failed_queue.arn, retries = 2 }
  log_retention_days = var.log_retention_days

  environment = merge(
    local.warehouse["reconcile-quotes"],
    {
      BRONZE_BUCKET      = module.bronze_bucket.name
      ARCHIVED_QUEUE_URL = module.archived_queue.url
    },
    lookup(var.environment, "reconcile-quotes", {}),
  )

  statements = concat(
    [
      { actions = ["s3:ListBucket"], resources = [module.bronze_bucket.arn] },
      # A batch that has fewer rows than quotes is read, to see whether its quotes were loaded from another.
      { actions = ["s3:GetObject"], resources = ["${module.bronze_bucket.arn}/*"] },
      { actions = ["sqs:SendMessage"], resources = [module.archived_queue.arn] },
    ],
    local.warehouse_statements["reconcile-quotes"],
  )
}

# Schedule → transform-quotes → gold

resource "aws_ecr_repository" "transform_quotes" {
  # checkov:skip=CKV_AWS_136:Encrypted with the key that AWS manages; the image contains no secret
  name                 = "${var.name}/transform-quotes"
  image_tag_mutability = "IMMUTABLE"
  # The images can be built again.
  force_delete = true

  image_scanning_configuration {
    scan_on_push = true
  }
}

resource "aws_ecr_lifecycle_policy" "transform_quotes" {
  repository = aws_ecr_repository.transform_quotes.name

  policy = jsonencode({
    rules = [{
      rulePriority = 1
      description  = "The last ten, to roll back to"
      selection    = { tagStatus = "any", countType = "imageCountMoreThan", countNumber = 10 }
      action       = { type = "expire" }
    }]
  })
}

module "transform_quotes" {
  source = "../modules/function"
  count  = local.transform_image_uri == null ? 0 : 1

  name         = "${var.name}-transform-quotes"
  description  = "Schedule: dbt settles what was loaded, and tests it"
  image_uri    = local.transform_image_uri
  architecture = var.architecture
  # One whole vCPU.
  memory_mb       = local.functions["transform-quotes"].memory_mb
  timeout_seconds = local.functions["transform-quotes"].timeout_seconds
  # Two runs at once would merge into the same tables.
  reserved_concurrency = local.functions["transform-quotes"].reserved_concurrency
  # A run is safe to repeat. One that meets another waits for its end.
  asynchronous       = { failed_queue_arn = module.failed_queue.arn, retries = 2, max_age_seconds = 900 }
  log_retention_days = var.log_retention_days

  environment = merge(
    local.warehouse["transform-quotes"],
    { BIGQUERY_LOCATION = local.google.bigquery.location },
    lookup(var.environment, "transform-quotes", {}),
  )

  statements = local.warehouse_statements["transform-quotes"]
}

# Gold → serve-dashboard → browser

module "serve_dashboard" {
  source = "../modules/function"
  count  = var.has_public_page ? 1 : 0

  name            = "${var.name}-serve-dashboard"
  description     = "HTTP: gold tables as JSON and a web page"
  zip             = "${local.packages}/serve-dashboard.zip"
  architecture    = var.architecture
  memory_mb       = local.functions["serve-dashboard"].memory_mb
  timeout_seconds = local.functions["serve-dashboard"].timeout_seconds
  # A public page must not take the account's concurrency, nor run up BigQuery's bill.
  reserved_concurrency = local.functions["serve-dashboard"].reserved_concurrency
  log_retention_days   = var.log_retention_days
  environment          = merge(local.warehouse["serve-dashboard"], lookup(var.environment, "serve-dashboard", {}))
  statements           = local.warehouse_statements["serve-dashboard"]
}

module "page" {
  source = "../modules/page"
  count  = length(module.serve_dashboard)

  name                = "${var.name}-page"
  function_name       = module.serve_dashboard[0].name
  invoke_arn          = module.serve_dashboard[0].invoke_arn
  requests_per_second = var.page_requests_per_second
}

# Time

module "schedules" {
  source = "../modules/schedules"

  name             = var.name
  are_enabled      = var.are_schedules_enabled
  failed_queue_arn = module.failed_queue.arn
  account_id       = local.account_id

  schedules = merge(
    {
      fetch-quotes = {
        function_arn = module.fetch_quotes.arn
        # At each minute's beginning: a rate would begin with the schedule's making.
        expression = local.functions["fetch-quotes"].schedule
        # jsonencode would write < and > as \u003c and \u003e, which the Scheduler does not take for its keyword.
        input = "{\"scheduled_time\":\"<aws.scheduler.scheduled-time>\"}"
      }
      reconcile-quotes = {
        function_arn = module.reconcile_quotes.arn
        expression   = local.functions["reconcile-quotes"].schedule
      }
    },
    length(module.transform_quotes) == 0 ? {} : {
      # While quotes come, and once after the close. Each run is billed.
      transform-quotes = {
        function_arn = module.transform_quotes[0].arn
        expression   = local.trades_always ? "cron(0/15 * * * ? *)" : "cron(0/15 9-15 ? * MON-FRI *)"
        time_zone    = "America/New_York"
      }
      transform-quotes-after-close = {
        function_arn = module.transform_quotes[0].arn
        expression   = "cron(10 16 ? * MON-FRI *)"
        time_zone    = "America/New_York"
      }
      test-tables = {
        function_arn = module.transform_quotes[0].arn
        expression   = "cron(37 17 ? * MON-FRI *)"
        time_zone    = "America/New_York"
        input        = jsonencode({ task = "test" })
      }
    },
  )

  # The topic comes first, while the function is idle.
  depends_on = [aws_lambda_invocation.topic]
}

# Watching

module "observability" {
  source = "../modules/observability"

  name              = var.name
  region            = var.aws_region
  email             = var.alarm_email
  freshness_minutes = var.freshness_minutes

  functions = { for name, function in merge(
    {
      fetch-quotes     = module.fetch_quotes
      archive-quotes   = module.archive_quotes
      load-quotes      = module.load_quotes
      reconcile-quotes = module.reconcile_quotes
    },
    { for function in module.transform_quotes : "transform-quotes" => function },
    { for function in module.serve_dashboard : "serve-dashboard" => function },
    ) : name => {
    name            = function.name
    timeout_seconds = function.timeout_seconds
  } }

  queues = {
    quotes-archived     = module.archived_queue.name
    quotes-archived-dlq = module.archived_queue.dead_letter_name
    failed-events       = module.failed_queue.name
  }
}
