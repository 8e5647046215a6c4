locals {
  # Three charts a row, in the order of the flow.
  charts = [
    {
      title   = "Quotes a minute"
      metrics = [for key in ["fetched", "published", "archived", "loaded"] : [local.namespace, local.metrics[key].name, "function", var.functions[local.metrics[key].function].name]]
      stat    = "Sum"
    },
    {
      title   = "Seconds from fetch to bronze"
      metrics = [[local.namespace, local.metrics.freshness.name, "function", var.functions[local.metrics.freshness.function].name]]
      stat    = "p95"
    },
    {
      title   = "Quarantined records"
      metrics = [[local.namespace, local.metrics.quarantined.name, "function", var.functions[local.metrics.quarantined.function].name]]
      stat    = "Sum"
    },
    {
      title   = "Errors"
      metrics = [for function in values(var.functions) : ["AWS/Lambda", "Errors", "FunctionName", function.name]]
      stat    = "Sum"
    },
    {
      title   = "Throttles"
      metrics = [for function in values(var.functions) : ["AWS/Lambda", "Throttles", "FunctionName", function.name]]
      stat    = "Sum"
    },
    {
      title   = "Duration, ms"
      metrics = [for function in values(var.functions) : ["AWS/Lambda", "Duration", "FunctionName", function.name]]
      stat    = "p95"
    },
    {
      title   = "Records behind the topic"
      metrics = [["AWS/Lambda", "OffsetLag", "FunctionName", var.functions["archive-quotes"].name]]
      stat    = "Maximum"
    },
    {
      title   = "Age of the oldest message, s"
      metrics = [for queue in values(var.queues) : ["AWS/SQS", "ApproximateAgeOfOldestMessage", "QueueName", queue]]
      stat    = "Maximum"
    },
    {
      title   = "Failed for good"
      metrics = [for queue in values(var.failed_queues) : ["AWS/SQS", "ApproximateNumberOfMessagesVisible", "QueueName", queue]]
      stat    = "Maximum"
    },
  ]
}

resource "aws_cloudwatch_dashboard" "this" {
  dashboard_name = var.name

  dashboard_body = jsonencode({
    widgets = [for index, chart in local.charts : {
      type   = "metric"
      x      = index % 3 * 8
      y      = floor(index / 3) * 6
      width  = 8
      height = 6
      properties = {
        title   = chart.title
        metrics = chart.metrics
        stat    = chart.stat
        period  = 60
        region  = var.region
        view    = "timeSeries"
      }
    }]
  })
}
