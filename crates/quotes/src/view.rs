use std::{borrow::Cow, fmt};

use jiff::civil::Date;
use serde::{
    Deserialize, Deserializer,
    de::{IgnoredAny, MapAccess, Visitor},
};
use serde_json::value::RawValue;
use uuid::Uuid;

use crate::{
    day::utc_date,
    fields::{self, FETCHED_AT, InvalidQuote, MARKET_TIME, PRICES, QUOTE_ID, SYMBOL},
    id::QuoteId,
    symbol::Symbol,
};

/// A complete quote that borrows its values from the JSON that it was read from.
#[derive(Clone, Debug)]
pub struct QuoteView<'a> {
    id: QuoteId,
    symbol: Cow<'a, str>,
    fetched_at: i64,
    market_time: Option<i64>,
    prices: [Option<&'a RawValue>; PRICES.len()],
}

impl<'a> QuoteView<'a> {
    /// The quote in an archived object, or in one line of a batch.
    ///
    /// # Errors
    /// [`InvalidQuote`] says what is missing or wrong.
    pub fn parse(json: &'a [u8]) -> Result<Self, InvalidQuote> {
        let refused = |error: serde_json::Error| InvalidQuote::Json(error.to_string());
        let fields: Fields<'a> = match str::from_utf8(json) {
            Ok(text) => serde_json::from_str(text).map_err(refused)?,
            // Parsed again for the error message.
            Err(_) => serde_json::from_slice(json).map_err(refused)?,
        };
        Self::of(&fields)
    }

    pub(crate) fn of(fields: &Fields<'a>) -> Result<Self, InvalidQuote> {
        let Fields { prices, market_time, symbol, fetched_at, quote_id } = fields;
        let symbol = text_of(SYMBOL, *symbol, "a text")?;
        let fetched_at = fields::fetched_at(*fetched_at)?;
        let id = text_of(QUOTE_ID, *quote_id, "a uuid")?;
        let id = match Uuid::parse_str(&id) {
            Ok(id) => QuoteId::from(id),
            // Parsed again for the error message.
            Err(_) => fields::read(QUOTE_ID, quote_id.unwrap_or_default(), "a uuid")?,
        };
        Symbol::check(&symbol)?;
        fields.check_prices()?;
        let market_time = fields::whole(MARKET_TIME, *market_time)?;
        Ok(Self { id, symbol, fetched_at, market_time, prices: *prices })
    }

    /// The observation's identity.
    #[must_use]
    pub fn id(&self) -> QuoteId {
        self.id
    }

    /// The symbol: a valid [`Symbol`].
    #[must_use]
    pub fn symbol(&self) -> &str {
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

    /// The market's last-trade time in seconds since 1970, as Finnhub reports it: it may stand still or be wrong.
    #[must_use]
    pub fn market_time(&self) -> Option<i64> {
        self.market_time
    }

    /// The [`PRICES`] with their original texts; `None` if a price is absent or null.
    #[must_use]
    pub fn prices(&self) -> [Option<&'a RawValue>; PRICES.len()] {
        self.prices
    }
}

/// The text in a field's JSON, borrowed if nothing in it is escaped.
fn text_of<'a>(
    name: &'static str,
    json: Option<&'a str>,
    expected: &'static str,
) -> Result<Cow<'a, str>, InvalidQuote> {
    let json = json.ok_or(InvalidQuote::Missing(name))?;
    match json.strip_prefix('"').and_then(|text| text.strip_suffix('"')) {
        Some(text) if !text.contains('\\') => Ok(Cow::Borrowed(text)),
        _ => fields::read::<String>(name, json, expected).map(Cow::Owned),
    }
}

/// The JSON of each field that is read; `None` if it is absent or null.
#[derive(Default)]
pub(crate) struct Fields<'a> {
    prices: [Option<&'a RawValue>; PRICES.len()],
    market_time: Option<&'a str>,
    symbol: Option<&'a str>,
    fetched_at: Option<&'a str>,
    quote_id: Option<&'a str>,
}

impl<'a> Fields<'a> {
    /// Picks them from all fields of a quote.
    pub(crate) fn of(all: impl IntoIterator<Item = (&'a str, &'a RawValue)>) -> Self {
        let mut fields = Self::default();
        for (name, value) in all {
            if let Some(known) = Known::of(name) {
                fields.set(known, value);
            }
        }
        fields
    }

    /// If a name occurs twice, the last one counts.
    fn set(&mut self, known: Known, value: &'a RawValue) {
        let value = Some(value).filter(|value| value.get() != "null");
        let text = value.map(RawValue::get);
        match known {
            Known::Price(at) => self.prices[at] = value,
            Known::MarketTime => self.market_time = text,
            Known::Symbol => self.symbol = text,
            Known::FetchedAt => self.fetched_at = text,
            Known::QuoteId => self.quote_id = text,
        }
    }

    /// Checks that each field that must be a number is a number or absent.
    pub(crate) fn check_numbers(&self) -> Result<(), InvalidQuote> {
        self.check_prices()?;
        fields::whole(MARKET_TIME, self.market_time).map(drop)
    }

    fn check_prices(&self) -> Result<(), InvalidQuote> {
        let prices = PRICES.into_iter().zip(self.prices);
        prices
            .filter_map(|(name, price)| Some((name, price?)))
            .try_for_each(|(name, price)| fields::check_price(name, price.get()))
    }
}

impl<'de> Deserialize<'de> for Fields<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(ReadFields)
    }
}

struct ReadFields;

impl<'de> Visitor<'de> for ReadFields {
    type Value = Fields<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a map")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields<'de>, A::Error> {
        let mut fields = Fields::default();
        while let Some(Name(known)) = map.next_key()? {
            match known {
                Some(known) => fields.set(known, map.next_value()?),
                None => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(fields)
    }
}

/// A field that is read.
#[derive(Clone, Copy)]
enum Known {
    /// Its position in [`PRICES`].
    Price(usize),
    MarketTime,
    Symbol,
    FetchedAt,
    QuoteId,
}

impl Known {
    fn of(name: &str) -> Option<Self> {
        match name {
            MARKET_TIME => Some(Self::MarketTime),
            SYMBOL => Some(Self::Symbol),
            FETCHED_AT => Some(Self::FetchedAt),
            QUOTE_ID => Some(Self::QuoteId),
            name => PRICES.iter().position(|price| *price == name).map(Self::Price),
        }
    }
}

/// A field's name: the field, if it is one that is read.
struct Name(Option<Known>);

impl<'de> Deserialize<'de> for Name {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_identifier(ReadName)
    }
}

struct ReadName;

impl Visitor<'_> for ReadName {
    type Value = Name;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a field's name")
    }

    fn visit_str<E>(self, name: &str) -> Result<Name, E> {
        Ok(Name(Known::of(name)))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ID: &str = "018cc251-f400-7000-8000-000000000001";

    proptest! {
        #[test]
        fn any_bytes_are_refused_or_read(bytes in any::<Vec<u8>>()) {
            let _ = QuoteView::parse(&bytes);
        }
    }

    #[test]
    fn nothing_is_copied_of_a_quote_that_escapes_nothing() {
        let json = format!(r#"{{"c":150.250,"symbol":"AAPL","fetched_at":1704067256,"quote_id":"{ID}"}}"#);
        let view = QuoteView::parse(json.as_bytes()).unwrap();
        assert!(matches!(view.symbol, Cow::Borrowed("AAPL")));
        assert_eq!(view.prices()[0].map(RawValue::get), Some("150.250"));
        assert_eq!(view.fetched_date().to_string(), "2024-01-01");
    }
}
