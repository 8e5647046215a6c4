# Kafka, and what its clients need to know of it: where it is, how it is spoken to, what a role must be allowed.

locals {
  is_msk = var.type != "self_managed"

  # The port of SASL/IAM over TLS, the same for both kinds.
  iam_port = 9098
}

resource "aws_security_group" "brokers" {
  count = local.is_msk ? 1 : 0

  # The trigger's pollers take the brokers' own security group.
  name        = "${var.name}-brokers"
  description = "The brokers of Kafka and the pollers of its trigger"
  vpc_id      = var.vpc_id
}

resource "aws_security_group" "producer" {
  # checkov:skip=CKV2_AWS_5:Attached to fetch-quotes by another module
  count = local.is_msk ? 1 : 0

  name        = "${var.name}-producer"
  description = "fetch-quotes"
  vpc_id      = var.vpc_id
}

resource "aws_vpc_security_group_ingress_rule" "brokers" {
  for_each = local.is_msk ? {
    pollers  = aws_security_group.brokers[0].id
    producer = aws_security_group.producer[0].id
  } : {}

  security_group_id            = aws_security_group.brokers[0].id
  referenced_security_group_id = each.value
  description                  = "Kafka with IAM from the ${each.key}"
  from_port                    = local.iam_port
  to_port                      = local.iam_port
  ip_protocol                  = "tcp"
}

resource "aws_vpc_security_group_egress_rule" "kafka" {
  for_each = local.is_msk ? {
    pollers  = aws_security_group.brokers[0].id
    producer = aws_security_group.producer[0].id
  } : {}

  security_group_id            = each.value
  referenced_security_group_id = aws_security_group.brokers[0].id
  description                  = "The ${each.key} to Kafka with IAM"
  from_port                    = local.iam_port
  to_port                      = local.iam_port
  ip_protocol                  = "tcp"
}

# Finnhub and AWS's services have no fixed addresses.
resource "aws_vpc_security_group_egress_rule" "https" {
  for_each = local.is_msk ? {
    pollers  = aws_security_group.brokers[0].id
    producer = aws_security_group.producer[0].id
  } : {}

  security_group_id = each.value
  cidr_ipv4         = "0.0.0.0/0"
  description       = "HTTPS of the ${each.key}"
  from_port         = 443
  to_port           = 443
  ip_protocol       = "tcp"
}

resource "aws_msk_serverless_cluster" "this" {
  count = var.type == "msk_serverless" ? 1 : 0

  cluster_name = var.name

  vpc_config {
    subnet_ids         = var.subnet_ids
    security_group_ids = [aws_security_group.brokers[0].id]
  }

  client_authentication {
    sasl {
      iam {
        enabled = true
      }
    }
  }
}

resource "aws_msk_configuration" "this" {
  count = var.type == "msk_provisioned" ? 1 : 0

  # Another version makes another configuration, and the cluster changes to it: two cannot have one name.
  name           = "${var.name}-${replace(var.msk_provisioned.kafka_version, ".", "-")}"
  kafka_versions = [var.msk_provisioned.kafka_version]

  # One broker may be away, as it is during MSK's own updates: with three zones an acknowledged quote is on two brokers
  # anyway, with two zones it may then be on one. fetch-quotes makes the topic, with as many partitions as configured.
  server_properties = <<-EOT
    auto.create.topics.enable=false
    default.replication.factor=${length(var.subnet_ids)}
    min.insync.replicas=${length(var.subnet_ids) - 1}
    unclean.leader.election.enable=false
  EOT

  lifecycle {
    create_before_destroy = true
  }
}

resource "aws_cloudwatch_log_group" "brokers" {
  # checkov:skip=CKV_AWS_158:CloudWatch Logs encrypts with its own key; the logs contain no secret
  # checkov:skip=CKV_AWS_338:Broker logs serve to find a fault, not as records
  count = var.type == "msk_provisioned" ? 1 : 0

  name              = "/aws/msk/${var.name}"
  retention_in_days = 14
}

resource "aws_msk_cluster" "this" {
  # checkov:skip=CKV_AWS_81:Encrypted at rest with the key that AWS manages for MSK, in transit by TLS only
  count = var.type == "msk_provisioned" ? 1 : 0

  cluster_name           = var.name
  kafka_version          = var.msk_provisioned.kafka_version
  number_of_broker_nodes = length(var.subnet_ids)

  broker_node_group_info {
    instance_type   = var.msk_provisioned.instance_type
    client_subnets  = var.subnet_ids
    security_groups = [aws_security_group.brokers[0].id]

    storage_info {
      ebs_storage_info {
        volume_size = var.msk_provisioned.volume_gib
      }
    }
  }

  client_authentication {
    sasl {
      iam = true
    }
  }

  encryption_info {
    encryption_in_transit {
      client_broker = "TLS"
      in_cluster    = true
    }
  }

  configuration_info {
    arn      = aws_msk_configuration.this[0].arn
    revision = aws_msk_configuration.this[0].latest_revision
  }

  logging_info {
    broker_logs {
      cloudwatch_logs {
        enabled   = true
        log_group = aws_cloudwatch_log_group.brokers[0].name
      }
    }
  }
}
