//! The time of day in milliseconds.

use std::time::{SystemTime, UNIX_EPOCH};

pub(crate) const MINUTE_MS: u64 = 60_000;

/// Milliseconds since 1970.
pub(crate) fn now_ms() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_millis()).unwrap_or(u64::MAX)
}
