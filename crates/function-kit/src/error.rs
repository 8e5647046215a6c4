use std::error::Error;

use lambda_runtime::Diagnostic;

/// An error that knows whether the same event may succeed when it is tried again.
pub trait Retry: Error {
    /// `true` for an unavailable dependency, `false` for what stays wrong.
    fn is_retryable(&self) -> bool;
}

/// The error as Lambda reports it: the type says `Retryable` or `NonRetryable`, the message has every
/// cause.
pub fn diagnostic(error: &impl Retry) -> Diagnostic {
    let error_type = if error.is_retryable() { "Retryable" } else { "NonRetryable" };
    Diagnostic { error_type: error_type.to_owned(), error_message: chain(error) }
}

/// `error` and its causes, outermost first, each once: many messages hold their cause's already.
#[must_use]
pub fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let message = error.to_string();
        if !text.contains(&message) {
            text = format!("{text}: {message}");
        }
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("the bucket did not answer")]
    struct Outage(#[source] std::io::Error);

    impl Retry for Outage {
        fn is_retryable(&self) -> bool {
            true
        }
    }

    #[test]
    fn lambda_is_told_whether_to_retry_and_every_cause() {
        let diagnostic = diagnostic(&Outage(std::io::Error::other("connection refused")));
        assert_eq!(diagnostic.error_type, "Retryable");
        assert_eq!(diagnostic.error_message, "the bucket did not answer: connection refused");
    }
}
