//! Metrics in CloudWatch's embedded format: one log line for each invocation. CloudWatch turns it into metrics in the
//! namespace `Quoteflow`. Their dimension `function` is the deployed function's name, which keeps deployments apart.
//!
//! Format:
//! <https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html>

use std::{collections::BTreeMap, io::Write, mem, sync::Mutex};

use metrics_cloudwatch_embedded::{Builder, Collector};

use crate::lock;

include!(concat!(env!("OUT_DIR"), "/metrics.rs"));

/// The most values of a metric on one line. The collector drops the rest.
const LINE_VALUES: usize = 100;

/// Durations that were added and not yet written.
static SECONDS: Mutex<BTreeMap<&'static str, Vec<f64>>> = Mutex::new(BTreeMap::new());

/// A count of this invocation, such as [`LOADED`].
pub struct Count(&'static str);

impl Count {
    /// Adds to the count. A count of 0 is not written.
    pub fn add(&self, count: u64) {
        metrics::counter!(self.0).increment(count);
    }
}

/// As [`Count`], with the reason as a dimension.
pub struct CountByReason(&'static str);

impl CountByReason {
    /// Adds to the count of a reason.
    pub fn add(&self, reason: &'static str, count: u64) {
        metrics::counter!(self.0, "reason" => reason).increment(count);
    }
}

/// A duration of this invocation, such as [`FRESHNESS_SECONDS`].
pub struct Seconds(&'static str);

impl Seconds {
    /// Adds a duration in seconds. Each value is written separately, in tenths of a millisecond. A hundred of them take
    /// 700 bytes.
    pub fn add(&self, seconds: f64) {
        let seconds = (seconds * 1e4).round() / 1e4;
        lock(&SECONDS).entry(self.0).or_default().push(seconds);
    }
}

/// Gathers the process's metrics. Without it, as in tests, they are dropped.
pub(crate) fn collector(function: String) -> Result<&'static Collector, metrics_cloudwatch_embedded::Error> {
    Builder::new().cloudwatch_namespace(NAMESPACE).with_dimension("function", function).init()
}

/// Writes the metrics gathered since the last call: one line, and one more for each further hundred durations.
pub(crate) fn write(collector: &Collector) {
    let mut seconds = mem::take(&mut *lock(&SECONDS));
    let mut lines = Vec::new();
    let mut written = Ok(());
    loop {
        for (name, values) in &mut seconds {
            metrics::describe_histogram!(*name, metrics::Unit::Seconds, "");
            let rest = values.split_off(values.len().min(LINE_VALUES));
            for value in mem::replace(values, rest) {
                metrics::histogram!(*name).record(value);
            }
        }
        written = written.and_then(|()| collector.flush(&mut lines));
        if seconds.values().all(Vec::is_empty) {
            break;
        }
    }
    // In one piece, so that no other log line can be written in between.
    if let Err(error) = written.and_then(|()| std::io::stdout().write_all(&lines)) {
        tracing::warn!("the metrics of this invocation are lost: {error}");
    }
}
