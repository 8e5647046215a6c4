use std::time::{Duration, SystemTime, UNIX_EPOCH};

use function_kit::chain;
use quotes::{Completeness, InvalidQuote, Quote, Symbol};
use reqwest::{Client, StatusCode, header::HeaderValue};
use serde::Deserialize;

use crate::config::FinnhubConfig;

/// How long a request may take: less than a poll's interval, so that one slow node costs one poll.
const TIMEOUT: Duration = Duration::from_secs(4);
const CONNECT: Duration = Duration::from_secs(2);
/// Far more than a quote has; a body beyond it is no quote.
const BODY_LIMIT: usize = 64 << 10;

/// Finnhub's API: <https://finnhub.io/docs/api>.
pub struct Finnhub {
    client: Client,
    base_url: String,
    api_key: HeaderValue,
}

/// Why a poll has no quote for a symbol.
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
    /// The body is no quote.
    #[error("Finnhub's answer is no quote: {0}")]
    Body(#[from] InvalidQuote),
    /// Every number is zero: Finnhub does not know the symbol, or has an outage.
    #[error("Finnhub has no data")]
    NoData,
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
        }
    }

    /// Whether asking again within the same poll may help.
    #[must_use]
    pub fn is_passing(&self) -> bool {
        matches!(self, Self::Status(500..) | Self::Network(_) | Self::Body(_))
    }
}

#[derive(Deserialize)]
struct MarketStatus {
    #[serde(rename = "isOpen")]
    is_open: bool,
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
    /// A client for the API at the configured address.
    ///
    /// # Errors
    /// [`FinnhubClientError`] where the key cannot be sent.
    pub fn new(config: &FinnhubConfig) -> Result<Self, FinnhubClientError> {
        let mut api_key = HeaderValue::from_str(config.api_key.reveal()).map_err(|_| FinnhubClientError::Key)?;
        api_key.set_sensitive(true);
        let client = Client::builder().timeout(TIMEOUT).connect_timeout(CONNECT).build()?;
        Ok(Self { client, base_url: config.base_url.clone(), api_key })
    }

    /// The quote of `symbol` now.
    ///
    /// # Errors
    /// [`NoQuote`] says why there is none.
    pub async fn quote(&self, symbol: &Symbol) -> Result<Quote, NoQuote> {
        let asked_at = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let body = self.get("quote", &[("symbol", symbol.as_str())]).await?;
        let quote =
            Quote::observe(symbol, u64::try_from(asked_at.as_millis()).unwrap_or_default(), &body)?;
        if quote.completeness() == Completeness::NoData {
            return Err(NoQuote::NoData);
        }
        Ok(quote)
    }

    /// Whether the exchanges of the US are open.
    ///
    /// # Errors
    /// [`NoQuote`] where Finnhub does not tell.
    pub async fn us_market_is_open(&self) -> Result<bool, NoQuote> {
        let body = self.get("stock/market-status", &[("exchange", "US")]).await?;
        let status: MarketStatus = serde_json::from_slice(&body)
            .map_err(|error| NoQuote::Body(InvalidQuote::Json(error.to_string())))?;
        Ok(status.is_open)
    }

    async fn get(&self, path: &str, query: &[(&str, &str)]) -> Result<Vec<u8>, NoQuote> {
        let network = |error: reqwest::Error| NoQuote::Network(chain(&error.without_url()));
        let mut response = self
            .client
            .get(format!("{}/{path}", self.base_url))
            .query(query)
            .header("X-Finnhub-Token", self.api_key.clone())
            .send()
            .await
            .map_err(network)?;
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
}
