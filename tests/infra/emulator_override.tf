# Terraform merges this over the root's own provider: the emulator has path-style buckets and no accounts to check.
provider "aws" {
  s3_use_path_style           = true
  skip_credentials_validation = true
  skip_metadata_api_check     = true
}
