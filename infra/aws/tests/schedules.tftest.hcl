mock_provider "aws" {
  source = "./tests/mocks"
}

variables {
  name       = "quoteflow"
  account_id = "123456789012"
}

run "the_schedulers_role_may_invoke_only_what_is_scheduled" {
  command = apply
  module { source = "../modules/schedules" }

  variables {
    are_enabled      = false
    failed_queue_arn = "arn:aws:sqs:us-east-1:123456789012:failed"
    schedules = {
      a = { function_arn = "arn:aws:lambda:us-east-1:123456789012:function:a", expression = "rate(1 minute)" }
      b = { function_arn = "arn:aws:lambda:us-east-1:123456789012:function:a", expression = "cron(30 17 ? * MON-FRI *)", time_zone = "America/New_York" }
    }
  }

  assert {
    condition     = jsondecode(aws_iam_role_policy.this.policy).Statement[0].Resource == ["arn:aws:lambda:us-east-1:123456789012:function:a"]
    error_message = "The role's policy is ${aws_iam_role_policy.this.policy}"
  }
  assert {
    condition     = jsondecode(aws_iam_role.this.assume_role_policy).Statement[0].Condition.StringEquals["aws:SourceAccount"] == "123456789012"
    error_message = "Schedules of other accounts must not take the role."
  }
  assert {
    condition = alltrue([for schedule in values(aws_scheduler_schedule.this) : alltrue([
      schedule.state == "DISABLED",
      schedule.target[0].retry_policy[0].maximum_retry_attempts == 10,
      schedule.target[0].retry_policy[0].maximum_event_age_in_seconds == 300,
      schedule.target[0].dead_letter_config[0].arn == "arn:aws:sqs:us-east-1:123456789012:failed",
    ])]) && aws_scheduler_schedule.this["b"].schedule_expression_timezone == "America/New_York"
    error_message = "Paused, offered again for five minutes, with a queue for what failed."
  }
}

run "a_schedule_that_is_none" {
  command = plan
  module { source = "../modules/schedules" }

  variables {
    failed_queue_arn = "arn:aws:sqs:us-east-1:123456789012:failed"
    schedules        = { a = { function_arn = "arn:aws:lambda:us-east-1:123456789012:function:a", expression = "every minute" } }
  }
  expect_failures = [var.schedules]
}

run "an_event_that_is_no_json" {
  command = plan
  module { source = "../modules/schedules" }

  variables {
    failed_queue_arn = "arn:aws:sqs:us-east-1:123456789012:failed"
    schedules        = { a = { function_arn = "arn:aws:lambda:us-east-1:123456789012:function:a", expression = "rate(1 minute)", input = "now" } }
  }
  expect_failures = [var.schedules]
}
