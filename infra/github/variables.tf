variable "name" {
  description = "Prefix of the roles' names."
  type        = string
  default     = "quoteflow"
}

variable "repository" {
  description = "GitHub's repository: OWNER/NAME."
  type        = string

  validation {
    condition     = can(regex("^[A-Za-z0-9-]+/[A-Za-z0-9._-]+$", var.repository))
    error_message = "repository must be OWNER/NAME: a wildcard would let others deploy."
  }
}

variable "environment" {
  description = "The environment of the repository whose reviewers approve a deployment."
  type        = string

  validation {
    condition     = can(regex("^[A-Za-z0-9._-]+$", var.environment))
    error_message = "environment must be a name without wildcards."
  }
}

variable "state_bucket" {
  description = "The bucket of Terraform's state."
  type        = string
}

variable "aws_region" {
  description = "The AWS region."
  type        = string
  default     = "us-east-1"
}
