# What GitHub's workflow may do in AWS, without a key: its token is exchanged for a role. docs/DEPLOY.md, "From GitHub".

locals {
  issuer = "token.actions.githubusercontent.com"

  # Who may take which role, by the subject of GitHub's token. Anybody's pull request may plan, which only reads; what
  # changes something runs in an environment that asks its reviewers.
  roles = {
    plan = {
      subjects = ["repo:${var.repository}:pull_request", "repo:${var.repository}:ref:refs/heads/main"]
      policy   = "ReadOnlyAccess"
    }
    deploy = {
      subjects = ["repo:${var.repository}:environment:${var.environment}"]
      policy   = "AdministratorAccess"
    }
  }
}

resource "aws_iam_openid_connect_provider" "github" {
  url            = "https://${local.issuer}"
  client_id_list = ["sts.amazonaws.com"]
}

resource "aws_iam_role" "this" {
  for_each = local.roles

  name                 = "${var.name}-github-${each.key}"
  description          = "GitHub's workflow of ${var.repository}: ${each.key}"
  max_session_duration = 3600

  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Principal = { Federated = aws_iam_openid_connect_provider.github.arn }
      Action    = "sts:AssumeRoleWithWebIdentity"
      Condition = {
        StringEquals = { "${local.issuer}:aud" = "sts.amazonaws.com", "${local.issuer}:sub" = each.value.subjects }
      }
    }]
  })
}

resource "aws_iam_role_policy_attachment" "this" {
  # checkov:skip=CKV_AWS_274:The deployment makes roles and policies, which is as good as everything; only the approved environment may take it
  for_each = local.roles

  role       = aws_iam_role.this[each.key].name
  policy_arn = "arn:aws:iam::aws:policy/${each.value.policy}"
}

# ReadOnlyAccess reads the state; a plan also locks it.
resource "aws_iam_role_policy" "lock" {
  name = "lock"
  role = aws_iam_role.this["plan"].id

  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect   = "Allow"
      Action   = ["s3:DeleteObject", "s3:PutObject"]
      Resource = "arn:aws:s3:::${var.state_bucket}/*.tflock"
    }]
  })
}
