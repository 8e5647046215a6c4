//! Each symbol's day change and volatility.

use std::time::Instant;

use jiff::civil::Date;
use serde::Serialize;
use warehouse::statements::Statement;

use crate::{
    parameters::Query,
    problem::Problem,
    question::{AnswerError, Answered, Context, Question},
    reads::{Figures, Known, Pace, Read},
    rows::{Row, Unusable},
};

warehouse::statements! {
    /// Each symbol's day change and volatility.
    TREEMAP, "gold_treechart", (),
    "SELECT symbol, latest_date, last_price, avg_price, day_change_percent, volatility, relative_volatility
     FROM `{dataset}_gold.gold_treechart`
     ORDER BY symbol";
}

static READ: Read<Tile> = Read { statement: TREEMAP, pace: Pace::Charts, decode: tile };

/// A symbol's latest New York date that has quotes.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Tile {
    #[cfg_attr(test, schemars(with = "crate::openapi::Symbol"))]
    symbol: String,
    /// New York date.
    date: Date,
    /// The day's latest price. In the instrument's currency.
    price: f64,
    /// Mean of the day's observed prices, in the instrument's currency; null if unknown.
    avg_price: Option<f64>,
    /// Change since the previous close in percent; null if unknown.
    change_percent: Option<f64>,
    /// Population standard deviation of the prices observed over the latest days (dbt's variable says how many), in the
    /// instrument's currency; null if unknown.
    volatility: Option<f64>,
    /// Volatility divided by the mean of the same prices; no unit; null if unknown.
    relative_volatility: Option<f64>,
}

fn tile(row: &Row) -> Result<Tile, Unusable> {
    Ok(Tile {
        symbol: row.get("symbol")?,
        date: row.get("latest_date")?,
        price: row.number("last_price")?,
        avg_price: row.optional_number("avg_price")?,
        change_percent: row.optional_number("day_change_percent")?,
        volatility: row.optional_number("volatility")?,
        relative_volatility: row.optional_number("relative_volatility")?,
    })
}

#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct TreemapQuestion;

/// Each symbol's day change and volatility.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct TreemapAnswer {
    /// One for each symbol; empty before the first quote.
    #[cfg_attr(test, schemars(with = "Vec<Tile>"))]
    tiles: Figures<Tile>,
}

impl Question for TreemapQuestion {
    const NAME: &'static str = "treemap";
    const STATEMENTS: &'static [Statement] = ALL;
    type Answer = TreemapAnswer;

    fn parse(_: &Query) -> Result<Self, Problem> {
        Ok(Self)
    }

    async fn answer(
        &self,
        context: &Context,
        until: Instant,
    ) -> Result<Answered<TreemapAnswer>, AnswerError> {
        let Known { figures, as_of } = context.read(&READ, Vec::new(), until).await?;
        Ok(context.answered(TreemapAnswer { tiles: figures }, as_of, Pace::Charts))
    }
}

#[cfg(test)]
impl crate::openapi::Examples for TreemapQuestion {
    fn examples() -> Vec<(&'static str, TreemapAnswer)> {
        let tile = Tile {
            symbol: "AAPL".to_owned(),
            date: "2019-02-15".parse().unwrap(),
            price: 170.42,
            avg_price: Some(170.51),
            change_percent: Some(-0.2225),
            volatility: Some(0.82),
            relative_volatility: Some(0.0048),
        };
        vec![("one symbol", TreemapAnswer { tiles: vec![tile].into() })]
    }
}
