//! Errors: whether a retry can help, and one text with every cause.

use std::error::Error;

use lambda_runtime::Diagnostic;

/// An error that knows whether the same event may succeed when it is tried again.
pub trait Retry: Error {
    /// `true` for an unavailable dependency, `false` for a permanent error.
    fn is_retryable(&self) -> bool;
}

/// The error as Lambda reports it: the type is `Retryable` or `NonRetryable`, the message contains every cause.
pub fn diagnostic(error: &impl Retry) -> Diagnostic {
    let error_type = if error.is_retryable() { "Retryable" } else { "NonRetryable" };
    Diagnostic { error_type: error_type.to_owned(), error_message: chain(error) }
}

/// `error` and its causes, outermost first. Messages of this project never contain their cause's message. Some
/// libraries' messages end with it; then it is not repeated.
#[must_use]
pub fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let message = error.to_string();
        if text != message && !text.ends_with(&format!(": {message}")) {
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

    #[derive(Debug, thiserror::Error)]
    #[error("{message}")]
    struct Layer {
        message: &'static str,
        source: Option<Box<Layer>>,
    }

    #[test]
    fn every_cause_is_said_once_also_one_whose_words_stood_before() {
        for (messages, expected) in [
            (
                ["the bucket did not answer", "timeout", "timeout"].as_slice(),
                "the bucket did not answer: timeout",
            ),
            (&["the answer timed out", "timed out", "in time"], "the answer timed out: timed out: in time"),
            (&["not sent: no route", "no route"], "not sent: no route"),
        ] {
            let stack = |source, message: &&'static str| Some(Box::new(Layer { message, source }));
            let error = messages.iter().rev().fold(None, stack).unwrap();
            assert_eq!(chain(&*error), expected);
        }
    }

    #[test]
    fn lambda_gets_the_class_of_the_error_and_every_cause() {
        let diagnostic = diagnostic(&Outage(std::io::Error::other("connection refused")));
        assert_eq!(diagnostic.error_type, "Retryable");
        assert_eq!(diagnostic.error_message, "the bucket did not answer: connection refused");
    }
}
