# The alarms of before the catalogue, whose addresses in the state are gone. Terraform forgets them and does not delete
# them: main.tf makes alarms of the same names, and CloudWatch writes those over the old ones.

removed {
  from = aws_cloudwatch_metric_alarm.errors
  lifecycle { destroy = false }
}

removed {
  from = aws_cloudwatch_metric_alarm.throttles
  lifecycle { destroy = false }
}

removed {
  from = aws_cloudwatch_metric_alarm.duration
  lifecycle { destroy = false }
}

removed {
  from = aws_cloudwatch_metric_alarm.failed
  lifecycle { destroy = false }
}

removed {
  from = aws_cloudwatch_metric_alarm.backlog
  lifecycle { destroy = false }
}

removed {
  from = aws_cloudwatch_metric_alarm.lag
  lifecycle { destroy = false }
}

removed {
  from = aws_cloudwatch_metric_alarm.quarantined
  lifecycle { destroy = false }
}

removed {
  from = aws_cloudwatch_metric_alarm.tests_failed
  lifecycle { destroy = false }
}
