//! The executable behind the Runtime API.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::time::Duration;

use function_kit::{Retry, chain};
use reconcile_quotes::{Archive, BronzeBucket};
use serde_json::Value;
use test_support::{
    Executable, OUTAGES, REFUSALS, Reply, S3, assert_configuration_problems, assert_documented, failure,
};

const PROGRAM: &str = env!("CARGO_BIN_EXE_reconcile-quotes");
const NOWHERE: &str = "http://127.0.0.1:1";

fn function() -> Executable {
    let env = [
        ("AWS_ENDPOINT_URL", NOWHERE),
        ("ARCHIVED_QUEUE_URL", NOWHERE),
        ("BIGQUERY_ENDPOINT", NOWHERE),
        ("BIGQUERY_PROJECT", "test"),
        ("BRONZE_BUCKET", "bronze"),
    ];
    Executable::new(PROGRAM, &env, Duration::from_secs(30))
}

#[test]
fn every_variable_is_documented() {
    assert_documented(PROGRAM, env!("CARGO_MANIFEST_DIR"), &reconcile_quotes::ABOUT);
}

#[tokio::test]
async fn a_bad_configuration_ends_with_one_json_line_that_names_every_variable() {
    let env = [("BIGQUERY_ENDPOINT", NOWHERE), ("RECONCILE_GRACE_SECONDS", "soon")];
    let names = ["BRONZE_BUCKET", "ARCHIVED_QUEUE_URL", "BIGQUERY_PROJECT", "RECONCILE_GRACE_SECONDS"];
    assert_configuration_problems(PROGRAM, &env, &names).await;
}

#[tokio::test]
async fn a_request_that_is_none_fails_alone_and_says_why() {
    let function = function();
    for (request, reason) in [(r#"{"symbols":["../x"]}"#, "../x"), (r#"{"from":"monday"}"#, "monday")] {
        let (_, message) = failure(function.invoke(request).await.unwrap_err());
        assert!(message.contains(reason), "{message}");
    }
    function.stop().await;
}

#[tokio::test]
async fn an_unreachable_warehouse_is_retryable_and_the_process_lives_on() {
    let function = function();
    for _ in 0..2 {
        let (error_type, message) = failure(function.invoke("{}").await.unwrap_err());
        assert_eq!(error_type, "Retryable");
        assert!(message.contains("bronze was not compared"), "{message}");
    }
    let log = function.stop().await;
    let errors: Vec<&Value> = log.iter().filter(|line| line["level"] == "ERROR").collect();
    assert_eq!(errors.len(), 2, "{log:?}");
}

async fn listing(answers: impl Fn() -> Reply + Send + Sync + 'static) -> reconcile_quotes::ReconcileError {
    let s3 = S3::start(move |_, _| answers()).await;
    BronzeBucket::new(s3.client(), "bronze".to_owned()).folders().await.unwrap_err()
}

#[tokio::test]
async fn a_bucket_that_refuses_is_asked_once_and_not_worth_another_try() {
    for (status, code) in REFUSALS {
        let error = listing(move || Reply::Error(status, code)).await;
        assert!(!error.is_retryable() && chain(&error).contains(&format!("{code}: no")), "{error}");
    }
}

#[tokio::test]
async fn an_unavailable_bucket_is_worth_another_try_of_the_event() {
    for (status, code) in OUTAGES {
        let error = listing(move || Reply::Error(status, code)).await;
        assert!(error.is_retryable() && chain(&error).contains(code), "{error}");
    }
}
