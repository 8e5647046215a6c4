mock_provider "aws" {
  mock_resource "aws_iam_openid_connect_provider" {
    defaults = { arn = "arn:aws:iam::123456789012:oidc-provider/token.actions.githubusercontent.com" }
  }
}

variables {
  repository   = "owner/quoteflow"
  environment  = "prod"
  state_bucket = "states"
}

run "only_the_approved_environment_may_deploy" {
  command = apply

  assert {
    condition = { for name, role in aws_iam_role.this : name => jsondecode(role.assume_role_policy).Statement[0].Condition.StringEquals["token.actions.githubusercontent.com:sub"] } == {
      deploy = ["repo:owner/quoteflow:environment:prod"]
      plan   = ["repo:owner/quoteflow:pull_request", "repo:owner/quoteflow:ref:refs/heads/main"]
    }
    error_message = "A pull request must not deploy."
  }
  assert {
    condition     = aws_iam_role_policy_attachment.this["plan"].policy_arn == "arn:aws:iam::aws:policy/ReadOnlyAccess" && jsondecode(aws_iam_role_policy.lock.policy).Statement[0].Resource == "arn:aws:s3:::states/*.tflock"
    error_message = "A plan reads, and writes its lock only."
  }
  assert {
    condition     = alltrue([for role in values(aws_iam_role.this) : jsondecode(role.assume_role_policy).Statement[0].Condition.StringEquals["token.actions.githubusercontent.com:aud"] == "sts.amazonaws.com"])
    error_message = "The token must be for AWS."
  }
}

run "a_repository_by_a_wildcard" {
  command = plan

  variables {
    repository = "owner/*"
  }
  expect_failures = [var.repository]
}
