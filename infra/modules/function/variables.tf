variable "name" {
  description = "Name of the function, its role and its log group."
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
  description = "x86_64 or arm64: the architecture that the package was built for."
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
  description = "Seconds after which an invocation is stopped."
  type        = number

  validation {
    condition     = var.timeout_seconds >= 1 && var.timeout_seconds <= 900
    error_message = "timeout_seconds must be from 1 to 900."
  }
}

variable "reserved_concurrency" {
  description = "How many invocations may run at once; null: limited by the account only."
  type        = number
  default     = null
}

variable "environment" {
  description = "Environment variables; those with the value null are left out. Not for secrets: the console shows them."
  type        = map(string)
  default     = {}
}

variable "statements" {
  description = "What the role may do, in addition to its own log and traces."
  type = list(object({
    actions   = list(string)
    resources = list(string)
  }))
  default = []
}

variable "network" {
  description = "Subnets and security groups of the function; null: no VPC."
  type = object({
    subnet_ids         = list(string)
    security_group_ids = list(string)
  })
  default = null
}

variable "asynchronous" {
  description = <<-EOT
    For a function that a schedule invokes: the ARN of the queue for events that failed on every attempt, how often a failed
    event is retried (0 to 2), and how many seconds an event may wait. A busy function is not a failure: Lambda offers the
    event again until that age.
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
  description = "Days for which the log is kept."
  type        = number
}
