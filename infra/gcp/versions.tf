terraform {
  # 1.9: a validation may look at other variables.
  required_version = ">= 1.9"

  required_providers {
    google = {
      source = "hashicorp/google"
      # The names of its arguments were checked against 6.50.0; it was not run.
      version = "~> 6.50"
    }
  }
}

provider "google" {
  project = var.project
}
