//! BigQuery's errors as its API sends them.

use axum::{
    Json,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use serde_json::{Value, json};

/// An error of a job or of a request.
/// <https://docs.cloud.google.com/bigquery/docs/error-messages>
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ApiError {
    pub reason: String,
    pub message: String,
    pub location: Option<String>,
}

impl ApiError {
    pub(crate) fn new(reason: &str, message: String) -> Self {
        Self { reason: reason.to_owned(), message, location: None }
    }

    pub(crate) fn at(self, location: &str) -> Self {
        Self { location: Some(location.to_owned()), ..self }
    }

    /// The error of a job's `status.errorResult`.
    pub(crate) fn of_job(error: &Value) -> Self {
        let text = |name: &str| error.get(name).and_then(Value::as_str).map(str::to_owned);
        Self {
            reason: text("reason").unwrap_or_else(|| "invalidQuery".to_owned()),
            message: text("message").unwrap_or_default(),
            location: text("location"),
        }
    }

    /// The error of a response that is not a success.
    pub(crate) fn of_response(status: StatusCode, body: &[u8]) -> Self {
        let body: Value = serde_json::from_slice(body).unwrap_or_default();
        let first = body.pointer("/error/errors/0").map(Self::of_job);
        first.unwrap_or_else(|| {
            let message = body.pointer("/error/message").and_then(Value::as_str);
            Self::new(
                "backendError",
                message.map_or_else(|| format!("the stand-in answered {status}"), str::to_owned),
            )
        })
    }

    /// The HTTP status that BigQuery has for the reason, and its name.
    fn status(&self) -> (StatusCode, &'static str) {
        match self.reason.as_str() {
            "quotaExceeded" | "rateLimitExceeded" | "accessDenied" | "responseTooLarge" => {
                (StatusCode::FORBIDDEN, "PERMISSION_DENIED")
            }
            "notFound" => (StatusCode::NOT_FOUND, "NOT_FOUND"),
            "duplicate" => (StatusCode::CONFLICT, "ALREADY_EXISTS"),
            "internalError" | "jobInternalError" => (StatusCode::INTERNAL_SERVER_ERROR, "INTERNAL"),
            "backendError" | "jobBackendError" => (StatusCode::SERVICE_UNAVAILABLE, "UNAVAILABLE"),
            _ => (StatusCode::BAD_REQUEST, "INVALID_ARGUMENT"),
        }
    }

    /// As a job's `status.errorResult` has it.
    pub(crate) fn job_error(&self) -> Value {
        let mut error = json!({ "reason": self.reason, "message": self.message });
        if let Some(location) = &self.location {
            error["location"] = json!(location);
        }
        error
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let (status, name) = self.status();
        let mut error = self.job_error();
        error["domain"] = json!("global");
        if self.location.is_some() {
            error["locationType"] = json!("other");
        }
        let body = json!({ "error": {
            "code": status.as_u16(), "message": self.message, "errors": [error], "status": name,
        } });
        (status, Json(body)).into_response()
    }
}
