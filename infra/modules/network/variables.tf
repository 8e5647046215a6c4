variable "name" {
  description = "Prefix of every name."
  type        = string
}

variable "cidr" {
  description = "The VPC's address range, a /16 to /24: it is divided into 16 parts."
  type        = string

  validation {
    condition     = can(cidrnetmask(var.cidr)) && try(tonumber(split("/", var.cidr)[1]), 0) >= 16 && try(tonumber(split("/", var.cidr)[1]), 32) <= 24
    error_message = "cidr must be an IPv4 range from /16 to /24, as in 10.0.0.0/20."
  }
}

variable "availability_zones" {
  description = "Availability zones of the private subnets, one subnet in each; MSK needs 2 or 3."
  type        = list(string)

  validation {
    condition     = length(var.availability_zones) >= 2 && length(var.availability_zones) <= 3
    error_message = "MSK needs two or three availability zones."
  }
}
