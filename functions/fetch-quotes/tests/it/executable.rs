//! The executable behind the Runtime API.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use runtime_api::{Function, FunctionConfig, InvokeError};
use serde_json::{Value, json};
use test_support::{Collector, assert_documented};

use crate::support::*;

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<String>>>);

impl Log {
    fn lines(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }
}

fn bootstrap(env: &[(&str, &str)]) -> (Function, Log) {
    let log = Log::default();
    let lines = log.clone();
    let mut config = FunctionConfig::new("fetch-quotes", env!("CARGO_BIN_EXE_fetch-quotes"));
    config.env = env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    config.timeout = Duration::from_secs(30);
    config.log = Arc::new(move |line: &str| lines.0.lock().unwrap().push(line.to_owned()));
    (Function::start(config), log)
}

#[test]
fn every_variable_is_documented() {
    assert_documented(env!("CARGO_BIN_EXE_fetch-quotes"), env!("CARGO_MANIFEST_DIR"), &fetch_quotes::ABOUT);
}

#[tokio::test]
async fn a_bad_configuration_ends_with_one_json_line_that_names_every_variable() {
    let (function, log) =
        bootstrap(&[("POLL_INTERVAL_SECONDS", "0"), ("SYMBOLS", "../x"), ("FINNHUB_BASE_URL", "nowhere")]);
    let error = function.invoke("{}").await.unwrap_err();
    assert!(matches!(error, InvokeError::Init { .. }), "{error:?}");
    let lines = log.lines();
    let [line] = lines.as_slice() else { panic!("{lines:?}") };
    let line: Value = serde_json::from_str(line).unwrap();
    assert_eq!((&line["level"], &line["error_type"]), (&json!("ERROR"), &json!("Configuration")));
    for name in
        ["POLL_INTERVAL_SECONDS", "SYMBOLS", "FINNHUB_BASE_URL", "FINNHUB_API_KEY", "KAFKA_BOOTSTRAP_SERVERS"]
    {
        assert!(line["message"].as_str().unwrap().contains(name), "{name} in {line}");
    }
}

#[tokio::test]
async fn this_machine_is_not_asked_through_a_proxy() {
    let kafka = Kafka::start();
    let finnhub = Scripted::quotes(|_| quote("150.25", epoch())).await;
    let (servers, proxy) = (kafka.servers(), "http://user:marked@127.0.0.1:9");
    let mut env = vec![
        ("FINNHUB_API_KEY", KEY),
        ("FINNHUB_BASE_URL", finnhub.base_url.as_str()),
        ("KAFKA_BOOTSTRAP_SERVERS", &servers),
        ("SYMBOLS", "AAPL"),
        ("LOG_LEVEL", "trace"),
    ];
    env.extend(
        ["HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"]
            .map(|name| (name, proxy)),
    );
    let (function, log) = bootstrap(&env);
    let outcome: Value = serde_json::from_slice(&function.invoke(r#"{"polls":1}"#).await.unwrap()).unwrap();
    assert_eq!(outcome["published"], 1);
    function.stop().await;
    assert!(log.lines().iter().all(|line| !line.contains("marked")), "{:?}", log.lines());
}

#[tokio::test]
async fn a_malformed_event_fails_alone_and_says_why() {
    let kafka = Kafka::start();
    let finnhub = Scripted::quotes(|_| quote("150.25", epoch())).await;
    let (function, _) = bootstrap(&[
        ("FINNHUB_API_KEY", KEY),
        ("FINNHUB_BASE_URL", &finnhub.base_url),
        ("KAFKA_BOOTSTRAP_SERVERS", &kafka.servers()),
    ]);
    for event in [r#"{"polls":"many"}"#, "[7]", "7"] {
        let error = function.invoke(event).await.unwrap_err();
        let InvokeError::Function { message, .. } = error else { panic!("{event}: {error:?}") };
        assert!(!message.is_empty(), "{event}");
    }
    let outcome: Value = serde_json::from_slice(&function.invoke(r#"{"polls":1}"#).await.unwrap()).unwrap();
    assert_eq!(outcome["published"], 5);
    function.stop().await;
}

#[tokio::test]
async fn the_key_is_in_no_log_line_and_no_error_at_any_level() {
    let kafka = Kafka::start();
    // A server that repeats the key in every answer.
    let finnhub =
        Scripted::start(|asked| match (asked.symbol.as_deref(), asked.token.clone().unwrap_or_default()) {
            (Some("AAPL"), _) => quote("150.25", epoch()),
            (Some("MSFT"), key) => json(format!(r#"{{"c":"{key}"}}"#)),
            (Some("TSLA"), _) => Reply::Never,
            (Some(_), key) => json(format!("<html>{key}</html>")),
            (None, key) => json(format!(r#"{{"isOpen":"{key}"}}"#)),
        })
        .await;
    let servers = kafka.servers();
    let env = [
        ("FINNHUB_API_KEY", KEY),
        ("FINNHUB_BASE_URL", &finnhub.base_url),
        ("KAFKA_BOOTSTRAP_SERVERS", &servers),
        ("POLL_INTERVAL_SECONDS", "3"),
        ("RATE_LIMIT_PER_MINUTE", "600"),
        ("LOG_LEVEL", "trace"),
    ];
    let (odd, odd_log) = bootstrap(&env);
    let outcome = odd.invoke(r#"{"polls":1}"#).await.unwrap();
    assert_eq!(serde_json::from_slice::<Value>(&outcome).unwrap()["published"], 1);
    drop(kafka);
    let (lost, lost_log) = bootstrap(&[env.as_slice(), &[("SYMBOLS", "AAPL")]].concat());
    let error = lost.invoke(r#"{"polls":1}"#).await.unwrap_err();
    assert!(
        matches!(&error, InvokeError::Function { error_type, .. } if error_type == "Retryable"),
        "{error:?}"
    );
    assert!(!error.to_string().contains(KEY), "{error}");
    odd.stop().await;
    lost.stop().await;
    let lines = [odd_log.lines(), lost_log.lines()].concat();
    for part in ["no quote", "did not acknowledge"] {
        assert!(lines.iter().any(|line| line.contains(part)), "{part} in {lines:?}");
    }
    for line in lines {
        assert!(!line.contains(KEY), "{line}");
        serde_json::from_str::<Value>(&line).unwrap();
    }
}

#[tokio::test]
async fn killed_in_the_middle_it_works_again_and_what_was_published_stays() {
    let kafka = Kafka::start();
    let finnhub = Scripted::quotes(|_| quote("150.25", epoch())).await;
    let (function, _) = bootstrap(&[
        ("FINNHUB_API_KEY", KEY),
        ("FINNHUB_BASE_URL", &finnhub.base_url),
        ("KAFKA_BOOTSTRAP_SERVERS", &kafka.servers()),
        ("POLL_INTERVAL_SECONDS", "1"),
        ("RATE_LIMIT_PER_MINUTE", "6000"),
    ]);
    let function = Arc::new(function);
    let running = tokio::spawn({
        let function = Arc::clone(&function);
        async move { function.invoke(r#"{"polls":20}"#).await }
    });
    while finnhub.times_asked("AAPL") < 2 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    function.kill().await;
    assert!(matches!(running.await.unwrap(), Err(InvokeError::Crashed { .. })));
    // The first poll's quotes were sent at once, a second before the next poll.
    assert!(kafka.records().len() >= 5, "{}", kafka.records().len());
    let outcome: Value = serde_json::from_slice(&function.invoke(r#"{"polls":1}"#).await.unwrap()).unwrap();
    assert_eq!(outcome["published"], 5);
    function.stop().await;
}

#[tokio::test]
async fn each_quotes_trace_begins_in_its_records_header_and_is_called_by_its_id() {
    let (kafka, collector) = (Kafka::start(), Collector::start().await);
    // Each symbol's first request fails, so that it is tried again.
    let finnhub = Scripted::quotes(|asked| match asked.earlier {
        0 => status(503),
        _ => quote("150.25", epoch()),
    })
    .await;
    let servers = kafka.servers();
    let env = [
        ("FINNHUB_API_KEY", KEY),
        ("FINNHUB_BASE_URL", finnhub.base_url.as_str()),
        ("KAFKA_BOOTSTRAP_SERVERS", &servers),
        ("SYMBOLS", "AAPL,MSFT"),
        ("RATE_LIMIT_PER_MINUTE", "600"),
    ];
    let without = bootstrap(&env);
    let with = bootstrap(&[env.as_slice(), &[("OTEL_EXPORTER_OTLP_ENDPOINT", &collector.url)]].concat());
    for (function, _) in [&without, &with] {
        function.invoke(r#"{"polls":1}"#).await.unwrap();
    }
    let traces = traces(&servers);
    let spans = collector.spans();
    assert_eq!((traces.len(), spans.len()), (4, 2), "{spans:?}");
    for (quote_id, trace) in &traces {
        let trace_id = quote_id.replace('-', "");
        assert!(trace.starts_with(&format!("00-{trace_id}-")), "{trace}");
        if trace.ends_with("-01") {
            let span = spans.iter().find(|span| span.trace_id == trace_id).unwrap();
            assert_eq!((span.name.as_str(), span.parent_id.as_str()), ("send stock-quotes", ""));
            assert_eq!(*trace, format!("00-{trace_id}-{}-01", span.span_id));
        }
    }
    let lines = without.1.lines();
    let line = lines.iter().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let metrics = line.into_iter().find(|line| line.get("_aws").is_some()).unwrap();
    assert_eq!((&metrics["Retried"], &metrics["Published"]), (&json!(2), &json!(2)));
    assert_eq!(metrics["PublishSeconds"].as_array().unwrap().len(), 2);
    for (function, _) in [without, with] {
        function.stop().await;
    }
}
