mock_provider "aws" {
  source = "./tests/mocks"
}

variables {
  name = "quoteflow"
}

run "every_way_to_fail_has_its_alarm" {
  command = apply
  module { source = "../modules/observability" }

  variables {
    region = "us-east-1"
    email  = "operator@example.com"
    functions = {
      fetch-quotes     = { name = "quoteflow-fetch-quotes", timeout_seconds = 90 }
      archive-quotes   = { name = "quoteflow-archive-quotes", timeout_seconds = 30 }
      load-quotes      = { name = "quoteflow-load-quotes", timeout_seconds = 30 }
      transform-quotes = { name = "quoteflow-transform-quotes", timeout_seconds = 300 }
    }
    queues = { quotes-archived = "quoteflow-quotes-archived", quotes-archived-dlq = "quoteflow-quotes-archived-dlq" }
  }

  assert {
    condition = alltrue([
      for name in keys(var.functions) : aws_cloudwatch_metric_alarm.this["errors/${name}"].threshold == 0
      && aws_cloudwatch_metric_alarm.this["duration/${name}"].threshold == var.functions[name].timeout_seconds * 800
    ])
    error_message = "Errors and durations of each function, the latter at 80 % of its timeout."
  }
  assert {
    condition     = [for key in keys(aws_cloudwatch_metric_alarm.this) : key if startswith(key, "throttles/")] == ["throttles/archive-quotes", "throttles/load-quotes"]
    error_message = "Only where a scheduled event may wait for the one before, a throttle raises no alarm."
  }
  assert {
    condition     = aws_cloudwatch_metric_alarm.this["failed/quotes-archived-dlq"].threshold == 0 && aws_cloudwatch_metric_alarm.this["backlog/quotes-archived"].threshold == 600 && aws_cloudwatch_metric_alarm.this["lag/archive-quotes"].metric_name == "OffsetLag"
    error_message = "Dead letters, waiting messages and lag."
  }
  assert {
    condition = (
      aws_cloudwatch_metric_alarm.this["quarantined/archive-quotes"].metric_name == "Quarantined"
      && aws_cloudwatch_metric_alarm.this["quarantined/archive-quotes"].dimensions["function"] == "quoteflow-archive-quotes"
      && aws_cloudwatch_metric_alarm.this["tests-failed/transform-quotes"].metric_name == "TestsFailed"
      && aws_cloudwatch_metric_alarm.this["tests-failed/transform-quotes"].alarm_name == "quoteflow-transform-quotes-tests-failed"
    )
    error_message = "Records that are not quotes, and tables that break a rule."
  }
  assert {
    condition = (
      aws_cloudwatch_metric_alarm.freshness.treat_missing_data == "breaching"
      && aws_cloudwatch_metric_alarm.freshness.evaluation_periods == 15
      && one([for query in aws_cloudwatch_metric_alarm.freshness.metric_query : query.expression if query.return_data == true])
      == "IF(DAY(invoked)<6 AND HOUR(invoked)*60+MINUTE(invoked)>=870 AND HOUR(invoked)*60+MINUTE(invoked)<1200, counted, 1)"
    )
    error_message = "Freshness counts while the market is open, in summer and in winter."
  }
  assert {
    condition = (
      one([for query in aws_cloudwatch_metric_alarm.stalled.metric_query : query.expression if query.return_data == true]) == "IF(published > 0 AND counted < 1, 1, 0)"
      && toset([for alarm in [aws_cloudwatch_metric_alarm.stalled, aws_cloudwatch_metric_alarm.freshness] : join(" ", sort([for query in alarm.metric_query : query.expression if contains(["counted", "zero"], query.id)]))]) == toset(["SUM([invoked, zero]) published * 0", "SUM([loaded, zero]) invoked * 0"])
      && toset(flatten([for query in aws_cloudwatch_metric_alarm.stalled.metric_query : [for metric in query.metric : "${metric.namespace} ${metric.metric_name} ${jsonencode(metric.dimensions)}"]])) == toset([
        "Quoteflow Published {\"function\":\"quoteflow-fetch-quotes\"}", "AWS/Lambda Invocations {\"FunctionName\":\"quoteflow-archive-quotes\"}",
      ])
    )
    error_message = "A trigger that has stopped while quotes are published must raise an alarm."
  }
  # What the functions write (function-kit's metrics.rs, transform-quotes' handler.py): another namespace would be silent.
  assert {
    condition = alltrue([
      for namespace in concat(
        [aws_cloudwatch_metric_alarm.this["quarantined/archive-quotes"].namespace, aws_cloudwatch_metric_alarm.this["tests-failed/transform-quotes"].namespace],
        flatten([for query in aws_cloudwatch_metric_alarm.freshness.metric_query : [for metric in query.metric : metric.namespace if query.id == "loaded"]]),
        flatten([for widget in jsondecode(aws_cloudwatch_dashboard.this.dashboard_body).widgets : [for metric in widget.properties.metrics : metric[0] if !startswith(metric[0], "AWS/")]]),
      ) : namespace == "Quoteflow"
    ])
    error_message = "The functions write to the namespace Quoteflow."
  }
  assert {
    condition     = aws_sns_topic_subscription.email["operator@example.com"].protocol == "email"
    error_message = "The operator must be notified."
  }
  assert {
    condition     = length(jsondecode(aws_cloudwatch_dashboard.this.dashboard_body).widgets) == 9 && length(distinct([for widget in jsondecode(aws_cloudwatch_dashboard.this.dashboard_body).widgets : "${widget.x} ${widget.y}"])) == 9
    error_message = "Nine charts, none on another."
  }
}

run "limits_that_are_none" {
  command = plan
  module { source = "../modules/observability" }

  variables {
    region            = "us-east-1"
    functions         = { for name in ["fetch-quotes", "archive-quotes", "load-quotes"] : name => { name = name, timeout_seconds = 30 } }
    queues            = {}
    freshness_minutes = 90
  }
  expect_failures = [var.freshness_minutes]
}

run "another_freshness_without_transform_quotes" {
  command = plan
  module { source = "../modules/observability" }

  variables {
    region            = "us-east-1"
    functions         = { for name in ["fetch-quotes", "archive-quotes", "load-quotes"] : name => { name = name, timeout_seconds = 30 } }
    queues            = {}
    freshness_minutes = 20
  }

  assert {
    condition     = aws_cloudwatch_metric_alarm.freshness.evaluation_periods == 20 && startswith(aws_cloudwatch_metric_alarm.freshness.alarm_description, "No row reached bronze for 20 minutes ")
    error_message = "A deployment may choose its own minutes."
  }
  assert {
    condition     = !anytrue([for key in keys(aws_cloudwatch_metric_alarm.this) : startswith(key, "tests-failed/")])
    error_message = "Without the function there are no tests to fail."
  }
}
