//! The fields of a quote that are read, and what each must contain. Other fields are kept unread.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::de::DeserializeOwned;

use crate::symbol::InvalidSymbol;

include!(concat!(env!("OUT_DIR"), "/prices.rs"));

pub(crate) const MARKET_TIME: &str = "t";
pub(crate) const SYMBOL: &str = "symbol";
pub(crate) const FETCHED_AT: &str = "fetched_at";
pub(crate) const QUOTE_ID: &str = "quote_id";
/// 9999-12-31T23:59:59Z, the last second of a BigQuery DATE.
const LAST_SECOND: i64 = 253_402_300_799;
/// The longest text of a number. With all their digits, doubles have some 1,080 characters at most. A longer text would
/// only take up memory and room in a statement.
const LONGEST_NUMBER: usize = 1100;
/// A number without an exponent and with at most this many digits is below the largest double, which has 309 digits.
const SURELY_FINITE: usize = 300;
/// How far a quote's time may be ahead of the clock of the machine that reads it: machines' clocks differ by seconds,
/// not minutes.
const AHEAD: Duration = Duration::from_mins(5);

/// Why some bytes are not a quote.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidQuote {
    /// Not a JSON object.
    #[error("not a JSON object: {0}")]
    Json(String),
    /// The field is required.
    #[error("the field {0:?} is missing")]
    Missing(&'static str),
    /// The symbol is not valid.
    #[error(transparent)]
    Symbol(#[from] InvalidSymbol),
    /// The message does not say when the quote was fetched, and its record has no timestamp to use instead.
    #[error("the field {FETCHED_AT:?} is missing, and the record has no timestamp in its place")]
    NoTime,
    /// Its fetch is in the future, by the clock of the machine that reads it.
    #[error("the field {FETCHED_AT:?} is {fetched_at}, more than {AHEAD:?} ahead of now")]
    Future {
        /// The value of the field, in seconds since 1970.
        fetched_at: i64,
    },
    /// The field has a wrong value.
    #[error("the field {field:?} is {found}, not {expected}")]
    Field {
        /// The field's name.
        field: &'static str,
        /// What it must contain.
        expected: &'static str,
        /// The beginning of its value.
        found: String,
    },
}

/// Checks that a price's JSON is a number.
pub(crate) fn check_price(name: &'static str, text: &str) -> Result<(), InvalidQuote> {
    // JSON's grammar has been checked, so a text that begins like a number is a number.
    let is_number = text.starts_with(|first: char| first == '-' || first.is_ascii_digit());
    if is_number && text.len() <= SURELY_FINITE && !text.bytes().any(|byte| matches!(byte, b'e' | b'E')) {
        return Ok(());
    }
    if text.len() > LONGEST_NUMBER {
        let found = format!("a text of {} characters", text.len());
        return Err(InvalidQuote::Field { field: name, expected: "a number", found });
    }
    read::<f64>(name, text, "a finite number").map(drop)
}

/// When a quote was fetched, in seconds since 1970.
pub(crate) fn fetched_at(text: Option<&str>) -> Result<i64, InvalidQuote> {
    let seconds = whole(FETCHED_AT, text)?.ok_or(InvalidQuote::Missing(FETCHED_AT))?;
    // Many producers write 0 for an unknown time.
    if (1..=LAST_SECOND).contains(&seconds) {
        return Ok(seconds);
    }
    Err(InvalidQuote::Field {
        field: FETCHED_AT,
        expected: "seconds since 1970, more than 0 and before the year 10000",
        found: seconds.to_string(),
    })
}

/// Checks that a quote was not fetched in the future, as seen at `now`, because the rest of the flow treats the newest
/// time as the current state. `fetched_at` is in seconds since 1970.
///
/// # Errors
/// [`InvalidQuote::Future`] if it is more than 5 minutes ahead.
pub fn check_not_future(fetched_at: i64, now: SystemTime) -> Result<(), InvalidQuote> {
    let latest = (now + AHEAD).duration_since(UNIX_EPOCH).unwrap_or_default();
    if u64::try_from(fetched_at).is_ok_and(|fetched_at| fetched_at > latest.as_secs()) {
        return Err(InvalidQuote::Future { fetched_at });
    }
    Ok(())
}

/// A whole number of seconds in any JSON form: `1704067256`, `1704067256.0` and `1.704067256e9` are the same. `None` if
/// the field is absent or null.
pub(crate) fn whole(name: &'static str, text: Option<&str>) -> Result<Option<i64>, InvalidQuote> {
    /// Below 2^53, every whole number is exact as a double.
    const EXACT: f64 = 9_007_199_254_740_992.0;
    const EXPECTED: &str = "a whole number of seconds since 1970";
    let Some(text) = text else { return Ok(None) };
    if let Ok(seconds) = text.parse() {
        return Ok(Some(seconds));
    }
    let number: f64 = read(name, text, EXPECTED)?;
    if number.fract() != 0.0 || number.abs() >= EXACT {
        return Err(InvalidQuote::Field { field: name, expected: EXPECTED, found: beginning(text) });
    }
    #[allow(clippy::cast_possible_truncation, reason = "it is whole and below 2^53")]
    Ok(Some(number as i64))
}

/// Parses a field's JSON.
pub(crate) fn read<T: DeserializeOwned>(
    name: &'static str,
    text: &str,
    expected: &'static str,
) -> Result<T, InvalidQuote> {
    serde_json::from_str(text).map_err(|_| InvalidQuote::Field {
        field: name,
        expected,
        found: beginning(text),
    })
}

/// The part of a value that an error shows.
fn beginning(text: &str) -> String {
    text.chars().take(40).collect()
}
