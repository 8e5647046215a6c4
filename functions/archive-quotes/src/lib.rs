//! archive-quotes: every record of a Kafka event becomes an object.
//!
//! A quote goes to `{symbol}/{fetched_at}.json` in the bronze bucket, what is no quote goes to the
//! quarantine bucket with its bytes, the reason and its coordinates. Only an unavailable bucket fails
//! the event; the batch is then tried again, and what it wrote already is found to be there.

mod event;
mod quarantine;
mod store;

use std::time::{Duration, SystemTime};

use function_kit::{ConfigError, Environment, Retry, metrics};
use futures::{StreamExt, TryStreamExt, stream};
use lambda_runtime::LambdaEvent;
use quotes::{Coordinates, Quote};
use serde::Serialize;

pub use event::{BadRecord, KafkaEvent, Record};
pub use quarantine::Quarantined;
pub use store::{BucketStore, Put, Store, StoreError};

/// What `--help` prints.
pub const ABOUT: &str = "archive-quotes: a Kafka event -> one object a quote. A Lambda function: it is run by the Lambda \
     Runtime API (AWS_LAMBDA_RUNTIME_API) and configured by the environment: BRONZE_BUCKET, QUARANTINE_BUCKET, \
     AWS_ENDPOINT_URL, LOG_LEVEL. See functions/archive-quotes/README.md.";

/// How many objects are written at once: enough to hide a bucket's latency, few enough for one core.
const CONCURRENCY: usize = 16;
/// What is kept of the function's time for reporting that it ran out.
const MARGIN: Duration = Duration::from_millis(500);

/// The configuration of archive-quotes.
#[derive(Debug, PartialEq, Eq)]
pub struct Config {
    /// `BRONZE_BUCKET`: where quotes go.
    pub bronze_bucket: String,
    /// `QUARANTINE_BUCKET`: where what is no quote goes.
    pub quarantine_bucket: String,
}

impl Config {
    /// Reads the configuration from the environment.
    ///
    /// # Errors
    /// All that is wrong with it.
    pub fn read(mut environment: Environment) -> Result<Self, ConfigError> {
        let bronze = environment.required("BRONZE_BUCKET");
        let quarantine = environment.required("QUARANTINE_BUCKET");
        let config = bronze
            .zip(quarantine)
            .map(|(bronze_bucket, quarantine_bucket)| Self { bronze_bucket, quarantine_bucket });
        environment.finish(config)
    }
}

/// What became of an event's records; their sum is the number of records.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Outcome {
    /// Quotes written now.
    pub archived: usize,
    /// Quotes that were there already, from an earlier try.
    pub already_archived: usize,
    /// Records that hold no quote, written to quarantine now or earlier.
    pub quarantined: usize,
}

/// Why an event must be tried again.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// A bucket did not take an object.
    #[error("the record {at} could not be stored")]
    Store {
        /// The record's coordinates.
        at: String,
        /// What the bucket said.
        source: StoreError,
    },
    /// The function's time was over before every record was stored.
    #[error("the function's time was over before all {records} records were stored")]
    Deadline {
        /// How many records the event has.
        records: usize,
    },
}

impl Retry for ArchiveError {
    fn is_retryable(&self) -> bool {
        match self {
            Self::Store { source, .. } => source.is_retryable(),
            Self::Deadline { .. } => true,
        }
    }
}

/// The function.
pub struct ArchiveQuotes<S> {
    bronze: S,
    quarantine: S,
}

enum Fate {
    Archived,
    AlreadyArchived,
    Quarantined,
}

impl<S: Store> ArchiveQuotes<S> {
    /// The function, writing quotes to `bronze` and everything else to `quarantine`.
    pub fn new(bronze: S, quarantine: S) -> Self {
        Self { bronze, quarantine }
    }

    /// Stores every record of the event.
    ///
    /// # Errors
    /// [`ArchiveError`] where a bucket is unavailable or the time is over: the whole event must be tried
    /// again, and may be at any time.
    pub async fn handle(&self, event: LambdaEvent<KafkaEvent>) -> Result<Outcome, ArchiveError> {
        let remaining = event.context.deadline().duration_since(SystemTime::now()).unwrap_or_default();
        let records = event.payload.into_records();
        let count = records.len();
        let store = stream::iter(records)
            .map(|record| self.store(record))
            .buffer_unordered(CONCURRENCY)
            .try_fold(Outcome::default(), async |mut outcome, fate| {
                match fate {
                    Fate::Archived => outcome.archived += 1,
                    Fate::AlreadyArchived => outcome.already_archived += 1,
                    Fate::Quarantined => outcome.quarantined += 1,
                }
                Ok(outcome)
            });
        let outcome = tokio::time::timeout(remaining.saturating_sub(MARGIN), store)
            .await
            .map_err(|_| ArchiveError::Deadline { records: count })??;
        metrics::count("Archived", outcome.archived as u64);
        metrics::count("AlreadyArchived", outcome.already_archived as u64);
        metrics::count("Quarantined", outcome.quarantined as u64);
        tracing::info!(
            archived = outcome.archived,
            already_archived = outcome.already_archived,
            quarantined = outcome.quarantined,
            "stored every record"
        );
        Ok(outcome)
    }

    async fn store(&self, record: Result<Record, BadRecord>) -> Result<Fate, ArchiveError> {
        let name = match &record {
            Ok(record) => record.at.to_string(),
            Err(bad) => bad.at.clone(),
        };
        let stored = match record {
            Ok(record) => match record.quote() {
                Ok(quote) => self.archive(&quote, &record.at).await,
                Err(reason) => self.set_aside(&Quarantined::record(&record, &reason)).await,
            },
            Err(bad) => self.set_aside(&Quarantined::bad_record(&bad)).await,
        };
        stored.map_err(|source| ArchiveError::Store { at: name, source })
    }

    async fn archive(&self, quote: &Quote, at: &Coordinates) -> Result<Fate, StoreError> {
        let (key, bytes) = (quote.object_key(), quote.to_json());
        let mut put = self.bronze.put_once(&key.to_string(), &bytes).await?;
        if put == Put::OtherBytes {
            put = self.bronze.put_once(&key.with_coordinates(at).to_string(), &bytes).await?;
        }
        Ok(if put == Put::Written { Fate::Archived } else { Fate::AlreadyArchived })
    }

    async fn set_aside(&self, quarantined: &Quarantined) -> Result<Fate, StoreError> {
        tracing::warn!(at = quarantined.at, reason = quarantined.reason, "quarantined a record");
        self.quarantine.put_once(&quarantined.key(), &quarantined.to_json()).await?;
        Ok(Fate::Quarantined)
    }
}

#[cfg(test)]
mod tests;
