//! Events of new objects from a separate S3 server, such as `MinIO`, which cannot send them to the AWS endpoint's SQS
//! itself. It posts them here, and they are sent to the queue.

use aws_sdk_sqs::Client;
use axum::{Router, extract::State, http::StatusCode, routing::post};

use crate::servers::provision::WEBHOOK_PATH;

#[derive(Clone)]
struct Queue {
    sqs: Client,
    url: String,
}

/// Receives events in S3's format at [`WEBHOOK_PATH`] and sends each to the queue unchanged. If the queue does not
/// accept the event, it answers 502, so that the event is posted again.
pub(crate) fn router(sqs: Client, queue_url: String) -> Router {
    Router::new().route(WEBHOOK_PATH, post(forward)).with_state(Queue { sqs, url: queue_url })
}

async fn forward(State(queue): State<Queue>, event: String) -> StatusCode {
    match queue.sqs.send_message().queue_url(&queue.url).message_body(event).send().await {
        Ok(_) => StatusCode::OK,
        Err(error) => {
            tracing::warn!("an event of a new object was not queued: {}", function_kit::chain(&error));
            StatusCode::BAD_GATEWAY
        }
    }
}
