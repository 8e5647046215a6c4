# Where Terraform's state is, of both clouds: `make bootstrap ENV=…` creates the bucket.
bucket       = "my-quoteflow-states"
region       = "us-east-1"
encrypt      = true
use_lockfile = true
