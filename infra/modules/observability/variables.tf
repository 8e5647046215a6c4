variable "name" {
  description = "Prefix of every name."
  type        = string
}

variable "region" {
  description = "Where the dashboard's metrics are."
  type        = string
}

variable "functions" {
  description = <<-EOT
    The functions to watch by their plain names: what each is called, its timeout, and whether a throttled invocation is
    normal: a scheduled event that meets a busy function waits and is offered again.
  EOT
  type = map(object({
    name                 = string
    timeout_seconds      = number
    is_throttling_normal = optional(bool, false)
  }))
}

variable "queues" {
  description = "The queues whose oldest message must not wait longer than `backlog_minutes`."
  type        = map(string)
}

variable "failed_queues" {
  description = "The queues that must be empty, by a plain name."
  type        = map(string)
}

variable "lag_limit" {
  description = "How many records archive-quotes may be behind."
  type        = number
  default     = 500

  validation {
    condition     = var.lag_limit >= 1
    error_message = "lag_limit must be at least 1."
  }
}

variable "backlog_minutes" {
  description = "How long a message may wait in a queue."
  type        = number
  default     = 10

  validation {
    condition     = var.backlog_minutes >= 1
    error_message = "backlog_minutes must be at least 1."
  }
}

variable "freshness_minutes" {
  description = "How long no row may come to bronze while the US market is open."
  type        = number
  default     = 15

  validation {
    condition     = var.freshness_minutes >= 2 && var.freshness_minutes <= 60 && floor(var.freshness_minutes) == var.freshness_minutes
    error_message = "freshness_minutes must be a whole number from 2 to 60."
  }
}

variable "email" {
  description = "Who is told of alarms; null: only the topic. A subscription has to be confirmed from the mailbox."
  type        = string
  default     = null
}
