//! A bucket over HTTP.

use axum::http::Method;
use function_kit::{Retry, chain, trace::TraceParent};
use load_quotes::{Bucket, Object, ObjectRef, Objects, ReadError};
use test_support::{OUTAGES, REFUSALS, Reply, S3, client};

const BYTES: &[u8] = br#"{"c":150.250}"#;

async fn get(s3: &S3, key: &str) -> Result<Option<Object>, ReadError> {
    Bucket::new(s3.client()).get(&ObjectRef { bucket: "bronze".to_owned(), key: key.to_owned() }).await
}

#[tokio::test]
async fn an_object_is_read_byte_for_byte_under_any_key() {
    let s3 = S3::truthful().await;
    s3.put("/bronze/AAPL/1.json", BYTES);
    s3.put("/bronze/IC%20MARKETS%3A1%2B%25/1.json", BYTES);
    assert_eq!(get(&s3, "AAPL/1.json").await.unwrap().unwrap().bytes, BYTES);
    assert_eq!(get(&s3, "IC MARKETS:1+%/1.json").await.unwrap().unwrap().bytes, BYTES);
}

#[tokio::test]
async fn an_objects_trace_is_read_where_it_is_one() {
    let s3 = S3::truthful().await;
    let trace = "00-018cc251f40070008000000000000001-b7ad6b7169203331-01";
    s3.put_with("/bronze/AAPL/1.json", &[("x-amz-meta-traceparent", trace)], BYTES);
    s3.put_with("/bronze/AAPL/2.json", &[("x-amz-meta-traceparent", "00-abc")], BYTES);
    assert_eq!(get(&s3, "AAPL/1.json").await.unwrap().unwrap().trace, TraceParent::parse(trace));
    assert_eq!(get(&s3, "AAPL/2.json").await.unwrap().unwrap().trace, None);
}

#[tokio::test]
async fn an_object_that_is_gone_is_none() {
    let s3 = S3::truthful().await;
    assert_eq!(get(&s3, "AAPL/1.json").await.unwrap(), None);
    assert_eq!(s3.asked(&Method::GET), 1);
}

#[tokio::test]
async fn slow_down_is_tried_again() {
    let s3 =
        S3::start(|_, earlier| if earlier < 2 { Reply::Error(503, "SlowDown") } else { Reply::Truth }).await;
    s3.put("/bronze/AAPL/1.json", BYTES);
    assert_eq!(get(&s3, "AAPL/1.json").await.unwrap().unwrap().bytes, BYTES);
    assert_eq!(s3.asked(&Method::GET), 3);
}

#[tokio::test]
async fn an_unavailable_bucket_is_worth_another_try_of_the_event() {
    for (status, code) in OUTAGES {
        let s3 = S3::start(move |_, _| Reply::Error(status, code)).await;
        let error = get(&s3, "AAPL/1.json").await.unwrap_err();
        assert!(error.is_retryable(), "{error}");
        assert!(chain(&error).contains(code) && chain(&error).contains("AAPL/1.json"), "{error}");
        assert!(s3.asked(&Method::GET) <= 3);
    }
    let bucket = Bucket::new(client("http://127.0.0.1:1"));
    let object = ObjectRef { bucket: "bronze".to_owned(), key: "AAPL/1.json".to_owned() };
    assert!(bucket.get(&object).await.unwrap_err().is_retryable());
}

#[tokio::test]
async fn a_body_that_is_cut_off_is_worth_another_try() {
    let s3 = S3::start(|_, _| Reply::CutOff).await;
    let error = get(&s3, "AAPL/1.json").await.unwrap_err();
    assert!(error.is_retryable(), "{error}");
}

#[tokio::test]
async fn a_bucket_that_refuses_is_asked_once_and_not_worth_another_try() {
    for (status, code) in REFUSALS {
        let s3 = S3::start(move |_, _| Reply::Error(status, code)).await;
        let error = get(&s3, "AAPL/1.json").await.unwrap_err();
        assert!(!error.is_retryable(), "{error}");
        assert_eq!(s3.asked(&Method::GET), 1);
    }
}

#[tokio::test]
async fn an_object_that_is_larger_than_any_quote_is_refused_unread() {
    let s3 = S3::start(|_, _| Reply::Endless { announced: Some(400 << 20) }).await;
    let error = get(&s3, "AAPL/dump.json").await.unwrap_err();
    assert!(!error.is_retryable() && chain(&error).contains("419430400 bytes"), "{error}");
}

#[tokio::test]
async fn an_object_that_does_not_say_how_large_it_is_is_read_up_to_the_limit() {
    let s3 = S3::start(|_, _| Reply::Endless { announced: None }).await;
    let error = get(&s3, "AAPL/dump.json").await.unwrap_err();
    assert!(!error.is_retryable() && chain(&error).contains("more than"), "{error}");
}

#[tokio::test]
async fn many_objects_of_the_largest_size_are_read_one_after_the_other() {
    let s3 = S3::truthful().await;
    let large: &'static [u8] = vec![b' '; 5 << 20].leak();
    s3.put("/bronze/AAPL/1.json", large);
    let bucket = Bucket::new(s3.client());
    let object = ObjectRef { bucket: "bronze".to_owned(), key: "AAPL/1.json".to_owned() };
    let reads = futures::future::join_all((0..16).map(|_| bucket.get(&object))).await;
    assert!(reads.into_iter().all(|read| read.unwrap().unwrap().bytes.len() == 5 << 20));
}
