output "name" {
  description = "The function's name."
  value       = aws_lambda_function.this.function_name
}

output "arn" {
  description = "The function's ARN."
  value       = aws_lambda_function.this.arn
}

output "role_name" {
  description = "The role's name."
  value       = aws_iam_role.this.name
}

output "timeout_seconds" {
  description = "Seconds after which an invocation is stopped."
  value       = aws_lambda_function.this.timeout
}

output "invoke_arn" {
  description = "What an API's integration invokes."
  value       = aws_lambda_function.this.invoke_arn
}

output "reserved_concurrency" {
  description = "How many invocations may run at once; -1: limited by the account only."
  value       = aws_lambda_function.this.reserved_concurrent_executions
}

output "asynchronous" {
  description = "Retries and greatest age of a scheduled event; null if the function has no schedule."
  value = one([for config in aws_lambda_function_event_invoke_config.this : {
    retries         = config.maximum_retry_attempts
    max_age_seconds = config.maximum_event_age_in_seconds
    failed_queue    = config.destination_config[0].on_failure[0].destination
  }])
}

output "policy" {
  description = "The role's policy, as JSON."
  value       = aws_iam_role_policy.this.policy
}
