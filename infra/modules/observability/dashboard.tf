locals {
  # The first columns of a chart's line.
  series = { for name, metric in local.metrics : name => [metric.namespace, metric.name, local.dimensions[metric.namespace]] }

  # Three charts a row, in the order of the flow.
  charts = [
    {
      title   = "Quotes a minute"
      metrics = [for name in ["Fetched", "Published", "Archived", "Loaded"] : concat(local.series[name], [var.functions[local.metrics[name].functions[0]].name])]
      stat    = "Sum"
    },
    {
      title   = "Seconds from fetch to bronze"
      metrics = [concat(local.series["FreshnessSeconds"], [var.functions["load-quotes"].name])]
      stat    = "p95"
    },
    {
      title   = "Quarantined records"
      metrics = [concat(local.series["Quarantined"], [var.functions["archive-quotes"].name])]
      stat    = "Sum"
    },
    {
      title   = "Errors"
      metrics = [for function in values(var.functions) : concat(local.series["Errors"], [function.name])]
      stat    = "Sum"
    },
    {
      title   = "Throttles"
      metrics = [for function in values(var.functions) : concat(local.series["Throttles"], [function.name])]
      stat    = "Sum"
    },
    {
      title   = "Duration, ms"
      metrics = [for function in values(var.functions) : concat(local.series["DurationSeconds"], [function.name])]
      stat    = "p95"
    },
    {
      title   = "Records behind the topic"
      metrics = [concat(local.series["TopicLag"], [var.functions["archive-quotes"].name])]
      stat    = "Maximum"
    },
    {
      title   = "Age of the oldest message, s"
      metrics = [for alarm in values(local.alarms) : concat(local.series["QueueOldestMessageAgeSeconds"], [alarm.subject]) if alarm.name == "ApproximateAgeOfOldestMessage"]
      stat    = "Maximum"
    },
    {
      title   = "Failed for good"
      metrics = [for alarm in values(local.alarms) : concat(local.series["QueueMessages"], [alarm.subject]) if alarm.name == "ApproximateNumberOfMessagesVisible"]
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
