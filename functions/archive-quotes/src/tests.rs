use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
};

use function_kit::aws::CallError;
use lambda_runtime::Context;
use proptest::prelude::*;
use quotes::ArchiveKey;

use super::*;

/// A bucket in memory. `outage` is how many writes succeed before one fails.
#[derive(Clone, Default)]
struct Memory {
    objects: Arc<Mutex<BTreeMap<String, Vec<u8>>>>,
    traces: Arc<Mutex<BTreeMap<String, TraceParent>>>,
    outage: Arc<Mutex<Option<usize>>>,
}

impl Memory {
    fn keys(&self) -> Vec<String> {
        self.objects.lock().unwrap().keys().cloned().collect()
    }

    fn get(&self, key: &str) -> Vec<u8> {
        self.objects.lock().unwrap()[key].clone()
    }
}

impl Store for Memory {
    async fn put_once(&self, key: &str, bytes: &[u8], trace: Option<TraceParent>) -> Result<Put, StoreError> {
        if let Some(left) = self.outage.lock().unwrap().as_mut() {
            if *left == 0 {
                return Err(StoreError {
                    operation: "PutObject",
                    bucket: "memory".into(),
                    key: key.into(),
                    source: CallError { reason: "503 Slow Down".into(), is_retryable: true },
                });
            }
            *left -= 1;
        }
        let mut objects = self.objects.lock().unwrap();
        Ok(match objects.get(key) {
            None => {
                objects.insert(key.to_owned(), bytes.to_vec());
                self.traces.lock().unwrap().extend(trace.map(|trace| (key.to_owned(), trace)));
                Put::Written
            }
            Some(there) if there == bytes => Put::SameBytes,
            Some(_) => Put::OtherBytes,
        })
    }
}

struct Bench {
    bronze: Memory,
    quarantine: Memory,
    function: ArchiveQuotes<Memory>,
}

fn bench() -> Bench {
    bench_of(Layout::PerQuote)
}

fn bench_of(layout: Layout) -> Bench {
    let (bronze, quarantine) = (Memory::default(), Memory::default());
    let function = ArchiveQuotes::new(bronze.clone(), quarantine.clone(), layout);
    Bench { bronze, quarantine, function }
}

const BATCHES: [Layout; 2] = [Layout::Batch(Compression::Gzip), Layout::Batch(Compression::Zstd)];

impl Bench {
    /// Each object of bronze and its lines.
    fn lines(&self) -> Vec<(String, Vec<String>)> {
        let lines = |key: String| {
            let bytes = self.bronze.get(&key);
            let text = |bytes: &[u8]| str::from_utf8(bytes).unwrap().to_owned();
            let lines = match Compression::of_key(&key) {
                Some(compression) => {
                    text(&compression.decompress(&bytes).unwrap()).lines().map(str::to_owned).collect()
                }
                None => vec![text(&bytes)],
            };
            (key, lines)
        };
        self.bronze.keys().into_iter().map(lines).collect()
    }

    /// The ids of all quotes in bronze, in any object.
    fn ids(&self) -> BTreeSet<QuoteId> {
        let lines = self.lines().into_iter().flat_map(|(_, lines)| lines);
        lines.map(|line| Quote::from_object(line.as_bytes()).unwrap().id()).collect()
    }

    async fn handle(&self, event: &str) -> Result<Outcome, ArchiveError> {
        let mut context = Context::default();
        context.deadline = u64::MAX / 2;
        let payload = serde_json::from_str(event).unwrap();
        self.function.handle(LambdaEvent { payload, context }).await
    }
}

fn record(partition: i32, offset: i64, value: &str) -> String {
    use base64::{Engine, engine::general_purpose::STANDARD};
    format!(
        r#"{{"topic":"stock-quotes","partition":{partition},"offset":{offset},"timestamp":1700000000000,"timestampType":"CREATE_TIME","key":"QUFQTA==","value":"{}","headers":[]}}"#,
        STANDARD.encode(value)
    )
}

const FOREIGN: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

/// A quote's record with these headers, as JSON.
fn with_headers(offset: i64, headers: &str) -> String {
    record(0, offset, &quote("AAPL", offset, "1"))
        .replace(r#""headers":[]"#, &format!(r#""headers":{headers}"#))
}

fn event(records: &[String]) -> String {
    format!(
        r#"{{"eventSource":"aws:kafka","bootstrapServers":"b:9092","records":{{"stock-quotes-0":[{}]}}}}"#,
        records.join(",")
    )
}

fn quote(symbol: &str, fetched_at: i64, price: &str) -> String {
    format!(
        r#"{{"c":{price},"symbol":"{symbol}","fetched_at":{fetched_at},"quote_id":"{}"}}"#,
        quotes::QuoteId::at(0)
    )
}

#[tokio::test]
async fn every_recorded_payload_is_stored_whole() {
    for (name, payload, expected) in [
        ("msk", include_str!("../tests/payloads/msk.json"), (2, 0)),
        ("self-managed", include_str!("../tests/payloads/self-managed.json"), (1, 0)),
        ("odd encodings", include_str!("../tests/payloads/odd-encodings.json"), (3, 0)),
        ("several partitions", include_str!("../tests/payloads/several-partitions.json"), (3, 0)),
        ("empty", include_str!("../tests/payloads/empty.json"), (0, 0)),
        ("poison", include_str!("../tests/payloads/poison.json"), (1, 7)),
    ] {
        let bench = bench();
        let outcome = bench.handle(payload).await.unwrap();
        assert_eq!((outcome.archived, outcome.quarantined), expected, "{name}");
        assert_eq!(bench.bronze.keys().len(), expected.0, "{name}: {:?}", bench.bronze.keys());
        assert_eq!(bench.quarantine.keys().len(), expected.1, "{name}: {:?}", bench.quarantine.keys());
    }
}

#[tokio::test]
async fn an_object_is_the_message_byte_for_byte() {
    let bench = bench();
    let message = quote("BRK.B", 1_704_067_256, "150.250");
    bench.handle(&event(&[record(0, 1, &message)])).await.unwrap();
    assert_eq!(bench.bronze.get("BRK.B/1704067256.json"), message.as_bytes());
}

#[tokio::test]
async fn a_quarantined_record_keeps_its_bytes_its_reason_and_its_coordinates() {
    let bench = bench();
    bench.handle(&event(&[record(3, 15, r#"{"symbol":"../x"}"#)])).await.unwrap();
    let [key] = bench.quarantine.keys().try_into().unwrap();
    assert!(key.starts_with("stock-quotes-3_15/"), "{key}");
    let kept: Quarantined = serde_json::from_slice(&bench.quarantine.get(&key)).unwrap();
    assert_eq!(
        (kept.topic.as_deref(), kept.partition, kept.offset),
        (Some("stock-quotes"), Some(3), Some(15))
    );
    assert!(kept.reason.contains("../x"), "{}", kept.reason);
    assert_eq!(kept.value.as_deref(), Some("eyJzeW1ib2wiOiIuLi94In0="));
}

#[tokio::test]
async fn a_batch_tried_again_writes_nothing_twice() {
    let bench = bench();
    let batch = event(&[
        record(0, 1, &quote("AAPL", 1, "1")),
        record(0, 2, &quote("AAPL", 2, "2")),
        record(0, 3, "poison"),
    ]);
    *bench.bronze.outage.lock().unwrap() = Some(1);
    let error = bench.handle(&batch).await.unwrap_err();
    assert!(error.is_retryable());
    *bench.bronze.outage.lock().unwrap() = None;
    let outcome = bench.handle(&batch).await.unwrap();
    assert_eq!(outcome.archived + outcome.already_archived, 2);
    assert_eq!(outcome.already_archived, 1);
    assert_eq!((bench.bronze.keys().len(), bench.quarantine.keys().len()), (2, 1));
    let again = bench.handle(&batch).await.unwrap();
    assert_eq!(again, Outcome { archived: 0, already_archived: 2, quarantined: 1 });
    assert_eq!((bench.bronze.keys().len(), bench.quarantine.keys().len()), (2, 1));
}

#[tokio::test]
async fn two_quotes_of_one_second_are_both_kept_whatever_the_order_of_tries() {
    let bench = bench();
    let (first, second) = (record(0, 1, &quote("AAPL", 1, "1")), record(0, 2, &quote("AAPL", 1, "2")));
    bench.handle(&event(&[first.clone(), second.clone()])).await.unwrap();
    bench.handle(&event(&[second, first])).await.unwrap();
    assert_eq!(bench.bronze.keys(), ["AAPL/1-stock-quotes-0-2.json", "AAPL/1.json"]);
}

#[tokio::test]
async fn the_quotes_of_a_topic_that_was_created_again_are_all_kept() {
    let bench = bench();
    let (first, second) = (
        include_str!("../tests/payloads/first-life.json"),
        include_str!("../tests/payloads/second-life.json"),
    );
    for (event, archived) in [(first, 2), (second, 2), (second, 0), (first, 0)] {
        let outcome = bench.handle(event).await.unwrap();
        assert_eq!((outcome.archived, outcome.already_archived), (archived, 2 - archived));
    }
    let prices: BTreeSet<String> = bench
        .bronze
        .keys()
        .iter()
        .map(|key| Quote::from_object(&bench.bronze.get(key)).unwrap().number_text("c").unwrap().to_owned())
        .collect();
    assert_eq!(prices, ["100.0", "101.0", "200.0", "201.0"].map(str::to_owned).into());
    assert!(bench.quarantine.keys().is_empty());
}

#[tokio::test]
async fn a_quote_that_has_no_key_left_goes_to_quarantine_with_the_reason() {
    let bench = bench();
    let id = quotes::QuoteId::at(0);
    let quote = |price: i64| format!(r#"{{"c":{price},"symbol":"AAPL","fetched_at":1,"quote_id":"{id}"}}"#);
    // The same coordinates and the same id, each time with other bytes.
    for price in 1..=5 {
        let outcome = bench.handle(&event(&[record(0, 1, &quote(price))])).await.unwrap();
        assert_eq!((outcome.archived, outcome.quarantined), if price <= 3 { (1, 0) } else { (0, 1) });
    }
    assert_eq!((bench.bronze.keys().len(), bench.quarantine.keys().len()), (3, 2));
    let kept: Quarantined =
        serde_json::from_slice(&bench.quarantine.get(&bench.quarantine.keys()[0])).unwrap();
    assert!(kept.reason.contains("AAPL/1-stock-quotes-0-1.json"), "{}", kept.reason);
}

#[tokio::test]
async fn a_record_of_quarantine_is_kept_beside_another_one_of_the_same_key() {
    let bench = bench();
    bench.handle(&event(&[record(0, 1, "poison")])).await.unwrap();
    let [key] = bench.quarantine.keys().try_into().unwrap();
    bench.quarantine.objects.lock().unwrap().insert(key.clone(), b"somebody else's".to_vec());
    for _ in 0..2 {
        bench.handle(&event(&[record(0, 1, "poison")])).await.unwrap();
    }
    assert_eq!(bench.quarantine.keys(), [key.clone(), format!("{key}.1")]);
}

#[tokio::test]
async fn a_quote_of_the_future_or_of_no_time_goes_to_quarantine_and_a_clock_that_is_ahead_does_not() {
    let bench = bench();
    let now = i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()).unwrap();
    let mut records: Vec<String> = (0..)
        .zip([0, -1, now + 600, 4_102_444_800])
        .map(|(offset, at)| record(0, offset, &quote("AAPL", at, "1")))
        .collect();
    let untimed = record(0, 4, r#"{"c":1,"symbol":"AAPL"}"#);
    records.push(untimed.replace("1700000000000", "0"));
    records
        .push(untimed.replace(r#""timestamp":1700000000000,"#, "").replace(r#""offset":4"#, r#""offset":5"#));
    records.push(untimed.replace("1700000000000", "4102444800000").replace(r#""offset":4"#, r#""offset":6"#));
    let good =
        [record(0, 7, &quote("AAPL", now + 60, "1")), record(0, 8, &quote("AAPL", 1_704_067_256, "1"))];
    let count = records.len();
    records.extend(good);
    let outcome = bench.handle(&event(&records)).await.unwrap();
    assert_eq!((outcome.archived, outcome.quarantined), (2, count));
    for key in bench.quarantine.keys() {
        let kept: Quarantined = serde_json::from_slice(&bench.quarantine.get(&key)).unwrap();
        assert!(kept.reason.contains("fetched_at") && kept.value.is_some(), "{}", kept.reason);
    }
}

#[tokio::test]
async fn coordinates_are_read_as_json_means_numbers() {
    let bench = bench();
    let one = record(0, 7, r#"{"c":1.0,"symbol":"AAPL"}"#)
        .replace(r#""offset":7"#, r#""offset":7.0"#)
        .replace("1700000000000", "1.7e12")
        .replace(r#""partition":0"#, r#""partition":0e0"#);
    let odd = record(0, 8, "{}").replace(r#""offset":8"#, r#""offset":8.5"#);
    let outcome = bench.handle(&event(&[one, odd])).await.unwrap();
    assert_eq!((outcome.archived, outcome.quarantined), (1, 1));
    assert_eq!(bench.bronze.keys(), ["AAPL/1700000000.json"]);
}

#[tokio::test]
async fn a_trace_that_came_goes_on_whatever_its_encoding() {
    use base64::{Engine, engine::general_purpose::STANDARD};
    let bytes = FOREIGN.bytes();
    let list = serde_json::to_string(&bytes.clone().collect::<Vec<u8>>()).unwrap();
    let texts =
        serde_json::to_string(&bytes.clone().map(|byte| byte.to_string()).collect::<Vec<_>>()).unwrap();
    let object: BTreeMap<String, String> = (0..)
        .zip(bytes)
        .map(|(position, byte): (u32, u8)| (position.to_string(), byte.to_string()))
        .collect();
    let encodings = [
        list.clone(),
        texts,
        serde_json::to_string(&object).unwrap(),
        format!("{:?}", STANDARD.encode(FOREIGN)),
        format!("{FOREIGN:?}"),
    ];
    let mut headers: Vec<String> =
        encodings.iter().map(|value| format!(r#"[{{"traceparent":{value}}}]"#)).collect();
    headers.push(format!(r#"[{{"other":[-12]}},7,{{"Traceparent":[1]}},{{"traceparent":{list}}}]"#));
    let records: Vec<String> = (1..).zip(&headers).map(|(offset, it)| with_headers(offset, it)).collect();
    let bench = bench();
    bench.handle(&event(&records)).await.unwrap();
    let traces = bench.bronze.traces.lock().unwrap();
    assert_eq!(traces.len(), headers.len());
    for (key, trace) in traces.iter() {
        assert_eq!(trace.trace_id(), "0af7651916cd43dd8448eb211c80319c", "{key}");
    }
}

#[tokio::test]
async fn without_a_valid_trace_the_quotes_id_begins_one() {
    let bench = bench();
    let odd = ["[]", "null", "7", "1e999", r#"{"traceparent":[48]}"#, r#"[{"traceparent":[300,-200]}]"#];
    let records: Vec<String> = (1..).zip(odd).map(|(offset, it)| with_headers(offset, it)).collect();
    let outcome = bench.handle(&event(&records)).await.unwrap();
    assert_eq!((outcome.archived, outcome.quarantined), (odd.len(), 0));
    for (key, trace) in bench.bronze.traces.lock().unwrap().iter() {
        let quote = Quote::from_object(&bench.bronze.get(key)).unwrap();
        assert_eq!(trace.trace_id(), quote.id().to_string().replace('-', ""), "{key}");
    }
}

#[tokio::test]
async fn a_quarantined_record_keeps_its_trace() {
    let bench = bench();
    let poison = record(0, 1, "poison").replace("[]", &format!(r#"[{{"traceparent":{FOREIGN:?}}}]"#));
    bench.handle(&event(&[poison])).await.unwrap();
    let [trace] =
        bench.quarantine.traces.lock().unwrap().values().copied().collect::<Vec<_>>().try_into().unwrap();
    assert_eq!(trace.to_string(), FOREIGN);
}

#[tokio::test]
async fn an_unavailable_bucket_fails_the_event_and_names_the_record() {
    let bench = bench();
    *bench.bronze.outage.lock().unwrap() = Some(0);
    let error = bench.handle(&event(&[record(0, 41, &quote("AAPL", 1, "1"))])).await.unwrap_err();
    let message = function_kit::chain(&error);
    assert!(message.contains("stock-quotes-0@41") && message.contains("503"), "{message}");
}

#[test]
fn every_problem_of_the_environment_is_named() {
    let error = Config::read(ABOUT.environment(&[])).unwrap_err().to_string();
    assert!(error.contains("BRONZE_BUCKET") && error.contains("QUARANTINE_BUCKET"), "{error}");
}

#[tokio::test]
async fn every_recorded_payload_is_stored_whole_in_batches_too() {
    for layout in BATCHES {
        for (name, payload, expected, objects) in [
            ("msk", include_str!("../tests/payloads/msk.json"), (2, 0), 1),
            ("odd encodings", include_str!("../tests/payloads/odd-encodings.json"), (3, 0), 1),
            ("several partitions", include_str!("../tests/payloads/several-partitions.json"), (3, 0), 2),
            ("empty", include_str!("../tests/payloads/empty.json"), (0, 0), 0),
            ("poison", include_str!("../tests/payloads/poison.json"), (1, 7), 1),
        ] {
            let (alone, bench) = (bench(), bench_of(layout));
            alone.handle(payload).await.unwrap();
            let outcome = bench.handle(payload).await.unwrap();
            assert_eq!((outcome.archived, outcome.quarantined), expected, "{name}");
            assert_eq!(bench.bronze.keys().len(), objects, "{name}: {:?}", bench.bronze.keys());
            assert_eq!(bench.ids(), alone.ids(), "{name}");
            // One by one, and the same in either layout.
            assert_eq!(
                *bench.quarantine.objects.lock().unwrap(),
                *alone.quarantine.objects.lock().unwrap(),
                "{name}"
            );
        }
    }
}

#[tokio::test]
async fn a_batch_has_its_messages_byte_for_byte_a_line_each_under_the_key_of_its_offsets() {
    for (layout, suffix) in BATCHES.into_iter().zip([".ndjson.gz", ".ndjson.zst"]) {
        let bench = bench_of(layout);
        let messages = [
            ("BRK.B", 1_704_067_256, "150.250"),
            ("AAPL", 1_704_067_250, "1e2"),
            ("AAPL", 1_704_067_251, "7"),
        ];
        let messages = messages.map(|(symbol, at, price)| quote(symbol, at, price));
        let mut records: Vec<String> =
            (15..).zip(&messages).map(|(offset, message)| record(3, offset, message)).collect();
        records.insert(1, record(3, 18, "poison"));
        let batch = event(&records);
        assert_eq!(
            bench.handle(&batch).await.unwrap(),
            Outcome { archived: 3, already_archived: 0, quarantined: 1 }
        );
        let key = format!("batches/1704067256-1704067250-3-stock-quotes-3-15-17{suffix}");
        assert_eq!(bench.lines(), [(key.clone(), messages.to_vec())]);
        let bytes = bench.bronze.get(&key);
        // The same event again finds its objects; the same event in an empty bucket gives the same bytes.
        assert_eq!(
            bench.handle(&batch).await.unwrap(),
            Outcome { archived: 0, already_archived: 3, quarantined: 1 }
        );
        let other = bench_of(layout);
        other.handle(&batch).await.unwrap();
        assert_eq!(other.bronze.get(&key), bytes);
    }
}

#[tokio::test]
async fn a_message_of_several_lines_is_one_line_of_a_batch_and_one_without_an_id_gets_it() {
    let bench = bench_of(BATCHES[0]);
    let pretty = format!(
        "{{\n  \"c\": 1.50,\n  \"more\": [1,\n 2],\n\"symbol\":\"A\",\"fetched_at\":7,\"quote_id\":\"{}\"}}\n",
        QuoteId::at(0)
    );
    let foreign = "{\"c\":1,\n\"more\":[1,\n2],\"symbol\":\"A\"}";
    bench.handle(&event(&[record(0, 1, &pretty), record(0, 2, foreign)])).await.unwrap();
    let lines: Vec<String> = bench.lines().into_iter().flat_map(|(_, lines)| lines).collect();
    assert_eq!(lines.len(), 2, "{lines:?}");
    assert!(lines.contains(&pretty.replace('\n', " ")), "{lines:?}");
    let alone = self::bench();
    alone.handle(&event(&[record(0, 1, &pretty), record(0, 2, foreign)])).await.unwrap();
    assert_eq!(bench.ids(), alone.ids());
}

#[tokio::test]
async fn the_quotes_of_two_days_and_those_that_fill_an_object_are_apart() {
    let bench = bench_of(BATCHES[0]);
    bench
        .handle(&event(&[record(0, 1, &quote("A", 86_399, "1")), record(0, 2, &quote("A", 86_400, "2"))]))
        .await
        .unwrap();
    assert_eq!(
        bench.bronze.keys(),
        [
            "batches/86399-86399-1-stock-quotes-0-1-1.ndjson.gz",
            "batches/86400-86400-1-stock-quotes-0-2-2.ndjson.gz"
        ]
    );
    let long = |offset| {
        record(
            1,
            offset,
            &quote("A", offset, "1").replace('}', &format!(",\"more\":\"{}\"}}", "x".repeat(2 << 20))),
        )
    };
    bench.handle(&event(&[long(1), long(2), long(3), long(4)])).await.unwrap();
    let large: Vec<String> =
        bench.bronze.keys().into_iter().filter(|key| key.contains("-quotes-1-")).collect();
    assert_eq!(
        large,
        ["batches/2-1-2-stock-quotes-1-1-2.ndjson.gz", "batches/4-3-2-stock-quotes-1-3-4.ndjson.gz"]
    );
}

#[tokio::test]
async fn the_batches_of_a_topic_that_was_created_again_are_all_kept() {
    let bench = bench_of(BATCHES[0]);
    let (first, second) = (
        include_str!("../tests/payloads/first-life.json"),
        include_str!("../tests/payloads/second-life.json"),
    );
    for (event, archived) in [(first, 2), (second, 2), (second, 0), (first, 0)] {
        let outcome = bench.handle(event).await.unwrap();
        assert_eq!((outcome.archived, outcome.already_archived), (archived, 2 - archived));
    }
    assert_eq!(bench.ids().len(), 4);
}

#[tokio::test]
async fn a_batch_without_a_free_key_fails_for_good_and_says_so() {
    let bench = bench_of(BATCHES[0]);
    let batch = |price: u32| event(&[record(0, 1, &quote("A", 7, &price.to_string()))]);
    for price in 0..=MOST_TAKEN {
        bench.handle(&batch(price)).await.unwrap();
    }
    let error = bench.handle(&batch(99)).await.unwrap_err();
    assert!(!error.is_retryable());
    assert!(function_kit::chain(&error).contains("stock-quotes-0@1..1"), "{}", function_kit::chain(&error));
}

#[tokio::test]
async fn an_unavailable_bucket_fails_a_batch_and_names_its_offsets() {
    let bench = bench_of(BATCHES[0]);
    *bench.bronze.outage.lock().unwrap() = Some(0);
    let records = [record(0, 41, &quote("AAPL", 1, "1")), record(0, 42, &quote("AAPL", 2, "1"))];
    let error = bench.handle(&event(&records)).await.unwrap_err();
    assert!(error.is_retryable());
    let message = function_kit::chain(&error);
    assert!(message.contains("stock-quotes-0@41..42") && message.contains("503"), "{message}");
}

#[test]
fn a_layout_is_per_quote_unless_the_environment_says_otherwise() {
    let read = |more: &[(&str, &str)]| {
        let buckets = [("BRONZE_BUCKET", "b"), ("QUARANTINE_BUCKET", "q")];
        let all = [buckets.as_slice(), more].concat();
        Config::read(ABOUT.environment(&all)).map(|config| config.layout).map_err(|error| error.to_string())
    };
    assert_eq!(read(&[]), Ok(Layout::PerQuote));
    assert_eq!(read(&[("OBJECT_COMPRESSION", "zstd")]), Ok(Layout::PerQuote));
    assert_eq!(read(&[("OBJECT_LAYOUT", "batch")]), Ok(Layout::Batch(Compression::Gzip)));
    assert_eq!(
        read(&[("OBJECT_LAYOUT", "batch"), ("OBJECT_COMPRESSION", "zstd")]),
        Ok(Layout::Batch(Compression::Zstd))
    );
    let error = read(&[("OBJECT_LAYOUT", "batches"), ("OBJECT_COMPRESSION", "lz4")]).unwrap_err();
    assert!(error.contains("OBJECT_LAYOUT") && error.contains("OBJECT_COMPRESSION"), "{error}");
}

proptest! {
    #[test]
    fn any_value_ends_in_one_bucket_or_the_other(value in any::<String>()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let bench = bench();
            bench.handle(&event(&[record(0, 1, &value)])).await.unwrap();
            assert_eq!(bench.bronze.keys().len() + bench.quarantine.keys().len(), 1);
        });
    }

    #[test]
    fn batches_tried_again_with_other_boundaries_write_every_record_once(
        // There are few symbols and seconds, so that quotes have equal keys. Second 0 stands for an invalid record.
        records in proptest::collection::vec((0..2usize, 0..4i64), 1..24),
        tries in proptest::collection::vec((0..24usize, 1..24usize, proptest::option::of(0..12usize)), 0..8),
        batch in 1..24usize,
    ) {
        let records: Vec<String> = (0..).zip(&records).map(|(offset, (symbol, second))| match second {
            0 => record(0, offset, "poison"),
            second => record(0, offset, &quote(["AAPL", "MSFT"][*symbol], *second, "1")),
        }).collect();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let bench = bench();
            for (first, count, outage) in tries {
                let from = first.min(records.len() - 1);
                let batch = &records[from..records.len().min(from + count)];
                *bench.bronze.outage.lock().unwrap() = outage;
                let _ = bench.handle(&event(batch)).await;
            }
            *bench.bronze.outage.lock().unwrap() = None;
            for batch in records.chunks(batch) {
                bench.handle(&event(batch)).await.unwrap();
            }
            let all = bench.bronze.keys().len() + bench.quarantine.keys().len();
            assert_eq!(all, records.len());
            // Each has its own key, and is complete.
            let objects = bench.bronze.objects.lock().unwrap();
            let bytes: std::collections::BTreeSet<&Vec<u8>> = objects.values().collect();
            assert_eq!(bytes.len(), objects.len());
        });
    }

    /// Events are cut anywhere and delivered twice, in any order. Some fail, and then all are delivered again.
    #[test]
    fn however_events_are_cut_both_layouts_hold_each_quote_and_no_other(
        records in proptest::collection::vec((0..2usize, 0..4i64, 0..2i32), 1..24),
        tries in proptest::collection::vec((0..24usize, 1..24usize, proptest::option::of(0..4usize)), 0..8),
        batch in 1..24usize,
    ) {
        // Second 0 stands for an invalid record. Some quotes are days apart.
        let of = |(offset, (symbol, second, partition)): (i64, &(usize, i64, i32))| match second {
            0 => (None, record(*partition, offset, "poison")),
            second => {
                let quote = quote(["AAPL", "MSFT"][*symbol], second * 40_000, "1");
                (Some(Quote::from_object(quote.as_bytes()).unwrap().id()), record(*partition, offset, &quote))
            }
        };
        let (ids, records): (Vec<_>, Vec<_>) = (0..).zip(&records).map(of).unzip();
        let expected: BTreeSet<QuoteId> = ids.iter().copied().flatten().collect();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        for layout in [Layout::PerQuote, BATCHES[0], BATCHES[1]] {
            runtime.block_on(async {
                let bench = bench_of(layout);
                for (first, count, outage) in &tries {
                    let from = (*first).min(records.len() - 1);
                    let batch = &records[from..records.len().min(from + count)];
                    *bench.bronze.outage.lock().unwrap() = *outage;
                    let _ = bench.handle(&event(batch)).await;
                }
                *bench.bronze.outage.lock().unwrap() = None;
                for batch in records.chunks(batch) {
                    let outcome = bench.handle(&event(batch)).await.unwrap();
                    assert_eq!(outcome.archived + outcome.already_archived + outcome.quarantined, batch.len());
                }
                assert_eq!(bench.ids(), expected);
                assert_eq!(bench.quarantine.keys().len(), ids.iter().filter(|id| id.is_none()).count());
                // A key says what its object holds.
                for (key, lines) in bench.lines() {
                    let key: ArchiveKey = key.parse().unwrap();
                    let times: BTreeSet<i64> =
                        lines.iter().map(|line| Quote::from_object(line.as_bytes()).unwrap().fetched_at()).collect();
                    assert_eq!(key.quotes(), lines.len() as u64);
                    assert_eq!(Some(key.newest_and_oldest()), times.last().copied().zip(times.first().copied()));
                }
                let before = bench.bronze.objects.lock().unwrap().clone();
                for batch in records.chunks(batch) {
                    assert_eq!(bench.handle(&event(batch)).await.unwrap().archived, 0);
                }
                assert_eq!(*bench.bronze.objects.lock().unwrap(), before);
            });
        }
    }

    #[test]
    fn any_header_leaves_its_record_readable(bytes in any::<Vec<i64>>(), text in any::<String>()) {
        for value in [serde_json::to_string(&bytes).unwrap(), serde_json::to_string(&text).unwrap()] {
            let record = with_headers(1, &format!(r#"[{{"traceparent":{value}}}]"#));
            let event: KafkaEvent = serde_json::from_str(&event(&[record])).unwrap();
            let [record] = event.into_records().try_into().unwrap();
            assert!(record.unwrap().quote(SystemTime::now()).is_ok());
        }
    }

    #[test]
    fn any_record_of_an_event_is_read_or_kept(json in any::<String>()) {
        let json = serde_json::to_string(&json).unwrap();
        let event: KafkaEvent = serde_json::from_str(&format!(r#"{{"records":{{"t-0":[{json}]}}}}"#)).unwrap();
        assert_eq!(event.into_records().len(), 1);
    }
}
