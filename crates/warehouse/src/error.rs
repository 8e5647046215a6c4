//! Errors of the warehouse, temporary or permanent.

use function_kit::{Retry, chain};
use gcp_bigquery_client::error::{BQError, NestedResponseError};

/// Why a request to the warehouse failed.
#[derive(Debug, thiserror::Error)]
pub enum WarehouseError {
    /// The address or the credentials cannot be used.
    #[error("the warehouse cannot be reached with this configuration: {0}")]
    Configuration(String),
    /// Google returned no access token.
    #[error("Google returned no access token for {statement}: {reason}")]
    Unauthorized {
        /// The statement.
        statement: &'static str,
        /// The error of Google or of the network.
        reason: String,
        /// Whether a later attempt may get one: outages.
        passing: bool,
    },
    /// There was no answer, it was incomplete, or it was not from BigQuery.
    #[error("the warehouse did not answer {statement}: {reason}")]
    Unavailable {
        /// The statement.
        statement: &'static str,
        /// The reason.
        reason: String,
    },
    /// The statement did not finish in time and was cancelled.
    #[error("the warehouse did not finish {statement} within {after:?}, and the statement was cancelled")]
    Late {
        /// The statement.
        statement: &'static str,
        /// Its time limit.
        after: std::time::Duration,
    },
    /// BigQuery answered with an error.
    #[error("the warehouse refused {statement}: {code} {message}")]
    Refused {
        /// The statement.
        statement: &'static str,
        /// The HTTP status.
        code: i64,
        /// Its message, with BigQuery's reason.
        message: String,
        /// Whether a later attempt may succeed: quotas, concurrent updates, outages.
        passing: bool,
    },
}

impl Retry for WarehouseError {
    fn is_retryable(&self) -> bool {
        match self {
            Self::Configuration(_) => false,
            Self::Unavailable { .. } | Self::Late { .. } => true,
            Self::Unauthorized { passing, .. } | Self::Refused { passing, .. } => *passing,
        }
    }
}

/// Temporary reasons of <https://cloud.google.com/bigquery/docs/error-messages>.
const PASSING_REASONS: [&str; 7] = [
    "rateLimitExceeded",
    "quotaExceeded",
    "jobRateLimitExceeded",
    "backendError",
    "internalError",
    "tableUnavailable",
    "jobBackendError",
];
/// BigQuery's messages, with code 400, if statements on one table conflict.
const PASSING_MESSAGES: [&str; 3] =
    ["too many dml statements", "could not serialize access", "concurrent update"];

impl WarehouseError {
    pub(crate) fn of(statement: &'static str, error: BQError) -> Self {
        match error {
            BQError::ResponseError { error } => Self::refused(statement, error.error),
            BQError::RequestError(error) => {
                Self::Unavailable { statement, reason: chain(&error.without_url()) }
            }
            error @ BQError::NoToken => {
                Self::Unauthorized { statement, reason: chain(&error), passing: true }
            }
            error => Self::Configuration(chain(&error)),
        }
    }

    /// The error of a job that was created and failed.
    pub(crate) fn refused_with(statement: &'static str, code: i64, reason: &str, message: String) -> Self {
        let errors = vec![[("reason".to_owned(), reason.to_owned())].into()];
        Self::refused(statement, NestedResponseError { code, errors, message, status: String::new() })
    }

    fn refused(statement: &'static str, error: NestedResponseError) -> Self {
        let reasons: Vec<&str> =
            error.errors.iter().filter_map(|error| error.get("reason")).map(String::as_str).collect();
        let text = error.message.to_lowercase();
        let passing = matches!(error.code, 408 | 429 | 500..=599)
            || reasons.iter().any(|reason| PASSING_REASONS.contains(reason))
            || PASSING_MESSAGES.iter().any(|message| text.contains(message));
        let mut message = match reasons.first() {
            Some(reason) => format!("{reason}: {}", error.message),
            None => error.message,
        };
        if reasons.contains(&"bytesBilledLimitExceeded") {
            message.push_str(" (BIGQUERY_MAX_BYTES_BILLED is the limit)");
        }
        Self::Refused { statement, code: error.code, message, passing }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(code: i64, reason: &str, message: &str) -> WarehouseError {
        let errors = vec![[("reason".to_owned(), reason.to_owned())].into()];
        WarehouseError::refused(
            "MERGE",
            NestedResponseError { code, errors, message: message.to_owned(), status: String::new() },
        )
    }

    #[test]
    fn what_passes_is_tried_again_and_what_stays_is_not() {
        for (code, reason, message) in [
            (403, "quotaExceeded", "Exceeded rate limits"),
            (403, "rateLimitExceeded", "Exceeded rate limits"),
            (429, "jobRateLimitExceeded", "Job exceeded rate limits"),
            (500, "internalError", "An internal error occurred"),
            (503, "backendError", "Error encountered during execution. Retrying may solve the problem."),
            (400, "invalidQuery", "Resources exceeded: Too many DML statements outstanding against table t"),
            (400, "invalidQuery", "Could not serialize access to table t due to concurrent update"),
        ] {
            assert!(refused(code, reason, message).is_retryable(), "{code} {reason}");
        }
        for (code, reason) in
            [(400, "invalidQuery"), (403, "accessDenied"), (404, "notFound"), (401, "authError")]
        {
            assert!(!refused(code, reason, "no").is_retryable(), "{code} {reason}");
        }
    }
}
