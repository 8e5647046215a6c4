//! The report of a run.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Serialize;

use crate::{
    base::endpoints::Endpoints,
    watch::{
        bill::CloudReport,
        latencies::{Latency, Stage},
        metrics::FunctionMetrics,
        store_counts::Counts,
    },
};

/// Whether the flow is running.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Phase {
    Running,
    Finished,
}

/// The report that `--report` writes.
#[derive(Debug, Serialize)]
pub(crate) struct Report<'a> {
    pub phase: Phase,
    pub started_at: Timestamp,
    pub written_at: Timestamp,
    /// When gold first showed a quote of this run.
    pub first_gold_at: Option<Timestamp>,
    /// How many quotes the stores have of each stage, including those of earlier runs.
    pub stages: Stages,
    /// Records in the quarantine bucket.
    pub quarantined: u64,
    /// Failed invocations of this run, and messages in the dead-letter queue.
    pub failed: u64,
    /// From the fetch to each stage, in milliseconds, as a client sees it; this run's quotes only.
    pub latency_ms: BTreeMap<Stage, Latency>,
    /// Each function's metrics by its name, for this run's invocations only.
    pub metrics: BTreeMap<String, FunctionMetrics>,
    pub endpoints: &'a Endpoints,
    /// The usage of BigQuery and the cost of the run; absent without `--cloud-latency`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cloud: Option<&'a CloudReport>,
}

#[derive(Debug, Serialize)]
pub(crate) struct Stages {
    pub fetched: Count,
    pub published: Count,
    pub archived: Count,
    pub loaded: Count,
    pub silver: Count,
}

#[derive(Debug, Serialize)]
pub(crate) struct Count {
    pub count: u64,
}

impl From<Counts> for Stages {
    fn from(counts: Counts) -> Self {
        Self {
            fetched: Count { count: counts.fetched },
            published: Count { count: counts.published },
            archived: Count { count: counts.archived },
            loaded: Count { count: counts.loaded },
            silver: Count { count: counts.silver },
        }
    }
}
