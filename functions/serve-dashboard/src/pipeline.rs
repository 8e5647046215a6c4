//! The figures of each station of the flow: rate, latency, what waits. `make local` measures them all; elsewhere only the
//! warehouse's are known, and the others are null.

use std::{collections::BTreeMap, time::Duration};

use function_kit::chain;
use jiff::Timestamp;
use reqwest::Client;
use serde::{Deserialize, Serialize};
use tokio::{sync::Mutex, time::Instant};

use crate::gold::{Arrival, Kpi};

/// How long the flow may take to answer: it is on the same machine.
const PATIENCE: Duration = Duration::from_secs(1);
/// How long its answer serves. It measures every 2 s.
const SERVES: Duration = Duration::from_secs(2);

/// Who measured.
#[derive(Debug, Clone, Copy, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Source {
    Flow,
    Warehouse,
}

/// The answer.
#[derive(Debug, Serialize)]
pub struct PipelineAnswer {
    measured_by: Source,
    #[serde(flatten)]
    measured: Measured,
}

/// What is known of the flow: `null` where it is not.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Measured {
    /// Why quotes do not come, or what failed; `None` while all is well.
    trouble: Option<String>,
    /// When dbt settled last.
    settled_at: Option<Timestamp>,
    stations: Stations,
}

/// The body at `DASHBOARD_PIPELINE_URL`.
#[derive(Debug, Clone, Deserialize)]
struct Report {
    #[serde(default)]
    market: Option<MarketStatus>,
    #[serde(flatten)]
    measured: Measured,
}

/// Finnhub's market status of the US exchanges.
#[derive(Debug, Clone, Deserialize)]
pub struct MarketStatus {
    pub is_open: bool,
    pub holiday: Option<String>,
}

/// The stations in the order in which a quote passes them.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Stations {
    fetch: Station,
    kafka: Station,
    s3: Station,
    bronze: Station,
    gold: Station,
}

/// A station of the flow.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Station {
    /// How many quotes reach it a minute.
    quotes_per_minute: Option<f64>,
    /// From the fetch to this station, in seconds.
    p50_seconds: Option<f64>,
    p95_seconds: Option<f64>,
    /// How many quotes wait here for the next station.
    waiting: Option<u64>,
    /// How many records were put aside because they could not be taken further.
    dead_letters: Option<u64>,
    /// How many invocations of its function failed, and the last one's error.
    failures: Option<u64>,
    last_failure: Option<String>,
    /// Symbols of a poll that gave no quote: why, and how often.
    missed: Option<BTreeMap<String, u64>>,
}

/// Why the flow's own figures are not known.
#[derive(Debug, thiserror::Error)]
enum FlowError {
    #[error("no answer")]
    Http(#[from] reqwest::Error),
    #[error("the answer cannot be read")]
    Json(#[from] serde_json::Error),
}

/// The flow's own figures.
pub struct Flow {
    client: Client,
    url: String,
    known: Mutex<Option<(Instant, Option<Report>)>>,
}

impl Flow {
    pub fn new(url: String) -> Self {
        Self { client: Client::new(), url, known: Mutex::default() }
    }

    /// The flow's own figures; `None` if it does not answer, which is logged.
    pub async fn measured(&self) -> Option<PipelineAnswer> {
        let measured = self.report().await?.measured;
        Some(PipelineAnswer { measured_by: Source::Flow, measured })
    }

    /// Finnhub's market status; `None` if it was not requested, or if the flow does not answer.
    pub async fn market(&self) -> Option<MarketStatus> {
        self.report().await?.market
    }

    async fn report(&self) -> Option<Report> {
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

impl PipelineAnswer {
    /// The warehouse's figures: the rate at bronze, the median time of each symbol's latest quote from the fetch to bronze,
    /// and when dbt settled last.
    pub fn of_warehouse(arrivals: &[Arrival], quotes: &[Kpi], settled_at: Option<Timestamp>) -> Self {
        let rates: Vec<f64> = arrivals.iter().filter_map(|arrival| arrival.quotes_per_minute).collect();
        let mut took: Vec<f64> = quotes
            .iter()
            .filter_map(|quote| Some(quote.loaded_at?.duration_since(quote.fetched_at).as_secs_f64()))
            .filter(|seconds| *seconds >= 0.0)
            .collect();
        took.sort_by(f64::total_cmp);
        let bronze = Station {
            quotes_per_minute: (!rates.is_empty()).then(|| rounded(rates.iter().sum())),
            p50_seconds: took.get(took.len() / 2).copied(),
            ..Station::default()
        };
        let stations = Stations { bronze, ..Stations::default() };
        Self { measured_by: Source::Warehouse, measured: Measured { trouble: None, settled_at, stations } }
    }
}

fn rounded(rate: f64) -> f64 {
    (rate * 10.0).round() / 10.0
}
