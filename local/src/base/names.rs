//! The names of the flow's parts, and their limits. Terraform uses the same.

use std::time::Duration;

include!(concat!(env!("OUT_DIR"), "/flow.rs"));

/// A function's limits in Lambda.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Its memory in MB.
    pub memory_mb: u32,
    /// How long an invocation may take.
    pub timeout_seconds: u32,
    /// How many invocations may run at once; if absent, as many as the account allows.
    pub reserved_concurrency: Option<i32>,
}

impl Limits {
    /// The timeout as a duration.
    #[must_use]
    pub const fn timeout(self) -> Duration {
        Duration::from_secs(self.timeout_seconds as u64)
    }
}

/// The functions behind the Lambda endpoint, with their limits.
pub(crate) const DEPLOYED: [(&str, Limits); 4] =
    [(FETCH, FETCH_LIMITS), (ARCHIVE, ARCHIVE_LIMITS), (LOAD, LOAD_LIMITS), (RECONCILE, RECONCILE_LIMITS)];
/// The functions that this process runs, with their limits.
pub(crate) const HOSTED: [(&str, Limits); 2] = [(TRANSFORM, TRANSFORM_LIMITS), (SERVE, SERVE_LIMITS)];
/// The symbols of a live run without `--symbols`.
pub const LIVE_SYMBOLS: [&str; 5] = ["AAPL", "MSFT", "TSLA", "GOOGL", "AMZN"];
/// The table of clean quotes.
pub const SILVER_TABLE: &str = "silver_stock_quotes";
/// The BigQuery project of the stand-in.
pub const PROJECT: &str = "quoteflow-local";
/// The dataset of the raw tables. The layers' datasets have this name and a suffix.
pub const DATASET: &str = "stock";
/// The AWS region.
pub const REGION: &str = "us-east-1";
