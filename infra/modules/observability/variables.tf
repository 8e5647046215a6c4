variable "name" {
  description = "Prefix of every name."
  type        = string
}

variable "region" {
  description = "The AWS region of the dashboard's metrics."
  type        = string
}

variable "functions" {
  description = "The functions to watch, by their plain names: the deployed name and the timeout."
  type = map(object({
    name            = string
    timeout_seconds = number
  }))
}

variable "queues" {
  description = "The deployed names of the queues that alarms of `infra/metrics.json` name, by their plain names."
  type        = map(string)
}

variable "freshness_minutes" {
  description = "How many minutes may pass without a row in bronze while the US market is open, before the alarm; null: as in `infra/metrics.json`."
  type        = number
  default     = null

  validation {
    condition     = contains(range(2, 61), coalesce(var.freshness_minutes, 2))
    error_message = "freshness_minutes must be a whole number from 2 to 60."
  }
}

variable "email" {
  description = "E-mail address that receives the alarms; null: none, alarms go to the SNS topic only. The subscription has to be confirmed from the mailbox."
  type        = string
  default     = null
}
