//! What the parts of the flow are called. Terraform gives them the same names.

/// The topic of quotes.
pub const TOPIC: &str = "stock-quotes";
/// Its partitions: a symbol's quotes stay in order within one.
pub const PARTITIONS: i32 = 3;
/// What a live run polls if no symbols are named.
pub const LIVE_SYMBOLS: [&str; 5] = ["AAPL", "MSFT", "TSLA", "GOOGL", "AMZN"];
/// The consumer group of the Kafka trigger.
pub const GROUP: &str = "archive-quotes";
/// The bucket of archived quotes.
pub const BRONZE_BUCKET: &str = "bronze-transactions";
/// The bucket of records that are not valid quotes.
pub const QUARANTINE_BUCKET: &str = "quarantined-records";
/// S3's events of new objects.
pub const ARCHIVED_QUEUE: &str = "quotes-archived";
/// What load-quotes failed on five times.
pub const DEAD_LETTER_QUEUE: &str = "quotes-archived-dlq";
/// The scheduled function, and its schedule.
pub const FETCH: &str = "fetch-quotes";
/// The Kafka-triggered function.
pub const ARCHIVE: &str = "archive-quotes";
/// The S3-triggered function.
pub const LOAD: &str = "load-quotes";
/// The scheduled function that queues what was lost, and its schedule.
pub const RECONCILE: &str = "reconcile-quotes";
/// The function that runs dbt.
pub const TRANSFORM: &str = "transform-quotes";
/// The function behind the dashboard's URL.
pub const DASHBOARD: &str = "serve-dashboard";
/// All of them, in the order of the flow.
pub const FUNCTIONS: [&str; 6] = [FETCH, ARCHIVE, LOAD, RECONCILE, TRANSFORM, DASHBOARD];
/// The table of clean quotes.
pub const SILVER_TABLE: &str = "silver_stock_quotes";
/// The BigQuery project of the stand-in.
pub const PROJECT: &str = "quoteflow-local";
/// The dataset of the raw tables; the layers' datasets have its name and a suffix.
pub const DATASET: &str = "stock";
/// The AWS region.
pub const REGION: &str = "us-east-1";
