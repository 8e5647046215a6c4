//! The Kafka trigger, which no free emulator has: does what an event source mapping does, with any Lambda
//! endpoint.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use anyhow::Context;
use backon::{BackoffBuilder, ExponentialBuilder};
use base64::{Engine, engine::general_purpose::STANDARD};
use quotes::{Quote, QuoteId};
use rdkafka::{
    ClientConfig, Message, Offset, TopicPartitionList,
    consumer::{CommitMode, Consumer, StreamConsumer},
    message::{BorrowedMessage, Headers},
};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::{
    base::names,
    servers::aws::{Aws, InvocationError},
    watch::{
        latencies::{Latencies, Stage},
        metrics::Metrics,
        store_counts::StoreCounts,
    },
};

/// An invocation may have 6 MB, and base64 turns 3 bytes into 4.
const BATCH_BYTES: usize = 4 << 20;

/// Reads the topic, invokes archive-quotes with batches of records, and commits the archived ones.
pub(crate) struct Bridge {
    consumer: Arc<StreamConsumer>,
    bootstrap_servers: String,
    aws: Aws,
    latencies: Arc<Latencies>,
    store_counts: Arc<StoreCounts>,
    metrics: Arc<Metrics>,
}

#[derive(Default)]
struct Batch {
    records: BTreeMap<String, Vec<Value>>,
    offsets: TopicPartitionList,
    ids: Vec<QuoteId>,
    count: usize,
    bytes: usize,
}

#[derive(Deserialize)]
struct Outcome {
    archived: u64,
    quarantined: u64,
}

impl Bridge {
    pub(crate) fn new(
        bootstrap_servers: &str,
        aws: Aws,
        latencies: Arc<Latencies>,
        store_counts: Arc<StoreCounts>,
        metrics: Arc<Metrics>,
    ) -> anyhow::Result<Self> {
        let consumer: StreamConsumer = ClientConfig::new()
            .set("bootstrap.servers", bootstrap_servers)
            .set("group.id", names::GROUP)
            .set("enable.auto.commit", "false")
            .set("auto.offset.reset", "earliest")
            .set("session.timeout.ms", "10000")
            .create()?;
        consumer.subscribe(&[names::TOPIC])?;
        let bootstrap_servers = bootstrap_servers.to_owned();
        Ok(Self { consumer: Arc::new(consumer), bootstrap_servers, aws, latencies, store_counts, metrics })
    }

    /// Runs until it is stopped. A batch that is not archived is tried again, whatever the error.
    /// Later records must wait, as on AWS.
    pub(crate) async fn run(self, stop: CancellationToken) -> anyhow::Result<()> {
        while let Some(batch) = stop.run_until_cancelled(self.gather()).await {
            let Some(done) = stop.run_until_cancelled(self.deliver(batch?)).await else { break };
            done?;
        }
        // Leaving the group immediately saves the next run from waiting for the session's timeout.
        let consumer = self.consumer;
        tokio::task::spawn_blocking(move || consumer.unsubscribe()).await?;
        Ok(())
    }

    async fn gather(&self) -> anyhow::Result<Batch> {
        let mut batch = Batch::default();
        self.add(&mut batch, &self.next().await?)?;
        let end = Instant::now() + names::KAFKA_WINDOW;
        while batch.count < names::KAFKA_BATCH && batch.bytes < BATCH_BYTES {
            match tokio::time::timeout_at(end, self.next()).await {
                Ok(message) => self.add(&mut batch, &message?)?,
                Err(_) => break,
            }
        }
        Ok(batch)
    }

    async fn next(&self) -> anyhow::Result<BorrowedMessage<'_>> {
        loop {
            match self.consumer.recv().await {
                Ok(message) => return Ok(message),
                // librdkafka reconnects by itself. Only a fatal error ends the consumer.
                Err(error) if self.consumer.client().fatal_error().is_none() => {
                    tracing::warn!("Kafka: {error}");
                }
                Err(error) => return Err(error).context("the Kafka consumer has failed"),
            }
        }
    }

    fn add(&self, batch: &mut Batch, message: &BorrowedMessage<'_>) -> anyhow::Result<()> {
        let (topic, partition, offset) = (message.topic(), message.partition(), message.offset());
        if let Some(quote) = message.payload().and_then(|payload| Quote::from_object(payload).ok()) {
            self.latencies.arrived(Stage::KafkaAck, [quote.id()]);
            batch.ids.push(quote.id());
        }
        batch.bytes += message.payload_len() + message.key_len();
        batch.count += 1;
        batch.records.entry(format!("{topic}-{partition}")).or_default().push(record(message));
        let next = Offset::Offset(offset + 1);
        match batch.offsets.find_partition(topic, partition) {
            Some(mut known) => known.set_offset(next)?,
            None => batch.offsets.add_partition_offset(topic, partition, next)?,
        }
        Ok(())
    }

    async fn deliver(&self, batch: Batch) -> anyhow::Result<()> {
        let event = json!({
            "eventSource": "aws:SelfManagedKafka",
            "bootstrapServers": self.bootstrap_servers,
            "records": batch.records,
        })
        .to_string();
        let mut pauses = ExponentialBuilder::default()
            .with_min_delay(Duration::from_millis(200))
            .with_max_delay(Duration::from_secs(10))
            .without_max_times()
            .with_jitter()
            .build();
        let outcome = loop {
            match self.invoke(&event).await {
                Ok(outcome) => break outcome,
                Err(error) => {
                    let pause = pauses.next().unwrap_or_default();
                    tracing::warn!(
                        "{} failed for {} records and is tried again: {error:#}",
                        names::ARCHIVE,
                        batch.count
                    );
                    self.store_counts.add_failed(1);
                    tokio::time::sleep(pause).await;
                }
            }
        };
        self.latencies.arrived(Stage::Object, batch.ids);
        self.store_counts.add_archived(outcome.archived, outcome.quarantined);
        let (consumer, offsets) = (Arc::clone(&self.consumer), batch.offsets);
        let committed =
            tokio::task::spawn_blocking(move || consumer.commit(&offsets, CommitMode::Sync)).await?;
        if let Err(error) = committed {
            // The next commit includes this one, and archiving a batch again does no harm.
            tracing::warn!("the offsets were not committed: {error}");
        }
        Ok(())
    }

    async fn invoke(&self, event: &str) -> anyhow::Result<Outcome> {
        let answer = self.aws.invoke(names::ARCHIVE, &event).await.inspect_err(|error| match error {
            InvocationError::Failed { .. } => self.metrics.add_error(names::ARCHIVE),
            InvocationError::Throttled(_) => self.metrics.add_throttle(names::ARCHIVE),
            InvocationError::NoAnswer(_) => {}
        })?;
        serde_json::from_slice(&answer).context("the response is not an outcome of archive-quotes")
    }
}

/// A record as AWS writes it.
fn record(message: &BorrowedMessage<'_>) -> Value {
    let headers: Vec<Value> = message
        .headers()
        .into_iter()
        .flat_map(Headers::iter)
        .map(|header| json!({ header.key: header.value.unwrap_or_default() }))
        .collect();
    json!({
        "topic": message.topic(),
        "partition": message.partition(),
        "offset": message.offset(),
        "timestamp": message.timestamp().to_millis().unwrap_or_default(),
        "timestampType": "CREATE_TIME",
        "key": message.key().map(|key| STANDARD.encode(key)),
        "value": message.payload().map(|value| STANDARD.encode(value)),
        "headers": headers,
    })
}
