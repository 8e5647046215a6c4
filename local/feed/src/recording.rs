//! The recorded prices, and Finnhub's answer about them at any second.

use std::{collections::BTreeMap, str::FromStr};

use jiff::{
    SignedDuration, ToSpan,
    civil::{Date, DateTime},
    tz::TimeZone,
};
use serde::Serialize;

use crate::Decimal;

/// Minutes of a regular session, 09:30 to 16:00 in New York.
pub const SESSION_MINUTES: u32 = 390;
/// Seconds of a regular session.
pub const SESSION_SECONDS: u64 = SESSION_MINUTES as u64 * 60;

const MINUTES: [(&str, &str); 5] = [
    ("AAPL", include_str!("../data/AAPL.csv")),
    ("AMZN", include_str!("../data/AMZN.csv")),
    ("JPM", include_str!("../data/JPM.csv")),
    ("MSFT", include_str!("../data/MSFT.csv")),
    ("TSLA", include_str!("../data/TSLA.csv")),
];
/// Later days do not exist.
const LAST_PASS: u64 = 400_000;
const DAILY: &str = include_str!("../data/daily.csv");

/// The body of `/quote`. Prices are dollars.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct QuoteBody {
    /// The current price.
    pub c: Decimal,
    /// The change since the previous close; `null` for an unknown symbol.
    pub d: Option<Decimal>,
    /// The change since the previous close in percent; `null` for an unknown symbol.
    pub dp: Option<Decimal>,
    /// The day's high so far.
    pub h: Decimal,
    /// The day's low so far.
    pub l: Decimal,
    /// The day's open.
    pub o: Decimal,
    /// The previous day's official close.
    pub pc: Decimal,
    /// The recording's clock, in seconds since the Unix epoch.
    pub t: i64,
}

/// A day's or a minute's prices in dollars.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Candle {
    /// The first price.
    pub open: Decimal,
    /// The highest price.
    pub high: Decimal,
    /// The lowest price.
    pub low: Decimal,
    /// The last price.
    pub close: Decimal,
}

impl Candle {
    /// A minute has only four known prices. Each is used for a quarter of the minute, in the order that the minute's
    /// direction makes likely. So every price served was really traded.
    fn path(&self) -> [Decimal; 4] {
        if self.close >= self.open {
            [self.open, self.low, self.high, self.close]
        } else {
            [self.open, self.high, self.low, self.close]
        }
    }

    const fn flat(price: Decimal) -> Self {
        Self { open: price, high: price, low: price, close: price }
    }
}

struct Session {
    previous_close: Decimal,
    /// The official close.
    close: Decimal,
    /// One for each minute of the session.
    bars: Vec<Candle>,
}

/// Five sessions of one-minute prices.
///
/// A *position* is a count of recorded trading seconds from the first session's 09:30:00. Nights and weekends are not
/// part of it. After the end, the same prices are repeated, a week later in each pass. The first previous close of a
/// pass is the last close of the pass before.
pub struct Recording {
    days: Vec<Date>,
    new_york: TimeZone,
    sessions: BTreeMap<&'static str, Vec<Session>>,
}

/// The recording in this crate is damaged.
#[derive(Debug, thiserror::Error)]
#[error("recorded prices of {file}: {problem}")]
pub struct DataError {
    file: String,
    problem: String,
}

impl Recording {
    /// Reads the recording in this crate.
    ///
    /// # Errors
    /// If its data is damaged, which only a change of the files can cause.
    pub fn embedded() -> Result<Self, DataError> {
        Self::parse(&MINUTES, DAILY)
    }

    fn parse(minutes: &[(&'static str, &str)], daily: &str) -> Result<Self, DataError> {
        let closes = parse_daily(daily).map_err(in_file("daily"))?;
        let mut parsed = BTreeMap::new();
        for (symbol, text) in minutes {
            parsed.insert(*symbol, parse_minutes(text).map_err(in_file(symbol))?);
        }

        let mut days: Vec<Date> = parsed.values().flat_map(BTreeMap::keys).copied().collect();
        days.sort_unstable();
        days.dedup();
        let new_york =
            TimeZone::get("America/New_York").map_err(|error| in_file("daily")(error.to_string()))?;
        let mut sessions = BTreeMap::new();
        for (symbol, mut by_day) in parsed {
            let of_symbol = days
                .iter()
                .map(|&day| {
                    let bars = by_day.remove(&day).ok_or_else(|| format!("no minutes of {day}"))?;
                    let (_, previous_close) = (closes
                        .range((symbol.to_owned(), Date::MIN)..(symbol.to_owned(), day)))
                    .next_back()
                    .ok_or_else(|| format!("no close before {day}"))?;
                    let close =
                        closes.get(&(symbol.to_owned(), day)).ok_or_else(|| format!("no close of {day}"))?;
                    Ok(Session { previous_close: *previous_close, close: *close, bars: fill(&bars)? })
                })
                .collect::<Result<Vec<_>, String>>()
                .map_err(in_file(symbol))?;
            sessions.insert(symbol, of_symbol);
        }
        Ok(Self { days, new_york, sessions })
    }

    /// The recorded symbols in alphabetical order.
    pub fn symbols(&self) -> impl Iterator<Item = &'static str> {
        self.sessions.keys().copied()
    }

    /// The recorded days, oldest first.
    #[must_use]
    pub fn days(&self) -> &[Date] {
        &self.days
    }

    /// The length of one pass, in seconds.
    #[must_use]
    pub fn seconds(&self) -> u64 {
        SESSION_SECONDS * self.days.len() as u64
    }

    /// The recording's clock at `position` (seconds), in seconds since the Unix epoch.
    #[must_use]
    pub fn clock_at(&self, position: u64) -> i64 {
        let Place { day, second, pass } = self.locate(position);
        let open = self.date(day, pass).at(9, 30, 0, 0).to_zoned(self.new_york.clone());
        open.map_or(i64::MAX, |open| open.timestamp().as_second().saturating_add_unsigned(second))
    }

    /// The New York day at `position` (seconds).
    #[must_use]
    pub fn day_at(&self, position: u64) -> Date {
        let Place { day, pass, .. } = self.locate(position);
        self.date(day, pass)
    }

    /// A recorded day, `pass` weeks later.
    fn date(&self, day: usize, pass: i64) -> Date {
        self.days[day].checked_add(pass.weeks()).unwrap_or(Date::MAX)
    }

    /// The answer of `/quote` at `position` (seconds). For an unknown symbol all numbers are 0, as in Finnhub's answer.
    #[must_use]
    pub fn quote_at(&self, symbol: &str, position: u64) -> QuoteBody {
        let Some(sessions) = self.sessions.get(symbol) else {
            return QuoteBody::default();
        };
        let Place { day, second, pass } = self.locate(position);
        let session = &sessions[day];
        let previous_close = match sessions.last() {
            Some(last) if day == 0 && pass > 0 => last.close,
            _ => session.previous_close,
        };
        // Both are in range: `locate` keeps the second within the session, and `fill` creates a bar for each of its
        // minutes.
        let minute = usize::try_from(second / 60).unwrap_or_default();
        let quarter = usize::try_from(second % 60 / 15).unwrap_or_default();

        let path = session.bars[minute].path();
        let current = path[quarter];
        let mut high = current;
        let mut low = current;
        for price in
            path[..quarter].iter().chain(session.bars[..minute].iter().flat_map(|bar| [&bar.high, &bar.low]))
        {
            high = high.max(*price);
            low = low.min(*price);
        }
        let change = current.minus(previous_close);
        QuoteBody {
            c: current,
            d: Some(change),
            dp: change.percent_of(previous_close),
            h: high,
            l: low,
            o: session.bars[0].open,
            pc: previous_close,
            t: self.clock_at(position),
        }
    }

    /// The day's candle, computed from its minutes; `None` for a symbol or a day that is not recorded.
    #[must_use]
    pub fn daily(&self, symbol: &str, date: Date) -> Option<Candle> {
        let day = self.days.binary_search(&date).ok()?;
        let bars = &self.sessions.get(symbol)?[day].bars;
        Some(Candle {
            open: bars.first()?.open,
            high: bars.iter().map(|bar| bar.high).max()?,
            low: bars.iter().map(|bar| bar.low).min()?,
            close: bars.last()?.close,
        })
    }

    fn locate(&self, position: u64) -> Place {
        let (pass, position) = (position / self.seconds(), position % self.seconds());
        Place {
            pass: i64::try_from(pass.min(LAST_PASS)).unwrap_or_default(),
            day: usize::try_from(position / SESSION_SECONDS).unwrap_or_default(),
            second: position % SESSION_SECONDS,
        }
    }
}

/// A position's pass, day and second.
struct Place {
    /// How often the recording has ended before.
    pass: i64,
    /// The index of the day.
    day: usize,
    /// The seconds since its session opened.
    second: u64,
}

fn in_file(file: &str) -> impl Fn(String) -> DataError {
    move |problem| DataError { file: file.to_owned(), problem }
}

fn parse<T: FromStr>(field: &str) -> Result<T, String>
where
    T::Err: std::fmt::Display,
{
    field.parse().map_err(|error| format!("{field:?}: {error}"))
}

fn parse_candle(fields: &[&str]) -> Result<Candle, String> {
    let &[open, high, low, close] = fields else {
        return Err(format!("not four prices: {fields:?}"));
    };
    Ok(Candle { open: parse(open)?, high: parse(high)?, low: parse(low)?, close: parse(close)? })
}

fn parse_daily(text: &str) -> Result<BTreeMap<(String, Date), Decimal>, String> {
    text.lines()
        .skip(1)
        .map(|line| {
            let fields: Vec<_> = line.split(',').collect();
            let [symbol, date, prices @ ..] = fields.as_slice() else {
                return Err(format!("not a daily bar: {line:?}"));
            };
            Ok(((String::from(*symbol), parse(date)?), parse_candle(prices)?.close))
        })
        .collect()
}

/// The bars of each day by their minute. Minute 0 starts at 09:30.
fn parse_minutes(text: &str) -> Result<BTreeMap<Date, BTreeMap<u32, Candle>>, String> {
    let mut days: BTreeMap<Date, BTreeMap<u32, Candle>> = BTreeMap::new();
    for line in text.lines().skip(1) {
        let fields: Vec<_> = line.split(',').collect();
        let [end, prices @ ..] = fields.as_slice() else {
            return Err(format!("not a bar: {line:?}"));
        };
        let end: DateTime = parse(end)?;
        let since_open: SignedDuration = end.date().at(9, 30, 0, 0).duration_until(end);
        let minute = u32::try_from(since_open.as_mins() - 1).ok().filter(|minute| *minute < SESSION_MINUTES);
        let minute = minute.ok_or_else(|| format!("outside the session: {line:?}"))?;
        days.entry(end.date()).or_default().insert(minute, parse_candle(prices)?);
    }
    Ok(days)
}

/// Fills a minute without a trade with the last close.
fn fill(bars: &BTreeMap<u32, Candle>) -> Result<Vec<Candle>, String> {
    let mut last = bars.get(&0).ok_or("a session has no first minute")?.open;
    Ok((0..SESSION_MINUTES)
        .map(|minute| {
            let bar = bars.get(&minute).copied().unwrap_or(Candle::flat(last));
            last = bar.close;
            bar
        })
        .collect())
}

#[cfg(test)]
mod tests {
    use std::sync::LazyLock;

    use jiff::civil::date;
    use proptest::prelude::*;

    use super::*;

    static RECORDING: LazyLock<Recording> = LazyLock::new(|| Recording::embedded().unwrap());

    fn decimal(text: &str) -> Decimal {
        text.parse().unwrap()
    }

    fn prices(recording: &Recording, symbol: &str, from: u64) -> Vec<String> {
        (0..4).map(|quarter| recording.quote_at(symbol, from + 15 * quarter).c.to_string()).collect()
    }

    #[test]
    fn a_minute_goes_through_its_four_prices_in_the_direction_it_took() {
        let recording = &*RECORDING;
        // 171.14, 171.2, 170.7, 170.97: a falling minute, and 101.8, 101.87, 101.75, 101.85: a rising one.
        assert_eq!(prices(recording, "AAPL", 0), ["171.14", "171.2", "170.7", "170.97"]);
        assert_eq!(prices(recording, "JPM", 0), ["101.8", "101.75", "101.87", "101.85"]);
        assert_eq!(recording.quote_at("AAPL", 14).c, recording.quote_at("AAPL", 0).c);
    }

    #[test]
    fn high_and_low_run_with_the_day_and_not_ahead_of_it() {
        let recording = &*RECORDING;
        let so_far = |position| {
            let quote = recording.quote_at("AAPL", position);
            [quote.h.to_string(), quote.l.to_string()]
        };
        assert_eq!(so_far(0), ["171.14", "171.14"]);
        assert_eq!(so_far(15), ["171.2", "171.14"]);
        assert_eq!(so_far(30), ["171.2", "170.7"]);
        assert_eq!(so_far(60), ["171.2", "170.7"]);
    }

    #[test]
    fn the_first_quote_is_finnhubs_json() {
        let quote = RECORDING.quote_at("AAPL", 0);
        assert_eq!(
            serde_json::to_string(&quote).unwrap(),
            r#"{"c":171.14,"d":0.73,"dp":0.4284,"h":171.14,"l":171.14,"o":171.14,"pc":170.41,"t":1549895400}"#
        );
    }

    #[test]
    fn an_unknown_symbol_is_all_zeros() {
        let quote = RECORDING.quote_at("NOPE", 77);
        assert_eq!(
            serde_json::to_string(&quote).unwrap(),
            r#"{"c":0,"d":null,"dp":null,"h":0,"l":0,"o":0,"pc":0,"t":0}"#
        );
    }

    #[test]
    fn a_day_starts_again_with_the_previous_days_official_close() {
        let recording = &*RECORDING;
        let last = recording.quote_at("AAPL", SESSION_SECONDS - 1);
        let first = recording.quote_at("AAPL", SESSION_SECONDS);
        // From 15:59:59 to 09:30:00 of the next day.
        assert_eq!(first.t - last.t, (17 * 60 + 30) * 60 + 1);
        assert_eq!((last.c, first.pc), (decimal("169.45"), decimal("169.43")));
        assert_eq!([first.c, first.h, first.l], [first.o; 3]);
        assert_eq!(recording.day_at(SESSION_SECONDS - 1), date(2019, 2, 11));
        assert_eq!(recording.day_at(SESSION_SECONDS), date(2019, 2, 12));
    }

    #[test]
    fn each_pass_is_a_week_later_and_begins_at_the_last_close() {
        let recording = &RECORDING;
        let pass = recording.seconds();
        assert_eq!(pass, 5 * 390 * 60);
        assert_eq!(recording.clock_at(pass - 1), 1_550_264_399);
        for symbol in recording.symbols() {
            let (friday, monday) =
                (recording.quote_at(symbol, pass - 1), recording.quote_at(symbol, pass + 99));
            let first = recording.quote_at(symbol, 99);
            assert_eq!((monday.c, monday.h, monday.l, monday.o), (first.c, first.h, first.l, first.o));
            assert_eq!(monday.t, first.t + 7 * 86_400);
            // Both are of the same Friday: the last trade, and the official close that followed.
            let gap = (monday.pc.to_f64() / friday.c.to_f64() - 1.0).abs();
            assert!(gap < 0.005, "{symbol}: {} after {}", monday.pc, friday.c);
            assert_eq!(monday.d, Some(monday.c.minus(monday.pc)));
        }
        // 09:30 in New York is an hour earlier in summer.
        assert_eq!(recording.clock_at(4 * pass) - recording.clock_at(0), 4 * 7 * 86_400 - 3600);
        assert_eq!(recording.day_at(4 * pass), date(2019, 3, 11));
        assert!(recording.clock_at(u64::MAX) > 0);
    }

    #[test]
    fn the_last_second_of_a_day_has_seen_all_of_it() {
        let recording = &*RECORDING;
        for symbol in recording.symbols() {
            for (day, position) in recording.days().iter().zip((SESSION_SECONDS - 1..).step_by(390 * 60)) {
                let (quote, candle) =
                    (recording.quote_at(symbol, position), recording.daily(symbol, *day).unwrap());
                let seen = Candle { open: quote.o, high: quote.h, low: quote.l, close: quote.c };
                assert_eq!(seen, candle, "{symbol} {day}");
            }
        }
    }

    #[test]
    fn the_minutes_agree_with_the_independent_daily_bars() {
        let recording = &*RECORDING;
        let near = |ours: Decimal, theirs: Decimal| (ours.to_f64() / theirs.to_f64() - 1.0).abs() <= 0.001;
        let mut compared = 0;
        for line in DAILY.lines().skip(1) {
            let fields: Vec<_> = line.split(',').collect();
            let Some(ours) = recording.daily(fields[0], fields[1].parse().unwrap()) else { continue };
            let theirs = parse_candle(&fields[2..]).unwrap();
            assert!(near(ours.high, theirs.high) && near(ours.low, theirs.low), "{line}: {ours:?}");
            compared += 1;
        }
        assert_eq!(compared, 25);
    }

    #[test]
    fn a_minute_without_a_trade_stands_at_the_last_close() {
        let recording = &*RECORDING;
        let day = &parse_minutes(MINUTES[0].1).unwrap()[&date(2019, 2, 14)];
        let missing = (0..SESSION_MINUTES).find(|minute| !day.contains_key(minute)).unwrap();
        let close = day[&(missing - 1)].close.to_string();
        assert_eq!(prices(recording, "AAPL", 3 * SESSION_SECONDS + u64::from(missing) * 60), vec![close; 4]);
    }

    #[test]
    fn damaged_data_is_named() {
        let broken = [("AAPL", "end,open,high,low,close\n2019-02-11T09:31,1,2,x,1\n")];
        let error = Recording::parse(&broken, DAILY).err().unwrap();
        assert!(error.to_string().starts_with(r#"recorded prices of AAPL: "x""#), "{error}");
    }

    proptest! {
        #[test]
        fn every_quote_is_consistent(symbol in 0_usize..5, position in 0_u64..5 * SESSION_SECONDS) {
            let recording = &*RECORDING;
            let symbol = recording.symbols().nth(symbol).unwrap();
            let quote = recording.quote_at(symbol, position);
            let day = recording.daily(symbol, recording.day_at(position)).unwrap();
            prop_assert!(day.low <= quote.l && quote.l <= quote.c && quote.c <= quote.h && quote.h <= day.high);
            prop_assert!(quote.l <= quote.o && quote.o <= quote.h);
            prop_assert_eq!(quote.d, Some(quote.c.minus(quote.pc)));
            prop_assert_eq!(quote.t, recording.clock_at(position));
        }

        #[test]
        fn time_never_goes_back(a in 0_u64..500 * SESSION_SECONDS, b in 0_u64..500 * SESSION_SECONDS) {
            let recording = &*RECORDING;
            prop_assert_eq!(a.cmp(&b), recording.clock_at(a).cmp(&recording.clock_at(b)));
        }
    }
}
