mock_provider "aws" {
  source = "./tests/mocks"
}

variables {
  account_id = "123456789012"
}

run "only_the_bucket_may_send_and_failures_are_kept" {
  command = apply
  module { source = "../modules/queue" }

  variables {
    name               = "quotes-archived"
    visibility_seconds = 180
    sending_bucket_arn = "arn:aws:s3:::bronze"
  }

  assert {
    condition = jsondecode(aws_sqs_queue.this.policy).Statement[1].Condition == {
      ArnEquals    = { "aws:SourceArn" = "arn:aws:s3:::bronze" }
      StringEquals = { "aws:SourceAccount" = "123456789012" }
    }
    error_message = "S3 may send for this bucket of this account only."
  }
  assert {
    condition     = jsondecode(aws_sqs_queue.this.redrive_policy).maxReceiveCount == 5 && aws_sqs_queue.dead_letter[0].name == "quotes-archived-dlq" && aws_sqs_queue.dead_letter[0].message_retention_seconds == 1209600
    error_message = "The fifth failure must lead to the dead-letter queue, which keeps it for two weeks."
  }
  assert {
    condition     = aws_sqs_queue.this.sqs_managed_sse_enabled && aws_sqs_queue.dead_letter[0].sqs_managed_sse_enabled
    error_message = "The queues must be encrypted."
  }
}

run "a_queue_without_a_sender_lets_no_service_send" {
  command = apply
  module { source = "../modules/queue" }

  variables {
    name                  = "failed-events"
    has_dead_letter_queue = false
  }

  assert {
    condition     = [for statement in jsondecode(aws_sqs_queue.this.policy).Statement : statement.Effect] == ["Deny"] && length(aws_sqs_queue.dead_letter) == 0
    error_message = "Nobody but the account's own roles may send."
  }
}

run "too_few_receives_for_a_passing_fault" {
  command = plan
  module { source = "../modules/queue" }

  variables {
    name         = "quotes-archived"
    max_receives = 4
  }
  expect_failures = [var.max_receives]
}

run "a_message_hidden_for_longer_than_sqs_can" {
  command = plan
  module { source = "../modules/queue" }

  variables {
    name               = "quotes-archived"
    visibility_seconds = 43201
  }
  expect_failures = [var.visibility_seconds]
}
