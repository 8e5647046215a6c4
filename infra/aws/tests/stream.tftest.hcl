mock_provider "aws" {
  source = "./tests/mocks"
}

variables {
  name = "quoteflow"
}

run "an_msk_producer_may_make_and_write_the_topic_and_nothing_else" {
  command = apply
  module { source = "../modules/stream" }

  variables {
    type           = "msk_serverless"
    topic          = "stock-quotes"
    consumer_group = "archive-quotes"
    vpc_id         = "vpc-1"
    subnet_ids     = ["subnet-1", "subnet-2"]
  }

  assert {
    condition = jsonencode(output.producer_statements) == jsonencode([
      { actions = ["kafka-cluster:Connect", "kafka-cluster:WriteDataIdempotently"], resources = ["arn:aws:kafka:us-east-1:123456789012:cluster/quoteflow/0a1b"] },
      { actions = ["kafka-cluster:CreateTopic", "kafka-cluster:DescribeTopic", "kafka-cluster:WriteData"], resources = ["arn:aws:kafka:us-east-1:123456789012:topic/quoteflow/0a1b/stock-quotes"] },
    ])
    error_message = "The producer's statements are ${jsonencode(output.producer_statements)}"
  }
  assert {
    condition = toset(keys(aws_vpc_security_group_egress_rule.https)) == toset(["pollers", "producer"]) && alltrue([for rule in values(aws_vpc_security_group_egress_rule.https) : (
      rule.from_port == 443 && rule.to_port == 443 && rule.ip_protocol == "tcp" && rule.cidr_ipv4 == "0.0.0.0/0"
    )])
    error_message = "Finnhub and AWS's own services must be reached by HTTPS."
  }
  assert {
    condition = toset(keys(aws_vpc_security_group_egress_rule.kafka)) == toset(["pollers", "producer"]) && toset(keys(aws_vpc_security_group_ingress_rule.brokers)) == toset(["pollers", "producer"]) && alltrue([for rule in values(aws_vpc_security_group_egress_rule.kafka) : (
      rule.from_port == 9098 && rule.to_port == 9098 && rule.referenced_security_group_id == aws_security_group.brokers[0].id
    )])
    error_message = "Both must be let out to the brokers, and in there."
  }
  assert {
    condition     = alltrue([for rule in values(aws_vpc_security_group_ingress_rule.brokers) : rule.from_port == 9098 && rule.to_port == 9098 && rule.cidr_ipv4 == null])
    error_message = "The brokers are reached by security groups only, with IAM only."
  }
}

run "three_brokers_keep_two_copies_while_one_is_away" {
  command = apply
  module { source = "../modules/stream" }

  variables {
    type           = "msk_provisioned"
    topic          = "stock-quotes"
    consumer_group = "archive-quotes"
    vpc_id         = "vpc-1"
    subnet_ids     = ["subnet-1", "subnet-2", "subnet-3"]
  }

  assert {
    condition = (
      aws_msk_cluster.this[0].number_of_broker_nodes == 3
      && strcontains(aws_msk_configuration.this[0].server_properties, "default.replication.factor=3\n")
      && strcontains(aws_msk_configuration.this[0].server_properties, "min.insync.replicas=2\n")
      && aws_msk_cluster.this[0].encryption_info[0].encryption_in_transit[0].client_broker == "TLS"
    )
    error_message = "An acknowledged quote must survive a broker, and travel over TLS."
  }
  assert {
    condition     = output.bootstrap_servers == "b-1:9098,b-2:9098" && output.security == "msk_iam"
    error_message = "Clients must speak IAM to the brokers."
  }
}

run "a_cluster_in_a_vpc_is_reached_from_there" {
  command = apply
  module { source = "../modules/stream" }

  variables {
    type           = "self_managed"
    topic          = "stock-quotes"
    consumer_group = "archive-quotes"
    self_managed = {
      bootstrap_servers  = ["10.0.0.5:9092"]
      security           = "plaintext"
      subnet_ids         = ["subnet-1"]
      security_group_ids = ["sg-1"]
    }
  }

  assert {
    condition     = jsonencode(output.trigger.access) == jsonencode([{ type = "VPC_SUBNET", uri = "subnet:subnet-1" }, { type = "VPC_SECURITY_GROUP", uri = "security_group:sg-1" }])
    error_message = "The trigger's access is ${jsonencode(output.trigger.access)}"
  }
  assert {
    condition     = output.producer_network.subnet_ids == tolist(["subnet-1"])
    error_message = "The producer must be where the cluster is."
  }
}

run "a_user_and_a_private_authority_are_given_to_the_trigger" {
  command = apply
  module { source = "../modules/stream" }

  variables {
    type           = "self_managed"
    topic          = "stock-quotes"
    consumer_group = "archive-quotes"
    self_managed = {
      bootstrap_servers = ["kafka.example.com:9094"]
      security          = "sasl_plain"
      sasl_secret_arn   = "arn:aws:secretsmanager:us-east-1:123456789012:secret:user"
      ca_secret_arn     = "arn:aws:secretsmanager:us-east-1:123456789012:secret:ca"
    }
  }

  assert {
    condition = jsonencode(output.trigger.access) == jsonencode([
      { type = "BASIC_AUTH", uri = "arn:aws:secretsmanager:us-east-1:123456789012:secret:user" },
      { type = "SERVER_ROOT_CA_CERTIFICATE", uri = "arn:aws:secretsmanager:us-east-1:123456789012:secret:ca" },
    ])
    error_message = "The trigger's access is ${jsonencode(output.trigger.access)}"
  }
  assert {
    condition = output.producer_network == null && alltrue([for statements in [output.producer_statements, output.consumer_statements] : jsonencode(statements) == jsonencode([
      { actions = ["secretsmanager:GetSecretValue"], resources = ["arn:aws:secretsmanager:us-east-1:123456789012:secret:user"] },
      { actions = ["secretsmanager:GetSecretValue"], resources = ["arn:aws:secretsmanager:us-east-1:123456789012:secret:ca"] },
    ])])
    error_message = "Both roles must read both secrets."
  }
}

run "another_version_of_kafka_has_another_configuration" {
  command = apply
  module { source = "../modules/stream" }

  variables {
    type            = "msk_provisioned"
    topic           = "stock-quotes"
    consumer_group  = "archive-quotes"
    vpc_id          = "vpc-1"
    subnet_ids      = ["subnet-1", "subnet-2"]
    msk_provisioned = { kafka_version = "4.0.x.kraft" }
  }

  assert {
    condition     = aws_msk_configuration.this[0].name == "quoteflow-4-0-x-kraft" && aws_msk_configuration.this[0].kafka_versions == toset(["4.0.x.kraft"])
    error_message = "The new one is created while the old one exists, so its name must differ."
  }
}

run "a_cluster_without_a_user_over_the_internet" {
  command = plan
  module { source = "../modules/stream" }

  variables {
    type           = "self_managed"
    topic          = "stock-quotes"
    consumer_group = "archive-quotes"
    self_managed   = { bootstrap_servers = ["a.example.com:9094"], security = "tls" }
  }
  expect_failures = [var.self_managed]
}

run "an_authority_without_tls" {
  command = plan
  module { source = "../modules/stream" }

  variables {
    type           = "self_managed"
    topic          = "stock-quotes"
    consumer_group = "archive-quotes"
    self_managed = {
      bootstrap_servers  = ["10.0.0.5:9092"]
      security           = "plaintext"
      ca_secret_arn      = "arn:aws:secretsmanager:us-east-1:123456789012:secret:ca"
      subnet_ids         = ["subnet-1"]
      security_group_ids = ["sg-1"]
    }
  }
  expect_failures = [var.self_managed]
}

run "an_unknown_kind_of_cluster" {
  command = plan
  module { source = "../modules/stream" }

  variables {
    type           = "kinesis"
    topic          = "stock-quotes"
    consumer_group = "archive-quotes"
  }
  expect_failures = [var.type]
}

run "settings_of_another_kind" {
  command = plan
  module { source = "../modules/stream" }

  variables {
    type           = "msk_serverless"
    topic          = "stock-quotes"
    consumer_group = "archive-quotes"
    vpc_id         = "vpc-1"
    subnet_ids     = ["subnet-1", "subnet-2"]
    self_managed   = { bootstrap_servers = ["a:9092"], security = "tls", subnet_ids = ["subnet-1"], security_group_ids = ["sg-1"] }
  }
  expect_failures = [var.self_managed]
}

run "a_server_without_a_port" {
  command = plan
  module { source = "../modules/stream" }

  variables {
    type           = "self_managed"
    topic          = "stock-quotes"
    consumer_group = "archive-quotes"
    self_managed   = { bootstrap_servers = ["a.example.com"], security = "tls", subnet_ids = ["subnet-1"], security_group_ids = ["sg-1"] }
  }
  expect_failures = [var.self_managed]
}

run "an_unknown_security" {
  command = plan
  module { source = "../modules/stream" }

  variables {
    type           = "self_managed"
    topic          = "stock-quotes"
    consumer_group = "archive-quotes"
    self_managed   = { bootstrap_servers = ["a:9092"], security = "ssl", subnet_ids = ["subnet-1"], security_group_ids = ["sg-1"] }
  }
  expect_failures = [var.self_managed]
}

run "a_password_that_nobody_gave" {
  command = plan
  module { source = "../modules/stream" }

  variables {
    type           = "self_managed"
    topic          = "stock-quotes"
    consumer_group = "archive-quotes"
    self_managed   = { bootstrap_servers = ["a:9092"], security = "sasl_scram" }
  }
  expect_failures = [var.self_managed]
}

run "subnets_without_a_security_group" {
  command = plan
  module { source = "../modules/stream" }

  variables {
    type           = "self_managed"
    topic          = "stock-quotes"
    consumer_group = "archive-quotes"
    self_managed   = { bootstrap_servers = ["a:9092"], security = "tls", subnet_ids = ["subnet-1"] }
  }
  expect_failures = [var.self_managed]
}
