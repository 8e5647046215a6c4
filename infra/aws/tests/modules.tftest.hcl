# Each module by itself: its logic and its validations.

mock_provider "aws" {
  mock_data "aws_region" {
    defaults = { name = "us-east-1" }
  }
  mock_resource "aws_msk_serverless_cluster" {
    defaults = { arn = "arn:aws:kafka:us-east-1:123456789012:cluster/quoteflow/0a1b" }
  }
  mock_resource "aws_msk_cluster" {
    defaults = { arn = "arn:aws:kafka:us-east-1:123456789012:cluster/quoteflow/0a1b", bootstrap_brokers_sasl_iam = "b-1:9098,b-2:9098" }
  }
  mock_resource "aws_msk_configuration" {
    defaults = { arn = "arn:aws:kafka:us-east-1:123456789012:configuration/quoteflow/0a1b", latest_revision = 1 }
  }
  mock_resource "aws_lambda_function" {
    defaults = { arn = "arn:aws:lambda:us-east-1:123456789012:function:mock" }
  }
  mock_resource "aws_sqs_queue" {
    defaults = { arn = "arn:aws:sqs:us-east-1:123456789012:mock" }
  }
  mock_resource "aws_s3_bucket" {
    defaults = { arn = "arn:aws:s3:::mock" }
  }
  mock_resource "aws_iam_role" {
    defaults = { arn = "arn:aws:iam::123456789012:role/mock" }
  }
  mock_resource "aws_sns_topic" {
    defaults = { arn = "arn:aws:sns:us-east-1:123456789012:mock" }
  }
  mock_resource "aws_cloudwatch_log_group" {
    defaults = { arn = "arn:aws:logs:us-east-1:123456789012:log-group:mock" }
  }
}

variables {
  name       = "quoteflow"
  account_id = "123456789012"
}

# network

run "a_subnet_in_each_zone_and_one_for_the_gateway" {
  command = apply
  module { source = "../modules/network" }

  variables {
    cidr               = "10.42.0.0/20"
    availability_zones = ["us-east-1a", "us-east-1b"]
  }

  assert {
    condition     = [for zone in ["us-east-1a", "us-east-1b"] : aws_subnet.private[zone].cidr_block] == ["10.42.1.0/24", "10.42.2.0/24"] && aws_subnet.public.cidr_block == "10.42.0.0/24"
    error_message = "The subnets must not overlap."
  }
}

run "a_range_too_small_to_be_cut" {
  command = plan
  module { source = "../modules/network" }

  variables {
    cidr               = "10.42.0.0/26"
    availability_zones = ["us-east-1a", "us-east-1b"]
  }
  expect_failures = [var.cidr]
}

run "one_zone_only" {
  command = plan
  module { source = "../modules/network" }

  variables {
    cidr               = "10.42.0.0/20"
    availability_zones = ["us-east-1a"]
  }
  expect_failures = [var.availability_zones]
}

# stream

run "an_msk_producer_may_make_and_write_the_topic_and_nothing_else" {
  command = apply
  module { source = "../modules/stream" }

  variables {
    type           = "msk_serverless"
    topic          = "stock-quotes"
    consumer_group = "archive-quotes"
    vpc_id         = "vpc-1"
    subnet_ids     = ["subnet-1", "subnet-2"]
  }

  assert {
    condition = jsonencode(output.producer_statements) == jsonencode([
      { actions = ["kafka-cluster:Connect", "kafka-cluster:WriteDataIdempotently"], resources = ["arn:aws:kafka:us-east-1:123456789012:cluster/quoteflow/0a1b"] },
      { actions = ["kafka-cluster:CreateTopic", "kafka-cluster:DescribeTopic", "kafka-cluster:WriteData"], resources = ["arn:aws:kafka:us-east-1:123456789012:topic/quoteflow/0a1b/stock-quotes"] },
    ])
    error_message = "The producer's statements are ${jsonencode(output.producer_statements)}"
  }
  assert {
    condition     = contains(flatten(output.consumer_statements[*].resources), "arn:aws:kafka:us-east-1:123456789012:group/quoteflow/0a1b/archive-quotes")
    error_message = "The trigger must be allowed to use its group."
  }
  assert {
    condition     = alltrue([for rule in values(aws_vpc_security_group_ingress_rule.brokers) : rule.from_port == 9098 && rule.to_port == 9098 && rule.cidr_ipv4 == null])
    error_message = "The brokers are reached by security groups only, with IAM only."
  }
}

run "three_brokers_keep_two_copies_while_one_is_away" {
  command = apply
  module { source = "../modules/stream" }

  variables {
    type           = "msk_provisioned"
    topic          = "stock-quotes"
    consumer_group = "archive-quotes"
    vpc_id         = "vpc-1"
    subnet_ids     = ["subnet-1", "subnet-2", "subnet-3"]
  }

  assert {
    condition = (
      aws_msk_cluster.this[0].number_of_broker_nodes == 3
      && strcontains(aws_msk_configuration.this[0].server_properties, "default.replication.factor=3\n")
      && strcontains(aws_msk_configuration.this[0].server_properties, "min.insync.replicas=2\n")
      && aws_msk_cluster.this[0].encryption_info[0].encryption_in_transit[0].client_broker == "TLS"
    )
    error_message = "An acknowledged quote must survive a broker, and travel over TLS."
  }
  assert {
    condition     = output.bootstrap_servers == "b-1:9098,b-2:9098" && output.security == "msk_iam"
    error_message = "Clients must speak IAM to the brokers."
  }
}

run "a_cluster_in_a_vpc_is_reached_from_there" {
  command = apply
  module { source = "../modules/stream" }

  variables {
    type           = "self_managed"
    topic          = "stock-quotes"
    consumer_group = "archive-quotes"
    self_managed = {
      bootstrap_servers  = ["10.0.0.5:9092"]
      security           = "plaintext"
      subnet_ids         = ["subnet-1"]
      security_group_ids = ["sg-1"]
    }
  }

  assert {
    condition     = jsonencode(output.trigger.access) == jsonencode([{ type = "VPC_SUBNET", uri = "subnet:subnet-1" }, { type = "VPC_SECURITY_GROUP", uri = "security_group:sg-1" }])
    error_message = "The trigger's access is ${jsonencode(output.trigger.access)}"
  }
  assert {
    condition     = output.producer_network.subnet_ids == tolist(["subnet-1"])
    error_message = "The producer must be where the cluster is."
  }
}

run "an_unknown_kind_of_cluster" {
  command = plan
  module { source = "../modules/stream" }

  variables {
    type           = "kinesis"
    topic          = "stock-quotes"
    consumer_group = "archive-quotes"
  }
  expect_failures = [var.type]
}

run "settings_of_another_kind" {
  command = plan
  module { source = "../modules/stream" }

  variables {
    type           = "msk_serverless"
    topic          = "stock-quotes"
    consumer_group = "archive-quotes"
    vpc_id         = "vpc-1"
    subnet_ids     = ["subnet-1", "subnet-2"]
    self_managed   = { bootstrap_servers = ["a:9092"], security = "tls" }
  }
  expect_failures = [var.self_managed]
}

run "a_server_without_a_port" {
  command = plan
  module { source = "../modules/stream" }

  variables {
    type           = "self_managed"
    topic          = "stock-quotes"
    consumer_group = "archive-quotes"
    self_managed   = { bootstrap_servers = ["a.example.com"], security = "tls" }
  }
  expect_failures = [var.self_managed]
}

run "an_unknown_security" {
  command = plan
  module { source = "../modules/stream" }

  variables {
    type           = "self_managed"
    topic          = "stock-quotes"
    consumer_group = "archive-quotes"
    self_managed   = { bootstrap_servers = ["a:9092"], security = "ssl" }
  }
  expect_failures = [var.self_managed]
}

run "a_password_that_nobody_gave" {
  command = plan
  module { source = "../modules/stream" }

  variables {
    type           = "self_managed"
    topic          = "stock-quotes"
    consumer_group = "archive-quotes"
    self_managed   = { bootstrap_servers = ["a:9092"], security = "sasl_scram" }
  }
  expect_failures = [var.self_managed]
}

run "subnets_without_a_security_group" {
  command = plan
  module { source = "../modules/stream" }

  variables {
    type           = "self_managed"
    topic          = "stock-quotes"
    consumer_group = "archive-quotes"
    self_managed   = { bootstrap_servers = ["a:9092"], security = "tls", subnet_ids = ["subnet-1"] }
  }
  expect_failures = [var.self_managed]
}

# bucket

run "a_bucket_is_private_encrypted_versioned_and_tls_only" {
  command = apply
  module { source = "../modules/bucket" }

  variables {
    name           = "quoteflow-bronze"
    retention_days = 400
  }

  assert {
    condition = alltrue([
      aws_s3_bucket_public_access_block.this.block_public_acls,
      aws_s3_bucket_public_access_block.this.block_public_policy,
      aws_s3_bucket_public_access_block.this.ignore_public_acls,
      aws_s3_bucket_public_access_block.this.restrict_public_buckets,
      aws_s3_bucket_versioning.this.versioning_configuration[0].status == "Enabled",
      !aws_s3_bucket.this.force_destroy,
    ])
    error_message = "The bucket must be closed and keep what is deleted."
  }
  assert {
    condition     = jsondecode(aws_s3_bucket_policy.this.policy).Statement[0].Effect == "Deny" && jsondecode(aws_s3_bucket_policy.this.policy).Statement[0].Condition.Bool["aws:SecureTransport"] == "false"
    error_message = "Without TLS it must refuse."
  }
  assert {
    condition     = [for rule in aws_s3_bucket_lifecycle_configuration.this.rule : rule.expiration[0].days if length(rule.expiration) > 0] == [400]
    error_message = "Objects must go after the retention."
  }
}

run "a_bucket_keeps_its_objects_by_default" {
  command = apply
  module { source = "../modules/bucket" }

  variables {
    name = "quoteflow-bronze"
  }

  assert {
    condition     = alltrue([for rule in aws_s3_bucket_lifecycle_configuration.this.rule : length(rule.expiration) == 0])
    error_message = "No object may go by itself."
  }
}

run "a_bucket_name_with_a_dot" {
  command = plan
  module { source = "../modules/bucket" }

  variables {
    name = "quoteflow.bronze"
  }
  expect_failures = [var.name]
}

run "a_retention_of_nothing" {
  command = plan
  module { source = "../modules/bucket" }

  variables {
    name           = "quoteflow-bronze"
    retention_days = 0
  }
  expect_failures = [var.retention_days]
}

# queue

run "only_the_bucket_may_send_and_failures_are_kept" {
  command = apply
  module { source = "../modules/queue" }

  variables {
    name               = "quotes-archived"
    visibility_seconds = 180
    sending_bucket_arn = "arn:aws:s3:::bronze"
  }

  assert {
    condition = jsondecode(aws_sqs_queue.this.policy).Statement[1].Condition == {
      ArnEquals    = { "aws:SourceArn" = "arn:aws:s3:::bronze" }
      StringEquals = { "aws:SourceAccount" = "123456789012" }
    }
    error_message = "S3 may send for this bucket of this account only."
  }
  assert {
    condition     = jsondecode(aws_sqs_queue.this.redrive_policy).maxReceiveCount == 5 && aws_sqs_queue.dead_letter[0].name == "quotes-archived-dlq" && aws_sqs_queue.dead_letter[0].message_retention_seconds == 1209600
    error_message = "The fifth failure must lead to the dead-letter queue, which keeps it for two weeks."
  }
  assert {
    condition     = aws_sqs_queue.this.sqs_managed_sse_enabled && aws_sqs_queue.dead_letter[0].sqs_managed_sse_enabled
    error_message = "The queues must be encrypted."
  }
}

run "a_queue_without_a_sender_lets_no_service_send" {
  command = apply
  module { source = "../modules/queue" }

  variables {
    name                  = "failed-events"
    has_dead_letter_queue = false
  }

  assert {
    condition     = [for statement in jsondecode(aws_sqs_queue.this.policy).Statement : statement.Effect] == ["Deny"] && length(aws_sqs_queue.dead_letter) == 0
    error_message = "Nobody but the account's own roles may send."
  }
}

run "too_few_receives_for_a_throttled_trigger" {
  command = plan
  module { source = "../modules/queue" }

  variables {
    name         = "quotes-archived"
    max_receives = 4
  }
  expect_failures = [var.max_receives]
}

run "a_message_hidden_for_longer_than_sqs_can" {
  command = plan
  module { source = "../modules/queue" }

  variables {
    name               = "quotes-archived"
    visibility_seconds = 43201
  }
  expect_failures = [var.visibility_seconds]
}

# function

run "a_role_is_allowed_its_own_log_and_what_it_is_given" {
  command = apply
  module { source = "../modules/function" }

  variables {
    name               = "archive-quotes"
    description        = "test"
    zip                = "tests/packages/x86_64/archive-quotes.zip"
    architecture       = "x86_64"
    timeout_seconds    = 30
    log_retention_days = 30
    environment        = { BRONZE_BUCKET = "bronze", KAFKA_SASL_SECRET = null }
    statements         = [{ actions = ["s3:PutObject"], resources = ["arn:aws:s3:::bronze/*"] }]
  }

  assert {
    condition = [for statement in jsondecode(aws_iam_role_policy.this.policy).Statement : statement.Resource] == [
      ["arn:aws:logs:us-east-1:123456789012:log-group:mock:*"], ["*"], ["arn:aws:s3:::bronze/*"],
    ]
    error_message = "The role's policy is ${aws_iam_role_policy.this.policy}"
  }
  assert {
    condition     = aws_lambda_function.this.environment[0].variables == tomap({ BRONZE_BUCKET = "bronze" })
    error_message = "A null must be left out."
  }
  assert {
    condition     = aws_lambda_function.this.package_type == "Zip" && aws_lambda_function.this.runtime == "provided.al2023" && aws_lambda_function.this.reserved_concurrent_executions == -1 && aws_lambda_function.this.tracing_config[0].mode == "Active"
    error_message = "A zip runs on provided.al2023, traced, as often as the account allows."
  }
  assert {
    condition     = length(aws_lambda_function_event_invoke_config.this) == 0 && length(aws_lambda_function_url.this) == 0 && length(aws_lambda_permission.public_url) == 0
    error_message = "Neither events nor URLs were asked for."
  }
}

run "a_scheduled_function_keeps_failed_events" {
  command = apply
  module { source = "../modules/function" }

  variables {
    name                 = "fetch-quotes"
    description          = "test"
    zip                  = "tests/packages/x86_64/fetch-quotes.zip"
    architecture         = "x86_64"
    timeout_seconds      = 90
    reserved_concurrency = 1
    log_retention_days   = 30
    network              = { subnet_ids = ["subnet-1"], security_group_ids = ["sg-1"] }
    asynchronous         = { failed_queue_arn = "arn:aws:sqs:us-east-1:123456789012:failed" }
  }

  assert {
    condition = (
      aws_lambda_function_event_invoke_config.this[0].maximum_retry_attempts == 0
      && aws_lambda_function_event_invoke_config.this[0].destination_config[0].on_failure[0].destination == "arn:aws:sqs:us-east-1:123456789012:failed"
      && contains(flatten([for statement in jsondecode(aws_iam_role_policy.this.policy).Statement : statement.Action if contains(statement.Resource, "arn:aws:sqs:us-east-1:123456789012:failed")]), "sqs:SendMessage")
    )
    error_message = "A failed event must go to the queue, at once."
  }
  assert {
    condition     = aws_lambda_function.this.reserved_concurrent_executions == 1 && aws_lambda_function.this.vpc_config[0].subnet_ids == toset(["subnet-1"])
    error_message = "One at a time, in its network."
  }
}

run "an_image_has_no_runtime" {
  command = apply
  module { source = "../modules/function" }

  variables {
    name               = "transform-quotes"
    description        = "test"
    image_uri          = "123456789012.dkr.ecr.us-east-1.amazonaws.com/t@sha256:00"
    architecture       = "arm64"
    timeout_seconds    = 300
    log_retention_days = 30
    url_authorization  = "NONE"
  }

  assert {
    condition     = aws_lambda_function.this.package_type == "Image" && aws_lambda_function.this.runtime == null && aws_lambda_function.this.handler == null
    error_message = "An image brings its own."
  }
  assert {
    condition     = aws_lambda_permission.public_url[0].principal == "*" && aws_lambda_permission.public_url[0].function_url_auth_type == "NONE"
    error_message = "A public URL needs a permission for everyone."
  }
}

run "a_url_with_iam_is_not_public" {
  command = apply
  module { source = "../modules/function" }

  variables {
    name               = "serve-dashboard"
    description        = "test"
    zip                = "tests/packages/x86_64/serve-dashboard.zip"
    architecture       = "x86_64"
    timeout_seconds    = 15
    log_retention_days = 30
    url_authorization  = "AWS_IAM"
  }

  assert {
    condition     = aws_lambda_function_url.this[0].authorization_type == "AWS_IAM" && length(aws_lambda_permission.public_url) == 0
    error_message = "Only signed requests may come in."
  }
}

run "a_zip_that_was_not_built" {
  command = plan
  module { source = "../modules/function" }

  variables {
    name               = "fetch-quotes"
    description        = "test"
    zip                = "tests/packages/riscv64/fetch-quotes.zip"
    architecture       = "x86_64"
    timeout_seconds    = 90
    log_retention_days = 30
  }
  expect_failures = [aws_lambda_function.this]
}

run "neither_a_zip_nor_an_image" {
  command = plan
  module { source = "../modules/function" }

  variables {
    name               = "Fetch"
    description        = "test"
    architecture       = "mips"
    timeout_seconds    = 901
    memory_mb          = 64
    url_authorization  = "PASSWORD"
    log_retention_days = 30
  }
  expect_failures = [var.name, var.image_uri, var.architecture, var.timeout_seconds, var.memory_mb, var.url_authorization]
}

# schedules

run "the_schedulers_role_may_invoke_only_what_is_scheduled" {
  command = apply
  module { source = "../modules/schedules" }

  variables {
    are_enabled      = false
    failed_queue_arn = "arn:aws:sqs:us-east-1:123456789012:failed"
    schedules = {
      a = { function_arn = "arn:aws:lambda:us-east-1:123456789012:function:a", expression = "rate(1 minute)" }
      b = { function_arn = "arn:aws:lambda:us-east-1:123456789012:function:a", expression = "cron(30 17 ? * MON-FRI *)", time_zone = "America/New_York" }
    }
  }

  assert {
    condition     = jsondecode(aws_iam_role_policy.this.policy).Statement[0].Resource == ["arn:aws:lambda:us-east-1:123456789012:function:a"]
    error_message = "The role's policy is ${aws_iam_role_policy.this.policy}"
  }
  assert {
    condition     = jsondecode(aws_iam_role.this.assume_role_policy).Statement[0].Condition.StringEquals["aws:SourceAccount"] == "123456789012"
    error_message = "Schedules of other accounts must not take the role."
  }
  assert {
    condition = alltrue([for schedule in values(aws_scheduler_schedule.this) : alltrue([
      schedule.state == "DISABLED",
      schedule.target[0].retry_policy[0].maximum_retry_attempts == 0,
      schedule.target[0].dead_letter_config[0].arn == "arn:aws:sqs:us-east-1:123456789012:failed",
    ])]) && aws_scheduler_schedule.this["b"].schedule_expression_timezone == "America/New_York"
    error_message = "Paused, without retries, with a queue for what failed."
  }
}

run "a_schedule_that_is_none" {
  command = plan
  module { source = "../modules/schedules" }

  variables {
    failed_queue_arn = "arn:aws:sqs:us-east-1:123456789012:failed"
    schedules        = { a = { function_arn = "arn:aws:lambda:us-east-1:123456789012:function:a", expression = "every minute" } }
  }
  expect_failures = [var.schedules]
}

run "an_event_that_is_no_json" {
  command = plan
  module { source = "../modules/schedules" }

  variables {
    failed_queue_arn = "arn:aws:sqs:us-east-1:123456789012:failed"
    schedules        = { a = { function_arn = "arn:aws:lambda:us-east-1:123456789012:function:a", expression = "rate(1 minute)", input = "now" } }
  }
  expect_failures = [var.schedules]
}

# observability

run "every_way_to_fail_has_its_alarm" {
  command = apply
  module { source = "../modules/observability" }

  variables {
    region = "us-east-1"
    email  = "operator@example.com"
    functions = {
      fetch-quotes     = { name = "quoteflow-fetch-quotes", timeout_seconds = 90 }
      archive-quotes   = { name = "quoteflow-archive-quotes", timeout_seconds = 30 }
      load-quotes      = { name = "quoteflow-load-quotes", timeout_seconds = 30, is_throttling_normal = true }
      transform-quotes = { name = "quoteflow-transform-quotes", timeout_seconds = 300, is_throttling_normal = true }
    }
    queues        = { quotes-archived = "quoteflow-quotes-archived" }
    failed_queues = { dlq = "quoteflow-quotes-archived-dlq" }
  }

  assert {
    condition     = length(aws_cloudwatch_metric_alarm.errors) == 4 && length(aws_cloudwatch_metric_alarm.duration) == 4 && aws_cloudwatch_metric_alarm.duration["fetch-quotes"].threshold == 72000
    error_message = "Errors and durations of each function, the latter at 80 % of its timeout."
  }
  assert {
    condition     = toset(keys(aws_cloudwatch_metric_alarm.throttles)) == toset(["fetch-quotes", "archive-quotes"])
    error_message = "A queue's function that runs once at a time is throttled as a matter of course."
  }
  assert {
    condition     = aws_cloudwatch_metric_alarm.failed["dlq"].threshold == 0 && aws_cloudwatch_metric_alarm.backlog["quotes-archived"].threshold == 600 && aws_cloudwatch_metric_alarm.lag.metric_name == "OffsetLag"
    error_message = "Dead letters, waiting messages and lag."
  }
  assert {
    condition = (
      aws_cloudwatch_metric_alarm.quarantined.metric_name == "Quarantined"
      && aws_cloudwatch_metric_alarm.quarantined.dimensions["function"] == "archive-quotes"
      && one(aws_cloudwatch_metric_alarm.tests_failed).metric_name == "TestsFailed"
      && one(aws_cloudwatch_metric_alarm.tests_failed).alarm_name == "quoteflow-transform-quotes-tests-failed"
    )
    error_message = "Records that are no quotes, and tables that break a rule."
  }
  assert {
    condition = (
      aws_cloudwatch_metric_alarm.freshness.treat_missing_data == "breaching"
      && aws_cloudwatch_metric_alarm.freshness.evaluation_periods == 15
      && one([for query in aws_cloudwatch_metric_alarm.freshness.metric_query : query.expression if query.return_data == true])
      == "IF(DAY(invoked)<6 AND HOUR(invoked)*60+MINUTE(invoked)>=870 AND HOUR(invoked)*60+MINUTE(invoked)<1200, FILL(loaded, 0), 1)"
    )
    error_message = "Freshness counts while the market is open, in summer and in winter."
  }
  assert {
    condition     = aws_sns_topic_subscription.email["operator@example.com"].protocol == "email"
    error_message = "The operator must be told."
  }
  assert {
    condition     = length(jsondecode(aws_cloudwatch_dashboard.this.dashboard_body).widgets) == 9 && length(distinct([for widget in jsondecode(aws_cloudwatch_dashboard.this.dashboard_body).widgets : "${widget.x} ${widget.y}"])) == 9
    error_message = "Nine charts, none on another."
  }
}

run "limits_that_are_none" {
  command = plan
  module { source = "../modules/observability" }

  variables {
    region            = "us-east-1"
    functions         = { for name in ["fetch-quotes", "archive-quotes"] : name => { name = name, timeout_seconds = 30 } }
    queues            = {}
    failed_queues     = {}
    lag_limit         = 0
    backlog_minutes   = 0
    freshness_minutes = 90
  }
  expect_failures = [var.lag_limit, var.backlog_minutes, var.freshness_minutes]
}
