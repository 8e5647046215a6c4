use std::{borrow::Cow, collections::BTreeMap, sync::Arc, time::SystemTime};

use base64::{Engine, engine::general_purpose::STANDARD};
use function_kit::trace::{TRACEPARENT, TraceParent};
use quotes::{Coordinates, InvalidQuote, Quote, QuoteId, QuoteView, check_not_future};
use serde::{Deserialize, Deserializer, de::Error};
use serde_json::{Value, value::RawValue};

/// The event of a Kafka event source mapping, `aws:kafka` or `aws:SelfManagedKafka`.
///
/// Format: <https://docs.aws.amazon.com/lambda/latest/dg/with-msk.html>. Only the needed fields are read, and
/// each record separately: one invalid record, or headers in one of their several encodings, must not fail
/// the others.
#[derive(Debug, Default)]
pub struct KafkaEvent {
    records: Vec<Result<Record, BadRecord>>,
}

#[derive(Deserialize)]
struct WireEvent<'a> {
    #[serde(borrow, default)]
    records: Option<BTreeMap<String, Vec<&'a RawValue>>>,
}

impl<'de> Deserialize<'de> for KafkaEvent {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let partitions = WireEvent::deserialize(deserializer)?.records.unwrap_or_default();
        let mut records = Vec::with_capacity(partitions.values().map(Vec::len).sum());
        // Each record contains its topic's name. The name is kept once.
        let mut topic = Arc::from("");
        for (partition, wire) in &partitions {
            let numbered = wire.iter().enumerate();
            records.extend(numbered.map(|(position, json)| read(partition, position, json, &mut topic)));
        }
        Ok(Self { records })
    }
}

/// One Kafka record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Its position in Kafka.
    pub at: Coordinates,
    /// Its value; `None` for a tombstone.
    pub value: Option<Vec<u8>>,
    /// Its headers, as the event had them.
    headers: Option<Box<str>>,
}

/// A record of an event that cannot be read: it has no coordinates, or its value is not base64.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadRecord {
    /// The topic and partition under which the event had it, with its offset or position.
    pub at: String,
    /// What is wrong with it.
    pub reason: String,
    /// The record as the event had it.
    pub json: String,
}

#[derive(Deserialize)]
struct WireRecord<'a> {
    #[serde(borrow)]
    topic: Cow<'a, str>,
    #[serde(deserialize_with = "number_or_text")]
    partition: i64,
    #[serde(deserialize_with = "number_or_text")]
    offset: i64,
    #[serde(default, deserialize_with = "number_or_text")]
    timestamp: i64,
    #[serde(borrow, default)]
    value: Option<Text<'a>>,
    #[serde(borrow, default)]
    headers: Option<&'a RawValue>,
}

/// A text that is borrowed if nothing in it is escaped. A plain `Cow` inside an `Option` is never borrowed.
#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

fn number_or_text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<i64, D::Error> {
    match Value::deserialize(deserializer)? {
        Value::Number(number) => number
            .as_i64()
            // `1.0` is whole.
            .or_else(|| number.as_f64().and_then(whole))
            .ok_or_else(|| D::Error::custom(format!("{number} is not a whole number"))),
        Value::String(text) => text.parse().map_err(D::Error::custom),
        other => Err(D::Error::custom(format!("{other} is not a number"))),
    }
}

fn whole(number: f64) -> Option<i64> {
    #[allow(clippy::cast_possible_truncation, reason = "it is whole and below 2^53")]
    (number.fract() == 0.0 && number.abs() < 9_007_199_254_740_992.0).then_some(number as i64)
}

impl KafkaEvent {
    /// Every record of every partition.
    #[must_use]
    pub fn into_records(self) -> Vec<Result<Record, BadRecord>> {
        self.records
    }
}

/// Reads the record `json`. `topic` is the previous record's topic, and is set to this record's.
fn read(
    partition: &str,
    position: usize,
    json: &RawValue,
    topic: &mut Arc<str>,
) -> Result<Record, BadRecord> {
    let bad = |at: String, reason: String| BadRecord { at, reason, json: json.get().to_owned() };
    let unplaced = |reason: String| bad(format!("{partition}@#{position}"), reason);
    let wire: WireRecord<'_> =
        serde_json::from_str(json.get()).map_err(|error| unplaced(error.to_string()))?;
    let partition = i32::try_from(wire.partition)
        .map_err(|_| unplaced(format!("the partition {} is out of range", wire.partition)))?;
    if **topic != *wire.topic {
        *topic = Arc::from(wire.topic);
    }
    let topic = Arc::clone(topic);
    let at = Coordinates { topic, partition, offset: wire.offset, timestamp_ms: wire.timestamp };
    let value = wire
        .value
        .map(|Text(text)| STANDARD.decode(text.as_bytes()))
        .transpose()
        .map_err(|error| bad(at.to_string(), format!("the value is not base64: {error}")))?;
    Ok(Record { at, value, headers: wire.headers.map(|headers| headers.get().into()) })
}

/// The first valid `traceparent` in a record's headers. Each header is an object with a name and its bytes.
fn trace(headers: &str) -> Option<TraceParent> {
    let headers: Value = serde_json::from_str(headers).ok()?;
    let headers = headers.as_array()?.iter().filter_map(Value::as_object).flatten();
    headers
        .filter(|(name, _)| name.eq_ignore_ascii_case(TRACEPARENT))
        .find_map(|(_, value)| TraceParent::parse(str::from_utf8(&header_bytes(value)?).ok()?))
}

/// A header's bytes. AWS writes a list of signed numbers. Other servers write unsigned numbers, numbers as texts, an
/// object of numbers by their positions, or base64.
fn header_bytes(value: &Value) -> Option<Vec<u8>> {
    match value {
        Value::Array(bytes) => bytes.iter().map(byte).collect(),
        Value::Object(bytes) => {
            (0..bytes.len()).map(|position| byte(bytes.get(&position.to_string())?)).collect()
        }
        Value::String(text) => Some(STANDARD.decode(text).unwrap_or_else(|_| text.clone().into_bytes())),
        _ => None,
    }
}

fn byte(value: &Value) -> Option<u8> {
    let number = value.as_i64().or_else(|| value.as_str()?.parse().ok())?;
    u8::try_from(number).ok().or_else(|| i8::try_from(number).ok().map(i8::cast_unsigned))
}

/// Why a record is not a quote.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NoQuote {
    #[error("the record has no value")]
    Tombstone,
    #[error("other quotes already have the keys {first}, {second} and {third}")]
    NoKey { first: String, second: String, third: String },
    #[error(transparent)]
    Invalid(#[from] InvalidQuote),
}

impl Record {
    /// Its header `traceparent`; `None` if it is absent or cannot be read.
    #[must_use]
    pub fn trace(&self) -> Option<TraceParent> {
        trace(self.headers.as_deref()?)
    }

    /// The quote in the record, read at `now`.
    pub(crate) fn quote(&self, now: SystemTime) -> Result<Quote, NoQuote> {
        let quote = Quote::from_message(self.value.as_deref().ok_or(NoQuote::Tombstone)?, &self.at)?;
        check_not_future(quote.fetched_at(), now)?;
        Ok(quote)
    }

    /// As [`Self::quote`], but as a line of JSON, with the quote's id and fetch time. A complete message is not
    /// copied.
    pub(crate) fn line(&self, now: SystemTime) -> Result<Line<'_>, NoQuote> {
        let value = self.value.as_deref().ok_or(NoQuote::Tombstone)?;
        let line = if let Ok(quote) = QuoteView::parse(value) {
            Line { id: quote.id(), fetched_at: quote.fetched_at(), json: Cow::Borrowed(value) }
        } else {
            // A field that is derived from the coordinates is missing, or it is not a quote.
            let quote = Quote::from_message(value, &self.at)?;
            let json = Cow::Owned(quote.to_json());
            Line { id: quote.id(), fetched_at: quote.fetched_at(), json }
        };
        check_not_future(line.fetched_at, now)?;
        Ok(line)
    }
}

/// A quote that is to be added to a batch.
pub(crate) struct Line<'a> {
    pub id: QuoteId,
    /// In seconds since 1970.
    pub fetched_at: i64,
    pub json: Cow<'a, [u8]>,
}
