//! Queries the warehouse as a client would, and notes which quotes it shows.

use std::{
    sync::{Arc, OnceLock},
    time::{Duration, Instant},
};

use jiff::Timestamp;
use quotes::QuoteId;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::watch::{
    latencies::{Latencies, Stage},
    store_counts::StoreCounts,
};

/// The time between queries of bronze for an archived quote: far less than a quote takes.
const EVERY: Duration = Duration::from_millis(100);
/// The next query waits for this many times the last query's duration, to save a busy stand-in.
const PATIENCE: u32 = 2;

/// How long the query of gold waits for running loads.
const LOADS: Duration = Duration::from_millis(500);

/// The state that the observers share.
#[derive(Clone)]
pub(crate) struct Observer {
    pub store_counts: Arc<StoreCounts>,
    pub latencies: Arc<Latencies>,
    /// When gold first showed a quote of this run.
    pub first_gold: Arc<OnceLock<Timestamp>>,
    /// Notified when bronze or the views have changed.
    pub changed: Arc<Notify>,
    pub stop: CancellationToken,
}

impl Observer {
    pub(crate) fn new(
        store_counts: &Arc<StoreCounts>,
        latencies: &Arc<Latencies>,
        stop: &CancellationToken,
    ) -> Self {
        Self {
            store_counts: Arc::clone(store_counts),
            latencies: Arc::clone(latencies),
            first_gold: Arc::default(),
            changed: Arc::default(),
            stop: stop.clone(),
        }
    }

    /// Watches bronze while archived quotes are missing in it.
    pub(crate) async fn bronze(self) -> anyhow::Result<()> {
        let mut pause = EVERY;
        while self.stop.run_until_cancelled(tokio::time::sleep(pause)).await.is_some() {
            let started = Instant::now();
            if self.latencies.awaits(Stage::BronzeRow, Stage::Object) {
                self.look_at_bronze().await;
            }
            pause = EVERY.max(PATIENCE * started.elapsed());
        }
        Ok(())
    }

    /// Watches gold after bronze has changed.
    pub(crate) async fn gold(self) -> anyhow::Result<()> {
        while self.stop.run_until_cancelled(self.changed.notified()).await.is_some() {
            self.loads_have_ended().await;
            let started = Instant::now();
            self.look_at_gold().await;
            tokio::time::sleep(started.elapsed()).await;
        }
        Ok(())
    }

    /// Queries both once.
    pub(crate) async fn look(&self) {
        self.look_at_bronze().await;
        self.look_at_gold().await;
    }

    async fn look_at_bronze(&self) {
        let ids = self.store_counts.recent_bronze().await;
        if self.note(Stage::BronzeRow, ids) {
            self.changed.notify_one();
        }
    }

    /// Waits for a moment until bronze has all archived quotes. The stand-in answers one query after the other, so a
    /// query of gold would delay the loads whose result it should show.
    async fn loads_have_ended(&self) {
        let started = Instant::now();
        while self.latencies.awaits(Stage::BronzeRow, Stage::Object) && started.elapsed() < LOADS {
            tokio::time::sleep(EVERY / 4).await;
        }
    }

    async fn look_at_gold(&self) {
        if !self.store_counts.has_gold() || !self.latencies.awaits(Stage::GoldRow, Stage::BronzeRow) {
            return;
        }
        let ids = self.store_counts.recent_gold().await;
        if self.note(Stage::GoldRow, ids) {
            self.first_gold.get_or_init(Timestamp::now);
        }
    }

    /// Notes the quotes, and returns whether one is new at the stage.
    fn note(&self, stage: Stage, ids: anyhow::Result<Vec<QuoteId>>) -> bool {
        match ids {
            Ok(ids) => self.latencies.arrived(stage, ids),
            Err(error) => {
                tracing::warn!("{error:#}");
                false
            }
        }
    }
}
