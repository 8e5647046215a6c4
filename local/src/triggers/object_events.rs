//! Events of new objects from an S3 server that is not the AWS endpoint's, such as `MinIO`, and so cannot send them to its
//! SQS itself: it posts them here, and they are sent to the queue.

use aws_sdk_sqs::Client;
use axum::{Router, extract::State, http::StatusCode, routing::post};

/// Where events are posted to.
pub(crate) const PATH: &str = "/object-events";
/// The webhook in `MinIO`'s notifications: `MINIO_NOTIFY_WEBHOOK_ENDPOINT_QUOTEFLOW`.
/// <https://docs.min.io/community/minio-object-store/reference/minio-server/settings/notifications/webhook-service.html>
pub(crate) const ARN: &str = "arn:minio:sqs::QUOTEFLOW:webhook";

#[derive(Clone)]
struct Queue {
    sqs: Client,
    url: String,
}

/// Takes events in S3's format at [`PATH`] and sends each to the queue as it is. It answers 502 where the queue did not
/// take the event, so that it is posted again.
pub(crate) fn router(sqs: Client, queue_url: String) -> Router {
    Router::new().route(PATH, post(forward)).with_state(Queue { sqs, url: queue_url })
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
