//! Looks into the warehouse as a client would, and notes which quotes it shows.

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use jiff::Timestamp;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::{
    book::{Book, Stage},
    ledger::Ledger,
};

/// How often bronze is asked for a quote that is on its way there.
const EVERY: Duration = Duration::from_millis(200);

/// What the observers share.
#[derive(Clone)]
pub(crate) struct Observer {
    pub ledger: Arc<Ledger>,
    pub book: Arc<Book>,
    /// When gold first showed a quote of this run.
    pub first_gold: Arc<OnceLock<Timestamp>>,
    pub stop: CancellationToken,
}

impl Observer {
    /// Watches bronze while it lacks quotes that are archived.
    pub(crate) async fn bronze(self) -> anyhow::Result<()> {
        while self.stop.run_until_cancelled(tokio::time::sleep(EVERY)).await.is_some() {
            if self.book.awaits(Stage::BronzeRow, Stage::Object) {
                match self.ledger.recent_bronze().await {
                    Ok(ids) => self.book.arrived(Stage::BronzeRow, ids),
                    Err(error) => tracing::warn!("{error:#}"),
                }
            }
        }
        Ok(())
    }

    /// Watches gold: what it shows after a run of dbt.
    pub(crate) async fn gold(self, transformed: Arc<Notify>) -> anyhow::Result<()> {
        while self.stop.run_until_cancelled(transformed.notified()).await.is_some() {
            self.ledger.gold_is_there();
            match self.ledger.recent_gold().await {
                Ok(ids) => self.book.arrived(Stage::GoldRow, ids),
                Err(error) => tracing::warn!("{error:#}"),
            }
            if self.book.latencies().get(&Stage::GoldRow).is_some_and(|gold| gold.quotes > 0) {
                self.first_gold.get_or_init(Timestamp::now);
            }
        }
        Ok(())
    }
}
