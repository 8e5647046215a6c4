//! Metrics in CloudWatch's embedded format: one line of the log an invocation, from which CloudWatch makes metrics of
//! the namespace `Quoteflow` with the dimension `function`.
//!
//! Format: <https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html>

use std::io::Write;

use metrics_cloudwatch_embedded::{Builder, Collector};

const NAMESPACE: &str = "Quoteflow";

/// Adds to a count of this invocation, such as `Loaded`; nothing is written where it stays 0.
pub fn count(name: &'static str, count: u64) {
    metrics::counter!(name).increment(count);
}

/// As [`count`], by reason: a dimension of its own.
pub fn count_by_reason(name: &'static str, reason: &'static str, count: u64) {
    metrics::counter!(name, "reason" => reason).increment(count);
}

/// Notes a duration of this invocation, such as `FreshnessSeconds`, in seconds.
pub fn seconds(name: &'static str, seconds: f64) {
    metrics::describe_histogram!(name, metrics::Unit::Seconds, "");
    metrics::histogram!(name).record(seconds);
}

/// Where the process's metrics are gathered; without it, in tests, they go nowhere.
pub(crate) fn collector(
    function: &'static str,
) -> Result<&'static Collector, metrics_cloudwatch_embedded::Error> {
    Builder::new().cloudwatch_namespace(NAMESPACE).with_dimension("function", function).init()
}

/// Writes what was gathered since the last time.
pub(crate) fn write(collector: &Collector) {
    let mut lines = Vec::new();
    // In one piece, so that no other line of the log comes between.
    let written = collector.flush(&mut lines).and_then(|()| std::io::stdout().write_all(&lines));
    if let Err(error) = written {
        tracing::warn!("the metrics of this invocation are lost: {error}");
    }
}
