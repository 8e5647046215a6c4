//! The executable behind the Runtime API.

use std::time::Duration;

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Value, json};
use test_support::{Executable, Reply, S3, assert_configuration_problems, assert_help, failure};

const PROGRAM: &str = env!("CARGO_BIN_EXE_archive-quotes");
const TIMEOUT: Duration = Duration::from_secs(30);

fn writing_to(url: &str, timeout: Duration) -> Executable {
    let env = [("BRONZE_BUCKET", "bronze"), ("QUARANTINE_BUCKET", "quarantine"), ("AWS_ENDPOINT_URL", url)];
    Executable::new(PROGRAM, &env, timeout)
}

#[test]
fn help_names_every_variable() {
    assert_help(PROGRAM, &["BRONZE_BUCKET", "QUARANTINE_BUCKET", "AWS_ENDPOINT_URL", "LOG_LEVEL"]);
}

#[tokio::test]
async fn a_bad_configuration_ends_with_one_json_line_that_names_every_variable() {
    let names = ["BRONZE_BUCKET", "QUARANTINE_BUCKET"];
    assert_configuration_problems(PROGRAM, &[("LOG_LEVEL", "info")], &names).await;
}

#[tokio::test]
async fn a_batch_is_stored_and_stored_again_as_the_same_objects() {
    let s3 = S3::truthful().await;
    let function = writing_to(&s3.url, TIMEOUT);
    let event = include_str!("../payloads/msk.json");
    let first = function.invoke(event).await.unwrap();
    assert_eq!(first, json!({"archived": 2, "already_archived": 0, "quarantined": 0}));
    let second = function.invoke(event).await.unwrap();
    assert_eq!(second, json!({"archived": 0, "already_archived": 2, "quarantined": 0}));
    function.stop().await;
}

#[tokio::test]
async fn values_of_900_kb_are_stored_whole() {
    let s3 = S3::truthful().await;
    let function = writing_to(&s3.url, TIMEOUT);
    let padding = "x".repeat(900_000);
    let values: Vec<String> = (1..=3)
        .map(|second| format!(r#"{{"c":1.50,"symbol":"AAPL","fetched_at":{second},"quote_id":"018cc251-f400-7000-8000-00000000000{second}","note":"{padding}"}}"#))
        .chain([padding.clone()])
        .collect();
    let record = |(offset, value): (usize, &String)| {
        json!({ "topic": "stock-quotes", "partition": 0, "offset": offset, "timestamp": 0,
            "value": STANDARD.encode(value) })
    };
    let records: Vec<Value> = values.iter().enumerate().map(record).collect();
    let outcome = function.invoke(json!({ "records": { "stock-quotes-0": records } }).to_string()).await;
    assert_eq!(outcome.unwrap(), json!({"archived": 3, "already_archived": 0, "quarantined": 1}));
    for (second, value) in (1..=3).zip(&values) {
        assert_eq!(s3.object(&format!("/bronze/AAPL/{second}.json")).unwrap(), value.as_bytes());
    }
    let [quarantined] = s3.objects("/quarantine/").try_into().unwrap();
    let quarantined: Value = serde_json::from_slice(&quarantined).unwrap();
    assert_eq!(quarantined["value"], STANDARD.encode(&padding));
    function.stop().await;
}

#[tokio::test]
async fn a_malformed_event_fails_alone_and_says_why() {
    let s3 = S3::truthful().await;
    let function = writing_to(&s3.url, TIMEOUT);
    for event in ["7", r#"{"records":"none"}"#, r#"{"records":{"stock-quotes-0":{}}}"#] {
        let (_, message) = failure(function.invoke(event).await.unwrap_err());
        assert!(!message.is_empty(), "{event}");
    }
    // A poison record is no malformed event: it is set aside.
    let outcome = function.invoke(include_str!("../payloads/poison.json")).await.unwrap();
    assert_eq!(outcome["quarantined"], 7);
    function.stop().await;
}

#[tokio::test]
async fn an_unreachable_bucket_is_retryable_and_the_process_lives_on() {
    let function = writing_to("http://127.0.0.1:1", TIMEOUT);
    for _ in 0..2 {
        let (error_type, message) =
            failure(function.invoke(include_str!("../payloads/msk.json")).await.unwrap_err());
        assert_eq!(error_type, "Retryable");
        assert!(message.contains("stock-quotes-0@"), "{message}");
    }
    let log = function.stop().await;
    let errors: Vec<&Value> = log.iter().filter(|line| line["error_type"] == "Retryable").collect();
    assert_eq!(errors.len(), 2, "{errors:?}");
    assert!(errors.iter().all(|line| line["level"] == "ERROR"), "{errors:?}");
}

#[tokio::test]
async fn an_unavailable_quarantine_fails_the_event_and_loses_no_record() {
    let s3 = S3::start(|method, earlier| match (method.as_str(), earlier) {
        ("PUT", 0..3) => Reply::Error(503, "SlowDown"),
        _ => Reply::Truth,
    })
    .await;
    let function = writing_to(&s3.url, TIMEOUT);
    let poison = json!({ "records": { "stock-quotes-0": [
        { "topic": "stock-quotes", "partition": 0, "offset": 7, "timestamp": 0, "value": STANDARD.encode("[]") },
    ] } });
    let (error_type, message) = failure(function.invoke(poison.to_string()).await.unwrap_err());
    assert_eq!(error_type, "Retryable");
    assert!(message.contains("stock-quotes-0@7"), "{message}");
    assert!(s3.objects("/quarantine/").is_empty());
    function.invoke(poison.to_string()).await.unwrap();
    assert_eq!(s3.objects("/quarantine/").len(), 1);
    function.stop().await;
}

#[tokio::test]
async fn a_bucket_that_hangs_is_retryable_before_the_functions_time_is_over() {
    let s3 = S3::start(|_, _| Reply::Never).await;
    let function = writing_to(&s3.url, Duration::from_secs(3));
    let (error_type, message) =
        failure(function.invoke(include_str!("../payloads/msk.json")).await.unwrap_err());
    assert_eq!(error_type, "Retryable");
    assert!(message.contains("time was over"), "{message}");
    function.stop().await;
}
