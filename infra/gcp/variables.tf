variable "project" {
  description = "The Google Cloud project; it must exist, with billing."
  type        = string

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{4,28}[a-z0-9]$", var.project))
    error_message = "project must be a Google Cloud project id."
  }
}

variable "location" {
  description = "Where the datasets are: a region or a multi-region. It cannot be changed later."
  type        = string
  default     = "US"
}

variable "dataset" {
  description = "The dataset of the raw tables. It is the prefix of the layers' datasets."
  type        = string
  default     = "stock"

  validation {
    condition     = can(regex("^[A-Za-z0-9_]{1,1000}$", var.dataset))
    error_message = "dataset must have letters, digits and underscores only."
  }
}

variable "name" {
  description = "The name of the deployment, the same as in infra/aws. It is the prefix of the AWS roles."
  type        = string
  default     = "quoteflow"

  validation {
    # A service account's id, NAME-reconcile, has 30 characters at most.
    condition     = can(regex("^[a-z][a-z0-9-]{1,19}$", var.name)) && !startswith(var.name, "gcp-")
    error_message = "name must have 2 to 20 lower-case letters, digits and hyphens, a letter first, and not begin with gcp-, which Google reserves."
  }
}

variable "aws_account_id" {
  description = "The AWS account of the functions."
  type        = string

  validation {
    condition     = can(regex("^[0-9]{12}$", var.aws_account_id))
    error_message = "aws_account_id must have 12 digits."
  }
}

variable "are_tables_protected" {
  description = "Whether `terraform destroy` stops at the raw tables and at datasets that have tables."
  type        = bool
  default     = true
}

variable "is_keyless" {
  description = "Whether infra/aws gets federated credentials. Set to false if the organization forbids workload identity pools; each function then needs a key in Secrets Manager."
  type        = bool
  default     = true
}

variable "daily_read_gib_per_account" {
  description = <<-EOT
    How many GiB each account of the project may read by queries in a day (BigQuery's quota QueryUsagePerUserPerDay, one of
    each project; it holds for people, too): at 6.25 dollars a TiB, 500 are 3 dollars. Loads at the least need 135 a day
    if symbols trade day and night (14,400 loads of 10 MB). null: no limit of this deployment's own.
  EOT
  type        = number
  default     = 500

  validation {
    condition     = var.daily_read_gib_per_account == null ? true : var.daily_read_gib_per_account >= 200
    error_message = "daily_read_gib_per_account must be at least 200, or load-quotes may reach it within a day; null for none."
  }
}
