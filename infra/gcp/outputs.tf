output "for_aws" {
  description = "The variable google of infra/aws: `make deploy` puts it into Systems Manager. There is no secret in it."
  value = {
    name           = var.name
    aws_account_id = var.aws_account_id
    bigquery = {
      project  = var.project
      dataset  = google_bigquery_dataset.raw.dataset_id
      location = var.location
    }
    # null: the functions have keys (is_keyless = false).
    audience         = one([for provider in google_iam_workload_identity_pool_provider.aws : "//iam.googleapis.com/${provider.name}"])
    service_accounts = { for function, account in google_service_account.this : function => account.email }
  }
}
