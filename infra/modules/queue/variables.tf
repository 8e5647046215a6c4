variable "name" {
  description = "The queue's name; its dead-letter queue has it with -dlq."
  type        = string
}

variable "has_dead_letter_queue" {
  description = "Whether messages that failed `max_receives` times go to a queue of their own."
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
  description = "How long a received message stays hidden."
  type        = number
  default     = 30

  validation {
    condition     = var.visibility_seconds >= 0 && var.visibility_seconds <= 43200
    error_message = "visibility_seconds must be from 0 to 43200."
  }
}

variable "sending_bucket_arn" {
  description = "The bucket whose events come here; null: none does."
  type        = string
  default     = null
}

variable "account_id" {
  description = "The account of the sending bucket: bucket names of a deleted bucket can be taken by others."
  type        = string
}
