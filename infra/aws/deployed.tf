# What earlier steps of a deployment left for this one. It lies in Systems Manager's parameters, so that every operator's
# plan finds it, from whichever folder: a file that is missing here must never become a plan that destroys.

data "aws_ssm_parameters_by_path" "deployed" {
  path = "/${var.name}/"
}

data "aws_availability_zones" "all" {
  # checkov:skip=CKV_AWS_394:The zones that are named are compared with it; it chooses none
  count = var.stream.type == "self_managed" ? 0 : 1
}

locals {
  secrets = merge(
    { finnhub_api_key_secret_arn = var.finnhub_api_key_secret_arn },
    { for name, arn in {
      "stream.self_managed.sasl_secret_arn" = try(var.stream.self_managed.sasl_secret_arn, null)
      "stream.self_managed.ca_secret_arn"   = try(var.stream.self_managed.ca_secret_arn, null)
    } : name => arn if arn != null },
    { for function, arn in var.google_credentials_secret_arns : "google_credentials_secret_arns.${function}" => arn },
  )
  # An ARN is arn:PARTITION:SERVICE:REGION:ACCOUNT:…
  foreign_secrets = [for name, arn in local.secrets : name if !strcontains(arn, ":secretsmanager:${var.aws_region}:${local.account_id}:")]

  # No value is a secret: SecureStrings are not read.
  deployed = zipmap(
    [for name in nonsensitive(data.aws_ssm_parameters_by_path.deployed.names) : trimprefix(name, "/${var.name}/")],
    nonsensitive(data.aws_ssm_parameters_by_path.deployed.values),
  )

  # `make deploy` writes both.
  transform_image_uri = lookup(local.deployed, "transform-image-uri", null)

  nothing_known = jsonencode({ name = var.name, aws_account_id = local.account_id, bigquery = { project = "-", dataset = "-", location = "-" }, audience = null, service_accounts = {} })
  google        = jsondecode(var.google == null ? lookup(local.deployed, "google", local.nothing_known) : jsonencode(var.google))

  bigquery_functions = concat(["load-quotes", "reconcile-quotes", "transform-quotes"], var.has_public_page ? ["serve-dashboard"] : [])

  # Federation: the function's AWS role is exchanged for its service account. The format is Google's: AIP-4117, external account
  # credentials from AWS.
  google_credentials = { for function, account in local.google.service_accounts : function => jsonencode({
    type                              = "external_account"
    audience                          = local.google.audience
    subject_token_type                = "urn:ietf:params:aws:token-type:aws4_request"
    token_url                         = "https://sts.googleapis.com/v1/token"
    service_account_impersonation_url = "https://iamcredentials.googleapis.com/v1/projects/-/serviceAccounts/${account}:generateAccessToken"
    credential_source = {
      environment_id                 = "aws1"
      regional_cred_verification_url = "https://sts.{region}.amazonaws.com?Action=GetCallerIdentity&Version=2011-06-15"
    }
  }) if local.google.audience != null && !contains(keys(var.google_credentials_secret_arns), function) }

  without_credentials = [for function in local.bigquery_functions : function if alltrue([
    !contains(keys(local.google_credentials), function),
    !contains(keys(var.google_credentials_secret_arns), function),
    try(var.environment[function].BIGQUERY_ENDPOINT, null) == null,
  ])]

  warehouse = { for function in ["load-quotes", "reconcile-quotes", "transform-quotes", "serve-dashboard"] : function => {
    BIGQUERY_PROJECT          = local.google.bigquery.project
    BIGQUERY_DATASET          = local.google.bigquery.dataset
    GOOGLE_CREDENTIALS_JSON   = lookup(local.google_credentials, function, null)
    GOOGLE_CREDENTIALS_SECRET = lookup(var.google_credentials_secret_arns, function, null)
  } }
  warehouse_statements = { for function in keys(local.warehouse) : function => [
    for secret in compact([local.warehouse[function].GOOGLE_CREDENTIALS_SECRET]) :
    { actions = ["secretsmanager:GetSecretValue"], resources = [secret] }
  ] }

  function_names = merge(
    {
      fetch-quotes     = module.fetch_quotes.name
      archive-quotes   = module.archive_quotes.name
      load-quotes      = module.load_quotes.name
      reconcile-quotes = module.reconcile_quotes.name
    },
    { for function in module.transform_quotes : "transform-quotes" => function.name },
    { for function in module.serve_dashboard : "serve-dashboard" => function.name },
  )

  zones = coalescelist(var.availability_zones, ["${var.aws_region}a", "${var.aws_region}b"])
  # MSK has no brokers in this one, whose letter differs from account to account.
  zones_without_msk = ["use1-az3"]
  usable_zones = flatten([for zones in data.aws_availability_zones.all : [
    for index, name in zones.names : name if !local.has_network || !contains(local.zones_without_msk, zones.zone_ids[index])
  ]])
}

# What a plan accepts and a deployment cannot run with.
resource "terraform_data" "agreement" {
  lifecycle {
    precondition {
      condition     = local.google.bigquery.project != "-"
      error_message = "The results of infra/gcp are missing: the parameter /${var.name}/google does not exist in ${var.aws_region}. Run `make deploy`, which applies infra/gcp first, or set google."
    }
    precondition {
      condition     = local.google.name == var.name
      error_message = "infra/gcp was applied for the name ${local.google.name}, and this is ${var.name}: Google trusts AWS roles by their names. Use one name in both."
    }
    precondition {
      condition     = local.google.aws_account_id == local.account_id
      error_message = "infra/gcp trusts the AWS account ${local.google.aws_account_id}, and this is ${local.account_id}. Correct aws_account_id of infra/gcp, or sign in to the other account."
    }
    precondition {
      condition     = length(local.foreign_secrets) == 0
      error_message = "These secrets are not in ${var.aws_region} of account ${local.account_id}: ${join(", ", local.foreign_secrets)}. Functions and the Kafka trigger read secrets of their own region and account only."
    }
    precondition {
      condition     = length(local.without_credentials) == 0
      error_message = "Without Google credentials: ${join(", ", local.without_credentials)}. Each needs a service account of infra/gcp with federation, or a secret in google_credentials_secret_arns."
    }
    precondition {
      condition     = var.stream.type == "self_managed" || length(setsubtract(local.zones, local.usable_zones)) == 0
      error_message = "No zones for ${var.stream.type}: ${join(", ", setsubtract(local.zones, local.usable_zones))}. Set availability_zones to two or three of: ${join(", ", local.usable_zones)}."
    }
    precondition {
      condition     = local.transform_image_uri == null || can(regex("^[^@]+@sha256:[0-9a-f]{64}$", local.transform_image_uri))
      error_message = "The parameter /${var.name}/transform-image-uri must name the image by its digest, REPOSITORY@sha256:…; a tag would hide a change."
    }
  }
}

# What `make smoke` and operators look up.
resource "aws_ssm_parameter" "outputs" {
  # checkov:skip=CKV2_AWS_34:Names and addresses, no secret
  name        = "/${var.name}/outputs"
  description = "The names that the deployment ${var.name} has made"
  type        = "String"

  value = jsonencode({
    bigquery      = local.google.bigquery
    buckets       = { bronze = module.bronze_bucket.name, quarantine = module.quarantine_bucket.name }
    dashboard_url = one(module.page[*].url)
    functions     = local.function_names
    kafka         = { topic = local.topic, group = local.consumer_group }
    queues = {
      archived             = module.archived_queue.url
      archived_dead_letter = module.archived_queue.dead_letter_url
      failed_events        = module.failed_queue.url
    }
    symbols = var.symbols
  })
}
