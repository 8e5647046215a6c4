use jiff::{Timestamp, civil::Date, tz::TimeZone};

/// The UTC day of `seconds` since 1970.
pub(crate) fn utc_date(seconds: i64) -> Date {
    let at = Timestamp::from_second(seconds).unwrap_or(Timestamp::MAX);
    at.to_zoned(TimeZone::UTC).date()
}
