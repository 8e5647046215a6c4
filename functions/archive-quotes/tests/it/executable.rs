//! The executable behind the Runtime API.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use runtime_api::{Function, FunctionConfig, InvokeError};
use serde_json::{Value, json};

use crate::s3::{Reply, S3};

type Lines = Arc<Mutex<Vec<String>>>;

fn bootstrap(env: &[(&str, &str)], timeout: Duration) -> (Function, Lines) {
    let lines = Lines::default();
    let sink = Arc::clone(&lines);
    let mut config = FunctionConfig::new("archive-quotes", env!("CARGO_BIN_EXE_archive-quotes"));
    config.env = env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    config.timeout = timeout;
    config.log = Arc::new(move |line: &str| sink.lock().unwrap().push(line.to_owned()));
    (Function::start(config), lines)
}

fn writing_to(url: &str, timeout: Duration) -> (Function, Lines) {
    let env = [("BRONZE_BUCKET", "bronze"), ("QUARANTINE_BUCKET", "quarantine"), ("AWS_ENDPOINT_URL", url)];
    bootstrap(&env, timeout)
}

fn failure(error: InvokeError) -> (String, String) {
    match error {
        InvokeError::Function { error_type, message } => (error_type, message),
        other => panic!("{other:?}"),
    }
}

#[test]
fn help_names_every_variable() {
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_archive-quotes"))
        .arg("--help")
        .env_clear()
        .output()
        .unwrap();
    let help = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success());
    for name in ["BRONZE_BUCKET", "QUARANTINE_BUCKET", "AWS_ENDPOINT_URL", "LOG_LEVEL"] {
        assert!(help.contains(name), "{name} in {help}");
    }
}

#[tokio::test]
async fn a_bad_configuration_ends_with_one_json_line_that_names_every_variable() {
    let (function, lines) = bootstrap(&[("LOG_LEVEL", "info")], Duration::from_secs(30));
    let error = function.invoke("{}").await.unwrap_err();
    assert!(matches!(error, InvokeError::Init { .. }), "{error:?}");
    let lines = lines.lock().unwrap().clone();
    let [line] = lines.as_slice() else { panic!("{lines:?}") };
    let line: Value = serde_json::from_str(line).unwrap();
    assert_eq!((&line["level"], &line["error_type"]), (&json!("ERROR"), &json!("Configuration")));
    for name in ["BRONZE_BUCKET", "QUARANTINE_BUCKET"] {
        assert!(line["message"].as_str().unwrap().contains(name), "{name} in {line}");
    }
}

#[tokio::test]
async fn a_batch_is_stored_and_stored_again_as_the_same_objects() {
    let s3 = S3::truthful().await;
    let (function, _) = writing_to(&s3.url, Duration::from_secs(30));
    let event = include_str!("../payloads/msk.json");
    let first: Value = serde_json::from_slice(&function.invoke(event).await.unwrap()).unwrap();
    assert_eq!(first, json!({"archived": 2, "already_archived": 0, "quarantined": 0}));
    let second: Value = serde_json::from_slice(&function.invoke(event).await.unwrap()).unwrap();
    assert_eq!(second, json!({"archived": 0, "already_archived": 2, "quarantined": 0}));
    function.stop().await;
}

#[tokio::test]
async fn a_malformed_event_fails_alone_and_says_why() {
    let s3 = S3::truthful().await;
    let (function, _) = writing_to(&s3.url, Duration::from_secs(30));
    for event in ["7", r#"{"records":"none"}"#, r#"{"records":{"stock-quotes-0":{}}}"#] {
        let (_, message) = failure(function.invoke(event).await.unwrap_err());
        assert!(!message.is_empty(), "{event}");
    }
    // A poison record is no malformed event: it is set aside.
    let outcome = function.invoke(include_str!("../payloads/poison.json")).await.unwrap();
    assert_eq!(serde_json::from_slice::<Value>(&outcome).unwrap()["quarantined"], 7);
    function.stop().await;
}

#[tokio::test]
async fn an_unreachable_bucket_is_retryable_and_the_process_lives_on() {
    let (function, lines) = writing_to("http://127.0.0.1:1", Duration::from_secs(30));
    for _ in 0..2 {
        let (error_type, message) =
            failure(function.invoke(include_str!("../payloads/msk.json")).await.unwrap_err());
        assert_eq!(error_type, "Retryable");
        assert!(message.contains("stock-quotes-0@"), "{message}");
    }
    function.stop().await;
    let lines = lines.lock().unwrap().clone();
    let lines = lines.iter().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let errors: Vec<Value> = lines.filter(|line| line["error_type"] == "Retryable").collect();
    assert_eq!(errors.len(), 2, "{errors:?}");
    assert!(errors.iter().all(|line| line["level"] == "ERROR"), "{errors:?}");
}

#[tokio::test]
async fn a_bucket_that_hangs_is_retryable_before_the_functions_time_is_over() {
    let s3 = S3::start(|_, _| Reply::Never).await;
    let (function, _) = writing_to(&s3.url, Duration::from_secs(3));
    let (error_type, message) =
        failure(function.invoke(include_str!("../payloads/msk.json")).await.unwrap_err());
    assert_eq!(error_type, "Retryable");
    assert!(message.contains("time was over"), "{message}");
    function.stop().await;
}
