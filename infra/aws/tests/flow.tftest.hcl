# The root as a whole: what is triggered by what, and with which limits.

mock_provider "aws" {
  mock_data "aws_caller_identity" {
    defaults = { account_id = "123456789012" }
  }
  mock_data "aws_region" {
    defaults = { name = "us-east-1" }
  }
  mock_resource "aws_msk_serverless_cluster" {
    defaults = {
      arn                        = "arn:aws:kafka:us-east-1:123456789012:cluster/quoteflow/0a1b"
      bootstrap_brokers_sasl_iam = "boot.kafka-serverless.us-east-1.amazonaws.com:9098"
    }
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
  finnhub_api_key_secret_arn = "arn:aws:secretsmanager:us-east-1:123456789012:secret:quoteflow/finnhub-api-key-a1b2c3"
  package_dir                = "tests/packages"
  bigquery                   = { project = "quoteflow-test" }
  transform_image_uri        = "123456789012.dkr.ecr.us-east-1.amazonaws.com/t@sha256:0000000000000000000000000000000000000000000000000000000000000000"
  google_credentials = {
    load-quotes      = "{\"type\":\"external_account\"}"
    reconcile-quotes = "{\"type\":\"external_account\"}"
    transform-quotes = "{\"type\":\"external_account\"}"
  }
  stream = { type = "msk_serverless" }
}

run "msk_serverless_gets_a_network_and_an_iam_trigger" {
  command = apply

  assert {
    condition     = length(module.network) == 1 && length(module.network[0].private_subnet_ids) == 2
    error_message = "MSK needs a network with two zones."
  }
  assert {
    condition     = output.kafka == { bootstrap_servers = "boot.kafka-serverless.us-east-1.amazonaws.com:9098", security = "msk_iam", topic = "stock-quotes" }
    error_message = "Clients must speak IAM to the cluster's own servers: ${jsonencode(output.kafka)}"
  }
  assert {
    condition = (
      aws_lambda_event_source_mapping.archive_quotes[0].event_source_arn == "arn:aws:kafka:us-east-1:123456789012:cluster/quoteflow/0a1b"
      && aws_lambda_event_source_mapping.archive_quotes[0].amazon_managed_kafka_event_source_config[0].consumer_group_id == "archive-quotes"
      && length(aws_lambda_event_source_mapping.archive_quotes[0].self_managed_event_source) == 0
    )
    error_message = "The trigger must read the cluster as the group archive-quotes."
  }
  assert {
    condition = (
      aws_lambda_event_source_mapping.archive_quotes[0].batch_size == 100
      && aws_lambda_event_source_mapping.archive_quotes[0].starting_position == "TRIM_HORIZON"
      && aws_lambda_event_source_mapping.archive_quotes[0].destination_config[0].on_failure[0].destination_arn == "arn:aws:s3:::mock"
    )
    error_message = "The trigger must begin at the topic's beginning and keep what Lambda gives up."
  }
  assert {
    condition = (
      aws_lambda_event_source_mapping.load_quotes.scaling_config[0].maximum_concurrency == 2
      && contains(aws_lambda_event_source_mapping.load_quotes.function_response_types, "ReportBatchItemFailures")
    )
    error_message = "load-quotes must answer for each message, with the least concurrency that SQS has."
  }
  assert {
    condition     = jsonencode(module.loaded_queue.visibility_seconds) == "1800" && jsonencode(module.archived_queue.visibility_seconds) == "180"
    error_message = "Messages must stay hidden for six timeouts, while Lambda tries a throttled batch again."
  }
  assert {
    condition     = toset(keys(output.functions)) == toset(["fetch-quotes", "archive-quotes", "load-quotes", "reconcile-quotes", "transform-quotes"])
    error_message = "Five functions, without a page: ${jsonencode(keys(output.functions))}"
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
}

run "without_an_image_everything_but_transform_quotes_is_there" {
  command = apply

  variables {
    transform_image_uri = null
  }

  assert {
    condition     = !contains(keys(output.functions), "transform-quotes") && length(aws_lambda_event_source_mapping.transform_quotes) == 0
    error_message = "There is nothing to run yet."
  }
  assert {
    condition     = aws_ecr_repository.transform_quotes.image_tag_mutability == "IMMUTABLE"
    error_message = "The repository to push to must be there."
  }
}

run "the_page_has_a_url" {
  command = apply

  variables {
    dashboard = { authorization = "NONE" }
    google_credentials = {
      load-quotes      = "{\"type\":\"external_account\"}"
      reconcile-quotes = "{\"type\":\"external_account\"}"
      transform-quotes = "{\"type\":\"external_account\"}"
      serve-dashboard  = "{\"type\":\"external_account\"}"
    }
  }

  assert {
    condition     = contains(keys(output.functions), "serve-dashboard") && output.dashboard_url != null
    error_message = "The page must be there, with a URL."
  }
}
