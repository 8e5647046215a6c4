# The alarms, and the dashboard to look at then. infra/metrics.json has the metrics and the alarms; `make catalogue`
# writes the same rules for Prometheus.

locals {
  catalogue = jsondecode(file("${path.module}/../../metrics.json"))

  # Of each metric what CloudWatch calls it. The functions emit their own with the dimension `function`, their full name,
  # so that two deployments in an account do not mix.
  metrics = {
    for metric in local.catalogue.metrics : metric.name => merge(
      try(metric.cloudwatch, { namespace = local.catalogue.namespace, name = metric.name }),
      { functions = try(metric.functions, keys(var.functions)), statistic = metric.type == "counter" ? "Sum" : "Maximum" },
    )
  }
  dimensions = { (local.catalogue.namespace) = "function", "AWS/Lambda" = "FunctionName", "AWS/SQS" = "QueueName" }

  # Alarm and plain name of the function or queue → the alarm, and the deployed name.
  alarms = merge([
    for alarm in local.catalogue.alarms : {
      for key, name in can(alarm.queues) ? var.queues : { for key, function in var.functions : key => function.name } :
      "${alarm.name}/${key}" => merge(local.metrics[alarm.metric], {
        alarm_name  = "${name}-${try(alarm.suffix, alarm.name)}"
        subject     = name
        period      = alarm.minutes * 60
        periods     = alarm.periods
        datapoints  = try(alarm.datapoints, null)
        threshold   = alarm.above * { "" = 1, "minutes" = 60, "percent of the timeout" = 10 * try(var.functions[key].timeout_seconds, 0) }[try(alarm.unit, "")]
        description = "${replace(replace(replace(replace(alarm.text, "{function}", key), "{queue}", name), "{above}", alarm.above), "{timeout_seconds}", try(var.functions[key].timeout_seconds, ""))}${local.links[alarm.name]}"
      })
      if contains(try(alarm.queues, alarm.functions, local.metrics[alarm.metric].functions), key) && !contains(try(alarm.except, []), key)
    } if can(alarm.metric)
  ]...)
  links = { for alarm in local.catalogue.alarms : alarm.name => " Runbook: docs/RUNBOOK.md#${replace(alarm.name, "-", "")}" }

  # These two are calculated from several metrics.
  stalled   = one([for alarm in local.catalogue.alarms : alarm if alarm.name == "stalled"])
  freshness = one([for alarm in local.catalogue.alarms : alarm if alarm.name == "freshness"])

  freshness_minutes = coalesce(var.freshness_minutes, local.freshness.periods)

  # 14:30 to 20:00 UTC is within the New York session (9:30 to 16:00) in summer and in winter. On a holiday the alarm is
  # wrong: CloudWatch knows no exchange's calendar.
  minute_of_day = "HOUR(invoked)*60+MINUTE(invoked)"
  is_open       = "DAY(invoked)<6 AND ${local.minute_of_day}>=${local.catalogue.market.opens_minute} AND ${local.minute_of_day}<${local.catalogue.market.closes_minute}"
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

resource "aws_cloudwatch_metric_alarm" "this" {
  for_each = local.alarms

  alarm_name          = each.value.alarm_name
  alarm_description   = each.value.description
  namespace           = each.value.namespace
  metric_name         = each.value.name
  dimensions          = { (local.dimensions[each.value.namespace]) = each.value.subject }
  statistic           = each.value.statistic
  period              = each.value.period
  evaluation_periods  = each.value.periods
  datapoints_to_alarm = each.value.datapoints
  comparison_operator = "GreaterThanThreshold"
  threshold           = each.value.threshold
  treat_missing_data  = "notBreaching"
  alarm_actions       = [aws_sns_topic.alarms.arn]
  ok_actions          = [aws_sns_topic.alarms.arn]
}

# A Kafka trigger that has given up invokes nothing and has no lag either: OffsetLag is then absent.
resource "aws_cloudwatch_metric_alarm" "stalled" {
  alarm_name          = "${var.functions["archive-quotes"].name}-stalled"
  alarm_description   = "${local.stalled.text}${local.links.stalled}"
  evaluation_periods  = local.stalled.periods
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
      namespace   = local.catalogue.namespace
      metric_name = local.metrics["Published"].name
      dimensions  = { function = var.functions["fetch-quotes"].name }
      stat        = "Sum"
      period      = local.stalled.minutes * 60
    }
  }

  metric_query {
    id = "invoked"

    metric {
      namespace   = "AWS/Lambda"
      metric_name = "Invocations"
      dimensions  = { FunctionName = var.functions["archive-quotes"].name }
      stat        = "Sum"
      period      = local.stalled.minutes * 60
    }
  }
}

# fetch-quotes is invoked every minute, so that its invocations carry the clock: where they are missing too, nothing runs.
resource "aws_cloudwatch_metric_alarm" "freshness" {
  alarm_name          = "${var.name}-freshness"
  alarm_description   = "${replace(local.freshness.text, "{periods}", local.freshness_minutes)}${local.links.freshness}"
  evaluation_periods  = local.freshness_minutes
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
      namespace   = local.catalogue.namespace
      metric_name = local.metrics["Loaded"].name
      dimensions  = { function = var.functions["load-quotes"].name }
      stat        = "Sum"
      period      = local.freshness.minutes * 60
    }
  }

  metric_query {
    id = "invoked"

    metric {
      namespace   = "AWS/Lambda"
      metric_name = "Invocations"
      dimensions  = { FunctionName = var.functions["fetch-quotes"].name }
      stat        = "Sum"
      period      = local.freshness.minutes * 60
    }
  }
}
