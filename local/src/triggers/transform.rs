//! The schedule of transform-quotes.

use std::{sync::Arc, time::Duration};

use runtime_api::{Function, InvokeError};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::{
    base::names,
    watch::{metrics::Metrics, store_counts::StoreCounts},
};

/// From the end of one run to the next. The cloud's schedule has 15 minutes, because a run is billed there. Here it
/// costs nothing, and with a shorter pause even a short trial shows settled quotes.
const PAUSE: Duration = Duration::from_mins(3);
/// The pause after a run that failed.
const PAUSE_AFTER_FAILURE: Duration = Duration::from_secs(5);

/// The result of a run of transform-quotes.
pub(crate) type Settled = Result<Vec<u8>, InvokeError>;

/// Settles the loaded quotes, and creates missing views.
pub(crate) async fn settle(function: Arc<Function>, metrics: Arc<Metrics>) -> Settled {
    metrics.invoke(&function, "{}".to_owned()).await
}

/// Invokes transform-quotes from time to time, one run after the other.
pub(crate) struct Transform {
    pub function: Arc<Function>,
    pub store_counts: Arc<StoreCounts>,
    pub metrics: Arc<Metrics>,
    /// Notified of every run.
    pub transformed: Arc<Notify>,
}

impl Transform {
    /// Notes the result of a run, and returns the pause until the next.
    pub(crate) fn note(&self, settled: Settled) -> Duration {
        match settled {
            Ok(_) => {
                self.store_counts.set_has_gold();
                self.transformed.notify_one();
                PAUSE
            }
            Err(error) => {
                tracing::warn!("{} failed and is tried again: {error}", names::TRANSFORM);
                self.store_counts.add_failed(1);
                PAUSE_AFTER_FAILURE
            }
        }
    }

    /// Begins after a pause, and continues until it is stopped. A current run then ends with its function.
    pub(crate) async fn run(self, mut pause: Duration, stop: CancellationToken) -> anyhow::Result<()> {
        while stop.run_until_cancelled(tokio::time::sleep(pause)).await.is_some() {
            let settling = settle(Arc::clone(&self.function), Arc::clone(&self.metrics));
            let Some(settled) = stop.run_until_cancelled(settling).await else { break };
            pause = self.note(settled);
        }
        Ok(())
    }
}
