//! How fresh the warehouse is.

use std::time::Instant;

use jiff::{Timestamp, civil::Date};
use serde::Serialize;
use warehouse::statements::Statement;

use super::kpi::{self, Kpi};
use crate::{
    market::{self, Hours},
    parameters::Query,
    problem::Problem,
    question::{AnswerError, Answered, Context, Question},
    reads::{Known, Pace, Read, ReadError, now},
    rows::{Row, Unusable, is_future},
};

warehouse::statements! {
    /// How fresh each symbol is. The times are of one quote, the latest valid one; only a symbol that never had one
    /// has the time of its latest fetch.
    HEALTH, "gold_pipeline_health", (),
    "SELECT health.symbol, UNIX_MILLIS(COALESCE(latest.fetched_at, health.last_fetched_at)) AS fetched_millis,
       UNIX_MILLIS(latest.loaded_at) AS loaded_millis, UNIX_MILLIS(latest.market_time_utc) AS market_millis,
       health.quotes_per_minute, health.rejected_share
     FROM `{dataset}_gold.gold_pipeline_health` AS health
     LEFT JOIN `{dataset}_gold.gold_kpi` AS latest ON health.symbol = latest.symbol
     ORDER BY health.symbol";
}

static READ: Read<Arrival> = Read { statement: HEALTH, pace: Pace::Charts, decode: arrival };

/// How a symbol's quotes arrive.
#[derive(Clone)]
pub struct Arrival {
    symbol: String,
    fetched_at: Option<Timestamp>,
    loaded_at: Option<Timestamp>,
    market_time: Option<Timestamp>,
    pub quotes_per_minute: Option<f64>,
    rejected_share: Option<f64>,
}

/// Only the symbol is required. If other values are missing, the page shows that.
fn arrival(row: &Row) -> Result<Arrival, Unusable> {
    Ok(Arrival {
        symbol: row.get("symbol")?,
        fetched_at: row.optional_millis("fetched_millis")?,
        loaded_at: row.optional_millis("loaded_millis")?,
        market_time: row.optional_millis("market_millis")?,
        quotes_per_minute: row.optional_number("quotes_per_minute")?,
        rejected_share: row.optional_number("rejected_share")?,
    })
}

/// How each symbol's quotes arrive.
pub async fn arrivals(context: &Context, until: Instant) -> Result<Known<Arrival>, ReadError> {
    context.read(&READ, Vec::new(), until).await
}

#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct HealthQuestion {
    /// Whether the age of each symbol's latest quote is in the answer. It changes by itself, so that a snapshot leaves it out.
    #[cfg_attr(test, schemars(skip))]
    pub has_age: bool,
}

/// How fresh the warehouse is.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct HealthAnswer {
    pub status: Status,
    /// Age of a symbol's latest quote, in seconds, from which on it is stale.
    #[cfg_attr(test, schemars(range(min = 1)))]
    pub stale_after_seconds: i64,
    pub market: Market,
    /// One for each symbol; empty before the first quote.
    pub symbols: Vec<SymbolHealth>,
}

// Ordered from good to bad, because the whole has the state of its worst symbol.
/// closed: the market is closed, and quotes came until its end; ok: quotes come; stale: no quote was fetched for more than
/// `stale_after_seconds` while the market was open; unknown: there is no usable time of the latest quote, or one in the future;
/// empty: there has been no quote. The whole has the worst of its symbols' states.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub enum Status {
    Closed,
    Ok,
    Stale,
    Unknown,
    Empty,
}

/// What the quotes are of. US stocks trade by New York's calendar; a symbol with an exchange (BINANCE:BTCUSDT) trades always.
#[derive(Serialize)]
#[serde(tag = "state", rename_all = "lowercase")]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub enum Market {
    Recording {
        /// How much faster than the market it is replayed.
        speed: f64,
        /// The New York date that is replayed; null before the first quote.
        date: Option<Date>,
    },
    Open {
        /// When it closes; null for markets that never do. RFC 3339, UTC.
        closes_at: Option<Timestamp>,
    },
    Closed {
        /// When it opens again. RFC 3339, UTC.
        next_open: Timestamp,
        /// The holiday for which it is closed today; null without one.
        holiday: Option<String>,
    },
}

/// The state of one symbol's quotes.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct SymbolHealth {
    #[cfg_attr(test, schemars(with = "crate::openapi::Symbol"))]
    symbol: String,
    status: Status,
    /// Why the status is unknown; else null.
    reason: Option<&'static str>,
    /// When its latest valid quote was fetched; of a symbol that never had one, its latest quote; null if unknown.
    /// RFC 3339, UTC.
    last_fetched_at: Option<Timestamp>,
    /// When that quote was loaded into bronze; null if it has no valid one. RFC 3339, UTC.
    last_loaded_at: Option<Timestamp>,
    /// When that quote's price was traded; null if it has no valid one. RFC 3339, UTC.
    last_market_time: Option<Timestamp>,
    /// Age of that quote now, in whole seconds; null if unknown. A snapshot leaves it out.
    #[serde(skip_serializing_if = "Age::is_left_out")]
    #[cfg_attr(test, schemars(with = "Option<i64>"))]
    freshness_seconds: Age,
    /// Quotes a minute over the latest minutes; null if unknown.
    quotes_per_minute: Option<f64>,
    /// Share of its latest quotes that broke a rule, from 0 to 1; null if there are none.
    #[cfg_attr(test, schemars(range(max = 1)))]
    rejected_share: Option<f64>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Age {
    Seconds(i64),
    Unknown,
    LeftOut,
}

impl Age {
    fn is_left_out(&self) -> bool {
        matches!(self, Self::LeftOut)
    }
}

impl Question for HealthQuestion {
    const NAME: &'static str = "health";
    const STATEMENTS: &'static [Statement] = ALL;
    type Answer = HealthAnswer;

    fn parse(_: &Query) -> Result<Self, Problem> {
        Ok(Self { has_age: true })
    }

    async fn answer(&self, context: &Context, until: Instant) -> Result<Answered<HealthAnswer>, AnswerError> {
        let quotes = kpi::latest(context, until).await?.figures;
        let Known { figures: arrivals, as_of } = arrivals(context, until).await?;
        let now = now();
        let reported = match &context.flow {
            Some(flow) => flow.report().await.and_then(|report| report.market),
            None => None,
        };
        let hours = if context.recording_speed.is_some() {
            None
        } else {
            market::hours(now, reported.as_ref().map(|status| status.is_open))
        };
        let symbols: Vec<SymbolHealth> = with_new_symbols(&arrivals, &quotes)
            .iter()
            .map(|arrival| {
                let quote = quotes.iter().find(|quote| quote.symbol == arrival.symbol);
                self.judge(context, arrival, quote, now, hours)
            })
            .collect();
        let status = symbols.iter().map(|symbol| symbol.status).max().unwrap_or(Status::Empty);
        let holiday = reported.and_then(|status| status.holiday);
        let market = market(context.recording_speed, &quotes, now, hours, holiday);
        let stale_after_seconds = context.stale_after.as_secs();
        let answer = HealthAnswer { status, stale_after_seconds, market, symbols };
        Ok(context.answered(answer, as_of, Pace::Tiles))
    }
}

impl HealthQuestion {
    fn judge(
        &self,
        context: &Context,
        arrival: &Arrival,
        quote: Option<&Kpi>,
        now: Timestamp,
        hours: Option<Hours>,
    ) -> SymbolHealth {
        // The tiles are read more often. Both times must be of the same quote: the tiles' quote, if that is newer.
        let newer = quote.filter(|quote| arrival.fetched_at.is_none_or(|known| quote.fetched_at > known));
        let (fetched_at, loaded_at, market_time) = match newer {
            Some(quote) => (Some(quote.fetched_at), quote.loaded_at, Some(quote.market_time)),
            None => (arrival.fetched_at, arrival.loaded_at, arrival.market_time),
        };
        let future = |time: Option<Timestamp>| time.is_some_and(|time| is_future(time, now));
        let reason = match fetched_at {
            None => Some("the time of its latest fetch is missing or unusable"),
            Some(_) if future(fetched_at) => Some("its latest quote was fetched in the future"),
            Some(_) if future(loaded_at) => Some("its latest quote was loaded in the future"),
            Some(_) => None,
        };
        let hours = hours.filter(|_| !arrival.symbol.contains(':'));
        let status = match (reason, fetched_at) {
            (None, Some(fetched_at)) => status(context, fetched_at, now, hours),
            _ => Status::Unknown,
        };
        let age = match (self.has_age, reason, fetched_at) {
            (false, _, _) => Age::LeftOut,
            // If a clock is a little ahead, the age is 0, not negative.
            (true, None, Some(fetched_at)) => Age::Seconds(now.duration_since(fetched_at).as_secs().max(0)),
            (true, _, _) => Age::Unknown,
        };
        SymbolHealth {
            symbol: arrival.symbol.clone(),
            status,
            reason,
            last_fetched_at: fetched_at,
            last_loaded_at: loaded_at,
            last_market_time: market_time,
            freshness_seconds: age,
            quotes_per_minute: arrival.quotes_per_minute,
            rejected_share: arrival.rejected_share,
        }
    }
}

/// The status of a symbol. Only time in which the market was open counts.
fn status(context: &Context, fetched_at: Timestamp, now: Timestamp, hours: Option<Hours>) -> Status {
    let Some(Hours { session, is_open, .. }) = hours else {
        let is_stale = now.duration_since(fetched_at) > context.stale_after;
        return if is_stale { Status::Stale } else { Status::Ok };
    };
    let until = if is_open { now } else { session.closes };
    let is_stale = until.duration_since(fetched_at.max(session.opens)) > context.stale_after;
    match (is_stale, is_open) {
        (true, _) => Status::Stale,
        (false, true) => Status::Ok,
        (false, false) => Status::Closed,
    }
}

fn market(
    recording_speed: Option<f64>,
    quotes: &[Kpi],
    now: Timestamp,
    hours: Option<Hours>,
    holiday: Option<String>,
) -> Market {
    if let Some(speed) = recording_speed {
        let newest = quotes.iter().max_by_key(|quote| quote.fetched_at);
        let date = newest.and_then(|quote| quote.market_time_us.get(..10)?.parse().ok());
        return Market::Recording { speed, date };
    }
    let never_closes = !quotes.is_empty() && quotes.iter().all(|quote| quote.symbol.contains(':'));
    match hours.filter(|_| !never_closes) {
        None => Market::Open { closes_at: None },
        Some(hours) if hours.is_open => {
            Market::Open { closes_at: Some(hours.session.closes).filter(|closes| *closes > now) }
        }
        Some(hours) => {
            let known = || hours.holiday.map(str::to_owned);
            Market::Closed { next_open: hours.next_open, holiday: holiday.or_else(known) }
        }
    }
}

/// Adds symbols that only the tiles have yet, because the tiles are read more often.
fn with_new_symbols(arrivals: &[Arrival], quotes: &[Kpi]) -> Vec<Arrival> {
    if arrivals.len() >= quotes.len() {
        return arrivals.to_vec();
    }
    let is_new = |quote: &&Kpi| arrivals.iter().all(|arrival| arrival.symbol != quote.symbol);
    let new = quotes.iter().filter(is_new).map(|quote| Arrival {
        symbol: quote.symbol.clone(),
        fetched_at: Some(quote.fetched_at),
        loaded_at: quote.loaded_at,
        market_time: Some(quote.market_time),
        quotes_per_minute: None,
        rejected_share: None,
    });
    let mut all: Vec<Arrival> = arrivals.iter().cloned().chain(new).collect();
    all.sort_by(|one, other| one.symbol.cmp(&other.symbol));
    all
}

#[cfg(test)]
impl crate::openapi::Examples for HealthQuestion {
    fn examples() -> Vec<(&'static str, HealthAnswer)> {
        let time = |text: &str| text.parse().ok();
        let of = |status, symbols| HealthAnswer {
            status,
            stale_after_seconds: 60,
            market: Market::Open { closes_at: time("2026-08-03T20:00:00Z") },
            symbols,
        };
        let symbol = SymbolHealth {
            symbol: "AAPL".to_owned(),
            status: Status::Ok,
            reason: None,
            last_fetched_at: time("2026-08-03T14:05:06Z"),
            last_loaded_at: time("2026-08-03T14:05:08Z"),
            last_market_time: time("2019-02-15T20:59:58Z"),
            freshness_seconds: Age::Seconds(6),
            quotes_per_minute: Some(10.0),
            rejected_share: Some(0.0),
        };
        vec![("fresh", of(Status::Ok, vec![symbol])), ("no quotes yet", of(Status::Empty, Vec::new()))]
    }
}
