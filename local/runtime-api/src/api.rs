//! The HTTP server: turns a runtime client's requests into events of its execution environment.

use std::{net::Ipv4Addr, time::SystemTime};

use axum::{
    Json, Router,
    body::Bytes,
    extract::{DefaultBodyLimit, Path, State, rejection::BytesRejection},
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use serde::{Deserialize, Serialize};
use tokio::{
    net::TcpListener,
    sync::{mpsc, oneshot},
    task::JoinHandle,
};

/// Lambda's limit for a buffered response.
const MAX_RESPONSE_BYTES: usize = 6 * 1024 * 1024;

/// One event for the process.
pub(crate) struct Invocation {
    pub id: String,
    pub payload: Bytes,
    pub deadline: SystemTime,
    pub arn: String,
    pub trace_id: String,
}

/// An error that a function or its runtime client reported.
#[derive(Debug)]
pub(crate) struct Reported {
    pub error_type: String,
    pub message: String,
}

/// What the process requested or reported.
pub(crate) enum Event {
    Next(oneshot::Sender<Invocation>),
    InitError(Reported),
    /// An invocation's outcome. The answer to the process is whether `id` is its running invocation.
    Outcome {
        id: String,
        outcome: Result<Bytes, Reported>,
        accepted: oneshot::Sender<bool>,
    },
}

/// A server for only one process, so that a replaced process cannot answer for its successor.
pub(crate) struct Server {
    /// `host:port`, for `AWS_LAMBDA_RUNTIME_API`.
    pub address: String,
    task: JoinHandle<std::io::Result<()>>,
}

impl Server {
    pub async fn start() -> std::io::Result<(Self, mpsc::Receiver<Event>)> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?.to_string();
        let (events, receiver) = mpsc::channel(1);
        let runtime = Router::new()
            .route("/invocation/next", get(next))
            .route("/invocation/{id}/response", post(response))
            .route("/invocation/{id}/error", post(error))
            .route("/init/error", post(init_error))
            .layer(DefaultBodyLimit::max(MAX_RESPONSE_BYTES))
            .with_state(events);
        let router = Router::new().nest("/2018-06-01/runtime", runtime);
        let task = tokio::spawn(axum::serve(listener, router).into_future());
        Ok((Self { address, task }, receiver))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

type Events = State<mpsc::Sender<Event>>;

#[derive(Serialize)]
struct StatusBody {
    status: &'static str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ErrorBody {
    error_message: &'static str,
    error_type: &'static str,
}

fn accepted() -> Response {
    (StatusCode::ACCEPTED, Json(StatusBody { status: "OK" })).into_response()
}

fn refused(status: StatusCode, error_type: &'static str, error_message: &'static str) -> Response {
    (status, Json(ErrorBody { error_message, error_type })).into_response()
}

fn gone() -> Response {
    refused(StatusCode::GONE, "Sandbox.Stopped", "this execution environment is stopped")
}

async fn next(State(events): Events) -> Response {
    let (sender, invocation) = oneshot::channel();
    if events.send(Event::Next(sender)).await.is_err() {
        return gone();
    }
    let Ok(invocation) = invocation.await else {
        return gone();
    };
    let deadline = invocation.deadline.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_millis();
    let headers = [
        ("content-type", "application/json".to_owned()),
        ("lambda-runtime-aws-request-id", invocation.id),
        ("lambda-runtime-deadline-ms", deadline.to_string()),
        ("lambda-runtime-invoked-function-arn", invocation.arn),
        ("lambda-runtime-trace-id", invocation.trace_id),
    ];
    (headers, invocation.payload).into_response()
}

async fn response(
    State(events): Events,
    Path(id): Path<String>,
    body: Result<Bytes, BytesRejection>,
) -> Response {
    match body {
        Ok(body) => report(&events, id, Ok(body)).await,
        Err(rejection) => {
            let too_large = rejection.status() == StatusCode::PAYLOAD_TOO_LARGE;
            let error_type =
                if too_large { "Function.ResponseSizeTooLarge" } else { "Runtime.TruncatedResponse" };
            let reported = Reported { error_type: error_type.to_owned(), message: rejection.body_text() };
            report(&events, id, Err(reported)).await;
            refused(rejection.status(), error_type, "the response was not accepted")
        }
    }
}

async fn error(State(events): Events, Path(id): Path<String>, headers: HeaderMap, body: Bytes) -> Response {
    report(&events, id, Err(reported(&headers, &body))).await
}

async fn init_error(State(events): Events, headers: HeaderMap, body: Bytes) -> Response {
    match events.send(Event::InitError(reported(&headers, &body))).await {
        Ok(()) => accepted(),
        Err(_) => gone(),
    }
}

async fn report(events: &mpsc::Sender<Event>, id: String, outcome: Result<Bytes, Reported>) -> Response {
    let (sender, answer) = oneshot::channel();
    if events.send(Event::Outcome { id, outcome, accepted: sender }).await.is_err() {
        return gone();
    }
    match answer.await {
        Ok(true) => accepted(),
        Ok(false) => refused(StatusCode::BAD_REQUEST, "InvalidRequestID", "no such invocation is running"),
        Err(_) => gone(),
    }
}

/// Reads the error from the body, which says more than the header. A body that is not the documented JSON is the
/// message.
fn reported(headers: &HeaderMap, body: &Bytes) -> Reported {
    #[derive(Default, Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Body {
        error_type: Option<String>,
        error_message: Option<String>,
    }
    let header = headers.get("lambda-runtime-function-error-type").and_then(|value| value.to_str().ok());
    let Body { error_type, error_message } = serde_json::from_slice(body).unwrap_or_default();
    Reported {
        error_type: error_type
            .or_else(|| header.map(str::to_owned))
            .unwrap_or_else(|| "Runtime.Unknown".to_owned()),
        message: error_message.unwrap_or_else(|| String::from_utf8_lossy(body).into_owned()),
    }
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn reported_as(header: Option<&'static str>, body: &'static str) -> (String, String) {
        let name = "lambda-runtime-function-error-type";
        let headers = header
            .map(|value| (name.parse().unwrap(), HeaderValue::from_static(value)))
            .into_iter()
            .collect();
        let Reported { error_type, message } = reported(&headers, &Bytes::from_static(body.as_bytes()));
        (error_type, message)
    }

    #[test]
    fn an_error_is_read_from_body_or_header() {
        let both = |error_type: &str, message: &str| (error_type.to_owned(), message.to_owned());
        let body = r#"{"errorType":"ValueError","errorMessage":"bad","stackTrace":[]}"#;
        assert_eq!(reported_as(Some("Header"), body), both("ValueError", "bad"));
        assert_eq!(reported_as(Some("Header"), r#"{"errorMessage":"bad"}"#), both("Header", "bad"));
        assert_eq!(reported_as(None, "not json"), both("Runtime.Unknown", "not json"));
    }
}
