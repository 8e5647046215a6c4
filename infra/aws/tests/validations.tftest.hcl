# What the root refuses. A run with several wrong variables holds only if each of them is refused.

mock_provider "aws" {
  source = "./tests/mocks"
}

variables {
  finnhub_api_key_secret_arn = "arn:aws:secretsmanager:us-east-1:123456789012:secret:quoteflow/finnhub-api-key-a1b2c3"
  package_dir                = "tests/packages"
  stream = {
    type = "self_managed"
    self_managed = {
      bootstrap_servers  = ["kafka.example.com:9092"]
      security           = "tls"
      subnet_ids         = ["subnet-1"]
      security_group_ids = ["sg-1"]
    }
  }
  google = {
    name             = "quoteflow"
    aws_account_id   = "123456789012"
    bigquery         = { project = "quoteflow-test" }
    audience         = "//iam.googleapis.com/pool"
    service_accounts = { load-quotes = "l@example.com", reconcile-quotes = "r@example.com", transform-quotes = "t@example.com" }
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
    topic                      = "stock quotes"
    topic_partitions           = 1.5
    google                     = { name = "quoteflow", aws_account_id = "123456789012", bigquery = { project = "Quoteflow" } }
    architecture               = "riscv64"
    bronze_retention_days      = 1
    log_retention_days         = 31
    alarm_email                = "nobody"
    object_layout              = "batches"
    object_compression         = "lz4"
    kafka_pollers              = { minimum = 3, maximum = 2 }
  }

  expect_failures = [
    var.name, var.aws_region, var.finnhub_api_key_secret_arn, var.symbols, var.stream, var.topic, var.topic_partitions,
    var.google, var.architecture, var.bronze_retention_days, var.log_retention_days, var.alarm_email,
    var.object_layout, var.object_compression, var.kafka_pollers,
  ]
}

run "values_that_are_wrong_in_another_way" {
  command = plan

  variables {
    name        = "gcp-quotes"
    symbols     = ["aapl"]
    google      = { name = "quoteflow", aws_account_id = "123456789012", bigquery = { project = "quoteflow-test", dataset = "stock-prices" } }
    environment = { loader = { LOG_LEVEL = "debug" } }
    # A key where the ARN of its secret belongs.
    google_credentials_secret_arns = { transform-quotes = "{\"type\":\"service_account\"}" }
  }

  expect_failures = [var.name, var.symbols, var.google, var.environment, var.google_credentials_secret_arns]
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

# What a plan would accept and AWS or Google refuse when it runs

run "google_is_not_known" {
  command = plan

  variables {
    google = null
  }

  expect_failures = [terraform_data.agreement]
}

run "google_was_applied_for_another_name" {
  command = plan

  variables {
    name = "other"
  }

  expect_failures = [terraform_data.agreement]
}

run "google_trusts_another_account" {
  command = plan

  variables {
    google = {
      name             = "quoteflow"
      aws_account_id   = "999999999999"
      bigquery         = { project = "quoteflow-test" }
      audience         = "//iam.googleapis.com/pool"
      service_accounts = { load-quotes = "l@example.com", reconcile-quotes = "r@example.com", transform-quotes = "t@example.com" }
    }
  }

  expect_failures = [terraform_data.agreement]
}

run "a_secret_of_another_region" {
  command = plan

  variables {
    finnhub_api_key_secret_arn = "arn:aws:secretsmanager:eu-central-1:123456789012:secret:quoteflow/finnhub-api-key-a1b2c3"
  }

  expect_failures = [terraform_data.agreement]
}

run "a_certificate_of_another_account" {
  command = plan

  variables {
    stream = {
      type = "self_managed"
      self_managed = {
        bootstrap_servers = ["kafka.example.com:9096"]
        sasl_secret_arn   = "arn:aws:secretsmanager:us-east-1:123456789012:secret:user"
        ca_secret_arn     = "arn:aws:secretsmanager:us-east-1:999999999999:secret:ca"
      }
    }
  }

  expect_failures = [terraform_data.agreement]
}

run "a_key_of_another_region" {
  command = plan

  variables {
    google_credentials_secret_arns = { transform-quotes = "arn:aws:secretsmanager:eu-west-1:123456789012:secret:key" }
  }

  expect_failures = [terraform_data.agreement]
}

run "the_page_without_credentials" {
  command = plan

  variables {
    has_public_page = true
  }

  expect_failures = [terraform_data.agreement]
}

run "a_zone_that_does_not_exist" {
  command = plan

  variables {
    stream             = { type = "msk_serverless" }
    availability_zones = ["us-east-1a", "us-east-1z"]
  }

  expect_failures = [terraform_data.agreement]
}

run "a_zone_in_which_msk_has_no_brokers" {
  command = plan

  variables {
    stream             = { type = "msk_serverless" }
    availability_zones = ["us-east-1a", "us-east-1c"]
  }

  expect_failures = [terraform_data.agreement]
}

run "an_image_by_its_tag" {
  command = plan

  override_data {
    target = data.aws_ssm_parameters_by_path.deployed
    values = { names = ["/quoteflow/transform-image-uri"], values = ["123456789012.dkr.ecr.us-east-1.amazonaws.com/t:latest"] }
  }

  expect_failures = [terraform_data.agreement]
}
