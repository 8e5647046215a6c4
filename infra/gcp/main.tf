# BigQuery, and who may do what in it. The functions come with their AWS roles: no key is made.

locals {
  layers = ["bronze", "silver", "gold"]

  # Function → its service account, and its role on each dataset: the raw one, and the layers' by their names.
  functions = {
    load-quotes = { account = "load", datasets = { raw = "roles/bigquery.dataEditor" } }
    # It raises the watermarks, and removes the second row if two simultaneous loads inserted a quote twice.
    reconcile-quotes = { account = "reconcile", datasets = { raw = "roles/bigquery.dataEditor" } }
    transform-quotes = {
      account  = "transform"
      datasets = merge({ raw = "roles/bigquery.dataViewer" }, { for layer in local.layers : layer => "roles/bigquery.dataEditor" })
    }
    # Gold's models are views: who reads them reads what is behind them.
    serve-dashboard = {
      account  = "dashboard"
      datasets = { for dataset in concat(["raw"], local.layers) : dataset => "roles/bigquery.dataViewer" }
    }
  }

  grants = merge([for function, access in local.functions : {
    for dataset, role in access.datasets : "${function} ${dataset}" => { function = function, dataset = dataset, role = role }
  }]...)

  datasets = merge({ raw = google_bigquery_dataset.raw }, google_bigquery_dataset.layers)

  tables = jsondecode(file("${path.module}/tables.json"))
}

# The APIs. The first two enable the others and read the project's policy; nothing else is made before all are usable.

resource "google_project_service" "first" {
  for_each = toset(["cloudresourcemanager", "serviceusage"])

  service            = "${each.key}.googleapis.com"
  disable_on_destroy = false
}

resource "google_project_service" "this" {
  for_each = toset(["bigquery", "cloudquotas", "iam", "iamcredentials", "sts"])

  service            = "${each.key}.googleapis.com"
  disable_on_destroy = false

  depends_on = [google_project_service.first]
}

# An API that is enabled answers SERVICE_DISABLED for some time.
resource "time_sleep" "apis" {
  create_duration = "60s"
  triggers        = { services = join(" ", sort(concat(keys(google_project_service.first), keys(google_project_service.this)))) }

  depends_on = [google_project_service.this]
}

# The bill's ceiling: how much each account may read in a day, however often the public page is opened. Above it BigQuery
# refuses each query until midnight in California.
resource "google_cloud_quotas_quota_preference" "reads" {
  count = var.daily_read_gib_per_account == null ? 0 : 1

  parent   = "projects/${var.project}"
  name     = "bigquery-reads-per-account"
  service  = "bigquery.googleapis.com"
  quota_id = "QueryUsagePerUserPerDay"
  # It is far below Google's own default.
  ignore_safety_checks = "QUOTA_DECREASE_PERCENTAGE_TOO_HIGH"

  quota_config {
    # In MiB.
    preferred_value = var.daily_read_gib_per_account * 1024
  }

  depends_on = [time_sleep.apis]
}

# The tables

resource "google_bigquery_dataset" "raw" {
  # checkov:skip=CKV_GCP_81:Encrypted with Google's own key; the prices are public
  dataset_id                 = var.dataset
  location                   = var.location
  description                = "Raw quotes as they were fetched"
  delete_contents_on_destroy = !var.are_tables_protected

  depends_on = [time_sleep.apis]
}

resource "google_bigquery_dataset" "layers" {
  # checkov:skip=CKV_GCP_81:As above
  for_each = toset(local.layers)

  dataset_id  = "${var.dataset}_${each.key}"
  location    = var.location
  description = "dbt's ${each.key} layer"
  # dbt makes all of it again.
  delete_contents_on_destroy = true

  depends_on = [time_sleep.apis]
}

resource "google_bigquery_table" "raw" {
  # checkov:skip=CKV_GCP_80:As above
  # checkov:skip=CKV_GCP_121:are_tables_protected says so, true by default
  for_each = local.tables

  dataset_id          = google_bigquery_dataset.raw.dataset_id
  table_id            = each.key
  description         = each.value.description
  schema              = jsonencode(each.value.schema)
  clustering          = each.value.cluster_by
  deletion_protection = var.are_tables_protected

  dynamic "time_partitioning" {
    for_each = each.value.partition_by[*]

    content {
      type  = "DAY"
      field = time_partitioning.value
    }
  }
}

# Who

resource "google_service_account" "this" {
  for_each = local.functions

  account_id   = "${var.name}-${each.value.account}"
  display_name = "${var.name} ${each.key}"

  depends_on = [time_sleep.apis]
}

# Running queries is a right on the project; what they read and write is one on the dataset.
resource "google_project_iam_member" "query" {
  for_each = local.functions

  project = var.project
  role    = "roles/bigquery.jobUser"
  member  = google_service_account.this[each.key].member

  depends_on = [time_sleep.apis]
}

resource "google_bigquery_dataset_iam_member" "this" {
  for_each = local.grants

  dataset_id = local.datasets[each.value.dataset].dataset_id
  role       = each.value.role
  member     = google_service_account.this[each.value.function].member
}

# From AWS: each function's role, and no other, may act as its service account.

resource "google_iam_workload_identity_pool" "aws" {
  count = var.is_keyless ? 1 : 0

  workload_identity_pool_id = "${var.name}-aws"
  display_name              = "${var.name} on AWS"

  depends_on = [time_sleep.apis]
}

resource "google_iam_workload_identity_pool_provider" "aws" {
  # checkov:skip=CKV_GCP_125:An AWS provider, restricted to the account and to the functions' roles
  count = var.is_keyless ? 1 : 0

  workload_identity_pool_id          = google_iam_workload_identity_pool.aws[0].workload_identity_pool_id
  workload_identity_pool_provider_id = "lambda"
  display_name                       = "The functions' roles"

  # An assumed role's ARN is arn:aws:sts::ACCOUNT:assumed-role/ROLE/SESSION.
  attribute_mapping = {
    "google.subject"     = "assertion.arn"
    "attribute.aws_role" = "assertion.arn.extract('assumed-role/{role}/')"
  }
  attribute_condition = "attribute.aws_role in ${jsonencode([for function in keys(local.functions) : "${var.name}-${function}"])}"

  aws {
    account_id = var.aws_account_id
  }
}

resource "google_service_account_iam_member" "impersonation" {
  for_each = { for function, access in local.functions : function => access if var.is_keyless }

  service_account_id = google_service_account.this[each.key].name
  role               = "roles/iam.workloadIdentityUser"
  member             = "principalSet://iam.googleapis.com/${google_iam_workload_identity_pool.aws[0].name}/attribute.aws_role/${var.name}-${each.key}"
}
