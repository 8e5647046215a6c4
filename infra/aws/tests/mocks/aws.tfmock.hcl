# What AWS would answer, as far as it matters: the provider checks that an ARN looks like one.

mock_data "aws_caller_identity" {
  defaults = { account_id = "123456789012" }
}

mock_data "aws_region" {
  defaults = { name = "us-east-1" }
}

mock_data "aws_availability_zones" {
  defaults = { names = ["us-east-1a", "us-east-1b", "us-east-1c"], zone_ids = ["use1-az1", "use1-az2", "use1-az3"] }
}

mock_data "aws_ssm_parameters_by_path" {
  defaults = { names = [], values = [] }
}

mock_resource "aws_msk_serverless_cluster" {
  defaults = {
    arn                        = "arn:aws:kafka:us-east-1:123456789012:cluster/quoteflow/0a1b"
    bootstrap_brokers_sasl_iam = "boot.kafka-serverless.us-east-1.amazonaws.com:9098"
  }
}

mock_resource "aws_msk_cluster" {
  defaults = { arn = "arn:aws:kafka:us-east-1:123456789012:cluster/quoteflow/0a1b", bootstrap_brokers_sasl_iam = "b-1:9098,b-2:9098" }
}

mock_resource "aws_msk_configuration" {
  defaults = { arn = "arn:aws:kafka:us-east-1:123456789012:configuration/quoteflow/0a1b", latest_revision = 1 }
}

mock_resource "aws_lambda_function" {
  defaults = { arn = "arn:aws:lambda:us-east-1:123456789012:function:mock", invoke_arn = "arn:aws:apigateway:us-east-1:lambda:path/mock" }
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

mock_resource "aws_network_interface" {
  defaults = { private_ip = "10.42.0.10" }
}

mock_resource "aws_apigatewayv2_api" {
  defaults = { id = "page1", execution_arn = "arn:aws:execute-api:us-east-1:123456789012:page1", api_endpoint = "https://page1.execute-api.us-east-1.amazonaws.com" }
}
