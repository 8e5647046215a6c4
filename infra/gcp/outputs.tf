output "aws_variables" {
  description = "Variables of infra/aws, for a file google.auto.tfvars.json there. There is no secret in them."
  value = {
    bigquery = {
      project  = var.project
      dataset  = google_bigquery_dataset.raw.dataset_id
      location = var.location
    }
    # The format is Google's: AIP-4117, external account credentials from AWS.
    google_credentials = { for function in keys(local.functions) : function => jsonencode({
      type                              = "external_account"
      audience                          = "//iam.googleapis.com/${google_iam_workload_identity_pool_provider.aws[0].name}"
      subject_token_type                = "urn:ietf:params:aws:token-type:aws4_request"
      token_url                         = "https://sts.googleapis.com/v1/token"
      service_account_impersonation_url = "https://iamcredentials.googleapis.com/v1/projects/-/serviceAccounts/${google_service_account.this[function].email}:generateAccessToken"
      credential_source = {
        environment_id                 = "aws1"
        regional_cred_verification_url = "https://sts.{region}.amazonaws.com?Action=GetCallerIdentity&Version=2011-06-15"
      }
    }) if var.is_keyless }
  }
}

output "service_accounts" {
  description = "The functions' service accounts, for the fallback with keys."
  value       = { for function, account in google_service_account.this : function => account.email }
}
