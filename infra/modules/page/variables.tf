variable "name" {
  description = "The API's name."
  type        = string
}

variable "function_name" {
  description = "The function that answers."
  type        = string
}

variable "invoke_arn" {
  description = "The function's invoke ARN."
  type        = string
}

variable "requests_per_second" {
  description = "Requests to /api that are answered each second, for all readers together; others get 429. An open page sends one every 6 s."
  type        = number

  validation {
    condition     = var.requests_per_second > 0 && var.requests_per_second <= 100
    error_message = "requests_per_second must be above 0 and at most 100: each may be a query that BigQuery bills."
  }
}

variable "file_requests_per_second" {
  description = "The same for the page and its files. Browsers cache them, and AWS bills outgoing traffic: 1 a second is at most 20 GB a day."
  type        = number
  default     = 1
}

variable "burst" {
  description = "Requests that may come at once, for each route. A first visit needs about ten files."
  type        = number
  default     = 40
}
