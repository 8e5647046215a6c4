//! Candles: their type, the choice of an interval for a symbol's quotes, and longer candles merged from shorter ones.

use jiff::civil::Date;
use serde::Serialize;

/// The fewest candles of a useful chart.
const ENOUGH: usize = 30;
/// The fewest quotes in a candle, on average. With fewer, candles are mere dashes.
const QUOTES: f64 = 2.0;

/// Prices observed within one day or bucket.
#[derive(Debug, Clone, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Candle {
    /// The candle's key: a date for 1d, epoch seconds for the others.
    pub time: CandleTime,
    /// The candle's New York date.
    pub date: Date,
    /// First price observed. In the instrument's currency.
    pub open: f64,
    /// Highest price. In the instrument's currency.
    pub high: f64,
    /// Lowest price. In the instrument's currency.
    pub low: f64,
    /// Last price observed. In the instrument's currency.
    pub close: f64,
    /// Mean of the prices observed on the candle's New York date, for intervals below a day up to the candle's end;
    /// null if unknown. In the instrument's currency.
    pub trend: Option<f64>,
    /// How many quotes it is made of.
    pub quotes: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(untagged)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(inline))]
pub enum CandleTime {
    /// 1d: the New York date.
    Date(Date),
    /// The others: when the bucket begins, in seconds since 1970-01-01T00:00:00Z.
    Seconds(#[cfg_attr(test, schemars(range(min = 0)))] i64),
}

/// Length of a candle; 1d is one New York calendar day.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub enum Interval {
    #[serde(rename = "1m")]
    Minute,
    #[serde(rename = "5m")]
    FiveMinutes,
    #[serde(rename = "15m")]
    QuarterHour,
    #[serde(rename = "1h")]
    Hour,
    #[serde(rename = "1d")]
    Day,
}

/// How many New York dates that have quotes: the latest, the latest five, or all that there are candles of (12).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub enum Range {
    #[serde(rename = "1d")]
    Day,
    #[serde(rename = "5d")]
    Week,
    #[serde(rename = "all")]
    All,
}

impl Range {
    pub const ALL: [(&str, Self); 3] = [("1d", Self::Day), ("5d", Self::Week), ("all", Self::All)];

    /// How many dates it has at most.
    pub fn dates(self) -> usize {
        match self {
            Self::Day => 1,
            Self::Week => 5,
            Self::All => 12,
        }
    }

    /// The intervals that suit it, the shortest first.
    fn suitable(self) -> &'static [Interval] {
        use Interval::{Day, FiveMinutes, Hour, Minute, QuarterHour};
        match self {
            Self::Day => &[Minute, FiveMinutes, QuarterHour, Hour],
            Self::Week => &[FiveMinutes, QuarterHour, Hour, Day],
            Self::All => &[QuarterHour, Hour, Day],
        }
    }
}

impl Interval {
    pub const ALL: [(&str, Self); 5] = [
        ("1m", Self::Minute),
        ("5m", Self::FiveMinutes),
        ("15m", Self::QuarterHour),
        ("1h", Self::Hour),
        ("1d", Self::Day),
    ];

    /// How many dates are shown if no range is requested.
    pub fn dates(self) -> usize {
        match self {
            Self::Minute => 2,
            Self::FiveMinutes => 5,
            Self::QuarterHour | Self::Hour | Self::Day => 12,
        }
    }

    pub fn seconds(self) -> Option<i64> {
        match self {
            Self::Minute => Some(60),
            Self::FiveMinutes => Some(300),
            Self::QuarterHour => Some(900),
            Self::Hour => Some(3600),
            Self::Day => None,
        }
    }
}

/// The shortest interval that suits the range and has enough quotes in each candle, judged by `candles`. If there is
/// none, the shortest with enough candles, else the shortest.
pub fn suitable(range: Range, candles: &[Candle], daily: &[Candle]) -> Interval {
    let intervals = range.suitable();
    let of = |interval: Interval| match interval.seconds() {
        Some(seconds) => merged(candles, seconds),
        None => daily.to_vec(),
    };
    let is_long = |candles: &[Candle]| candles.len() >= ENOUGH;
    #[allow(clippy::cast_precision_loss, reason = "counts of candles and quotes are small")]
    let is_full = |candles: &[Candle]| {
        let quotes: u64 = candles.iter().map(|candle| candle.quotes).sum();
        quotes as f64 >= QUOTES * candles.len() as f64
    };
    let found = intervals.iter().find(|interval| {
        let candles = of(**interval);
        is_long(&candles) && is_full(&candles)
    });
    let found = found.or_else(|| intervals.iter().find(|interval| is_long(&of(**interval))));
    found.copied().unwrap_or(intervals[0])
}

/// Whether there are enough candles to show.
pub fn is_enough(candles: &[Candle]) -> bool {
    candles.len() >= ENOUGH
}

/// Merges candles into longer ones of `seconds`, which begin at multiples of `seconds`.
pub fn merged(candles: &[Candle], seconds: i64) -> Vec<Candle> {
    let mut merged: Vec<Candle> = Vec::new();
    for candle in candles {
        let CandleTime::Seconds(time) = candle.time else { continue };
        let time = CandleTime::Seconds(time - time.rem_euclid(seconds));
        match merged.last_mut().filter(|last| last.time == time) {
            Some(last) => {
                last.high = last.high.max(candle.high);
                last.low = last.low.min(candle.low);
                last.close = candle.close;
                last.trend = candle.trend;
                last.quotes += candle.quotes;
            }
            None => merged.push(Candle { time, ..candle.clone() }),
        }
    }
    merged
}

/// The candles of the latest `count` dates.
pub fn latest_dates(candles: &[Candle], count: usize) -> Vec<Candle> {
    let mut dates: Vec<Date> = candles.iter().map(|candle| candle.date).collect();
    dates.sort_unstable();
    dates.dedup();
    let Some(first) = dates.get(dates.len().saturating_sub(count)) else { return Vec::new() };
    candles.iter().filter(|candle| candle.date >= *first).cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candles(count: i64, seconds: i64, quotes: u64) -> Vec<Candle> {
        let candle = |number| {
            #[allow(clippy::cast_precision_loss)]
            let price = 100.0 + number as f64;
            Candle {
                time: CandleTime::Seconds(1_549_895_400 + number * seconds),
                date: jiff::civil::date(2019, 2, 11),
                open: price,
                high: price + 2.0,
                low: price - 2.0,
                close: price + 1.0,
                trend: Some(price),
                quotes,
            }
        };
        (0..count).map(candle).collect()
    }

    #[test]
    fn a_longer_candle_opens_with_the_first_closes_with_the_last_and_spans_all() {
        let merged = merged(&candles(7, 300, 3), 900);
        let told: Vec<_> = merged
            .iter()
            .map(|one| (one.open, one.high, one.low, one.close, one.trend, one.quotes))
            .collect();
        assert_eq!(
            told,
            [
                (100.0, 104.0, 98.0, 103.0, Some(102.0), 9),
                (103.0, 107.0, 101.0, 106.0, Some(105.0), 9),
                (106.0, 108.0, 104.0, 107.0, Some(106.0), 3)
            ]
        );
        assert!(merged.iter().all(|one| matches!(one.time, CandleTime::Seconds(time) if time % 900 == 0)));
    }

    #[test]
    fn the_interval_is_the_shortest_that_the_quotes_fill() {
        let of = |count, quotes| suitable(Range::Day, &candles(count, 60, quotes), &[]);
        assert_eq!(of(390, 10), Interval::Minute);
        assert_eq!(of(390, 1), Interval::FiveMinutes, "a minute with one quote is a dash");
        assert_eq!(of(40, 1), Interval::Minute, "five minutes would leave 8 candles");
        assert_eq!(of(3, 10), Interval::Minute, "there is nothing better");
        assert_eq!(of(0, 0), Interval::Minute);
        assert_eq!(suitable(Range::Week, &candles(390, 300, 10), &[]), Interval::FiveMinutes);
        assert_eq!(suitable(Range::All, &candles(936, 300, 10), &[]), Interval::QuarterHour);
    }
}
