//! The circuit breaker of the requests to Finnhub.

use std::{sync::Mutex, time::Duration};

use function_kit::lock;
use tokio::time::Instant;

/// How many failures in a row open it: a poll of five symbols and each one's next try.
const FAILURES: u32 = 10;
/// How long no request is made then, and between two probes.
const PAUSE: Duration = Duration::from_secs(10);

/// Stops requests to an API that does not answer.
///
/// After 10 failures in a row no request is made for 10 seconds; then one request is allowed, as a probe.
/// If it is answered, all requests are allowed again; if it fails, the next pause starts.
#[derive(Default)]
pub(crate) struct Breaker(Mutex<State>);

#[derive(Default)]
struct State {
    failures: u32,
    open_until: Option<Instant>,
}

impl State {
    fn is_tripped(&self) -> bool {
        self.failures >= FAILURES
    }
}

impl Breaker {
    /// Whether no request may be made now.
    pub(crate) fn is_open(&self) -> bool {
        lock(&self.0).open_until.is_some_and(|until| Instant::now() < until)
    }

    /// Whether a request may be made; the first one after a pause is the probe.
    pub(crate) fn lets_through(&self) -> bool {
        if self.is_open() {
            return false;
        }
        let mut state = lock(&self.0);
        if state.is_tripped() {
            // Nobody else until the probe has answered, or until the next pause is over if it never does.
            state.open_until = Some(Instant::now() + PAUSE);
        }
        true
    }

    /// The API answered; what it said does not matter here.
    pub(crate) fn answered(&self) {
        let mut state = lock(&self.0);
        if state.is_tripped() {
            tracing::info!(failures = state.failures, "Finnhub answers again: all symbols are requested");
        }
        *state = State::default();
    }

    /// A request failed for a reason that is the API's.
    pub(crate) fn failed(&self, error: &str) {
        let mut state = lock(&self.0);
        let was_tripped = state.is_tripped();
        state.failures = state.failures.saturating_add(1);
        if state.is_tripped() {
            state.open_until = Some(Instant::now() + PAUSE);
        }
        if state.is_tripped() && !was_tripped {
            tracing::warn!(
                failures = FAILURES,
                pause_seconds = PAUSE.as_secs(),
                "Finnhub failed {FAILURES} times in a row: one request every {} s until it answers: {error}",
                PAUSE.as_secs()
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tripped() -> Breaker {
        let breaker = Breaker::default();
        (0..FAILURES).for_each(|_| breaker.failed("HTTP 502"));
        breaker
    }

    #[tokio::test(start_paused = true)]
    async fn failures_in_a_row_open_it_and_one_answer_between_them_does_not() {
        let breaker = Breaker::default();
        (1..FAILURES).for_each(|_| breaker.failed("HTTP 502"));
        breaker.answered();
        (1..FAILURES).for_each(|_| breaker.failed("HTTP 502"));
        assert!(breaker.lets_through());
        breaker.failed("HTTP 502");
        assert!(!breaker.lets_through());
    }

    #[tokio::test(start_paused = true)]
    async fn after_the_pause_one_request_probes_and_its_failure_starts_the_next_pause() {
        let breaker = tripped();
        for _ in 0..3 {
            assert!(!breaker.lets_through());
            tokio::time::advance(PAUSE).await;
            assert_eq!([breaker.lets_through(), breaker.lets_through()], [true, false]);
            breaker.failed("HTTP 502");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_probe_that_is_answered_lets_all_through() {
        let breaker = tripped();
        tokio::time::advance(PAUSE).await;
        assert!(breaker.lets_through());
        breaker.answered();
        assert_eq!([breaker.lets_through(), breaker.lets_through()], [true, true]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_probe_that_never_ends_does_not_keep_it_open() {
        let breaker = tripped();
        tokio::time::advance(PAUSE).await;
        assert!(breaker.lets_through());
        tokio::time::advance(PAUSE).await;
        assert!(breaker.lets_through());
    }
}
