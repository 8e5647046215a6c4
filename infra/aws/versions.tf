terraform {
  # 1.10: the state is locked by its bucket.
  required_version = ">= 1.10"

  required_providers {
    aws = {
      source = "hashicorp/aws"
      # What it was tested with.
      version = "5.100.0"
    }
  }

  # Its bucket and key come from `infra/terraform.sh`, one of each deployment.
  backend "s3" {}
}

provider "aws" {
  region = var.aws_region

  default_tags {
    tags = merge({ project = var.name }, var.tags)
  }
}
