variable "name" {
  description = "Prefix of every name."
  type        = string
}

variable "schedules" {
  description = "Schedules by name: the function, when (a rate or cron expression, in a time zone) and with which event (JSON)."
  type = map(object({
    function_arn = string
    expression   = string
    time_zone    = optional(string, "UTC")
    input        = optional(string, "{}")
  }))

  validation {
    condition     = alltrue([for one in values(var.schedules) : can(regex("^(rate|cron)\\(.+\\)$", one.expression))])
    error_message = "A schedule's expression is rate(…) or cron(…)."
  }

  validation {
    condition     = alltrue([for one in values(var.schedules) : can(jsondecode(one.input))])
    error_message = "A schedule's input is JSON."
  }
}

variable "are_enabled" {
  description = "Whether the schedules fire."
  type        = bool
  default     = true
}

variable "failed_queue_arn" {
  description = "The queue that takes events which reached no function."
  type        = string
}

variable "account_id" {
  description = "The account whose schedules may take the role."
  type        = string
}
