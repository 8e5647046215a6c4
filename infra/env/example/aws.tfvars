# The prefix of every name: another one for each deployment.
name = "quoteflow"

# The region of everything. The secrets must be here, too.
aws_region                 = "us-east-1"
finnhub_api_key_secret_arn = "arn:aws:secretsmanager:us-east-1:123456789012:secret:quoteflow/finnhub-api-key-a1b2c3"
alarm_email                = "operator@example.com"

# The cheap way: one small server with Apache Kafka.
stream = { type = "server" }

# Two small brokers of Amazon's:
# stream = { type = "msk_provisioned" }
#
# Amazon's, without brokers to care for, and expensive:
# stream = { type = "msk_serverless" }
#
# A Kafka that exists, over TLS with a user (SASL/SCRAM; security = "sasl_plain" for SASL/PLAIN):
# stream = {
#   type = "self_managed"
#   self_managed = {
#     bootstrap_servers = ["kafka.example.com:9096"]
#     sasl_secret_arn   = "arn:aws:secretsmanager:us-east-1:123456789012:secret:quoteflow/kafka-d4e5f6"
#   }
# }

# The web page, for everyone:
# has_public_page = true
