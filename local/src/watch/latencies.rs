//! The progress of quotes: how many reached each stage, and how long they took.

use std::{
    collections::{BTreeMap, HashMap},
    ops::Bound::{Excluded, Included, Unbounded},
    sync::{Arc, Mutex, MutexGuard},
};

use function_kit::lock;
use hdrhistogram::Histogram;
use quotes::QuoteId;
use serde::Serialize;

use crate::{base::clock::now_ms, watch::metrics::Metrics};

/// An hour, in milliseconds: a longer latency counts as one.
const LONGEST: u64 = 3_600_000;
/// The number of remembered quotes above which old ones are forgotten.
const FORGET_ABOVE: usize = 500_000;

/// Where a quote has been seen, in the order of the flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Stage {
    /// In Kafka, acknowledged and readable.
    KafkaAck,
    /// In the bucket.
    Object,
    /// In the raw table.
    BronzeRow,
    /// In gold.
    GoldRow,
}

impl Stage {
    /// The stage's name in the report.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::KafkaAck => "kafka_ack",
            Self::Object => "object",
            Self::BronzeRow => "bronze_row",
            Self::GoldRow => "gold_row",
        }
    }
}

/// The latencies from the fetch to a stage, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(crate) struct Latency {
    pub quotes: u64,
    pub p50: u64,
    pub p95: u64,
    pub max: u64,
}

/// The quotes that this run saw, by the milliseconds in their ids.
pub(crate) struct Latencies {
    started_ms: u64,
    metrics: Arc<Metrics>,
    seen: Mutex<Seen>,
}

struct Seen {
    latest: HashMap<QuoteId, Stage>,
    histograms: BTreeMap<Stage, Histogram<u64>>,
}

impl Latencies {
    pub(crate) fn new(metrics: Arc<Metrics>) -> anyhow::Result<Self> {
        let stages = [Stage::KafkaAck, Stage::Object, Stage::BronzeRow, Stage::GoldRow];
        let empty = |stage| Ok((stage, Histogram::new_with_max(LONGEST, 3)?));
        let histograms = stages.into_iter().map(empty).collect::<anyhow::Result<_>>()?;
        let seen = Mutex::new(Seen { latest: HashMap::new(), histograms });
        Ok(Self { started_ms: now_ms(), metrics, seen })
    }

    /// Notes that the quotes are at `stage` now. Quotes of earlier runs are left out, because they waited for this
    /// run to start. Returns whether one of the quotes is new there.
    pub(crate) fn arrived(&self, stage: Stage, ids: impl IntoIterator<Item = QuoteId>) -> bool {
        let now = now_ms();
        let mut is_new = false;
        let mut seen = self.seen();
        for id in ids {
            let Some(fetched_ms) = id.fetched_at_ms().filter(|ms| *ms >= self.started_ms) else { continue };
            let known = seen.latest.get(&id).copied();
            if known >= Some(stage) {
                continue;
            }
            is_new = true;
            seen.latest.insert(id, stage);
            // A quote at a stage has passed the stages before it, even if it was not seen there.
            let latency = now.saturating_sub(fetched_ms).max(1);
            for (passed, histogram) in
                seen.histograms.range_mut((known.map_or(Unbounded, Excluded), Included(stage)))
            {
                histogram.saturating_record(latency);
                self.metrics.add_latency(passed.name(), latency);
            }
        }
        if seen.latest.len() > FORGET_ABOVE {
            let recent = now.saturating_sub(LONGEST);
            seen.latest.retain(|id, _| id.fetched_at_ms().is_some_and(|ms| ms > recent));
        }
        is_new
    }

    /// Whether a quote was seen at `before` and not yet at `after`.
    pub(crate) fn awaits(&self, after: Stage, before: Stage) -> bool {
        let seen = self.seen();
        let count = |stage| seen.histograms.get(&stage).map_or(0, Histogram::len);
        count(before) > count(after)
    }

    /// The latencies to every stage that a quote has reached.
    pub(crate) fn by_stage(&self) -> BTreeMap<Stage, Latency> {
        let latency = |histogram: &Histogram<u64>| Latency {
            quotes: histogram.len(),
            p50: histogram.value_at_quantile(0.5),
            p95: histogram.value_at_quantile(0.95),
            max: histogram.max(),
        };
        self.seen().histograms.iter().map(|(stage, histogram)| (*stage, latency(histogram))).collect()
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        lock(&self.seen)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quote_counts_once_at_each_stage_and_one_of_an_earlier_run_does_not() {
        let latencies = Latencies::new(Arc::new(Metrics::new().unwrap())).unwrap();
        let (now, before) = (QuoteId::at(now_ms()), QuoteId::at(now_ms() - 3_600_000));
        for is_new in [true, false] {
            assert_eq!(latencies.arrived(Stage::KafkaAck, [now, before]), is_new);
            assert_eq!(latencies.arrived(Stage::Object, [now, before]), is_new);
        }
        let counted = || latencies.by_stage().values().map(|latency| latency.quotes).collect::<Vec<_>>();
        assert_eq!(counted(), [1, 1, 0, 0]);
        assert!(latencies.awaits(Stage::BronzeRow, Stage::Object));
    }

    #[test]
    fn a_quote_in_gold_has_passed_every_stage() {
        let latencies = Latencies::new(Arc::new(Metrics::new().unwrap())).unwrap();
        let id = QuoteId::at(now_ms());
        latencies.arrived(Stage::GoldRow, [id]);
        latencies.arrived(Stage::BronzeRow, [id]);
        let counted: Vec<u64> = latencies.by_stage().values().map(|latency| latency.quotes).collect();
        assert_eq!(counted, [1, 1, 1, 1]);
    }
}
