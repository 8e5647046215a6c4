use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use quotes::Quote;
use rdkafka::{
    error::KafkaError,
    producer::{FutureProducer, FutureRecord, Producer, future_producer::DeliveryFuture},
};

use crate::{
    config::KafkaConfig,
    link::{Link, client_config},
    topic::create_topic,
};

/// How long a record may wait for its acknowledgement. Below the 5 s that the function keeps at its end, so
/// that every delivery is known before the function is frozen.
const DELIVERY: Duration = Duration::from_secs(4);

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
    /// The topic's name.
    pub topic: String,
    /// What the client said.
    pub reason: String,
}

/// A delivery to wait for.
pub struct Delivery {
    future: Result<DeliveryFuture, KafkaError>,
    symbol: String,
}

impl Stream {
    /// A producer for the configured topic; it connects in the background.
    ///
    /// # Errors
    /// [`KafkaError`] where librdkafka refuses the configuration.
    pub fn new(config: &KafkaConfig) -> Result<Self, KafkaError> {
        let link = Link::new(config);
        Ok(Self { producer: Mutex::new(producer(config, &link)?), config: config.clone(), link })
    }

    /// Creates the topic where it is not there and `KAFKA_TOPIC_PARTITIONS` is set; waits at most 4 s. What keeps it
    /// from that is logged: the polls tell whether the topic is there.
    ///
    /// # Errors
    /// [`KafkaError`] where librdkafka refuses the configuration.
    pub async fn create_topic(&self) -> Result<(), KafkaError> {
        create_topic(&self.config, &self.link).await
    }

    /// Hands the quote to the producer, which sends it at once; its key is the symbol.
    #[must_use]
    pub fn send(&self, quote: &Quote) -> Delivery {
        let payload = quote.to_json();
        let record = FutureRecord::to(&self.config.topic).key(quote.symbol().as_str()).payload(&payload);
        let future = self.producer().send_result(record).map_err(|(error, _)| error);
        Delivery { future, symbol: quote.symbol().to_string() }
    }

    /// Waits until Kafka has acknowledged the record, for as long as `patience`.
    ///
    /// # Errors
    /// [`Undelivered`] where it has not within 4 s of its sending, or within `patience`.
    pub async fn delivered(&self, delivery: Delivery, patience: Duration) -> Result<(), Undelivered> {
        let reason = match delivery.future {
            Ok(future) => match tokio::time::timeout(patience, future).await {
                Ok(Ok(Ok(_))) => {
                    self.link.works();
                    return Ok(());
                }
                Ok(Ok(Err((error, _)))) => match self.link.trouble() {
                    Some(trouble) => format!("{error}: {trouble}"),
                    None => error.to_string(),
                },
                Ok(Err(_)) => "the producer was closed".to_owned(),
                Err(_) => "the function's time was over".to_owned(),
            },
            Err(error) => error.to_string(),
        };
        Err(Undelivered { symbol: delivery.symbol, topic: self.config.topic.clone(), reason })
    }

    /// The producer; a new one where the last met a fatal error, after which it never sends again. A warm
    /// function would fail until Lambda drops it.
    fn producer(&self) -> FutureProducer<Link> {
        let mut current = self.producer.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, fatal)) = current.client().fatal_error() {
            match producer(&self.config, &self.link) {
                Ok(fresh) => {
                    tracing::warn!("made a new Kafka producer: the last one had failed for good: {fatal}");
                    *current = fresh;
                }
                Err(error) => tracing::error!("no new Kafka producer can be made: {error}"),
            }
        }
        current.clone()
    }
}

fn producer(config: &KafkaConfig, link: &Link) -> Result<FutureProducer<Link>, KafkaError> {
    client_config(config)
        .set("acks", "all")
        .set("enable.idempotence", "true")
        .set("linger.ms", "5")
        .set("message.timeout.ms", DELIVERY.as_millis().to_string())
        .create_with_context(link.clone())
}
