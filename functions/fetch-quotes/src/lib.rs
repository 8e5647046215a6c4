//! fetch-quotes: a schedule's event → a minute of Finnhub quotes → Kafka.
//!
//! One invocation polls every 6 seconds for a minute. Each poll requests every symbol at once and publishes
//! what comes. One symbol's failure never costs another its quote, one poll's never the next; what Kafka does
//! not acknowledge fails the invocation.

mod breaker;
mod config;
mod finnhub;
mod link;
mod msk_iam;
mod pace;
mod schedule;
mod security;
mod stream;
mod topic;

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Mutex,
    time::Duration,
};

use function_kit::{About, Retry, aws, chain, lock, metrics, time_left};
use futures::{StreamExt, stream as futures_stream};
use jiff::Timestamp;
use lambda_runtime::LambdaEvent;
use quotes::{Completeness, Quote, Symbol};
use serde::Serialize;
use tokio::{
    sync::OnceCell,
    time::{Instant, sleep_until},
};

pub use config::{Config, FinnhubConfig, KafkaConfig, Partitions, Polling};
pub use finnhub::{Finnhub, FinnhubClientError, MarketStatus, NoQuote};
pub use link::KafkaClientError;
pub use pace::Limits;
pub use schedule::{Plan, Schedule};
pub use security::{Authority, KafkaSecurity, SaslUser};
pub use stream::{Delivery, Stream, Undelivered};

/// What fetch-quotes does, and its variables.
pub const ABOUT: About = About {
    name: env!("CARGO_PKG_NAME"),
    purpose: "a schedule's event -> Finnhub quotes -> Kafka",
    variables: &[config::VARIABLES, aws::VARIABLES],
};

/// What is kept of the function's time for the last deliveries, besides what function-kit keeps.
const MARGIN: Duration = Duration::from_millis(4500);
/// What is kept of that for answering.
const ANSWER: Duration = Duration::from_millis(300);
/// How many requests run at the same time: enough to hide Finnhub's latency.
const CONCURRENCY: usize = 8;
/// How long the market's status is waited for: it delays the first poll.
const MARKET_STATUS: Duration = Duration::from_secs(2);
/// The least that a poll's requests may take, where polls are closer together than that.
const LEAST_POLL: Duration = Duration::from_secs(1);
/// How far a US symbol's last trade may be behind an open market. Busy symbols trade every second; this is
/// long enough for quiet ones, and short of the reported case: Friday's close during Monday's session.
const UNTRADED_AFTER: Duration = Duration::from_mins(15);
/// How often a closed market's symbols are polled, each time by another invocation: the official close comes some seconds
/// after the bell.
const CLOSING_ROUNDS: u32 = 2;
/// How many symbols an error names that have the same answer.
const NAMED: usize = 10;
/// A schedule that was away for so long was paused, not late.
const PAUSED: Duration = Duration::from_hours(1);

/// What an invocation did.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize)]
pub struct Outcome {
    /// Polls run.
    pub polls: u32,
    /// The US exchanges, by which their symbols were polled.
    pub us_market: Market,
    /// Quotes that Finnhub gave; each was handed to Kafka.
    pub fetched: u64,
    /// How many of them have numbers that are 0 or missing. Silver rejects them.
    pub partial: u64,
    /// How many of them have a last trade of more than 15 minutes ago although the market is open.
    pub untraded: u64,
    /// Quotes that Kafka acknowledged.
    pub published: u64,
    /// Quotes that Kafka did not acknowledge.
    pub undelivered: u64,
    /// How often a symbol's poll gave no quote, by reason; see [`NoQuote::reason`].
    pub failed: BTreeMap<&'static str, u64>,
    /// Whether the function's time ended before its polls did.
    pub cut_short: bool,
}

/// The state of the US exchanges.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Market {
    /// They trade.
    Open,
    /// They do not.
    Closed,
    /// Finnhub did not say. It counts as open: a poll too many costs nothing, a session missed is lost.
    #[default]
    Unknown,
}

/// Why an invocation failed.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// Kafka did not acknowledge every quote.
    #[error("Kafka did not acknowledge {undelivered} of {fetched} quotes")]
    Undelivered {
        /// How many it did not.
        undelivered: u64,
        /// How many there were.
        fetched: u64,
        /// The first of them.
        source: Undelivered,
    },
    /// Finnhub refused the key.
    #[error("Finnhub refused FINNHUB_API_KEY: {0}")]
    Refused(String),
    /// Finnhub takes the key and gave none of the configured symbols to it.
    #[error("FINNHUB_API_KEY may not read any of SYMBOLS: {0}")]
    NoAccess(String),
}

impl Retry for FetchError {
    fn is_retryable(&self) -> bool {
        matches!(self, Self::Undelivered { .. })
    }
}

/// The function. Its pace, its breaker and its memory last from one invocation to the next.
pub struct FetchQuotes {
    polling: Polling,
    finnhub: Finnhub,
    stream: Stream,
    connected: OnceCell<()>,
    memory: Mutex<Memory>,
}

/// What an invocation leaves to the next one.
#[derive(Default)]
struct Memory {
    /// How often each symbol has been polled since the market closed, or since the process began in a closed market.
    polled_closed: HashMap<Symbol, u32>,
    /// When the next poll is due; `None` if the market was closed.
    next_poll: Option<Timestamp>,
}

/// An invocation under way.
struct Run {
    outcome: Outcome,
    deliveries: Vec<Delivery>,
    /// The symbols of a closed market that have been polled.
    closed: HashSet<Symbol>,
    missed: Missed,
    /// A US symbol whose last trade was before it is untraded; in seconds since 1970, none while the market is not open.
    untraded_before: Option<i64>,
}

impl FetchQuotes {
    /// The function, polling `finnhub` and publishing to `stream`.
    #[must_use]
    pub fn new(polling: Polling, finnhub: Finnhub, stream: Stream) -> Self {
        Self { polling, finnhub, stream, connected: OnceCell::new(), memory: Mutex::default() }
    }

    /// Creates the topic if that is configured, and waits until the producer may send: once, for 6 s at most. The first
    /// invocation's polls wait for it. What keeps it from that is logged; the polls show whether Kafka takes quotes.
    pub async fn connect(&self) {
        self.connected.get_or_init(|| self.stream.connect()).await;
    }

    /// Runs the polls of one event. With 5 seconds left it stops polling and waits for Kafka.
    ///
    /// # Errors
    /// [`FetchError`] where Kafka did not acknowledge a quote or Finnhub refused the key; every poll has
    /// been run by then.
    pub async fn handle(&self, event: LambdaEvent<Schedule>) -> Result<Outcome, FetchError> {
        // Before the polls are planned, so that the first is not close to the second. Without polls, too: Terraform has
        // the topic created by such an event, and Lambda may freeze what goes on after the answer.
        self.connect().await;
        let left = time_left(&event.context);
        let end = Instant::now() + left.saturating_sub(ANSWER);
        let stop_at = Instant::now() + left.saturating_sub(MARGIN);
        let plan = event.payload.plan(Timestamp::now(), self.polling.interval, self.polling.polls());
        if plan.count == 0 {
            tracing::warn!(
                scheduled_time = event.payload.scheduled_time,
                "the event's minute is over: nothing is polled"
            );
            return Ok(Outcome::default());
        }
        let mut run = self.begin(stop_at).await;
        self.count_late(&event.payload, plan, &mut run);
        for (index, at) in plan.polls() {
            let symbols = self.due(run.outcome.us_market, index, &run.closed);
            // A closed market is not worth a minute of waiting.
            if symbols.is_empty() {
                break;
            }
            let start = Instant::now() + time_to(at);
            if start >= stop_at {
                run.outcome.cut_short = true;
                let left = plan.count - run.outcome.polls;
                run.count_unasked("no_time", u64::from(left) * symbols.len() as u64);
                break;
            }
            sleep_until(start).await;
            // The next poll is due then, and must not wait for this one.
            let until = Instant::now() + time_to(at + self.polling.interval).max(LEAST_POLL);
            self.poll(symbols, until.min(stop_at), &mut run).await;
        }
        self.finish(run, end).await
    }

    /// The symbols of poll number `index`. In a closed market each of its symbols is polled once in each of two
    /// invocations: for the official close, and so that a process that starts at night has the last prices. `closed` are
    /// those that this invocation has polled.
    fn due(&self, us_market: Market, index: u64, closed: &HashSet<Symbol>) -> Vec<Symbol> {
        let mut memory = lock(&self.memory);
        let symbols = &self.polling.symbols;
        if us_market != Market::Closed {
            memory.polled_closed.clear();
            return self.polling.turn(symbols, index).cloned().collect();
        }
        let always: Vec<Symbol> = symbols.iter().filter(|symbol| symbol.has_exchange()).cloned().collect();
        let rounds = &memory.polled_closed;
        let is_due = |symbol: &&Symbol| {
            let is_done = rounds.get(*symbol).is_some_and(|rounds| *rounds >= CLOSING_ROUNDS);
            !symbol.has_exchange() && !is_done && !closed.contains(*symbol)
        };
        let once = symbols.iter().filter(is_due).cloned();
        once.chain(self.polling.turn(&always, index).cloned()).take(self.polling.symbols_a_poll()).collect()
    }

    /// Counts the polls that no invocation ran, because the schedule's event came late or not at all.
    fn count_late(&self, event: &Schedule, plan: Plan, run: &mut Run) {
        let closed = run.outcome.us_market == Market::Closed;
        let after = plan.first + plan.interval * plan.count;
        let next = std::mem::replace(&mut lock(&self.memory).next_poll, (!closed).then_some(after));
        // Who says how many polls to run, and no time, is not the schedule.
        if closed || (event.polls.is_some() && event.scheduled().is_none()) {
            return;
        }
        let due = next.or(event.scheduled()).unwrap_or(plan.first);
        let late = Duration::try_from(plan.first.duration_since(due)).unwrap_or_default();
        if late >= PAUSED {
            return;
        }
        let polls = (late + plan.interval / 2).as_millis() / plan.interval.as_millis();
        let polls = u64::try_from(polls).unwrap_or_default();
        if polls > 0 {
            tracing::warn!(
                polls,
                late_seconds = late.as_secs(),
                "polls were missed: the schedule's event came late or not at all"
            );
            run.count_unasked("late", polls * self.polling.turn(&self.polling.symbols, 0).count() as u64);
        }
    }

    /// Asks for the market's status.
    async fn begin(&self, stop_at: Instant) -> Run {
        let status = self.finnhub.us_market(stop_at.min(Instant::now() + MARKET_STATUS)).await;
        let us_market = match &status {
            Ok(MarketStatus { is_open: true, .. }) => Market::Open,
            Ok(_) => Market::Closed,
            Err(error) => {
                tracing::warn!(
                    reason = error.reason(),
                    "polling without the market's status: {}",
                    chain(error)
                );
                Market::Unknown
            }
        };
        // By Finnhub's own clock: a trade's time is its too.
        let now = status.ok().filter(|status| status.is_open).and_then(|status| status.t);
        Run {
            outcome: Outcome { us_market, ..Outcome::default() },
            deliveries: Vec::new(),
            closed: HashSet::new(),
            missed: BTreeMap::new(),
            untraded_before: now.map(|now| now.saturating_sub_unsigned(UNTRADED_AFTER.as_secs())),
        }
    }

    /// Asks for each symbol and publishes what comes before `until`.
    async fn poll(&self, symbols: Vec<Symbol>, until: Instant, run: &mut Run) {
        run.outcome.polls += 1;
        let mut answers = futures_stream::iter(&symbols)
            .map(async |symbol| (symbol, self.finnhub.quote(symbol, until).await))
            .buffer_unordered(CONCURRENCY);
        while let Some((symbol, answer)) = answers.next().await {
            // What Finnhub has said stays until the market opens, except for the official close.
            if run.outcome.us_market == Market::Closed
                && matches!(
                    answer,
                    Ok(_) | Err(NoQuote::NoData | NoQuote::Refused { .. } | NoQuote::NoAccess { .. })
                )
            {
                *lock(&self.memory).polled_closed.entry(symbol.clone()).or_default() += 1;
                run.closed.insert(symbol.clone());
            }
            match answer {
                Ok(quote) => {
                    run.count(&quote);
                    // Kafka is not waited for here: a slow one must not delay the next poll.
                    run.deliveries.push(self.stream.send(&quote));
                }
                Err(error) => run.count_missed(symbol, &error),
            }
        }
    }

    /// Waits for Kafka and returns what was done.
    async fn finish(&self, run: Run, end: Instant) -> Result<Outcome, FetchError> {
        let Run { mut outcome, deliveries, missed, .. } = run;
        let mut first_undelivered = None;
        for delivery in deliveries {
            match self.stream.delivered(delivery, end.saturating_duration_since(Instant::now())).await {
                Ok(()) => outcome.published += 1,
                Err(error) => {
                    outcome.undelivered += 1;
                    tracing::error!(symbol = error.symbol, quote_id = %error.quote_id, "{error}");
                    first_undelivered = first_undelivered.or(Some(error));
                }
            }
        }
        for ((symbol, reason), (times, error)) in &missed {
            tracing::warn!(%symbol, reason, times, "no quote: {error}");
        }
        let Outcome {
            polls, us_market, fetched, partial, untraded, published, undelivered, cut_short, ..
        } = outcome;
        metrics::FETCHED.add(fetched);
        metrics::PARTIAL.add(partial);
        metrics::UNTRADED.add(untraded);
        metrics::PUBLISHED.add(published);
        metrics::UNDELIVERED.add(undelivered);
        for (reason, times) in &outcome.failed {
            metrics::MISSED.add(reason, *times);
        }
        let failed: u64 = outcome.failed.values().sum();
        let reasons = &outcome.failed;
        tracing::info!(
            polls,
            ?us_market,
            fetched,
            partial,
            untraded,
            published,
            undelivered,
            failed,
            ?reasons,
            cut_short,
            "polled"
        );
        let with = |reason| missed.keys().filter(|(_, other)| *other == reason).count();
        match first_undelivered {
            Some(source) => Err(FetchError::Undelivered { undelivered, fetched, source }),
            None if fetched == 0 && with("refused") > 0 => Err(FetchError::Refused(answers(&missed))),
            // One symbol that the key may not read says nothing about the symbols that were not requested or had another answer.
            None if fetched == 0 && with("no_access") == self.polling.symbols.len() => {
                Err(FetchError::NoAccess(answers(&missed)))
            }
            None => Ok(outcome),
        }
    }
}

/// Symbols that gave no quote, with how often and the last error, by reason.
type Missed = BTreeMap<(Symbol, &'static str), (u64, String)>;

/// Each symbol's answer; symbols with the same answer are listed together.
fn answers(missed: &Missed) -> String {
    let mut symbols: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for ((symbol, _), (_, error)) in missed {
        symbols.entry(error).or_default().push(symbol.as_str());
    }
    let told = symbols.into_iter().map(|(error, symbols)| match symbols.split_at_checked(NAMED) {
        Some((first, rest)) if !rest.is_empty() => {
            format!("{} and {} more: {error}", first.join(", "), rest.len())
        }
        _ => format!("{}: {error}", symbols.join(", ")),
    });
    told.collect::<Vec<_>>().join("; ")
}

/// From now to `at`; nothing where it is over.
fn time_to(at: Timestamp) -> Duration {
    Duration::try_from(at.duration_since(Timestamp::now())).unwrap_or_default()
}

impl Run {
    fn count(&mut self, quote: &Quote) {
        self.outcome.fetched += 1;
        self.outcome.partial += u64::from(quote.completeness() == Completeness::Partial);
        let traded_at = quote.market_time().ok().flatten();
        // Other markets have hours of their own, which Finnhub does not report.
        let untraded_before = self.untraded_before.filter(|_| !quote.symbol().has_exchange());
        let is_untraded =
            traded_at.zip(untraded_before).is_some_and(|(traded_at, before)| traded_at < before);
        self.outcome.untraded += u64::from(is_untraded);
    }

    /// Counts polls of symbols that were not requested.
    fn count_unasked(&mut self, reason: &'static str, times: u64) {
        *self.outcome.failed.entry(reason).or_default() += times;
    }

    fn count_missed(&mut self, symbol: &Symbol, error: &NoQuote) {
        let reason = error.reason();
        *self.outcome.failed.entry(reason).or_default() += 1;
        let (times, last) = self.missed.entry((symbol.clone(), reason)).or_default();
        *times += 1;
        *last = error.to_string();
    }
}
