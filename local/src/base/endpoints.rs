//! The addresses of a run's parts.

use std::{io::ErrorKind, net::Ipv4Addr, path::Path};

use anyhow::{Context, bail};
use serde::{Deserialize, Serialize};

use crate::base::{data_dir::write_json, hint};

const FILE: &str = "endpoints.json";
/// The metrics of a run, as Prometheus' text, at the address that [`metrics_url`] returns.
pub(crate) const METRICS_PATH: &str = "/metrics";
/// Each function's metrics, as JSON; served beside the metrics.
pub(crate) const FUNCTIONS_PATH: &str = "/metrics.json";
/// The figures of each station of the flow for the page, as JSON; served beside the metrics.
pub(crate) const PIPELINE_PATH: &str = "/pipeline.json";

/// The addresses and names that a client needs to use each part.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Endpoints {
    /// Kafka's bootstrap servers.
    pub kafka_bootstrap_servers: String,
    /// The topic of quotes.
    pub kafka_topic: String,
    /// The consumer group that archives them.
    pub kafka_group: String,
    /// The URL of S3 (path-style), SQS, Lambda and Scheduler; any credentials.
    pub aws_endpoint_url: String,
    /// The URL of S3, which may be a separate server.
    pub s3_endpoint_url: String,
    /// The region of the AWS endpoints.
    pub aws_region: String,
    /// The bucket of archived quotes.
    pub bronze_bucket: String,
    /// The bucket of records that are not valid quotes.
    pub quarantine_bucket: String,
    /// The queue of new objects.
    pub archived_queue: String,
    /// The queue of messages on which load-quotes failed.
    pub dead_letter_queue: String,
    /// BigQuery's URL.
    pub bigquery_endpoint: String,
    /// The project.
    pub bigquery_project: String,
    /// The dataset of the raw tables.
    pub bigquery_dataset: String,
    /// The dataset of the bronze view.
    pub bigquery_bronze_dataset: String,
    /// The dataset of the silver tables.
    pub bigquery_silver_dataset: String,
    /// The dataset of the gold tables.
    pub bigquery_gold_dataset: String,
    /// Where quotes are fetched from.
    pub finnhub_base_url: String,
    /// The dashboard's page; its API is below `/api/`.
    pub dashboard_url: String,
    /// The metrics of the run, for Prometheus.
    pub metrics_url: String,
}

impl Endpoints {
    /// Saves the addresses for `quoteflow status`.
    pub(crate) fn save(&self, data_dir: &Path) -> anyhow::Result<()> {
        write_json(&data_dir.join(FILE), self)
    }

    /// The addresses of the latest run.
    ///
    /// # Errors
    /// If there was no run, or the file cannot be read.
    pub(crate) fn load(data_dir: &Path) -> anyhow::Result<Self> {
        let path = data_dir.join(FILE);
        let bytes = match std::fs::read(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                let start = hint::command("run", data_dir);
                bail!("nothing has run in {} yet. {}{start}", data_dir.display(), hint::START_IT);
            }
            read => read.with_context(|| format!("{} cannot be read", path.display()))?,
        };
        serde_json::from_slice(&bytes).with_context(|| format!("{} is damaged", path.display()))
    }
}

/// The address of the metrics at a port of this machine.
pub(crate) fn metrics_url(port: u16) -> String {
    format!("http://{}:{port}{METRICS_PATH}", Ipv4Addr::LOCALHOST)
}

/// The address of another path of the server that has the metrics at `metrics_url`.
pub(crate) fn beside_metrics(metrics_url: &str, path: &str) -> String {
    format!("{}{path}", metrics_url.trim_end_matches(METRICS_PATH))
}
