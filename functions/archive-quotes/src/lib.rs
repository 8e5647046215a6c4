//! archive-quotes stores every record of a Kafka event.
//!
//! A quote is written to `{symbol}/{fetched_at}.json` in the bronze bucket. In the batch layout, the quotes of each
//! partition in the event are written as one object. A record that is not a quote is written to the quarantine bucket
//! with its bytes, the reason and its coordinates. The event fails only if a bucket is unavailable. It is then tried
//! again; objects that exist already are kept.

mod batch;
mod event;
mod quarantine;
mod store;

use std::{
    io,
    str::FromStr,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use function_kit::{
    About, ConfigError, Environment, Retry, Variable, aws, chain, metrics,
    trace::{Span, SpanKind, TraceParent},
};
use futures::{StreamExt, TryStreamExt, future::Either, stream};
use lambda_runtime::LambdaEvent;
use quotes::{Compression, Quote, QuoteId};
use serde::Serialize;

use batch::slices;
pub use batch::{Encoded, Slice};
use event::NoQuote;
pub use event::{BadRecord, KafkaEvent, Record};
pub use quarantine::Quarantined;
pub use store::{BucketStore, Put, Store, StoreError};

/// The purpose of archive-quotes, and its variables.
pub const ABOUT: About = About {
    name: env!("CARGO_PKG_NAME"),
    purpose: "a Kafka event -> one object a quote, or one a partition",
    variables: &[
        &[
            Variable::required("BRONZE_BUCKET", "where quotes go"),
            Variable::required("QUARANTINE_BUCKET", "where records that are not quotes go"),
            Variable::or(
                "OBJECT_LAYOUT",
                "per_quote",
                "`per_quote`: one object a quote; `batch`: one object for the quotes of a partition in an event",
            ),
            Variable::or(
                "OBJECT_COMPRESSION",
                "gzip",
                "of batches: `gzip`, which every tool reads, or `zstd`, which is smaller and costs less CPU",
            ),
        ],
        aws::S3_VARIABLES,
        aws::VARIABLES,
    ],
};

/// How many objects are written at once: enough to hide a bucket's latency, few enough for one core.
const CONCURRENCY: usize = 16;
/// How many keys of a batch may already belong to objects with other bytes.
const MOST_TAKEN: u32 = 16;

/// The configuration of archive-quotes.
#[derive(Debug, PartialEq, Eq)]
pub struct Config {
    /// `BRONZE_BUCKET`: where quotes go.
    pub bronze_bucket: String,
    /// `QUARANTINE_BUCKET`: where records that are not quotes go.
    pub quarantine_bucket: String,
    /// `OBJECT_LAYOUT`, and for batches `OBJECT_COMPRESSION`: how quotes are stored in objects.
    pub layout: Layout,
}

/// How quotes are stored in objects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// One object for each quote.
    PerQuote,
    /// One compressed object for the quotes of a partition in one event, a line each.
    Batch(Compression),
}

/// A name that is neither `per_quote` nor `batch`.
#[derive(Debug, thiserror::Error)]
#[error("it is neither per_quote nor batch")]
struct UnknownLayout;

/// Whether objects are batches.
struct IsBatch(bool);

impl FromStr for IsBatch {
    type Err = UnknownLayout;

    fn from_str(name: &str) -> Result<Self, UnknownLayout> {
        match name {
            "per_quote" => Ok(Self(false)),
            "batch" => Ok(Self(true)),
            _ => Err(UnknownLayout),
        }
    }
}

impl Config {
    /// Reads the configuration from the environment.
    ///
    /// # Errors
    /// [`ConfigError`] with all problems.
    pub fn read(mut environment: Environment) -> Result<Self, ConfigError> {
        let bronze_bucket = environment.get("BRONZE_BUCKET");
        let quarantine_bucket = environment.get("QUARANTINE_BUCKET");
        let is_batch = environment.get("OBJECT_LAYOUT");
        let compression = environment.get("OBJECT_COMPRESSION");
        environment.finish(|| {
            let (IsBatch(is_batch), compression) = (is_batch?, compression?);
            Some(Self {
                bronze_bucket: bronze_bucket?,
                quarantine_bucket: quarantine_bucket?,
                layout: if is_batch { Layout::Batch(compression) } else { Layout::PerQuote },
            })
        })
    }
}

/// The result for an event's records. The sum is the number of records.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Outcome {
    /// Quotes written by this invocation.
    pub archived: usize,
    /// Quotes that an earlier attempt had written.
    pub already_archived: usize,
    /// Records that are not quotes, written to quarantine now or earlier.
    pub quarantined: usize,
}

/// Why an event must be tried again.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// A bucket did not accept an object.
    #[error("the record {at} could not be stored")]
    Store {
        /// The record's coordinates, and its quote's id if it is a quote. For a batch, its first and last offset.
        at: String,
        /// The bucket's error.
        source: StoreError,
    },
    /// All keys that a batch may have are taken.
    #[error("no key is free for the records {at}: {key} and the {MOST_TAKEN} keys before it are taken")]
    NoKey {
        /// The batch's first and last offset.
        at: String,
        /// The last key.
        key: String,
    },
    /// A batch could not be compressed.
    #[error("the records {at} could not be compressed")]
    Encode {
        /// The batch's first and last offset.
        at: String,
        /// The encoder's error.
        source: io::Error,
    },
}

impl Retry for ArchiveError {
    fn is_retryable(&self) -> bool {
        match self {
            Self::Store { source, .. } => source.is_retryable(),
            Self::NoKey { .. } | Self::Encode { .. } => false,
        }
    }
}

/// The function.
pub struct ArchiveQuotes<S> {
    bronze: S,
    quarantine: S,
    layout: Layout,
}

enum Stored {
    Archived(usize),
    AlreadyArchived(usize),
    Quarantined,
}

impl<S: Store> ArchiveQuotes<S> {
    /// The function. It writes quotes to `bronze` as `layout` says, and everything else to `quarantine`.
    pub fn new(bronze: S, quarantine: S, layout: Layout) -> Self {
        Self { bronze, quarantine, layout }
    }

    /// Stores every record of the event.
    ///
    /// # Errors
    /// [`ArchiveError`] if a bucket is unavailable. The whole event must be tried again, which is safe at any time.
    pub async fn handle(&self, event: LambdaEvent<KafkaEvent>) -> Result<Outcome, ArchiveError> {
        let records = event.payload.into_records();
        let (batches, single) = match self.layout {
            Layout::PerQuote => (Vec::new(), records),
            Layout::Batch(compression) => {
                let (slices, single) = slices(records, SystemTime::now());
                (slices.into_iter().map(|slice| (slice, compression)).collect(), single)
            }
        };
        let batches = stream::iter(batches)
            .map(|(slice, compression)| Either::Left(self.store_batch(slice, compression)));
        let single = stream::iter(single).map(|record| Either::Right(self.store(record)));
        let stored = batches.chain(single).buffer_unordered(CONCURRENCY);
        let outcome = stored
            .try_fold(Outcome::default(), async |mut outcome, stored| {
                match stored {
                    Stored::Archived(quotes) => outcome.archived += quotes,
                    Stored::AlreadyArchived(quotes) => outcome.already_archived += quotes,
                    Stored::Quarantined => outcome.quarantined += 1,
                }
                Ok(outcome)
            })
            .await?;
        metrics::ARCHIVED.add(outcome.archived as u64);
        metrics::ALREADY_ARCHIVED.add(outcome.already_archived as u64);
        metrics::QUARANTINED.add(outcome.quarantined as u64);
        tracing::info!(
            archived = outcome.archived,
            already_archived = outcome.already_archived,
            quarantined = outcome.quarantined,
            "stored every record"
        );
        Ok(outcome)
    }

    async fn store(&self, record: Result<Record, BadRecord>) -> Result<Stored, ArchiveError> {
        let (at, stored) = match record {
            Ok(record) => match record.quote(SystemTime::now()) {
                Ok(quote) => {
                    let at = format!("{} (quote {})", record.at, quote.id());
                    let stored = match self.archive(&quote, &record).await {
                        Ok(Ok(stored)) => Ok(stored),
                        Ok(Err(reason)) => {
                            self.set_aside(&Quarantined::record(&record, &reason), record.trace()).await
                        }
                        Err(error) => Err(error),
                    };
                    (at, stored)
                }
                Err(reason) => {
                    let quarantined = Quarantined::record(&record, &reason);
                    (record.at.to_string(), self.set_aside(&quarantined, record.trace()).await)
                }
            },
            Err(bad) => (bad.at.clone(), self.set_aside(&Quarantined::bad_record(&bad), None).await),
        };
        stored.map_err(|source| ArchiveError::Store { at, source })
    }

    /// Archives the quote as a step of its trace. A quote without a free key must be quarantined.
    async fn archive(&self, quote: &Quote, record: &Record) -> Result<Result<Stored, NoQuote>, StoreError> {
        let topic = &record.at.topic;
        let mut span =
            Span::start(SpanKind::Consumer, "process", topic, quote.id().as_u128(), record.trace());
        span.set("messaging.system", "kafka");
        span.set("messaging.operation.name", "process");
        span.set("messaging.operation.type", "process");
        span.set("messaging.destination.name", topic);
        span.set("messaging.destination.partition.id", record.at.partition);
        span.set_number("messaging.kafka.offset", record.at.offset);
        match self.write(quote, record, span.context()).await {
            Ok(Ok((key, written))) => {
                span.set("aws.s3.key", &key);
                tracing::debug!(key, quote_id = %quote.id(), trace_id = span.trace_id(), written, "archived");
                if written && let Some(age) = age(quote.id()) {
                    metrics::ARCHIVE_SECONDS.add(age.as_secs_f64());
                }
                Ok(Ok(if written { Stored::Archived(1) } else { Stored::AlreadyArchived(1) }))
            }
            Ok(Err(reason)) => {
                span.fail(&reason);
                Ok(Err(reason))
            }
            Err(error) => {
                span.fail(chain(&error));
                Err(error)
            }
        }
    }

    /// Stores a partition's quotes as one object, unless the object exists.
    async fn store_batch(&self, slice: Slice, compression: Compression) -> Result<Stored, ArchiveError> {
        let at = slice.to_string();
        let quotes = slice.quotes();
        let Encoded { mut key, bytes } = match slice.encode(compression) {
            Ok(encoded) => encoded,
            Err(source) => return Err(ArchiveError::Encode { at, source }),
        };
        let stored = loop {
            let name = key.to_string();
            match self.bronze.put_once(&name, &bytes, None).await {
                Ok(Put::Written) => break Stored::Archived(quotes),
                Ok(Put::SameBytes) => break Stored::AlreadyArchived(quotes),
                // The topic was deleted and created again, or another version wrote this key.
                Ok(Put::OtherBytes) if key.taken < MOST_TAKEN => key.taken += 1,
                Ok(Put::OtherBytes) => return Err(ArchiveError::NoKey { at, key: name }),
                Err(source) => return Err(ArchiveError::Store { at, source }),
            }
        };
        tracing::debug!(%key, quotes, written = matches!(stored, Stored::Archived(_)), "archived a batch");
        if let (Stored::Archived(_), Some(age)) = (&stored, age(slice.oldest_id())) {
            metrics::ARCHIVE_SECONDS.add(age.as_secs_f64());
        }
        Ok(stored)
    }

    /// Stores the quote. Returns its key, and whether it was written by this call.
    async fn write(
        &self,
        quote: &Quote,
        record: &Record,
        trace: Option<TraceParent>,
    ) -> Result<Result<(String, bool), NoQuote>, StoreError> {
        let (key, bytes) = (quote.object_key(), quote.to_json());
        let keys = [
            key.clone(),
            key.clone().with_coordinates(&record.at),
            key.with_coordinates_and_id(&record.at, quote.id()),
        ]
        .map(|key| key.to_string());
        for key in &keys {
            match self.bronze.put_once(key, &bytes, trace).await? {
                Put::Written => return Ok(Ok((key.clone(), true))),
                Put::SameBytes => return Ok(Ok((key.clone(), false))),
                Put::OtherBytes => {}
            }
        }
        let [first, second, third] = keys;
        Ok(Err(NoQuote::NoKey { first, second, third }))
    }

    async fn set_aside(
        &self,
        quarantined: &Quarantined,
        trace: Option<TraceParent>,
    ) -> Result<Stored, StoreError> {
        tracing::warn!(
            at = quarantined.at,
            reason = quarantined.reason,
            trace_id = trace.map(|trace| trace.trace_id()),
            "quarantined a record"
        );
        let (key, bytes) = (quarantined.key(), quarantined.to_json());
        let mut put = self.quarantine.put_once(&key, &bytes, trace).await?;
        let mut other = 0;
        while put == Put::OtherBytes {
            // Another record with the same hash, or an object of another program.
            other += 1;
            put = self.quarantine.put_once(&format!("{key}.{other}"), &bytes, trace).await?;
        }
        Ok(Stored::Quarantined)
    }
}

/// How long ago the quote was fetched; `None` if its id does not say, or is in the future.
fn age(id: QuoteId) -> Option<Duration> {
    let fetched_at = Duration::from_millis(id.fetched_at_ms()?);
    SystemTime::now().duration_since(UNIX_EPOCH).ok()?.checked_sub(fetched_at)
}

#[cfg(test)]
mod tests;
