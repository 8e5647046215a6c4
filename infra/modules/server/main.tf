# The cheap way: one small server with Apache Kafka in KRaft mode. It also replaces a NAT gateway for fetch-quotes and the
# trigger's pollers. While it is down, no quotes are fetched. Its disk outlives it, so quotes that were not archived wait
# there. Archived quotes are in S3, so the disk needs no snapshots.

locals {
  port = 9092
  # Kafka's archive, and its checksum as published beside it.
  kafka_url = "https://archive.apache.org/dist/kafka/${var.kafka_version}/kafka_${var.scala_version}-${var.kafka_version}.tgz"
}

# Amazon Linux 2023, as Amazon publishes it.
data "aws_ssm_parameter" "image" {
  name = "/aws/service/ami-amazon-linux-latest/al2023-ami-kernel-default-arm64"
}

resource "aws_vpc" "this" {
  # checkov:skip=CKV2_AWS_11:Flow logs would cost more than the server; only Kafka listens here, behind one security group
  cidr_block           = var.cidr
  enable_dns_hostnames = true
  enable_dns_support   = true

  tags = { Name = var.name }
}

# A VPC's default security group lets its members talk to each other: it is emptied, and nothing uses it.
resource "aws_default_security_group" "this" {
  vpc_id = aws_vpc.this.id
}

resource "aws_internet_gateway" "this" {
  vpc_id = aws_vpc.this.id

  tags = { Name = var.name }
}

# The server's subnet, and one for the functions and the pollers, whose way out is the server.
resource "aws_subnet" "server" {
  vpc_id            = aws_vpc.this.id
  availability_zone = var.availability_zone
  cidr_block        = cidrsubnet(var.cidr, 4, 0)

  tags = { Name = "${var.name}-server" }
}

resource "aws_subnet" "clients" {
  vpc_id            = aws_vpc.this.id
  availability_zone = var.availability_zone
  cidr_block        = cidrsubnet(var.cidr, 4, 1)

  tags = { Name = "${var.name}-clients" }
}

resource "aws_route_table" "server" {
  vpc_id = aws_vpc.this.id

  route {
    cidr_block = "0.0.0.0/0"
    gateway_id = aws_internet_gateway.this.id
  }

  tags = { Name = "${var.name}-server" }
}

resource "aws_route_table" "clients" {
  vpc_id = aws_vpc.this.id

  route {
    cidr_block           = "0.0.0.0/0"
    network_interface_id = aws_network_interface.this.id
  }

  tags = { Name = "${var.name}-clients" }
}

resource "aws_route_table_association" "server" {
  route_table_id = aws_route_table.server.id
  subnet_id      = aws_subnet.server.id
}

resource "aws_route_table_association" "clients" {
  route_table_id = aws_route_table.clients.id
  subnet_id      = aws_subnet.clients.id
}

resource "aws_security_group" "server" {
  name        = "${var.name}-server"
  description = "Kafka, and the way to the internet"
  vpc_id      = aws_vpc.this.id
}

resource "aws_security_group" "clients" {
  # checkov:skip=CKV2_AWS_5:Attached to fetch-quotes and to the trigger by other modules
  name        = "${var.name}-clients"
  description = "fetch-quotes and the pollers of the trigger"
  vpc_id      = aws_vpc.this.id
}

resource "aws_vpc_security_group_ingress_rule" "server" {
  for_each = { kafka = local.port, https = 443 }

  security_group_id            = aws_security_group.server.id
  referenced_security_group_id = aws_security_group.clients.id
  description                  = each.key == "kafka" ? "Kafka from its clients" : "What its clients send to the internet"
  from_port                    = each.value
  to_port                      = each.value
  ip_protocol                  = "tcp"
}

resource "aws_vpc_security_group_egress_rule" "server" {
  security_group_id = aws_security_group.server.id
  cidr_ipv4         = "0.0.0.0/0"
  description       = "HTTPS: its clients', its own packages"
  from_port         = 443
  to_port           = 443
  ip_protocol       = "tcp"
}

resource "aws_vpc_security_group_egress_rule" "kafka" {
  security_group_id            = aws_security_group.clients.id
  referenced_security_group_id = aws_security_group.server.id
  description                  = "Clients to Kafka"
  from_port                    = local.port
  to_port                      = local.port
  ip_protocol                  = "tcp"
}

resource "aws_vpc_security_group_egress_rule" "https" {
  security_group_id = aws_security_group.clients.id
  cidr_ipv4         = "0.0.0.0/0"
  description       = "HTTPS of the clients"
  from_port         = 443
  to_port           = 443
  ip_protocol       = "tcp"
}

# Its address outlives the server: clients and routes name it.
resource "aws_network_interface" "this" {
  subnet_id         = aws_subnet.server.id
  security_groups   = [aws_security_group.server.id]
  source_dest_check = false

  tags = { Name = var.name }
}

resource "aws_eip" "this" {
  domain            = "vpc"
  network_interface = aws_network_interface.this.id

  tags = { Name = var.name }

  depends_on = [aws_internet_gateway.this]
}

# An operator signs in by Session Manager: no port is open for that.
resource "aws_iam_role" "this" {
  name        = "${var.name}-server"
  description = "What the server of Kafka may do"

  assume_role_policy = jsonencode({
    Version   = "2012-10-17"
    Statement = [{ Effect = "Allow", Principal = { Service = "ec2.amazonaws.com" }, Action = "sts:AssumeRole" }]
  })
}

resource "aws_iam_role_policy_attachment" "session" {
  role       = aws_iam_role.this.name
  policy_arn = "arn:aws:iam::aws:policy/AmazonSSMManagedInstanceCore"
}

resource "aws_iam_instance_profile" "this" {
  name = "${var.name}-server"
  role = aws_iam_role.this.name
}

resource "aws_ebs_volume" "data" {
  # checkov:skip=CKV_AWS_189:Encrypted with the key that AWS manages; the prices are public
  # checkov:skip=CKV2_AWS_9:Records are archived within a second; what the disk holds longer is in S3 too
  availability_zone = var.availability_zone
  size              = var.volume_gib
  type              = "gp3"
  encrypted         = true

  tags = { Name = "${var.name}-kafka" }
}

resource "aws_instance" "this" {
  # checkov:skip=CKV_AWS_126:Detailed monitoring would cost a fifth of the server; the flow's own alarms notice when it stops
  # checkov:skip=CKV_AWS_88:The address belongs to the interface: it is the way out, and no port is open to the internet
  ami                  = data.aws_ssm_parameter.image.insecure_value
  instance_type        = var.instance_type
  iam_instance_profile = aws_iam_instance_profile.this.name
  ebs_optimized        = true

  # Safe, because a new server does not format the data's volume if it has a file system.
  user_data_replace_on_change = true
  user_data = templatefile("${path.module}/start.sh", {
    address         = aws_network_interface.this.private_ip
    cluster_id      = var.cluster_id
    kafka_url       = local.kafka_url
    port            = local.port
    retention_hours = var.retention_hours
    volume_id       = replace(aws_ebs_volume.data.id, "-", "")
  })

  network_interface {
    network_interface_id = aws_network_interface.this.id
    device_index         = 0
  }

  metadata_options {
    http_tokens = "required"
  }

  root_block_device {
    encrypted   = true
    volume_size = 8
    volume_type = "gp3"
  }

  tags = { Name = var.name }

  # Amazon's newest image must not replace the server by the way.
  lifecycle {
    ignore_changes = [ami]
  }

  # It installs what it needs when it starts.
  depends_on = [aws_eip.this, aws_route_table_association.server]
}

resource "aws_volume_attachment" "data" {
  device_name                    = "/dev/sdf"
  instance_id                    = aws_instance.this.id
  volume_id                      = aws_ebs_volume.data.id
  stop_instance_before_detaching = true
}

# A server that does not answer is started again, on other hardware if need be.
resource "aws_cloudwatch_metric_alarm" "recover" {
  for_each = { system = "recover", instance = "reboot" }

  alarm_name          = "${var.name}-server-${each.key}"
  alarm_description   = "The Kafka server failed the ${each.key} status check of EC2. AWS will ${each.value} it by itself. Runbook: docs/RUNBOOK.md#server"
  namespace           = "AWS/EC2"
  metric_name         = each.key == "system" ? "StatusCheckFailed_System" : "StatusCheckFailed_Instance"
  dimensions          = { InstanceId = aws_instance.this.id }
  statistic           = "Maximum"
  period              = 60
  evaluation_periods  = 3
  comparison_operator = "GreaterThanThreshold"
  threshold           = 0
  treat_missing_data  = "notBreaching"
  alarm_actions       = ["arn:aws:automate:${var.region}:ec2:${each.value}"]
}
