//! Measures each stage of archive-quotes: `make bench-stages`. The quotes are like recorded ones, 230 B each.
#![allow(clippy::expect_used, reason = "as in a test, a failure ends it")]

use archive_quotes::{ArchiveQuotes, KafkaEvent, Layout, Outcome, Put, Store, StoreError};
use base64::{Engine, engine::general_purpose::STANDARD};
use divan::{Bencher, bench, counter::ItemsCount};
use function_kit::trace::TraceParent;
use lambda_runtime::{Context, LambdaEvent};
use quotes::{Compression, Quote, QuoteView};
use serde_json::{Value, json};

/// The number of records in an event by default.
const RECORDS: usize = 100;

fn main() {
    divan::main();
}

fn message(index: usize) -> Vec<u8> {
    let (at, cents) = (1_704_067_256 + index / 5, index % 100);
    format!(
        r#"{{"c":150.{cents:02},"d":2.5,"dp":1.69,"h":152.0,"l":148.5,"o":149.0,"pc":147.75,"t":{at},"symbol":"AAPL","fetched_at":{at},"quote_id":"018cc2a1-0e80-7000-8000-{index:012x}"}}"#
    )
    .into_bytes()
}

/// The event of a Kafka trigger.
fn event() -> Vec<u8> {
    let record = |index| {
        json!({
            "topic": "stock-quotes", "partition": 0, "offset": index, "timestamp": 1_704_067_256_123_i64,
            "timestampType": "CREATE_TIME", "key": "QUFQTA==", "value": STANDARD.encode(message(index)), "headers": []
        })
    };
    let records: Vec<Value> = (0..RECORDS).map(record).collect();
    json!({ "eventSource": "aws:kafka", "records": { "stock-quotes-0": records } }).to_string().into_bytes()
}

#[bench]
fn parse_a_quote(bencher: Bencher) {
    let bytes = message(7);
    bencher.bench(|| Quote::from_object(&bytes));
}

#[bench]
fn parse_a_quote_by_reference(bencher: Bencher) {
    let bytes = message(7);
    bencher.bench(|| QuoteView::parse(&bytes).is_ok());
}

#[bench]
fn make_an_objects_key(bencher: Bencher) {
    let quote = Quote::from_object(&message(7)).expect("a quote");
    bencher.bench(|| quote.object_key().to_string());
}

#[bench]
fn decode_an_event(bencher: Bencher) {
    let event = event();
    bencher
        .counter(ItemsCount::new(RECORDS))
        .bench(|| serde_json::from_slice::<KafkaEvent>(&event).expect("an event").into_records());
}

/// A bucket that accepts everything and keeps nothing.
struct Taken;

impl Store for Taken {
    async fn put_once(&self, _: &str, _: &[u8], _: Option<TraceParent>) -> Result<Put, StoreError> {
        Ok(Put::Written)
    }
}

/// From the decoded event to the objects' bytes.
#[bench(args = [Layout::PerQuote, Layout::Batch(Compression::Gzip), Layout::Batch(Compression::Zstd)])]
fn make_an_events_objects(bencher: Bencher, layout: Layout) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
    let (event, function) = (event(), ArchiveQuotes::new(Taken, Taken, layout));
    let decoded = || {
        let mut context = Context::default();
        context.deadline = u64::MAX / 2;
        LambdaEvent::new(serde_json::from_slice(&event).expect("an event"), context)
    };
    bencher.counter(ItemsCount::new(RECORDS)).with_inputs(decoded).bench_local_values(|event| -> Outcome {
        let outcome = runtime.block_on(function.handle(event)).expect("stored");
        assert_eq!(outcome.archived, RECORDS);
        outcome
    });
}
