# A function with its own role and log.

locals {
  statements = concat(
    [{
      actions   = ["logs:CreateLogStream", "logs:PutLogEvents"]
      resources = ["${aws_cloudwatch_log_group.this.arn}:*"]
    }],
    [{
      actions = ["xray:PutTraceSegments", "xray:PutTelemetryRecords"]
      # X-Ray has no resources to name.
      resources = ["*"]
    }],
    var.network == null ? [] : [{
      actions = [
        "ec2:AssignPrivateIpAddresses", "ec2:CreateNetworkInterface", "ec2:DeleteNetworkInterface",
        "ec2:DescribeNetworkInterfaces", "ec2:DescribeSubnets", "ec2:UnassignPrivateIpAddresses",
      ]
      # Lambda makes its network interfaces with this role and checks these without naming a resource.
      resources = ["*"]
    }],
    [for queue in var.asynchronous[*].failed_queue_arn : { actions = ["sqs:SendMessage"], resources = [queue] }],
    var.statements,
  )
}

resource "aws_cloudwatch_log_group" "this" {
  # checkov:skip=CKV_AWS_158:CloudWatch Logs encrypts with its own key; no log line contains a secret (tested)
  # checkov:skip=CKV_AWS_338:log_retention_days is the operator's choice; the logs are no records
  name              = "/aws/lambda/${var.name}"
  retention_in_days = var.log_retention_days
}

resource "aws_iam_role" "this" {
  name        = var.name
  description = "What the function ${var.name} may do"

  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Principal = { Service = "lambda.amazonaws.com" }
      Action    = "sts:AssumeRole"
    }]
  })
}

resource "aws_iam_role_policy" "this" {
  # checkov:skip=CKV_AWS_290:Each "*" is one that AWS forces, with its reason beside it
  # checkov:skip=CKV_AWS_355:As above
  name = var.name
  role = aws_iam_role.this.id

  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [for statement in local.statements : {
      Effect   = "Allow"
      Action   = statement.actions
      Resource = statement.resources
    }]
  })
}

resource "aws_lambda_function" "this" {
  # checkov:skip=CKV_AWS_115:Limited where it has to be: reserved_concurrency
  # checkov:skip=CKV_AWS_116:Only asynchronous events need one, and have it: aws_lambda_function_event_invoke_config
  # checkov:skip=CKV_AWS_117:In a VPC only where its work is in one; a VPC adds cost and no protection to calls of public APIs
  # checkov:skip=CKV_AWS_173:The variables contain no secret: secrets are references
  # checkov:skip=CKV_AWS_272:Code signing would want a signing profile and a bucket; the package is hashed and deployed by this apply
  function_name = var.name
  description   = var.description
  role          = aws_iam_role.this.arn

  package_type     = var.image_uri == null ? "Zip" : "Image"
  image_uri        = var.image_uri
  filename         = var.zip
  source_code_hash = try(filebase64sha256(var.zip), null)
  runtime          = var.zip == null ? null : "provided.al2023"
  handler          = var.zip == null ? null : "bootstrap"
  architectures    = [var.architecture]

  memory_size                    = var.memory_mb
  timeout                        = var.timeout_seconds
  reserved_concurrent_executions = coalesce(var.reserved_concurrency, -1)

  environment {
    variables = { for name, value in var.environment : name => value if value != null }
  }

  tracing_config {
    mode = "Active"
  }

  dynamic "vpc_config" {
    for_each = var.network[*]

    content {
      subnet_ids         = vpc_config.value.subnet_ids
      security_group_ids = vpc_config.value.security_group_ids
    }
  }

  # Not before it may write its log, nor after.
  depends_on = [aws_iam_role_policy.this]

  # A missing zip stops an apply and not a destroy.
  lifecycle {
    precondition {
      condition     = var.zip == null || can(filebase64sha256(var.zip))
      error_message = "${coalesce(var.zip, "-")} is missing: run `make package`."
    }
  }
}

resource "aws_lambda_function_event_invoke_config" "this" {
  count = var.asynchronous == null ? 0 : 1

  function_name                = aws_lambda_function.this.function_name
  maximum_retry_attempts       = var.asynchronous.retries
  maximum_event_age_in_seconds = var.asynchronous.max_age_seconds

  destination_config {
    on_failure {
      destination = var.asynchronous.failed_queue_arn
    }
  }
}
