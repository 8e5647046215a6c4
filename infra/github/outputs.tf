output "roles" {
  description = "The roles' ARNs, for the repository's variables AWS_PLAN_ROLE and AWS_DEPLOY_ROLE."
  value       = { for name, role in aws_iam_role.this : name => role.arn }
}
