use aws_sdk_sqs::{Client, types::SendMessageBatchRequestEntry};
use function_kit::{aws::CallError, chain};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::json;

use crate::ReconcileError;

/// SQS takes ten messages at once.
const BATCH: usize = 10;

/// The queue from which load-quotes gets its events.
pub trait Queue {
    /// Queues an event for each key of `bucket`.
    fn send(&self, bucket: &str, keys: &[String]) -> impl Future<Output = Result<(), ReconcileError>> + Send;
}

/// The queue of new objects.
pub struct LoadQueue {
    sqs: Client,
    url: String,
}

impl LoadQueue {
    /// The queue at `url`.
    #[must_use]
    pub fn new(sqs: Client, url: String) -> Self {
        Self { sqs, url }
    }
}

/// An event as S3 sends it, with the key form-encoded. Each message has one key, so that a bad object fails
/// alone.
fn event(bucket: &str, key: &str) -> String {
    let key = utf8_percent_encode(key, NON_ALPHANUMERIC).to_string();
    json!({ "Records": [{
        "eventSource": "quoteflow:reconcile",
        "eventName": "ObjectCreated:Put",
        "s3": { "bucket": { "name": bucket }, "object": { "key": key } },
    }] })
    .to_string()
}

impl Queue for LoadQueue {
    async fn send(&self, bucket: &str, keys: &[String]) -> Result<(), ReconcileError> {
        let failed = |source| ReconcileError::Queue { queue: self.url.clone(), source };
        for chunk in keys.chunks(BATCH) {
            let entry = |(number, key): (usize, &String)| {
                SendMessageBatchRequestEntry::builder()
                    .id(number.to_string())
                    .message_body(event(bucket, key))
                    .build()
            };
            let entries: Result<Vec<_>, _> = chunk.iter().enumerate().map(entry).collect();
            let entries =
                entries.map_err(|error| failed(CallError { reason: chain(&error), is_retryable: false }))?;
            let batch = self.sqs.send_message_batch().queue_url(&self.url).set_entries(Some(entries));
            let sent = batch.send().await.map_err(|error| failed(error.into()))?;
            if let Some(refused) = sent.failed().first() {
                let reason = format!("{}: {}", refused.code(), refused.message().unwrap_or_default());
                // An error that is not the sender's fault is temporary.
                return Err(failed(CallError { reason, is_retryable: !refused.sender_fault() }));
            }
        }
        Ok(())
    }
}
