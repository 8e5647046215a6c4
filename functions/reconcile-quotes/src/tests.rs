use std::{
    collections::{BTreeSet, HashMap},
    sync::Mutex,
};

use lambda_runtime::Context;

use super::*;

const PAGE: usize = 1000;

/// Objects in memory, listed a thousand at a time.
struct Listed(BTreeSet<String>);

impl Archive for &Listed {
    async fn symbols(&self) -> Result<Vec<Symbol>, ReconcileError> {
        let symbols: BTreeSet<&str> = self.0.iter().filter_map(|key| key.split('/').next()).collect();
        Ok(symbols.into_iter().map(|symbol| symbol.parse().unwrap()).collect())
    }

    async fn page(
        &self,
        symbol: &Symbol,
        window: Window,
        next: Option<String>,
    ) -> Result<Page, ReconcileError> {
        let after = next.unwrap_or_else(|| ObjectKey::just_before(symbol, window.from));
        let prefix = ObjectKey::prefix(symbol);
        let found: Vec<String> = self
            .0
            .range(after.clone()..)
            .filter(|key| **key > after && key.starts_with(&prefix))
            .take(PAGE)
            .cloned()
            .collect();
        let next = (found.len() == PAGE).then(|| found[PAGE - 1].clone());
        let keys = found.iter().map(|key| key.parse().unwrap()).collect();
        Ok(Page { keys, next })
    }

    fn name(&self) -> &'static str {
        "bronze-transactions"
    }
}

struct Rows {
    keys: BTreeSet<String>,
    watermarks: HashMap<String, i64>,
}

impl Bronze for &Rows {
    async fn lacking(&self, keys: &[ObjectKey]) -> Result<Vec<String>, WarehouseError> {
        Ok(keys.iter().map(ToString::to_string).filter(|key| !self.keys.contains(key)).collect())
    }

    async fn watermarks(&self) -> Result<HashMap<String, i64>, WarehouseError> {
        Ok(self.watermarks.clone())
    }
}

#[derive(Default)]
struct Sent(Mutex<Vec<String>>);

impl Queue for &Sent {
    async fn send(&self, _: &str, keys: &[String]) -> Result<(), ReconcileError> {
        self.0.lock().unwrap().extend_from_slice(keys);
        Ok(())
    }
}

fn keys(symbol: &str, seconds: std::ops::Range<i64>) -> BTreeSet<String> {
    seconds
        .map(|second| ObjectKey::new(symbol.parse().unwrap(), 1_704_000_000 + second).to_string())
        .collect()
}

async fn reconcile(archive: &Listed, bronze: &Rows, request: &str) -> (Outcome, BTreeSet<String>) {
    let sent = Sent::default();
    let function =
        ReconcileQuotes::new(archive, bronze, &sent, Duration::from_secs(MARGIN_SECONDS), Duration::ZERO);
    let mut context = Context::default();
    context.deadline = u64::MAX / 2;
    let payload = serde_json::from_str(request).unwrap();
    let outcome = function.handle(LambdaEvent { payload, context }).await.unwrap();
    let sent = sent.0.into_inner().unwrap();
    let unique: BTreeSet<String> = sent.iter().cloned().collect();
    assert_eq!(unique.len(), sent.len(), "a key was queued twice");
    (outcome, unique)
}

fn union(parts: [BTreeSet<String>; 2]) -> BTreeSet<String> {
    parts.into_iter().flatten().collect()
}

#[tokio::test]
async fn an_hour_of_lost_notifications_is_queued_exactly() {
    let archive = Listed(union([keys("AAPL", 0..7200), keys("MSFT", 0..7200)]));
    let lost = union([keys("AAPL", 1800..5400), keys("MSFT", 1800..5400)]);
    let bronze = Rows {
        keys: archive.0.difference(&lost).cloned().collect(),
        watermarks: ["AAPL", "MSFT"].map(|symbol| (symbol.to_owned(), 1_704_007_199)).into(),
    };
    let (outcome, queued) = reconcile(&archive, &bronze, "{}").await;
    assert_eq!(queued, lost);
    assert_eq!(outcome, Outcome { symbols: 2, objects: 14_400, queued: 7200 });
}

#[tokio::test]
async fn a_symbol_that_was_never_loaded_is_queued_whole() {
    let archive = Listed(keys("^DJI", 0..2500));
    let bronze = Rows { keys: BTreeSet::new(), watermarks: HashMap::new() };
    let (_, queued) = reconcile(&archive, &bronze, "{}").await;
    assert_eq!(queued, archive.0);
}

#[tokio::test]
async fn nothing_is_queued_that_bronze_has() {
    let archive = Listed(keys("AAPL", 0..1500));
    let bronze = Rows { keys: archive.0.clone(), watermarks: HashMap::new() };
    let (outcome, queued) = reconcile(&archive, &bronze, "{}").await;
    assert!(queued.is_empty());
    assert_eq!(outcome.objects, 1500);
}

#[tokio::test]
async fn a_replay_queues_its_symbols_whatever_bronze_has() {
    let archive = Listed(union([keys("AAPL", 0..10), keys("MSFT", 0..10)]));
    let bronze = Rows { keys: archive.0.clone(), watermarks: HashMap::new() };
    let (_, queued) =
        reconcile(&archive, &bronze, r#"{"all":true,"symbols":["MSFT"],"from":1704000004}"#).await;
    assert_eq!(queued, keys("MSFT", 4..10));
}

#[test]
fn every_problem_of_the_environment_is_named() {
    let error = Config::read(Environment::default()).unwrap_err().to_string();
    for name in ["BRONZE_BUCKET", "ARCHIVED_QUEUE_URL", "BIGQUERY_PROJECT"] {
        assert!(error.contains(name), "{name} in {error}");
    }
}
