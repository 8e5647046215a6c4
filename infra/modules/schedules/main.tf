# Functions invoked by a schedule. An event that Lambda does not accept is retried for five minutes.

resource "aws_iam_role" "this" {
  name        = "${var.name}-scheduler"
  description = "What the schedules of ${var.name} may do"

  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Principal = { Service = "scheduler.amazonaws.com" }
      Action    = "sts:AssumeRole"
      Condition = { StringEquals = { "aws:SourceAccount" = var.account_id } }
    }]
  })
}

resource "aws_iam_role_policy" "this" {
  name = "${var.name}-scheduler"
  role = aws_iam_role.this.id

  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Effect   = "Allow"
        Action   = ["lambda:InvokeFunction"]
        Resource = distinct([for name in sort(keys(var.schedules)) : var.schedules[name].function_arn])
      },
      {
        Effect   = "Allow"
        Action   = ["sqs:SendMessage"]
        Resource = [var.failed_queue_arn]
      },
    ]
  })
}

resource "aws_scheduler_schedule" "this" {
  # checkov:skip=CKV_AWS_297:The events contain nothing but the time
  for_each = var.schedules

  name                         = "${var.name}-${each.key}"
  schedule_expression          = each.value.expression
  schedule_expression_timezone = each.value.time_zone
  state                        = var.are_enabled ? "ENABLED" : "DISABLED"

  flexible_time_window {
    mode = "OFF"
  }

  target {
    arn      = each.value.function_arn
    role_arn = aws_iam_role.this.arn
    input    = each.value.input

    retry_policy {
      maximum_retry_attempts       = 10
      maximum_event_age_in_seconds = 300
    }

    dead_letter_config {
      arn = var.failed_queue_arn
    }
  }

  # A schedule fires as soon as it exists.
  depends_on = [aws_iam_role_policy.this]
}
