# The same name as in aws.tfvars.
name           = "quoteflow"
project        = "my-project"
location       = "US"
aws_account_id = "123456789012"
