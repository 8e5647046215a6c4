//! When the US exchanges trade, according to the rules of the New York Stock Exchange.
//!
//! Regular trading is from 09:30 to 16:00 in New York, Monday to Friday, to 13:00 on half days. Holidays and half days
//! are those of NYSE Rule 7.2 and of <https://www.nyse.com/markets/hours-calendars>, from 2022 on, when Juneteenth was
//! added. No rule covers days on which it stays closed for another reason, such as a day of mourning. If Finnhub's
//! `/stock/market-status` is available, use its answer instead.

use jiff::{
    Timestamp, ToSpan,
    civil::{Date, Time, Weekday, time},
    tz::TimeZone,
};

/// When regular trading begins, in New York.
pub const OPEN: Time = time(9, 30, 0, 0);
/// When regular trading ends, in New York.
pub const CLOSE: Time = time(16, 0, 0, 0);
/// When trading ends on half days, in New York.
pub const EARLY_CLOSE: Time = time(13, 0, 0, 0);

/// Whether the exchanges are open at a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Market {
    /// They are open.
    Open {
        /// When they close.
        closes: Timestamp,
    },
    /// They are closed.
    Closed {
        /// The holiday in New York on that day, if there is one.
        holiday: Option<&'static str>,
        /// When they open next.
        opens: Timestamp,
    },
}

/// The zone of the exchanges' hours.
///
/// # Errors
/// Never: the zone database is part of this crate.
pub fn new_york() -> Result<TimeZone, jiff::Error> {
    TimeZone::get("America/New_York")
}

/// Whether the exchanges trade at `now`.
///
/// # Errors
/// If the time is at the end of the range that jiff supports.
pub fn market_at(now: Timestamp) -> Result<Market, jiff::Error> {
    let there = now.to_zoned(new_york()?);
    let (day, time) = (there.date(), there.time());
    if is_trading_day(day) && time < OPEN {
        return Ok(Market::Closed { holiday: None, opens: in_new_york(day, OPEN)? });
    }
    if is_trading_day(day) && time < close(day) {
        return Ok(Market::Open { closes: in_new_york(day, close(day))? });
    }
    Ok(Market::Closed { holiday: holiday(day), opens: in_new_york(next_trading_day(day)?, OPEN)? })
}

fn in_new_york(day: Date, time: Time) -> Result<Timestamp, jiff::Error> {
    Ok(day.to_datetime(time).to_zoned(new_york()?)?.timestamp())
}

/// When the exchanges open on the first trading day after the day of `now`. For days on which they stay closed
/// unexpectedly.
///
/// # Errors
/// If the time is at the end of the range that jiff supports.
pub fn opens_after_today(now: Timestamp) -> Result<Timestamp, jiff::Error> {
    in_new_york(next_trading_day(now.to_zoned(new_york()?).date())?, OPEN)
}

fn next_trading_day(day: Date) -> Result<Date, jiff::Error> {
    let mut next = day.tomorrow()?;
    while !is_trading_day(next) {
        next = next.tomorrow()?;
    }
    Ok(next)
}

/// Whether the exchanges trade on the day.
#[must_use]
pub fn is_trading_day(day: Date) -> bool {
    !is_weekend(day) && holiday(day).is_none()
}

/// When trading ends on a trading day, in New York.
#[must_use]
pub fn close(day: Date) -> Time {
    let is_half = match (day.month(), day.day()) {
        // The day before a holiday that is on Tuesday to Friday.
        (7, 3) | (12, 24) => day.weekday().to_monday_one_offset() <= 4,
        // The day after Thanksgiving Day.
        (11, _) => {
            day.weekday() == Weekday::Friday
                && day.yesterday().is_ok_and(|day| is_nth(day, Weekday::Thursday, 4))
        }
        _ => false,
    };
    if is_half { EARLY_CLOSE } else { CLOSE }
}

/// The holiday for which the exchanges stay closed on the day. A holiday on a Saturday is observed on the Friday
/// before, a holiday on a Sunday on the Monday after. New Year's Day on a Saturday is not observed.
#[must_use]
pub fn holiday(day: Date) -> Option<&'static str> {
    let observed = |month: i8, date: i8| {
        let of = |day: Date| day.month() == month && day.day() == date;
        let near = |day: Result<Date, _>| day.is_ok_and(of);
        match day.weekday() {
            Weekday::Saturday | Weekday::Sunday => false,
            Weekday::Monday => of(day) || near(day.yesterday()),
            // New Year's Eve is the year's last trading day.
            Weekday::Friday => of(day) || (month != 1 && near(day.tomorrow())),
            _ => of(day),
        }
    };
    let monday = |nth| is_nth(day, Weekday::Monday, nth);
    match day.month() {
        _ if observed(1, 1) => Some("New Year's Day"),
        1 if monday(3) => Some("Martin Luther King, Jr. Day"),
        2 if monday(3) => Some("Washington's Birthday"),
        5 if monday(-1) => Some("Memorial Day"),
        6 if observed(6, 19) && day.year() >= 2022 => Some("Juneteenth"),
        7 if observed(7, 4) => Some("Independence Day"),
        9 if monday(1) => Some("Labor Day"),
        11 if is_nth(day, Weekday::Thursday, 4) => Some("Thanksgiving Day"),
        12 if observed(12, 25) => Some("Christmas Day"),
        3 | 4 if is_good_friday(day) => Some("Good Friday"),
        _ => None,
    }
}

fn is_weekend(day: Date) -> bool {
    matches!(day.weekday(), Weekday::Saturday | Weekday::Sunday)
}

fn is_nth(day: Date, weekday: Weekday, nth: i8) -> bool {
    day.nth_weekday_of_month(nth, weekday).is_ok_and(|found| found == day)
}

/// Two days before Easter Sunday, by the method in J. Meeus, "Astronomical Algorithms", chapter 8.
#[allow(clippy::many_single_char_names, reason = "the method's own names")]
fn is_good_friday(day: Date) -> bool {
    let year = i32::from(day.year());
    let (a, b, c) = (year % 19, year / 100, year % 100);
    let g = (8 * b + 13) / 25;
    let h = (19 * a + b - b / 4 - g + 15) % 30;
    let l = (32 + 2 * (b % 4) + 2 * (c / 4) - h - c % 4) % 7;
    let m = (a + 11 * h + 19 * l) / 433;
    let n = h + l - 7 * m;
    let month = (n + 90) / 25;
    let date = (n + 33 * month + 19) % 32;
    let easter = Date::new(day.year(), i8::try_from(month).unwrap_or(1), i8::try_from(date).unwrap_or(1));
    easter.and_then(|easter| easter.checked_sub(2.days())).is_ok_and(|friday| friday == day)
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;
    use proptest::prelude::*;

    use super::*;

    /// Holidays and half days as the exchange published them.
    const PUBLISHED: [(i16, &str, &str); 7] = [
        (2022, "01-17 02-21 04-15 05-30 06-20 07-04 09-05 11-24 12-26", "11-25"),
        (2023, "01-02 01-16 02-20 04-07 05-29 06-19 07-04 09-04 11-23 12-25", "07-03 11-24"),
        (2024, "01-01 01-15 02-19 03-29 05-27 06-19 07-04 09-02 11-28 12-25", "07-03 11-29 12-24"),
        (2025, "01-01 01-09 01-20 02-17 04-18 05-26 06-19 07-04 09-01 11-27 12-25", "07-03 11-28 12-24"),
        (2026, "01-01 01-19 02-16 04-03 05-25 06-19 07-03 09-07 11-26 12-25", "11-27 12-24"),
        (2027, "01-01 01-18 02-15 03-26 05-31 06-18 07-05 09-06 11-25 12-24", "11-26"),
        (2028, "01-17 02-21 04-14 05-29 06-19 07-04 09-04 11-23 12-25", "07-03 11-24"),
    ];

    fn days(year: i16) -> impl Iterator<Item = Date> {
        date(year, 1, 1).series(1.day()).take_while(move |day| day.year() == year)
    }

    #[test]
    fn the_days_are_those_that_the_exchange_published() {
        // A day of mourning for a president, which follows no rule.
        let mourning = date(2025, 1, 9);
        for (year, holidays, half_days) in PUBLISHED {
            let listed = |is: fn(Date) -> bool| {
                let listed = days(year).filter(|day| !is_weekend(*day) && *day != mourning && is(*day));
                listed.map(|day| day.strftime("%m-%d").to_string()).collect::<Vec<_>>().join(" ")
            };
            assert_eq!(listed(|day| holiday(day).is_some()), holidays.replace("01-09 ", ""), "{year}");
            assert_eq!(
                listed(|day| holiday(day).is_none() && close(day) == EARLY_CLOSE),
                half_days,
                "{year}"
            );
        }
    }

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn a_closed_market_names_the_holiday_and_the_next_opening() {
        for (now, holiday, opens) in [
            // Thanksgiving Day: the next day is a half day.
            ("2026-11-26T12:00:00-05:00", Some("Thanksgiving Day"), "2026-11-27T09:30:00-05:00"),
            // Saturday before Monday, and the night before Good Friday.
            ("2026-11-28T12:00:00-05:00", None, "2026-11-30T09:30:00-05:00"),
            ("2026-04-02T16:00:00-04:00", None, "2026-04-06T09:30:00-04:00"),
            ("2026-04-03T10:00:00-04:00", Some("Good Friday"), "2026-04-06T09:30:00-04:00"),
            // Before the opening, and after an early close.
            ("2026-11-25T09:29:59-05:00", None, "2026-11-25T09:30:00-05:00"),
            ("2026-12-24T13:00:00-05:00", None, "2026-12-28T09:30:00-05:00"),
            // Over the change to summer time.
            ("2026-03-07T12:00:00-05:00", None, "2026-03-09T09:30:00-04:00"),
        ] {
            assert_eq!(market_at(at(now)).unwrap(), Market::Closed { holiday, opens: at(opens) }, "{now}");
        }
    }

    #[test]
    fn an_open_market_names_its_close() {
        for (now, closes) in [
            ("2026-11-25T09:30:00-05:00", "2026-11-25T16:00:00-05:00"),
            ("2026-11-25T15:59:59-05:00", "2026-11-25T16:00:00-05:00"),
            ("2026-11-27T12:59:59-05:00", "2026-11-27T13:00:00-05:00"),
        ] {
            assert_eq!(market_at(at(now)).unwrap(), Market::Open { closes: at(closes) }, "{now}");
        }
    }

    proptest! {
        #[test]
        fn the_next_opening_is_the_first_moment_of_an_open_market(second in 1_640_995_200_i64..2_240_000_000) {
            let now = Timestamp::from_second(second).unwrap();
            if let Market::Closed { opens, .. } = market_at(now).unwrap() {
                prop_assert!(opens > now);
                prop_assert!(opens.duration_since(now).as_hours() < 24 * 5);
                let is_open = matches!(market_at(opens).unwrap(), Market::Open { .. });
                prop_assert!(is_open);
                let before = market_at(opens - 1.second()).unwrap();
                let is_same = matches!(before, Market::Closed { opens: same, .. } if same == opens);
                prop_assert!(is_same);
            }
        }
    }
}
