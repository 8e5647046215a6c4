variable "name" {
  description = "Prefix of every name."
  type        = string
}

variable "type" {
  description = "Which Kafka: msk_serverless (IAM), msk_provisioned (IAM) or self_managed (a cluster that exists)."
  type        = string

  validation {
    condition     = contains(["msk_serverless", "msk_provisioned", "self_managed"], var.type)
    error_message = "type must be msk_serverless, msk_provisioned or self_managed."
  }
}

variable "topic" {
  description = "The topic of quotes."
  type        = string
}

variable "consumer_group" {
  description = "The consumer group of the trigger of archive-quotes."
  type        = string
}

variable "vpc_id" {
  description = "The VPC of MSK's brokers and their clients; null for self_managed."
  type        = string
  default     = null
}

variable "subnet_ids" {
  description = "MSK's private subnets, one in each zone. A provisioned cluster has one broker in each."
  type        = list(string)
  default     = []
}

variable "msk_provisioned" {
  description = "For msk_provisioned: Kafka's version, the brokers' instance type, and the disk of each broker in GiB."
  type = object({
    kafka_version = optional(string, "3.9.x")
    instance_type = optional(string, "kafka.t3.small")
    volume_gib    = optional(number, 10)
  })
  default = {}
}

variable "self_managed" {
  description = <<-EOT
    A cluster that exists: its bootstrap servers (host:port) and how clients connect: sasl_scram or sasl_plain (TLS and a
    user), tls or plaintext (within a VPC only). sasl_secret_arn is a secret {"username", "password"}; ca_secret_arn is a
    secret {"certificate"} with the PEM of a private authority. Subnets and security groups belong to a cluster that is
    reached from within a VPC only; the subnets need a route to the internet (NAT) for Finnhub and AWS's own services.
  EOT
  type = object({
    bootstrap_servers  = list(string)
    security           = optional(string, "sasl_scram")
    sasl_secret_arn    = optional(string)
    ca_secret_arn      = optional(string)
    subnet_ids         = optional(list(string), [])
    security_group_ids = optional(list(string), [])
  })
  default = null

  validation {
    condition     = (var.type == "self_managed") == (var.self_managed != null)
    error_message = "self_managed belongs to type = \"self_managed\" and to no other."
  }

  validation {
    condition     = var.self_managed == null || alltrue([for server in try(var.self_managed.bootstrap_servers, []) : can(regex("^[A-Za-z0-9.-]+:[0-9]+$", server))]) && length(try(var.self_managed.bootstrap_servers, [])) > 0
    error_message = "self_managed.bootstrap_servers must name at least one host:port."
  }

  validation {
    condition     = var.self_managed == null || contains(["plaintext", "tls", "sasl_scram", "sasl_plain"], try(var.self_managed.security, ""))
    error_message = "self_managed.security must be plaintext, tls, sasl_scram or sasl_plain."
  }

  validation {
    condition     = var.self_managed == null || startswith(try(var.self_managed.security, ""), "sasl_") == (try(var.self_managed.sasl_secret_arn, null) != null)
    error_message = "self_managed.sasl_secret_arn belongs to security = \"sasl_scram\" or \"sasl_plain\" and to no other."
  }

  validation {
    condition     = try(var.self_managed.ca_secret_arn, null) == null || try(var.self_managed.security, "") != "plaintext"
    error_message = "self_managed.ca_secret_arn is for TLS: not with security = \"plaintext\"."
  }

  validation {
    condition     = var.self_managed == null || (length(try(var.self_managed.subnet_ids, [])) > 0) == (length(try(var.self_managed.security_group_ids, [])) > 0)
    error_message = "self_managed.subnet_ids and self_managed.security_group_ids belong together."
  }

  # Over the internet Lambda's trigger needs a user: AWS refuses to create it without one.
  validation {
    condition     = var.self_managed == null || startswith(try(var.self_managed.security, ""), "sasl_") || length(try(var.self_managed.subnet_ids, [])) > 0
    error_message = "self_managed.security = \"tls\" or \"plaintext\" needs subnet_ids and security_group_ids: without a user the trigger connects within a VPC only."
  }
}
