//! The client for Finnhub: quotes and the market's status.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use backon::{BackoffBuilder, ExponentialBuilder};
use function_kit::{Secret, chain, is_loopback, metrics};
use quotes::{Completeness, InvalidQuote, Quote, Symbol};
use reqwest::{
    Client, Response, StatusCode,
    header::{HeaderMap, HeaderValue},
    redirect,
};
use serde::Deserialize;
use tokio::time::{Instant, sleep_until};

use crate::{
    breaker::Breaker,
    config::FinnhubConfig,
    pace::{Limits, Pace, Try},
};

/// How long a request may take: less than a poll's interval, so that one slow node costs one poll.
const TIMEOUT: Duration = Duration::from_secs(4);
const CONNECT: Duration = Duration::from_secs(2);
/// Far more than a quote has; a longer body is not a quote.
const BODY_LIMIT: usize = 64 << 10;
/// How many characters of Finnhub's own text are logged.
const LONGEST_WORDS: usize = 200;
/// A failed request is retried at most twice, within its poll's time.
const RETRIES: ExponentialBuilder = ExponentialBuilder::new()
    .with_min_delay(Duration::from_millis(200))
    .with_max_delay(Duration::from_secs(2))
    .with_max_times(2)
    .with_jitter();
/// Back-off after a 429 without a reset header.
const DEFAULT_RESET: Duration = Duration::from_secs(5);
/// The shortest back-off after a 429: its reset is in whole seconds, by Finnhub's clock.
const LEAST_RESET: Duration = Duration::from_secs(1);

/// Finnhub's API (<https://finnhub.io/docs/api>), requested no faster than it allows, and not at all while it does
/// not answer.
pub struct Finnhub {
    client: Client,
    base_url: String,
    api_key: Secret,
    header: HeaderValue,
    pace: Pace,
    breaker: Breaker,
}

/// Why there is no quote for a symbol. `words` are Finnhub's own, without the key; empty if it said nothing.
#[derive(Debug, thiserror::Error)]
pub enum NoQuote {
    /// The key is refused: 401, or an error about the key with any status.
    #[error("Finnhub refused the key (HTTP {status}{})", said(words))]
    Refused {
        /// The HTTP status.
        status: u16,
        /// What Finnhub said.
        words: String,
    },
    /// The key is not allowed this symbol: 403, or an error about access with any status.
    #[error("the key may not read this symbol (HTTP {status}{})", said(words))]
    NoAccess {
        /// The HTTP status.
        status: u16,
        /// What Finnhub said.
        words: String,
    },
    /// 429, or an error about the limit with any status.
    #[error("Finnhub's rate limit is reached{}", said(.0))]
    RateLimited(String),
    /// An error instead of a quote, with HTTP 200.
    #[error("Finnhub answered with an error{}", said(.0))]
    Error(String),
    /// Any other status than 200.
    #[error("Finnhub answered HTTP {status}{}", said(words))]
    Status {
        /// The HTTP status.
        status: u16,
        /// What Finnhub said.
        words: String,
    },
    /// No answer, or not a whole one, in time.
    #[error("Finnhub did not answer: {0}")]
    Network(String),
    /// The body is not a quote: HTML, or JSON that was cut off.
    #[error("Finnhub's answer is not a quote: {0}")]
    Body(String),
    /// Every number is zero: Finnhub does not know the symbol, or has an outage.
    #[error("Finnhub has no data")]
    NoData,
    /// Not requested: the rate limit allowed no request within the poll's time.
    #[error("the rate limit allowed no request in this poll")]
    NoTurn,
    /// Not requested: Finnhub failed too often in a row.
    #[error("not requested: Finnhub failed too often in a row")]
    BreakerOpen,
}

impl NoQuote {
    /// The reason as a metric's dimension.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Refused { .. } => "refused",
            Self::NoAccess { .. } => "no_access",
            Self::RateLimited(_) => "rate_limited",
            Self::Error(_) => "error",
            Self::Status { .. } => "status",
            Self::Network(_) => "network",
            Self::Body(_) => "body",
            Self::NoData => "no_data",
            Self::NoTurn => "no_turn",
            Self::BreakerOpen => "breaker_open",
        }
    }

    /// Whether the API itself failed, as opposed to having answered.
    fn is_failure(&self) -> bool {
        matches!(self, Self::Status { status: 408 | 500.., .. } | Self::Network(_) | Self::Body(_))
    }

    /// What an error says that came with this status.
    fn of(status: StatusCode, words: String) -> Self {
        let lower = words.to_lowercase();
        let about = |parts: &[&str]| parts.iter().any(|part| lower.contains(part));
        let code = status.as_u16();
        match status {
            StatusCode::TOO_MANY_REQUESTS => Self::RateLimited(words),
            StatusCode::UNAUTHORIZED => Self::Refused { status: code, words },
            // The status says less than the words, whatever it is.
            StatusCode::OK | StatusCode::FORBIDDEN | StatusCode::BAD_REQUEST => {
                if about(&["api key", "apikey", "token"]) {
                    Self::Refused { status: code, words }
                } else if status == StatusCode::FORBIDDEN || about(&["access", "permission", "premium"]) {
                    Self::NoAccess { status: code, words }
                } else if about(&["limit"]) {
                    Self::RateLimited(words)
                } else if status == StatusCode::OK {
                    Self::Error(words)
                } else {
                    Self::Status { status: code, words }
                }
            }
            _ => Self::Status { status: code, words },
        }
    }
}

fn said(words: &str) -> String {
    if words.is_empty() { String::new() } else { format!(": {words}") }
}

/// The text of an error's body, `{"error":"…"}`; `None` if the body is not one. A quote has no field `error`.
fn error_text(body: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    struct Error {
        error: serde_json::Value,
    }
    match serde_json::from_slice(body).ok()? {
        Error { error: serde_json::Value::Null } => None,
        Error { error: serde_json::Value::String(text) } => Some(text),
        Error { error } => Some(error.to_string()),
    }
}

/// What Finnhub says about the US exchanges.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub struct MarketStatus {
    /// Whether they trade now.
    #[serde(rename = "isOpen")]
    pub is_open: bool,
    /// Finnhub's time, in seconds since 1970.
    #[serde(default)]
    pub t: Option<i64>,
}

/// A client that cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum FinnhubClientError {
    /// The key has characters that no HTTP header can have.
    #[error("FINNHUB_API_KEY has characters that are not allowed in an HTTP header")]
    Key,
    /// TLS or the like.
    #[error("the HTTP client for Finnhub cannot be created")]
    Client(#[from] reqwest::Error),
}

impl Finnhub {
    /// A client for the API at the configured address, with no more requests than `limits` allow.
    ///
    /// # Errors
    /// [`FinnhubClientError`] where the key cannot be sent.
    pub fn new(config: &FinnhubConfig, limits: Limits) -> Result<Self, FinnhubClientError> {
        let mut header =
            HeaderValue::from_str(config.api_key.reveal()).map_err(|_| FinnhubClientError::Key)?;
        header.set_sensitive(true);
        let mut client = Client::builder()
            .connect_timeout(CONNECT)
            // A redirect would take the key's header to another server.
            .redirect(redirect::Policy::none());
        if is_loopback(&config.base_url) {
            client = client.no_proxy();
        }
        let client = client.build()?;
        Ok(Self {
            client,
            base_url: config.base_url.clone(),
            api_key: config.api_key.clone(),
            header,
            pace: Pace::new(limits),
            breaker: Breaker::default(),
        })
    }

    /// The quote of `symbol` now. What may pass is tried again, as long as that can end before `until`.
    ///
    /// # Errors
    /// [`NoQuote`] says why there is none.
    pub async fn quote(&self, symbol: &Symbol, until: Instant) -> Result<Quote, NoQuote> {
        let mut pauses = RETRIES.build();
        let mut answer = self.quote_once(symbol, Try::First, until).await;
        while let Err(error) = &answer {
            if !(error.is_failure() || matches!(error, NoQuote::RateLimited(_))) || self.breaker.is_open() {
                break;
            }
            let Some(again) =
                pauses.next().map(|pause| Instant::now() + pause).filter(|again| *again < until)
            else {
                break;
            };
            sleep_until(again).await;
            match self.quote_once(symbol, Try::Again, until).await {
                // Finnhub's own answer is more useful than that there was no other try.
                Err(NoQuote::NoTurn | NoQuote::BreakerOpen) => break,
                other => answer = other,
            }
        }
        answer
    }

    async fn quote_once(&self, symbol: &Symbol, which: Try, until: Instant) -> Result<Quote, NoQuote> {
        let quote = self
            .ask("quote", ("symbol", symbol.as_str()), which, until, |asked_at_ms, body| {
                Quote::observe(symbol, asked_at_ms, body)
            })
            .await?;
        if quote.completeness() == Completeness::NoData { Err(NoQuote::NoData) } else { Ok(quote) }
    }

    /// What Finnhub knows about the US exchanges now; one request, without a retry.
    ///
    /// # Errors
    /// [`NoQuote`] if Finnhub does not answer before `until`.
    pub async fn us_market(&self, until: Instant) -> Result<MarketStatus, NoQuote> {
        self.ask("stock/market-status", ("exchange", "US"), Try::First, until, |_, body| {
            serde_json::from_slice(body).map_err(|error| InvalidQuote::Json(error.to_string()))
        })
        .await
    }

    /// Makes one request when there is a turn for it. `read` gets the time of asking, in milliseconds since
    /// 1970, and the body.
    async fn ask<T>(
        &self,
        path: &str,
        parameter: (&str, &str),
        which: Try,
        until: Instant,
        read: impl FnOnce(u64, &[u8]) -> Result<T, InvalidQuote>,
    ) -> Result<T, NoQuote> {
        if !self.breaker.lets_through() {
            return Err(NoQuote::BreakerOpen);
        }
        let turn = self.pace.turn(which, until).await.ok_or(NoQuote::NoTurn)?;
        if which == Try::Again {
            metrics::RETRIED.add(1);
        }
        let asked_at_ms = u64::try_from(since_1970().as_millis()).unwrap_or_default();
        let timeout = until.saturating_duration_since(Instant::now()).min(TIMEOUT);
        let answer = match self.get(path, parameter, timeout).await {
            Ok(body) => read(asked_at_ms, &body).map_err(|error| NoQuote::Body(self.redacted(&error))),
            Err(error) => Err(error),
        };
        drop(turn);
        match &answer {
            Err(error) if error.is_failure() => self.breaker.failed(&error.to_string()),
            Err(NoQuote::RateLimited(_)) => {}
            _ => self.breaker.answered(),
        }
        answer
    }

    async fn get(&self, path: &str, parameter: (&str, &str), timeout: Duration) -> Result<Vec<u8>, NoQuote> {
        let network = |error: reqwest::Error| NoQuote::Network(self.redacted(&error.without_url()));
        let mut response = self
            .client
            .get(format!("{}/{path}", self.base_url))
            .query(&[parameter])
            .header("X-Finnhub-Token", self.header.clone())
            .timeout(timeout)
            .send()
            .await
            .map_err(network)?;
        self.respect_rate_limit(&response);
        let status = response.status();
        let mut body = Vec::new();
        loop {
            match response.chunk().await {
                Ok(None) => break,
                Ok(Some(chunk)) => {
                    body.extend_from_slice(&chunk);
                    if body.len() > BODY_LIMIT && status == StatusCode::OK {
                        return Err(NoQuote::Network(format!("the body has more than {BODY_LIMIT} bytes")));
                    } else if body.len() > BODY_LIMIT {
                        break;
                    }
                }
                // The status alone says enough.
                Err(_) if status != StatusCode::OK => break,
                Err(error) => return Err(network(error)),
            }
        }
        let words = error_text(&body).map(|text| self.words(&text));
        match (status, words) {
            (StatusCode::OK, None) => Ok(body),
            (status, Some(words)) => Err(NoQuote::of(status, words)),
            (status, None) => {
                // A text, as some of Finnhub's errors are; a proxy's page is not logged.
                let text = String::from_utf8_lossy(&body);
                let words = if text.contains('<') { String::new() } else { self.words(&text) };
                Err(NoQuote::of(status, words))
            }
        }
    }

    /// Finnhub's own words for the log: one short line without the key.
    fn words(&self, text: &str) -> String {
        let line: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        self.api_key.redact(line.trim()).chars().take(LONGEST_WORDS).collect()
    }

    /// Finnhub's count has priority over ours: if no request remains, none is made until its reset.
    fn respect_rate_limit(&self, response: &Response) {
        let headers = response.headers();
        let refused = response.status() == StatusCode::TOO_MANY_REQUESTS;
        let reset = number(headers, "x-ratelimit-reset")
            .map(|reset| Duration::from_secs(reset).saturating_sub(since_1970()));
        if refused {
            self.pace.block(reset.unwrap_or(DEFAULT_RESET).max(LEAST_RESET));
        } else if number(headers, "x-ratelimit-remaining") == Some(0) {
            self.pace.block(reset.unwrap_or_default());
        }
    }

    /// The error's text. A server may say anything, the key that it was sent too.
    fn redacted(&self, error: &dyn std::error::Error) -> String {
        self.api_key.redact(&chain(error))
    }
}

fn number(headers: &HeaderMap, name: &str) -> Option<u64> {
    headers.get(name)?.to_str().ok()?.parse().ok()
}

fn since_1970() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}
