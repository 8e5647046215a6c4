use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use quotes::Quote;
use rdkafka::{
    ClientConfig,
    error::KafkaError,
    producer::{FutureProducer, FutureRecord, Producer, future_producer::DeliveryFuture},
};

use crate::config::KafkaConfig;

/// How long a record may wait for its acknowledgement. Below the 5 s that the function keeps at its end, so
/// that every delivery is known before the function is frozen.
const DELIVERY: Duration = Duration::from_secs(4);

/// The longest pause before the next attempt to connect to a broker that was down.
const RECONNECT: Duration = Duration::from_millis(500);

/// The topic into which quotes are published.
pub struct Stream {
    producer: Mutex<FutureProducer>,
    config: KafkaConfig,
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
        Ok(Self { producer: Mutex::new(producer(config)?), config: config.clone() })
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
                Ok(Ok(Ok(_))) => return Ok(()),
                Ok(Ok(Err((error, _)))) => error.to_string(),
                Ok(Err(_)) => "the producer was closed".to_owned(),
                Err(_) => "the function's time was over".to_owned(),
            },
            Err(error) => error.to_string(),
        };
        Err(Undelivered { symbol: delivery.symbol, topic: self.config.topic.clone(), reason })
    }

    /// The producer; a new one where the last met a fatal error, after which it never sends again. A warm
    /// function would fail until Lambda drops it.
    fn producer(&self) -> FutureProducer {
        let mut current = self.producer.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, fatal)) = current.client().fatal_error() {
            match producer(&self.config) {
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

fn producer(config: &KafkaConfig) -> Result<FutureProducer, KafkaError> {
    ClientConfig::new()
        .set("bootstrap.servers", &config.bootstrap_servers)
        .set("client.id", "fetch-quotes")
        .set("acks", "all")
        .set("enable.idempotence", "true")
        .set("linger.ms", "5")
        .set("message.timeout.ms", DELIVERY.as_millis().to_string())
        .set("socket.keepalive.enable", "true")
        // Its default of 10 s outlasts a delivery: quotes would time out while a broker is back already.
        .set("reconnect.backoff.max.ms", RECONNECT.as_millis().to_string())
        .create()
}
