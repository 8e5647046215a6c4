use std::{
    collections::HashSet,
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, SystemTime},
};

use function_kit::aws::CallError;
use lambda_runtime::Context;
use proptest::prelude::*;
use serde_json::json;

use super::*;

#[derive(Default)]
struct Memory {
    objects: HashMap<String, Vec<u8>>,
    outage: bool,
}

impl Objects for Memory {
    async fn get(&self, object: &ObjectRef) -> Result<Option<Object>, ReadError> {
        if self.outage {
            let (bucket, key) = (object.bucket.clone(), object.key.clone());
            let source = CallError { reason: "503 Slow Down".into(), is_retryable: true };
            return Err(ReadError { bucket, key, source });
        }
        Ok(self.objects.get(&object.key).map(|bytes| Object { bytes: bytes.clone(), trace: None }))
    }
}

/// Bronze in memory: quote ids. With `refuse`, every load fails.
#[derive(Default)]
struct FakeBronze {
    rows: Mutex<Vec<serde_json::Value>>,
    ids: Mutex<HashSet<String>>,
    largest: AtomicUsize,
    /// The bytes of the largest load's rows.
    largest_bytes: AtomicUsize,
    loads: AtomicUsize,
    /// How long a load takes.
    pace: Duration,
    refuse: Option<bool>,
}

impl FakeBronze {
    fn keys(&self) -> Vec<String> {
        let rows = self.rows.lock().unwrap();
        let mut keys: Vec<_> =
            rows.iter().map(|row| row["object_key"].as_str().unwrap().to_owned()).collect();
        keys.sort();
        keys
    }
}

impl Bronze for &FakeBronze {
    async fn load(&self, rows: &[BronzeRow]) -> Result<Loaded, WarehouseError> {
        if let Some(passing) = self.refuse {
            let message = "Exceeded rate limits".to_owned();
            return Err(WarehouseError::Refused { statement: "the MERGE", code: 403, message, passing });
        }
        tokio::time::sleep(self.pace).await;
        self.loads.fetch_add(1, Ordering::Relaxed);
        self.largest.fetch_max(rows.len(), Ordering::Relaxed);
        self.largest_bytes.fetch_max(rows.iter().map(|row| row.json().len()).sum(), Ordering::Relaxed);
        let (mut there, mut ids) = (self.rows.lock().unwrap(), self.ids.lock().unwrap());
        let mut loaded = Loaded::default();
        for row in rows {
            let row = serde_json::from_str::<Value>(row.json()).unwrap();
            if ids.insert(row["quote_id"].as_str().unwrap().to_owned()) {
                there.push(row);
                loaded.inserted += 1;
            } else {
                loaded.already_there += 1;
            }
        }
        Ok(loaded)
    }
}

fn quote(symbol: &str) -> Vec<u8> {
    let id = quotes::QuoteId::at(0);
    format!(r#"{{"c":1.5,"symbol":"{symbol}","fetched_at":1704067256,"quote_id":"{id}"}}"#).into_bytes()
}

fn objects(count: usize) -> HashMap<String, Vec<u8>> {
    (0..count).map(|number| (format!("AAPL/{number}.json"), quote("AAPL"))).collect()
}

fn sqs(keys: &[&str]) -> Value {
    let record = |(number, key): (usize, &&str)| {
        let body = json!({ "Records": [{ "eventName": "ObjectCreated:Put",
            "s3": { "bucket": { "name": "bronze" }, "object": { "key": key } } }] });
        json!({ "messageId": format!("m{number}"), "body": body.to_string() })
    };
    json!({ "Records": keys.iter().enumerate().map(record).collect::<Vec<_>>() })
}

async fn handle(objects: Memory, bronze: &FakeBronze, event: Value) -> Result<BatchResponse, LoadError> {
    let mut context = Context::default();
    context.deadline = u64::MAX / 2;
    LoadQuotes::new(objects, bronze).handle(LambdaEvent { payload: event, context }).await
}

fn failed(response: &BatchResponse) -> Vec<&str> {
    response.failures.iter().map(|failure| failure.id.as_str()).collect()
}

#[tokio::test]
async fn a_batch_is_loaded_with_the_keys_of_its_objects() {
    let bronze = FakeBronze::default();
    let memory = Memory { objects: objects(2), ..Memory::default() };
    let response = handle(memory, &bronze, sqs(&["AAPL/0.json", "AAPL/1.json"])).await.unwrap();
    assert!(response.failures.is_empty());
    assert_eq!(bronze.keys(), ["AAPL/0.json", "AAPL/1.json"]);
}

#[tokio::test]
async fn a_quote_of_the_future_fails_alone_in_both_layouts_and_a_clock_that_is_ahead_does_not() {
    let bronze = FakeBronze::default();
    let now = Timestamp::now().as_second();
    let at = |id: u64, fetched_at: i64| {
        let id = QuoteId::at(id);
        format!(r#"{{"c":1,"symbol":"AAPL","fetched_at":{fetched_at},"quote_id":"{id}"}}"#).into_bytes()
    };
    let lines = [at(3, now), at(4, now + 600), at(5, 4_102_444_800)].join(&b'\n');
    let batch = "batches/4102444800-1-3-t-0-1-3.ndjson.gz";
    let objects = HashMap::from([
        ("AAPL/1.json".to_owned(), at(1, now + 60)),
        ("AAPL/2.json".to_owned(), at(2, now + 600)),
        (batch.to_owned(), Compression::Gzip.compress(&lines).unwrap()),
    ]);
    let memory = Memory { objects, ..Memory::default() };
    let response = handle(memory, &bronze, sqs(&["AAPL/1.json", "AAPL/2.json", batch])).await.unwrap();
    assert_eq!(failed(&response), ["m1", "m2"]);
    assert_eq!(bronze.keys(), ["AAPL/1.json", batch]);
}

#[tokio::test]
async fn an_object_named_twice_in_a_batch_is_loaded_once() {
    let bronze = FakeBronze::default();
    let memory = Memory { objects: objects(1), ..Memory::default() };
    handle(memory, &bronze, sqs(&["AAPL/0.json", "AAPL/0.json"])).await.unwrap();
    assert_eq!((bronze.rows.lock().unwrap().len(), bronze.largest.load(Ordering::Relaxed)), (1, 1));
}

#[tokio::test]
async fn a_bad_object_fails_only_its_own_messages() {
    let bronze = FakeBronze::default();
    let mut all = objects(2);
    all.insert("AAPL/bad.json".into(), b"{}".to_vec());
    let memory = Memory { objects: all, ..Memory::default() };
    let event = sqs(&["AAPL/0.json", "AAPL/bad.json", "AAPL/1.json", "AAPL/bad.json"]);
    let response = handle(memory, &bronze, event).await.unwrap();
    assert_eq!(failed(&response), ["m1", "m3"]);
    assert_eq!(bronze.rows.lock().unwrap().len(), 2);
}

#[tokio::test]
async fn what_tools_of_s3_leave_in_the_bucket_is_left_alone_and_a_quote_under_any_key_is_loaded() {
    let bronze = FakeBronze::default();
    let tools = [
        "AAPL/",
        "inventory/bronze/all/2026-01-01T00-00Z/manifest.json",
        "bronze/all/manifest.json",
        "inventory/bronze/all/2026-01-01T00-00Z/manifest.checksum",
        "inventory/bronze/all/data/0c3a.csv.gz",
        "inventory/bronze/all/hive/dt=2026-01-01-00-00/symlink.txt",
        "2026-01-01-00-00-00-0123456789ABCDEF",
        "AAPL_$folder$",
    ];
    let mut all: HashMap<String, Vec<u8>> = tools.map(|key| (key.to_owned(), Vec::new())).into();
    all.insert("AAPL/empty.json".to_owned(), Vec::new());
    all.insert("copied/AAPL/1.json".to_owned(), quote("AAPL"));
    let mut keys = tools.to_vec();
    keys.extend(["AAPL/empty.json", "copied/AAPL/1.json"]);
    let response = handle(Memory { objects: all, ..Memory::default() }, &bronze, sqs(&keys)).await.unwrap();
    assert_eq!(failed(&response), [format!("m{}", tools.len())]);
    assert_eq!(bronze.keys(), ["copied/AAPL/1.json"]);
}

#[tokio::test]
async fn a_deleted_object_does_not_come_again() {
    let bronze = FakeBronze::default();
    let response = handle(Memory::default(), &bronze, sqs(&["AAPL/0.json"])).await.unwrap();
    assert!(response.failures.is_empty());
}

#[tokio::test]
async fn an_unreadable_bucket_brings_every_message_again() {
    let bronze = FakeBronze::default();
    let memory = Memory { outage: true, ..Memory::default() };
    let response = handle(memory, &bronze, sqs(&["AAPL/0.json", "AAPL/1.json"])).await.unwrap();
    assert_eq!(failed(&response), ["m0", "m1"]);
}

#[tokio::test]
async fn nothing_is_acknowledged_that_bronze_did_not_take() {
    for passing in [true, false] {
        let bronze = FakeBronze { refuse: Some(passing), ..FakeBronze::default() };
        let memory = Memory { objects: objects(1), ..Memory::default() };
        let error = handle(memory, &bronze, sqs(&["AAPL/0.json"])).await.unwrap_err();
        assert_eq!(error.is_retryable(), passing);
        assert!(chain(&error).contains("Exceeded rate limits"), "{}", chain(&error));
    }
}

#[tokio::test]
async fn ten_thousand_messages_are_loaded_in_bounded_chunks() {
    let bronze = FakeBronze::default();
    let keys: Vec<String> = (0..10_000).map(|number| format!("AAPL/{number}.json")).collect();
    let memory = Memory { objects: objects(2_500), ..Memory::default() };
    let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
    handle(memory, &bronze, sqs(&keys)).await.unwrap();
    assert_eq!(bronze.rows.lock().unwrap().len(), 2_500);
    assert!(bronze.largest.load(Ordering::Relaxed) <= CHUNK);
}

#[tokio::test]
async fn an_event_of_s3_itself_fails_as_a_whole() {
    let bronze = FakeBronze::default();
    let event = serde_json::from_str(include_str!("../tests/payloads/s3.json")).unwrap();
    let all = HashMap::from([("AAPL/1704067256.json".to_owned(), b"[]".to_vec())]);
    let memory = Memory { objects: all, ..Memory::default() };
    let error = handle(memory, &bronze, event).await.unwrap_err();
    assert!(!error.is_retryable());
    assert!(chain(&error).contains("AAPL/1704067256.json"), "{}", chain(&error));
}

const GZIPPED: &str = "batches/1704067256-1704067256-3-stock-quotes-0-1-3.ndjson.gz";
const ZSTD: &str = "batches/1704067256-1704067256-3-stock-quotes-0-4-6.ndjson.zst";

/// A batch's bytes.
fn batch(key: &str, lines: &[Vec<u8>]) -> (String, Vec<u8>) {
    let lines = [lines.join(&b'\n'), b"\n".to_vec()].concat();
    (key.to_owned(), Compression::of_key(key).unwrap().compress(&lines).unwrap())
}

fn three() -> Vec<Vec<u8>> {
    ["AAPL", "MSFT", "BRK.B"].map(quote).to_vec()
}

async fn load(objects: HashMap<String, Vec<u8>>, bronze: &FakeBronze, keys: &[&str]) -> BatchResponse {
    handle(Memory { objects, ..Memory::default() }, bronze, sqs(keys)).await.unwrap()
}

/// The error of an event that did not come from a queue and names the object.
async fn error_of((key, bytes): (String, Vec<u8>), bronze: &FakeBronze) -> (bool, String) {
    let record = json!({ "eventName": "ObjectCreated:Put",
        "s3": { "bucket": { "name": "bronze" }, "object": { "key": key } } });
    let memory = Memory { objects: HashMap::from([(key, bytes)]), ..Memory::default() };
    let error = handle(memory, bronze, json!({ "Records": [record] })).await.unwrap_err();
    (error.is_retryable(), chain(&error))
}

#[tokio::test]
async fn objects_of_one_quote_and_of_many_are_loaded_by_one_event() {
    let bronze = FakeBronze::default();
    let mut all = objects(2);
    all.extend([batch(GZIPPED, &three()), batch(ZSTD, &three())]);
    let response = load(all, &bronze, &["AAPL/0.json", GZIPPED, "AAPL/1.json", ZSTD, ZSTD]).await;
    assert!(response.failures.is_empty());
    assert_eq!(bronze.keys(), ["AAPL/0.json", "AAPL/1.json", GZIPPED, GZIPPED, GZIPPED, ZSTD, ZSTD, ZSTD]);
}

#[tokio::test]
async fn a_line_that_is_not_a_quote_costs_no_other_line_and_is_named() {
    for key in [GZIPPED, ZSTD] {
        let bronze = FakeBronze::default();
        let mut lines = three();
        lines.insert(1, br#"{"symbol":"AAPL","c":"x","fetched_at":1,"quote_id":"y"}"#.to_vec());
        lines.insert(2, b"\xff".to_vec());
        let mut all = objects(1);
        all.extend([batch(key, &lines)]);
        let response = load(all, &bronze, &["AAPL/0.json", key]).await;
        assert_eq!(failed(&response), ["m1"]);
        assert_eq!(bronze.rows.lock().unwrap().len(), 4);
        let (is_retryable, error) = error_of(batch(key, &lines), &FakeBronze::default()).await;
        assert!(!is_retryable);
        let expected =
            format!("{key} has 2 lines that are not quotes; line 2 is the first: the field \"quote_id\"");
        assert!(error.contains(&expected), "{error}");
    }
}

#[tokio::test]
async fn a_batch_that_is_damaged_or_grows_beyond_all_bounds_fails_alone_with_its_reason() {
    for key in [GZIPPED, ZSTD] {
        let whole = batch(key, &three()).1;
        let bomb = Compression::of_key(key).unwrap().compress(&vec![b' '; 64 << 20]).unwrap();
        let cut = whole[..whole.len() - 3].to_vec();
        let plain = three().concat();
        for (bytes, reason) in
            [(bomb, "more than"), (cut, "not complete"), (plain, "not complete"), (Vec::new(), "empty")]
        {
            let bronze = FakeBronze::default();
            let mut all = objects(1);
            all.insert(key.to_owned(), bytes.clone());
            let response = load(all, &bronze, &[key, "AAPL/0.json"]).await;
            assert_eq!((failed(&response), bronze.keys()), (vec!["m0"], vec!["AAPL/0.json".to_owned()]));
            let (is_retryable, error) = error_of((key.to_owned(), bytes), &bronze).await;
            assert!(!is_retryable && error.contains(key) && error.contains(reason), "{error}");
        }
    }
}

#[tokio::test]
async fn batches_of_more_rows_than_a_statement_carries_are_split_and_few_small_ones_are_not() {
    let bronze = FakeBronze::default();
    let key = |number: usize| format!("batches/2-1-1-t-0-{number}-9.ndjson.gz");
    let keys: Vec<String> = (0..20).map(key).collect();
    let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
    let all = keys.iter().map(|key| batch(key, &vec![quote("AAPL"); 2]));
    load(all.collect(), &bronze, &keys).await;
    assert_eq!((bronze.loads.load(Ordering::Relaxed), bronze.largest.load(Ordering::Relaxed)), (1, 40));

    let lines: Vec<Vec<u8>> = (0..12_000).map(|_| quote("AAPL")).collect();
    let large =
        [batch(GZIPPED, &lines), batch(ZSTD, &(0..12_000).map(|_| quote("AAPL")).collect::<Vec<_>>())];
    load(large.into(), &bronze, &[GZIPPED, ZSTD]).await;
    assert_eq!(bronze.rows.lock().unwrap().len(), 20 + 24_000);
    assert!(bronze.loads.load(Ordering::Relaxed) > 2);
    assert!(bronze.largest_bytes.load(Ordering::Relaxed) < STATEMENT_BYTES + 1000);
}

#[tokio::test(start_paused = true)]
async fn what_there_is_no_time_for_comes_again_and_what_is_loaded_does_not() {
    let bronze = FakeBronze { pace: Duration::from_secs(4), ..FakeBronze::default() };
    let keys: Vec<String> = (0..3 * CHUNK).map(|number| format!("AAPL/{number}.json")).collect();
    let keys: Vec<&str> = keys.iter().map(String::as_str).chain([GZIPPED]).collect();
    let mut all = objects(3 * CHUNK);
    all.extend([batch(GZIPPED, &three())]);
    let mut context = Context::default();
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    context.deadline = u64::try_from((now + Duration::from_secs(14)).as_millis()).unwrap();
    let memory = Memory { objects: all, ..Memory::default() };
    let event = LambdaEvent { payload: sqs(&keys), context };
    let response = LoadQuotes::new(memory, &bronze).handle(event).await.unwrap();
    // Two chunks of a thousand begin within the first half of the time.
    assert_eq!(bronze.rows.lock().unwrap().len(), 2 * CHUNK);
    assert_eq!(response.failures.len(), CHUNK + 1);
}

#[tokio::test(start_paused = true)]
async fn of_batches_as_many_are_begun_as_there_is_time_for() {
    for (seconds, loaded) in [(20, 2), (30, 3)] {
        let bronze = FakeBronze { pace: Duration::from_secs(5), ..FakeBronze::default() };
        // A statement for most of an object's rows, and one for the remaining rows of all objects.
        let lines: Vec<Vec<u8>> = (0..20_000).map(|_| quote("AAPL")).collect();
        let keys: Vec<String> = (0..4).map(|number| format!("batches/{number}.ndjson.zst")).collect();
        let all = keys.iter().map(|key| batch(key, &lines)).collect();
        let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
        let mut context = Context::default();
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
        context.deadline = u64::try_from((now + Duration::from_secs(seconds)).as_millis()).unwrap();
        let memory = Memory { objects: all, ..Memory::default() };
        let event = LambdaEvent { payload: sqs(&keys), context };
        let response = LoadQuotes::new(memory, &bronze).handle(event).await;
        assert_eq!(response.unwrap().failures.len(), 4 - loaded, "{seconds} s");
    }
}

#[test]
fn every_problem_of_the_environment_is_named() {
    let error = Config::read(ABOUT.environment(&[])).unwrap_err().to_string();
    assert!(error.contains("BIGQUERY_PROJECT"), "{error}");
    assert!(error.contains("GOOGLE_APPLICATION_CREDENTIALS"), "{error}");
}

proptest! {
    /// Events arrive hours late, twice and in any order, in any batches. Some batches fail.
    #[test]
    fn what_is_acknowledged_is_in_bronze_and_what_comes_again_is_there_once(
        batches in proptest::collection::vec(
            (proptest::collection::vec(0..12usize, 1..8), any::<bool>()), 1..8,
        ),
    ) {
        // The last two objects: one that is not a quote, and one that was deleted.
        const POISON: usize = 10;
        let key = |number: usize| format!("AAPL/{}.json", 1_704_067_200 + 3600 * number);
        let mut objects: HashMap<String, Vec<u8>> = (0..POISON).map(|number| (key(number), quote("AAPL"))).collect();
        objects.insert(key(POISON), b"[]".to_vec());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mut bronze = FakeBronze::default();
            for (numbers, fails) in batches {
                bronze.refuse = fails.then_some(true);
                let before = bronze.keys();
                let keys: Vec<String> = numbers.iter().map(|number| key(*number)).collect();
                let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
                let memory = Memory { objects: objects.clone(), outage: false };
                let Ok(response) = handle(memory, &bronze, sqs(&keys)).await else {
                    assert_eq!(bronze.keys(), before);
                    continue;
                };
                let poisoned = |(message, number): (usize, &usize)| (*number == POISON).then(|| format!("m{message}"));
                let expected: BTreeSet<String> = numbers.iter().enumerate().filter_map(poisoned).collect();
                assert_eq!(failed(&response).into_iter().map(str::to_owned).collect::<BTreeSet<_>>(), expected);
                let quotes: BTreeSet<String> = numbers.iter().filter(|it| **it < POISON).map(|it| key(*it)).collect();
                let now = bronze.keys();
                assert!(quotes.iter().all(|key| now.iter().filter(|there| *there == key).count() == 1), "{now:?}");
            }
        });
    }

    /// A quote may be in any number of objects of both layouts, as when a retried event of Kafka was cut differently.
    #[test]
    fn quotes_that_several_objects_hold_are_in_bronze_once_whatever_the_order(
        objects in proptest::collection::vec((proptest::collection::vec(0..10usize, 1..6), 0..3usize), 1..8),
        events in proptest::collection::vec(proptest::collection::vec(0..8usize, 1..6), 1..8),
    ) {
        let quotes: Vec<Vec<u8>> = (0..10).map(|_| quote("AAPL")).collect();
        let object = |(number, (lines, layout)): (usize, &(Vec<usize>, usize))| {
            let all: Vec<Vec<u8>> = lines.iter().map(|line| quotes[*line].clone()).collect();
            match layout {
                0 => (format!("AAPL/{number}.json"), all[0].clone()),
                1 => batch(&format!("batches/{number}.ndjson.gz"), &all),
                _ => batch(&format!("batches/{number}.ndjson.zst"), &all),
            }
        };
        let keys: Vec<String> = objects.iter().enumerate().map(|it| object(it).0).collect();
        let held = |number: usize| match &objects[number] { (lines, 0) => &lines[..1], (lines, _) => lines };
        let expected: BTreeSet<usize> = events
            .iter()
            .flatten()
            .filter(|number| **number < keys.len())
            .flat_map(|number| held(*number))
            .copied()
            .collect();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async {
            let bronze = FakeBronze::default();
            for event in &events {
                let named: Vec<&str> = event.iter().filter_map(|number| keys.get(*number)).map(String::as_str).collect();
                let all = objects.iter().enumerate().map(object).collect();
                assert!(load(all, &bronze, &named).await.failures.is_empty());
            }
            assert_eq!(bronze.rows.lock().unwrap().len(), expected.len());
        });
    }
}
