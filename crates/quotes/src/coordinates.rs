use std::{fmt, sync::Arc};

use uuid::Uuid;

use crate::id::QuoteId;

/// The namespace of the ids derived from Kafka coordinates: a random uuid that must never change.
const NAMESPACE: Uuid = Uuid::from_u128(0x5b0d_2c5e_7b1f_4a64_9d0a_3f6f_0c2e_8a11);

/// The position of a record in Kafka. With the timestamp it stays unique even if a topic is created again.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Coordinates {
    /// The topic's name.
    pub topic: Arc<str>,
    /// The partition's number.
    pub partition: i32,
    /// The record's offset in the partition.
    pub offset: i64,
    /// The record's timestamp in milliseconds since 1970.
    pub timestamp_ms: i64,
}

impl Coordinates {
    /// The id of a quote that has none in its message: uuid v5 over topic, partition, offset and
    /// timestamp, so that a replay of the record derives the same id.
    #[must_use]
    pub fn derive_quote_id(&self) -> QuoteId {
        let name = format!("{}/{}/{}/{}", self.topic, self.partition, self.offset, self.timestamp_ms);
        QuoteId::from(Uuid::new_v5(&NAMESPACE, name.as_bytes()))
    }
}

impl fmt::Display for Coordinates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}@{}", self.topic, self.partition, self.offset)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(offset: i64, timestamp_ms: i64) -> Coordinates {
        Coordinates { topic: "stock-quotes".into(), partition: 0, offset, timestamp_ms }
    }

    #[test]
    fn a_replay_derives_the_same_id_and_another_record_another() {
        assert_eq!(at(1, 2).derive_quote_id(), at(1, 2).derive_quote_id());
        assert_ne!(at(1, 2).derive_quote_id(), at(2, 2).derive_quote_id());
        assert_ne!(at(1, 2).derive_quote_id(), at(1, 3).derive_quote_id());
        assert_eq!(at(1, 2).derive_quote_id().to_string(), "f19f444d-c195-5b10-9e2d-c2e7a3a0bb60");
    }
}
