variable "name" {
  description = "Prefix of every name."
  type        = string
}

variable "region" {
  description = "The AWS region."
  type        = string
}

variable "availability_zone" {
  description = "Availability zone of the server and its clients."
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

variable "instance_type" {
  description = "The instance type: arm64, at least 2 GiB of memory."
  type        = string
  default     = "t4g.small"

  validation {
    condition     = can(regex("^[a-z]+[0-9]+g[a-z]*\\.[a-z0-9]+$", var.instance_type)) && !can(regex("\\.(nano|micro)$", var.instance_type))
    error_message = "instance_type must be of arm64 (t4g, m7g, …) and larger than micro."
  }
}

variable "volume_gib" {
  description = "Size of Kafka's disk in GiB. 5 symbols every 6 s need 25 MB a day."
  type        = number
  default     = 10
}

variable "kafka_version" {
  description = "The version of Apache Kafka, as in its archive. A change replaces the server and keeps its disk."
  type        = string
  default     = "4.1.0"

  validation {
    condition     = can(regex("^[0-9]+\\.[0-9]+\\.[0-9]+$", var.kafka_version))
    error_message = "kafka_version must be a whole version, as in 4.1.0."
  }
}

variable "scala_version" {
  description = "The Scala version in the archive's name."
  type        = string
  default     = "2.13"
}

variable "retention_hours" {
  description = "Hours for which Kafka keeps a record: as long as archive-quotes may be down."
  type        = number
  default     = 168
}

variable "cluster_id" {
  description = "Kafka's id of the cluster: 16 bytes in base64. The disk is formatted with it."
  type        = string
  default     = "cXVvdGVmbG93LXNlcnZlcg"
}
