output "functions" {
  description = "The functions' names by their plain names."
  value = merge(
    {
      fetch-quotes     = module.fetch_quotes.name
      archive-quotes   = module.archive_quotes.name
      load-quotes      = module.load_quotes.name
      reconcile-quotes = module.reconcile_quotes.name
    },
    { for function in module.transform_quotes : "transform-quotes" => function.name },
    { for function in module.serve_dashboard : "serve-dashboard" => function.name },
  )
}

output "kafka" {
  description = "The topic, where the brokers are, and how they are spoken to."
  value = {
    bootstrap_servers = module.stream.bootstrap_servers
    security          = module.stream.security
    topic             = local.topic
  }
}

output "buckets" {
  description = "The buckets of archived quotes and of records that hold none."
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
    loaded               = module.loaded_queue.url
    loaded_dead_letter   = module.loaded_queue.dead_letter_url
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
  value       = one(module.serve_dashboard[*].url)
}
