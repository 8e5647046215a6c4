use aws_sdk_sqs::Client;
use function_kit::chain;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// Says that bronze has new rows, to whoever transforms them.
pub struct Announcements {
    sqs: Client,
    queue_url: Option<String>,
}

/// The message's body.
#[derive(Debug, Serialize, Deserialize)]
pub struct QuotesLoaded {
    /// `quotes-loaded`.
    #[serde(rename = "type")]
    pub kind: String,
    /// How many rows are new.
    pub rows: u64,
    /// When they were in bronze.
    pub loaded_at: Timestamp,
}

impl Announcements {
    /// Announcements to the queue; none where it is `None`.
    #[must_use]
    pub fn new(sqs: Client, queue_url: Option<String>) -> Self {
        Self { sqs, queue_url }
    }

    /// Announces `rows` new rows. A failure is logged and no more: the rows are in bronze, and the next
    /// transformation finds them whatever called it.
    pub async fn quotes_loaded(&self, rows: u64) {
        let Some(queue_url) = self.queue_url.as_ref().filter(|_| rows > 0) else { return };
        let message = QuotesLoaded { kind: "quotes-loaded".to_owned(), rows, loaded_at: Timestamp::now() };
        let body = serde_json::to_string(&message).unwrap_or_default();
        if let Err(error) = self.sqs.send_message().queue_url(queue_url).message_body(body).send().await {
            tracing::warn!(rows, queue_url, "the load was not announced: {}", chain(&error));
        }
    }
}
