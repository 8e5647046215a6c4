variable "name" {
  description = "The queue's name; the dead-letter queue has the same name with the suffix -dlq."
  type        = string
}

variable "has_dead_letter_queue" {
  description = "Whether messages that failed `max_receives` times go to a dead-letter queue."
  type        = bool
  default     = true
}

variable "max_receives" {
  description = "How often a message may be received before it goes to the dead-letter queue."
  type        = number
  default     = 5

  validation {
    condition     = var.max_receives >= 5
    error_message = "max_receives must be at least 5, as AWS advises for a queue that triggers a function: a passing fault fails a message more than once."
  }
}

variable "visibility_seconds" {
  description = "Seconds for which a received message stays hidden."
  type        = number
  default     = 30

  validation {
    condition     = var.visibility_seconds >= 0 && var.visibility_seconds <= 43200
    error_message = "visibility_seconds must be from 0 to 43200."
  }
}

variable "sending_bucket_arn" {
  description = "ARN of the bucket that sends its events to this queue; null: none."
  type        = string
  default     = null
}

variable "account_id" {
  description = "Account of the sending bucket. It is checked because another account can take the name of a deleted bucket."
  type        = string
}
