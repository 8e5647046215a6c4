mock_provider "aws" {
  source = "./tests/mocks"
}

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
    condition     = length(aws_lambda_function_event_invoke_config.this) == 0 && output.asynchronous == null
    error_message = "No schedule was asked for."
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
      && aws_lambda_function_event_invoke_config.this[0].maximum_event_age_in_seconds == 300
      && aws_lambda_function_event_invoke_config.this[0].destination_config[0].on_failure[0].destination == "arn:aws:sqs:us-east-1:123456789012:failed"
      && contains(flatten([for statement in jsondecode(aws_iam_role_policy.this.policy).Statement : statement.Action if contains(statement.Resource, "arn:aws:sqs:us-east-1:123456789012:failed")]), "sqs:SendMessage")
    )
    error_message = "A failed event must go to the queue, at once; one that meets a busy function may wait for five minutes."
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
  }

  assert {
    condition     = aws_lambda_function.this.package_type == "Image" && aws_lambda_function.this.runtime == null && aws_lambda_function.this.handler == null
    error_message = "An image brings its own."
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
    asynchronous       = { failed_queue_arn = "arn:aws:sqs:us-east-1:123456789012:failed", retries = 3 }
    log_retention_days = 30
  }
  expect_failures = [var.name, var.image_uri, var.architecture, var.timeout_seconds, var.memory_mb, var.asynchronous]
}
