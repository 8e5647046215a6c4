use std::{fmt, str::FromStr, sync::Arc};

use jiff::civil::Date;

use crate::{
    compression::Compression,
    coordinates::Coordinates,
    day::utc_date,
    id::QuoteId,
    symbol::{InvalidSymbol, Symbol},
};

const SUFFIX: &str = ".json";

/// The key of a quote's object in the bronze bucket: `{symbol}/{fetched_at}.json`. If another quote has that key
/// already: `{symbol}/{fetched_at}-{topic}-{partition}-{offset}.json`. If another quote has this key too, because the
/// topic was deleted and created again: `{symbol}/{fetched_at}-{topic}-{partition}-{offset}-{quote_id}.json`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ObjectKey {
    symbol: Symbol,
    fetched_at: i64,
    coordinates: Option<String>,
}

/// A key that is not a quote's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidObjectKey {
    /// Neither of the form `{symbol}/{fetched_at}….json` nor that of a [`BatchKey`].
    #[error("the key {0:?} is neither {{symbol}}/{{fetched_at}}.json nor a batch's")]
    Form(String),
    /// The folder is not a symbol.
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

    /// The key to use if an object with other bytes has this key.
    #[must_use]
    pub fn with_coordinates(self, at: &Coordinates) -> Self {
        let coordinates = Some(format!("{}-{}-{}", at.topic, at.partition, at.offset));
        Self { coordinates, ..self }
    }

    /// The key to use if an object with other bytes has the key with the coordinates, too.
    #[must_use]
    pub fn with_coordinates_and_id(self, at: &Coordinates, id: QuoteId) -> Self {
        let coordinates = Some(format!("{}-{}-{}-{id}", at.topic, at.partition, at.offset));
        Self { coordinates, ..self }
    }

    /// The quote's symbol.
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

    /// A text that sorts, in a listing, before every key of `symbol` with this `fetched_at` (seconds since 1970) or a
    /// later one. Keys' seconds have 10 digits from 2001 to 2286.
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

/// The key of an object with many quotes of a topic's partition, one on each line:
/// `batches/{newest}-{oldest}-{quotes}-{topic}-{partition}-{first}-{last}.ndjson.gz` or `….ndjson.zst`. It has the
/// times of the newest and the oldest quote, which are of one UTC day, how many quotes there are, and the first and the
/// last offset. If an object with other bytes has this key, `.1` is added after the last offset, then `.2`, and so on.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct BatchKey {
    /// When the newest quote was fetched, in seconds since 1970.
    pub newest: i64,
    /// When the oldest quote was fetched, in seconds since 1970.
    pub oldest: i64,
    /// How many quotes there are.
    pub quotes: u64,
    /// The topic's name.
    pub topic: Arc<str>,
    /// The partition's number.
    pub partition: i32,
    /// The first quote's offset.
    pub first: i64,
    /// The last quote's offset.
    pub last: i64,
    /// How many keys before this one belong to objects with other bytes.
    pub taken: u32,
    /// How the lines are compressed.
    pub compression: Compression,
}

impl BatchKey {
    /// The folder of all batches.
    pub const FOLDER: &str = "batches";
}

impl fmt::Display for BatchKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { newest, oldest, quotes, topic, partition, first, last, taken, compression } = self;
        write!(f, "{}/{newest}-{oldest}-{quotes}-{topic}-{partition}-{first}-{last}", Self::FOLDER)?;
        if *taken > 0 {
            write!(f, ".{taken}")?;
        }
        f.write_str(compression.suffix())
    }
}

impl FromStr for BatchKey {
    type Err = InvalidObjectKey;

    fn from_str(key: &str) -> Result<Self, InvalidObjectKey> {
        let form = || InvalidObjectKey::Form(key.to_owned());
        let compression = Compression::of_key(key).ok_or_else(form)?;
        let stem = key.strip_suffix(compression.suffix());
        let stem =
            stem.and_then(|stem| stem.strip_prefix(Self::FOLDER)?.strip_prefix('/')).ok_or_else(form)?;
        let read = || {
            let mut front = stem.splitn(4, '-');
            let (newest, oldest, quotes) = (front.next()?, front.next()?, front.next()?);
            let mut back = front.next()?.rsplitn(4, '-');
            let (last, first, partition, topic) = (back.next()?, back.next()?, back.next()?, back.next()?);
            let (last, taken) = last.split_once('.').unwrap_or((last, "0"));
            Some(Self {
                newest: newest.parse().ok()?,
                oldest: oldest.parse().ok()?,
                quotes: quotes.parse().ok()?,
                topic: topic.into(),
                partition: partition.parse().ok()?,
                first: first.parse().ok()?,
                last: last.parse().ok()?,
                taken: taken.parse().ok()?,
                compression,
            })
        };
        read().ok_or_else(form)
    }
}

/// The key of an object that archive-quotes has written, in one layout or the other.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ArchiveKey {
    /// Of one quote.
    Quote(ObjectKey),
    /// Of many quotes.
    Batch(BatchKey),
}

impl ArchiveKey {
    /// The folder that the object is in: its symbol, or [`BatchKey::FOLDER`].
    #[must_use]
    pub fn folder(&self) -> &str {
        match self {
            Self::Quote(key) => key.symbol().as_str(),
            Self::Batch(_) => BatchKey::FOLDER,
        }
    }

    /// When its newest and its oldest quote were fetched, in seconds since 1970.
    #[must_use]
    pub fn newest_and_oldest(&self) -> (i64, i64) {
        match self {
            Self::Quote(key) => (key.fetched_at(), key.fetched_at()),
            Self::Batch(key) => (key.newest, key.oldest),
        }
    }

    /// The UTC day on which its quotes were fetched: the warehouse's partition.
    #[must_use]
    pub fn fetched_date(&self) -> Date {
        utc_date(self.newest_and_oldest().0)
    }

    /// How many quotes the object contains.
    #[must_use]
    pub fn quotes(&self) -> u64 {
        match self {
            Self::Quote(_) => 1,
            Self::Batch(key) => key.quotes,
        }
    }
}

impl From<ObjectKey> for ArchiveKey {
    fn from(key: ObjectKey) -> Self {
        Self::Quote(key)
    }
}

impl From<BatchKey> for ArchiveKey {
    fn from(key: BatchKey) -> Self {
        Self::Batch(key)
    }
}

impl fmt::Display for ArchiveKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Quote(key) => key.fmt(f),
            Self::Batch(key) => key.fmt(f),
        }
    }
}

impl FromStr for ArchiveKey {
    type Err = InvalidObjectKey;

    fn from_str(key: &str) -> Result<Self, InvalidObjectKey> {
        match Compression::of_key(key) {
            Some(_) => key.parse().map(Self::Batch),
            None => key.parse().map(Self::Quote),
        }
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
    fn batches_stand_after_a_second_in_a_listing_as_quotes_do_and_in_a_folder_that_a_listing_finds() {
        let folder: Symbol = BatchKey::FOLDER.parse().unwrap();
        let from = ObjectKey::just_before(&folder, 1_704_067_256);
        let key = |newest: i64| format!("batches/{newest}-1704067000-7-stock-quotes-0-1-7.ndjson.gz");
        assert!(key(1_704_067_256) > from && key(1_704_067_255) < from);
        let batch: ArchiveKey = key(1_704_067_256).parse().unwrap();
        assert_eq!((batch.folder(), batch.quotes()), (BatchKey::FOLDER, 7));
        assert_eq!(batch.newest_and_oldest(), (1_704_067_256, 1_704_067_000));
    }

    #[test]
    fn other_keys_of_batches_are_refused() {
        for key in [
            "batches/.ndjson.gz",
            "batches/1-1-1-t-0-1-1.ndjson",
            "batches/1-1-1-t-0-1-1.csv.gz",
            "batches/1-1-t-0-1-1.ndjson.gz",
            "batches/1-1-1-t-0-1-x.ndjson.zst",
            "batches/1-1-1-t-0-1-1.x.ndjson.zst",
            "AAPL/1-1-1-t-0-1-1.ndjson.gz",
        ] {
            assert!(key.parse::<ArchiveKey>().is_err(), "{key:?}");
        }
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
            let _ = text.parse::<ArchiveKey>();
        }

        #[test]
        fn a_batch_s_key_is_read_as_it_is_written(
            newest in 1i64..253_402_300_799, oldest in 1i64..253_402_300_799, quotes in 1u64.., topic in "[a-zA-Z0-9._-]{1,40}",
            partition in 0i32.., first in 0i64.., last in 0i64.., taken in 0u32..3, is_gzip in any::<bool>(),
        ) {
            let compression = if is_gzip { Compression::Gzip } else { Compression::Zstd };
            let topic = topic.into();
            let key = BatchKey { newest, oldest, quotes, topic, partition, first, last, taken, compression };
            prop_assert_eq!(key.to_string().parse(), Ok(ArchiveKey::Batch(key)));
        }
    }
}
