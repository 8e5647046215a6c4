//! The executable behind the Runtime API.

use std::time::Duration;

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Value, json};
use test_support::{
    Collector, Executable, ExportedSpan, Reply, S3, assert_configuration_problems, assert_documented, failure,
};

const PROGRAM: &str = env!("CARGO_BIN_EXE_archive-quotes");
const TIMEOUT: Duration = Duration::from_secs(30);

fn writing_to(url: &str, timeout: Duration) -> Executable {
    let env = [("BRONZE_BUCKET", "bronze"), ("QUARANTINE_BUCKET", "quarantine"), ("AWS_ENDPOINT_URL", url)];
    Executable::new(PROGRAM, &env, timeout)
}

/// As [`writing_to`], exporting to the collector at `collector`.
fn exporting_to(collector: &str, s3: &str, more: &[(&str, &str)]) -> Executable {
    let env = [
        ("BRONZE_BUCKET", "bronze"),
        ("QUARANTINE_BUCKET", "quarantine"),
        ("AWS_ENDPOINT_URL", s3),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", collector),
    ];
    Executable::new(PROGRAM, &[env.as_slice(), more].concat(), TIMEOUT)
}

#[test]
fn every_variable_is_documented() {
    assert_documented(PROGRAM, env!("CARGO_MANIFEST_DIR"), &archive_quotes::ABOUT);
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
async fn a_batch_is_one_object_of_its_own_media_type_and_is_not_written_again() {
    for (compression, suffix) in [("gzip", "gz"), ("zstd", "zst")] {
        let s3 = S3::truthful().await;
        let env = [
            ("BRONZE_BUCKET", "bronze"),
            ("QUARANTINE_BUCKET", "quarantine"),
            ("AWS_ENDPOINT_URL", &*s3.url),
            ("OBJECT_LAYOUT", "batch"),
            ("OBJECT_COMPRESSION", compression),
        ];
        let function = Executable::new(PROGRAM, &env, TIMEOUT);
        let event = include_str!("../payloads/msk.json");
        let first = function.invoke(event).await.unwrap();
        assert_eq!(first, json!({"archived": 2, "already_archived": 0, "quarantined": 0}));
        let second = function.invoke(event).await.unwrap();
        assert_eq!(second, json!({"archived": 0, "already_archived": 2, "quarantined": 0}));
        function.stop().await;
        let [(key, headers)] = s3.stored("/bronze/").try_into().unwrap();
        assert!(key.ends_with(&format!(".ndjson.{suffix}")), "{key}");
        assert_eq!(headers["content-type"], format!("application/{compression}"));
        assert!(!headers.contains_key("content-encoding"));
    }
}

#[tokio::test]
async fn an_s3_of_its_own_is_asked_with_its_own_account() {
    let s3 = S3::truthful().await;
    let nowhere = "http://127.0.0.1:1";
    let env = [
        ("BRONZE_BUCKET", "bronze"),
        ("QUARANTINE_BUCKET", "quarantine"),
        ("AWS_ENDPOINT_URL", nowhere),
        ("AWS_ENDPOINT_URL_S3", &s3.url),
        ("S3_ACCESS_KEY_ID", "minio"),
        ("S3_SECRET_ACCESS_KEY", "secret"),
    ];
    let function = Executable::new(PROGRAM, &env, TIMEOUT);
    let outcome = function.invoke(include_str!("../payloads/msk.json")).await.unwrap();
    assert_eq!(outcome["archived"], 2);
    assert_eq!(s3.accounts(), ["minio"]);
    function.stop().await;
}

#[tokio::test]
async fn half_an_account_is_a_problem_of_the_configuration() {
    let env =
        [("BRONZE_BUCKET", "bronze"), ("QUARANTINE_BUCKET", "quarantine"), ("S3_ACCESS_KEY_ID", "minio")];
    assert_configuration_problems(PROGRAM, &env, &["S3_SECRET_ACCESS_KEY"]).await;
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
async fn a_server_that_overwrites_objects_is_found_out_before_the_first_quote() {
    let s3 = S3::overwriting().await;
    let function = writing_to(&s3.url, TIMEOUT);
    function.invoke(include_str!("../payloads/msk.json")).await.unwrap_err();
    let log = function.stop().await;
    let errors: Vec<&Value> = log.iter().filter(|line| line["level"] == "ERROR").collect();
    assert!(
        !errors.is_empty() && errors.iter().all(|line| line["message"].to_string().contains("If-None-Match"))
    );
    assert!(s3.objects("/").is_empty(), "nothing stays of the check");
    // A server that respects it contains nothing of the check either.
    let s3 = S3::truthful().await;
    let function = writing_to(&s3.url, TIMEOUT);
    function.invoke(r#"{"records":{}}"#).await.unwrap();
    function.stop().await;
    assert!(s3.objects("/").is_empty());
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
    let log = function.stop().await;
    let errors: Vec<&Value> = log.iter().filter(|line| line["level"] == "ERROR").collect();
    let [error] = errors.as_slice() else { panic!("{log:?}") };
    assert_eq!(error["message"], message);
}

#[tokio::test]
async fn each_quotes_step_is_exported_in_its_trace_before_the_answer() {
    let (s3, collector) = (S3::truthful().await, Collector::start().await);
    let function = exporting_to(&collector.url, &s3.url, &[]);
    function.invoke(include_str!("../payloads/msk.json")).await.unwrap();
    // The first record came with a trace, the second begins one that is called by its quote's id.
    let expected = [
        ("/bronze/AAPL/1704067256.json", "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"),
        ("/bronze/BRK.B/1704067256.json", "018cc2a10e8070008000000000000256", ""),
    ];
    let spans = collector.spans();
    assert_eq!(spans.len(), 2, "{spans:?}");
    for (path, trace_id, parent_id) in expected {
        let span = spans.iter().find(|span| span.trace_id == trace_id).unwrap();
        let ExportedSpan { service, name, parent_id: parent, failed, span_id, .. } = span;
        assert_eq!((service.as_str(), name.as_str()), ("archive-quotes", "process stock-quotes"));
        assert_eq!((parent.as_str(), *failed), (parent_id, false));
        // What load-quotes goes on from.
        let metadata = s3.metadata(path, "traceparent").unwrap();
        assert_eq!(metadata, format!("00-{trace_id}-{span_id}-01"));
    }
    function.stop().await;
}

#[tokio::test]
async fn a_sampler_that_wants_no_trace_gets_none_and_the_context_goes_on() {
    let (s3, collector) = (S3::truthful().await, Collector::start().await);
    let function = exporting_to(&collector.url, &s3.url, &[("OTEL_TRACES_SAMPLER", "always_off")]);
    function.invoke(include_str!("../payloads/msk.json")).await.unwrap();
    function.stop().await;
    assert_eq!(collector.spans(), []);
    let metadata = s3.metadata("/bronze/AAPL/1704067256.json", "traceparent").unwrap();
    assert!(
        metadata.starts_with("00-0af7651916cd43dd8448eb211c80319c-") && metadata.ends_with("-00"),
        "{metadata}"
    );
}

#[tokio::test]
async fn a_collector_that_is_away_hangs_or_refuses_costs_a_warning_and_no_invocation() {
    let (s3, hangs) = (S3::truthful().await, S3::start(|_, _| Reply::Never).await);
    let refuses = S3::start(|_, _| Reply::Error(503, "SlowDown")).await;
    for (collector, reason) in [
        ("http://127.0.0.1:1", "not exported"),
        ("https://127.0.0.1:1", "not exported"),
        (hangs.url.as_str(), "did not answer"),
        (refuses.url.as_str(), "HTTP 503"),
    ] {
        let function = exporting_to(collector, &s3.url, &[("OTEL_EXPORTER_OTLP_TIMEOUT", "200")]);
        for _ in 0..2 {
            let outcome = function.invoke(include_str!("../payloads/msk.json")).await.unwrap();
            assert_eq!(outcome["quarantined"], 0);
        }
        let log = function.stop().await;
        let warnings: Vec<&Value> = log.iter().filter(|line| line["level"] == "WARN").collect();
        assert_eq!(warnings.len(), 2, "{warnings:?}");
        let message = warnings[0]["message"].as_str().unwrap();
        assert!(message.contains(reason), "{message}");
    }
}

#[tokio::test]
async fn an_export_that_cannot_be_made_is_a_problem_of_the_configuration() {
    let names = ["OTEL_EXPORTER_OTLP_ENDPOINT", "BRONZE_BUCKET"];
    assert_configuration_problems(PROGRAM, &[("OTEL_EXPORTER_OTLP_ENDPOINT", "no url")], &names).await;
    let env =
        [("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1"), ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")];
    assert_configuration_problems(PROGRAM, &env, &["OTEL_EXPORTER_OTLP_PROTOCOL: grpc"]).await;
}

#[tokio::test]
async fn a_quotes_line_is_there_at_debug_only_and_tries_and_durations_are_metrics() {
    // Each first write fails, so that each is tried again.
    let quotes = 150;
    let record = |second: i64| {
        let id = format!("018cc251-f400-7000-8000-{second:012x}");
        let value = json!({ "c": 1.5, "symbol": "AAPL", "fetched_at": second, "quote_id": id }).to_string();
        json!({ "topic": "stock-quotes", "partition": 0, "offset": second, "timestamp": 0,
            "value": STANDARD.encode(value) })
    };
    let records: Vec<Value> = (1..=quotes).map(record).collect();
    let event = json!({ "records": { "stock-quotes-0": records } }).to_string();
    for (level, lines) in [("info", 0), ("debug", 150)] {
        let s3 =
            S3::start(|_, earlier| if earlier == 0 { Reply::Error(503, "SlowDown") } else { Reply::Truth });
        let s3 = s3.await;
        let env = [
            ("BRONZE_BUCKET", "bronze"),
            ("QUARANTINE_BUCKET", "quarantine"),
            ("AWS_ENDPOINT_URL", &s3.url),
            ("LOG_LEVEL", level),
        ];
        let function = Executable::new(PROGRAM, &env, TIMEOUT);
        function.invoke(event.clone()).await.unwrap();
        let log = function.stop().await;
        let archived: Vec<&Value> = log.iter().filter(|line| line["message"] == "archived").collect();
        assert_eq!(archived.len(), lines);
        for line in archived {
            let id = line["quote_id"].as_str().unwrap().replace('-', "");
            assert_eq!(line["trace_id"], id);
        }
        let metrics: Vec<&Value> = log.iter().filter(|line| line.get("_aws").is_some()).collect();
        assert_eq!((&metrics[0]["Retried"], &metrics[0]["Archived"]), (&json!(1), &json!(quotes)));
        let seconds = metrics.iter().map(|line| line["ArchiveSeconds"].as_array().unwrap().len());
        assert_eq!(seconds.collect::<Vec<_>>(), [100, 50]);
        assert!(metrics.iter().all(|line| line.to_string().len() < 2500), "{}", metrics[0]);
    }
}
