//! Every question there is: a file each, and a line in the list below.

mod candles;
mod health;
mod history;
mod kpi;
mod pipeline;
mod snapshot;
mod sparklines;
mod treemap;

use crate::question::Listed;

/// Makes the list, and for the tests what openapi.json says of each question.
macro_rules! questions {
    ($($question:ty),* $(,)?) => {
        /// Every question that a client can ask.
        pub const ALL: &[Listed] = &[$(Listed::of::<$question>()),*];

        #[cfg(test)]
        pub const DESCRIBED: &[crate::openapi::Describe] = &[$(crate::openapi::describe::<$question>),*];
    };
}

questions![
    kpi::KpiQuestion,
    candles::CandlesQuestion,
    history::HistoryQuestion,
    treemap::TreemapQuestion,
    sparklines::SparklinesQuestion,
    health::HealthQuestion,
    pipeline::PipelineQuestion,
    snapshot::SnapshotQuestion,
];
