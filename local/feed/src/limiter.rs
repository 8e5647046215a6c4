//! Finnhub's rate limit: requests in a sliding minute.

use std::{collections::VecDeque, time::Duration};

const WINDOW: Duration = Duration::from_mins(1);

/// Counts the requests of the last minute. The caller passes the times, as durations since the Unix epoch.
pub(crate) struct Limiter {
    limit: u32,
    admitted: VecDeque<Duration>,
}

/// The values of the X-Ratelimit headers after one request.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Standing {
    pub admitted: bool,
    pub remaining: u32,
    /// Epoch seconds at which the oldest counted request leaves the window.
    pub reset: u64,
}

impl Limiter {
    pub fn new(limit: u32) -> Self {
        Self { limit, admitted: VecDeque::new() }
    }

    pub const fn limit(&self) -> u32 {
        self.limit
    }

    /// Counts one request if the window has room for it.
    pub fn admit(&mut self, now: Duration) -> Standing {
        self.slide(now);
        let admitted = self.remaining() > 0;
        if admitted {
            self.admitted.push_back(now);
        }
        self.standing(admitted, now)
    }

    /// The state without counting a request: one that was refused because of its token costs nothing.
    pub fn peek(&mut self, now: Duration) -> Standing {
        self.slide(now);
        self.standing(false, now)
    }

    fn slide(&mut self, now: Duration) {
        while self.admitted.front().is_some_and(|&at| now.saturating_sub(at) >= WINDOW) {
            self.admitted.pop_front();
        }
    }

    fn remaining(&self) -> u32 {
        u32::try_from(self.admitted.len()).map_or(0, |used| self.limit.saturating_sub(used))
    }

    fn standing(&self, admitted: bool, now: Duration) -> Standing {
        let frees = self.admitted.front().map_or(now, |&at| at + WINDOW);
        Standing {
            admitted,
            remaining: self.remaining(),
            reset: frees.as_secs() + u64::from(frees.subsec_nanos() > 0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: f64) -> Duration {
        Duration::from_secs_f64(seconds)
    }

    #[test]
    fn the_window_slides() {
        let mut limiter = Limiter::new(2);
        assert_eq!(limiter.peek(at(99.5)), Standing { admitted: false, remaining: 2, reset: 100 });
        assert_eq!(limiter.admit(at(100.0)), Standing { admitted: true, remaining: 1, reset: 160 });
        assert_eq!(limiter.admit(at(130.5)), Standing { admitted: true, remaining: 0, reset: 160 });
        assert_eq!(limiter.admit(at(159.9)), Standing { admitted: false, remaining: 0, reset: 160 });
        assert_eq!(limiter.admit(at(160.0)), Standing { admitted: true, remaining: 0, reset: 191 });
        assert_eq!(limiter.peek(at(190.5)), Standing { admitted: false, remaining: 1, reset: 220 });
    }

    #[test]
    fn a_limit_of_nothing_admits_nothing() {
        assert!(!Limiter::new(0).admit(at(1.0)).admitted);
    }
}
