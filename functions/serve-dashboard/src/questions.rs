//! All questions: each has a file, and a line in the list below.

mod candles;
mod health;
mod history;
mod kpi;
mod pipeline;
mod snapshot;
mod sparklines;
mod treemap;

use crate::question::Listed;

/// Creates the list, and for the tests each question's description for openapi.json.
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
