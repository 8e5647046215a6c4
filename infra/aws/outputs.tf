output "functions" {
  description = "The functions' names by their plain names."
  value       = local.function_names
}

output "kafka" {
  description = "The topic, where the brokers are, and how clients connect."
  value = {
    bootstrap_servers = module.stream.bootstrap_servers
    security          = module.stream.security
    topic             = local.topic
    group             = local.consumer_group
  }
}

output "buckets" {
  description = "The buckets of archived quotes and of records that are not quotes."
  value = {
    bronze     = module.bronze_bucket.name
    quarantine = module.quarantine_bucket.name
  }
}

output "queues" {
  description = "The queues' URLs."
  value = {
    archived             = module.archived_queue.url
    archived_dead_letter = module.archived_queue.dead_letter_url
    failed_events        = module.failed_queue.url
  }
}

output "transform_repository_url" {
  description = "Where the image of transform-quotes is pushed to."
  value       = aws_ecr_repository.transform_quotes.repository_url
}

output "alarm_topic_arn" {
  description = "The SNS topic of the alarms."
  value       = module.observability.alarm_topic_arn
}

output "cloudwatch_dashboard_url" {
  description = "CloudWatch's page of the flow."
  value       = module.observability.dashboard_url
}

output "dashboard_url" {
  description = "The web page; null without one."
  value       = one(module.page[*].url)
}

output "roles" {
  description = "What each function's role may do: action and resource."
  value = { for name, policy in merge(
    {
      archive-quotes   = module.archive_quotes.policy
      fetch-quotes     = module.fetch_quotes.policy
      load-quotes      = module.load_quotes.policy
      reconcile-quotes = module.reconcile_quotes.policy
    },
    { for function in module.transform_quotes : "transform-quotes" => function.policy },
    { for function in module.serve_dashboard : "serve-dashboard" => function.policy },
    ) : name => sort(flatten([for statement in jsondecode(policy).Statement : [
      for pair in setproduct(statement.Action, statement.Resource) : "${pair[0]} ${pair[1]}" if statement.Effect == "Allow"
  ]])) }
}
