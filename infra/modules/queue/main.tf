# An encrypted queue over TLS, with a dead-letter queue that takes from it alone.

locals {
  longest_retention_seconds = 14 * 24 * 60 * 60

  tls_only = {
    Sid       = "TlsOnly"
    Effect    = "Deny"
    Principal = "*"
    Action    = "sqs:*"
    Resource  = "*"
    Condition = { Bool = { "aws:SecureTransport" = "false" } }
  }
  from_bucket = [for bucket in var.sending_bucket_arn[*] : {
    Sid       = "BucketEvents"
    Effect    = "Allow"
    Principal = { Service = "s3.amazonaws.com" }
    Action    = "sqs:SendMessage"
    # A queue's own policy names no other queue.
    Resource = "*"
    Condition = {
      ArnEquals    = { "aws:SourceArn" = bucket }
      StringEquals = { "aws:SourceAccount" = var.account_id }
    }
  }]
}

resource "aws_sqs_queue" "dead_letter" {
  count = var.has_dead_letter_queue ? 1 : 0

  name                      = "${var.name}-dlq"
  message_retention_seconds = local.longest_retention_seconds
  sqs_managed_sse_enabled   = true
  policy                    = jsonencode({ Version = "2012-10-17", Statement = [local.tls_only] })
}

resource "aws_sqs_queue" "this" {
  name                       = var.name
  visibility_timeout_seconds = var.visibility_seconds
  message_retention_seconds  = local.longest_retention_seconds
  sqs_managed_sse_enabled    = true
  policy                     = jsonencode({ Version = "2012-10-17", Statement = concat([local.tls_only], local.from_bucket) })

  redrive_policy = var.has_dead_letter_queue ? jsonencode({
    deadLetterTargetArn = aws_sqs_queue.dead_letter[0].arn
    maxReceiveCount     = var.max_receives
  }) : null
}

resource "aws_sqs_queue_redrive_allow_policy" "this" {
  count = var.has_dead_letter_queue ? 1 : 0

  queue_url = aws_sqs_queue.dead_letter[0].id

  redrive_allow_policy = jsonencode({
    redrivePermission = "byQueue"
    sourceQueueArns   = [aws_sqs_queue.this.arn]
  })
}
