//! The trigger of transform-quotes: announced loads, gathered so that one run serves them all.

use std::{sync::Arc, time::Duration};

use anyhow::Context;
use aws_sdk_sqs::types::{DeleteMessageBatchRequestEntry, Message, MessageSystemAttributeName};
use backon::{ExponentialBuilder, Retryable};
use runtime_api::Function;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::{aws::Aws, ledger::Ledger, metrics::Metrics, names};

/// SQS gives ten messages at most.
const RECEIVE: i32 = 10;
/// Short enough to be waited for at the end: messages that an abandoned receive still gets stay hidden.
const LONG_POLL_SECONDS: i32 = 2;
/// How many announcements one run takes.
const GATHER: usize = 1000;
/// The pause after a failed run; the announcements come again by themselves.
const PAUSE: Duration = Duration::from_secs(2);

/// Invokes transform-quotes for announced loads, one run at a time.
pub(crate) struct Transform {
    pub aws: Aws,
    pub queue_url: String,
    pub function: Arc<Function>,
    pub ledger: Arc<Ledger>,
    pub metrics: Arc<Metrics>,
    /// Told of every run.
    pub transformed: Arc<Notify>,
}

#[derive(Deserialize)]
struct Outcome {
    ran: bool,
}

impl Transform {
    /// Goes on until it is told to stop. It begins with a run for what an earlier one left.
    pub(crate) async fn run(self, stop: CancellationToken) -> anyhow::Result<()> {
        let mut messages = Vec::new();
        loop {
            let transformed = self.transform(&messages);
            let Some(outcome) = stop.run_until_cancelled(transformed).await else { return Ok(()) };
            if let Err(error) = outcome {
                tracing::warn!("{} failed; its announcements come again: {error:#}", names::TRANSFORM);
                self.ledger.add_failed(1);
                if stop.run_until_cancelled(tokio::time::sleep(PAUSE)).await.is_none() {
                    return Ok(());
                }
            }
            let Some(gathered) = self.gather(&stop).await? else { return Ok(()) };
            messages = gathered;
        }
    }

    /// Every announcement that waits, once there is one; `None` when told to stop.
    async fn gather(&self, stop: &CancellationToken) -> anyhow::Result<Option<Vec<Message>>> {
        let mut messages = Vec::new();
        while messages.is_empty() {
            if stop.is_cancelled() {
                return Ok(None);
            }
            messages = self.receive(LONG_POLL_SECONDS).await?;
        }
        while messages.len() < GATHER {
            let more = self.receive(0).await?;
            if more.is_empty() {
                break;
            }
            messages.extend(more);
        }
        Ok(Some(messages))
    }

    async fn receive(&self, wait_seconds: i32) -> anyhow::Result<Vec<Message>> {
        let receive = self
            .aws
            .sqs
            .receive_message()
            .queue_url(&self.queue_url)
            .max_number_of_messages(RECEIVE)
            .message_system_attribute_names(MessageSystemAttributeName::SentTimestamp)
            .wait_time_seconds(wait_seconds);
        let received = (|| receive.clone().send()).retry(ExponentialBuilder::default().with_jitter()).await;
        Ok(received
            .with_context(|| format!("{} does not answer", self.queue_url))?
            .messages
            .unwrap_or_default())
    }

    async fn transform(&self, messages: &[Message]) -> anyhow::Result<()> {
        let answer = self.metrics.invoke(&self.function, sqs_event(messages).to_string()).await?;
        let Outcome { ran } = serde_json::from_slice(&answer).context("its response is not its own")?;
        if ran {
            self.transformed.notify_one();
        }
        for (chunk, messages) in messages.chunks(10).enumerate() {
            let entries = messages.iter().enumerate().map(|(number, message)| {
                DeleteMessageBatchRequestEntry::builder()
                    .id(format!("{chunk}-{number}"))
                    .receipt_handle(message.receipt_handle.clone().unwrap_or_default())
                    .build()
            });
            let entries = entries.collect::<Result<Vec<_>, _>>()?;
            let delete = self.aws.sqs.delete_message_batch().queue_url(&self.queue_url);
            delete.set_entries(Some(entries)).send().await.context("announcements were not deleted")?;
        }
        Ok(())
    }
}

/// The event that Lambda makes of SQS messages; of none, what a schedule sends.
fn sqs_event(messages: &[Message]) -> Value {
    let record = |message: &Message| {
        let sent =
            message.attributes.as_ref().and_then(|all| all.get(&MessageSystemAttributeName::SentTimestamp));
        json!({
            "messageId": message.message_id,
            "body": message.body,
            "attributes": { "SentTimestamp": sent },
            "eventSource": "aws:sqs",
        })
    };
    if messages.is_empty() {
        return json!({});
    }
    json!({ "Records": messages.iter().map(record).collect::<Vec<_>>() })
}
