//! The US stock market's current or latest session, and its next one.

use jiff::{Timestamp, civil::Date};

/// The trading hours of one day.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Session {
    pub opens: Timestamp,
    pub closes: Timestamp,
}

/// The market at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hours {
    /// The current session, else the latest one.
    pub session: Session,
    /// When the next session begins.
    pub next_open: Timestamp,
    /// Today's holiday, if there is one.
    pub holiday: Option<&'static str>,
    pub is_open: bool,
}

/// The market's hours at `now`; `None` only at the ends of the calendar. `reported` says whether the market is open
/// according to Finnhub. It overrides the calendar, because the exchange stays closed on some days that no rule covers.
pub fn hours(now: Timestamp, reported: Option<bool>) -> Option<Hours> {
    let today = now.to_zoned(us_market::new_york().ok()?).date();
    let mut session = days(today, -1).find(|session| session.opens <= now)?;
    let is_session = now < session.closes;
    let is_open = reported.unwrap_or(is_session);
    if is_session && !is_open {
        session = days(today.yesterday().ok()?, -1).next()?;
    }
    let next_open = days(today, 1).find(|session| session.opens > now)?.opens;
    Some(Hours { session, next_open, holiday: us_market::holiday(today), is_open })
}

/// The sessions of `first` and of up to 10 days after it, or before it with a `step` of -1.
fn days(first: Date, step: i64) -> impl Iterator<Item = Session> {
    (0..10).filter_map(move |number| session(first.checked_add(jiff::Span::new().days(number * step)).ok()?))
}

fn session(day: Date) -> Option<Session> {
    let at = |time| Some(day.to_datetime(time).to_zoned(us_market::new_york().ok()?).ok()?.timestamp());
    let session = || Some(Session { opens: at(us_market::OPEN)?, closes: at(us_market::close(day))? });
    us_market::is_trading_day(day).then(session)?
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Hours {
        hours(text.parse().unwrap(), None).unwrap()
    }

    fn time(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn the_market_is_open_within_a_session() {
        for (moment, is_open) in [
            ("2026-01-15T14:29:59Z", false),
            ("2026-01-15T14:30:00Z", true),
            ("2026-01-15T20:59:59Z", true),
            ("2026-01-15T21:00:00Z", false),
            ("2026-07-15T13:30:00Z", true),
            ("2026-07-15T20:00:00Z", false),
        ] {
            assert_eq!(at(moment).is_open, is_open, "{moment}");
        }
    }

    #[test]
    fn a_closed_market_has_a_session_before_and_one_after() {
        let saturday = at("2026-11-28T15:00:00Z");
        assert_eq!((saturday.is_open, saturday.holiday), (false, None));
        assert_eq!(saturday.session.closes, time("2026-11-27T18:00:00Z"), "a half day");
        assert_eq!(saturday.next_open, time("2026-11-30T14:30:00Z"));
        let thanksgiving = at("2026-11-26T15:00:00Z");
        assert_eq!((thanksgiving.is_open, thanksgiving.holiday), (false, Some("Thanksgiving Day")));
        assert_eq!(thanksgiving.session.closes, time("2026-11-25T21:00:00Z"));
        assert_eq!(thanksgiving.next_open, time("2026-11-27T14:30:00Z"));
        let open = at("2026-11-25T15:00:00Z");
        assert_eq!(open.next_open, time("2026-11-27T14:30:00Z"), "past the holiday");
    }

    #[test]
    fn finnhubs_status_overrides_the_calendar() {
        let reported = |text: &str, is_open| hours(text.parse().unwrap(), Some(is_open)).unwrap();
        let mourning = reported("2026-01-15T15:00:00Z", false);
        assert!(!mourning.is_open);
        assert_eq!(mourning.session.closes, time("2026-01-14T21:00:00Z"), "the last session is yesterday's");
        assert_eq!(mourning.next_open, time("2026-01-16T14:30:00Z"));
        assert!(reported("2026-11-26T15:00:00Z", true).is_open);
        assert_eq!(reported("2026-01-15T15:00:00Z", true), at("2026-01-15T15:00:00Z"));
    }
}
