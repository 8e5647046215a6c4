//! Each symbol's closes of its latest date.

use std::time::Instant;

use jiff::civil::Date;
use serde::Serialize;
use warehouse::{Parameter, statements::Statement};

use super::kpi;
use crate::{
    parameters::Query,
    problem::Problem,
    question::{AnswerError, Answered, Context, Question},
    reads::{Pace, Read},
    rows::{Row, Unusable},
};

/// The most closes of a symbol.
const MOST: usize = 40;

warehouse::statements! {
    /// Every symbol's 5-minute closes, from a market date on.
    CLOSES, "the closes of gold_candlestick_intraday", (first_date: DATE),
    "SELECT symbol, market_date, candle_close
     FROM `{dataset}_gold.gold_candlestick_intraday`
     WHERE interval_minutes = 5 AND market_date >= @first_date
     ORDER BY symbol, candle_start_utc";
}

static READ: Read<Close> = Read { statement: CLOSES, pace: Pace::Days, decode: close };

struct Close {
    symbol: String,
    date: Date,
    price: f64,
}

fn close(row: &Row) -> Result<Close, Unusable> {
    Ok(Close {
        symbol: row.get("symbol")?,
        date: row.get("market_date")?,
        price: row.number("candle_close")?,
    })
}

#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct SparklinesQuestion;

/// Each symbol's closes of its latest New York date, thinned out.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct SparklinesAnswer {
    /// One for each symbol with candles.
    symbols: Vec<Sparkline>,
}

/// One symbol's closes.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct Sparkline {
    #[cfg_attr(test, schemars(with = "crate::openapi::Symbol"))]
    symbol: String,
    /// At most 40, the oldest first. In the instrument's currency.
    closes: Vec<f64>,
}

impl Question for SparklinesQuestion {
    const NAME: &'static str = "sparklines";
    const STATEMENTS: &'static [Statement] = ALL;
    type Answer = SparklinesAnswer;

    fn parse(_: &Query) -> Result<Self, Problem> {
        Ok(Self)
    }

    async fn answer(
        &self,
        context: &Context,
        until: Instant,
    ) -> Result<Answered<SparklinesAnswer>, AnswerError> {
        let quotes = kpi::latest(context, until).await?;
        let dates =
            quotes.figures.iter().filter_map(|quote| quote.market_time_us.get(..10)?.parse::<Date>().ok());
        // Over a long weekend, the stocks' latest date is four days before the latest date of a market that never
        // closes.
        let first_date = dates.max().and_then(|date| date.checked_sub(jiff::Span::new().days(4)).ok());
        let (symbols, as_of) = match first_date {
            None => (Vec::new(), quotes.as_of),
            Some(first_date) => {
                let parameters = vec![Parameter::date("first_date", first_date)];
                let closes = context.read(&READ, parameters, until).await?;
                let of_symbols = closes.figures.chunk_by(|one, next| one.symbol == next.symbol);
                (of_symbols.map(sparkline).collect(), closes.as_of)
            }
        };
        Ok(context.answered(SparklinesAnswer { symbols }, as_of, Pace::Charts))
    }
}

/// The line of one symbol's closes.
fn sparkline(closes: &[Close]) -> Sparkline {
    let last = closes.iter().map(|close| close.date).max();
    let prices: Vec<f64> =
        closes.iter().filter(|close| Some(close.date) == last).map(|close| close.price).collect();
    // The newest one is always kept.
    let step = prices.len().div_ceil(MOST).max(1);
    let mut kept: Vec<f64> = prices.iter().rev().step_by(step).copied().collect();
    kept.reverse();
    Sparkline { symbol: closes[0].symbol.clone(), closes: kept }
}

#[cfg(test)]
impl crate::openapi::Examples for SparklinesQuestion {
    fn examples() -> Vec<(&'static str, SparklinesAnswer)> {
        let symbols = vec![Sparkline { symbol: "AAPL".to_owned(), closes: vec![170.61, 170.42] }];
        vec![("one symbol", SparklinesAnswer { symbols })]
    }
}
