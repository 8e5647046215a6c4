//! The first requests to a live Finnhub, before anything else starts: whether it accepts the key, and whether the
//! market is open.

use std::time::Duration;

use anyhow::bail;
use axum::http::StatusCode;
use serve_dashboard::flow::MarketStatus;
use tokio::time::timeout;

use crate::finnhub::client::{Trouble, Upstream};

pub(crate) const MARKET_STATUS: &str = "stock/market-status?exchange=US";
/// Short, because a person waits for it.
const PATIENCE: Duration = Duration::from_millis(1500);

/// Finnhub's first answer.
pub(crate) enum FirstAnswer {
    Market(MarketStatus),
    /// A temporary failure.
    Trouble(Trouble),
}

/// The first answer of a live Finnhub; `None` for the recording.
///
/// # Errors
/// As [`ask`].
pub(crate) async fn first_answer(
    upstream: Option<&Upstream>,
    symbols: &[String],
) -> anyhow::Result<Option<FirstAnswer>> {
    let (Some(upstream), Some(symbol)) = (upstream, symbols.first()) else { return Ok(None) };
    ask(upstream, symbol).await.map(Some)
}

/// Requests the market's status, and a quote if the key may not read the status.
///
/// # Errors
/// If a later request cannot help: the key is rejected, nothing listens, or the address is not Finnhub's.
async fn ask(upstream: &Upstream, symbol: &str) -> anyhow::Result<FirstAnswer> {
    let mut trouble = match request(upstream, MARKET_STATUS).await {
        Ok(body) => match serde_json::from_slice(&body) {
            Ok(status) => return Ok(FirstAnswer::Market(status)),
            Err(_) => Trouble::Odd("it does not say whether the market is open".to_owned()),
        },
        Err(trouble) => trouble,
    };
    // Some keys may not read the market's status.
    if matches!(trouble, Trouble::Refused { status: 403, .. }) {
        trouble = match request(upstream, &format!("quote?symbol={symbol}")).await {
            Ok(_) => return Ok(FirstAnswer::Trouble(trouble)),
            Err(trouble) => trouble,
        };
    }
    match &trouble {
        Trouble::Refused { .. } => bail!(
            "{}. Get one at https://finnhub.io/dashboard; without FINNHUB_API_KEY the recording runs",
            trouble.text()
        ),
        Trouble::Unreachable(why) => bail!("Finnhub cannot be reached at {}: {why}", upstream.base_url()),
        Trouble::Status { status, .. } if is_permanent(*status) => {
            bail!("{} at {}: does the address end in /api/v1?", trouble.text(), upstream.base_url())
        }
        _ => Ok(FirstAnswer::Trouble(trouble)),
    }
}

async fn request(upstream: &Upstream, path: &str) -> Result<Vec<u8>, Trouble> {
    let answer = timeout(PATIENCE, upstream.get(path)).await.unwrap_or(Err(Trouble::Silent))?;
    upstream.trouble(&answer).map_or(Ok(answer.body), Err)
}

fn is_permanent(status: u16) -> bool {
    let status = StatusCode::from_u16(status).unwrap_or_default();
    status.is_redirection() || (status.is_client_error() && status != StatusCode::REQUEST_TIMEOUT)
}
