variable "name" {
  description = "Prefix of every name."
  type        = string
}

variable "region" {
  description = "The AWS region of the dashboard's metrics."
  type        = string
}

variable "functions" {
  description = <<-EOT
    The functions to watch, by their plain names: the deployed name, the timeout, and whether a throttled invocation is
    normal. It is normal if a scheduled event may wait for the invocation before it.
  EOT
  type = map(object({
    name                 = string
    timeout_seconds      = number
    is_throttling_normal = optional(bool, false)
  }))
}

variable "queues" {
  description = "Names of the queues whose oldest message must not wait longer than `backlog_minutes`, by a plain name."
  type        = map(string)
}

variable "failed_queues" {
  description = "Names of the queues that must be empty, by a plain name."
  type        = map(string)
}

variable "lag_limit" {
  description = "How many records archive-quotes may be behind the topic before the alarm."
  type        = number
  default     = 500

  validation {
    condition     = var.lag_limit >= 1
    error_message = "lag_limit must be at least 1."
  }
}

variable "backlog_minutes" {
  description = "How many minutes a message may wait in a queue before the alarm."
  type        = number
  default     = 10

  validation {
    condition     = var.backlog_minutes >= 1
    error_message = "backlog_minutes must be at least 1."
  }
}

variable "freshness_minutes" {
  description = "How many minutes may pass without a row in bronze while the US market is open, before the alarm."
  type        = number
  default     = 15

  validation {
    condition     = var.freshness_minutes >= 2 && var.freshness_minutes <= 60 && floor(var.freshness_minutes) == var.freshness_minutes
    error_message = "freshness_minutes must be a whole number from 2 to 60."
  }
}

variable "email" {
  description = "E-mail address that receives the alarms; null: none, alarms go to the SNS topic only. The subscription has to be confirmed from the mailbox."
  type        = string
  default     = null
}
