variable "name" {
  description = "The function's name, its role's and its log group's."
  type        = string

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{0,63}$", var.name))
    error_message = "A function's name has up to 64 lower-case letters, digits and hyphens."
  }
}

variable "description" {
  description = "What triggers it and what it does."
  type        = string
}

variable "zip" {
  description = "Path of a zip with an executable `bootstrap`; null for an image."
  type        = string
  default     = null
}

variable "image_uri" {
  description = "A container image in ECR, with its digest or an immutable tag; null for a zip."
  type        = string
  default     = null

  validation {
    condition     = (var.zip == null) != (var.image_uri == null)
    error_message = "A function is either a zip or an image."
  }
}

variable "architecture" {
  description = "x86_64 or arm64, as the package was built."
  type        = string

  validation {
    condition     = contains(["x86_64", "arm64"], var.architecture)
    error_message = "architecture must be x86_64 or arm64."
  }
}

variable "memory_mb" {
  description = "Memory in MB; CPU grows with it."
  type        = number
  default     = 128

  validation {
    condition     = var.memory_mb >= 128 && var.memory_mb <= 10240
    error_message = "memory_mb must be from 128 to 10240."
  }
}

variable "timeout_seconds" {
  description = "When an invocation is stopped."
  type        = number

  validation {
    condition     = var.timeout_seconds >= 1 && var.timeout_seconds <= 900
    error_message = "timeout_seconds must be from 1 to 900."
  }
}

variable "reserved_concurrency" {
  description = "How many invocations may run at once; null: what the account leaves."
  type        = number
  default     = null
}

variable "environment" {
  description = "Environment variables. A null is left out. No secrets: these can be read in the console."
  type        = map(string)
  default     = {}
}

variable "statements" {
  description = "What the role is allowed beyond its own log and traces."
  type = list(object({
    actions   = list(string)
    resources = list(string)
  }))
  default = []
}

variable "network" {
  description = "Subnets and security groups to run in; null: no VPC."
  type = object({
    subnet_ids         = list(string)
    security_group_ids = list(string)
  })
  default = null
}

variable "asynchronous" {
  description = <<-EOT
    For a function that a schedule invokes: the ARN of the queue that takes an event which failed for good, how often a
    failed event is tried again, and how long an event may wait. A function that is busy is no failure: Lambda offers the
    event again until it is that old.
  EOT
  type = object({
    failed_queue_arn = string
    retries          = optional(number, 0)
    max_age_seconds  = optional(number, 300)
  })
  default = null

  validation {
    condition     = contains([0, 1, 2], try(var.asynchronous.retries, 0)) && try(var.asynchronous.max_age_seconds, 300) >= 60 && try(var.asynchronous.max_age_seconds, 300) <= 21600
    error_message = "asynchronous.retries must be 0, 1 or 2, and max_age_seconds from 60 to 21600: Lambda has no others."
  }
}

variable "log_retention_days" {
  description = "How long its log is kept."
  type        = number
}
