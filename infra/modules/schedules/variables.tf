variable "name" {
  description = "Prefix of every name."
  type        = string
}

variable "schedules" {
  description = "Schedules by name: the function's ARN, a rate or cron expression, its time zone, and the event as JSON."
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
  description = "Whether the schedules are enabled."
  type        = bool
  default     = true
}

variable "failed_queue_arn" {
  description = "ARN of the queue for events that could not be delivered to a function."
  type        = string
}

variable "account_id" {
  description = "The account whose schedules may assume the role."
  type        = string
}
