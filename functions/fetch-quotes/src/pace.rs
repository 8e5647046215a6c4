//! The rate limit of the requests to Finnhub.

use std::{collections::VecDeque, sync::Mutex, time::Duration};

use function_kit::lock;
use tokio::time::{Instant, sleep_until};

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_mins(1);
/// The longest time for which Finnhub can stop requests: its windows are a minute long.
const LONGEST_BLOCK: Duration = MINUTE;

/// How many requests may be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// In any second.
    pub per_second: usize,
    /// In any 60 seconds.
    pub per_minute: usize,
    /// How many of a minute's may be second and later tries: what the planned ones leave. So a symbol
    /// that fails again and again never takes another's turn.
    pub retries_per_minute: usize,
}

/// Says when a request to Finnhub may be made, so that it never counts more requests than it allows.
///
/// The windows are exact. A token bucket of 60 that refills while it is emptied would let nearly 120
/// requests through in its first minute. And a request counts from its start until a window's length after
/// its *end*: it reaches Finnhub somewhere between the two, so that Finnhub's own window never holds more
/// than this one, however slow the network is.
pub(crate) struct Pace {
    /// Turns are given in the order of the requests for them.
    queue: tokio::sync::Mutex<()>,
    state: Mutex<State>,
}

struct State {
    second: Window,
    minute: Window,
    retries: Window,
    /// Until when Finnhub wants no request.
    blocked_until: Option<Instant>,
}

struct Window {
    length: Duration,
    limit: usize,
    under_way: usize,
    /// When requests ended, oldest first.
    ended: VecDeque<Instant>,
}

impl Window {
    fn new(length: Duration, limit: usize) -> Self {
        Self { length, limit, under_way: 0, ended: VecDeque::new() }
    }

    /// When the next request may start, as far as is known `now`.
    fn free_at(&mut self, now: Instant) -> Instant {
        while self.ended.front().is_some_and(|ended| *ended + self.length <= now) {
            self.ended.pop_front();
        }
        let used = self.ended.len() + self.under_way;
        if used < self.limit {
            return now;
        }
        // One that is under way ends now at the earliest.
        self.ended.get(used - self.limit).copied().unwrap_or(now) + self.length
    }

    fn end(&mut self, now: Instant) {
        self.under_way -= 1;
        self.ended.push_back(now);
    }
}

/// Which try of a request it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Try {
    First,
    Again,
}

/// Leave to make one request; it is under way until this is dropped.
pub(crate) struct Turn<'a> {
    pace: &'a Pace,
    which: Try,
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let now = Instant::now();
        let mut state = lock(&self.pace.state);
        state.second.end(now);
        state.minute.end(now);
        if self.which == Try::Again {
            state.retries.end(now);
        }
    }
}

impl Pace {
    pub(crate) fn new(limits: Limits) -> Self {
        let state = State {
            second: Window::new(SECOND, limits.per_second),
            minute: Window::new(MINUTE, limits.per_minute),
            retries: Window::new(MINUTE, limits.retries_per_minute),
            blocked_until: None,
        };
        Self { queue: tokio::sync::Mutex::default(), state: Mutex::new(state) }
    }

    /// Waits for a turn; `None`, at once, if no turn comes before `until`.
    pub(crate) async fn turn(&self, which: Try, until: Instant) -> Option<Turn<'_>> {
        let _place = self.queue.lock().await;
        loop {
            let free_at = {
                let now = Instant::now();
                let mut state = lock(&self.state);
                // A retry without budget is given up at once: to wait for budget would delay the symbols behind it.
                if now >= until || (which == Try::Again && state.retries.free_at(now) > now) {
                    return None;
                }
                let free_at = state.second.free_at(now).max(state.minute.free_at(now));
                let free_at = state.blocked_until.map_or(free_at, |blocked| blocked.max(free_at));
                if free_at <= now {
                    state.second.under_way += 1;
                    state.minute.under_way += 1;
                    state.retries.under_way += usize::from(which == Try::Again);
                    return Some(Turn { pace: self, which });
                }
                free_at
            };
            if free_at >= until {
                return None;
            }
            sleep_until(free_at).await;
        }
    }

    /// Finnhub takes no request for `duration`: its own count is the one that matters, and others may use
    /// the same key.
    pub(crate) fn block(&self, duration: Duration) {
        let until = Instant::now() + duration.min(LONGEST_BLOCK);
        let mut state = lock(&self.state);
        state.blocked_until = state.blocked_until.max(Some(until));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;

    use super::*;

    fn pace(per_second: usize, per_minute: usize, retries_per_minute: usize) -> Arc<Pace> {
        Arc::new(Pace::new(Limits { per_second, per_minute, retries_per_minute }))
    }

    /// The most of `times` that any window of this length holds.
    fn busiest(times: &[Instant], length: Duration) -> usize {
        let in_window =
            |from: &Instant| times.iter().filter(|at| *at >= from && **at < *from + length).count();
        times.iter().map(in_window).max().unwrap_or_default()
    }

    /// Runs `requests` (when each is asked for, how long it takes to reach the server, how long the answer
    /// takes, all in ms) and returns when each reached the server.
    async fn arrivals(pace: &Arc<Pace>, requests: &[(u64, u64, u64)]) -> Vec<Instant> {
        let start = Instant::now();
        let tasks: Vec<_> = requests
            .iter()
            .map(|&(asked, there, back)| {
                let pace = Arc::clone(pace);
                tokio::spawn(async move {
                    sleep_until(start + Duration::from_millis(asked)).await;
                    let turn = pace.turn(Try::First, start + Duration::from_hours(24)).await.unwrap();
                    tokio::time::sleep(Duration::from_millis(there)).await;
                    let arrived = Instant::now();
                    tokio::time::sleep(Duration::from_millis(back)).await;
                    drop(turn);
                    arrived
                })
            })
            .collect();
        let mut arrived = Vec::new();
        for task in tasks {
            arrived.push(task.await.unwrap());
        }
        arrived.sort();
        arrived
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn no_window_at_the_server_ever_holds_more_than_the_limit(
            requests in prop::collection::vec((0u64..200_000, 0u64..4_000, 0u64..4_000), 1..200),
            per_minute in 1usize..80,
        ) {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
            runtime.unwrap().block_on(async {
                let arrived = arrivals(&pace(30, per_minute, 0), &requests).await;
                prop_assert_eq!(arrived.len(), requests.len());
                prop_assert!(busiest(&arrived, MINUTE) <= per_minute);
                prop_assert!(busiest(&arrived, SECOND) <= 30);
                Ok(())
            })?;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_burst_uses_the_whole_limit_and_no_more_in_each_window() {
        let arrived = arrivals(&pace(30, 60, 0), &[(0, 0, 0); 180]).await;
        assert_eq!((busiest(&arrived, SECOND), busiest(&arrived, MINUTE)), (30, 60));
        assert_eq!(arrived[179] - arrived[0], Duration::from_secs(121));
    }

    #[tokio::test(start_paused = true)]
    async fn turns_are_given_in_the_order_of_asking() {
        let pace = pace(1, 60, 0);
        let until = Instant::now() + MINUTE;
        let mut turns: Vec<_> = (0..20)
            .map(|number| {
                let pace = Arc::clone(&pace);
                async move { pace.turn(Try::First, until).await.map(|_| number) }
            })
            .map(Box::pin)
            .collect();
        // Each is asked for once, in order, before any waits.
        let order = std::sync::Mutex::new(Vec::new());
        futures::future::join_all(turns.iter_mut().map(async |turn| {
            let number = turn.await.unwrap();
            order.lock().unwrap().push(number);
        }))
        .await;
        assert_eq!(order.into_inner().unwrap(), (0..20).collect::<Vec<_>>());
    }

    #[tokio::test(start_paused = true)]
    async fn who_gets_no_turn_in_time_learns_so_at_once() {
        let pace = pace(30, 1, 0);
        let until = Instant::now() + Duration::from_secs(6);
        let asked = Instant::now();
        assert!(pace.turn(Try::First, until).await.is_some());
        assert!(pace.turn(Try::First, until).await.is_none());
        assert_eq!(asked.elapsed(), Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn retries_take_only_what_the_plan_leaves() {
        let pace = pace(30, 60, 2);
        let until = Instant::now() + MINUTE;
        for allowed in [true, true, false] {
            assert_eq!(pace.turn(Try::Again, until).await.is_some(), allowed);
        }
        assert!(pace.turn(Try::First, until).await.is_some());
        sleep_until(until).await;
        assert!(pace.turn(Try::Again, until + MINUTE).await.is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn a_block_is_waited_for_and_never_longer_than_a_minute() {
        let pace = pace(30, 60, 0);
        let start = Instant::now();
        pace.block(Duration::from_secs(5));
        pace.block(Duration::from_secs(1));
        assert!(pace.turn(Try::First, start + Duration::from_secs(5)).await.is_none());
        assert!(pace.turn(Try::First, start + Duration::from_secs(6)).await.is_some());
        assert_eq!(start.elapsed(), Duration::from_secs(5));
        pace.block(Duration::MAX);
        assert!(pace.turn(Try::First, start + 2 * MINUTE).await.is_some());
        assert_eq!(start.elapsed(), Duration::from_secs(65));
    }
}
