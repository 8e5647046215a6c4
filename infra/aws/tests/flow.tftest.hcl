# The root as a whole: what is triggered by what, with which limits, and what each role may do.

mock_provider "aws" {
  source = "./tests/mocks"
}

override_data {
  target = data.aws_ssm_parameters_by_path.deployed
  values = {
    names = ["/quoteflow/google", "/quoteflow/transform-image-uri"]
    values = [
      "{\"name\":\"quoteflow\",\"aws_account_id\":\"123456789012\",\"bigquery\":{\"project\":\"quoteflow-test\",\"dataset\":\"stock\",\"location\":\"EU\"},\"audience\":\"//iam.googleapis.com/pool\",\"service_accounts\":{\"load-quotes\":\"load@example.com\",\"reconcile-quotes\":\"reconcile@example.com\",\"transform-quotes\":\"transform@example.com\",\"serve-dashboard\":\"dashboard@example.com\"}}",
      "123456789012.dkr.ecr.us-east-1.amazonaws.com/t@sha256:0000000000000000000000000000000000000000000000000000000000000000",
    ]
  }
}

# So that it can be seen which of them is meant.
override_resource {
  target = module.fetch_quotes.aws_lambda_function.this
  values = { arn = "arn:aws:lambda:us-east-1:123456789012:function:fetch-quotes" }
}
override_resource {
  target = module.archive_quotes.aws_lambda_function.this
  values = { arn = "arn:aws:lambda:us-east-1:123456789012:function:archive-quotes" }
}
override_resource {
  target = module.load_quotes.aws_lambda_function.this
  values = { arn = "arn:aws:lambda:us-east-1:123456789012:function:load-quotes" }
}
override_resource {
  target = module.reconcile_quotes.aws_lambda_function.this
  values = { arn = "arn:aws:lambda:us-east-1:123456789012:function:reconcile-quotes" }
}
override_resource {
  target = module.transform_quotes[0].aws_lambda_function.this
  values = { arn = "arn:aws:lambda:us-east-1:123456789012:function:transform-quotes" }
}
override_resource {
  target = module.serve_dashboard[0].aws_lambda_function.this
  values = { arn = "arn:aws:lambda:us-east-1:123456789012:function:serve-dashboard", invoke_arn = "arn:aws:apigateway:us-east-1:lambda:path/serve-dashboard" }
}
override_resource {
  target = module.archived_queue.aws_sqs_queue.this
  values = { arn = "arn:aws:sqs:us-east-1:123456789012:quotes-archived", url = "https://sqs/quotes-archived" }
}
override_resource {
  target = module.failed_queue.aws_sqs_queue.this
  values = { arn = "arn:aws:sqs:us-east-1:123456789012:failed-events" }
}
override_resource {
  target = module.bronze_bucket.aws_s3_bucket.this
  values = { arn = "arn:aws:s3:::bronze" }
}
override_resource {
  target = module.quarantine_bucket.aws_s3_bucket.this
  values = { arn = "arn:aws:s3:::quarantine" }
}

variables {
  finnhub_api_key_secret_arn = "arn:aws:secretsmanager:us-east-1:123456789012:secret:quoteflow/finnhub-api-key-a1b2c3"
  package_dir                = "tests/packages"
  stream                     = { type = "msk_serverless" }
}

run "everything_with_msk_serverless_and_a_page" {
  command = apply

  variables {
    has_public_page = true
  }

  # tests/infra/test_permissions.py compares the same table with what the code calls.
  assert {
    condition     = jsonencode(output.roles) == jsonencode(jsondecode(file("tests/roles.json")))
    error_message = "The roles may do something else than tests/roles.json says: ${jsonencode(output.roles)}"
  }

  # MSK
  assert {
    condition     = length(module.network) == 1 && length(module.network[0].private_subnet_ids) == 2
    error_message = "MSK needs a network with two zones."
  }
  assert {
    condition     = output.kafka == { bootstrap_servers = "boot.kafka-serverless.us-east-1.amazonaws.com:9098", security = "msk_iam", topic = "quoteflow-stock-quotes", group = "quoteflow-archive-quotes" }
    error_message = "Clients must use IAM with the cluster's own servers, and names of this deployment: ${jsonencode(output.kafka)}"
  }
  assert {
    condition = (
      aws_lambda_event_source_mapping.archive_quotes[0].event_source_arn == "arn:aws:kafka:us-east-1:123456789012:cluster/quoteflow/0a1b"
      && aws_lambda_event_source_mapping.archive_quotes[0].function_name == "arn:aws:lambda:us-east-1:123456789012:function:archive-quotes"
      && aws_lambda_event_source_mapping.archive_quotes[0].topics == toset(["quoteflow-stock-quotes"])
      && aws_lambda_event_source_mapping.archive_quotes[0].amazon_managed_kafka_event_source_config[0].consumer_group_id == "quoteflow-archive-quotes"
      && length(aws_lambda_event_source_mapping.archive_quotes[0].self_managed_event_source) == 0
    )
    error_message = "The trigger must read the cluster as this deployment's group."
  }
  assert {
    condition = (
      aws_lambda_event_source_mapping.archive_quotes[0].batch_size == local.flow.kafka.batch_records
      && aws_lambda_event_source_mapping.archive_quotes[0].starting_position == "TRIM_HORIZON"
      && length(aws_lambda_event_source_mapping.archive_quotes[0].destination_config) == 0
      && length(aws_lambda_event_source_mapping.archive_quotes[0].provisioned_poller_config) == 0
      && length(terraform_data.no_batching_window) == 0
    )
    error_message = "The trigger must begin at the topic's beginning, never give up (with a destination it does after 10 retries), and have no pollers that are billed."
  }
  assert {
    condition     = aws_lambda_invocation.topic.input == "{\"polls\":0}" && aws_lambda_invocation.topic.triggers.topic == "quoteflow-stock-quotes"
    error_message = "The topic must be there before the trigger."
  }

  # S3 → SQS → load-quotes
  assert {
    condition = (
      [for queue in aws_s3_bucket_notification.archived.queue : "${queue.queue_arn} ${join(",", queue.events)}"] == ["arn:aws:sqs:us-east-1:123456789012:quotes-archived s3:ObjectCreated:*"]
      && aws_s3_bucket_notification.archived.bucket == module.bronze_bucket.name
    )
    error_message = "The bucket must report every new object to the queue."
  }
  assert {
    condition     = one([for statement in jsondecode(module.archived_queue.policy).Statement : "${statement.Effect} ${statement.Action} ${statement.Principal.Service} ${statement.Condition.ArnEquals["aws:SourceArn"]}" if statement.Effect == "Allow"]) == "Allow sqs:SendMessage s3.amazonaws.com arn:aws:s3:::bronze"
    error_message = "The bucket must be allowed to send to the queue."
  }
  assert {
    condition = (
      aws_lambda_event_source_mapping.load_quotes.event_source_arn == "arn:aws:sqs:us-east-1:123456789012:quotes-archived"
      && aws_lambda_event_source_mapping.load_quotes.function_name == "arn:aws:lambda:us-east-1:123456789012:function:load-quotes"
      && aws_lambda_event_source_mapping.load_quotes.function_response_types == toset(["ReportBatchItemFailures"])
      && aws_lambda_event_source_mapping.load_quotes.batch_size == local.flow.queue.batch_messages
      && aws_lambda_event_source_mapping.load_quotes.maximum_batching_window_in_seconds == local.flow.queue.batch_window_seconds
    )
    error_message = "load-quotes must get what the bucket reports, as many as a statement takes, and answer for each message."
  }
  assert {
    condition     = aws_lambda_event_source_mapping.load_quotes.scaling_config[0].maximum_concurrency <= module.load_quotes.reserved_concurrency
    error_message = "A mapping's maximum above its function's reserve makes Lambda throttle, and good messages dead letters."
  }
  assert {
    condition     = module.archived_queue.visibility_seconds == 6 * module.load_quotes.timeout_seconds
    error_message = "Messages must stay hidden for six timeouts."
  }

  # Schedules
  assert {
    condition = jsonencode(module.schedules.schedules) == jsonencode({
      fetch-quotes                 = { function_arn = "arn:aws:lambda:us-east-1:123456789012:function:fetch-quotes", expression = "cron(* * * * ? *)", time_zone = "UTC", input = "{\"scheduled_time\":\"<aws.scheduler.scheduled-time>\"}", is_enabled = true, limits = [] }
      reconcile-quotes             = { function_arn = "arn:aws:lambda:us-east-1:123456789012:function:reconcile-quotes", expression = "rate(15 minutes)", time_zone = "UTC", input = "{}", is_enabled = true, limits = [] }
      test-tables                  = { function_arn = "arn:aws:lambda:us-east-1:123456789012:function:transform-quotes", expression = "cron(37 17 ? * MON-FRI *)", time_zone = "America/New_York", input = "{\"task\":\"test\"}", is_enabled = true, limits = [] }
      transform-quotes             = { function_arn = "arn:aws:lambda:us-east-1:123456789012:function:transform-quotes", expression = "cron(0/15 9-15 ? * MON-FRI *)", time_zone = "America/New_York", input = "{}", is_enabled = true, limits = [] }
      transform-quotes-after-close = { function_arn = "arn:aws:lambda:us-east-1:123456789012:function:transform-quotes", expression = "cron(10 16 ? * MON-FRI *)", time_zone = "America/New_York", input = "{}", is_enabled = true, limits = [] }
    })
    error_message = "The schedules are ${jsonencode(module.schedules.schedules)}"
  }
  assert {
    condition = jsonencode([module.fetch_quotes.asynchronous, module.reconcile_quotes.asynchronous, module.transform_quotes[0].asynchronous]) == jsonencode([
      { failed_queue = "arn:aws:sqs:us-east-1:123456789012:failed-events", max_age_seconds = 21600, retries = 0 },
      { failed_queue = "arn:aws:sqs:us-east-1:123456789012:failed-events", max_age_seconds = 300, retries = 2 },
      { failed_queue = "arn:aws:sqs:us-east-1:123456789012:failed-events", max_age_seconds = 900, retries = 2 },
    ])
    error_message = "A late event must wait, and not longer than it is worth; a failed one must be kept."
  }
  assert {
    condition     = [module.fetch_quotes.reserved_concurrency, module.archive_quotes.reserved_concurrency, module.load_quotes.reserved_concurrency, module.reconcile_quotes.reserved_concurrency, module.transform_quotes[0].reserved_concurrency, module.serve_dashboard[0].reserved_concurrency] == [1, -1, 2, 1, 1, 5]
    error_message = "Each function has its own limit."
  }

  # The page, Google, names
  assert {
    condition     = toset(keys(output.functions)) == toset(["fetch-quotes", "archive-quotes", "load-quotes", "reconcile-quotes", "transform-quotes", "serve-dashboard"]) && output.dashboard_url == "https://page1.execute-api.us-east-1.amazonaws.com"
    error_message = "Six functions and an address: ${jsonencode(output.functions)}"
  }
  assert {
    condition     = jsondecode(local.google_credentials["load-quotes"]).service_account_impersonation_url == "https://iamcredentials.googleapis.com/v1/projects/-/serviceAccounts/load@example.com:generateAccessToken" && jsondecode(local.google_credentials["load-quotes"]).audience == "//iam.googleapis.com/pool" && jsondecode(aws_ssm_parameter.outputs.value).bigquery.location == "EU"
    error_message = "Each function must become its own service account."
  }
  assert {
    condition     = module.bronze_bucket.name == "quoteflow-bronze-transactions-123456789012"
    error_message = "The buckets must end in the account's number: ${jsonencode(output.buckets)}"
  }
}

run "self_managed_needs_no_network" {
  command = apply

  variables {
    stream = {
      type = "self_managed"
      self_managed = {
        bootstrap_servers = ["a.example.com:9096", "b.example.com:9096"]
        sasl_secret_arn   = "arn:aws:secretsmanager:us-east-1:123456789012:secret:kafka"
      }
    }
    symbols = ["AAPL", "BINANCE:BTCUSDT"]
  }

  assert {
    condition     = length(module.network) == 0
    error_message = "A cluster that exists needs no VPC."
  }
  assert {
    condition     = output.kafka.security == "sasl_scram" && output.kafka.bootstrap_servers == "a.example.com:9096,b.example.com:9096"
    error_message = "sasl_scram is the default of a cluster that exists."
  }
  assert {
    condition = (
      aws_lambda_event_source_mapping.archive_quotes[0].self_managed_event_source[0].endpoints.KAFKA_BOOTSTRAP_SERVERS == "a.example.com:9096,b.example.com:9096"
      && [for access in aws_lambda_event_source_mapping.archive_quotes[0].source_access_configuration : access.type] == ["SASL_SCRAM_512_AUTH"]
      && aws_lambda_event_source_mapping.archive_quotes[0].event_source_arn == null
    )
    error_message = "The trigger must sign in with the secret."
  }
  assert {
    condition     = module.schedules.schedules["transform-quotes"].expression == "cron(0/15 * * * ? *)"
    error_message = "What trades at night must be settled at night."
  }
}

run "batches_are_written_and_loaded_in_events_of_their_own_sizes" {
  command = apply

  variables {
    stream = {
      type         = "self_managed"
      self_managed = { bootstrap_servers = ["a.example.com:9096"], sasl_secret_arn = "arn:aws:secretsmanager:us-east-1:123456789012:secret:kafka" }
    }
    object_layout      = "batch"
    object_compression = "zstd"
  }

  assert {
    condition = (
      aws_lambda_event_source_mapping.archive_quotes[0].batch_size == 10000
      && aws_lambda_event_source_mapping.load_quotes.batch_size == 100
    )
    error_message = "A batch holds what one event has, and an invocation of load-quotes takes fewer of them."
  }
}

# Planned only: an apply would run AWS's command line.
run "pollers_of_its_own_read_the_topic_without_a_batching_window" {
  command = plan

  variables {
    kafka_pollers = { minimum = 1, maximum = 3 }
  }

  assert {
    condition = (
      one(aws_lambda_event_source_mapping.archive_quotes[0].provisioned_poller_config[*].minimum_pollers) == 1
      && one(aws_lambda_event_source_mapping.archive_quotes[0].provisioned_poller_config[*].maximum_pollers) == 3
      && length(terraform_data.no_batching_window) == 1
    )
    error_message = "Provisioned mode has pollers and a window of 0."
  }
}

run "the_cheap_way_is_one_server" {
  command = apply

  variables {
    stream = { type = "server" }
  }

  assert {
    condition     = length(module.server) == 1 && length(module.network) == 0 && output.kafka.security == "plaintext"
    error_message = "No MSK, no NAT gateway."
  }
  assert {
    condition = (
      toset([for access in aws_lambda_event_source_mapping.archive_quotes[0].source_access_configuration : access.type]) == toset(["VPC_SUBNET", "VPC_SECURITY_GROUP"])
      && aws_lambda_event_source_mapping.archive_quotes[0].self_managed_event_source[0].endpoints.KAFKA_BOOTSTRAP_SERVERS == output.kafka.bootstrap_servers
      && contains(output.roles["archive-quotes"], "ec2:CreateNetworkInterface *")
      && contains(output.roles["fetch-quotes"], "ec2:CreateNetworkInterface *")
    )
    error_message = "The trigger and fetch-quotes must be in the server's network."
  }
}

run "before_the_first_image_everything_but_transform_quotes_is_there" {
  command = apply

  override_data {
    target = data.aws_ssm_parameters_by_path.deployed
    values = {
      names  = ["/quoteflow/google"]
      values = ["{\"name\":\"quoteflow\",\"aws_account_id\":\"123456789012\",\"bigquery\":{\"project\":\"quoteflow-test\",\"dataset\":\"stock\",\"location\":\"EU\"},\"audience\":\"//iam.googleapis.com/pool\",\"service_accounts\":{\"load-quotes\":\"l@example.com\",\"reconcile-quotes\":\"r@example.com\",\"transform-quotes\":\"t@example.com\"}}"]
    }
  }

  assert {
    condition     = !contains(keys(output.functions), "transform-quotes") && !contains(keys(module.schedules.schedules), "transform-quotes")
    error_message = "There is nothing to run yet."
  }
  assert {
    condition     = aws_ecr_repository.transform_quotes.image_tag_mutability == "IMMUTABLE"
    error_message = "The repository to push to must be there."
  }
  assert {
    condition     = output.dashboard_url == null
    error_message = "No page unless it is asked for."
  }
}
