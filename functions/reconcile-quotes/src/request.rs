use std::time::Duration;

use jiff::Timestamp;
use quotes::{ArchiveKey, Symbol};
use serde::Deserialize;

/// What an event requests. A schedule's event has none of these fields. It requests the objects that are missing in
/// bronze from each symbol's watermark on.
#[derive(Debug, Default, Clone, Deserialize)]
pub struct Request {
    /// From this second on (since 1970), instead of the watermark less its margin.
    #[serde(default)]
    pub from: Option<i64>,
    /// Until this second, inclusive.
    #[serde(default)]
    pub to: Option<i64>,
    /// These symbols only.
    #[serde(default)]
    pub symbols: Vec<Symbol>,
    /// Whether objects that are in bronze are queued, too: a replay.
    #[serde(default)]
    pub all: bool,
    /// Objects younger than this, in seconds, are left to their own events.
    #[serde(default)]
    pub grace_seconds: Option<u64>,
}

/// Which of a symbol's objects are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// The first second of `fetched_at`.
    pub from: i64,
    /// The last second of `fetched_at`.
    pub to: i64,
    /// Objects written later are left to their own events.
    pub written_until: Timestamp,
}

/// A batch has quotes of one day.
const DAY_SECONDS: i64 = 86_400;

impl Window {
    /// Whether the object may contain a quote of the window's seconds.
    #[must_use]
    pub fn reaches(&self, key: &ArchiveKey) -> bool {
        let (newest, oldest) = key.newest_and_oldest();
        newest >= self.from && oldest <= self.to
    }

    /// Whether no later object in the folder's listing may contain one: a listing is in the order of the newest
    /// quotes.
    #[must_use]
    pub fn ends_before(&self, key: &ArchiveKey) -> bool {
        let longest = if matches!(key, ArchiveKey::Batch(_)) { DAY_SECONDS } else { 0 };
        // Seconds before 2001 have fewer digits, so their keys sort elsewhere.
        self.from > 0 && key.newest_and_oldest().0.saturating_sub(longest) > self.to
    }
}

impl Request {
    /// The window of a symbol whose newest loaded second is `watermark`.
    ///
    /// The margin is needed because events arrive out of order: when a later event is loaded, the watermark passes the
    /// quotes of a lost one. A watermark in the future counts as none. An object in the future is left until then,
    /// because load-quotes would reject it.
    #[must_use]
    pub fn window(
        &self,
        watermark: Option<i64>,
        now: Timestamp,
        margin: Duration,
        grace: Duration,
    ) -> Window {
        let margin = i64::try_from(margin.as_secs()).unwrap_or(i64::MAX);
        let watermark = watermark.filter(|last| *last <= now.as_second());
        let watched = watermark.map_or(0, |last| last.saturating_sub(margin));
        let grace = self.grace_seconds.map_or(grace, Duration::from_secs);
        Window {
            from: self.from.unwrap_or(watched).max(0),
            to: self.to.unwrap_or(now.as_second()),
            written_until: now - grace,
        }
    }

    /// Whether it requests no more than a schedule's event does.
    #[must_use]
    pub fn is_scheduled(&self) -> bool {
        let Self { from, to, symbols, all, grace_seconds: _ } = self;
        from.is_none() && to.is_none() && symbols.is_empty() && !all
    }

    /// Whether the symbol is requested.
    #[must_use]
    pub fn names(&self, symbol: &Symbol) -> bool {
        self.symbols.is_empty() || self.symbols.contains(symbol)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_hours(1);

    #[test]
    fn a_schedule_s_event_asks_from_the_watermark_less_the_margin() {
        let request: Request =
            serde_json::from_str(r#"{"version":"0","detail-type":"Scheduled Event","detail":"{}"}"#).unwrap();
        let now: Timestamp = "2024-01-01T00:00:00Z".parse().unwrap();
        let window = request.window(Some(1_704_067_144), now, HOUR, Duration::from_mins(2));
        assert_eq!((window.from, window.to), (1_704_067_144 - 3600, now.as_second()));
        assert_eq!(window.written_until.to_string(), "2023-12-31T23:58:00Z");
        assert_eq!(request.window(None, now, HOUR, HOUR).from, 0);
        assert!(request.is_scheduled());
        assert!(request.names(&"AAPL".parse().unwrap()));
    }

    #[test]
    fn a_window_takes_a_batch_that_reaches_into_it_from_either_side() {
        let window = Window { from: 1_704_067_200, to: 1_704_067_300, written_until: Timestamp::MAX };
        let key = |newest: i64, oldest: i64| {
            format!("batches/{newest}-{oldest}-2-t-0-1-2.ndjson.gz").parse::<ArchiveKey>().unwrap()
        };
        assert!(window.reaches(&key(1_704_067_200, 1_704_067_100)));
        assert!(window.reaches(&key(1_704_070_000, 1_704_067_300)));
        assert!(window.reaches(&key(1_704_070_000, 1_704_067_100)));
        assert!(!window.reaches(&key(1_704_067_199, 1_704_067_100)));
        assert!(!window.reaches(&key(1_704_070_000, 1_704_067_301)));
        assert!(!window.ends_before(&key(1_704_070_000, 1_704_067_301)));
        assert!(window.ends_before(&key(1_704_067_301 + DAY_SECONDS, 1_704_067_301 + DAY_SECONDS)));
        let quote = |second: i64| format!("A/{second}.json").parse::<ArchiveKey>().unwrap();
        assert!(window.reaches(&quote(1_704_067_300)) && !window.ends_before(&quote(1_704_067_300)));
        assert!(!window.reaches(&quote(1_704_067_301)) && window.ends_before(&quote(1_704_067_301)));
    }

    #[test]
    fn a_watermark_in_the_future_is_none() {
        let now: Timestamp = "2024-01-01T00:00:00Z".parse().unwrap();
        let window = Request::default().window(Some(4_102_444_800), now, HOUR, HOUR);
        assert_eq!(window.from, 0);
    }

    #[test]
    fn a_replay_asks_for_its_own_window_and_symbols() {
        let request: Request =
            serde_json::from_str(r#"{"from":5,"to":9,"symbols":["AAPL"],"all":true,"grace_seconds":0}"#)
                .unwrap();
        let window = request.window(Some(1000), Timestamp::UNIX_EPOCH, HOUR, HOUR);
        assert_eq!(window, Window { from: 5, to: 9, written_until: Timestamp::UNIX_EPOCH });
        assert!(!request.is_scheduled());
        assert!(!request.names(&"MSFT".parse().unwrap()));
        assert!(serde_json::from_str::<Request>(r#"{"symbols":["../x"]}"#).is_err());
    }
}
