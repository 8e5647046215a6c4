locals {
  cluster_arn = local.is_msk ? one(concat(aws_msk_serverless_cluster.this[*].arn, aws_msk_cluster.this[*].arn)) : null
  topic_arn   = local.is_msk ? "${replace(local.cluster_arn, ":cluster/", ":topic/")}/${var.topic}" : null
  group_arn   = local.is_msk ? "${replace(local.cluster_arn, ":cluster/", ":group/")}/${var.consumer_group}" : null

  sasl_secret_arn = try(var.self_managed.sasl_secret_arn, null)
  ca_secret_arn   = try(var.self_managed.ca_secret_arn, null)
  secrets         = compact([local.sasl_secret_arn, local.ca_secret_arn])
  read_secrets    = [for arn in local.secrets : { actions = ["secretsmanager:GetSecretValue"], resources = [arn] }]

  # What a user is called in an event source mapping.
  sasl_types = { sasl_scram = "SASL_SCRAM_512_AUTH", sasl_plain = "BASIC_AUTH" }
}

output "bootstrap_servers" {
  description = "host:port of the brokers, separated by commas."
  value = local.is_msk ? one(concat(
    aws_msk_serverless_cluster.this[*].bootstrap_brokers_sasl_iam,
    aws_msk_cluster.this[*].bootstrap_brokers_sasl_iam,
  )) : join(",", var.self_managed.bootstrap_servers)
}

output "security" {
  description = "KAFKA_SECURITY of a client: msk_iam, plaintext, tls, sasl_scram or sasl_plain."
  value       = local.is_msk ? "msk_iam" : var.self_managed.security
}

output "sasl_secret_arn" {
  description = "The secret of a client's user; null without one."
  value       = local.sasl_secret_arn
}

output "ca_secret_arn" {
  description = "The secret of a private authority's certificate; null without one."
  value       = local.ca_secret_arn
}

output "producer_network" {
  description = "Subnets and security groups of a producer; null if it needs no VPC."
  value = local.is_msk ? {
    subnet_ids         = var.subnet_ids
    security_group_ids = aws_security_group.producer[*].id
    } : length(var.self_managed.subnet_ids) == 0 ? null : {
    subnet_ids         = var.self_managed.subnet_ids
    security_group_ids = var.self_managed.security_group_ids
  }
}

output "producer_statements" {
  description = "Policy statements for a producer's role: create the topic and write to it."
  value = local.is_msk ? [
    { actions = ["kafka-cluster:Connect", "kafka-cluster:WriteDataIdempotently"], resources = [local.cluster_arn] },
    { actions = ["kafka-cluster:CreateTopic", "kafka-cluster:DescribeTopic", "kafka-cluster:WriteData"], resources = [local.topic_arn] },
  ] : local.read_secrets
}

output "consumer_statements" {
  description = "Policy statements for the role of the triggered function, with which the trigger polls."
  value = concat(
    local.is_msk ? [
      { actions = ["kafka:DescribeCluster", "kafka:DescribeClusterV2", "kafka:GetBootstrapBrokers"], resources = [local.cluster_arn] },
      { actions = ["kafka-cluster:Connect", "kafka-cluster:DescribeClusterDynamicConfiguration"], resources = [local.cluster_arn] },
      { actions = ["kafka-cluster:DescribeTopic", "kafka-cluster:ReadData"], resources = [local.topic_arn] },
      { actions = ["kafka-cluster:AlterGroup", "kafka-cluster:DescribeGroup"], resources = [local.group_arn] },
    ] : local.read_secrets,
    local.is_msk || length(try(var.self_managed.subnet_ids, [])) > 0 ? [{
      actions = [
        "ec2:CreateNetworkInterface", "ec2:DeleteNetworkInterface", "ec2:DescribeNetworkInterfaces",
        "ec2:DescribeSecurityGroups", "ec2:DescribeSubnets", "ec2:DescribeVpcs",
      ]
      # Lambda checks these without naming a resource.
      resources = ["*"]
    }] : [],
  )
}

output "trigger" {
  description = "What an event source mapping needs: an MSK cluster's ARN, or endpoints and access configurations."
  value = {
    cluster_arn = local.cluster_arn
    endpoints   = local.is_msk ? null : join(",", var.self_managed.bootstrap_servers)
    access = local.is_msk ? [] : concat(
      [for arn in local.sasl_secret_arn[*] : { type = local.sasl_types[var.self_managed.security], uri = arn }],
      [for arn in local.ca_secret_arn[*] : { type = "SERVER_ROOT_CA_CERTIFICATE", uri = arn }],
      [for id in var.self_managed.subnet_ids : { type = "VPC_SUBNET", uri = "subnet:${id}" }],
      [for id in var.self_managed.security_group_ids : { type = "VPC_SECURITY_GROUP", uri = "security_group:${id}" }],
    )
  }
}
