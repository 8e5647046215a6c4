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
  description = "How many requests for figures (/api) are answered each second, of all readers together; the others get 429. An open page asks once in 5 s."
  type        = number

  validation {
    condition     = var.requests_per_second > 0 && var.requests_per_second <= 100
    error_message = "requests_per_second must be above 0 and at most 100: each may be a query that BigQuery bills."
  }
}

variable "file_requests_per_second" {
  description = "The same for the page and its files. Browsers keep them, and AWS bills what leaves it: at 1 a second that is 20 GB a day at most."
  type        = number
  default     = 1
}

variable "burst" {
  description = "How many requests may come at once, for each route: a first visit asks for about ten files."
  type        = number
  default     = 40
}
