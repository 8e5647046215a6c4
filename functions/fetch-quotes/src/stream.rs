//! The Kafka producer: publishing quotes and waiting for their acknowledgements.

use std::{
    sync::Mutex,
    time::{Duration, Instant, SystemTime},
};

use function_kit::{
    lock, metrics,
    trace::{Span, SpanKind, TRACEPARENT},
};
use quotes::{Quote, QuoteId};
use rdkafka::{
    error::KafkaError,
    message::{Header, OwnedHeaders},
    producer::{FutureProducer, FutureRecord, Producer, future_producer::OwnedDeliveryResult},
};
use tokio::task::JoinHandle;

use crate::{
    config::KafkaConfig,
    link::{KafkaClientError, Link, client_config},
    topic::create_topic,
};

/// How long a record may wait for its acknowledgement. Below the 5 s that the function keeps at its end, so
/// that every delivery is known before the function is frozen.
const DELIVERY: Duration = Duration::from_secs(4);

/// How long the first polls wait for the producer to become ready.
const READY: Duration = Duration::from_secs(2);
/// How often the producer reports its state.
const STATISTICS: Duration = Duration::from_millis(100);

/// The topic into which quotes are published.
pub struct Stream {
    producer: Mutex<FutureProducer<Link>>,
    config: KafkaConfig,
    link: Link,
}

/// A record that Kafka did not acknowledge; it may or may not be in the topic.
#[derive(Debug, thiserror::Error)]
#[error("Kafka did not acknowledge {symbol} in {topic}: {reason}")]
pub struct Undelivered {
    /// The quote's symbol.
    pub symbol: String,
    /// The quote's id, which its trace is called by.
    pub quote_id: QuoteId,
    /// The topic's name.
    pub topic: String,
    /// What the client said.
    pub reason: String,
}

/// A delivery to wait for.
pub struct Delivery {
    acknowledgement: Result<JoinHandle<Acknowledgement>, KafkaError>,
    symbol: String,
    quote_id: QuoteId,
    span: Span,
}

/// The outcome of a record; `None` if its producer is gone.
struct Acknowledgement {
    result: Option<OwnedDeliveryResult>,
    at: SystemTime,
    took: Duration,
}

impl Stream {
    /// A producer for the configured topic; it connects in the background.
    ///
    /// # Errors
    /// [`KafkaClientError`] where librdkafka refuses the configuration.
    pub fn new(config: &KafkaConfig) -> Result<Self, KafkaClientError> {
        let link = Link::new(config);
        Ok(Self { producer: Mutex::new(producer(config, &link)?), config: config.clone(), link })
    }

    /// Creates the topic if it does not exist and `KAFKA_TOPIC_PARTITIONS` is set, which takes 4 s at most; then waits
    /// until the producer is ready.
    pub(crate) async fn connect(&self) {
        create_topic(&self.config, &self.link).await;
        self.is_ready().await;
    }

    /// Waits, for 2 s at most, until the producer has connected, knows the topic's partitions and has its id, which takes
    /// it half a second: the first record would wait for all of that. Whether it is ready; if not, the log says why, and
    /// the polls show whether it is then.
    pub async fn is_ready(&self) -> bool {
        let (producer, topic) = (self.producer(), self.config.topic.clone());
        let end = tokio::time::Instant::now() + READY;
        let known = tokio::task::spawn_blocking(move || {
            producer.client().fetch_metadata(Some(&topic), READY).map(|_| ())
        });
        let reason = match known.await {
            Ok(Ok(())) if tokio::time::timeout_at(end, self.link.has_id()).await.is_ok() => return true,
            Ok(Err(error)) => error.to_string(),
            _ => "the producer has no id yet".to_owned(),
        };
        let trouble = self.link.trouble().unwrap_or_default();
        tracing::warn!(topic = self.config.topic, "Kafka is not ready: {reason} {trouble}");
        false
    }

    /// Gives the quote to the producer, which sends it immediately; its key is the symbol, its header `traceparent` begins
    /// the quote's trace. It needs a runtime of tokio's.
    #[must_use]
    pub fn send(&self, quote: &Quote) -> Delivery {
        let (topic, symbol) = (&self.config.topic, quote.symbol().as_str());
        let mut span = Span::start(SpanKind::Producer, "send", topic, quote.id().as_u128(), None);
        span.set("messaging.system", "kafka");
        span.set("messaging.operation.name", "send");
        span.set("messaging.operation.type", "send");
        span.set("messaging.destination.name", topic);
        span.set("messaging.kafka.message.key", symbol);
        let payload = quote.to_json();
        let mut record = FutureRecord::to(topic).key(symbol).payload(&payload);
        if let Some(context) = span.context().map(|context| context.to_string()) {
            let header = Header { key: TRACEPARENT, value: Some(&context) };
            record = record.headers(OwnedHeaders::new().insert(header));
        }
        let sent = Instant::now();
        let acknowledgement = self.producer().send_result(record).map_err(|(error, _)| error);
        // By itself, because nobody waits for it before the last poll, and its time matters.
        let acknowledgement = acknowledgement.map(|future| {
            tokio::spawn(async move {
                let result = future.await.ok();
                Acknowledgement { result, at: SystemTime::now(), took: sent.elapsed() }
            })
        });
        Delivery { acknowledgement, symbol: symbol.to_owned(), quote_id: quote.id(), span }
    }

    /// Waits until Kafka has acknowledged the record, for as long as `patience`. The time from its sending to that is
    /// noted in the metric `PublishSeconds`.
    ///
    /// # Errors
    /// [`Undelivered`] where it has not within 4 s of its sending, or within `patience`.
    pub async fn delivered(&self, delivery: Delivery, patience: Duration) -> Result<(), Undelivered> {
        let Delivery { acknowledgement, symbol, quote_id, mut span } = delivery;
        let reason = match acknowledgement {
            Ok(acknowledgement) => match tokio::time::timeout(patience, acknowledgement).await {
                Ok(Ok(Acknowledgement { result: Some(Ok(_)), at, took })) => {
                    self.link.works();
                    metrics::PUBLISH_SECONDS.add(took.as_secs_f64());
                    tracing::debug!(key = symbol, %quote_id, trace_id = span.trace_id(), "published");
                    span.end_at(at);
                    return Ok(());
                }
                Ok(Ok(Acknowledgement { result: Some(Err((error, _))), .. })) => match self.link.trouble() {
                    Some(trouble) => format!("{error}: {trouble}"),
                    None => error.to_string(),
                },
                Ok(_) => "the producer was closed".to_owned(),
                Err(_) => "the function's time was over".to_owned(),
            },
            Err(error) => error.to_string(),
        };
        span.fail(&reason);
        Err(Undelivered { symbol, quote_id, topic: self.config.topic.clone(), reason })
    }

    /// The producer; a new one where the last met a fatal error, after which it never sends again. A warm
    /// function would fail until Lambda drops it.
    fn producer(&self) -> FutureProducer<Link> {
        let mut current = lock(&self.producer);
        if let Some((_, fatal)) = current.client().fatal_error() {
            match producer(&self.config, &self.link) {
                Ok(fresh) => {
                    tracing::warn!(
                        "created a new Kafka producer because the last one failed permanently: {fatal}"
                    );
                    *current = fresh;
                }
                Err(error) => tracing::error!("a new Kafka producer cannot be created: {error}"),
            }
        }
        current.clone()
    }
}

fn producer(config: &KafkaConfig, link: &Link) -> Result<FutureProducer<Link>, KafkaClientError> {
    let producer = client_config(config)
        .set("acks", "all")
        .set("enable.idempotence", "true")
        .set("linger.ms", "1")
        .set("statistics.interval.ms", STATISTICS.as_millis().to_string())
        .set("message.timeout.ms", DELIVERY.as_millis().to_string())
        .create_with_context(link.clone());
    producer.map_err(|error| KafkaClientError::of(&error, &config.security))
}
