//! Each symbol's latest quote.

use std::time::Instant;

use jiff::Timestamp;
use serde::Serialize;
use warehouse::statements::Statement;

use crate::{
    parameters::Query,
    problem::Problem,
    question::{AnswerError, Answered, Context, Question},
    reads::{Figures, Known, Pace, Read, ReadError, now},
    rows::{Row, Unusable, is_future},
};

warehouse::statements! {
    /// Each symbol's latest quote.
    KPI, "gold_kpi", (),
    "SELECT symbol, current_price, change_amount, change_percent, day_high, day_low, day_open, prev_close,
       market_timestamp_raw, FORMAT_DATETIME('%Y-%m-%dT%H:%M:%S', market_time_us) AS market_time_text,
       UNIX_MILLIS(fetched_at) AS fetched_millis, UNIX_MILLIS(loaded_at) AS loaded_millis
     FROM `{dataset}_gold.gold_kpi`
     ORDER BY symbol";
}

static READ: Read<Kpi> = Read { statement: KPI, pace: Pace::Tiles, decode: kpi };

/// A symbol's latest quote by the time it was fetched.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Kpi {
    #[cfg_attr(test, schemars(with = "crate::openapi::Symbol"))]
    pub symbol: String,
    /// Price of the latest trade. In the instrument's currency.
    pub price: f64,
    /// Price less the previous close, in the instrument's currency; null if the source has none.
    pub change: Option<f64>,
    /// Change in percent of the previous close; null if the source has none.
    pub change_percent: Option<f64>,
    /// Highest price of the day, in the instrument's currency; 0 is unknown.
    pub day_high: f64,
    /// Lowest price of the day, in the instrument's currency; 0 is unknown.
    pub day_low: f64,
    /// The day's opening price, in the instrument's currency; 0 is unknown.
    pub day_open: f64,
    /// The previous trading day's last price, in the instrument's currency; null if unknown.
    pub prev_close: Option<f64>,
    /// When the price was traded. RFC 3339, UTC.
    pub market_time: Timestamp,
    /// The same time on New York's wall clock, without an offset.
    #[cfg_attr(test, schemars(regex(pattern = r"^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}$")))]
    #[cfg_attr(test, schemars(example = "2019-02-15T15:59:58"))]
    pub market_time_us: String,
    /// When the quote was fetched. RFC 3339, UTC.
    pub fetched_at: Timestamp,
    /// When the quote was loaded into bronze. RFC 3339, UTC.
    pub loaded_at: Option<Timestamp>,
}

fn kpi(row: &Row) -> Result<Kpi, Unusable> {
    let fetched_at = row.millis("fetched_millis")?;
    if is_future(fetched_at, now()) {
        return Err(row.unusable("fetched_millis"));
    }
    // In the API an unknown price of the day is 0.
    let of_day = |column| Ok(row.optional_number(column)?.unwrap_or_default());
    Ok(Kpi {
        symbol: row.get("symbol")?,
        price: row.number("current_price")?,
        change: row.optional_number("change_amount")?,
        change_percent: row.optional_number("change_percent")?,
        day_high: of_day("day_high")?,
        day_low: of_day("day_low")?,
        day_open: of_day("day_open")?,
        prev_close: row.optional_number("prev_close")?,
        market_time: row.seconds("market_timestamp_raw")?,
        market_time_us: row.get("market_time_text")?,
        fetched_at,
        loaded_at: row.optional_millis("loaded_millis")?,
    })
}

/// The latest quotes, in the order of their symbols.
pub async fn latest(context: &Context, until: Instant) -> Result<Known<Kpi>, ReadError> {
    context.read(&READ, Vec::new(), until).await
}

#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct KpiQuestion;

/// Each symbol's latest quote.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct KpiAnswer {
    /// One for each symbol; empty before the first quote.
    #[cfg_attr(test, schemars(with = "Vec<Kpi>"))]
    quotes: Figures<Kpi>,
}

impl Question for KpiQuestion {
    const NAME: &'static str = "kpi";
    const STATEMENTS: &'static [Statement] = ALL;
    type Answer = KpiAnswer;

    fn parse(_: &Query) -> Result<Self, Problem> {
        Ok(Self)
    }

    async fn answer(&self, context: &Context, until: Instant) -> Result<Answered<KpiAnswer>, AnswerError> {
        let Known { figures, as_of } = latest(context, until).await?;
        Ok(context.answered(KpiAnswer { quotes: figures }, as_of, Pace::Tiles))
    }
}

#[cfg(test)]
impl crate::openapi::Examples for KpiQuestion {
    fn examples() -> Vec<(&'static str, KpiAnswer)> {
        let quote = Kpi {
            symbol: "AAPL".to_owned(),
            price: 170.42,
            change: Some(-0.38),
            change_percent: Some(-0.2225),
            day_high: 171.7,
            day_low: 169.75,
            day_open: 171.25,
            prev_close: Some(170.8),
            market_time: "2019-02-15T20:59:58Z".parse().unwrap(),
            market_time_us: "2019-02-15T15:59:58".to_owned(),
            fetched_at: "2026-08-03T14:05:06Z".parse().unwrap(),
            loaded_at: "2026-08-03T14:05:08Z".parse().ok(),
        };
        let of = |quotes: Vec<Kpi>| KpiAnswer { quotes: quotes.into() };
        vec![("one symbol", of(vec![quote])), ("no quotes yet", of(Vec::new()))]
    }
}
