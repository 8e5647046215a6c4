//! fetch-quotes: a schedule's event → a minute of Finnhub quotes → Kafka.
//!
//! One invocation polls every 6 seconds for a minute. Each poll asks for every symbol at once, publishes
//! what came, and waits until Kafka has acknowledged it. One symbol's failure never costs another its
//! quote; what is not acknowledged fails the invocation.

mod config;
mod finnhub;
mod schedule;
mod stream;

use std::{
    collections::BTreeMap,
    time::{Duration, SystemTime},
};

use function_kit::{Retry, chain};
use futures::{StreamExt, stream as futures_stream};
use jiff::Timestamp;
use lambda_runtime::LambdaEvent;
use quotes::Symbol;
use serde::Serialize;

pub use config::{Config, FinnhubConfig, KafkaConfig, Polling};
pub use finnhub::{Finnhub, FinnhubClientError, NoQuote};
pub use schedule::{Plan, Schedule};
pub use stream::{Delivery, Stream, Undelivered};

/// What `--help` prints.
pub const ABOUT: &str = "fetch-quotes: a schedule's event -> Finnhub quotes -> Kafka. A Lambda function: it is run by the \
     Lambda Runtime API (AWS_LAMBDA_RUNTIME_API) and configured by the environment: FINNHUB_API_KEY, \
     FINNHUB_BASE_URL, SYMBOLS, KAFKA_BOOTSTRAP_SERVERS, KAFKA_TOPIC, POLL_INTERVAL_SECONDS, \
     RATE_LIMIT_PER_MINUTE, LOG_LEVEL. See functions/fetch-quotes/README.md.";

/// What is kept of the function's time for the last deliveries.
const MARGIN: Duration = Duration::from_secs(5);
/// How many requests are under way at once: Finnhub takes 30 a second.
const CONCURRENCY: usize = 8;
/// How often a symbol is asked for in one poll.
const ATTEMPTS: u32 = 2;

/// What an invocation did.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize)]
pub struct Outcome {
    /// Polls run.
    pub polls: u32,
    /// Quotes that Finnhub gave.
    pub fetched: u64,
    /// Quotes that Kafka acknowledged.
    pub published: u64,
    /// Quotes that Kafka did not acknowledge.
    pub undelivered: u64,
    /// Requests that gave no quote, by reason.
    pub failed: BTreeMap<&'static str, u64>,
    /// Whether the function's time ended before its polls did.
    pub cut_short: bool,
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
    /// Finnhub refused the key for every symbol.
    #[error("Finnhub refused FINNHUB_API_KEY for every symbol ({0} requests)")]
    Refused(u64),
}

impl Retry for FetchError {
    fn is_retryable(&self) -> bool {
        matches!(self, Self::Undelivered { .. })
    }
}

/// The function.
pub struct FetchQuotes {
    polling: Polling,
    finnhub: Finnhub,
    stream: Stream,
}

impl FetchQuotes {
    /// The function, polling `finnhub` and publishing to `stream`.
    #[must_use]
    pub fn new(polling: Polling, finnhub: Finnhub, stream: Stream) -> Self {
        Self { polling, finnhub, stream }
    }

    /// Runs the polls of one event.
    ///
    /// # Errors
    /// [`FetchError`] where Kafka did not acknowledge a quote or Finnhub refused the key; every poll has
    /// been run by then.
    pub async fn handle(&self, event: LambdaEvent<Schedule>) -> Result<Outcome, FetchError> {
        let last_start = event.context.deadline() - MARGIN;
        let plan = event.payload.plan(Timestamp::now(), self.polling.interval, self.polling.polls());
        let mut outcome = Outcome::default();
        let mut first_undelivered = None;
        if plan.count == 0 {
            tracing::warn!(scheduled_time = event.payload.scheduled_time, "the event's minute is over");
            return Ok(outcome);
        }
        let us_is_open = self.us_market_is_open().await;
        for (index, at) in plan.polls() {
            if SystemTime::from(at) > last_start {
                outcome.cut_short = true;
                break;
            }
            let wait = Duration::try_from(at.duration_since(Timestamp::now())).unwrap_or_default();
            tokio::time::sleep(wait).await;
            let asked = self.polling.symbols_of(index).filter(|symbol| us_is_open || symbol.has_exchange());
            first_undelivered = first_undelivered.or(self.poll(asked, &mut outcome).await);
            outcome.polls += 1;
        }
        let Outcome { polls, fetched, published, undelivered, cut_short, .. } = outcome;
        let failed: u64 = outcome.failed.values().sum();
        tracing::info!(polls, fetched, published, undelivered, failed, cut_short, "polled");
        let refused = outcome.failed.get("refused").copied().unwrap_or_default();
        match first_undelivered {
            Some(source) => Err(FetchError::Undelivered { undelivered, fetched, source }),
            None if fetched == 0 && refused > 0 => Err(FetchError::Refused(refused)),
            None => Ok(outcome),
        }
    }

    /// An unknown state counts as open: a poll too many costs nothing, a session missed is lost.
    async fn us_market_is_open(&self) -> bool {
        self.finnhub.us_market_is_open().await.unwrap_or_else(|error| {
            tracing::warn!(reason = error.reason(), "polling without the market's status: {}", chain(&error));
            true
        })
    }

    /// Asks for every symbol and publishes what comes; returns the first quote that was not delivered.
    async fn poll(
        &self,
        symbols: impl Iterator<Item = &Symbol>,
        outcome: &mut Outcome,
    ) -> Option<Undelivered> {
        let mut deliveries = Vec::new();
        let mut answers =
            futures_stream::iter(symbols).map(|symbol| self.ask(symbol)).buffer_unordered(CONCURRENCY);
        while let Some((symbol, answer)) = answers.next().await {
            match answer {
                Ok(quote) => {
                    outcome.fetched += 1;
                    deliveries.push(self.stream.send(&quote));
                }
                Err(error) => {
                    *outcome.failed.entry(error.reason()).or_default() += 1;
                    tracing::warn!(%symbol, reason = error.reason(), "no quote: {}", chain(&error));
                }
            }
        }
        let mut first = None;
        for delivery in deliveries {
            match self.stream.delivered(delivery).await {
                Ok(()) => outcome.published += 1,
                Err(error) => {
                    outcome.undelivered += 1;
                    tracing::error!(symbol = error.symbol, "{error}");
                    first = first.or(Some(error));
                }
            }
        }
        first
    }

    async fn ask<'a>(&self, symbol: &'a Symbol) -> (&'a Symbol, Result<quotes::Quote, NoQuote>) {
        let mut answer = self.finnhub.quote(symbol).await;
        for _ in 1..ATTEMPTS {
            if !answer.as_ref().is_err_and(NoQuote::is_passing) {
                break;
            }
            answer = self.finnhub.quote(symbol).await;
        }
        (symbol, answer)
    }
}
