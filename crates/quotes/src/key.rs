use std::{fmt, str::FromStr};

use jiff::civil::Date;

use crate::{Coordinates, InvalidSymbol, QuoteId, Symbol, quote::utc_date};

const SUFFIX: &str = ".json";

/// The key of a quote's object in the bronze bucket: `{symbol}/{fetched_at}.json`; if another quote has that key already,
/// `{symbol}/{fetched_at}-{topic}-{partition}-{offset}.json`; and if the topic was deleted and created again, so that
/// another quote has that one too, `{symbol}/{fetched_at}-{topic}-{partition}-{offset}-{quote_id}.json`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ObjectKey {
    symbol: Symbol,
    fetched_at: i64,
    coordinates: Option<String>,
}

/// A key that holds no quote.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidObjectKey {
    /// Not of the form `{symbol}/{fetched_at}….json`.
    #[error("the key {0:?} is not {{symbol}}/{{fetched_at}}.json")]
    Form(String),
    /// The folder is no symbol.
    #[error("the key {key:?} does not begin with a symbol")]
    Symbol {
        /// The whole key.
        key: String,
        /// What is wrong with its folder.
        source: InvalidSymbol,
    },
}

impl ObjectKey {
    /// The key of a quote of `symbol` fetched at `fetched_at` (seconds since 1970).
    #[must_use]
    pub fn new(symbol: Symbol, fetched_at: i64) -> Self {
        Self { symbol, fetched_at, coordinates: None }
    }

    /// The key to use where other bytes hold this one.
    #[must_use]
    pub fn with_coordinates(self, at: &Coordinates) -> Self {
        let coordinates = Some(format!("{}-{}-{}", at.topic, at.partition, at.offset));
        Self { coordinates, ..self }
    }

    /// The key to use if other bytes hold the one with the coordinates, too.
    #[must_use]
    pub fn with_coordinates_and_id(self, at: &Coordinates, id: QuoteId) -> Self {
        let coordinates = Some(format!("{}-{}-{}-{id}", at.topic, at.partition, at.offset));
        Self { coordinates, ..self }
    }

    /// Whose quote it is.
    #[must_use]
    pub fn symbol(&self) -> &Symbol {
        &self.symbol
    }

    /// When it was fetched, in seconds since 1970.
    #[must_use]
    pub fn fetched_at(&self) -> i64 {
        self.fetched_at
    }

    /// The UTC day on which it was fetched: the warehouse's partition.
    #[must_use]
    pub fn fetched_date(&self) -> Date {
        utc_date(self.fetched_at)
    }

    /// The folder of a symbol's keys.
    #[must_use]
    pub fn prefix(symbol: &Symbol) -> String {
        format!("{symbol}/")
    }

    /// A text after which, in the order of a listing, every key of `symbol` stands that was fetched at
    /// `fetched_at` (seconds since 1970) or later. Keys' seconds have 10 digits from 2001 to 2286.
    #[must_use]
    pub fn just_before(symbol: &Symbol, fetched_at: i64) -> String {
        format!("{symbol}/{:010}", fetched_at.max(0))
    }
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.symbol, self.fetched_at)?;
        if let Some(coordinates) = &self.coordinates {
            write!(f, "-{coordinates}")?;
        }
        f.write_str(SUFFIX)
    }
}

impl FromStr for ObjectKey {
    type Err = InvalidObjectKey;

    fn from_str(key: &str) -> Result<Self, InvalidObjectKey> {
        let form = || InvalidObjectKey::Form(key.to_owned());
        let (folder, file) = key.split_once('/').ok_or_else(form)?;
        let stem = file.strip_suffix(SUFFIX).ok_or_else(form)?;
        let (seconds, coordinates) = match stem.split_once('-') {
            Some((seconds, rest)) => (seconds, Some(rest.to_owned())),
            None => (stem, None),
        };
        let fetched_at = seconds.parse().map_err(|_| form())?;
        let symbol =
            folder.parse().map_err(|source| InvalidObjectKey::Symbol { key: key.to_owned(), source })?;
        Ok(Self { symbol, fetched_at, coordinates })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn keys_are_read_as_they_are_written() {
        let key = ObjectKey::new("BINANCE:BTCUSDT".parse().unwrap(), 1_704_067_256);
        assert_eq!(key.to_string(), "BINANCE:BTCUSDT/1704067256.json");
        assert_eq!(key.to_string().parse(), Ok(key.clone()));
        let at = Coordinates { topic: "stock-quotes".into(), partition: 2, offset: 15, timestamp_ms: 0 };
        let other = key.with_coordinates(&at);
        assert_eq!(other.to_string(), "BINANCE:BTCUSDT/1704067256-stock-quotes-2-15.json");
        assert_eq!(other.to_string().parse(), Ok(other.clone()));
        let third = other.with_coordinates_and_id(&at, at.derive_quote_id());
        assert_eq!(
            third.to_string(),
            format!("BINANCE:BTCUSDT/1704067256-stock-quotes-2-15-{}.json", at.derive_quote_id())
        );
        assert_eq!(third.to_string().parse(), Ok(third));
    }

    #[test]
    fn a_listing_from_a_second_on_has_every_key_of_that_second() {
        let symbol: Symbol = "AAPL".parse().unwrap();
        let from = ObjectKey::just_before(&symbol, 1_704_067_256);
        let at = Coordinates { topic: "stock-quotes".into(), partition: 2, offset: 15, timestamp_ms: 0 };
        let key = |second| ObjectKey::new(symbol.clone(), second);
        assert!(key(1_704_067_256).to_string() > from);
        assert!(key(1_704_067_256).with_coordinates(&at).to_string() > from);
        assert!(key(1_704_067_255).with_coordinates(&at).to_string() < from);
        assert!(from.starts_with(&ObjectKey::prefix(&symbol)));
    }

    #[test]
    fn other_keys_are_refused() {
        for key in ["", "AAPL", "AAPL/", "AAPL/x.json", "AAPL/1.txt", "../1.json", "A/B/1.json", "/1.json"] {
            assert!(key.parse::<ObjectKey>().is_err(), "{key:?}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_refused_or_read_without_a_panic(text in any::<String>()) {
            let _ = text.parse::<ObjectKey>();
        }
    }
}
