mock_provider "aws" {
  source = "./tests/mocks"
}

variables {
  name              = "quoteflow"
  region            = "us-east-1"
  cidr              = "10.42.0.0/20"
  availability_zone = "us-east-1a"
}

run "clients_reach_kafka_and_the_internet_by_the_server" {
  command = apply
  module { source = "../modules/server" }

  assert {
    condition = alltrue([
      [for route in aws_route_table.clients.route : "${route.cidr_block} ${route.network_interface_id}"] == ["0.0.0.0/0 ${aws_network_interface.this.id}"],
      [for route in aws_route_table.server.route : "${route.cidr_block} ${route.gateway_id}"] == ["0.0.0.0/0 ${aws_internet_gateway.this.id}"],
      aws_route_table_association.clients.subnet_id == aws_subnet.clients.id && aws_route_table_association.clients.route_table_id == aws_route_table.clients.id,
      aws_route_table_association.server.subnet_id == aws_subnet.server.id && aws_route_table_association.server.route_table_id == aws_route_table.server.id,
      !aws_network_interface.this.source_dest_check,
      aws_eip.this.network_interface == aws_network_interface.this.id,
    ])
    error_message = "The server is its clients' way to the internet: it must forward, and have an address of its own."
  }
  assert {
    condition = alltrue([for rule in values(aws_vpc_security_group_ingress_rule.server) :
      rule.cidr_ipv4 == null && rule.referenced_security_group_id == aws_security_group.clients.id && rule.from_port == rule.to_port
    ]) && toset([for rule in values(aws_vpc_security_group_ingress_rule.server) : tostring(rule.from_port)]) == toset(["9092", "443"])
    error_message = "Only clients may come in: to Kafka, and on their way to HTTPS."
  }
  assert {
    condition     = aws_vpc_security_group_egress_rule.kafka.from_port == 9092 && aws_vpc_security_group_egress_rule.https.from_port == 443 && aws_vpc_security_group_egress_rule.server.from_port == 443
    error_message = "Clients must be let out to Kafka and to HTTPS, the server to HTTPS."
  }
  assert {
    condition = (
      strcontains(aws_instance.this.user_data, "advertised.listeners=CLIENTS://${aws_network_interface.this.private_ip}:9092")
      && strcontains(aws_instance.this.user_data, "/4.1.0/kafka_2.13-4.1.0.tgz")
      && aws_instance.this.metadata_options[0].http_tokens == "required"
      && aws_instance.this.root_block_device[0].encrypted
    )
    error_message = "The server must start Kafka at the address that its clients know: ${aws_instance.this.user_data}"
  }
  assert {
    condition     = aws_ebs_volume.data.encrypted && aws_ebs_volume.data.size == 10 && aws_volume_attachment.data.volume_id == aws_ebs_volume.data.id && aws_volume_attachment.data.instance_id == aws_instance.this.id
    error_message = "Kafka's records must outlive the server."
  }
  assert {
    condition     = output.bootstrap_servers == ["${aws_network_interface.this.private_ip}:9092"] && output.subnet_ids == [aws_subnet.clients.id] && output.security_group_ids == [aws_security_group.clients.id]
    error_message = "Clients must know their subnet."
  }
}

run "a_server_of_another_kind" {
  command = plan
  module { source = "../modules/server" }

  variables {
    instance_type = "t3.small"
    kafka_version = "4.x"
    cidr          = "10.42.0.0/26"
  }
  expect_failures = [var.instance_type, var.kafka_version, var.cidr]
}
