variable "name" {
  description = "The bucket's name, unique across AWS."
  type        = string

  validation {
    condition     = can(regex("^[a-z0-9][a-z0-9-]{1,61}[a-z0-9]$", var.name))
    error_message = "A bucket's name has 3 to 63 lower-case letters, digits and hyphens."
  }
}

variable "retention_days" {
  description = "Days after which objects are deleted; null: never."
  type        = number
  default     = null

  validation {
    condition     = coalesce(var.retention_days, 1) >= 1
    error_message = "retention_days must be at least 1, or null."
  }
}

variable "is_destroyed_with_objects" {
  description = "Whether `terraform destroy` deletes the objects too. If not, it fails while the bucket has objects."
  type        = bool
  default     = false
}
