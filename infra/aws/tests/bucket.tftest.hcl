mock_provider "aws" {
  source = "./tests/mocks"
}

run "a_bucket_is_private_encrypted_versioned_and_tls_only" {
  command = apply
  module { source = "../modules/bucket" }

  variables {
    name           = "quoteflow-bronze"
    retention_days = 400
  }

  assert {
    condition = alltrue([
      aws_s3_bucket_public_access_block.this.block_public_acls,
      aws_s3_bucket_public_access_block.this.block_public_policy,
      aws_s3_bucket_public_access_block.this.ignore_public_acls,
      aws_s3_bucket_public_access_block.this.restrict_public_buckets,
      aws_s3_bucket_versioning.this.versioning_configuration[0].status == "Enabled",
      !aws_s3_bucket.this.force_destroy,
    ])
    error_message = "The bucket must be closed and keep what is deleted."
  }
  assert {
    condition     = jsondecode(aws_s3_bucket_policy.this.policy).Statement[0].Effect == "Deny" && jsondecode(aws_s3_bucket_policy.this.policy).Statement[0].Condition.Bool["aws:SecureTransport"] == "false"
    error_message = "Without TLS it must refuse."
  }
  assert {
    condition     = [for rule in aws_s3_bucket_lifecycle_configuration.this.rule : rule.expiration[0].days if length(rule.expiration) > 0] == [400]
    error_message = "Objects must go after the retention."
  }
}

run "a_bucket_keeps_its_objects_by_default" {
  command = apply
  module { source = "../modules/bucket" }

  variables {
    name = "quoteflow-bronze"
  }

  assert {
    condition     = alltrue([for rule in aws_s3_bucket_lifecycle_configuration.this.rule : length(rule.expiration) == 0])
    error_message = "No object may be deleted automatically."
  }
}

run "a_bucket_name_with_a_dot" {
  command = plan
  module { source = "../modules/bucket" }

  variables {
    name = "quoteflow.bronze"
  }
  expect_failures = [var.name]
}

run "a_retention_of_nothing" {
  command = plan
  module { source = "../modules/bucket" }

  variables {
    name           = "quoteflow-bronze"
    retention_days = 0
  }
  expect_failures = [var.retention_days]
}
