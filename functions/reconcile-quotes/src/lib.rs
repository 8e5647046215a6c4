//! reconcile-quotes: what the bronze bucket has and bronze lacks is queued for load-quotes again.
//!
//! The batch path beside the events: it repairs lost notifications and lost messages. Queueing an object
//! twice is harmless, since loading it twice is.

mod bucket;
mod queue;
mod request;

use std::time::{Duration, SystemTime};

use function_kit::{ConfigError, Environment, Retry, metrics};
use futures::{StreamExt, TryStreamExt, stream};
use jiff::Timestamp;
use lambda_runtime::LambdaEvent;
use quotes::{ObjectKey, Symbol};
use serde::Serialize;
use warehouse::{Warehouse, WarehouseConfig, WarehouseError};

pub use bucket::{Archive, BronzeBucket, Page};
pub use queue::{LoadQueue, Queue};
pub use request::{Request, Window};

/// What `--help` prints.
pub const ABOUT: &str = "reconcile-quotes: what the bucket has and bronze lacks is queued again. A Lambda function: it is run \
     by the Lambda Runtime API (AWS_LAMBDA_RUNTIME_API) and configured by the environment: BRONZE_BUCKET, \
     ARCHIVED_QUEUE_URL, BIGQUERY_PROJECT, BIGQUERY_DATASET, BIGQUERY_ENDPOINT, \
     GOOGLE_CREDENTIALS_JSON or GOOGLE_CREDENTIALS_SECRET or GOOGLE_APPLICATION_CREDENTIALS, \
     RECONCILE_MARGIN_SECONDS, RECONCILE_GRACE_SECONDS, AWS_ENDPOINT_URL, AWS_ENDPOINT_URL_S3, S3_ACCESS_KEY_ID, S3_SECRET_ACCESS_KEY, LOG_LEVEL. See functions/reconcile-quotes/README.md.";

/// How many symbols are compared at once.
const CONCURRENCY: usize = 8;
/// What is kept of the function's time for reporting that it ran out.
const DEADLINE_MARGIN: Duration = Duration::from_secs(1);
/// Six hours: longer than notifications are likely to be lost without anyone's notice.
const MARGIN_SECONDS: u64 = 6 * 3600;
/// S3's events usually arrive within seconds, sometimes a minute or more.
const GRACE_SECONDS: u64 = 120;

/// The configuration of reconcile-quotes.
#[derive(Debug, PartialEq, Eq)]
pub struct Config {
    /// Where bronze is.
    pub warehouse: WarehouseConfig,
    /// `BRONZE_BUCKET`: where the archived quotes are.
    pub bronze_bucket: String,
    /// `ARCHIVED_QUEUE_URL`: where load-quotes gets its events from.
    pub archived_queue_url: String,
    /// `RECONCILE_MARGIN_SECONDS`: how far behind the watermark it looks.
    pub margin: Duration,
    /// `RECONCILE_GRACE_SECONDS`: how long an object is left to its own event.
    pub grace: Duration,
}

impl Config {
    /// Reads the configuration from the environment.
    ///
    /// # Errors
    /// All that is wrong with it.
    pub fn read(mut environment: Environment) -> Result<Self, ConfigError> {
        let warehouse = WarehouseConfig::read(&mut environment);
        let bucket = environment.required("BRONZE_BUCKET");
        let queue = environment.required("ARCHIVED_QUEUE_URL");
        let margin = Duration::from_secs(environment.or("RECONCILE_MARGIN_SECONDS", MARGIN_SECONDS));
        let grace = Duration::from_secs(environment.or("RECONCILE_GRACE_SECONDS", GRACE_SECONDS));
        let config =
            warehouse.zip(bucket).zip(queue).map(|((warehouse, bronze_bucket), archived_queue_url)| Self {
                warehouse,
                bronze_bucket,
                archived_queue_url,
                margin,
                grace,
            });
        environment.finish(config)
    }
}

/// The warehouse's side of the comparison.
pub trait Bronze {
    /// See [`Warehouse::lacking`].
    fn lacking(&self, keys: &[ObjectKey])
    -> impl Future<Output = Result<Vec<String>, WarehouseError>> + Send;

    /// The newest loaded second of every symbol; see [`Warehouse::watermarks`].
    fn watermarks(
        &self,
    ) -> impl Future<Output = Result<std::collections::HashMap<String, i64>, WarehouseError>> + Send;
}

impl Bronze for Warehouse {
    async fn lacking(&self, keys: &[ObjectKey]) -> Result<Vec<String>, WarehouseError> {
        self.lacking(keys).await
    }

    async fn watermarks(&self) -> Result<std::collections::HashMap<String, i64>, WarehouseError> {
        self.watermarks().await
    }
}

/// What an invocation found.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Outcome {
    /// Symbols compared.
    pub symbols: usize,
    /// Objects looked at.
    pub objects: usize,
    /// Objects queued.
    pub queued: usize,
}

/// Why the comparison did not come to its end. What was queued by then stays queued.
#[derive(Debug, thiserror::Error)]
pub enum ReconcileError {
    /// The bucket was not listed.
    #[error("{bucket} was not listed: {reason}")]
    List {
        /// The bucket's name.
        bucket: String,
        /// What the bucket or the network said.
        reason: String,
        /// Whether another try can help.
        retryable: bool,
    },
    /// The warehouse did not answer.
    #[error("bronze was not compared")]
    Warehouse(#[from] WarehouseError),
    /// The queue did not take the events.
    #[error("{queue} did not take the events: {reason}")]
    Queue {
        /// The queue's URL.
        queue: String,
        /// What the queue or the network said.
        reason: String,
    },
    /// The function's time was over.
    #[error("the function's time was over before every symbol was compared")]
    Deadline,
}

impl Retry for ReconcileError {
    fn is_retryable(&self) -> bool {
        match self {
            Self::List { retryable, .. } => *retryable,
            Self::Warehouse(error) => error.is_retryable(),
            Self::Queue { .. } | Self::Deadline => true,
        }
    }
}

/// The function.
pub struct ReconcileQuotes<A, B, Q> {
    archive: A,
    bronze: B,
    queue: Q,
    margin: Duration,
    grace: Duration,
}

impl<A: Archive, B: Bronze, Q: Queue> ReconcileQuotes<A, B, Q> {
    /// The function, comparing `archive` with `bronze` and queueing what lacks.
    pub fn new(archive: A, bronze: B, queue: Q, margin: Duration, grace: Duration) -> Self {
        Self { archive, bronze, queue, margin, grace }
    }

    /// Queues what the request asks for.
    ///
    /// # Errors
    /// [`ReconcileError`]; the next invocation finds again what this one did not queue.
    pub async fn handle(&self, event: LambdaEvent<Request>) -> Result<Outcome, ReconcileError> {
        let remaining = event.context.deadline().duration_since(SystemTime::now()).unwrap_or_default();
        let outcome =
            tokio::time::timeout(remaining.saturating_sub(DEADLINE_MARGIN), self.reconcile(&event.payload))
                .await
                .map_err(|_| ReconcileError::Deadline)??;
        let Outcome { symbols, objects, queued } = outcome;
        metrics::count("Queued", queued as u64);
        if queued > 0 && !event.payload.all {
            tracing::warn!(symbols, objects, queued, "queued what bronze lacks");
        } else {
            tracing::info!(symbols, objects, queued, "compared the bucket with bronze");
        }
        Ok(outcome)
    }

    async fn reconcile(&self, request: &Request) -> Result<Outcome, ReconcileError> {
        let watermarks = self.bronze.watermarks().await?;
        let now = Timestamp::now();
        let symbols = self.archive.symbols().await?;
        stream::iter(symbols.iter().filter(|symbol| request.names(symbol)))
            .map(|symbol| {
                let watermark = watermarks.get(symbol.as_str()).copied();
                let window = request.window(watermark, now, self.margin, self.grace);
                self.compare(symbol, window, request.all)
            })
            .buffer_unordered(CONCURRENCY)
            .try_fold(Outcome::default(), async |sum, one| {
                Ok(Outcome {
                    symbols: sum.symbols + 1,
                    objects: sum.objects + one.objects,
                    queued: sum.queued + one.queued,
                })
            })
            .await
    }

    async fn compare(&self, symbol: &Symbol, window: Window, all: bool) -> Result<Outcome, ReconcileError> {
        let mut outcome = Outcome::default();
        let mut next = None;
        loop {
            let page = self.archive.page(symbol, window, next).await?;
            let keys = if all {
                page.keys.iter().map(ToString::to_string).collect()
            } else {
                self.bronze.lacking(&page.keys).await?
            };
            self.queue.send(self.archive.name(), &keys).await?;
            outcome.objects += page.keys.len();
            outcome.queued += keys.len();
            next = page.next;
            if next.is_none() {
                return Ok(outcome);
            }
        }
    }
}

#[cfg(test)]
mod tests;
