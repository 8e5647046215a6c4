use indexmap::IndexMap;
use jiff::civil::Date;
use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};

use crate::{
    coordinates::Coordinates,
    day::utc_date,
    fields::{self, FETCHED_AT, InvalidQuote, MARKET_TIME, QUOTE_ID, SYMBOL},
    id::QuoteId,
    key::ObjectKey,
    symbol::Symbol,
    view::{Fields, QuoteView},
};

/// How much of a quote Finnhub knew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Completeness {
    /// Every price and the time are present.
    Complete,
    /// Some of current, high, low, open, previous close and time are zero or missing.
    Partial,
    /// All of them are zero or missing: an unknown symbol, or an outage that answers 200.
    NoData,
}

/// One observation of a stock's price, with every field that its producer wrote.
#[derive(Clone, Debug)]
pub struct Quote {
    id: QuoteId,
    symbol: Symbol,
    fetched_at: i64,
    fields: IndexMap<String, Box<RawValue>>,
}

impl Quote {
    /// The quote from Finnhub's answer `body` for `symbol`, requested at `fetched_at_ms`
    /// (milliseconds since 1970).
    ///
    /// # Errors
    /// [`InvalidQuote`] if the body is not a JSON object, or a price or the time is not a number.
    pub fn observe(symbol: &Symbol, fetched_at_ms: u64, body: &[u8]) -> Result<Self, InvalidQuote> {
        let fetched_at = i64::try_from(fetched_at_ms / 1000).unwrap_or(i64::MAX);
        let id = QuoteId::at(fetched_at_ms);
        let mut fields = parse_object(body)?;
        fields.insert(SYMBOL.to_owned(), raw(symbol));
        fields.insert(FETCHED_AT.to_owned(), raw(&fetched_at));
        fields.insert(QUOTE_ID.to_owned(), raw(&id));
        read(&fields).check_numbers()?;
        Ok(Self { id, symbol: symbol.clone(), fetched_at, fields })
    }

    /// The quote in a Kafka record's `value`. If a message from another producer has no `quote_id` or no
    /// `fetched_at`, they are derived from the record's coordinates, so that a replay derives the same values.
    ///
    /// # Errors
    /// [`InvalidQuote`] says what is missing or wrong.
    pub fn from_message(value: &[u8], at: &Coordinates) -> Result<Self, InvalidQuote> {
        let mut fields = parse_object(value)?;
        if is_absent(&fields, QUOTE_ID) {
            fields.insert(QUOTE_ID.to_owned(), raw(&at.derive_quote_id()));
        }
        if is_absent(&fields, FETCHED_AT) {
            // Kafka writes -1, and some clients 0, for a record without a timestamp.
            if at.timestamp_ms <= 0 {
                return Err(InvalidQuote::NoTime);
            }
            fields.insert(FETCHED_AT.to_owned(), raw(&at.timestamp_ms.div_euclid(1000)));
        }
        Self::from_fields(fields)
    }

    /// The quote in an archived object.
    ///
    /// # Errors
    /// [`InvalidQuote`] says what is missing or wrong in the object.
    pub fn from_object(bytes: &[u8]) -> Result<Self, InvalidQuote> {
        Self::from_fields(parse_object(bytes)?)
    }

    fn from_fields(fields: IndexMap<String, Box<RawValue>>) -> Result<Self, InvalidQuote> {
        let view = QuoteView::of(&read(&fields))?;
        let (id, symbol, fetched_at) = (view.id(), view.symbol().parse()?, view.fetched_at());
        Ok(Self { id, symbol, fetched_at, fields })
    }

    /// The observation's identity.
    #[must_use]
    pub fn id(&self) -> QuoteId {
        self.id
    }

    /// The symbol.
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

    /// The original text of the field `name` (one of [`crate::PRICES`], or `t`); `None` if it is absent or null.
    #[must_use]
    pub fn number_text(&self, name: &str) -> Option<&str> {
        present(&self.fields, name)
    }

    /// The market's last-trade time in seconds since 1970, as Finnhub reports it: it may stand still or be wrong.
    ///
    /// # Errors
    /// [`InvalidQuote::Field`] if it is not a whole number.
    pub fn market_time(&self) -> Result<Option<i64>, InvalidQuote> {
        fields::whole(MARKET_TIME, present(&self.fields, MARKET_TIME))
    }

    /// How much of it Finnhub knew.
    #[must_use]
    pub fn completeness(&self) -> Completeness {
        let required = ["c", "h", "l", "o", "pc", "t"];
        let known = required
            .iter()
            .filter(|name| self.number_text(name).is_some_and(|text| text.parse() != Ok(0.0)))
            .count();
        match known {
            0 => Completeness::NoData,
            6 => Completeness::Complete,
            _ => Completeness::Partial,
        }
    }

    /// The quote as JSON: its fields in their original order, its numbers with their original text.
    #[must_use]
    pub fn to_json(&self) -> Vec<u8> {
        raw(&self.fields).get().as_bytes().to_vec()
    }

    /// The key under which it is archived.
    #[must_use]
    pub fn object_key(&self) -> ObjectKey {
        ObjectKey::new(self.symbol.clone(), self.fetched_at)
    }
}

fn parse_object(bytes: &[u8]) -> Result<IndexMap<String, Box<RawValue>>, InvalidQuote> {
    serde_json::from_slice(bytes).map_err(|error| InvalidQuote::Json(error.to_string()))
}

/// Serialising the values used here (texts, integers, uuids, parsed JSON) cannot fail.
fn raw(value: &impl Serialize) -> Box<RawValue> {
    to_raw_value(value).unwrap_or_default()
}

fn read(fields: &IndexMap<String, Box<RawValue>>) -> Fields<'_> {
    Fields::of(fields.iter().map(|(name, value)| (name.as_str(), value.as_ref())))
}

fn present<'a>(fields: &'a IndexMap<String, Box<RawValue>>, name: &str) -> Option<&'a str> {
    fields.get(name).map(|value| value.get()).filter(|text| *text != "null")
}

fn is_absent(fields: &IndexMap<String, Box<RawValue>>, name: &str) -> bool {
    present(fields, name).is_none()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::fields::PRICES;

    const ID: &str = "018cc251-f400-7000-8000-000000000001";

    const BODY: &[u8] =
        br#"{"c":150.250,"d":2.5,"dp":1.69,"h":152.0,"l":148.5,"o":149.0,"pc":147.75,"t":1704067200}"#;

    fn at() -> Coordinates {
        Coordinates { topic: "stock-quotes".into(), partition: 0, offset: 7, timestamp_ms: 1_704_067_256_789 }
    }

    fn symbol() -> Symbol {
        "AAPL".parse().unwrap()
    }

    #[test]
    fn an_observation_keeps_every_number_as_it_was_written_and_adds_three_fields() {
        let quote = Quote::observe(&symbol(), 1_704_067_256_123, BODY).unwrap();
        let expected = format!(
            r#"{{"c":150.250,"d":2.5,"dp":1.69,"h":152.0,"l":148.5,"o":149.0,"pc":147.75,"t":1704067200,"symbol":"AAPL","fetched_at":1704067256,"quote_id":"{}"}}"#,
            quote.id()
        );
        assert_eq!(String::from_utf8(quote.to_json()).unwrap(), expected);
        assert_eq!(quote.id().fetched_at_ms(), Some(1_704_067_256_123));
        assert_eq!(quote.object_key().to_string(), "AAPL/1704067256.json");
        assert_eq!(quote.fetched_date().to_string(), "2024-01-01");
        assert_eq!(quote.completeness(), Completeness::Complete);
    }

    #[test]
    fn a_message_and_its_object_are_the_same_bytes() {
        let message = Quote::observe(&symbol(), 1_704_067_256_123, BODY).unwrap().to_json();
        let archived = Quote::from_message(&message, &at()).unwrap();
        assert_eq!(archived.to_json(), message);
        assert_eq!(Quote::from_object(&message).unwrap().id(), archived.id());
    }

    #[test]
    fn a_message_of_another_producer_gets_the_same_identity_at_every_replay() {
        let message = br#"{"c":1,"symbol":"AAPL","extra":{"kept":[1.00]},"quote_id":null}"#;
        let quote = Quote::from_message(message, &at()).unwrap();
        assert_eq!(quote.id(), at().derive_quote_id());
        assert_eq!(quote.id().fetched_at_ms(), None);
        assert_eq!(quote.fetched_at(), 1_704_067_256);
        assert!(String::from_utf8(quote.to_json()).unwrap().contains(r#""extra":{"kept":[1.00]}"#));
        assert_eq!(Quote::from_message(message, &at()).unwrap().to_json(), quote.to_json());
    }

    #[test]
    fn what_is_no_quote_is_refused_with_the_field_that_is_wrong() {
        let refused = |message: &str| Quote::from_message(message.as_bytes(), &at()).unwrap_err().to_string();
        assert!(refused("[]").contains("not a JSON object"));
        assert!(refused("nonsense").contains("not a JSON object"));
        assert!(refused("").contains("not a JSON object"));
        assert_eq!(refused("{}"), r#"the field "symbol" is missing"#);
        assert!(refused(r#"{"symbol":7}"#).contains(r#"the field "symbol" is 7"#));
        assert!(refused(r#"{"symbol":"../etc"}"#).contains("../etc"));
        assert!(refused(r#"{"symbol":"A","fetched_at":1704067256000}"#).contains("fetched_at"));
        assert!(refused(r#"{"symbol":"A","fetched_at":-1}"#).contains("fetched_at"));
        assert!(refused(r#"{"symbol":"A","quote_id":"x"}"#).contains("quote_id"));
        assert!(refused(r#"{"symbol":"A","c":"150"}"#).contains(r#"the field "c""#));
        assert!(refused(r#"{"symbol":"A","c":1e999}"#).contains(r#"the field "c""#));
        assert!(refused(r#"{"symbol":"A","t":1.5}"#).contains(r#"the field "t""#));
        for number in ["NaN", "Infinity", "-Infinity", "1e", "0x1", "01", "+1", "1.", ".5"] {
            assert!(
                refused(&format!(r#"{{"symbol":"A","c":{number}}}"#)).contains("not a JSON object"),
                "{number}"
            );
        }
        for number in ["1e400", "-1e400", &"9".repeat(400)] {
            let message = refused(&format!(r#"{{"symbol":"A","c":{number}}}"#));
            assert!(message.contains(r#"the field "c""#), "{message}");
        }
        let endless = format!(r#"{{"symbol":"A","c":0.{}}}"#, "1".repeat(2000));
        assert!(refused(&endless).contains(r#"the field "c" is a text of 2002 characters"#));
    }

    #[test]
    fn a_time_that_nobody_knows_is_refused_and_not_taken_for_1970() {
        for time in [
            "0",
            "-0",
            "0.0",
            "-1",
            "-1.0",
            "253402300800",
            "1e300",
            "9223372036854775807",
            "1.5",
            "true",
            "[]",
        ] {
            let message = format!(r#"{{"symbol":"A","fetched_at":{time}}}"#);
            let error = Quote::from_message(message.as_bytes(), &at()).unwrap_err().to_string();
            assert!(error.contains("fetched_at"), "{error}");
        }
        for timestamp_ms in [0, -1] {
            let at = Coordinates { timestamp_ms, ..at() };
            let error = Quote::from_message(br#"{"symbol":"A","fetched_at":null}"#, &at).unwrap_err();
            assert_eq!(error, InvalidQuote::NoTime);
        }
    }

    #[test]
    fn whole_numbers_are_read_as_json_means_them_and_keep_their_text() {
        for text in [
            "1704067256",
            "1704067256.0",
            "1704067256.000",
            "1.704067256e9",
            "1704067256E0",
            "17040672560e-1",
        ] {
            let message = format!(r#"{{"c":1e3,"t":{text},"symbol":"A","fetched_at":{text}}}"#);
            let quote = Quote::from_message(message.as_bytes(), &at()).unwrap();
            assert_eq!(
                (quote.fetched_at(), quote.market_time()),
                (1_704_067_256, Ok(Some(1_704_067_256))),
                "{text}"
            );
            assert_eq!((quote.number_text("t"), quote.number_text("c")), (Some(text), Some("1e3")));
        }
    }

    #[test]
    fn absent_and_null_changes_are_quotes_like_any_other() {
        let body = br#"{"c":1,"d":null,"h":2,"l":1,"o":1,"pc":1,"t":1}"#;
        let quote = Quote::observe(&symbol(), 0, body).unwrap();
        assert_eq!((quote.number_text("d"), quote.number_text("dp")), (None, None));
        assert_eq!(quote.completeness(), Completeness::Complete);
    }

    #[test]
    fn zeros_are_told_apart() {
        let completeness = |body: &str| {
            let quote = Quote::observe(&symbol(), 0, body.as_bytes()).unwrap();
            quote.completeness()
        };
        assert_eq!(
            completeness(r#"{"c":0,"d":null,"dp":null,"h":0,"l":0,"o":0,"pc":0,"t":0}"#),
            Completeness::NoData
        );
        assert_eq!(completeness("{}"), Completeness::NoData);
        assert_eq!(completeness(r#"{"c":9.5,"h":0,"l":0,"o":0,"pc":0,"t":1}"#), Completeness::Partial);
    }

    proptest! {
        /// Both read the same bytes as the same quote, or reject them with the same message.
        #[test]
        fn a_quote_in_place_is_the_quote_that_owns_its_fields(
            fields in proptest::collection::vec(
                (
                    prop_oneof![
                        Just("c"), Just("dp"), Just("t"), Just("symbol"), Just("fetched_at"), Just("quote_id"), Just("more"),
                        Just("\\u0063"),
                    ],
                    prop_oneof![
                        Just("1704067256".to_owned()), Just("1.50".to_owned()), Just("-0".to_owned()), Just("1e999".to_owned()),
                        Just("1.704067256e9".to_owned()), Just("null".to_owned()), Just("\"A\"".to_owned()),
                        Just("\"\\u0041\"".to_owned()), Just("\"../x\"".to_owned()), Just(format!("{ID:?}")),
                        Just(format!("{:?}", ID.replace('-', ""))), Just("[1,\n {\"c\":2}]".to_owned()), Just("x".to_owned()),
                        Just("9".repeat(305)), Just("1".repeat(1101)), Just("true".to_owned()),
                    ],
                ),
                0..8,
            ),
            whole in any::<bool>(),
        ) {
            let mut text: Vec<String> = fields.iter().map(|(name, value)| format!("\"{name}\": {value}")).collect();
            if whole {
                text.insert(0, format!(r#""symbol":"AAPL","fetched_at":1704067256,"quote_id":"{ID}""#));
            }
            let text = format!("{{{}}}", text.join(" , "));
            match (Quote::from_object(text.as_bytes()), QuoteView::parse(text.as_bytes())) {
                (Ok(quote), Ok(view)) => {
                    prop_assert_eq!(
                        (quote.id(), quote.symbol().as_str(), quote.fetched_at(), quote.market_time()),
                        (view.id(), view.symbol(), view.fetched_at(), Ok(view.market_time()))
                    );
                    for (name, price) in PRICES.into_iter().zip(view.prices()) {
                        prop_assert_eq!(quote.number_text(name), price.map(RawValue::get));
                    }
                }
                (Err(quote), Err(view)) => prop_assert_eq!(quote, view),
                (quote, view) => prop_assert!(false, "{text}: {quote:?} and {view:?}"),
            }
        }

        #[test]
        fn any_bytes_are_refused_or_kept_whole(bytes in any::<Vec<u8>>()) {
            let _ = Quote::from_message(&bytes, &at());
        }

        #[test]
        fn any_number_keeps_its_text(integer in 0u32.., fraction in "[0-9]{1,8}") {
            let text = format!("{integer}.{fraction}");
            let quote = Quote::observe(&symbol(), 1000, format!(r#"{{"c":{text}}}"#).as_bytes()).unwrap();
            prop_assert_eq!(quote.number_text("c"), Some(text.as_str()));
            let again = Quote::from_object(&quote.to_json()).unwrap();
            prop_assert_eq!(again.number_text("c"), Some(text.as_str()));
        }
    }
}
