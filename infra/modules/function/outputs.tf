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
  description = "When an invocation is stopped."
  value       = aws_lambda_function.this.timeout
}

output "url" {
  description = "The function's URL; null without one."
  value       = one(aws_lambda_function_url.this[*].function_url)
}
