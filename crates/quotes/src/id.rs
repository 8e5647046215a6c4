use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// The identity of one observation, from the fetch to gold.
///
/// If `fetch-quotes` created it, it is a uuid v7, which contains the millisecond of the fetch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct QuoteId(Uuid);

impl QuoteId {
    /// The identity of an observation made at `milliseconds` since 1970.
    #[must_use]
    pub fn at(milliseconds: u64) -> Self {
        let nanoseconds = u32::try_from(milliseconds % 1000).unwrap_or_default() * 1_000_000;
        let at = uuid::Timestamp::from_unix(uuid::NoContext, milliseconds / 1000, nanoseconds);
        Self(Uuid::new_v7(at))
    }

    /// When the observation was made, in milliseconds since 1970; `None` for an id that does not say.
    #[must_use]
    pub fn fetched_at_ms(self) -> Option<u64> {
        if self.0.get_version_num() != 7 {
            return None;
        }
        self.0.get_timestamp().map(|at| {
            let (seconds, nanoseconds) = at.to_unix();
            seconds * 1000 + u64::from(nanoseconds / 1_000_000)
        })
    }

    /// Its 128 bits, which are also its trace's id.
    #[must_use]
    pub fn as_u128(self) -> u128 {
        self.0.as_u128()
    }
}

impl From<Uuid> for QuoteId {
    fn from(id: Uuid) -> Self {
        Self(id)
    }
}

impl FromStr for QuoteId {
    type Err = uuid::Error;

    fn from_str(text: &str) -> Result<Self, uuid::Error> {
        text.parse().map(Self)
    }
}

impl fmt::Display for QuoteId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
