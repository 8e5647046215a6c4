//! What is read of the gold tables, and how it is told. `dbt_stocks/models/gold` says what the tables hold.

use std::{str::FromStr, time::Duration};

use backon::{ConstantBuilder, Retryable};
use function_kit::Retry;
use jiff::{Timestamp, civil};
use quotes::Symbol;
use serde::Serialize;
use warehouse::{
    Parameter, Warehouse, WarehouseError,
    statements::{self, Statement},
};

use crate::question::{Interval, Question};

/// A stand-in of BigQuery lacks a table for a moment while dbt replaces it.
const REPLACING: Duration = Duration::from_millis(100);
const REPLACING_TRIES: usize = 4;

/// Why there are no figures.
#[derive(Debug, thiserror::Error)]
pub enum GoldError {
    /// The warehouse did not answer, or refused.
    #[error(transparent)]
    Warehouse(#[from] WarehouseError),
    /// It did not answer in time.
    #[error("the warehouse did not answer within {0:?}")]
    Late(Duration),
    /// A column holds what it should not.
    #[error("the column {column} of {statement} is {value:?}")]
    Value {
        /// The statement.
        statement: &'static str,
        /// The column's number in the statement, from 0 on.
        column: usize,
        /// What it holds.
        value: Option<String>,
    },
    /// The answer cannot be written.
    #[error("the answer cannot be written")]
    Write(#[from] std::io::Error),
}

impl Retry for GoldError {
    fn is_retryable(&self) -> bool {
        match self {
            Self::Warehouse(error) => error.is_retryable(),
            Self::Late(_) => true,
            Self::Value { .. } | Self::Write(_) => false,
        }
    }
}

#[derive(Serialize)]
struct Kpi {
    symbol: String,
    price: f64,
    change: Option<f64>,
    change_percent: Option<f64>,
    day_high: f64,
    day_low: f64,
    day_open: f64,
    prev_close: f64,
    market_time: Timestamp,
    market_time_us: String,
    fetched_at: Timestamp,
}

#[derive(Serialize)]
struct Candle {
    time: CandleTime,
    date: civil::Date,
    open: f64,
    high: f64,
    low: f64,
    close: f64,
    trend: Option<f64>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum CandleTime {
    Date(civil::Date),
    Seconds(i64),
}

#[derive(Serialize)]
struct Day {
    date: civil::Date,
    trend_line: Option<f64>,
}

#[derive(Serialize)]
struct Point {
    market_time: Timestamp,
    price: f64,
    change_percent: Option<f64>,
}

#[derive(Serialize)]
struct Tile {
    symbol: String,
    date: civil::Date,
    price: f64,
    avg_price: f64,
    change_percent: Option<f64>,
    volatility: f64,
    relative_volatility: Option<f64>,
}

#[derive(Serialize)]
struct SymbolHealth {
    symbol: String,
    last_fetched_at: Timestamp,
    last_loaded_at: Option<Timestamp>,
    last_market_time: Option<Timestamp>,
    freshness_seconds: f64,
    quotes_per_minute: f64,
    rejected_share: Option<f64>,
}

#[derive(Serialize)]
#[serde(rename_all = "lowercase")]
enum Status {
    Ok,
    Stale,
    Empty,
}

/// The answers of openapi.json.
#[derive(Serialize)]
#[serde(untagged)]
enum Answer<'a> {
    Kpi {
        as_of: Timestamp,
        quotes: Vec<Kpi>,
    },
    Candles {
        as_of: Timestamp,
        symbol: &'a Symbol,
        interval: Interval,
        candles: Vec<Candle>,
        day: Option<Day>,
    },
    History {
        as_of: Timestamp,
        symbol: &'a Symbol,
        points: Vec<Point>,
    },
    Treemap {
        as_of: Timestamp,
        tiles: Vec<Tile>,
    },
    Health {
        as_of: Timestamp,
        status: Status,
        stale_after_seconds: u32,
        symbols: Vec<SymbolHealth>,
    },
}

/// When `question` was read, and its answer as JSON.
///
/// # Errors
/// [`GoldError`].
pub async fn read(
    warehouse: &Warehouse,
    question: &Question,
    stale_after_seconds: u32,
) -> Result<(Timestamp, String), GoldError> {
    // Whatever is loaded from now on may be lacking.
    let as_of = now();
    let answer = match question {
        Question::Kpi => Answer::Kpi { as_of, quotes: kpi(warehouse).await? },
        Question::Candles { symbol, interval } => {
            let candles = candles(warehouse, symbol, *interval).await?;
            let day = candles.last().map(|last| Day { date: last.date, trend_line: last.trend });
            Answer::Candles { as_of, symbol, interval: *interval, candles, day }
        }
        Question::History { symbol, limit } => {
            Answer::History { as_of, symbol, points: history(warehouse, symbol, *limit).await? }
        }
        Question::Treemap => Answer::Treemap { as_of, tiles: treemap(warehouse).await? },
        Question::Health => {
            let symbols = health(warehouse, as_of).await?;
            let freshest = symbols.iter().map(|one| one.freshness_seconds).reduce(f64::min);
            let status = match freshest {
                None => Status::Empty,
                Some(age) if age > f64::from(stale_after_seconds) => Status::Stale,
                Some(_) => Status::Ok,
            };
            Answer::Health { as_of, status, stale_after_seconds, symbols }
        }
    };
    Ok((as_of, serde_json::to_string(&answer).map_err(std::io::Error::from)?))
}

/// Now, in whole milliseconds.
fn now() -> Timestamp {
    let now = Timestamp::now();
    Timestamp::from_millisecond(now.as_millisecond()).unwrap_or(now)
}

async fn kpi(warehouse: &Warehouse) -> Result<Vec<Kpi>, GoldError> {
    let kpi = |row: &Row| {
        Ok(Kpi {
            symbol: row.get(0)?,
            price: row.get(1)?,
            change: row.optional(2)?,
            change_percent: row.optional(3)?,
            day_high: row.get(4)?,
            day_low: row.get(5)?,
            day_open: row.get(6)?,
            prev_close: row.get(7)?,
            market_time: row.seconds(8)?,
            market_time_us: row.get(9)?,
            fetched_at: row.millis(10)?,
        })
    };
    rows(warehouse, &statements::KPI, &[], kpi).await
}

async fn candles(
    warehouse: &Warehouse,
    symbol: &Symbol,
    interval: Interval,
) -> Result<Vec<Candle>, GoldError> {
    let (minutes, dates) = match interval {
        Interval::Day => return daily(warehouse, symbol).await,
        Interval::FiveMinutes => (5, 5),
        Interval::Minute => (1, 2),
    };
    let daily = daily(warehouse, symbol).await?;
    let Some(first) = daily.get(daily.len().saturating_sub(dates)) else { return Ok(Vec::new()) };
    let parameters = [
        Parameter::string("symbol", symbol.to_string()),
        Parameter::int("interval_minutes", minutes),
        Parameter::date("first_date", first.date),
    ];
    let candle = |row: &Row| row.candle(CandleTime::Seconds(row.get(0)?));
    rows(warehouse, &statements::INTRADAY_CANDLES, &parameters, candle).await
}

/// The candles of the latest dates that have quotes; 12 at most.
async fn daily(warehouse: &Warehouse, symbol: &Symbol) -> Result<Vec<Candle>, GoldError> {
    let parameters = [Parameter::string("symbol", symbol.to_string())];
    let candle = |row: &Row| row.candle(CandleTime::Date(row.get(1)?));
    rows(warehouse, &statements::DAILY_CANDLES, &parameters, candle).await
}

async fn history(warehouse: &Warehouse, symbol: &Symbol, limit: u32) -> Result<Vec<Point>, GoldError> {
    let Some(first_date) = first_date(warehouse, symbol, limit).await? else { return Ok(Vec::new()) };
    let parameters = [
        Parameter::string("symbol", symbol.to_string()),
        Parameter::date("first_date", first_date),
        Parameter::int("limit", limit.into()),
    ];
    let point = |row: &Row| {
        Ok(Point { market_time: row.seconds(0)?, price: row.get(1)?, change_percent: row.optional(2)? })
    };
    rows(warehouse, &statements::HISTORY, &parameters, point).await
}

/// From which date on the symbol has `limit` quotes, so that not all partitions of its history are read; `None` where
/// it has no quotes.
async fn first_date(
    warehouse: &Warehouse,
    symbol: &Symbol,
    limit: u32,
) -> Result<Option<civil::Date>, GoldError> {
    let parameters = [Parameter::string("symbol", symbol.to_string())];
    let day = |row: &Row| Ok((row.get::<civil::Date>(0)?, row.get::<u64>(1)?));
    let days = rows(warehouse, &statements::QUOTES_BY_DATE, &parameters, day).await?;
    if days.is_empty() {
        return Ok(None);
    }
    let mut quotes = 0;
    let enough = days.into_iter().find(|(_, count)| {
        quotes += count;
        quotes >= limit.into()
    });
    // The table's dates do not suffice: a symbol with few quotes a day.
    Ok(Some(enough.map_or(civil::date(1, 1, 1), |(date, _)| date)))
}

async fn treemap(warehouse: &Warehouse) -> Result<Vec<Tile>, GoldError> {
    let tile = |row: &Row| {
        Ok(Tile {
            symbol: row.get(0)?,
            date: row.get(1)?,
            price: row.get(2)?,
            avg_price: row.get(3)?,
            change_percent: row.optional(4)?,
            volatility: row.get(5)?,
            relative_volatility: row.optional(6)?,
        })
    };
    rows(warehouse, &statements::TREEMAP, &[], tile).await
}

async fn health(warehouse: &Warehouse, as_of: Timestamp) -> Result<Vec<SymbolHealth>, GoldError> {
    let symbol = |row: &Row| {
        let last_fetched_at = row.millis(1)?;
        Ok(SymbolHealth {
            symbol: row.get(0)?,
            last_fetched_at,
            last_loaded_at: row.optional_millis(2)?,
            last_market_time: row.optional_millis(3)?,
            freshness_seconds: as_of.duration_since(last_fetched_at).as_secs_f64().max(0.0),
            quotes_per_minute: row.get(4)?,
            rejected_share: row.optional(5)?,
        })
    };
    rows(warehouse, &statements::HEALTH, &[], symbol).await
}

/// The rows that the statement gives; none where its table is not there yet.
async fn rows<T>(
    warehouse: &Warehouse,
    statement: &Statement,
    parameters: &[Parameter],
    decode: impl Fn(&Row) -> Result<T, GoldError>,
) -> Result<Vec<T>, GoldError> {
    let backoff = ConstantBuilder::default().with_delay(REPLACING).with_max_times(REPLACING_TRIES);
    let answer = (|| warehouse.run(statement, parameters)).retry(backoff).when(is_missing).await;
    let rows = match answer {
        Err(error) if is_missing(&error) => {
            tracing::info!("before the first run of dbt: {error}");
            Vec::new()
        }
        answer => answer?.rows,
    };
    rows.into_iter().map(|values| decode(&Row { statement: statement.name(), values })).collect()
}

fn is_missing(error: &WarehouseError) -> bool {
    matches!(error, WarehouseError::Refused { code: 404, .. })
}

/// A row, its values as BigQuery's text.
struct Row {
    statement: &'static str,
    values: Vec<Option<String>>,
}

impl Row {
    fn optional<T: FromStr>(&self, column: usize) -> Result<Option<T>, GoldError> {
        let Some(text) = self.values.get(column).and_then(Option::as_deref) else { return Ok(None) };
        text.parse().map(Some).map_err(|_| self.wrong(column))
    }

    fn get<T: FromStr>(&self, column: usize) -> Result<T, GoldError> {
        self.optional(column)?.ok_or_else(|| self.wrong(column))
    }

    fn optional_millis(&self, column: usize) -> Result<Option<Timestamp>, GoldError> {
        let time = self.optional(column)?.map(Timestamp::from_millisecond);
        time.transpose().map_err(|_| self.wrong(column))
    }

    fn millis(&self, column: usize) -> Result<Timestamp, GoldError> {
        self.optional_millis(column)?.ok_or_else(|| self.wrong(column))
    }

    fn seconds(&self, column: usize) -> Result<Timestamp, GoldError> {
        Timestamp::from_second(self.get(column)?).map_err(|_| self.wrong(column))
    }

    /// The candle in the columns 1 to 6.
    fn candle(&self, time: CandleTime) -> Result<Candle, GoldError> {
        Ok(Candle {
            time,
            date: self.get(1)?,
            open: self.get(2)?,
            high: self.get(3)?,
            low: self.get(4)?,
            close: self.get(5)?,
            trend: self.optional(6)?,
        })
    }

    fn wrong(&self, column: usize) -> GoldError {
        GoldError::Value {
            statement: self.statement,
            column,
            value: self.values.get(column).cloned().flatten(),
        }
    }
}
