//! What is asked of the gold models, and the figures that come of it. `dbt_stocks/models/gold` says what they hold.
//!
//! A row with a column that cannot be used costs that row's figure, and never the answer.

use std::str::FromStr;

use jiff::{SignedDuration, Timestamp, civil::Date};
use quotes::Symbol;
use serde::Serialize;
use warehouse::{
    Answer, Parameter,
    statements::{self, Statement},
};

/// How far a clock may be ahead of ours before what it says counts as the future.
const AHEAD: SignedDuration = SignedDuration::from_mins(5);
/// How many unusable rows of one answer are logged.
const LOGGED: usize = 3;

/// What is asked of the warehouse. The answer is the same for whoever asks.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Read {
    Kpi,
    Daily { symbol: Symbol },
    Intraday { symbol: Symbol, minutes: i64, first_date: Date },
    History { symbol: Symbol, first_date: Date, limit: u32 },
    Treemap,
    Closes { first_date: Date },
    Health,
}

/// The rows of a [`Read`], as figures.
#[derive(Debug)]
pub enum Figures {
    Kpi(Vec<Kpi>),
    Candles(Vec<Candle>),
    Points(Vec<Point>),
    Tiles(Vec<Tile>),
    Closes(Vec<Close>),
    Arrivals(Vec<Arrival>),
}

#[derive(Debug, Clone, Serialize)]
pub struct Kpi {
    pub symbol: String,
    pub price: f64,
    pub change: Option<f64>,
    pub change_percent: Option<f64>,
    pub day_high: f64,
    pub day_low: f64,
    pub day_open: f64,
    pub prev_close: Option<f64>,
    pub market_time: Timestamp,
    pub market_time_us: String,
    pub fetched_at: Timestamp,
    pub loaded_at: Option<Timestamp>,
}

#[derive(Debug, Clone, Serialize)]
pub struct Candle {
    pub time: CandleTime,
    pub date: Date,
    pub open: f64,
    pub high: f64,
    pub low: f64,
    pub close: f64,
    pub trend: Option<f64>,
    pub quotes: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum CandleTime {
    Date(Date),
    Seconds(i64),
}

#[derive(Debug, Clone)]
pub struct Close {
    pub symbol: String,
    pub date: Date,
    pub price: f64,
}

#[derive(Debug, Clone, Serialize)]
pub struct Point {
    pub market_time: Timestamp,
    pub price: f64,
    pub change_percent: Option<f64>,
}

#[derive(Debug, Clone, Serialize)]
pub struct Tile {
    pub symbol: String,
    pub date: Date,
    pub price: f64,
    pub avg_price: Option<f64>,
    pub change_percent: Option<f64>,
    pub volatility: Option<f64>,
    pub relative_volatility: Option<f64>,
}

/// How a symbol's quotes arrive.
#[derive(Debug, Clone)]
pub struct Arrival {
    pub symbol: String,
    pub fetched_at: Option<Timestamp>,
    pub loaded_at: Option<Timestamp>,
    pub market_time: Option<Timestamp>,
    pub quotes_per_minute: Option<f64>,
    pub rejected_share: Option<f64>,
}

impl Read {
    /// The statement and its parameters.
    pub fn statement(&self) -> (Statement, Vec<Parameter>) {
        let of = |symbol: &Symbol| Parameter::string("symbol", symbol.to_string());
        let from = |date: &Date| Parameter::date("first_date", *date);
        match self {
            Self::Kpi => (statements::KPI, Vec::new()),
            Self::Daily { symbol } => (statements::DAILY_CANDLES, vec![of(symbol)]),
            Self::Intraday { symbol, minutes, first_date } => (
                statements::INTRADAY_CANDLES,
                vec![of(symbol), Parameter::int("interval_minutes", *minutes), from(first_date)],
            ),
            Self::History { symbol, first_date, limit } => (
                statements::HISTORY,
                vec![of(symbol), from(first_date), Parameter::int("limit", (*limit).into())],
            ),
            Self::Treemap => (statements::TREEMAP, Vec::new()),
            Self::Closes { first_date } => (statements::CLOSES, vec![from(first_date)]),
            Self::Health => (statements::HEALTH, Vec::new()),
        }
    }

    /// The figures in `answer`. What cannot be used is left out, and logged.
    ///
    /// # Errors
    /// [`MissingColumn`].
    pub fn decode(&self, answer: &Answer, now: Timestamp) -> Result<Figures, MissingColumn> {
        let table = Table { name: self.statement().0.name(), answer };
        Ok(match self {
            Self::Kpi => Figures::Kpi(table.rows(|row| kpi(row, now))?),
            Self::Daily { .. } => {
                Figures::Candles(table.rows(|row| candle(row, CandleTime::Date(row.get("market_date")?)))?)
            }
            Self::Intraday { .. } => Figures::Candles(
                table.rows(|row| candle(row, CandleTime::Seconds(row.get("start_second")?)))?,
            ),
            Self::History { .. } => Figures::Points(table.rows(point)?),
            Self::Treemap => Figures::Tiles(table.rows(tile)?),
            Self::Closes { .. } => Figures::Closes(table.rows(close)?),
            Self::Health => Figures::Arrivals(table.rows(arrival)?),
        })
    }

    /// The figures where there is no such table yet: before the first run of dbt.
    pub fn nothing(&self) -> Figures {
        match self {
            Self::Kpi => Figures::Kpi(Vec::new()),
            Self::Daily { .. } | Self::Intraday { .. } => Figures::Candles(Vec::new()),
            Self::History { .. } => Figures::Points(Vec::new()),
            Self::Treemap => Figures::Tiles(Vec::new()),
            Self::Closes { .. } => Figures::Closes(Vec::new()),
            Self::Health => Figures::Arrivals(Vec::new()),
        }
    }
}

/// Whether `time` lies further ahead than clocks may differ.
pub fn is_future(time: Timestamp, now: Timestamp) -> bool {
    time.duration_since(now) > AHEAD
}

fn kpi(row: &Row, now: Timestamp) -> Result<Kpi, Unusable> {
    let second: i64 = row.get("market_timestamp_raw")?;
    let market_time = Timestamp::from_second(second).map_err(|_| row.unusable("market_timestamp_raw"))?;
    let fetched_at = row.millis("fetched_millis")?.ok_or_else(|| row.unusable("fetched_millis"))?;
    if is_future(fetched_at, now) {
        return Err(row.unusable("fetched_millis"));
    }
    // The API has 0 for a price of the day that is not known.
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
        market_time,
        market_time_us: row.get("market_time_text")?,
        fetched_at,
        loaded_at: row.millis("loaded_millis")?,
    })
}

fn candle(row: &Row, time: CandleTime) -> Result<Candle, Unusable> {
    Ok(Candle {
        time,
        date: row.get("market_date")?,
        open: row.number("candle_open")?,
        high: row.number("candle_high")?,
        low: row.number("candle_low")?,
        close: row.number("candle_close")?,
        trend: row.optional_number("trend_line")?,
        quotes: row.optional("quotes")?.unwrap_or_default(),
    })
}

fn close(row: &Row) -> Result<Close, Unusable> {
    Ok(Close {
        symbol: row.get("symbol")?,
        date: row.get("market_date")?,
        price: row.number("candle_close")?,
    })
}

fn point(row: &Row) -> Result<Point, Unusable> {
    let second: i64 = row.get("market_timestamp_raw")?;
    Ok(Point {
        market_time: Timestamp::from_second(second).map_err(|_| row.unusable("market_timestamp_raw"))?,
        price: row.number("current_price")?,
        change_percent: row.optional_number("change_percent")?,
    })
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

/// Only the symbol must be there: that the rest is not is what is to be shown.
fn arrival(row: &Row) -> Result<Arrival, Unusable> {
    Ok(Arrival {
        symbol: row.get("symbol")?,
        fetched_at: row.millis("fetched_millis")?,
        loaded_at: row.millis("loaded_millis")?,
        market_time: row.millis("market_millis")?,
        quotes_per_minute: row.optional_number("quotes_per_minute")?,
        rejected_share: row.optional_number("rejected_share")?,
    })
}

/// A statement's answer lacks a column: the statement and this code do not fit.
#[derive(Debug, thiserror::Error)]
#[error("{statement} has no column {column}")]
pub struct MissingColumn {
    statement: &'static str,
    column: &'static str,
}

/// Why a row is left out.
enum Unusable {
    Value { column: &'static str, value: Option<String> },
    Missing(MissingColumn),
}

struct Table<'a> {
    name: &'static str,
    answer: &'a Answer,
}

impl Table<'_> {
    fn rows<T>(&self, decode: impl Fn(&Row) -> Result<T, Unusable>) -> Result<Vec<T>, MissingColumn> {
        let (mut figures, mut unusable) = (Vec::new(), 0);
        for values in &self.answer.rows {
            let row = Row { table: self, values };
            match decode(&row) {
                Ok(figure) => figures.push(figure),
                Err(Unusable::Missing(error)) => return Err(error),
                Err(Unusable::Value { column, value }) => {
                    unusable += 1;
                    if unusable <= LOGGED {
                        let symbol = row.value("symbol").ok().flatten().unwrap_or_default();
                        let model = self.name;
                        tracing::warn!(
                            model,
                            symbol,
                            column,
                            value,
                            "a row is left out: its column is unusable"
                        );
                    }
                }
            }
        }
        if unusable > LOGGED {
            tracing::warn!(model = self.name, "{unusable} rows are left out");
        }
        Ok(figures)
    }
}

/// A row, its values as BigQuery's text.
struct Row<'a> {
    table: &'a Table<'a>,
    values: &'a [Option<String>],
}

impl Row<'_> {
    fn value(&self, column: &'static str) -> Result<Option<&str>, Unusable> {
        let at = self.table.answer.columns.iter().position(|name| name == column);
        let missing = || Unusable::Missing(MissingColumn { statement: self.table.name, column });
        Ok(self.values.get(at.ok_or_else(missing)?).and_then(Option::as_deref))
    }

    fn unusable(&self, column: &'static str) -> Unusable {
        let value = self.value(column).ok().flatten().map(str::to_owned);
        Unusable::Value { column, value }
    }

    /// What can be used of a column that may be NULL.
    fn optional<T: FromStr>(&self, column: &'static str) -> Result<Option<T>, Unusable> {
        Ok(self.value(column)?.and_then(|text| text.parse().ok()))
    }

    fn get<T: FromStr>(&self, column: &'static str) -> Result<T, Unusable> {
        self.optional(column)?.ok_or_else(|| self.unusable(column))
    }

    /// JSON has no NaN and no infinity.
    fn optional_number(&self, column: &'static str) -> Result<Option<f64>, Unusable> {
        Ok(self.optional(column)?.filter(|number: &f64| number.is_finite()))
    }

    fn number(&self, column: &'static str) -> Result<f64, Unusable> {
        self.optional_number(column)?.ok_or_else(|| self.unusable(column))
    }

    fn millis(&self, column: &'static str) -> Result<Option<Timestamp>, Unusable> {
        Ok(self.optional(column)?.and_then(|millis| Timestamp::from_millisecond(millis).ok()))
    }
}
