terraform {
  # 1.10: the state is locked by its bucket.
  required_version = ">= 1.10"

  required_providers {
    google = {
      source = "hashicorp/google"
      # The names of its arguments were checked against this version's documentation; it was not run.
      version = "6.50.0"
    }
    time = {
      source  = "hashicorp/time"
      version = "0.13.1"
    }
  }

  # Its bucket and key come from `infra/terraform.sh`, one of each deployment: both clouds' states are in one bucket.
  backend "s3" {}
}

provider "google" {
  project = var.project
  # Quotas are counted for the deployment's own project, not for gcloud's.
  user_project_override = true
  billing_project       = var.project
}
