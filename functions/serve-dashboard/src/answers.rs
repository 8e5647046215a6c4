//! The answers of openapi.json, made of the figures that were read. No body depends on the clock but for a state that
//! changes with it: what did not change has the same bytes.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use jiff::{SignedDuration, Timestamp, civil::Date};
use quotes::Symbol;
use serde::Serialize;
use serde_json::value::RawValue;

use crate::{
    chart,
    gold::{Arrival, Candle, Figures, Kpi, Point, Read, Tile, is_future},
    market::{self, Hours},
    pipeline::{Flow, PipelineAnswer},
    question::{Candles, Interval, Question, Range, Snapshot},
    reads::{ReadError, Reads, now},
};

/// The most points of a sparkline.
const POINTS: usize = 40;

/// What is known of the deployment.
#[derive(Debug, Clone, Copy)]
pub struct Setting {
    pub stale_after: SignedDuration,
    /// How much faster than the market a recording is replayed; `None`: no recording.
    pub recording_speed: Option<f64>,
}

/// An answer's JSON.
pub struct Answered {
    pub json: String,
    /// Up to when all that was loaded is in it; of a snapshot, of each part.
    pub as_of: String,
    /// How long it may be used.
    pub lifetime: SignedDuration,
}

#[derive(Serialize)]
struct CandlesAnswer {
    symbol: Symbol,
    interval: Interval,
    range: Option<Range>,
    candles: Vec<Candle>,
    day: Option<Day>,
}

#[derive(Serialize)]
struct Day {
    date: Date,
    trend_line: Option<f64>,
}

#[derive(Serialize)]
struct KpiAnswer<'a> {
    quotes: &'a [Kpi],
}

#[derive(Serialize)]
struct HistoryAnswer<'a> {
    symbol: &'a Symbol,
    points: &'a [Point],
}

#[derive(Serialize)]
struct TreemapAnswer<'a> {
    tiles: &'a [Tile],
}

#[derive(Serialize)]
struct SparklinesAnswer {
    symbols: Vec<Sparkline>,
}

#[derive(Serialize)]
struct Sparkline {
    symbol: String,
    closes: Vec<f64>,
}

#[derive(Serialize)]
struct HealthAnswer {
    status: Status,
    stale_after_seconds: i64,
    market: Market,
    symbols: Vec<SymbolHealth>,
}

/// From good to bad: the whole has the state of its worst symbol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
enum Status {
    Closed,
    Ok,
    Stale,
    Unknown,
    Empty,
}

#[derive(Serialize)]
#[serde(tag = "state", rename_all = "lowercase")]
enum Market {
    Recording { speed: f64, date: Option<Date> },
    Open { closes_at: Option<Timestamp> },
    Closed { next_open: Timestamp, holiday: Option<String> },
}

#[derive(Serialize)]
struct SymbolHealth {
    symbol: String,
    status: Status,
    /// Why the status is `unknown`.
    reason: Option<&'static str>,
    last_fetched_at: Option<Timestamp>,
    last_loaded_at: Option<Timestamp>,
    last_market_time: Option<Timestamp>,
    #[serde(skip_serializing_if = "Age::is_left_out")]
    freshness_seconds: Age,
    quotes_per_minute: Option<f64>,
    rejected_share: Option<f64>,
}

/// The age of a symbol's latest quote. It changes by itself, so that a snapshot leaves it out.
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

#[derive(Serialize)]
struct SnapshotAnswer {
    symbol: Option<String>,
    kpi: Option<Box<RawValue>>,
    candles: Option<Box<RawValue>>,
    compared: Option<Box<RawValue>>,
    treemap: Option<Box<RawValue>>,
    sparklines: Option<Box<RawValue>>,
    health: Option<Box<RawValue>>,
    pipeline: Option<Box<RawValue>>,
    /// The parts that are not there, and why.
    missing: BTreeMap<&'static str, &'static str>,
}

/// Answers questions with what [`Reads`] has.
pub struct Answers {
    reads: Reads,
    flow: Option<Flow>,
    setting: Setting,
}

/// A part of a snapshot, or all of an answer.
struct Part {
    json: Box<RawValue>,
    as_of: Timestamp,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum AnswerError {
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error("the answer cannot be written")]
    Write(#[from] serde_json::Error),
}

impl function_kit::Retry for AnswerError {
    fn is_retryable(&self) -> bool {
        matches!(self, Self::Read(error) if error.is_retryable())
    }
}

impl AnswerError {
    /// Whether it was logged when it happened.
    pub fn is_known(&self) -> bool {
        matches!(self, Self::Read(ReadError::Pausing(_)))
    }
}

impl Answers {
    /// `flow` gives the pipeline's figures, if it measures them.
    pub fn new(reads: Reads, flow: Option<Flow>, setting: Setting) -> Self {
        Self { reads, flow, setting }
    }

    /// The answer to `question`, for which the warehouse may take `patience`; a snapshot is given without the parts that
    /// take longer.
    ///
    /// # Errors
    /// [`AnswerError`]; of a snapshot, where no part is there and one of them will not come by itself.
    pub async fn answer(&self, question: &Question, patience: Duration) -> Result<Answered, AnswerError> {
        let until = Instant::now() + patience;
        let (part, read) = match question {
            Question::Snapshot(snapshot) => return Box::pin(self.snapshot(snapshot, until)).await,
            Question::Kpi => (self.kpi(until).await?, Read::Kpi),
            Question::Treemap => (self.treemap(until).await?, Read::Treemap),
            Question::Health => (self.health(until, true).await?, Read::Kpi),
            Question::Pipeline => (self.pipeline(until).await?, Read::Kpi),
            Question::Sparklines => (self.sparklines(until).await?, Read::Treemap),
            Question::Candles(candles) => (self.candles(candles, until).await?, Read::Treemap),
            Question::History { symbol, limit } => {
                (self.history(symbol, *limit, until).await?, Read::Treemap)
            }
        };
        let (json, as_of) = (part.json.get().to_owned(), part.as_of.to_string());
        Ok(Answered { json, as_of, lifetime: self.left(&read) })
    }

    /// How long it takes until `read` is asked again.
    fn left(&self, read: &Read) -> SignedDuration {
        let pace = self.reads.pace(read);
        let length = i64::try_from(pace.as_millis()).unwrap_or(i64::MAX);
        if length == 0 {
            return SignedDuration::ZERO;
        }
        SignedDuration::from_millis(length - now().as_millisecond() % length)
    }

    async fn get(&self, read: &Read, until: Instant) -> Result<(Arc<Figures>, Timestamp), ReadError> {
        let known = Box::pin(self.reads.get(read, until)).await?;
        Ok((known.figures, known.as_of))
    }

    async fn snapshot(&self, asked: &Snapshot, until: Instant) -> Result<Answered, AnswerError> {
        let (kpi, treemap, sparklines, health, pipeline, (symbol, candles), compared) = tokio::join!(
            self.kpi(until),
            self.treemap(until),
            self.sparklines(until),
            self.health(until, false),
            self.pipeline(until),
            self.chart(asked, until),
            self.compared(asked, until)
        );
        let parts = [
            ("kpi", kpi),
            ("treemap", treemap),
            ("sparklines", sparklines),
            ("health", health),
            ("pipeline", pipeline),
            ("candles", candles),
            ("compared", compared),
        ];
        let mut present = BTreeMap::new();
        let mut missing = BTreeMap::new();
        let mut failure = None;
        for (name, part) in parts {
            match part {
                Ok(part) => {
                    present.insert(name, part);
                }
                Err(error) => {
                    crate::log(&error);
                    if matches!(error, AnswerError::Read(ReadError::Late { .. })) {
                        missing.insert(name, "it is still being read");
                    } else {
                        missing.insert(name, "the warehouse does not answer");
                        failure = Some(error);
                    }
                }
            }
        }
        // Neither a comparison with nobody nor the flow's state is a figure of the warehouse.
        let is_other = |name: &&str| ["compared", "pipeline"].contains(name);
        if let (Some(failure), true) = (failure, present.keys().all(is_other)) {
            return Err(failure);
        }
        let lifetime = if missing.is_empty() { self.left(&Read::Kpi) } else { SignedDuration::from_secs(1) };
        let as_of: Vec<String> =
            present.iter().map(|(name, part)| format!("{name}=\"{}\"", part.as_of)).collect();
        let mut take = |name| present.remove(name).map(|part| part.json);
        let answer = SnapshotAnswer {
            symbol: symbol.map(|symbol| symbol.to_string()),
            kpi: take("kpi"),
            candles: take("candles"),
            compared: take("compared"),
            treemap: take("treemap"),
            sparklines: take("sparklines"),
            health: take("health"),
            pipeline: take("pipeline"),
            missing,
        };
        Ok(Answered { json: serde_json::to_string(&answer)?, as_of: as_of.join(", "), lifetime })
    }

    async fn kpi(&self, until: Instant) -> Result<Part, AnswerError> {
        let (figures, as_of) = self.get(&Read::Kpi, until).await?;
        part(&KpiAnswer { quotes: kpis(&figures) }, as_of)
    }

    async fn treemap(&self, until: Instant) -> Result<Part, AnswerError> {
        let (figures, as_of) = self.get(&Read::Treemap, until).await?;
        let Figures::Tiles(tiles) = &*figures else { return part(&TreemapAnswer { tiles: &[] }, as_of) };
        part(&TreemapAnswer { tiles }, as_of)
    }

    /// The snapshot's candles, and of which symbol they are.
    async fn chart(&self, asked: &Snapshot, until: Instant) -> (Option<Symbol>, Result<Part, AnswerError>) {
        let symbol = match &asked.symbol {
            Some(symbol) => Some(symbol.clone()),
            None => match self.get(&Read::Kpi, until).await {
                Ok((figures, _)) => kpis(&figures).first().and_then(|quote| quote.symbol.parse().ok()),
                Err(error) => return (None, Err(error.into())),
            },
        };
        let Some(symbol) = symbol else {
            return (None, part(&None::<CandlesAnswer>, now()));
        };
        let candles = Candles { symbol: symbol.clone(), interval: asked.interval, range: asked.range };
        (Some(symbol), self.candles(&candles, until).await)
    }

    /// The candles of the symbols to compare with, of the interval and range of the chart's own.
    async fn compared(&self, asked: &Snapshot, until: Instant) -> Result<Part, AnswerError> {
        if asked.compared.is_empty() {
            return part(&[(); 0], now());
        }
        let mut answers = Vec::new();
        let (mut interval, mut range) = (asked.interval, asked.range);
        let mut as_of = now();
        if let (Some(symbol), true) = (&asked.symbol, interval.is_none() || range.is_none()) {
            let candles = Candles { symbol: symbol.clone(), interval, range };
            let (chosen, _) = self.chosen_candles(&candles, until).await?;
            (interval, range) = (Some(chosen.interval), chosen.range.or(range));
        }
        for symbol in &asked.compared {
            let candles = Candles { symbol: symbol.clone(), interval, range };
            let (answer, read_at) = self.chosen_candles(&candles, until).await?;
            as_of = as_of.min(read_at);
            answers.push(answer);
        }
        part(&answers, as_of)
    }

    async fn candles(&self, asked: &Candles, until: Instant) -> Result<Part, AnswerError> {
        let (answer, as_of) = self.chosen_candles(asked, until).await?;
        part(&answer, as_of)
    }

    async fn chosen_candles(
        &self,
        asked: &Candles,
        until: Instant,
    ) -> Result<(CandlesAnswer, Timestamp), AnswerError> {
        let symbol = asked.symbol.clone();
        let (daily, mut as_of) = self.get(&Read::Daily { symbol: symbol.clone() }, until).await?;
        let daily = candles_in(&daily);
        let mut of = async |minutes, dates: usize| {
            let Some(first) = daily.get(daily.len().saturating_sub(dates)) else { return Ok(Vec::new()) };
            let read = Read::Intraday { symbol: symbol.clone(), minutes, first_date: first.date };
            let (candles, read_at) = self.get(&read, until).await?;
            as_of = read_at;
            Ok::<_, ReadError>(chart::latest_dates(candles_in(&candles), dates))
        };
        let (range, interval, candles) = match (asked.range, asked.interval) {
            (range, Some(Interval::Day)) => {
                (range, Interval::Day, chart::latest_dates(daily, range.map_or(12, Range::dates)))
            }
            (range, Some(interval)) => {
                let dates = range.map_or_else(|| interval.dates(), Range::dates);
                // A week of minutes is as much as a chart can show.
                let (minutes, dates) =
                    if interval == Interval::Minute { (1, dates.min(5)) } else { (5, dates) };
                let candles = of(if range == Some(Range::Day) { 1 } else { minutes }, dates).await?;
                (range, interval, chart::merged(&candles, interval.seconds().unwrap_or(60)))
            }
            (Some(range), None) => {
                let minutes = if range == Range::Day { 1 } else { 5 };
                let candles = of(minutes, range.dates()).await?;
                chosen(range, &candles, daily)
            }
            (None, None) => {
                let of_day = of(1, 1).await?;
                let mut shown = (Range::Day, of_day);
                if !chart::is_enough(&shown.1) && daily.len() > 1 {
                    let of_week = of(5, Range::Week.dates()).await?;
                    if chart::is_enough(&of_week) {
                        shown = (Range::Week, of_week);
                    }
                }
                chosen(shown.0, &shown.1, daily)
            }
        };
        let day = candles.last().map(|last| Day { date: last.date, trend_line: last.trend });
        Ok((CandlesAnswer { symbol: asked.symbol.clone(), interval, range, candles, day }, as_of))
    }

    async fn history(&self, symbol: &Symbol, limit: u32, until: Instant) -> Result<Part, AnswerError> {
        let (daily, as_of) = self.get(&Read::Daily { symbol: symbol.clone() }, until).await?;
        let Some(first_date) = first_date(candles_in(&daily), limit) else {
            return part(&HistoryAnswer { symbol, points: &[] }, as_of);
        };
        let read = Read::History { symbol: symbol.clone(), first_date, limit };
        let (figures, as_of) = self.get(&read, until).await?;
        let Figures::Points(points) = &*figures else {
            return part(&HistoryAnswer { symbol, points: &[] }, as_of);
        };
        part(&HistoryAnswer { symbol, points }, as_of)
    }

    async fn sparklines(&self, until: Instant) -> Result<Part, AnswerError> {
        let (figures, as_of) = self.get(&Read::Kpi, until).await?;
        let dates =
            kpis(&figures).iter().filter_map(|quote| quote.market_time_us.get(..10)?.parse::<Date>().ok());
        let mut symbols: Vec<Sparkline> = Vec::new();
        // Over a long weekend the stocks' latest date is four days before that of a market that never closes.
        let Some(first_date) = dates.max().and_then(|date| date.checked_sub(jiff::Span::new().days(4)).ok())
        else {
            return part(&SparklinesAnswer { symbols }, as_of);
        };
        let (figures, as_of) = self.get(&Read::Closes { first_date }, until).await?;
        let Figures::Closes(closes) = &*figures else { return part(&SparklinesAnswer { symbols }, as_of) };
        for of_symbol in closes.chunk_by(|one, next| one.symbol == next.symbol) {
            let last = of_symbol.iter().map(|close| close.date).max();
            let closes: Vec<f64> =
                of_symbol.iter().filter(|close| Some(close.date) == last).map(|close| close.price).collect();
            // The newest one stays.
            let step = closes.len().div_ceil(POINTS).max(1);
            let mut points: Vec<f64> = closes.iter().rev().step_by(step).copied().collect();
            points.reverse();
            symbols.push(Sparkline { symbol: of_symbol[0].symbol.clone(), closes: points });
        }
        part(&SparklinesAnswer { symbols }, as_of)
    }

    /// The stations' figures: the flow's own, or else the warehouse's.
    async fn pipeline(&self, until: Instant) -> Result<Part, AnswerError> {
        if let Some(flow) = &self.flow
            && let Some(measured) = flow.measured().await
        {
            return part(&measured, now());
        }
        let (quotes, _) = self.get(&Read::Kpi, until).await?;
        let (arrivals, as_of) = self.get(&Read::Health, until).await?;
        let arrivals = if let Figures::Arrivals(arrivals) = &*arrivals { arrivals.as_slice() } else { &[] };
        let settled_at = self.reads.settled_at(until).await;
        part(&PipelineAnswer::of_warehouse(arrivals, kpis(&quotes), settled_at), as_of)
    }

    /// How fresh each symbol is, with its age where that is asked for.
    async fn health(&self, until: Instant, has_age: bool) -> Result<Part, AnswerError> {
        let kpi = self.get(&Read::Kpi, until).await?;
        let (figures, as_of) = self.get(&Read::Health, until).await?;
        let Figures::Arrivals(arrivals) = &*figures else { return part(&(), as_of) };
        let arrivals = with_new_symbols(arrivals, kpis(&kpi.0));
        let now = now();
        let reported = match &self.flow {
            Some(flow) => flow.market().await,
            None => None,
        };
        let hours = if self.setting.recording_speed.is_some() {
            None
        } else {
            market::hours(now, reported.as_ref().map(|status| status.is_open))
        };
        let symbols: Vec<SymbolHealth> = arrivals
            .iter()
            .map(|arrival| {
                // The tiles are read more often.
                let quote = kpis(&kpi.0).iter().find(|quote| quote.symbol == arrival.symbol);
                self.judge(arrival, quote, now, hours, has_age)
            })
            .collect();
        let status = symbols.iter().map(|symbol| symbol.status).max().unwrap_or(Status::Empty);
        let market = self.market(kpis(&kpi.0), now, hours, reported.and_then(|status| status.holiday));
        let stale_after_seconds = self.setting.stale_after.as_secs();
        part(&HealthAnswer { status, stale_after_seconds, market, symbols }, as_of)
    }

    fn judge(
        &self,
        arrival: &Arrival,
        quote: Option<&Kpi>,
        now: Timestamp,
        hours: Option<Hours>,
        has_age: bool,
    ) -> SymbolHealth {
        // Both times are of one quote: the tiles' where that is the newer one.
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
            (None, Some(fetched_at)) => self.status(fetched_at, now, hours),
            _ => Status::Unknown,
        };
        let age = match (has_age, reason, fetched_at) {
            (false, _, _) => Age::LeftOut,
            // A clock that is a little ahead makes no age below 0.
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

    /// Only the time in which the market was open counts.
    fn status(&self, fetched_at: Timestamp, now: Timestamp, hours: Option<Hours>) -> Status {
        let Some(Hours { session, is_open, .. }) = hours else {
            let is_stale = now.duration_since(fetched_at) > self.setting.stale_after;
            return if is_stale { Status::Stale } else { Status::Ok };
        };
        let until = if is_open { now } else { session.closes };
        let is_stale = until.duration_since(fetched_at.max(session.opens)) > self.setting.stale_after;
        match (is_stale, is_open) {
            (true, _) => Status::Stale,
            (false, true) => Status::Ok,
            (false, false) => Status::Closed,
        }
    }

    fn market(
        &self,
        quotes: &[Kpi],
        now: Timestamp,
        hours: Option<Hours>,
        holiday: Option<String>,
    ) -> Market {
        if let Some(speed) = self.setting.recording_speed {
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
}

fn part(answer: &impl Serialize, as_of: Timestamp) -> Result<Part, AnswerError> {
    Ok(Part { json: serde_json::value::to_raw_value(answer)?, as_of })
}

fn chosen(range: Range, candles: &[Candle], daily: &[Candle]) -> (Option<Range>, Interval, Vec<Candle>) {
    let daily = chart::latest_dates(daily, range.dates());
    let interval = chart::suitable(range, candles, &daily);
    let candles = match interval.seconds() {
        Some(seconds) => chart::merged(candles, seconds),
        None => daily,
    };
    (Some(range), interval, candles)
}

/// From which date on the symbol has `limit` quotes, so that not all partitions of its history are read; `None` where
/// it has no quotes.
fn first_date(daily: &[Candle], limit: u32) -> Option<Date> {
    let mut quotes = 0;
    let enough = daily.iter().rev().find(|day| {
        quotes += day.quotes;
        quotes >= limit.into()
    });
    // The dates do not suffice: a symbol with few quotes a day.
    daily.last()?;
    Some(enough.map_or(jiff::civil::date(1, 1, 1), |day| day.date))
}

/// The tiles are read more often: a symbol that only they have yet is not missing.
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

fn kpis(figures: &Figures) -> &[Kpi] {
    if let Figures::Kpi(quotes) = figures { quotes } else { &[] }
}

fn candles_in(figures: &Figures) -> &[Candle] {
    if let Figures::Candles(candles) = figures { candles } else { &[] }
}
