use std::{
    collections::BTreeSet,
    sync::atomic::{AtomicU64, Ordering},
};

use lambda_runtime::Context;

use super::*;

const PAGE: usize = 1000;

/// Objects in memory, listed a thousand at a time.
struct Listing(BTreeSet<String>);

impl Archive for &Listing {
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
        let written = Some(Timestamp::from_second(1_704_100_000).unwrap());
        let objects = found.iter().map(|key| Listed { key: key.parse().unwrap(), written }).collect();
        Ok(Page { objects, next })
    }

    fn name(&self) -> &'static str {
        "bronze-transactions"
    }
}

#[derive(Default)]
struct Rows {
    keys: BTreeSet<String>,
    watermarks: Mutex<HashMap<String, i64>>,
    /// The number of keys and the days from the first to the last, of each question.
    asked: Mutex<Vec<(usize, i32)>>,
    /// Rows of quotes that are there already.
    twins: AtomicU64,
}

impl Rows {
    fn new(keys: BTreeSet<String>, watermarks: &[(&str, i64)]) -> Self {
        let watermarks = watermarks.iter().map(|(symbol, last)| ((*symbol).to_owned(), *last)).collect();
        Self { keys, watermarks: Mutex::new(watermarks), ..Self::default() }
    }

    fn watermark(&self, symbol: &str) -> Option<i64> {
        self.watermarks.lock().unwrap().get(symbol).copied()
    }
}

impl Bronze for &Rows {
    async fn compare(&self, keys: &[&ObjectKey]) -> Result<Compared, WarehouseError> {
        let dates = keys.iter().map(|key| key.fetched_date());
        let days = (dates.clone().max().unwrap() - dates.min().unwrap()).get_days();
        self.asked.lock().unwrap().push((keys.len(), days));
        let missing = keys.iter().map(ToString::to_string).filter(|key| !self.keys.contains(key)).collect();
        Ok(Compared { missing, has_twins: self.twins.load(Ordering::Relaxed) > 0 })
    }

    async fn remove_twins(&self, _: &[&ObjectKey]) -> Result<u64, WarehouseError> {
        Ok(self.twins.swap(0, Ordering::Relaxed))
    }

    async fn watermarks(&self) -> Result<HashMap<String, i64>, WarehouseError> {
        Ok(self.watermarks.lock().unwrap().clone())
    }

    async fn raise_watermarks(&self, watermarks: &BTreeMap<&str, i64>) -> Result<(), WarehouseError> {
        assert!(!watermarks.is_empty());
        let raised = watermarks.iter().map(|(symbol, last)| ((*symbol).to_owned(), *last));
        self.watermarks.lock().unwrap().extend(raised);
        Ok(())
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

type Function<'a> = ReconcileQuotes<&'a Listing, &'a Rows, &'a Sent>;

fn function<'a>(archive: &'a Listing, bronze: &'a Rows, sent: &'a Sent) -> Function<'a> {
    ReconcileQuotes::new(archive, bronze, sent, Duration::from_secs(MARGIN_SECONDS), Duration::ZERO)
}

async fn invoke(function: &Function<'_>, request: &str) -> Outcome {
    let mut context = Context::default();
    context.deadline = u64::MAX / 2;
    let payload = serde_json::from_str(request).unwrap();
    function.handle(LambdaEvent { payload, context }).await.unwrap()
}

async fn reconcile(archive: &Listing, bronze: &Rows, request: &str) -> (Outcome, BTreeSet<String>) {
    let sent = Sent::default();
    let outcome = invoke(&function(archive, bronze, &sent), request).await;
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
    let archive = Listing(union([keys("AAPL", 0..7200), keys("MSFT", 0..7200)]));
    let lost = union([keys("AAPL", 1800..5400), keys("MSFT", 1800..5400)]);
    let there = archive.0.difference(&lost).cloned().collect();
    let bronze = Rows::new(there, &[("AAPL", 1_704_007_199), ("MSFT", 1_704_007_199)]);
    let (outcome, queued) = reconcile(&archive, &bronze, "{}").await;
    assert_eq!(queued, lost);
    assert_eq!(outcome, Outcome { symbols: 2, objects: 14_400, queued: 7200, raised: 0 });
}

#[tokio::test]
async fn a_symbol_that_was_never_loaded_is_queued_whole() {
    let archive = Listing(keys("^DJI", 0..2500));
    let bronze = Rows::default();
    let (_, queued) = reconcile(&archive, &bronze, "{}").await;
    assert_eq!(queued, archive.0);
}

#[tokio::test]
async fn nothing_is_queued_that_bronze_has() {
    let archive = Listing(keys("AAPL", 0..1500));
    let bronze = Rows::new(archive.0.clone(), &[]);
    let (outcome, queued) = reconcile(&archive, &bronze, "{}").await;
    assert!(queued.is_empty());
    assert_eq!(outcome.objects, 1500);
}

#[tokio::test]
async fn a_replay_queues_its_symbols_whatever_bronze_has() {
    let archive = Listing(union([keys("AAPL", 0..10), keys("MSFT", 0..10)]));
    let bronze = Rows::new(archive.0.clone(), &[]);
    let (_, queued) =
        reconcile(&archive, &bronze, r#"{"all":true,"symbols":["MSFT"],"from":1704000004}"#).await;
    assert_eq!(queued, keys("MSFT", 4..10));
}

#[tokio::test]
async fn the_watermark_is_the_newest_second_that_is_in_bronze_and_never_falls() {
    let archive = Listing(union([keys("AAPL", 0..10), keys("MSFT", 0..10)]));
    let there = union([keys("AAPL", 0..7), keys("MSFT", 0..7)]);
    let bronze = Rows::new(there, &[("MSFT", 1_704_000_009)]);
    let (outcome, _) = reconcile(&archive, &bronze, "{}").await;
    assert_eq!(outcome.raised, 1);
    assert_eq!(bronze.watermark("AAPL"), Some(1_704_000_006));
    assert_eq!(bronze.watermark("MSFT"), Some(1_704_000_009));
}

#[tokio::test]
async fn a_quote_from_the_future_raises_no_watermark_and_a_watermark_in_the_future_hides_nothing() {
    let future = BTreeSet::from(["FUT/4102444800.json".to_owned()]);
    let archive = Listing(union([keys("FUT", 0..10), future.clone()]));
    let there = union([keys("FUT", 0..9), future]);
    let bronze = Rows::new(there, &[("FUT", 4_102_444_800)]);
    let (_, queued) = reconcile(&archive, &bronze, "{}").await;
    assert_eq!(queued, keys("FUT", 9..10));
    assert_eq!(bronze.watermark("FUT"), Some(1_704_000_008));
}

#[tokio::test]
async fn what_was_found_in_bronze_is_not_asked_for_again_until_something_is_written() {
    let archive = Listing(keys("AAPL", 0..10));
    let bronze = Rows::new(archive.0.clone(), &[]);
    let sent = Sent::default();
    let function = function(&archive, &bronze, &sent);
    invoke(&function, "{}").await;
    // The second of the newest write may have got more objects since: it alone is asked for again.
    function.compared().values_mut().for_each(|until| *until += Duration::from_secs(1));
    let outcome = invoke(&function, "{}").await;
    assert_eq!(outcome, Outcome { symbols: 1, objects: 10, queued: 0, raised: 0 });
    assert_eq!(bronze.asked.lock().unwrap().len(), 1);
    // Who asks for a window gets it compared.
    invoke(&function, r#"{"from":1704000000}"#).await;
    assert_eq!(bronze.asked.lock().unwrap().len(), 2);
}

#[tokio::test]
async fn a_quote_that_two_loads_at_once_inserted_is_left_once() {
    let archive = Listing(keys("AAPL", 0..10));
    let bronze = Rows { twins: AtomicU64::new(3), ..Rows::new(archive.0.clone(), &[]) };
    let (outcome, _) = reconcile(&archive, &bronze, "{}").await;
    assert_eq!((outcome.queued, bronze.twins.load(Ordering::Relaxed)), (0, 0));
}

#[tokio::test]
async fn an_object_that_stays_missing_is_queued_by_every_run() {
    let archive = Listing(keys("AAPL", 0..10));
    let bronze = Rows::new(keys("AAPL", 1..10), &[]);
    let sent = Sent::default();
    let function = function(&archive, &bronze, &sent);
    for _ in 0..3 {
        assert_eq!(invoke(&function, "{}").await.queued, 1);
    }
}

#[tokio::test]
async fn one_statement_compares_many_symbols_and_few_days() {
    let symbols = ["A", "B", "C"].map(|symbol| keys(symbol, 0..500));
    let old = BTreeSet::from(["D/1600000000.json".to_owned()]);
    let archive = Listing(symbols.into_iter().chain([old]).flatten().collect());
    let bronze = Rows::new(archive.0.clone(), &[]);
    reconcile(&archive, &bronze, "{}").await;
    assert_eq!(*bronze.asked.lock().unwrap(), [(1, 0), (1500, 0)]);
}

#[test]
fn every_problem_of_the_environment_is_named() {
    let error = Config::read(Environment::default()).unwrap_err().to_string();
    for name in ["BRONZE_BUCKET", "ARCHIVED_QUEUE_URL", "BIGQUERY_PROJECT"] {
        assert!(error.contains(name), "{name} in {error}");
    }
}
