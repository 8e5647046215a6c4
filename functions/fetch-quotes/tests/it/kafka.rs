//! What arrives in the topic, and what does not.

use std::time::Duration;

use broker::Broker;
use fetch_quotes::{FetchError, KafkaConfig, Stream};
use function_kit::{Retry, chain};
use quotes::{Quote, QuoteId};
use rdkafka::{
    mocking::MockCluster,
    types::{RDKafkaApiKey, RDKafkaRespErr},
};
use serde_json::json;
use tempfile::TempDir;

use crate::support::*;

#[tokio::test]
async fn a_record_is_finnhubs_body_with_three_fields_under_the_symbol() {
    let kafka = Kafka::start();
    let finnhub = Scripted::quotes(|_| quote("150.250", 1_704_067_200)).await;
    let before = epoch();
    run(&function(&finnhub.base_url, &kafka.servers(), &[("SYMBOLS", "BRK.B")]), 1).await.unwrap();
    let [(key, value)] = kafka.records().try_into().unwrap();
    assert_eq!(key, "BRK.B");
    let id: QuoteId = value["quote_id"].as_str().unwrap().parse().unwrap();
    let fetched_at = value["fetched_at"].as_u64().unwrap();
    assert!((before..=epoch()).contains(&fetched_at));
    assert_eq!(id.fetched_at_ms().unwrap() / 1000, fetched_at);
    assert_eq!(
        value,
        json!({"c": 150.25, "d": 1, "dp": 0.5, "h": 152.0, "l": 148.5, "o": 149.0, "pc": 147.75,
               "t": 1_704_067_200, "symbol": "BRK.B", "fetched_at": fetched_at, "quote_id": id.to_string()})
    );
}

#[tokio::test]
async fn a_broker_that_is_down_fails_the_invocation_and_the_next_one_works() {
    let data = TempDir::new().unwrap();
    let start = |port| {
        let topics = vec![(TOPIC.to_owned(), 3)];
        Broker::start(broker::Config { port, data_dir: data.path().to_owned(), topics }).unwrap()
    };
    let broker = start(0);
    let servers = broker.bootstrap_servers();
    let port = servers.rsplit_once(':').unwrap().1.parse().unwrap();
    let finnhub = Scripted::quotes(|_| quote("150.25", epoch())).await;
    let function = function(&finnhub.base_url, &servers, &[("SYMBOLS", "AAPL,MSFT")]);
    assert_eq!(run(&function, 1).await.unwrap().published, 2);

    broker.stop().unwrap();
    let error = run(&function, 1).await.unwrap_err();
    assert!(matches!(error, FetchError::Undelivered { undelivered: 2, fetched: 2, .. }), "{error:?}");
    assert!(error.is_retryable());
    assert!(chain(&error).contains(TOPIC) && !chain(&error).contains(KEY), "{}", chain(&error));

    let broker = start(port);
    assert_eq!(run(&function, 1).await.unwrap().published, 2);
    let arrived = records(&servers).len();
    assert!((4..=6).contains(&arrived), "{arrived}");
    drop(broker);
}

#[tokio::test]
async fn a_producer_is_ready_once_it_may_send_and_not_without_brokers() {
    let kafka = Kafka::start();
    let stream =
        |servers: &str| Stream::new(&KafkaConfig::plaintext(servers.to_owned(), TOPIC.to_owned())).unwrap();
    assert!(stream(&kafka.servers()).is_ready().await);
    assert!(!stream("127.0.0.1:1").is_ready().await);
}

#[tokio::test]
async fn a_slow_broker_delays_no_poll() {
    // Nobody answers at this port, so each delivery takes its full 4 s; both polls still run on time.
    let held = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let servers = held.local_addr().unwrap().to_string();
    let finnhub = Scripted::quotes(|_| quote("150.25", epoch())).await;
    let more = [("SYMBOLS", "AAPL"), ("POLL_INTERVAL_SECONDS", "0.5"), ("RATE_LIMIT_PER_MINUTE", "600")];
    // Ten seconds less the five that it keeps: no poll but the first would fit if each waited for Kafka.
    let error = run_within(&function(&finnhub.base_url, &servers, &more), 4, Duration::from_secs(10)).await;
    let error = error.unwrap_err();
    assert!(matches!(error, FetchError::Undelivered { undelivered: 4, fetched: 4, .. }), "{error:?}");
}

#[tokio::test]
async fn a_producer_that_failed_for_good_is_replaced() {
    let cluster = MockCluster::new(1).unwrap();
    cluster.create_topic(TOPIC, 1, 1).unwrap();
    let config = KafkaConfig::plaintext(cluster.bootstrap_servers(), TOPIC.to_owned());
    let stream = Stream::new(&config).unwrap();
    let quote = Quote::observe(&"AAPL".parse().unwrap(), 0, br#"{"c":1}"#).unwrap();
    let patience = Duration::from_secs(30);
    stream.delivered(stream.send(&quote), patience).await.unwrap();

    // The broker lost what it knew of the producer: librdkafka calls that fatal.
    let fatal = RDKafkaRespErr::RD_KAFKA_RESP_ERR_OUT_OF_ORDER_SEQUENCE_NUMBER;
    cluster.request_errors(RDKafkaApiKey::Produce, &[fatal]);
    stream.delivered(stream.send(&quote), patience).await.unwrap_err();
    stream.delivered(stream.send(&quote), patience).await.unwrap();
}
