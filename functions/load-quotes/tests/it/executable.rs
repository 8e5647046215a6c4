//! The executable behind the Runtime API.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{Json, Router, extract::State};
use serde_json::{Value, json};
use test_support::{
    Collector, Executable, Reply, S3, assert_configuration_problems, assert_documented, failure,
};

const PROGRAM: &str = env!("CARGO_BIN_EXE_load-quotes");
const TIMEOUT: Duration = Duration::from_secs(30);
const QUOTE: &[u8] =
    br#"{"c":1.5,"symbol":"AAPL","fetched_at":1704067256,"quote_id":"018cc251-f400-7000-8000-000000000001"}"#;
/// The same, as gzip makes it of it.
const GZIPPED: &[u8] = include_bytes!("../payloads/quote.json.gz");

fn loading(s3: &str, bigquery: &str, timeout: Duration) -> Executable {
    let env = [("AWS_ENDPOINT_URL", s3), ("BIGQUERY_ENDPOINT", bigquery), ("BIGQUERY_PROJECT", "test")];
    Executable::new(PROGRAM, &env, timeout)
}

/// A BigQuery that takes every statement, and the `batch` parameter of each, parsed.
async fn bigquery() -> (String, Arc<Mutex<Vec<Value>>>) {
    let batches = Arc::<Mutex<Vec<Value>>>::default();
    let take = async |State(batches): State<Arc<Mutex<Vec<Value>>>>, Json(request): Json<Value>| {
        let text = request["queryParameters"][0]["parameterValue"]["value"].as_str().unwrap();
        batches.lock().unwrap().push(serde_json::from_str(text).unwrap());
        let id = json!({ "projectId": "test", "jobId": "job" });
        Json(json!({ "jobComplete": true, "jobReference": id, "numDmlAffectedRows": "1" }))
    };
    let router = Router::new().fallback(take).with_state(Arc::clone(&batches));
    let router = router.layer(axum::extract::DefaultBodyLimit::disable());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    (url, batches)
}

/// A message, called by its key, for each key.
fn messages(keys: &[&str]) -> String {
    let message = |key: &&str| {
        let body = json!({ "Records": [{ "eventName": "ObjectCreated:Put",
            "s3": { "bucket": { "name": "bronze" }, "object": { "key": key } } }] });
        json!({ "messageId": key, "body": body.to_string() })
    };
    json!({ "Records": keys.iter().map(message).collect::<Vec<_>>() }).to_string()
}

#[test]
fn every_variable_is_documented() {
    assert_documented(PROGRAM, env!("CARGO_MANIFEST_DIR"), &load_quotes::ABOUT);
}

#[tokio::test]
async fn a_bad_configuration_ends_with_one_json_line_that_names_every_variable() {
    let names = ["BIGQUERY_PROJECT", "GOOGLE_APPLICATION_CREDENTIALS", "LOG_LEVEL"];
    assert_configuration_problems(PROGRAM, &[("LOG_LEVEL", "loud")], &names).await;
}

#[tokio::test]
async fn objects_are_read_whatever_their_content_type_says() {
    let s3 = S3::truthful().await;
    let types =
        ["application/json", "application/json; charset=utf-8", "text/html", "binary/octet-stream", "?"];
    let keys: Vec<String> = (0..types.len()).map(|number| format!("AAPL/{number}.json")).collect();
    for (key, kind) in keys.iter().zip(types) {
        s3.put_with(&format!("/bronze/{key}"), &[("content-type", kind)], QUOTE);
    }
    let (warehouse, batches) = bigquery().await;
    let function = loading(&s3.url, &warehouse, TIMEOUT);
    let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
    for key in &keys {
        assert_eq!(function.invoke(messages(&[key])).await.unwrap(), json!({ "batchItemFailures": [] }));
    }
    function.stop().await;
    let batches = batches.lock().unwrap();
    let loaded: Vec<&str> = batches.iter().map(|batch| batch[0]["object_key"].as_str().unwrap()).collect();
    // One statement a batch, and no other.
    assert_eq!(loaded, keys);
}

#[tokio::test]
async fn a_compressed_object_is_no_quote_and_fails_alone_with_its_reason_logged() {
    let s3 = S3::truthful().await;
    s3.put("/bronze/AAPL/1.json", QUOTE);
    s3.put_with("/bronze/AAPL/2.json", &[("content-encoding", "gzip")], GZIPPED);
    let (warehouse, batches) = bigquery().await;
    let function = loading(&s3.url, &warehouse, TIMEOUT);
    let response = function.invoke(messages(&["AAPL/1.json", "AAPL/2.json"])).await.unwrap();
    assert_eq!(response, json!({ "batchItemFailures": [{ "itemIdentifier": "AAPL/2.json" }] }));
    let log = function.stop().await;
    assert_eq!(batches.lock().unwrap()[0].as_array().unwrap().len(), 1);
    let [error] = log.iter().filter(|line| line["level"] == "ERROR").collect::<Vec<_>>().try_into().unwrap();
    let message = error["message"].as_str().unwrap();
    assert!(message.contains("AAPL/2.json is not a quote: not a JSON object"), "{message}");
    assert_eq!(error["message_ids"], json!(["AAPL/2.json"]));
    assert!(error["span"]["requestId"].is_string() && error.get("spans").is_none(), "{error}");
    assert!(
        log.iter().any(|line| line["message"] == "not every message was loaded" && line["failed"] == 1),
        "{log:?}"
    );
}

/// The most memory that the process of `PROGRAM` with this variable in its environment has had, in kB.
fn most_memory_kb(variable: &str) -> u64 {
    let processes = std::fs::read_dir("/proc").unwrap().filter_map(|entry| Some(entry.ok()?.path()));
    let has_it = |path: &std::path::PathBuf| {
        let environment = std::fs::read(path.join("environ")).unwrap_or_default();
        environment.split(|byte| *byte == 0).any(|entry| entry == variable.as_bytes())
    };
    let status = processes.filter(has_it).map(|path| std::fs::read_to_string(path.join("status")).unwrap());
    let most = |status: String| {
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap().to_owned();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap()
    };
    status.map(most).max().unwrap()
}

#[tokio::test]
async fn batches_of_a_hundred_thousand_quotes_are_loaded_within_the_memory_of_the_smallest_function() {
    const BATCHES: usize = 40;
    const QUOTES: usize = 2_500;
    let s3 = S3::truthful().await;
    let line = |batch: usize, number: usize| {
        let text = str::from_utf8(QUOTE).unwrap();
        text.replace("8000-000000000001", &format!("8000-{batch:06}{number:06}"))
    };
    let keys: Vec<String> = (0..BATCHES)
        .map(|batch| format!("batches/1704067256-1704067256-{QUOTES}-t-0-{batch}-9.ndjson.gz"))
        .collect();
    for (batch, key) in keys.iter().enumerate() {
        let lines: Vec<String> = (0..QUOTES).map(|number| line(batch, number)).collect();
        let bytes = quotes::Compression::Gzip.compress(lines.join("\n").as_bytes()).unwrap();
        s3.put(&format!("/bronze/{key}"), bytes.leak());
    }
    let (warehouse, batches) = bigquery().await;
    let mark = ("QUOTEFLOW_TEST", &*format!("memory-{}", std::process::id()));
    let env = [
        ("AWS_ENDPOINT_URL", &*s3.url),
        ("BIGQUERY_ENDPOINT", &*warehouse),
        ("BIGQUERY_PROJECT", "test"),
        mark,
    ];
    let function = Executable::new(PROGRAM, &env, Duration::from_mins(2));
    let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
    assert_eq!(function.invoke(messages(&keys)).await.unwrap(), json!({ "batchItemFailures": [] }));
    let most = most_memory_kb(&format!("{}={}", mark.0, mark.1));
    function.stop().await;
    let sizes: Vec<usize> =
        batches.lock().unwrap().iter().map(|batch| batch.as_array().unwrap().len()).collect();
    assert_eq!(sizes.iter().sum::<usize>(), BATCHES * QUOTES);
    assert!(sizes.len() < BATCHES, "{sizes:?}");
    assert!(most < 128 << 10, "{most} kB");
}

#[tokio::test]
async fn a_malformed_event_is_not_retryable_and_a_malformed_message_fails_alone() {
    let s3 = S3::truthful().await;
    let function = loading(&s3.url, "http://127.0.0.1:1", TIMEOUT);
    for event in ["{}", "7", r#"{"Records":"none"}"#] {
        let (error_type, message) = failure(function.invoke(event).await.unwrap_err());
        assert_eq!(error_type, "NonRetryable", "{event}: {message}");
    }
    let event = json!({ "Records": [{ "messageId": "m1", "body": "no JSON" }] }).to_string();
    let response = function.invoke(event).await.unwrap();
    assert_eq!(response, json!({ "batchItemFailures": [{ "itemIdentifier": "m1" }] }));
    function.stop().await;
}

#[tokio::test]
async fn an_unreachable_bucket_brings_every_message_again() {
    let function = loading("http://127.0.0.1:1", "http://127.0.0.1:1", TIMEOUT);
    let response = function.invoke(messages(&["AAPL/1.json", "AAPL/2.json"])).await.unwrap();
    assert_eq!(
        response,
        json!({ "batchItemFailures": [{ "itemIdentifier": "AAPL/1.json" }, { "itemIdentifier": "AAPL/2.json" }] })
    );
    let (error_type, message) =
        failure(function.invoke(include_str!("../payloads/s3.json")).await.unwrap_err());
    assert_eq!(error_type, "Retryable", "{message}");
    function.stop().await;
}

#[tokio::test]
async fn a_failure_has_one_error_line_that_says_what_the_answer_says() {
    let s3 = S3::start(|_, _| Reply::Error(403, "AccessDenied")).await;
    let function = loading(&s3.url, "http://127.0.0.1:1", TIMEOUT);
    for event in [include_str!("../payloads/s3.json"), r#"{"not":"an event"}"#] {
        let (error_type, message) = failure(function.invoke(event).await.unwrap_err());
        assert_eq!(error_type, "NonRetryable", "{message}");
        let log = function.log();
        let told = |line: &&Value| line["level"] == "ERROR" && line["error_type"] == "NonRetryable";
        assert_eq!(log.iter().rfind(told).unwrap()["message"], message);
    }
    let log = function.stop().await;
    let errors: Vec<&str> = log
        .iter()
        .filter(|line| line["level"] == "ERROR")
        .map(|line| line["message"].as_str().unwrap())
        .collect();
    assert_eq!(errors.len(), 2, "{errors:?}");
    let refused = "bronze-transactions/AAPL/1704067256.json could not be read: AccessDenied: no";
    assert_eq!(errors[0], format!("the event was not loaded: {refused}"));
}

#[tokio::test]
async fn an_unreachable_warehouse_is_retryable_and_acknowledges_nothing() {
    let s3 = S3::truthful().await;
    s3.put("/bronze/AAPL/1.json", QUOTE);
    let function = loading(&s3.url, "http://127.0.0.1:1", TIMEOUT);
    let (error_type, message) = failure(function.invoke(messages(&["AAPL/1.json"])).await.unwrap_err());
    assert_eq!(error_type, "Retryable");
    assert!(message.contains("1 quotes were not loaded"), "{message}");
    function.stop().await;
}

#[tokio::test]
async fn a_bucket_that_hangs_is_retryable_before_the_functions_time_is_over() {
    let s3 = S3::start(|_, _| Reply::Never).await;
    let function = loading(&s3.url, "http://127.0.0.1:1", Duration::from_secs(3));
    let (error_type, message) = failure(function.invoke(messages(&["AAPL/1.json"])).await.unwrap_err());
    assert_eq!(error_type, "Retryable");
    assert!(message.contains("time was over"), "{message}");
    function.stop().await;
}

#[tokio::test]
async fn a_warehouse_that_hangs_is_retryable_before_the_functions_time_is_over() {
    let (s3, silent) = (S3::truthful().await, S3::start(|_, _| Reply::Never).await);
    s3.put("/bronze/AAPL/1.json", QUOTE);
    let function = loading(&s3.url, &silent.url, Duration::from_secs(3));
    let (error_type, message) = failure(function.invoke(messages(&["AAPL/1.json"])).await.unwrap_err());
    assert_eq!(error_type, "Retryable");
    assert!(message.contains("time was over"), "{message}");
    function.stop().await;
}

#[tokio::test]
async fn each_invocation_writes_its_metrics_in_cloudwatchs_embedded_format() {
    let s3 = S3::truthful().await;
    s3.put("/bronze/AAPL/1704067256.json", QUOTE);
    let (warehouse, _) = bigquery().await;
    let function = loading(&s3.url, &warehouse, TIMEOUT);
    function.invoke(messages(&["AAPL/1704067256.json"])).await.unwrap();
    function.invoke(messages(&["AAPL/gone.json"])).await.unwrap();
    let log = function.stop().await;
    let metrics: Vec<&Value> = log.iter().filter(|line| line.get("_aws").is_some()).collect();
    let [line] = metrics.as_slice() else { panic!("{metrics:?}") };
    assert_eq!((&line["function"], &line["Loaded"]), (&json!("load-quotes"), &json!(1)));
    assert!(line["FreshnessSeconds"][0].as_f64().unwrap() > 0.0, "{line}");
    assert!(line["LoadSeconds"][0].as_f64().unwrap() >= 0.0, "{line}");
    let directive = &line["_aws"]["CloudWatchMetrics"][0];
    assert_eq!(
        (&directive["Namespace"], &directive["Dimensions"]),
        (&json!("Quoteflow"), &json!([["function"]]))
    );
    let units = directive["Metrics"].as_array().unwrap();
    assert!(units.contains(&json!({ "Name": "FreshnessSeconds", "Unit": "Seconds" })), "{units:?}");
}

#[tokio::test]
async fn the_trace_of_an_object_goes_on_to_its_row_whether_it_is_loaded_or_not() {
    let (s3, collector) = (S3::truthful().await, Collector::start().await);
    let trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    s3.put_with("/bronze/AAPL/1.json", &[("x-amz-meta-traceparent", trace)], QUOTE);
    let (warehouse, _) = bigquery().await;
    for (warehouse, failed) in [(warehouse.as_str(), false), ("http://127.0.0.1:1", true)] {
        let env = [
            ("AWS_ENDPOINT_URL", s3.url.as_str()),
            ("BIGQUERY_ENDPOINT", warehouse),
            ("BIGQUERY_PROJECT", "test"),
            ("OTEL_EXPORTER_OTLP_ENDPOINT", &collector.url),
        ];
        let function = Executable::new(PROGRAM, &env, TIMEOUT);
        assert_eq!(function.invoke(messages(&["AAPL/1.json"])).await.is_err(), failed);
        let log = function.stop().await;
        let span = collector.spans().pop().unwrap();
        assert_eq!((span.service.as_str(), span.failed), ("load-quotes", failed));
        assert_eq!(span.name, "load bronze_stock_quotes_raw");
        assert_eq!(span.trace_id, "0af7651916cd43dd8448eb211c80319c");
        assert_eq!(span.parent_id, "b7ad6b7169203331");
        // Each statement is tried three times more.
        let retried = log.iter().find_map(|line| line.get("Retried"));
        assert_eq!(retried, failed.then_some(&json!(3)));
    }
    assert_eq!(collector.spans().len(), 2);
}
