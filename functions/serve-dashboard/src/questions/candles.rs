//! A symbol's candles.

use std::time::Instant;

use jiff::{Timestamp, civil::Date};
use quotes::Symbol;
use serde::Serialize;
use warehouse::{Parameter, statements::Statement};

use crate::{
    candle::{self, Candle, CandleTime, Interval, Range},
    parameters::Query,
    problem::Problem,
    question::{AnswerError, Answered, Context, Question},
    reads::{Known, Pace, Read, ReadError},
    rows::{Row, Unusable},
};

warehouse::statements! {
    /// A symbol's candles of a part of a day, from a market date on.
    INTRADAY_CANDLES, "gold_candlestick_intraday", (symbol: STRING, interval_minutes: INT64, first_date: DATE),
    "SELECT UNIX_SECONDS(candle_start_utc) AS start_second, market_date, candle_open, candle_high, candle_low,
       candle_close, trend_line, quotes
     FROM `{dataset}_gold.gold_candlestick_intraday`
     WHERE symbol = @symbol AND interval_minutes = @interval_minutes AND market_date >= @first_date
     ORDER BY candle_start_utc";

    /// A symbol's candles of the latest dates that have quotes; 12 at most.
    DAILY_CANDLES, "gold_candlestick", (symbol: STRING),
    "SELECT candle_date AS market_date, candle_open, candle_high, candle_low, candle_close, trend_line, quotes
     FROM `{dataset}_gold.gold_candlestick`
     WHERE symbol = @symbol
     ORDER BY candle_date";
}

static DAILY: Read<Candle> = Read {
    statement: DAILY_CANDLES,
    pace: Pace::Days,
    decode: |row| candle(row, CandleTime::Date(row.get("market_date")?)),
};
static INTRADAY: Read<Candle> = Read {
    statement: INTRADAY_CANDLES,
    pace: Pace::Charts,
    decode: |row| candle(row, CandleTime::Seconds(row.get("start_second")?)),
};

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

/// A symbol's latest dates that have quotes.
pub async fn daily(context: &Context, symbol: &Symbol, until: Instant) -> Result<Known<Candle>, ReadError> {
    context.read(&DAILY, vec![Parameter::string("symbol", symbol.to_string())], until).await
}

#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct CandlesQuestion {
    /// Whose figures.
    #[cfg_attr(test, schemars(with = "crate::openapi::Symbol"))]
    pub symbol: Symbol,
    /// Length of a candle; left out: the shortest that the quotes fill with at least 30 candles.
    pub interval: Option<Interval>,
    /// How many dates; left out: what suits the interval, or the quotes.
    pub range: Option<Range>,
}

/// A symbol's candles, oldest first.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct CandlesAnswer {
    #[cfg_attr(test, schemars(with = "crate::openapi::Symbol"))]
    pub symbol: Symbol,
    pub interval: Interval,
    /// The range that is shown; null if only an interval was requested.
    pub range: Option<Range>,
    /// Only buckets with quotes: closed hours have none. Ascending; empty for a symbol without quotes.
    pub candles: Vec<Candle>,
    /// The latest candle's day; null without candles.
    pub day: Option<Day>,
}

/// The New York day of the latest candle.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Day {
    /// New York date.
    pub date: Date,
    /// Mean of the day's observed prices; null if unknown. In the instrument's currency.
    #[cfg_attr(test, schemars(extend("exclusiveMinimum" = 0)))]
    pub trend_line: Option<f64>,
}

impl Question for CandlesQuestion {
    const NAME: &'static str = "candles";
    const STATEMENTS: &'static [Statement] = ALL;
    type Answer = CandlesAnswer;

    fn parse(query: &Query) -> Result<Self, Problem> {
        Ok(Self {
            symbol: query.symbol()?,
            interval: query.one_of("interval", &Interval::ALL)?,
            range: query.one_of("range", &Range::ALL)?,
        })
    }

    async fn answer(
        &self,
        context: &Context,
        until: Instant,
    ) -> Result<Answered<CandlesAnswer>, AnswerError> {
        let (candles, as_of) = self.chosen(context, until).await?;
        Ok(context.answered(candles, as_of, Pace::Charts))
    }
}

impl CandlesQuestion {
    /// The candles, and the time up to which all loaded quotes are in them.
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn chosen(
        &self,
        context: &Context,
        until: Instant,
    ) -> Result<(CandlesAnswer, Timestamp), ReadError> {
        let Known { figures: daily, mut as_of } = daily(context, &self.symbol, until).await?;
        let mut of = async |minutes, dates: usize| {
            let Some(first) = daily.get(daily.len().saturating_sub(dates)) else { return Ok(Vec::new()) };
            let parameters = vec![
                Parameter::string("symbol", self.symbol.to_string()),
                Parameter::int("interval_minutes", minutes),
                Parameter::date("first_date", first.date),
            ];
            let known = context.read(&INTRADAY, parameters, until).await?;
            as_of = known.as_of;
            Ok::<_, ReadError>(candle::latest_dates(&known.figures, dates))
        };
        let (range, interval, candles) = match (self.range, self.interval) {
            (range, Some(Interval::Day)) => {
                (range, Interval::Day, candle::latest_dates(&daily, range.map_or(12, Range::dates)))
            }
            (range, Some(interval)) => {
                let dates = range.map_or_else(|| interval.dates(), Range::dates);
                // A chart can show at most a week of minutes.
                let (minutes, dates) =
                    if interval == Interval::Minute { (1, dates.min(5)) } else { (5, dates) };
                let candles = of(if range == Some(Range::Day) { 1 } else { minutes }, dates).await?;
                (range, interval, candle::merged(&candles, interval.seconds().unwrap_or(60)))
            }
            (Some(range), None) => {
                let minutes = if range == Range::Day { 1 } else { 5 };
                let candles = of(minutes, range.dates()).await?;
                suitable(range, &candles, &daily)
            }
            (None, None) => {
                let of_day = of(1, 1).await?;
                let mut shown = (Range::Day, of_day);
                if !candle::is_enough(&shown.1) && daily.len() > 1 {
                    let of_week = of(5, Range::Week.dates()).await?;
                    if candle::is_enough(&of_week) {
                        shown = (Range::Week, of_week);
                    }
                }
                suitable(shown.0, &shown.1, &daily)
            }
        };
        let day = candles.last().map(|last| Day { date: last.date, trend_line: last.trend });
        Ok((CandlesAnswer { symbol: self.symbol.clone(), interval, range, candles, day }, as_of))
    }
}

fn suitable(range: Range, candles: &[Candle], daily: &[Candle]) -> (Option<Range>, Interval, Vec<Candle>) {
    let daily = candle::latest_dates(daily, range.dates());
    let interval = candle::suitable(range, candles, &daily);
    let candles = match interval.seconds() {
        Some(seconds) => candle::merged(candles, seconds),
        None => daily,
    };
    (Some(range), interval, candles)
}

#[cfg(test)]
impl crate::openapi::Examples for CandlesQuestion {
    fn examples() -> Vec<(&'static str, CandlesAnswer)> {
        let date = |text: &str| text.parse().unwrap();
        let candle = |time, date, [open, high, low, close, trend]: [f64; 5]| Candle {
            time,
            date,
            open,
            high,
            low,
            close,
            trend: Some(trend),
            quotes: 10,
        };
        let daily = |text, prices| candle(CandleTime::Date(date(text)), date(text), prices);
        let of = |symbol: &str, interval, candles: Vec<Candle>| {
            let day = candles.last().map(|last| Day { date: last.date, trend_line: last.trend });
            CandlesAnswer { symbol: symbol.parse().unwrap(), interval, range: None, candles, day }
        };
        let days = vec![
            daily("2019-02-14", [169.71, 171.2615, 169.38, 170.8, 170.4]),
            daily("2019-02-15", [171.25, 171.7, 169.75, 170.42, 170.51]),
        ];
        let start = CandleTime::Seconds(1_550_264_100);
        let minutes = vec![candle(start, date("2019-02-15"), [170.61, 170.7, 170.3, 170.42, 170.51])];
        vec![
            ("1d", of("AAPL", Interval::Day, days)),
            ("5m", of("AAPL", Interval::FiveMinutes, minutes)),
            ("no quotes of this symbol", of("NONE", Interval::Day, Vec::new())),
        ]
    }
}
