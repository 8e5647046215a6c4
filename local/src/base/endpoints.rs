//! Where the parts of a run are.

use std::{io::ErrorKind, path::Path};

use anyhow::{Context, bail};
use serde::{Deserialize, Serialize};

use crate::{
    base::{hint, names},
    servers::stand_ins::Servers,
};

const FILE: &str = "endpoints.json";

/// What a client needs to use each part itself.
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
    /// The URL of S3, where it is another.
    pub s3_endpoint_url: String,
    /// Their region.
    pub aws_region: String,
    /// The bucket of archived quotes.
    pub bronze_bucket: String,
    /// The bucket of records that are not valid quotes.
    pub quarantine_bucket: String,
    /// The queue of new objects.
    pub archived_queue: String,
    /// What load-quotes failed on.
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
    /// The addresses of a run with these servers.
    pub(crate) fn new(servers: &Servers) -> Self {
        let dataset = |layer| format!("{}{layer}", names::DATASET);
        Self {
            kafka_bootstrap_servers: servers.kafka.clone(),
            kafka_topic: names::TOPIC.to_owned(),
            kafka_group: names::GROUP.to_owned(),
            aws_endpoint_url: servers.aws.clone(),
            s3_endpoint_url: servers.s3.clone(),
            aws_region: names::REGION.to_owned(),
            bronze_bucket: names::BRONZE_BUCKET.to_owned(),
            quarantine_bucket: names::QUARANTINE_BUCKET.to_owned(),
            archived_queue: names::ARCHIVED_QUEUE.to_owned(),
            dead_letter_queue: names::DEAD_LETTER_QUEUE.to_owned(),
            bigquery_endpoint: servers.bigquery.clone(),
            bigquery_project: names::PROJECT.to_owned(),
            bigquery_dataset: dataset(""),
            bigquery_bronze_dataset: dataset("_bronze"),
            bigquery_silver_dataset: dataset("_silver"),
            bigquery_gold_dataset: dataset("_gold"),
            finnhub_base_url: servers.finnhub.clone(),
            dashboard_url: servers.dashboard.clone(),
            metrics_url: servers.metrics.clone(),
        }
    }

    /// Keeps the addresses for `quoteflow status`.
    pub(crate) fn save(&self, data_dir: &Path) -> anyhow::Result<()> {
        write_json(&data_dir.join(FILE), self)
    }

    /// The addresses of the latest run.
    ///
    /// # Errors
    /// When there was none, or the file cannot be read.
    pub(crate) fn load(data_dir: &Path) -> anyhow::Result<Self> {
        let path = data_dir.join(FILE);
        let bytes = match std::fs::read(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                let start = hint::command("run", data_dir);
                bail!("nothing has run in {} yet. Start it: {start}", data_dir.display());
            }
            read => read.with_context(|| format!("{} cannot be read", path.display()))?,
        };
        serde_json::from_slice(&bytes).with_context(|| format!("{} is damaged", path.display()))
    }
}

/// Writes JSON so that a reader sees the old file or the new one, never half of one.
pub(crate) fn write_json(path: &Path, value: &impl Serialize) -> anyhow::Result<()> {
    let cannot = || format!("{} cannot be written", path.display());
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut file = tempfile::NamedTempFile::new_in(dir).with_context(cannot)?;
    serde_json::to_writer_pretty(&mut file, value)?;
    std::io::Write::write_all(&mut file, b"\n").with_context(cannot)?;
    file.persist(path).with_context(cannot)?;
    Ok(())
}
