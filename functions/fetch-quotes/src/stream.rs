use std::time::Duration;

use quotes::Quote;
use rdkafka::{
    ClientConfig,
    error::KafkaError,
    producer::{FutureProducer, FutureRecord, Producer, future_producer::DeliveryFuture},
};

use crate::config::KafkaConfig;

/// How long a record may wait for its acknowledgement. Well below the 5 s that the function keeps at its
/// end, so that every delivery is known before the function is frozen.
const DELIVERY: Duration = Duration::from_secs(4);

/// The topic into which quotes are published.
pub struct Stream {
    producer: FutureProducer,
    topic: String,
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
        let producer = ClientConfig::new()
            .set("bootstrap.servers", &config.bootstrap_servers)
            .set("client.id", "fetch-quotes")
            .set("acks", "all")
            .set("enable.idempotence", "true")
            .set("linger.ms", "5")
            .set("message.timeout.ms", DELIVERY.as_millis().to_string())
            .set("socket.keepalive.enable", "true")
            .create()?;
        Ok(Self { producer, topic: config.topic.clone() })
    }

    /// Hands the quote to the producer, which sends it at once; its key is the symbol.
    #[must_use]
    pub fn send(&self, quote: &Quote) -> Delivery {
        let payload = quote.to_json();
        let record = FutureRecord::to(&self.topic).key(quote.symbol().as_str()).payload(&payload);
        let future = self.producer.send_result(record).map_err(|(error, _)| error);
        Delivery { future, symbol: quote.symbol().to_string() }
    }

    /// Waits until Kafka has acknowledged the record.
    ///
    /// # Errors
    /// [`Undelivered`] where it has not within 4 s.
    pub async fn delivered(&self, delivery: Delivery) -> Result<(), Undelivered> {
        let reason = match delivery.future {
            Ok(future) => match future.await {
                Ok(Ok(_)) => return Ok(()),
                Ok(Err((error, _))) => error.to_string(),
                Err(_) => "the producer was closed".to_owned(),
            },
            Err(error) => error.to_string(),
        };
        // An idempotent producer that met a fatal error never sends again.
        let reason = match self.producer.client().fatal_error() {
            Some((_, fatal)) => format!("{reason}; fatal: {fatal}"),
            None => reason,
        };
        Err(Undelivered { symbol: delivery.symbol, topic: self.topic.clone(), reason })
    }
}
