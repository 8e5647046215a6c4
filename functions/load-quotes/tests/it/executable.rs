//! The executable behind the Runtime API.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use runtime_api::{Function, FunctionConfig, InvokeError};
use serde_json::{Value, json};

use crate::s3::{Reply, S3};

type Lines = Arc<Mutex<Vec<String>>>;

const QUOTE: &[u8] =
    br#"{"c":1.5,"symbol":"AAPL","fetched_at":1704067256,"quote_id":"018cc251-f400-7000-8000-000000000001"}"#;

fn bootstrap(env: &[(&str, &str)], timeout: Duration) -> (Function, Lines) {
    let lines = Lines::default();
    let sink = Arc::clone(&lines);
    let mut config = FunctionConfig::new("load-quotes", env!("CARGO_BIN_EXE_load-quotes"));
    config.env = env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    config.timeout = timeout;
    config.log = Arc::new(move |line: &str| sink.lock().unwrap().push(line.to_owned()));
    (Function::start(config), lines)
}

fn loading(s3: &str, bigquery: &str, timeout: Duration) -> (Function, Lines) {
    let env = [("AWS_ENDPOINT_URL", s3), ("BIGQUERY_ENDPOINT", bigquery), ("BIGQUERY_PROJECT", "test")];
    bootstrap(&env, timeout)
}

/// A batch of two messages, `m0` and `m1`, each naming the object.
fn batch(key: &str) -> String {
    let body = json!({ "Records": [{ "eventName": "ObjectCreated:Put",
        "s3": { "bucket": { "name": "bronze" }, "object": { "key": key } } }] });
    let message = |number: u8| json!({ "messageId": format!("m{number}"), "body": body.to_string() });
    json!({ "Records": [message(0), message(1)] }).to_string()
}

fn failure(error: InvokeError) -> (String, String) {
    match error {
        InvokeError::Function { error_type, message } => (error_type, message),
        other => panic!("{other:?}"),
    }
}

#[test]
fn help_names_every_variable() {
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_load-quotes"))
        .arg("--help")
        .env_clear()
        .output()
        .unwrap();
    let help = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success());
    for name in ["BIGQUERY_PROJECT", "BIGQUERY_DATASET", "BIGQUERY_ENDPOINT", "LOADED_QUEUE_URL", "LOG_LEVEL"]
    {
        assert!(help.contains(name), "{name} in {help}");
    }
}

#[tokio::test]
async fn a_bad_configuration_ends_with_one_json_line_that_names_every_variable() {
    let (function, lines) = bootstrap(&[("LOG_LEVEL", "loud")], Duration::from_secs(30));
    let error = function.invoke("{}").await.unwrap_err();
    assert!(matches!(error, InvokeError::Init { .. }), "{error:?}");
    let lines = lines.lock().unwrap().clone();
    let [line] = lines.as_slice() else { panic!("{lines:?}") };
    let line: Value = serde_json::from_str(line).unwrap();
    assert_eq!((&line["level"], &line["error_type"]), (&json!("ERROR"), &json!("Configuration")));
    for name in ["BIGQUERY_PROJECT", "GOOGLE_APPLICATION_CREDENTIALS", "LOG_LEVEL"] {
        assert!(line["message"].as_str().unwrap().contains(name), "{name} in {line}");
    }
}

#[tokio::test]
async fn a_malformed_event_is_not_retryable_and_a_malformed_message_fails_alone() {
    let s3 = S3::truthful().await;
    let (function, _) = loading(&s3.url, "http://127.0.0.1:1", Duration::from_secs(30));
    for event in ["{}", "7", r#"{"Records":"none"}"#] {
        let (error_type, message) = failure(function.invoke(event).await.unwrap_err());
        assert_eq!(error_type, "NonRetryable", "{event}: {message}");
    }
    let event = json!({ "Records": [{ "messageId": "m1", "body": "no JSON" }] }).to_string();
    let response: Value = serde_json::from_slice(&function.invoke(event).await.unwrap()).unwrap();
    assert_eq!(response, json!({ "batchItemFailures": [{ "itemIdentifier": "m1" }] }));
    function.stop().await;
}

#[tokio::test]
async fn an_unreachable_bucket_brings_every_message_again() {
    let (function, _) = loading("http://127.0.0.1:1", "http://127.0.0.1:1", Duration::from_secs(30));
    let response: Value =
        serde_json::from_slice(&function.invoke(batch("AAPL/1.json")).await.unwrap()).unwrap();
    assert_eq!(
        response,
        json!({ "batchItemFailures": [{ "itemIdentifier": "m0" }, { "itemIdentifier": "m1" }] })
    );
    let (error_type, message) =
        failure(function.invoke(include_str!("../payloads/s3.json")).await.unwrap_err());
    assert_eq!(error_type, "Retryable", "{message}");
    function.stop().await;
}

#[tokio::test]
async fn an_unreachable_warehouse_is_retryable_and_acknowledges_nothing() {
    let s3 = S3::truthful().await;
    s3.put("/bronze/AAPL/1.json", QUOTE);
    let (function, lines) = loading(&s3.url, "http://127.0.0.1:1", Duration::from_secs(30));
    let (error_type, message) = failure(function.invoke(batch("AAPL/1.json")).await.unwrap_err());
    assert_eq!(error_type, "Retryable");
    assert!(message.contains("1 quotes were not loaded"), "{message}");
    function.stop().await;
    for line in lines.lock().unwrap().iter() {
        serde_json::from_str::<Value>(line).unwrap();
    }
}

#[tokio::test]
async fn a_bucket_that_hangs_is_retryable_before_the_functions_time_is_over() {
    let s3 = S3::start(|_, _| Reply::Never).await;
    let (function, _) = loading(&s3.url, "http://127.0.0.1:1", Duration::from_secs(3));
    let (error_type, message) = failure(function.invoke(batch("AAPL/1.json")).await.unwrap_err());
    assert_eq!(error_type, "Retryable");
    assert!(message.contains("time was over"), "{message}");
    function.stop().await;
}

#[tokio::test]
async fn a_warehouse_that_hangs_is_retryable_before_the_functions_time_is_over() {
    let (s3, silent) = (S3::truthful().await, S3::start(|_, _| Reply::Never).await);
    s3.put("/bronze/AAPL/1.json", QUOTE);
    let (function, _) = loading(&s3.url, &silent.url, Duration::from_secs(3));
    let (error_type, message) = failure(function.invoke(batch("AAPL/1.json")).await.unwrap_err());
    assert_eq!(error_type, "Retryable");
    assert!(message.contains("time was over"), "{message}");
    function.stop().await;
}
