//! The schedule of transform-quotes.

use std::{sync::Arc, time::Duration};

use runtime_api::{Function, InvokeError};
use tokio::{sync::Notify, task::JoinHandle};
use tokio_util::sync::CancellationToken;

use crate::{ledger::Ledger, metrics::Metrics, names};

/// From the end of one run to the next. The cloud's schedule has 15 minutes, because a run is billed there; here it costs
/// nothing, and a short try of the flow shows quotes that are settled, too.
const PAUSE: Duration = Duration::from_mins(3);
/// The pause after a run that failed.
const PAUSE_AFTER_FAILURE: Duration = Duration::from_secs(5);

/// A run of transform-quotes that goes on beside everything else.
pub(crate) struct Settling(JoinHandle<Result<Vec<u8>, InvokeError>>);

impl Settling {
    /// Settles what was loaded, and makes the views that are missing.
    pub(crate) fn start(function: &Arc<Function>, metrics: &Arc<Metrics>) -> Self {
        let (function, metrics) = (Arc::clone(function), Arc::clone(metrics));
        Self(tokio::spawn(async move { metrics.invoke(&function, "{}".to_owned()).await }))
    }
}

/// Invokes transform-quotes from time to time, one run after the other.
pub(crate) struct Transform {
    /// The run that makes the views before the first quote comes.
    pub first: Settling,
    pub function: Arc<Function>,
    pub ledger: Arc<Ledger>,
    pub metrics: Arc<Metrics>,
    /// Told of every run.
    pub transformed: Arc<Notify>,
}

impl Transform {
    /// Goes on until it is told to stop. A run that is under way then ends with its function.
    pub(crate) async fn run(self, stop: CancellationToken) -> anyhow::Result<()> {
        let mut settling = self.first;
        loop {
            let Some(ended) = stop.run_until_cancelled(settling.0).await else { return Ok(()) };
            let pause = match ended? {
                Ok(_) => {
                    self.ledger.gold_is_there();
                    self.transformed.notify_one();
                    PAUSE
                }
                Err(error) => {
                    tracing::warn!("{} failed and is tried again: {error}", names::TRANSFORM);
                    self.ledger.add_failed(1);
                    PAUSE_AFTER_FAILURE
                }
            };
            if stop.run_until_cancelled(tokio::time::sleep(pause)).await.is_none() {
                return Ok(());
            }
            settling = Settling::start(&self.function, &self.metrics);
        }
    }
}
