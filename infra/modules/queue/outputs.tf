output "name" {
  description = "The queue's name."
  value       = aws_sqs_queue.this.name
}

output "arn" {
  description = "The queue's ARN."
  value       = aws_sqs_queue.this.arn
}

output "url" {
  description = "The queue's URL."
  value       = aws_sqs_queue.this.url
}

output "dead_letter_name" {
  description = "The dead-letter queue's name; null without one."
  value       = one(aws_sqs_queue.dead_letter[*].name)
}

output "dead_letter_url" {
  description = "The dead-letter queue's URL; null without one."
  value       = one(aws_sqs_queue.dead_letter[*].url)
}

output "visibility_seconds" {
  description = "Seconds for which a received message stays hidden."
  value       = aws_sqs_queue.this.visibility_timeout_seconds
}

output "policy" {
  description = "The queue's policy, as JSON."
  value       = aws_sqs_queue.this.policy
}
