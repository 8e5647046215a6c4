use std::time::{Duration, SystemTime, UNIX_EPOCH};

use backon::{BackoffBuilder, ExponentialBuilder};
use function_kit::{Secret, chain, metrics};
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
/// Far more than a quote has; a body beyond it is no quote.
const BODY_LIMIT: usize = 64 << 10;
/// A failed request is made again twice at most, within its poll's time.
const RETRIES: ExponentialBuilder = ExponentialBuilder::new()
    .with_min_delay(Duration::from_millis(200))
    .with_max_delay(Duration::from_secs(2))
    .with_max_times(2)
    .with_jitter();
/// How long a 429 is heeded that does not say when it ends.
const UNTOLD_RESET: Duration = Duration::from_secs(5);
/// The least that a 429 is heeded: its reset is in whole seconds, by Finnhub's clock.
const LEAST_RESET: Duration = Duration::from_secs(1);

/// Finnhub's API (<https://finnhub.io/docs/api>), asked no faster than it allows and not at all while it is
/// dead.
pub struct Finnhub {
    client: Client,
    base_url: String,
    api_key: Secret,
    header: HeaderValue,
    pace: Pace,
    breaker: Breaker,
}

/// Why there is no quote for a symbol.
#[derive(Debug, thiserror::Error)]
pub enum NoQuote {
    /// 401 or 403: the key is wrong or not allowed this symbol.
    #[error("Finnhub refused the key (HTTP {0})")]
    Refused(u16),
    /// 429.
    #[error("Finnhub's rate limit is reached (HTTP 429)")]
    RateLimited,
    /// Any other status than 200.
    #[error("Finnhub answered HTTP {0}")]
    Status(u16),
    /// No answer, or not a whole one, in time.
    #[error("Finnhub did not answer: {0}")]
    Network(String),
    /// The body is no quote: HTML, or JSON that was cut off.
    #[error("Finnhub's answer is no quote: {0}")]
    Body(String),
    /// Every number is zero: Finnhub does not know the symbol, or has an outage.
    #[error("Finnhub has no data")]
    NoData,
    /// Not asked: the rate limit left no turn within the poll's time.
    #[error("the rate limit left no turn")]
    NoTurn,
    /// Not asked: Finnhub failed too often in a row.
    #[error("Finnhub failed too often in a row to be asked")]
    BreakerOpen,
}

impl NoQuote {
    /// The reason as a metric's dimension.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Refused(_) => "refused",
            Self::RateLimited => "rate_limited",
            Self::Status(_) => "status",
            Self::Network(_) => "network",
            Self::Body(_) => "body",
            Self::NoData => "no_data",
            Self::NoTurn => "no_turn",
            Self::BreakerOpen => "breaker_open",
        }
    }

    /// Whether the API itself failed, as opposed to having answered.
    fn is_failure(&self) -> bool {
        matches!(self, Self::Status(408 | 500..) | Self::Network(_) | Self::Body(_))
    }
}

/// What Finnhub tells of the US exchanges.
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
    #[error("FINNHUB_API_KEY has characters that no HTTP header can have")]
    Key,
    /// TLS or the like.
    #[error("the HTTP client for Finnhub cannot be made")]
    Client(#[from] reqwest::Error),
}

impl Finnhub {
    /// A client for the API at the configured address, which is asked no more than `limits` allow.
    ///
    /// # Errors
    /// [`FinnhubClientError`] where the key cannot be sent.
    pub fn new(config: &FinnhubConfig, limits: Limits) -> Result<Self, FinnhubClientError> {
        let mut header =
            HeaderValue::from_str(config.api_key.reveal()).map_err(|_| FinnhubClientError::Key)?;
        header.set_sensitive(true);
        let client = Client::builder()
            .connect_timeout(CONNECT)
            // A redirect would take the key's header to another server.
            .redirect(redirect::Policy::none())
            .build()?;
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
            if !(error.is_failure() || matches!(error, NoQuote::RateLimited)) || self.breaker.is_open() {
                break;
            }
            let Some(again) =
                pauses.next().map(|pause| Instant::now() + pause).filter(|again| *again < until)
            else {
                break;
            };
            sleep_until(again).await;
            match self.quote_once(symbol, Try::Again, until).await {
                // What Finnhub said says more than that it was not asked again.
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

    /// What Finnhub knows of the US exchanges now; it is asked once.
    ///
    /// # Errors
    /// [`NoQuote`] where Finnhub does not tell before `until`.
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
            metrics::count("Retried", 1);
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
            Err(NoQuote::RateLimited) => {}
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
        self.heed_limit(&response);
        match response.status() {
            StatusCode::OK => {}
            StatusCode::TOO_MANY_REQUESTS => return Err(NoQuote::RateLimited),
            status @ (StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) => {
                return Err(NoQuote::Refused(status.as_u16()));
            }
            status => return Err(NoQuote::Status(status.as_u16())),
        }
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(network)? {
            if body.len() + chunk.len() > BODY_LIMIT {
                return Err(NoQuote::Network(format!("the body has more than {BODY_LIMIT} bytes")));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body)
    }

    /// Finnhub's count goes before ours: where nothing remains of it, nothing is asked until its reset.
    fn heed_limit(&self, response: &Response) {
        let headers = response.headers();
        let refused = response.status() == StatusCode::TOO_MANY_REQUESTS;
        let reset = number(headers, "x-ratelimit-reset")
            .map(|reset| Duration::from_secs(reset).saturating_sub(since_1970()));
        if refused {
            self.pace.block(reset.unwrap_or(UNTOLD_RESET).max(LEAST_RESET));
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
