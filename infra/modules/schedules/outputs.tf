output "schedules" {
  description = "Function, expression and event of each schedule, by name."
  value = { for name, schedule in aws_scheduler_schedule.this : name => {
    function_arn = schedule.target[0].arn
    expression   = schedule.schedule_expression
    time_zone    = schedule.schedule_expression_timezone
    input        = schedule.target[0].input
    is_enabled   = schedule.state == "ENABLED"
    # Neither is set: a schedule has no first and no last day.
    limits = compact([schedule.start_date, schedule.end_date])
  } }
}
