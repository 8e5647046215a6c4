# What the root refuses. A run with several wrong variables holds only if each of them is refused.

mock_provider "aws" {
  mock_data "aws_caller_identity" {
    defaults = { account_id = "123456789012" }
  }
}

variables {
  finnhub_api_key_secret_arn = "arn:aws:secretsmanager:us-east-1:123456789012:secret:quoteflow/finnhub-api-key-a1b2c3"
  package_dir                = "tests/packages"
  bigquery                   = { project = "quoteflow-test" }
  stream = {
    type         = "self_managed"
    self_managed = { bootstrap_servers = ["kafka.example.com:9092"], security = "tls" }
  }
  google_credentials = {
    load-quotes      = "{\"type\":\"external_account\"}"
    reconcile-quotes = "{\"type\":\"external_account\"}"
    transform-quotes = "{\"type\":\"external_account\"}"
  }
}

run "the_variables_above_are_accepted" {
  command = plan
}

run "values_that_no_variable_may_have" {
  command = plan

  variables {
    name                       = "Quote_Flow"
    aws_region                 = "Virginia"
    finnhub_api_key_secret_arn = "c0ffee"
    symbols                    = []
    stream                     = { type = "kinesis" }
    topic_partitions           = 1.5
    bigquery                   = { project = "Quoteflow" }
    transform_image_uri        = "123456789012.dkr.ecr.us-east-1.amazonaws.com/transform-quotes:latest"
    transform_window_seconds   = 301
    architecture               = "riscv64"
    bronze_retention_days      = 1
    log_retention_days         = 31
    alarm_email                = "nobody"
  }

  expect_failures = [
    var.name, var.aws_region, var.finnhub_api_key_secret_arn, var.symbols, var.stream, var.topic_partitions, var.bigquery,
    var.transform_image_uri, var.transform_window_seconds, var.architecture, var.bronze_retention_days,
    var.log_retention_days, var.alarm_email,
  ]
}

run "values_that_are_wrong_in_another_way" {
  command = plan

  variables {
    symbols     = ["aapl"]
    bigquery    = { project = "quoteflow-test", dataset = "stock-prices" }
    environment = { loader = { LOG_LEVEL = "debug" } }
    dashboard   = { authorization = "PASSWORD" }
    # A key where no secret belongs.
    google_credentials = { for name in ["load-quotes", "reconcile-quotes", "transform-quotes", "serve-dashboard"] : name => "{\"type\":\"service_account\"}" }
  }

  expect_failures = [var.symbols, var.bigquery, var.environment, var.dashboard, var.google_credentials]
}

run "a_symbol_twice_and_polls_further_apart_than_an_invocation" {
  command = plan

  variables {
    symbols               = ["AAPL", "AAPL"]
    poll_interval_seconds = 61
  }

  expect_failures = [var.symbols, var.poll_interval_seconds]
}

run "a_rate_limit_below_one_request_a_poll" {
  command = plan

  variables {
    rate_limit_per_minute = 10
  }

  expect_failures = [var.rate_limit_per_minute]
}

run "a_function_without_credentials" {
  command = plan

  variables {
    google_credentials = { load-quotes = "{\"type\":\"external_account\"}" }
  }

  expect_failures = [var.google_credentials_secret_arns]
}

run "a_function_with_two_credentials" {
  command = plan

  variables {
    google_credentials_secret_arns = { load-quotes = "arn:aws:secretsmanager:us-east-1:123456789012:secret:key" }
  }

  expect_failures = [var.google_credentials_secret_arns]
}

run "a_key_in_place_of_its_secret" {
  command = plan

  variables {
    google_credentials             = { load-quotes = "{\"type\":\"external_account\"}", reconcile-quotes = "{\"type\":\"external_account\"}" }
    google_credentials_secret_arns = { transform-quotes = "{\"type\":\"service_account\"}" }
  }

  expect_failures = [var.google_credentials_secret_arns]
}
