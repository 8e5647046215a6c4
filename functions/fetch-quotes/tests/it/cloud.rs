//! What only the cloud needs: secrets by reference, and a topic that is created.

use std::{
    net::TcpListener,
    path::Path,
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use axum::{Router, extract::State, http::StatusCode};
use broker::Broker;
use rdkafka::{
    ClientConfig,
    producer::{BaseProducer, Producer},
};
use serde_json::{Value, json};
use tempfile::TempDir;
use test_support::Executable;

use crate::support::*;

/// What has not come by then never will.
const PATIENCE: Duration = Duration::from_mins(1);
const SECRET: &str = "quoteflow/finnhub";

fn executable(env: &[(&str, &str)]) -> Executable {
    Executable::new(env!("CARGO_BIN_EXE_fetch-quotes"), env, Duration::from_secs(30))
}

/// The one line that a function logs which does not start.
async fn refusal(env: &[(&str, &str)]) -> Value {
    let function = executable(env);
    function.invoke(r#"{"polls":1}"#).await.unwrap_err();
    let [line] = function.stop().await.try_into().unwrap();
    line
}

/// The AWS stand-in that `make setup` installs.
struct Aws {
    url: String,
    child: Child,
    data: TempDir,
}

impl Aws {
    async fn start() -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap();
        let data = TempDir::new().unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let log = std::fs::File::create(data.path().join("log")).unwrap();
        let child = Command::new(root.join(".venv/bin/python"))
            .args(["-m", "ministack"])
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("GATEWAY_PORT", port.to_string())
            .env("BIND_HOST", "127.0.0.1")
            .env("IOT_MTLS_ENABLED", "0")
            .env("SFTP_ENABLED", "0")
            .env("HOME", data.path())
            .env("TMPDIR", data.path())
            .current_dir(data.path())
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .expect("`make setup` installs the stand-in");
        let mut aws = Self { url: format!("http://127.0.0.1:{port}"), child, data };
        let (http, ready) = (reqwest::Client::new(), format!("{}/_ministack/health", aws.url));
        let until = Instant::now() + PATIENCE;
        while !http.get(&ready).send().await.is_ok_and(|answer| answer.status().is_success()) {
            let ended = aws.child.try_wait().unwrap();
            let log = || std::fs::read_to_string(aws.data.path().join("log")).unwrap_or_default();
            assert!(ended.is_none() && Instant::now() < until, "the stand-in did not start: {}", log());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        aws
    }

    async fn store(&self, name: &str, value: &str) {
        let body = json!({ "Name": name, "SecretString": value, "ClientRequestToken": "0".repeat(32) });
        let answer = reqwest::Client::new()
            .post(&self.url)
            .header("x-amz-target", "secretsmanager.CreateSecret")
            .header("content-type", "application/x-amz-json-1.1")
            .header(
                "authorization",
                "AWS4-HMAC-SHA256 Credential=local/20260101/us-east-1/secretsmanager/aws4_request",
            )
            .body(body.to_string())
            .send()
            .await
            .unwrap();
        assert!(answer.status().is_success(), "{}", answer.text().await.unwrap());
    }
}

impl Drop for Aws {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test]
async fn the_key_of_a_secret_is_sent_to_finnhub_and_printed_nowhere() {
    let (kafka, aws) = (Kafka::start(), Aws::start().await);
    // A secret that was created from a file ends with a line break.
    aws.store(SECRET, &format!("{KEY}\n")).await;
    let finnhub = Scripted::quotes(|_| quote("150.25", epoch())).await;
    let function = executable(&[
        ("FINNHUB_API_KEY_SECRET", SECRET),
        ("AWS_ENDPOINT_URL", &aws.url),
        ("FINNHUB_BASE_URL", &finnhub.base_url),
        ("KAFKA_BOOTSTRAP_SERVERS", &kafka.servers()),
        ("SYMBOLS", "AAPL"),
        ("LOG_LEVEL", "trace"),
    ]);
    assert_eq!(function.invoke(r#"{"polls":1}"#).await.unwrap()["published"], 1);
    assert!(finnhub.log().iter().all(|asked| asked.token.as_deref() == Some(KEY)));
    // The SDK writes the bodies of answers to its traces, except for secrets.
    for line in function.stop().await {
        assert!(!line.to_string().contains(KEY), "{line}");
    }
}

#[tokio::test]
async fn a_secret_that_is_not_there_is_named_with_its_variable() {
    let aws = Aws::start().await;
    let line = refusal(&[
        ("FINNHUB_API_KEY_SECRET", "lost"),
        ("AWS_ENDPOINT_URL", &aws.url),
        ("KAFKA_BOOTSTRAP_SERVERS", "127.0.0.1:1"),
    ])
    .await;
    for part in ["FINNHUB_API_KEY_SECRET", "lost", "ResourceNotFoundException"] {
        assert!(line["message"].as_str().unwrap().contains(part), "{part} in {line}");
    }
}

#[tokio::test]
async fn only_what_may_pass_is_asked_again_of_secrets_manager() {
    type Asked = Arc<Mutex<usize>>;
    async fn answer(State((asked, code)): State<(Asked, &'static str)>) -> (StatusCode, String) {
        *asked.lock().unwrap() += 1;
        let status = if code == "InternalServiceError" { 500 } else { 400 };
        (
            StatusCode::from_u16(status).unwrap(),
            json!({ "__type": code, "Message": "as scripted" }).to_string(),
        )
    }
    for (code, times) in [("AccessDeniedException", 1), ("InternalServiceError", 3)] {
        let asked = Asked::default();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let router = Router::new().fallback(answer).with_state((Arc::clone(&asked), code));
        let server = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        let line = refusal(&[
            ("FINNHUB_API_KEY_SECRET", SECRET),
            ("AWS_ENDPOINT_URL", &url),
            ("KAFKA_BOOTSTRAP_SERVERS", "127.0.0.1:1"),
        ])
        .await;
        server.abort();
        let message = line["message"].as_str().unwrap();
        assert!(message.contains(SECRET) && message.contains(code), "{message}");
        assert_eq!(*asked.lock().unwrap(), times, "{code}");
    }
}

#[tokio::test]
async fn a_value_beside_its_reference_is_refused_without_asking_aws() {
    let line = refusal(&[
        ("FINNHUB_API_KEY", KEY),
        ("FINNHUB_API_KEY_SECRET", SECRET),
        ("AWS_ENDPOINT_URL", "http://127.0.0.1:1"),
        ("KAFKA_BOOTSTRAP_SERVERS", "127.0.0.1:1"),
        ("KAFKA_TOPIC_PARTITIONS", "none"),
    ])
    .await;
    assert_eq!(line["error_type"], "Configuration");
    for part in ["FINNHUB_API_KEY and FINNHUB_API_KEY_SECRET", "KAFKA_TOPIC_PARTITIONS"] {
        assert!(line["message"].as_str().unwrap().contains(part), "{part} in {line}");
    }
    assert!(!line.to_string().contains(KEY));
}

/// How many partitions the topic has.
fn partitions(servers: &str, topic: &str) -> usize {
    let client: BaseProducer = ClientConfig::new().set("bootstrap.servers", servers).create().unwrap();
    let all = client.client().fetch_metadata(None, PATIENCE).unwrap();
    all.topics().iter().filter(|known| known.name() == topic).map(|known| known.partitions().len()).sum()
}

#[tokio::test]
async fn a_topic_that_is_not_there_is_created_once_with_its_partitions() {
    let data = TempDir::new().unwrap();
    let config = broker::Config { port: 0, data_dir: data.path().to_owned(), topics: Vec::new() };
    let broker = Broker::start(config).unwrap();
    let servers = broker.bootstrap_servers();
    assert_eq!(partitions(&servers, "fresh"), 0);
    let finnhub = Scripted::quotes(|_| quote("150.25", epoch())).await;
    let mut created = Vec::new();
    for (count, published) in [("7", 1), ("9", 1)] {
        let function = executable(&[
            ("FINNHUB_API_KEY", KEY),
            ("FINNHUB_BASE_URL", &finnhub.base_url),
            ("KAFKA_BOOTSTRAP_SERVERS", &servers),
            ("KAFKA_TOPIC", "fresh"),
            ("KAFKA_TOPIC_PARTITIONS", count),
            ("SYMBOLS", "AAPL"),
        ]);
        assert_eq!(function.invoke(r#"{"polls":1}"#).await.unwrap()["published"], published);
        let lines = function.stop().await;
        assert!(lines.iter().filter_map(|line| line.get("level")).all(|level| level == "INFO"), "{lines:?}");
        created.push(lines.iter().filter(|line| line["message"] == "created the topic").count());
        assert_eq!(partitions(&servers, "fresh"), 7);
    }
    assert_eq!(created, [1, 0]);
    drop(broker);
}

#[tokio::test]
async fn an_event_without_polls_is_answered_when_the_topic_was_created_or_could_not_be() {
    // Terraform makes the trigger after it, and Lambda may freeze what a function does after its answer.
    let function = executable(&[
        ("FINNHUB_API_KEY", KEY),
        ("KAFKA_BOOTSTRAP_SERVERS", "127.0.0.1:1"),
        ("KAFKA_TOPIC_PARTITIONS", "7"),
    ]);
    assert_eq!(function.invoke(r#"{"polls":0}"#).await.unwrap()["published"], 0);
    let lines = function.stop().await;
    let tried = |line: &Value| {
        line["message"].as_str().is_some_and(|said| said.starts_with("the topic was not created"))
    };
    assert!(lines.iter().any(tried), "{lines:?}");
}

#[tokio::test]
async fn brokers_that_cannot_create_the_topic_do_not_keep_the_function_from_starting() {
    let finnhub = Scripted::quotes(|_| quote("150.25", epoch())).await;
    let function = executable(&[
        ("FINNHUB_API_KEY", KEY),
        ("FINNHUB_BASE_URL", &finnhub.base_url),
        ("KAFKA_BOOTSTRAP_SERVERS", "127.0.0.1:1"),
        ("KAFKA_TOPIC_PARTITIONS", "3"),
        ("SYMBOLS", "AAPL"),
    ]);
    let (error_type, message) = test_support::failure(function.invoke(r#"{"polls":1}"#).await.unwrap_err());
    assert_eq!(error_type, "Retryable");
    // A record's own error only says that its time was over; librdkafka's error says why.
    assert!(message.contains("Connection refused"), "{message}");
    let lines = function.stop().await;
    let warned: Vec<&Value> = lines.iter().filter(|line| line["level"] == "WARN").collect();
    assert_eq!(warned.len(), 2, "{warned:?}");
    for (warned, what) in warned.iter().zip(["the topic was not created", "Kafka is not ready"]) {
        for part in [what, "Connection refused"] {
            assert!(warned["message"].as_str().unwrap().contains(part), "{part} in {warned}");
        }
    }
}
