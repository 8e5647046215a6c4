use base64::{Engine, engine::general_purpose::STANDARD};
use serde::{Deserialize, Serialize};

use crate::event::{BadRecord, NoQuote, Record};

/// The content of a quarantined record's object, as JSON: enough to know why it is there and to publish it
/// again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quarantined {
    /// `{topic}-{partition}@{offset}`.
    pub at: String,
    /// Why it is not a quote.
    pub reason: String,
    /// The topic; absent if the event's record has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub topic: Option<String>,
    /// The partition's number; absent if the event's record has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub partition: Option<i32>,
    /// The offset; absent if the event's record has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub offset: Option<i64>,
    /// The record's timestamp in milliseconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timestamp: Option<i64>,
    /// The record's value, in base64; absent for a tombstone, and if it could not be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
    /// The record as it was in the event, if it could not be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub record: Option<String>,
}

impl Quarantined {
    pub(crate) fn record(record: &Record, reason: &NoQuote) -> Self {
        Self {
            at: record.at.to_string(),
            reason: reason.to_string(),
            topic: Some(record.at.topic.to_string()),
            partition: Some(record.at.partition),
            offset: Some(record.at.offset),
            timestamp: Some(record.at.timestamp_ms),
            value: record.value.as_ref().map(|value| STANDARD.encode(value)),
            record: None,
        }
    }

    pub(crate) fn bad_record(bad: &BadRecord) -> Self {
        Self {
            at: bad.at.clone(),
            reason: bad.reason.clone(),
            topic: None,
            partition: None,
            offset: None,
            timestamp: None,
            value: None,
            record: Some(bad.json.clone()),
        }
    }

    /// Its key: its coordinates and a hash of its content, so that different records have different keys.
    #[must_use]
    pub fn key(&self) -> String {
        let folder: String = self
            .at
            .chars()
            .map(|c| if c.is_ascii_alphanumeric() || "-_.".contains(c) { c } else { '_' })
            .collect();
        format!("{folder}/{:016x}.json", fnv1a(&self.to_json()))
    }

    /// The object's bytes, the same in every attempt.
    #[must_use]
    pub fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(self).unwrap_or_default()
    }
}

/// FNV-1a, 64 bits: <http://www.isthe.com/chongo/tech/comp/fnv/>. The standard library's hash may differ
/// between two builds, and a key must not.
fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}
