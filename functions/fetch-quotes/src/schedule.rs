//! The schedule's event, and the polls that follow from it.

use std::time::Duration;

use jiff::Timestamp;
use serde::Deserialize;

/// What the schedule sends: EventBridge Scheduler's context attribute, or an EventBridge event's `time`.
#[derive(Debug, Default, Deserialize)]
pub struct Schedule {
    /// `<aws.scheduler.scheduled-time>`, filled in by the Scheduler: RFC 3339. Emulators leave the
    /// placeholder as it is; what is not a time counts as absent.
    #[serde(default, alias = "time")]
    pub scheduled_time: Option<String>,
    /// How many polls to run; a minute's where it is absent.
    #[serde(default)]
    pub polls: Option<u32>,
}

/// When an invocation polls: `count` times, `interval` apart, the first at `first`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Plan {
    /// The first poll.
    pub first: Timestamp,
    /// The time from one poll to the next.
    pub interval: Duration,
    /// How many polls.
    pub count: u32,
}

impl Schedule {
    /// The time for which the event was scheduled, if it names one.
    pub(crate) fn scheduled(&self) -> Option<Timestamp> {
        self.scheduled_time.as_deref()?.parse().ok()
    }

    /// The polls of an invocation that begins `now`.
    ///
    /// They stand at fixed offsets from the scheduled time. The Scheduler may be late by up to a minute:
    /// the polls then begin at the next offset still to come, so that no poll is lost while it stays as
    /// late. An event as old as a minute's polls, or as its own where it has more, would take (a retry of what has been
    /// done) polls nothing.
    #[must_use]
    pub fn plan(&self, now: Timestamp, interval: Duration, polls_a_minute: u32) -> Plan {
        let polls = self.polls.unwrap_or(polls_a_minute);
        let scheduled = self.scheduled().unwrap_or(now);
        let late = Duration::try_from(now.duration_since(scheduled)).unwrap_or_default();
        let missed = u32::try_from(late.as_millis() / interval.as_millis()).unwrap_or(u32::MAX);
        let begun = if missed == 0 { 0 } else { missed.saturating_add(1) };
        let expired = begun > polls.max(polls_a_minute);
        let offset = interval.checked_mul(begun).filter(|_| !expired).unwrap_or_default();
        Plan { first: scheduled + offset, interval, count: if expired { 0 } else { polls } }
    }
}

impl Plan {
    /// The polls, each with its number counted from 1970 in intervals.
    pub fn polls(self) -> impl Iterator<Item = (u64, Timestamp)> {
        let interval_ms = u64::try_from(self.interval.as_millis()).unwrap_or(u64::MAX);
        (0..self.count).map(move |poll| {
            let at = self.first + self.interval * poll;
            (u64::try_from(at.as_millisecond()).unwrap_or_default() / interval_ms, at)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIX: Duration = Duration::from_secs(6);

    fn plan(scheduled: &str, now: &str) -> Plan {
        let schedule = Schedule { scheduled_time: Some(scheduled.to_owned()), polls: None };
        schedule.plan(now.parse().unwrap(), SIX, 10)
    }

    fn offsets(plan: Plan) -> Vec<String> {
        plan.polls().map(|(_, at)| at.to_string()).collect()
    }

    #[test]
    fn a_punctual_event_polls_ten_times_from_its_scheduled_time() {
        let polls = offsets(plan("2024-01-02T15:00:00Z", "2024-01-02T15:00:00.4Z"));
        assert_eq!(polls.len(), 10);
        assert_eq!((polls[0].as_str(), polls[9].as_str()), ("2024-01-02T15:00:00Z", "2024-01-02T15:00:54Z"));
    }

    #[test]
    fn a_late_event_begins_at_the_next_offset_and_loses_no_poll() {
        let polls = offsets(plan("2024-01-02T15:00:00Z", "2024-01-02T15:00:31Z"));
        assert_eq!(polls.len(), 10);
        assert_eq!(polls[0], "2024-01-02T15:00:36Z");
    }

    #[test]
    fn an_event_that_comes_again_after_its_minute_polls_nothing() {
        assert_eq!(plan("2024-01-02T15:00:00Z", "2024-01-02T15:01:01Z").count, 0);
        assert_eq!(plan("2024-01-02T15:00:00Z", "2024-01-02T19:00:00Z").count, 0);
    }

    #[test]
    fn an_event_that_is_sent_again_polls_the_rest_of_its_minute() {
        let scheduled_time = Some("2024-01-02T15:00:00Z".to_owned());
        let schedule = Schedule { scheduled_time, polls: Some(3) };
        let polls = offsets(schedule.plan("2024-01-02T15:00:37Z".parse().unwrap(), SIX, 10));
        assert_eq!(polls, ["2024-01-02T15:00:42Z", "2024-01-02T15:00:48Z", "2024-01-02T15:00:54Z"]);
    }

    #[test]
    fn without_a_scheduled_time_it_polls_at_once() {
        let schedule: Schedule =
            serde_json::from_str(r#"{"scheduled_time":"<aws.scheduler.scheduled-time>","polls":3}"#).unwrap();
        let now = "2024-01-02T15:00:07.5Z".parse().unwrap();
        assert_eq!(schedule.plan(now, SIX, 10), Plan { first: now, interval: SIX, count: 3 });
    }

    #[test]
    fn the_recorded_events_are_read() {
        for (event, polls) in [
            (include_str!("../tests/payloads/scheduler.json"), 10),
            (include_str!("../tests/payloads/scheduler-default.json"), 10),
            (include_str!("../tests/payloads/eventbridge-rule.json"), 10),
            (include_str!("../tests/payloads/empty.json"), 10),
        ] {
            let schedule: Schedule = serde_json::from_str(event).unwrap();
            let now = "2026-11-20T15:04:00.7Z".parse().unwrap();
            assert_eq!(schedule.plan(now, SIX, 10).count, polls, "{event}");
        }
    }

    #[test]
    fn an_event_of_the_future_polls_at_its_own_time() {
        assert_eq!(offsets(plan("2024-01-02T15:00:01Z", "2024-01-02T15:00:00Z"))[0], "2024-01-02T15:00:01Z");
    }
}
