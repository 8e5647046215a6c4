//! The figures of each station of the flow, measured by the flow itself: rates, latencies, waiting quotes. `make local`
//! serves them at `DASHBOARD_PIPELINE_URL`, as a [`Report`].

use std::{collections::BTreeMap, time::Duration};

use function_kit::chain;
use jiff::Timestamp;
use reqwest::Client;
use serde::{Deserialize, Serialize};
use tokio::{sync::Mutex, time::Instant};

/// How long the flow may take to answer: it is on the same machine.
const PATIENCE: Duration = Duration::from_secs(1);
/// How long its answer is used. It measures every 2 s.
const SERVES: Duration = Duration::from_secs(2);

/// The flow's answer.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// `None` if it was not requested.
    #[serde(default)]
    pub market: Option<MarketStatus>,
    /// What it knows of itself.
    #[serde(flatten)]
    pub measured: Measured,
}

/// Finnhub's market status of the US exchanges.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MarketStatus {
    /// Finnhub's own field name is accepted, too.
    #[serde(alias = "isOpen")]
    pub is_open: bool,
    /// The holiday for which they are closed.
    #[serde(default)]
    pub holiday: Option<String>,
}

/// What is known of the flow.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Measured {
    /// Why quotes do not come, or what failed; null while all is well, or where that is not known.
    pub trouble: Option<String>,
    /// When dbt ended its last run. RFC 3339, UTC.
    pub settled_at: Option<Timestamp>,
    /// In the order in which a quote passes them.
    pub stations: Stations,
}

/// The stations of the flow.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[allow(missing_docs, reason = "a station's name says which it is")]
pub struct Stations {
    pub fetch: Station,
    pub kafka: Station,
    pub s3: Station,
    pub bronze: Station,
    pub gold: Station,
}

/// A station of the flow. What is not known here is null.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Station {
    /// How many quotes reach it a minute, lately.
    #[cfg_attr(test, schemars(range(min = 0)))]
    pub quotes_per_minute: Option<f64>,
    /// Median time from the fetch to this station, in seconds.
    #[cfg_attr(test, schemars(range(min = 0)))]
    pub p50_seconds: Option<f64>,
    /// 95th percentile of that time, in seconds.
    #[cfg_attr(test, schemars(range(min = 0)))]
    pub p95_seconds: Option<f64>,
    /// How many quotes wait here for the next station.
    pub waiting: Option<u64>,
    /// How many records were put aside here: not a quote (s3), or not loaded after several tries (bronze).
    pub dead_letters: Option<u64>,
    /// How many invocations of the station's function failed.
    pub failures: Option<u64>,
    /// What the last of them said.
    pub last_failure: Option<String>,
    /// fetch: how often a symbol's poll gave no quote, by reason.
    pub missed: Option<BTreeMap<String, u64>>,
}

/// Why the flow's own figures are not known.
#[derive(Debug, thiserror::Error)]
enum FlowError {
    #[error("the flow did not answer")]
    Http(#[from] reqwest::Error),
    #[error("the flow's answer cannot be read")]
    Json(#[from] serde_json::Error),
}

/// The flow's own figures.
pub(crate) struct Flow {
    client: Client,
    url: String,
    known: Mutex<Option<(Instant, Option<Report>)>>,
}

impl Flow {
    pub(crate) fn new(url: String) -> Self {
        Self { client: Client::new(), url, known: Mutex::default() }
    }

    /// The latest figures; `None` if the flow does not answer, which is logged.
    pub(crate) async fn report(&self) -> Option<Report> {
        let mut known = self.known.lock().await;
        if known.as_ref().is_none_or(|(at, _)| at.elapsed() >= SERVES) {
            let asked = self.ask().await;
            if let Err(error) = &asked {
                tracing::warn!("no figures of the pipeline from {}: {}", self.url, chain(error));
            }
            *known = Some((Instant::now(), asked.ok()));
        }
        known.as_ref().and_then(|(_, report)| report.clone())
    }

    async fn ask(&self) -> Result<Report, FlowError> {
        let answer = self.client.get(&self.url).timeout(PATIENCE).send().await?.error_for_status()?;
        Ok(serde_json::from_slice(&answer.bytes().await?)?)
    }
}
