# The alarms, and the dashboard to look at then. localstack/prometheus/alerts.yml has the same
# rules for the Docker stack; tests/stack compares them.

locals {
  # What the functions emit in CloudWatch's embedded format: namespace, and the metrics used here. Their dimension
  # `function` is the function's full name, so that two deployments in an account do not mix.
  namespace = "Quoteflow"
  metrics = {
    fetched      = { function = "fetch-quotes", name = "Fetched" }
    published    = { function = "fetch-quotes", name = "Published" }
    archived     = { function = "archive-quotes", name = "Archived" }
    quarantined  = { function = "archive-quotes", name = "Quarantined" }
    loaded       = { function = "load-quotes", name = "Loaded" }
    freshness    = { function = "load-quotes", name = "FreshnessSeconds" }
    tests_failed = { function = "transform-quotes", name = "TestsFailed" }
  }

  # 14:30 to 20:00 UTC is within the New York session (9:30 to 16:00) in summer and in winter. On a holiday the alarm is
  # wrong: CloudWatch knows no exchange's calendar.
  opens_minute  = 14 * 60 + 30
  closes_minute = 20 * 60
  minute_of_day = "HOUR(invoked)*60+MINUTE(invoked)"
  is_open       = "DAY(invoked)<6 AND ${local.minute_of_day}>=${local.opens_minute} AND ${local.minute_of_day}<${local.closes_minute}"
}

resource "aws_sns_topic" "alarms" {
  # checkov:skip=CKV_AWS_26:With AWS's own key CloudWatch could not publish, and an alarm's text is no secret
  name = "${var.name}-alarms"
}

resource "aws_sns_topic_subscription" "email" {
  for_each = toset(var.email[*])

  topic_arn = aws_sns_topic.alarms.arn
  protocol  = "email"
  endpoint  = each.value
}

# The trigger retries a single failed invocation. This alarm is for failures that continue.
resource "aws_cloudwatch_metric_alarm" "errors" {
  for_each = var.functions

  alarm_name          = "${each.value.name}-errors"
  alarm_description   = "${each.key} fails repeatedly. Its log has the reason. Runbook: docs/RUNBOOK.md#errors"
  namespace           = "AWS/Lambda"
  metric_name         = "Errors"
  dimensions          = { FunctionName = each.value.name }
  statistic           = "Sum"
  period              = 300
  evaluation_periods  = 3
  datapoints_to_alarm = 2
  comparison_operator = "GreaterThanThreshold"
  threshold           = 0
  treat_missing_data  = "notBreaching"
  alarm_actions       = [aws_sns_topic.alarms.arn]
  ok_actions          = [aws_sns_topic.alarms.arn]
}

resource "aws_cloudwatch_metric_alarm" "throttles" {
  for_each = { for name, function in var.functions : name => function if !function.is_throttling_normal }

  alarm_name          = "${each.value.name}-throttles"
  alarm_description   = "${each.key} is throttled: an invocation hangs, or the account's concurrency is used up. Runbook: docs/RUNBOOK.md#throttles"
  namespace           = "AWS/Lambda"
  metric_name         = "Throttles"
  dimensions          = { FunctionName = each.value.name }
  statistic           = "Sum"
  period              = 300
  evaluation_periods  = 3
  datapoints_to_alarm = 2
  comparison_operator = "GreaterThanThreshold"
  threshold           = 0
  treat_missing_data  = "notBreaching"
  alarm_actions       = [aws_sns_topic.alarms.arn]
  ok_actions          = [aws_sns_topic.alarms.arn]
}

resource "aws_cloudwatch_metric_alarm" "duration" {
  for_each = var.functions

  alarm_name          = "${each.value.name}-duration"
  alarm_description   = "${each.key} needs more than 80 % of its timeout of ${each.value.timeout_seconds} s. Runbook: docs/RUNBOOK.md#duration"
  namespace           = "AWS/Lambda"
  metric_name         = "Duration"
  dimensions          = { FunctionName = each.value.name }
  statistic           = "Maximum"
  period              = 300
  evaluation_periods  = 3
  datapoints_to_alarm = 2
  comparison_operator = "GreaterThanThreshold"
  threshold           = each.value.timeout_seconds * 1000 * 0.8
  treat_missing_data  = "notBreaching"
  alarm_actions       = [aws_sns_topic.alarms.arn]
  ok_actions          = [aws_sns_topic.alarms.arn]
}

resource "aws_cloudwatch_metric_alarm" "failed" {
  for_each = var.failed_queues

  alarm_name          = "${each.value}-not-empty"
  alarm_description   = "${each.value} is not empty: its messages failed on every attempt and are not retried. Runbook: docs/RUNBOOK.md#failed"
  namespace           = "AWS/SQS"
  metric_name         = "ApproximateNumberOfMessagesVisible"
  dimensions          = { QueueName = each.value }
  statistic           = "Maximum"
  period              = 60
  evaluation_periods  = 1
  comparison_operator = "GreaterThanThreshold"
  threshold           = 0
  treat_missing_data  = "notBreaching"
  alarm_actions       = [aws_sns_topic.alarms.arn]
  ok_actions          = [aws_sns_topic.alarms.arn]
}

resource "aws_cloudwatch_metric_alarm" "backlog" {
  for_each = var.queues

  alarm_name          = "${each.value}-backlog"
  alarm_description   = "A message has waited in ${each.value} for more than ${var.backlog_minutes} minutes: its function fails or is too slow. Runbook: docs/RUNBOOK.md#backlog"
  namespace           = "AWS/SQS"
  metric_name         = "ApproximateAgeOfOldestMessage"
  dimensions          = { QueueName = each.value }
  statistic           = "Maximum"
  period              = 60
  evaluation_periods  = 3
  comparison_operator = "GreaterThanThreshold"
  threshold           = var.backlog_minutes * 60
  treat_missing_data  = "notBreaching"
  alarm_actions       = [aws_sns_topic.alarms.arn]
  ok_actions          = [aws_sns_topic.alarms.arn]
}

resource "aws_cloudwatch_metric_alarm" "lag" {
  alarm_name          = "${var.functions["archive-quotes"].name}-lag"
  alarm_description   = "archive-quotes is more than ${var.lag_limit} records behind the topic. Runbook: docs/RUNBOOK.md#lag"
  namespace           = "AWS/Lambda"
  metric_name         = "OffsetLag"
  dimensions          = { FunctionName = var.functions["archive-quotes"].name }
  statistic           = "Maximum"
  period              = 60
  evaluation_periods  = 5
  comparison_operator = "GreaterThanThreshold"
  threshold           = var.lag_limit
  treat_missing_data  = "notBreaching"
  alarm_actions       = [aws_sns_topic.alarms.arn]
  ok_actions          = [aws_sns_topic.alarms.arn]
}

# A Kafka trigger that has given up invokes nothing and has no lag either: OffsetLag is then absent.
resource "aws_cloudwatch_metric_alarm" "stalled" {
  alarm_name          = "${var.functions["archive-quotes"].name}-stalled"
  alarm_description   = "Quotes are published but archive-quotes is not invoked: the Kafka trigger has stopped. Runbook: docs/RUNBOOK.md#stalled"
  evaluation_periods  = 2
  comparison_operator = "GreaterThanThreshold"
  threshold           = 0
  treat_missing_data  = "notBreaching"
  alarm_actions       = [aws_sns_topic.alarms.arn]
  ok_actions          = [aws_sns_topic.alarms.arn]

  metric_query {
    id          = "stalled"
    label       = "1 while quotes are published and none is archived"
    expression  = "IF(published > 0 AND counted < 1, 1, 0)"
    return_data = true
  }

  # A metric without any point stays empty under FILL. In a sum of several, one that is missing counts as nothing.
  metric_query {
    id         = "counted"
    expression = "SUM([invoked, zero])"
  }

  metric_query {
    id         = "zero"
    expression = "published * 0"
  }

  metric_query {
    id = "published"

    metric {
      namespace   = local.namespace
      metric_name = local.metrics.published.name
      dimensions  = { function = var.functions[local.metrics.published.function].name }
      stat        = "Sum"
      period      = 300
    }
  }

  metric_query {
    id = "invoked"

    metric {
      namespace   = "AWS/Lambda"
      metric_name = "Invocations"
      dimensions  = { FunctionName = var.functions["archive-quotes"].name }
      stat        = "Sum"
      period      = 300
    }
  }
}

resource "aws_cloudwatch_metric_alarm" "quarantined" {
  alarm_name          = "${var.functions["archive-quotes"].name}-quarantined"
  alarm_description   = "Records on the topic are not valid quotes. They were moved to the quarantine bucket with the reason. Runbook: docs/RUNBOOK.md#quarantined"
  namespace           = local.namespace
  metric_name         = local.metrics.quarantined.name
  dimensions          = { function = var.functions[local.metrics.quarantined.function].name }
  statistic           = "Sum"
  period              = 300
  evaluation_periods  = 1
  comparison_operator = "GreaterThanThreshold"
  threshold           = 0
  treat_missing_data  = "notBreaching"
  alarm_actions       = [aws_sns_topic.alarms.arn]
  ok_actions          = [aws_sns_topic.alarms.arn]
}

# The tests run once a day. A failed run of dbt fails the invocation, which has its alarm.
resource "aws_cloudwatch_metric_alarm" "tests_failed" {
  count = contains(keys(var.functions), "transform-quotes") ? 1 : 0

  alarm_name          = "${var.functions["transform-quotes"].name}-tests-failed"
  alarm_description   = "A data test of dbt failed: a table breaks a rule. The log of transform-quotes names the test. Runbook: docs/RUNBOOK.md#testsfailed"
  namespace           = local.namespace
  metric_name         = local.metrics.tests_failed.name
  dimensions          = { function = var.functions[local.metrics.tests_failed.function].name }
  statistic           = "Sum"
  period              = 86400
  evaluation_periods  = 1
  comparison_operator = "GreaterThanThreshold"
  threshold           = 0
  treat_missing_data  = "notBreaching"
  alarm_actions       = [aws_sns_topic.alarms.arn]
  ok_actions          = [aws_sns_topic.alarms.arn]
}

# fetch-quotes is invoked every minute, so that its invocations carry the clock: where they are missing too, nothing runs.
resource "aws_cloudwatch_metric_alarm" "freshness" {
  alarm_name          = "${var.name}-freshness"
  alarm_description   = "No row reached bronze for ${var.freshness_minutes} minutes although the US market is open, or fetch-quotes is not invoked. Runbook: docs/RUNBOOK.md#freshness"
  evaluation_periods  = var.freshness_minutes
  comparison_operator = "LessThanThreshold"
  threshold           = 1
  treat_missing_data  = "breaching"
  alarm_actions       = [aws_sns_topic.alarms.arn]
  ok_actions          = [aws_sns_topic.alarms.arn]

  metric_query {
    id          = "rows"
    label       = "rows loaded, or 1 while the market is closed"
    expression  = "IF(${local.is_open}, counted, 1)"
    return_data = true
  }

  # As above.
  metric_query {
    id         = "counted"
    expression = "SUM([loaded, zero])"
  }

  metric_query {
    id         = "zero"
    expression = "invoked * 0"
  }

  metric_query {
    id = "loaded"

    metric {
      namespace   = local.namespace
      metric_name = local.metrics.loaded.name
      dimensions  = { function = var.functions[local.metrics.loaded.function].name }
      stat        = "Sum"
      period      = 60
    }
  }

  metric_query {
    id = "invoked"

    metric {
      namespace   = "AWS/Lambda"
      metric_name = "Invocations"
      dimensions  = { FunctionName = var.functions["fetch-quotes"].name }
      stat        = "Sum"
      period      = 60
    }
  }
}
