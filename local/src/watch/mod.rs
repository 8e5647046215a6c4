//! The output of a run: counts, latencies, logs, metrics and reports.

pub(crate) mod bill;
pub(crate) mod emf;
pub(crate) mod latencies;
pub(crate) mod logs;
pub(crate) mod metrics;
pub(crate) mod observe;
pub(crate) mod pipeline;
pub(crate) mod report;
pub(crate) mod screen;
pub(crate) mod stall;
pub(crate) mod store_counts;
