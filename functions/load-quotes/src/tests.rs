use std::sync::{
    Mutex,
    atomic::{AtomicUsize, Ordering},
};

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
            return Err(ReadError { bucket, key, reason: "503 Slow Down".into(), retryable: true });
        }
        Ok(self.objects.get(&object.key).map(|bytes| Object { bytes: bytes.clone(), trace: None }))
    }
}

/// Bronze in memory: quote ids; `refuse` answers every load with an error.
#[derive(Default)]
struct Ledger {
    rows: Mutex<Vec<serde_json::Value>>,
    largest: AtomicUsize,
    refuse: Option<bool>,
}

impl Ledger {
    fn keys(&self) -> Vec<String> {
        let rows = self.rows.lock().unwrap();
        let mut keys: Vec<_> =
            rows.iter().map(|row| row["object_key"].as_str().unwrap().to_owned()).collect();
        keys.sort();
        keys
    }
}

impl Bronze for &Ledger {
    async fn load(&self, rows: &[BronzeRow]) -> Result<Loaded, WarehouseError> {
        if let Some(passing) = self.refuse {
            let message = "Exceeded rate limits".to_owned();
            return Err(WarehouseError::Refused { statement: "the MERGE", code: 403, message, passing });
        }
        self.largest.fetch_max(rows.len(), Ordering::Relaxed);
        let mut there = self.rows.lock().unwrap();
        let mut loaded = Loaded::default();
        for row in rows {
            let row = serde_json::to_value(row).unwrap();
            if there.iter().any(|known| known["quote_id"] == row["quote_id"]) {
                loaded.already_there += 1;
            } else {
                there.push(row);
                loaded.inserted += 1;
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

async fn handle(objects: Memory, bronze: &Ledger, event: Value) -> Result<BatchResponse, LoadError> {
    let mut context = Context::default();
    context.deadline = u64::MAX / 2;
    LoadQuotes::new(objects, bronze).handle(LambdaEvent { payload: event, context }).await
}

fn failed(response: &BatchResponse) -> Vec<&str> {
    response.failures.iter().map(|failure| failure.id.as_str()).collect()
}

#[tokio::test]
async fn a_batch_is_loaded_with_the_keys_of_its_objects() {
    let bronze = Ledger::default();
    let memory = Memory { objects: objects(2), ..Memory::default() };
    let response = handle(memory, &bronze, sqs(&["AAPL/0.json", "AAPL/1.json"])).await.unwrap();
    assert!(response.failures.is_empty());
    assert_eq!(bronze.keys(), ["AAPL/0.json", "AAPL/1.json"]);
}

#[tokio::test]
async fn an_object_named_twice_in_a_batch_is_loaded_once() {
    let bronze = Ledger::default();
    let memory = Memory { objects: objects(1), ..Memory::default() };
    handle(memory, &bronze, sqs(&["AAPL/0.json", "AAPL/0.json"])).await.unwrap();
    assert_eq!((bronze.rows.lock().unwrap().len(), bronze.largest.load(Ordering::Relaxed)), (1, 1));
}

#[tokio::test]
async fn a_bad_object_fails_only_its_own_messages() {
    let bronze = Ledger::default();
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
    let bronze = Ledger::default();
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
    let bronze = Ledger::default();
    let response = handle(Memory::default(), &bronze, sqs(&["AAPL/0.json"])).await.unwrap();
    assert!(response.failures.is_empty());
}

#[tokio::test]
async fn an_unreadable_bucket_brings_every_message_again() {
    let bronze = Ledger::default();
    let memory = Memory { outage: true, ..Memory::default() };
    let response = handle(memory, &bronze, sqs(&["AAPL/0.json", "AAPL/1.json"])).await.unwrap();
    assert_eq!(failed(&response), ["m0", "m1"]);
}

#[tokio::test]
async fn nothing_is_acknowledged_that_bronze_did_not_take() {
    for passing in [true, false] {
        let bronze = Ledger { refuse: Some(passing), ..Ledger::default() };
        let memory = Memory { objects: objects(1), ..Memory::default() };
        let error = handle(memory, &bronze, sqs(&["AAPL/0.json"])).await.unwrap_err();
        assert_eq!(error.is_retryable(), passing);
        assert!(chain(&error).contains("Exceeded rate limits"), "{}", chain(&error));
    }
}

#[tokio::test]
async fn ten_thousand_messages_are_loaded_in_bounded_chunks() {
    let bronze = Ledger::default();
    let keys: Vec<String> = (0..10_000).map(|number| format!("AAPL/{number}.json")).collect();
    let memory = Memory { objects: objects(2_500), ..Memory::default() };
    let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
    handle(memory, &bronze, sqs(&keys)).await.unwrap();
    assert_eq!(bronze.rows.lock().unwrap().len(), 2_500);
    assert!(bronze.largest.load(Ordering::Relaxed) <= CHUNK);
}

#[tokio::test]
async fn an_event_of_s3_itself_fails_as_a_whole() {
    let bronze = Ledger::default();
    let event = serde_json::from_str(include_str!("../tests/payloads/s3.json")).unwrap();
    let all = HashMap::from([("AAPL/1704067256.json".to_owned(), b"[]".to_vec())]);
    let memory = Memory { objects: all, ..Memory::default() };
    let error = handle(memory, &bronze, event).await.unwrap_err();
    assert!(!error.is_retryable());
    assert!(chain(&error).contains("AAPL/1704067256.json"), "{}", chain(&error));
}

#[test]
fn every_problem_of_the_environment_is_named() {
    let error = Config::read(Environment::default()).unwrap_err().to_string();
    assert!(error.contains("BIGQUERY_PROJECT"), "{error}");
    assert!(error.contains("GOOGLE_APPLICATION_CREDENTIALS"), "{error}");
}

proptest! {
    /// Events come late by hours, twice and in any order, cut into any batches; some batches fail.
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
            let mut bronze = Ledger::default();
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
}
