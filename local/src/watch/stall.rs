//! Notices that quotes no longer arrive although no server reports an error.

use std::time::Duration;

use tokio::time::Instant;

/// How long no quotes may arrive, in addition to an interval: a schedule's event may be some seconds late.
const PATIENCE: Duration = Duration::from_secs(20);

/// The latest counts, and when they last changed.
pub(crate) struct Stall {
    patience: Duration,
    fetched: (u64, Instant),
    /// How many quotes Kafka had accepted, and when it last accepted one or had accepted all.
    taken: (u64, Instant),
}

impl Stall {
    /// For polls every `interval`, from `now` on.
    pub(crate) fn new(interval: Duration, now: Instant) -> Self {
        Self { patience: PATIENCE + interval, fetched: (0, now), taken: (0, now) }
    }

    /// The part that has not progressed for too long, without an age, so that the text stays the same; `None` while
    /// quotes arrive. `fetched` and `taken` (by Kafka) are of this run.
    pub(crate) fn look(&mut self, fetched: u64, taken: u64, now: Instant) -> Option<&'static str> {
        if fetched != self.fetched.0 {
            self.fetched = (fetched, now);
        }
        if taken != self.taken.0 || taken >= fetched {
            self.taken = (taken, now);
        }
        let is_still = |(_, since): (u64, Instant)| now.duration_since(since) > self.patience;
        if is_still(self.taken) {
            return Some("Kafka takes no quotes");
        }
        is_still(self.fetched).then_some("fetch-quotes fetches no quotes")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_still_is_named_until_it_moves() {
        let start = Instant::now();
        let mut stall = Stall::new(Duration::from_secs(6), start);
        for (second, fetched, taken, said) in [
            (0, 0, 0, None),
            (25, 0, 0, None),
            (27, 0, 0, Some("fetch-quotes fetches no quotes")),
            (30, 5, 5, None),
            (36, 10, 5, None),
            (55, 20, 5, None),
            (57, 20, 5, Some("Kafka takes no quotes")),
            (60, 25, 24, None),
            (87, 30, 24, Some("Kafka takes no quotes")),
            (90, 30, 30, None),
            (120, 30, 30, Some("fetch-quotes fetches no quotes")),
            (126, 35, 35, None),
        ] {
            assert_eq!(stall.look(fetched, taken, start + Duration::from_secs(second)), said, "{second}");
        }
    }
}
