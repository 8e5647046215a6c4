//! load-quotes: S3 events → rows of `bronze_stock_quotes_raw`, each quote once.
//!
//! The objects of a whole batch are loaded by one MERGE. A message is acknowledged only after its quotes
//! are in bronze; a message whose object holds no quote fails alone, and ends in the dead-letter queue.

mod event;
mod objects;

use std::{
    collections::{BTreeSet, HashMap},
    time::{Duration, SystemTime},
};

use function_kit::{
    ConfigError, Environment, Retry, chain, metrics,
    trace::{Span, SpanKind},
};
use futures::{StreamExt, stream};
use jiff::{SignedDuration, Timestamp};
use lambda_runtime::LambdaEvent;
use quotes::{Quote, QuoteId};
use serde::Serialize;
use serde_json::Value;
use warehouse::{BRONZE_TABLE, BronzeRow, Loaded, Warehouse, WarehouseConfig, WarehouseError};

pub use event::{Message, ObjectRef, UnknownMessage, messages};
use objects::is_of_a_tool;
pub use objects::{Bucket, Object, Objects, ReadError};

/// What `--help` prints.
pub const ABOUT: &str = "load-quotes: S3 events -> BigQuery bronze. A Lambda function: it is run by the Lambda Runtime API \
     (AWS_LAMBDA_RUNTIME_API) and configured by the environment: BIGQUERY_PROJECT, BIGQUERY_DATASET, \
     BIGQUERY_ENDPOINT, GOOGLE_CREDENTIALS_JSON or GOOGLE_CREDENTIALS_SECRET or GOOGLE_APPLICATION_CREDENTIALS, \
     BIGQUERY_MAX_BYTES_BILLED, BIGQUERY_TIMEOUT_SECONDS, AWS_ENDPOINT_URL, AWS_ENDPOINT_URL_S3, S3_ACCESS_KEY_ID, S3_SECRET_ACCESS_KEY, OTEL_EXPORTER_OTLP_ENDPOINT, LOG_LEVEL. See functions/load-quotes/README.md.";

/// How many objects are read at once.
const CONCURRENCY: usize = 32;
/// How many objects are held at once, so that memory stays bounded whatever an event names.
const CHUNK: usize = 1000;
/// What is kept of the function's time for reporting that it ran out.
const MARGIN: Duration = Duration::from_millis(500);

/// The configuration of load-quotes.
#[derive(Debug, PartialEq, Eq)]
pub struct Config {
    /// Where bronze is.
    pub warehouse: WarehouseConfig,
}

impl Config {
    /// Reads the configuration from the environment.
    ///
    /// # Errors
    /// All that is wrong with it.
    pub fn read(mut environment: Environment) -> Result<Self, ConfigError> {
        let warehouse = WarehouseConfig::read(&mut environment);
        environment.finish(warehouse.map(|warehouse| Self { warehouse }))
    }
}

/// Where quotes are loaded into.
pub trait Bronze {
    /// Loads each quote once; see [`Warehouse::load`].
    fn load(&self, rows: &[BronzeRow]) -> impl Future<Output = Result<Loaded, WarehouseError>> + Send;
}

impl Bronze for Warehouse {
    async fn load(&self, rows: &[BronzeRow]) -> Result<Loaded, WarehouseError> {
        self.load(rows).await
    }
}

/// What SQS is told: the messages that must come again; those not named are done.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
pub struct BatchResponse {
    /// The messages to come again.
    #[serde(rename = "batchItemFailures")]
    pub failures: Vec<ItemFailure>,
}

/// A message that must come again.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct ItemFailure {
    /// Its `messageId`.
    #[serde(rename = "itemIdentifier")]
    pub id: String,
}

/// Why a whole event must come again.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The warehouse did not take the rows.
    #[error("{rows} quotes were not loaded")]
    Warehouse {
        /// How many.
        rows: usize,
        /// What the warehouse said.
        source: WarehouseError,
    },
    /// An event without a queue names an object that could not be loaded.
    #[error("the event was not loaded")]
    Event(#[source] MessageError),
    /// The function's time was over before everything was loaded.
    #[error("the function's time was over before all {messages} messages were loaded")]
    Deadline {
        /// How many messages the event has.
        messages: usize,
    },
}

/// Why one message failed.
#[derive(Debug, thiserror::Error)]
pub enum MessageError {
    /// It is not an S3 event.
    #[error(transparent)]
    Unknown(#[from] UnknownMessage),
    /// Its object could not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// Its object is not a quote.
    #[error("{key} is not a quote")]
    NoQuote {
        /// The object's key.
        key: String,
        /// The id of its trace.
        trace_id: Option<String>,
        /// What is wrong with it.
        source: quotes::InvalidQuote,
    },
}

impl Retry for MessageError {
    fn is_retryable(&self) -> bool {
        matches!(self, Self::Read(error) if error.is_retryable())
    }
}

impl Retry for LoadError {
    fn is_retryable(&self) -> bool {
        match self {
            Self::Warehouse { source, .. } => source.is_retryable(),
            Self::Event(error) => error.is_retryable(),
            Self::Deadline { .. } => true,
        }
    }
}

/// The function.
pub struct LoadQuotes<O, B> {
    objects: O,
    bronze: B,
}

/// A quote on its way into bronze.
struct Archived {
    quote_id: QuoteId,
    key: String,
    span: Span,
}

/// The messages that must come again, and the failure of an event that came without messages.
#[derive(Default)]
struct Failures {
    messages: BTreeSet<String>,
    event: Option<MessageError>,
}

impl Failures {
    fn add(&mut self, ids: Vec<Option<String>>, error: MessageError) {
        let ids: Vec<String> = ids.into_iter().flatten().collect();
        let trace_id = match &error {
            MessageError::NoQuote { trace_id, .. } => trace_id.as_deref(),
            _ => None,
        };
        if ids.is_empty() {
            // The event fails with it, and with its line.
            self.event = Some(error);
            return;
        }
        tracing::error!(message_ids = ?ids, trace_id, "not loaded: {}", chain(&error));
        self.messages.extend(ids);
    }

    fn into_response(self) -> Result<BatchResponse, LoadError> {
        match self.event {
            Some(error) => Err(LoadError::Event(error)),
            None => Ok(BatchResponse {
                failures: self.messages.into_iter().map(|id| ItemFailure { id }).collect(),
            }),
        }
    }
}

#[derive(Default)]
struct Tally {
    loaded: Loaded,
    gone: usize,
}

impl<O: Objects, B: Bronze> LoadQuotes<O, B> {
    /// The function, reading `objects` and loading into `bronze`.
    pub fn new(objects: O, bronze: B) -> Self {
        Self { objects, bronze }
    }

    /// Loads every quote that the event names.
    ///
    /// # Errors
    /// [`LoadError`] where the whole event must come again; a single message's failure is in the
    /// response.
    pub async fn handle(&self, event: LambdaEvent<Value>) -> Result<BatchResponse, LoadError> {
        let remaining = event.context.deadline().duration_since(SystemTime::now()).unwrap_or_default();
        let messages = messages(&event.payload);
        let count = messages.len();
        tokio::time::timeout(remaining.saturating_sub(MARGIN), self.load(messages))
            .await
            .map_err(|_| LoadError::Deadline { messages: count })?
    }

    async fn load(&self, messages: Vec<Message>) -> Result<BatchResponse, LoadError> {
        let mut failures = Failures::default();
        let mut named: HashMap<ObjectRef, Vec<Option<String>>> = HashMap::new();
        for Message { id, objects } in messages {
            match objects {
                Ok(objects) => {
                    for object in objects {
                        named.entry(object).or_default().push(id.clone());
                    }
                }
                Err(error) => failures.add(vec![id], error.into()),
            }
        }
        let mut tally = Tally::default();
        let mut objects = named.into_iter().peekable();
        while objects.peek().is_some() {
            let read: Vec<_> = stream::iter(objects.by_ref().take(CHUNK))
                .map(async |(object, ids)| (self.read(&object).await, ids))
                .buffer_unordered(CONCURRENCY)
                .collect()
                .await;
            let (mut rows, mut quotes) = (Vec::new(), Vec::new());
            for (quote, ids) in read {
                match quote {
                    Ok(Some((row, quote))) => {
                        rows.push(row);
                        quotes.push(quote);
                    }
                    Ok(None) => tally.gone += 1,
                    Err(error) => failures.add(ids, error),
                }
            }
            let loaded = self.bronze.load(&rows).await;
            for Archived { quote_id, key, mut span } in quotes {
                match &loaded {
                    Ok(_) => tracing::debug!(key, %quote_id, trace_id = span.trace_id(), "loaded"),
                    Err(error) => span.fail(error),
                }
            }
            let loaded = loaded.map_err(|source| LoadError::Warehouse { rows: rows.len(), source })?;
            metrics::count("Loaded", loaded.inserted);
            if let Some(newest) = rows.iter().map(BronzeRow::fetched_at).max() {
                let age = SignedDuration::from_secs(Timestamp::now().as_second() - newest);
                metrics::seconds("FreshnessSeconds", age.as_secs_f64());
            }
            tally.loaded.inserted += loaded.inserted;
            tally.loaded.already_there += loaded.already_there;
        }
        let (Loaded { inserted: loaded, already_there: already_loaded }, gone) = (tally.loaded, tally.gone);
        let failed = failures.messages.len();
        metrics::count("Failed", failed as u64);
        if failed == 0 && failures.event.is_none() {
            tracing::info!(loaded, already_loaded, gone, failed, "loaded every quote");
        } else {
            tracing::warn!(loaded, already_loaded, gone, failed, "not every message was loaded");
        }
        failures.into_response()
    }

    /// As [`Self::read_quote`]; `None` also where the object is not a quote and of a tool of S3.
    async fn read(&self, object: &ObjectRef) -> Result<Option<(BronzeRow, Archived)>, MessageError> {
        let read = self.read_quote(object).await;
        match read {
            Err(error) if !error.is_retryable() && is_of_a_tool(&object.key) => {
                tracing::warn!(
                    key = object.key,
                    "left an object alone that is not archive-quotes': {}",
                    chain(&error)
                );
                Ok(None)
            }
            read => read,
        }
    }

    /// The object's row and its step of the quote's trace; `None` where the object is gone.
    async fn read_quote(&self, object: &ObjectRef) -> Result<Option<(BronzeRow, Archived)>, MessageError> {
        let Some(Object { bytes, trace }) = self.objects.get(object).await? else {
            tracing::warn!(key = object.key, "the object was deleted before it was loaded");
            return Ok(None);
        };
        let key = object.key.clone();
        let quote = Quote::from_object(&bytes).map_err(|source| {
            let trace_id = trace.map(|trace| trace.trace_id());
            MessageError::NoQuote { key: key.clone(), trace_id, source }
        })?;
        let quote_id = quote.id();
        let mut span = Span::start(SpanKind::Consumer, "load", BRONZE_TABLE, quote_id.as_u128(), trace);
        span.set("db.operation.name", "MERGE");
        span.set("db.collection.name", BRONZE_TABLE);
        span.set("aws.s3.bucket", &object.bucket);
        span.set("aws.s3.key", &key);
        Ok(Some((BronzeRow::new(&quote, &key), Archived { quote_id, key, span })))
    }
}

#[cfg(test)]
mod tests;
