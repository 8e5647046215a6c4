//! The US market's state, in words.

use jiff::{Timestamp, Zoned, tz::TimeZone};
use serve_dashboard::flow::MarketStatus;
use us_market::Market;

/// The texts about a closed market.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Closed {
    /// `US market closed (Thanksgiving Day)`
    pub why: String,
    /// `until Fri Nov 27 09:30 New York (15:30 here)`
    pub until: String,
    /// Both in one line: `US market closed until Fri 09:30 New York (15:30 here)`
    pub short: String,
}

/// The texts about the market; `None` if it is open.
///
/// Finnhub's status takes precedence over the calendar: it also knows days of closing that no rule covers.
pub(crate) fn closed(status: &MarketStatus, now: Timestamp) -> Option<Closed> {
    closed_at(status, now, &TimeZone::system())
}

fn closed_at(status: &MarketStatus, now: Timestamp, here: &TimeZone) -> Option<Closed> {
    if status.is_open {
        return None;
    }
    let (holiday, opens) = match us_market::market_at(now) {
        Ok(Market::Closed { holiday, opens }) => (holiday, Some(opens)),
        Ok(Market::Open { .. }) => (None, us_market::opens_after_today(now).ok()),
        Err(_) => (None, None),
    };
    let told = status.holiday.as_deref().filter(|name| !name.is_empty());
    let is_weekend =
        us_market::new_york().is_ok_and(|zone| now.to_zoned(zone).weekday().to_monday_one_offset() > 5);
    let reason = told.or(holiday).or(is_weekend.then_some("weekend"));
    let reason = reason.map_or_else(String::new, |reason| format!(" ({})", one_line(reason)));
    let until = |opens: Option<Timestamp>, day: &str| {
        opens.and_then(|opens| opening(opens, here, day)).map_or_else(String::new, |at| format!("until {at}"))
    };
    let short = until(opens, "%a");
    Some(Closed {
        why: format!("US market closed{reason}"),
        until: until(opens, "%a %b %-d"),
        short: format!("US market closed {short}").trim_end().to_owned(),
    })
}

fn opening(opens: Timestamp, here: &TimeZone, day: &str) -> Option<String> {
    let there = opens.to_zoned(us_market::new_york().ok()?);
    let here = opens.to_zoned(here.clone());
    let text = there.strftime(&format!("{day} %H:%M New York")).to_string();
    Some(if there.datetime() == here.datetime() {
        text
    } else {
        format!("{text} ({} here)", local(&there, &here))
    })
}

fn local(there: &Zoned, here: &Zoned) -> String {
    let format = if there.date() == here.date() { "%H:%M" } else { "%a %H:%M" };
    here.strftime(format).to_string()
}

fn one_line(text: &str) -> String {
    text.chars().filter(|character| !character.is_control()).take(40).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn closed_in(zone: &str, now: &str, holiday: Option<&str>) -> String {
        let status = MarketStatus { is_open: false, holiday: holiday.map(str::to_owned) };
        let closed = closed_at(&status, now.parse().unwrap(), &TimeZone::get(zone).unwrap()).unwrap();
        assert!(
            closed.short.len() <= 61 && closed.short.starts_with("US market closed until "),
            "{closed:?}"
        );
        format!("{} {}", closed.why, closed.until)
    }

    #[test]
    fn a_closed_market_is_said_with_its_reason_and_the_next_opening_there_and_here() {
        for (zone, now, holiday, said) in [
            (
                "Europe/Berlin",
                "2026-11-26T12:00:00-05:00",
                None,
                "US market closed (Thanksgiving Day) until Fri Nov 27 09:30 New York (15:30 here)",
            ),
            (
                "America/New_York",
                "2026-11-28T12:00:00-05:00",
                None,
                "US market closed (weekend) until Mon Nov 30 09:30 New York",
            ),
            (
                "Asia/Tokyo",
                "2026-11-24T22:00:00-05:00",
                None,
                "US market closed until Wed Nov 25 09:30 New York (23:30 here)",
            ),
            (
                "Pacific/Auckland",
                "2026-12-24T14:00:00-05:00",
                Some("Christmas Eve"),
                "US market closed (Christmas Eve) until Mon Dec 28 09:30 New York (Tue 03:30 here)",
            ),
            // Closed without a rule, in the middle of a session.
            (
                "America/New_York",
                "2025-01-09T12:00:00-05:00",
                Some("Mourning for President Carter"),
                "US market closed (Mourning for President Carter) until Fri Jan 10 09:30 New York",
            ),
        ] {
            assert_eq!(closed_in(zone, now, holiday), said);
        }
    }
}
