//! A symbol's latest quotes.

use std::time::Instant;

use jiff::{Timestamp, civil::Date};
use quotes::Symbol;
use serde::Serialize;
use warehouse::{Parameter, statements::Statement};

use super::candles;
use crate::{
    candle::Candle,
    parameters::Query,
    problem::Problem,
    question::{AnswerError, Answered, Context, Question},
    reads::{Figures, Pace, Read},
    rows::{Row, Unusable},
};

const LEAST: u32 = 1;
const MOST: u32 = 5000;

warehouse::statements! {
    /// A symbol's latest quotes, `limit` at most, from a market date on.
    HISTORY, "gold_kpi_history", (symbol: STRING, first_date: DATE, limit: INT64),
    "SELECT market_timestamp_raw, current_price, change_percent
     FROM `{dataset}_gold.gold_kpi_history`
     WHERE symbol = @symbol AND market_date >= @first_date
     QUALIFY ROW_NUMBER() OVER (ORDER BY market_timestamp_raw DESC) <= @limit
     ORDER BY market_timestamp_raw";
}

static READ: Read<HistoryPoint> = Read { statement: HISTORY, pace: Pace::Charts, decode: point };

/// One quote.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct HistoryPoint {
    /// When the price was traded. RFC 3339, UTC.
    market_time: Timestamp,
    /// The price. In the instrument's currency.
    price: f64,
    /// Change since the previous close in percent; null if the source has none.
    change_percent: Option<f64>,
}

fn point(row: &Row) -> Result<HistoryPoint, Unusable> {
    Ok(HistoryPoint {
        market_time: row.seconds("market_timestamp_raw")?,
        price: row.number("current_price")?,
        change_percent: row.optional_number("change_percent")?,
    })
}

#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct HistoryQuestion {
    /// Whose figures.
    #[cfg_attr(test, schemars(with = "crate::openapi::Symbol"))]
    symbol: Symbol,
    /// How many quotes at most; the latest are taken.
    #[cfg_attr(test, schemars(range(min = LEAST, max = MOST), default = "default_limit"))]
    limit: u32,
}

fn default_limit() -> u32 {
    500
}

/// A symbol's latest quotes, oldest first.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct HistoryAnswer {
    #[cfg_attr(test, schemars(with = "crate::openapi::Symbol"))]
    symbol: Symbol,
    /// Ascending by market time, each time once; empty for a symbol without quotes.
    #[cfg_attr(test, schemars(with = "Vec<HistoryPoint>"))]
    points: Figures<HistoryPoint>,
}

impl Question for HistoryQuestion {
    const NAME: &'static str = "history";
    const STATEMENTS: &'static [Statement] = ALL;
    type Answer = HistoryAnswer;

    fn parse(query: &Query) -> Result<Self, Problem> {
        let symbol = query.symbol()?;
        let limit = query.number("limit", LEAST..=MOST)?.unwrap_or_else(default_limit);
        Ok(Self { symbol, limit })
    }

    async fn answer(
        &self,
        context: &Context,
        until: Instant,
    ) -> Result<Answered<HistoryAnswer>, AnswerError> {
        let Self { symbol, limit } = self;
        let days = candles::daily(context, symbol, until).await?;
        let (points, as_of) = match first_date(&days.figures, *limit) {
            None => (Vec::new().into(), days.as_of),
            Some(first_date) => {
                let parameters = vec![
                    Parameter::string("symbol", symbol.to_string()),
                    Parameter::date("first_date", first_date),
                    Parameter::int("limit", (*limit).into()),
                ];
                let known = context.read(&READ, parameters, until).await?;
                (known.figures, known.as_of)
            }
        };
        let answer = HistoryAnswer { symbol: symbol.clone(), points };
        Ok(context.answered(answer, as_of, Pace::Charts))
    }
}

/// The date from which on the symbol has `limit` quotes, so that not all partitions of its history are read; `None` if
/// it has no quotes.
fn first_date(daily: &[Candle], limit: u32) -> Option<Date> {
    let mut quotes = 0;
    let enough = daily.iter().rev().find(|day| {
        quotes += day.quotes;
        quotes >= limit.into()
    });
    daily.last()?;
    // If all dates together have fewer than `limit` quotes, all are read.
    Some(enough.map_or(jiff::civil::date(1, 1, 1), |day| day.date))
}

#[cfg(test)]
impl crate::openapi::Examples for HistoryQuestion {
    fn examples() -> Vec<(&'static str, HistoryAnswer)> {
        let point = |market_time: &str, price, change_percent| HistoryPoint {
            market_time: market_time.parse().unwrap(),
            price,
            change_percent: Some(change_percent),
        };
        let points = vec![
            point("2019-02-15T20:59:52Z", 170.45, -0.2049),
            point("2019-02-15T20:59:58Z", 170.42, -0.2225),
        ];
        let symbol = "AAPL".parse().unwrap();
        vec![("two quotes", HistoryAnswer { symbol, points: points.into() })]
    }
}
