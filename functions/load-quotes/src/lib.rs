//! load-quotes: S3 events → rows of `bronze_stock_quotes_raw`, each quote once.
//!
//! All objects of an event are loaded by one MERGE, whether an object contains one quote or many. A message is
//! acknowledged only after its quotes are in bronze. If its object contains something else, only this message fails,
//! and ends in the dead-letter queue.

mod event;
mod objects;

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
    time::SystemTime,
};

use function_kit::{
    About, ConfigError, Environment, Retry, aws, chain, metrics, time_left,
    trace::{Span, SpanKind, TraceParent},
};
use futures::{StreamExt, stream};
use jiff::{SignedDuration, Timestamp};
use lambda_runtime::LambdaEvent;
use quotes::{Compression, DamagedBatch, InvalidQuote, QuoteId, QuoteView, check_not_future};
use serde::Serialize;
use serde_json::Value;
use tokio::time::Instant;
use warehouse::{
    BRONZE_TABLE, BronzeRow, Loaded, STATEMENT_BYTES, Warehouse, WarehouseConfig, WarehouseError,
};

pub use event::{Message, ObjectRef, UnknownMessage, messages};
use objects::is_of_a_tool;
pub use objects::{Bucket, Object, Objects, ReadError};

/// The purpose of load-quotes, and its variables.
pub const ABOUT: About = About {
    name: env!("CARGO_PKG_NAME"),
    purpose: "S3 events -> rows of BigQuery's bronze table",
    variables: &[warehouse::VARIABLES, aws::S3_VARIABLES, aws::VARIABLES],
};

/// How many objects are read at once.
const CONCURRENCY: usize = 32;
/// How many objects of one quote are in memory at once. This limits memory for every event.
const CHUNK: usize = 1000;
/// How many objects of many quotes are in memory at once, compressed.
const BATCHES: usize = 16;
/// For how many lines of one object that are not quotes a log line is written.
const BAD_LINES_LOGGED: usize = 20;

/// The configuration of load-quotes.
#[derive(Debug, PartialEq, Eq)]
pub struct Config {
    /// The warehouse with the bronze table.
    pub warehouse: WarehouseConfig,
}

impl Config {
    /// Reads the configuration from the environment.
    ///
    /// # Errors
    /// [`ConfigError`] with all problems.
    pub fn read(mut environment: Environment) -> Result<Self, ConfigError> {
        let warehouse = WarehouseConfig::read(&mut environment);
        environment.finish(|| Some(Self { warehouse: warehouse? }))
    }
}

/// The table that quotes are loaded into.
pub trait Bronze {
    /// Loads each quote once; see [`Warehouse::load`].
    fn load(&self, rows: &[BronzeRow]) -> impl Future<Output = Result<Loaded, WarehouseError>> + Send;
}

impl Bronze for Warehouse {
    async fn load(&self, rows: &[BronzeRow]) -> Result<Loaded, WarehouseError> {
        self.load(rows).await
    }
}

/// The response to SQS: the messages that must be delivered again. All others are done.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
pub struct BatchResponse {
    /// The messages to deliver again.
    #[serde(rename = "batchItemFailures")]
    pub failures: Vec<ItemFailure>,
}

/// A message that must be delivered again.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct ItemFailure {
    /// Its `messageId`.
    #[serde(rename = "itemIdentifier")]
    pub id: String,
}

/// Why a whole event must be tried again.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The warehouse did not accept the rows.
    #[error("{rows} quotes were not loaded")]
    Warehouse {
        /// How many.
        rows: usize,
        /// The warehouse's error.
        source: WarehouseError,
    },
    /// An event that did not come from a queue names an object that could not be loaded.
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
        source: InvalidQuote,
    },
    /// Its object's lines cannot be read.
    #[error("{key} is not a batch of quotes")]
    Damaged {
        /// The object's key.
        key: String,
        /// What is wrong with it.
        source: DamagedBatch,
    },
    /// Some of its object's lines are not quotes. The others were loaded.
    #[error("{key} has {lines} lines that are not quotes; line {line} is the first")]
    Lines {
        /// The object's key.
        key: String,
        /// How many.
        lines: usize,
        /// The number of the first one, counted from 1.
        line: usize,
        /// What is wrong with the first one.
        source: InvalidQuote,
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

/// A quote that is to be loaded.
struct Archived {
    quote_id: QuoteId,
    key: Arc<str>,
    span: Span,
}

/// Rows that are to be loaded, and their quotes.
#[derive(Default)]
struct Pending {
    rows: Vec<BronzeRow>,
    quotes: Vec<Archived>,
    bytes: usize,
}

impl Pending {
    fn add(&mut self, (row, quote): (BronzeRow, Archived)) {
        self.bytes += row.json().len();
        self.rows.push(row);
        self.quotes.push(quote);
    }
}

/// An object, and the messages that name it.
type Named = (ObjectRef, Vec<Option<String>>);

/// The messages that must be delivered again, and the failure of an event without messages.
#[derive(Default)]
struct Failures {
    messages: BTreeSet<String>,
    /// The messages that were not started because the time ran out.
    later: BTreeSet<String>,
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
            // The event fails with this error, and has one log line for it.
            self.event = Some(error);
            return;
        }
        tracing::error!(message_ids = ?ids, trace_id, "messages were not loaded: {}", chain(&error));
        self.messages.extend(ids);
    }

    /// Leaves an object's messages, of `count` in the event, to a later invocation: SQS delivers them again.
    fn leave(&mut self, ids: Vec<Option<String>>, count: usize) -> Result<(), LoadError> {
        for id in ids {
            self.later.insert(id.ok_or(LoadError::Deadline { messages: count })?);
        }
        Ok(())
    }

    fn into_response(self) -> Result<BatchResponse, LoadError> {
        match self.event {
            Some(error) => Err(LoadError::Event(error)),
            None => Ok(BatchResponse {
                failures: self.messages.union(&self.later).map(|id| ItemFailure { id: id.clone() }).collect(),
            }),
        }
    }
}

#[derive(Default)]
struct Tally {
    loaded: Loaded,
    gone: usize,
    batches: usize,
}

impl<O: Objects, B: Bronze> LoadQuotes<O, B> {
    /// The function. It reads `objects` and loads into `bronze`.
    pub fn new(objects: O, bronze: B) -> Self {
        Self { objects, bronze }
    }

    /// Loads every quote that the event names.
    ///
    /// # Errors
    /// [`LoadError`] if the whole event must be tried again. The failure of a single message is in the
    /// response.
    pub async fn handle(&self, event: LambdaEvent<Value>) -> Result<BatchResponse, LoadError> {
        let stop = Instant::now() + time_left(&event.context) / 2;
        self.load(messages(&event.payload), stop).await
    }

    /// Loads the objects that the messages name. Messages that are not started by `stop` are delivered again.
    async fn load(&self, messages: Vec<Message>, stop: Instant) -> Result<BatchResponse, LoadError> {
        let count = messages.len();
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
        let (mut tally, mut pending) = (Tally::default(), Pending::default());
        let is_batch = |(object, _): &Named| Compression::of_key(&object.key).is_some();
        let (mut batches, mut quotes): (Vec<Named>, Vec<Named>) = named.into_iter().partition(is_batch);
        while !quotes.is_empty() {
            let chunk = quotes.split_off(quotes.len().saturating_sub(CHUNK));
            for (object, read, ids) in self.read(chunk, quote_of).await {
                match read {
                    Ok(Some(quote)) => pending.add(quote),
                    Ok(None) => tally.gone += 1,
                    Err(error) if !error.is_retryable() && is_of_a_tool(&object.key) => {
                        let (key, reason) = (object.key, chain(&error));
                        tracing::warn!(key, "ignored an object that archive-quotes did not write: {reason}");
                        tally.gone += 1;
                    }
                    Err(error) => failures.add(ids, error),
                }
            }
            self.flush(&mut pending, &mut tally).await?;
            if Instant::now() >= stop {
                for (_, ids) in quotes.drain(..).chain(batches.drain(..)) {
                    failures.leave(ids, count)?;
                }
            }
        }
        while !batches.is_empty() {
            let chunk = batches.split_off(batches.len().saturating_sub(BATCHES));
            for (object, read, ids) in self.read(chunk, |_, object| Ok(object)).await {
                // At least one batch is loaded, however short the time is.
                if Instant::now() >= stop && tally.batches > 0 {
                    failures.leave(ids, count)?;
                    continue;
                }
                tally.batches += 1;
                let added = match read {
                    Ok(Some(read)) => self.add_batch(&object, &read, &mut pending, &mut tally).await?,
                    Ok(None) => {
                        tally.gone += 1;
                        Ok(())
                    }
                    Err(error) => Err(error),
                };
                if let Err(error) = added {
                    failures.add(ids, error);
                }
            }
        }
        self.flush(&mut pending, &mut tally).await?;
        let (Loaded { inserted: loaded, already_there: already_loaded }, gone) = (tally.loaded, tally.gone);
        let (failed, later) = (failures.messages.len(), failures.later.len());
        metrics::FAILED.add(failed as u64);
        if failed == 0 && later == 0 && failures.event.is_none() {
            tracing::info!(loaded, already_loaded, gone, failed, "loaded every quote");
        } else {
            tracing::warn!(loaded, already_loaded, gone, failed, later, "not every message was loaded");
        }
        failures.into_response()
    }

    /// Reads objects, several at once, and keeps the result of `take` for each; `None` for an object that no longer
    /// exists.
    async fn read<T>(
        &self,
        chunk: Vec<Named>,
        take: impl Fn(&ObjectRef, Object) -> Result<T, MessageError>,
    ) -> Vec<(ObjectRef, Result<Option<T>, MessageError>, Vec<Option<String>>)> {
        let take = &take;
        stream::iter(chunk)
            .map(async |(object, ids)| {
                let read = match self.objects.get(&object).await {
                    Ok(Some(read)) => take(&object, read).map(Some),
                    Ok(None) => {
                        tracing::warn!(key = object.key, "the object was deleted before it was loaded");
                        Ok(None)
                    }
                    Err(error) => Err(error.into()),
                };
                (object, read, ids)
            })
            .buffer_unordered(CONCURRENCY)
            .collect()
            .await
    }

    /// Adds the quotes of a batch. Whenever the pending rows fill a statement, they are loaded. The inner error is
    /// about the object.
    async fn add_batch(
        &self,
        object: &ObjectRef,
        Object { bytes, trace: _ }: &Object,
        pending: &mut Pending,
        tally: &mut Tally,
    ) -> Result<Result<(), MessageError>, LoadError> {
        let Some(compression) = Compression::of_key(&object.key) else { return Ok(Ok(())) };
        let lines = match compression.decompress(bytes) {
            Ok(lines) => lines,
            Err(source) => return Ok(Err(MessageError::Damaged { key: object.key.clone(), source })),
        };
        let key = Arc::from(object.key.as_str());
        let (mut bad, mut first) = (0, None);
        for (number, line) in (1..).zip(lines.split(|byte| *byte == b'\n')) {
            if line.is_empty() {
                continue;
            }
            match quote_in(line) {
                // A batch does not keep the records' traces, so a new one begins with the quote's id.
                Ok(quote) => pending.add(row(&quote, object, &key, None)),
                Err(error) => {
                    bad += 1;
                    if bad <= BAD_LINES_LOGGED {
                        tracing::warn!(key = object.key, line = number, "a line is not a quote: {error}");
                    }
                    first.get_or_insert((number, error));
                }
            }
            if pending.bytes >= STATEMENT_BYTES {
                self.flush(pending, tally).await?;
            }
        }
        Ok(match first {
            Some((line, source)) => {
                Err(MessageError::Lines { key: object.key.clone(), lines: bad, line, source })
            }
            None => Ok(()),
        })
    }

    /// Loads the pending rows.
    async fn flush(&self, pending: &mut Pending, tally: &mut Tally) -> Result<(), LoadError> {
        let Pending { rows, quotes, bytes: _ } = std::mem::take(pending);
        if rows.is_empty() {
            return Ok(());
        }
        let loaded = self.bronze.load(&rows).await;
        for Archived { quote_id, key, mut span } in quotes {
            match &loaded {
                Ok(_) => tracing::debug!(%key, %quote_id, trace_id = span.trace_id(), "loaded"),
                Err(error) => span.fail(error),
            }
        }
        let loaded = loaded.map_err(|source| LoadError::Warehouse { rows: rows.len(), source })?;
        metrics::LOADED.add(loaded.inserted);
        if let Some(newest) = rows.iter().map(BronzeRow::fetched_at).max() {
            let age = SignedDuration::from_secs(Timestamp::now().as_second() - newest);
            metrics::FRESHNESS_SECONDS.add(age.as_secs_f64());
        }
        tally.loaded.inserted += loaded.inserted;
        tally.loaded.already_there += loaded.already_there;
        Ok(())
    }
}

/// The quote of an object that contains one.
fn quote_of(
    object: &ObjectRef,
    Object { bytes, trace }: Object,
) -> Result<(BronzeRow, Archived), MessageError> {
    let key = &object.key;
    let quote = quote_in(&bytes).map_err(|source| {
        let trace_id = trace.map(|trace| trace.trace_id());
        MessageError::NoQuote { key: key.clone(), trace_id, source }
    })?;
    Ok(row(&quote, object, &Arc::from(key.as_str()), trace))
}

/// Reads the quote in an object or in a line of a batch, and checks that it was not fetched in the future.
fn quote_in(json: &[u8]) -> Result<QuoteView<'_>, InvalidQuote> {
    let quote = QuoteView::parse(json)?;
    check_not_future(quote.fetched_at(), SystemTime::now())?;
    Ok(quote)
}

/// A quote's row, and the span of this step.
fn row(
    quote: &QuoteView<'_>,
    object: &ObjectRef,
    key: &Arc<str>,
    trace: Option<TraceParent>,
) -> (BronzeRow, Archived) {
    let quote_id = quote.id();
    let mut span = Span::start(SpanKind::Consumer, "load", BRONZE_TABLE, quote_id.as_u128(), trace);
    span.set("db.operation.name", "MERGE");
    span.set("db.collection.name", BRONZE_TABLE);
    span.set("aws.s3.bucket", &object.bucket);
    span.set("aws.s3.key", key);
    (BronzeRow::new(quote, key), Archived { quote_id, key: Arc::clone(key), span })
}

#[cfg(test)]
mod tests;
