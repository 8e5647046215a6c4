//! Decides when to send a schedule's throttled event again. Lambda keeps a throttled asynchronous invocation and tries
//! it again, but the AWS stand-in drops it. Here it is tried each second, so that it begins when the running invocation
//! ends. <https://docs.aws.amazon.com/lambda/latest/dg/invocation-async-error-handling.html>

use crate::base::clock::MINUTE_MS;

const PAUSE_MS: u64 = 1000;

/// What is known of a function's throttled invocations.
#[derive(Default)]
pub(crate) struct SendAgain {
    throttles: u64,
    /// When the next try is due; the minute of the event.
    due: Option<(u64, u64)>,
}

impl SendAgain {
    /// Whether to send the event now, in milliseconds since 1970. `throttles` is how many invocations have been
    /// throttled so far, including those sent again. An event is given up when its minute ends, because the next minute
    /// has its own.
    pub(crate) fn is_due(&mut self, throttles: u64, now_ms: u64) -> bool {
        let minute = now_ms / MINUTE_MS;
        if throttles > self.throttles {
            self.throttles = throttles;
            self.due = Some((now_ms + PAUSE_MS, minute));
        }
        match self.due {
            Some((_, of)) if of != minute => {
                self.due = None;
                false
            }
            Some((at, _)) if now_ms >= at => {
                self.due = None;
                true
            }
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The seconds of a minute at which the event is sent again, checked each second, if the running invocation ends at
    /// second `until`.
    fn sent(until: u64) -> Vec<u64> {
        let (mut again, mut throttles, mut sent) = (SendAgain::default(), 1, Vec::new());
        for second in 0..60 {
            if again.is_due(throttles, second * 1000) {
                sent.push(second);
                throttles += u64::from(second < until);
            }
        }
        sent
    }

    #[test]
    fn an_event_that_met_a_running_invocation_is_sent_until_it_is_taken() {
        assert_eq!(sent(0), [1]);
        assert_eq!(sent(4), [1, 3, 5]);
        assert_eq!(sent(9), [1, 3, 5, 7, 9]);
    }

    #[test]
    fn it_is_given_up_with_its_minute() {
        let mut again = SendAgain::default();
        assert!(!again.is_due(1, 59_500));
        assert!((60_000..180_000).step_by(1000).all(|now| !again.is_due(1, now)));
        // The next event is sent again as soon as the first was.
        assert!(!again.is_due(2, 180_000));
        assert!(again.is_due(2, 181_000));
    }

    #[test]
    fn nothing_is_sent_while_nothing_is_throttled() {
        let mut again = SendAgain::default();
        assert!((0..600).all(|second| !again.is_due(0, second * 1000)));
    }
}
