//! A bucket over HTTP.

use archive_quotes::{BucketStore, Put, Store, StoreError};
use axum::http::Method;
use function_kit::{Retry, chain, trace::TraceParent};
use test_support::{OUTAGES, REFUSALS, Reply, S3, client};

const KEY: &str = "AAPL/1704067256.json";
const PATH: &str = "/bronze/AAPL/1704067256.json";
const BYTES: &[u8] = br#"{"c":150.250}"#;

fn trace() -> Option<TraceParent> {
    TraceParent::parse("00-018cc251f40070008000000000000001-b7ad6b7169203331-01")
}

async fn put_once(s3: &S3) -> Result<Put, StoreError> {
    BucketStore::new(s3.client(), "bronze".to_owned()).put_once(KEY, BYTES, trace()).await
}

#[tokio::test]
async fn an_object_is_written_byte_for_byte() {
    let s3 = S3::truthful().await;
    assert_eq!(put_once(&s3).await.unwrap(), Put::Written);
    assert_eq!(s3.object(PATH).unwrap(), BYTES);
    assert_eq!((s3.asked(&Method::PUT), s3.asked(&Method::GET)), (1, 0));
}

#[tokio::test]
async fn the_first_writes_trace_is_the_objects_and_another_makes_no_other_object() {
    let s3 = S3::truthful().await;
    put_once(&s3).await.unwrap();
    let store = BucketStore::new(s3.client(), "bronze".to_owned());
    let other = TraceParent::parse("00-018cc251f40070008000000000000002-b7ad6b7169203331-01");
    for trace in [other, None] {
        assert_eq!(store.put_once(KEY, BYTES, trace).await.unwrap(), Put::SameBytes);
    }
    assert_eq!(s3.metadata(PATH, "traceparent"), trace().map(|trace| trace.to_string()));
}

#[tokio::test]
async fn keys_of_odd_symbols_arrive_as_they_are() {
    let s3 = S3::truthful().await;
    let store = BucketStore::new(s3.client(), "bronze".to_owned());
    store.put_once("IC MARKETS:1+^&$/1.json", BYTES, None).await.unwrap();
    assert_eq!(store.put_once("IC MARKETS:1+^&$/1.json", BYTES, None).await.unwrap(), Put::SameBytes);
}

#[tokio::test]
async fn an_object_that_is_there_is_compared_and_never_overwritten() {
    let s3 = S3::truthful().await;
    s3.put(PATH, BYTES);
    assert_eq!(put_once(&s3).await.unwrap(), Put::SameBytes);
    s3.put(PATH, b"{}");
    assert_eq!(put_once(&s3).await.unwrap(), Put::OtherBytes);
    assert_eq!(s3.object(PATH).unwrap(), b"{}".as_slice());
}

#[tokio::test]
async fn a_write_whose_answer_was_lost_is_found_to_be_there() {
    let s3 = S3::start(|method, earlier| match (method, earlier) {
        (&Method::PUT, 0) => Reply::StoredButError(500),
        _ => Reply::Truth,
    })
    .await;
    assert_eq!(put_once(&s3).await.unwrap(), Put::SameBytes);
    assert_eq!(s3.object(PATH).unwrap(), BYTES);
}

#[tokio::test]
async fn slow_down_is_tried_again() {
    let s3 =
        S3::start(|_, earlier| if earlier < 2 { Reply::Error(503, "SlowDown") } else { Reply::Truth }).await;
    assert_eq!(put_once(&s3).await.unwrap(), Put::Written);
    assert_eq!(s3.asked(&Method::PUT), 3);
}

#[tokio::test]
async fn an_unavailable_bucket_is_worth_another_try_of_the_event() {
    for (status, code) in OUTAGES.into_iter().chain([(409, "ConditionalRequestConflict")]) {
        let s3 = S3::start(move |_, _| Reply::Error(status, code)).await;
        let error = put_once(&s3).await.unwrap_err();
        assert!(error.is_retryable(), "{error}");
        assert!(chain(&error).contains(code) && chain(&error).contains(KEY), "{error}");
        assert!(s3.asked(&Method::PUT) <= 3);
    }
    let store = BucketStore::new(client("http://127.0.0.1:1"), "bronze".to_owned());
    assert!(store.put_once(KEY, BYTES, trace()).await.unwrap_err().is_retryable());
}

#[tokio::test]
async fn a_bucket_that_refuses_is_asked_once_and_not_worth_another_try() {
    for (status, code) in REFUSALS {
        let s3 = S3::start(move |_, _| Reply::Error(status, code)).await;
        let error = put_once(&s3).await.unwrap_err();
        assert!(!error.is_retryable(), "{error}");
        assert!(chain(&error).contains(code), "{error}");
        assert_eq!(s3.asked(&Method::PUT), 1);
    }
}

#[tokio::test]
async fn an_object_that_goes_away_between_write_and_comparison_is_worth_another_try() {
    let s3 = S3::start(|method, _| match method {
        &Method::PUT => Reply::Error(412, "PreconditionFailed"),
        _ => Reply::Truth,
    })
    .await;
    let error = put_once(&s3).await.unwrap_err();
    assert!(error.is_retryable() && error.operation == "GetObject", "{error}");
}
