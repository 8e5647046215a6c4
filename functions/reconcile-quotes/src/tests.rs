use std::{
    collections::BTreeSet,
    sync::atomic::{AtomicU64, Ordering},
};

use lambda_runtime::Context;
use quotes::{Coordinates, ObjectKey};

use super::*;

const PAGE: usize = 1000;

/// Objects in memory, listed a thousand at a time.
struct Listing(BTreeSet<String>);

/// The ids of a batch's quotes here.
fn ids_of(key: &ArchiveKey) -> Vec<QuoteId> {
    let ArchiveKey::Batch(BatchKey { first, last, topic, .. }) = key else { return Vec::new() };
    let id = |offset| {
        Coordinates { topic: topic.clone(), partition: 0, offset, timestamp_ms: 1 }.derive_quote_id()
    };
    (*first..=*last).map(id).collect()
}

impl Archive for &Listing {
    async fn folders(&self) -> Result<Vec<Symbol>, ReconcileError> {
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
        let listed = found.iter().map(|key| Listed { key: key.parse().unwrap(), written });
        let objects = listed.filter(|listed| window.reaches(&listed.key)).collect();
        Ok(Page { objects, next })
    }

    async fn get(&self, key: &ArchiveKey) -> Result<Option<Vec<u8>>, ReconcileError> {
        let line = |id: QuoteId| format!(r#"{{"symbol":"A","fetched_at":1704000000,"quote_id":"{id}"}}"#);
        let lines: Vec<String> = ids_of(key).into_iter().map(line).collect();
        let compression = Compression::of_key(&key.to_string()).unwrap();
        Ok(self
            .0
            .contains(&key.to_string())
            .then(|| compression.compress(lines.join("\n").as_bytes()).unwrap()))
    }

    fn name(&self) -> &'static str {
        "bronze-transactions"
    }
}

#[derive(Default)]
struct Rows {
    keys: BTreeSet<String>,
    watermarks: Mutex<HashMap<String, i64>>,
    /// The number of keys and the days from the first to the last, of each query.
    asked: Mutex<Vec<(usize, i32)>>,
    /// Duplicate rows.
    duplicates: AtomicU64,
    /// The quotes that were loaded from batches, with their keys.
    of_batches: HashMap<QuoteId, String>,
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
    async fn compare(&self, keys: &[&ArchiveKey]) -> Result<Compared, WarehouseError> {
        let dates = keys.iter().map(|key| key.fetched_date());
        let days = (dates.clone().max().unwrap() - dates.min().unwrap()).get_days();
        self.asked.lock().unwrap().push((keys.len(), days));
        let rows = |key: &str| self.of_batches.values().filter(|from| *from == key).count() as u64;
        let is_missing = |key: &&&ArchiveKey| match key {
            ArchiveKey::Quote(key) => !self.keys.contains(&key.to_string()),
            ArchiveKey::Batch(batch) => rows(&key.to_string()) < batch.quotes,
        };
        let missing = keys.iter().filter(is_missing).map(ToString::to_string).collect();
        Ok(Compared { missing, has_duplicates: self.duplicates.load(Ordering::Relaxed) > 0 })
    }

    async fn missing_keys(
        &self,
        objects: &[(&ArchiveKey, Vec<QuoteId>)],
    ) -> Result<HashSet<String>, WarehouseError> {
        let is_incomplete = |ids: &[QuoteId]| ids.iter().any(|id| !self.of_batches.contains_key(id));
        Ok(objects.iter().filter(|(_, ids)| is_incomplete(ids)).map(|(key, _)| key.to_string()).collect())
    }

    async fn newest(&self, keys: &[&ArchiveKey]) -> Result<HashMap<String, i64>, WarehouseError> {
        let loaded = |key: &&&ArchiveKey| self.of_batches.values().any(|from| *from == key.to_string());
        let newest = keys.iter().filter(loaded).map(|key| key.newest_and_oldest().0).max();
        Ok(newest.map(|newest| ("A".to_owned(), newest)).into_iter().collect())
    }

    async fn remove_duplicates(&self, _: &[&ArchiveKey]) -> Result<u64, WarehouseError> {
        Ok(self.duplicates.swap(0, Ordering::Relaxed))
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
    ReconcileQuotes::new(archive, bronze, sent, Duration::from_hours(6), Duration::ZERO)
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
async fn an_object_of_the_future_is_left_until_its_time_comes() {
    let archive = Listing(union([keys("FUT", 0..10), BTreeSet::from(["FUT/4102444800.json".to_owned()])]));
    let bronze = Rows::new(keys("FUT", 0..10), &[]);
    assert_eq!(reconcile(&archive, &bronze, "{}").await.1, BTreeSet::new());
    let (_, queued) = reconcile(&archive, &bronze, r#"{"to":4102444800}"#).await;
    assert_eq!(queued, BTreeSet::from(["FUT/4102444800.json".to_owned()]));
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
    // Objects may have been added in the second of the newest write, so only this second is compared again.
    lock(&function.compared).values_mut().for_each(|until| *until += Duration::from_secs(1));
    let outcome = invoke(&function, "{}").await;
    assert_eq!(outcome, Outcome { symbols: 1, objects: 10, queued: 0, raised: 0 });
    assert_eq!(bronze.asked.lock().unwrap().len(), 1);
    // A requested window is always compared.
    invoke(&function, r#"{"from":1704000000}"#).await;
    assert_eq!(bronze.asked.lock().unwrap().len(), 2);
}

#[tokio::test]
async fn a_quote_that_two_loads_at_once_inserted_is_left_once() {
    let archive = Listing(keys("AAPL", 0..10));
    let bronze = Rows { duplicates: AtomicU64::new(3), ..Rows::new(archive.0.clone(), &[]) };
    let (outcome, _) = reconcile(&archive, &bronze, "{}").await;
    assert_eq!((outcome.queued, bronze.duplicates.load(Ordering::Relaxed)), (0, 0));
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

/// A batch of the offsets, fetched a second apart.
fn batch(first: i64, last: i64) -> String {
    let (oldest, newest) = (1_704_000_000 + first, 1_704_000_000 + last);
    format!("batches/{newest}-{oldest}-{}-t-0-{first}-{last}.ndjson.gz", last - first + 1)
}

fn loaded(keys: &[String], is_loaded: impl Fn(usize) -> bool) -> HashMap<QuoteId, String> {
    let mut of_batches = HashMap::new();
    for key in keys {
        let ids = ids_of(&key.parse().unwrap()).into_iter().enumerate();
        for (_, id) in ids.filter(|(at, _)| is_loaded(*at)) {
            of_batches.entry(id).or_insert_with(|| key.clone());
        }
    }
    of_batches
}

#[tokio::test]
async fn a_batch_that_was_lost_or_loaded_in_part_is_queued_and_those_beside_it_are_not() {
    let all: Vec<String> = (0..3).map(|number| batch(10 * number, 10 * number + 9)).collect();
    let single = keys("MSFT", 0..10);
    let archive = Listing(all.iter().cloned().chain(single.clone()).collect());
    let mut of_batches = loaded(&all[..1], |_| true);
    of_batches.extend(loaded(&all[1..2], |line| line < 7));
    let bronze = Rows { of_batches, ..Rows::new(single, &[]) };
    let (outcome, queued) = reconcile(&archive, &bronze, "{}").await;
    assert_eq!(queued, all[1..].iter().cloned().collect());
    assert_eq!((outcome.symbols, outcome.objects, outcome.queued), (1, 13, 2));
    // The symbols' watermarks are those of the quotes in complete batches.
    assert_eq!(bronze.watermark("A"), Some(1_704_000_009));
    assert_eq!(bronze.watermark("MSFT"), Some(1_704_000_009));
    assert_eq!(bronze.watermark("batches"), None);
}

#[tokio::test]
async fn a_batch_whose_quotes_were_loaded_from_others_is_not_queued() {
    // An event was tried again, cut differently.
    let cut = [batch(0, 5), batch(6, 20)];
    let overlapping = [batch(0, 9), batch(10, 20), batch(3, 8)];
    let archive = Listing(cut.iter().chain(&overlapping).cloned().collect());
    let bronze = Rows { of_batches: loaded(&cut, |_| true), ..Rows::default() };
    let (outcome, queued) = reconcile(&archive, &bronze, "{}").await;
    assert_eq!((outcome.queued, queued.len()), (0, 0));
    // One quote is missing, so the batches with it are queued again.
    let mut of_batches = loaded(&cut, |_| true);
    of_batches.remove(&ids_of(&batch(4, 4).parse().unwrap())[0]);
    let bronze = Rows { of_batches, ..Rows::default() };
    let (_, queued) = reconcile(&archive, &bronze, "{}").await;
    assert_eq!(queued, [cut[0].clone(), overlapping[0].clone(), overlapping[2].clone()].into());
}

#[tokio::test]
async fn a_replay_of_a_symbol_queues_the_batches_of_its_time_too() {
    let all: Vec<String> = (0..3).map(|number| batch(10 * number, 10 * number + 9)).collect();
    let archive =
        Listing(all.iter().cloned().chain(keys("MSFT", 0..10)).chain(keys("AAPL", 0..10)).collect());
    let bronze = Rows { of_batches: loaded(&all, |_| true), ..Rows::default() };
    let (_, queued) =
        reconcile(&archive, &bronze, r#"{"all":true,"symbols":["MSFT"],"from":1704000005,"to":1704000019}"#)
            .await;
    assert_eq!(queued, union([keys("MSFT", 5..10), all[..2].iter().cloned().collect()]));
}

#[test]
fn every_problem_of_the_environment_is_named() {
    let error = Config::read(ABOUT.environment(&[])).unwrap_err().to_string();
    for name in ["BRONZE_BUCKET", "ARCHIVED_QUEUE_URL", "BIGQUERY_PROJECT"] {
        assert!(error.contains(name), "{name} in {error}");
    }
}
