//! The symbols that are polled, and how often.

use std::{collections::HashSet, time::Duration};

use anyhow::{Context, bail};
use feed::recording::Recording;
use quotes::Symbol;

use crate::base::{names, options::RunOptions};

/// Finnhub's limit for a free key. <https://finnhub.io/docs/api/rate-limit>
const RATE_LIMIT_PER_MINUTE: u32 = 60;
const VARIABLE: &str = "RATE_LIMIT_PER_MINUTE";

/// The symbols of a run, and how many requests a minute are allowed.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Polling {
    pub symbols: Vec<String>,
    /// Requested symbols that the recording does not have.
    pub unknown: Vec<String>,
    pub rate_limit_per_minute: u32,
    interval: Duration,
}

impl Polling {
    /// Reads the options and `RATE_LIMIT_PER_MINUTE`. The recording has no limit.
    ///
    /// # Errors
    /// If the recording has none of the symbols, or if the limit does not allow one request a poll.
    pub(crate) fn read(options: &RunOptions, is_recorded: bool) -> anyhow::Result<Self> {
        let limit = match std::env::var(VARIABLE).ok().filter(|limit| !limit.is_empty()) {
            Some(limit) => {
                let limit = limit.trim().parse().ok().filter(|limit| *limit > 0);
                Some(limit.with_context(|| format!("{VARIABLE} must be a number of requests, 1 or more"))?)
            }
            None => None,
        };
        Self::new(&options.symbols, options.interval, limit, is_recorded)
    }

    fn new(
        symbols: &[Symbol],
        interval: Duration,
        limit: Option<u32>,
        is_recorded: bool,
    ) -> anyhow::Result<Self> {
        let mut named = HashSet::new();
        let mut symbols: Vec<String> = symbols.iter().map(ToString::to_string).collect();
        symbols.retain(|symbol| named.insert(symbol.clone()));
        let mut unknown = Vec::new();
        if is_recorded {
            let recording = Recording::embedded()?;
            let recorded: Vec<&str> = recording.symbols().collect();
            if symbols.is_empty() {
                symbols = recorded.iter().map(ToString::to_string).collect();
            }
            (symbols, unknown) = symbols.into_iter().partition(|symbol| recorded.contains(&symbol.as_str()));
            if symbols.is_empty() {
                bail!("the recording does not have {}; it has {}", unknown.join(", "), recorded.join(", "));
            }
        } else if symbols.is_empty() {
            symbols = names::LIVE_SYMBOLS.map(str::to_owned).to_vec();
        }
        let mut polling = Self { symbols, unknown, rate_limit_per_minute: RATE_LIMIT_PER_MINUTE, interval };
        if let Some(limit) = limit {
            polling.rate_limit_per_minute = limit;
        } else if is_recorded {
            // Enough for every poll, one further poll, and the market's status.
            let requests = (u64::from(polling.polls()) + 1) * polling.symbols.len() as u64 + 10;
            let requests = u32::try_from(requests).unwrap_or(u32::MAX);
            polling.rate_limit_per_minute = requests.max(RATE_LIMIT_PER_MINUTE);
        }
        if polling.symbols_a_poll() == 0 {
            bail!(
                "--interval {} is {} polls a minute, too many for {} requests a minute: raise --interval, \
                 or set {VARIABLE} to the key's limit",
                humantime::format_duration(interval),
                polling.polls(),
                polling.rate_limit_per_minute
            );
        }
        Ok(polling)
    }

    /// Whether all polled symbols trade only while the US exchanges do.
    pub(crate) fn is_us_only(&self) -> bool {
        self.symbols.iter().all(|symbol| !symbol.contains(':'))
    }

    fn polls(&self) -> u32 {
        u32::try_from(60_000 / self.interval.as_millis().max(1)).unwrap_or(u32::MAX).max(1)
    }

    /// Divides the limit as fetch-quotes does: one request a minute is for the market's status.
    fn symbols_a_poll(&self) -> usize {
        (self.rate_limit_per_minute.saturating_sub(1) / self.polls()) as usize
    }

    /// How often each symbol is polled within the limit: `30 symbols at 60 requests a minute: each every 36 s`.
    pub(crate) fn pace(&self) -> String {
        let (count, at_once) = (self.symbols.len(), self.symbols_a_poll());
        let symbols = if count == 1 { "1 symbol".to_owned() } else { format!("{count} symbols") };
        if count <= at_once {
            return format!("{symbols} every {}", humantime::format_duration(self.interval));
        }
        #[allow(clippy::cast_precision_loss, reason = "a few thousand symbols")]
        let each = self.interval.as_secs_f64() * count as f64 / at_once as f64;
        let each = if each < 120.0 { format!("{each:.0} s") } else { format!("{:.0} min", each / 60.0) };
        format!("{symbols} at {} requests a minute: each every {each}", self.rate_limit_per_minute)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn symbols(count: usize) -> Vec<Symbol> {
        (0..count).map(|number| format!("S{number}").parse().unwrap()).collect()
    }

    fn live(count: usize, seconds: u64, limit: Option<u32>) -> anyhow::Result<Polling> {
        Polling::new(&symbols(count), Duration::from_secs(seconds), limit, false)
    }

    #[test]
    fn a_live_key_has_sixty_requests_a_minute_however_many_symbols_there_are() {
        for count in [1, 5, 6, 30, 500] {
            assert_eq!(live(count, 6, None).unwrap().rate_limit_per_minute, 60, "{count}");
        }
        assert_eq!(live(30, 6, Some(300)).unwrap().rate_limit_per_minute, 300);
    }

    #[test]
    fn what_the_limit_means_for_each_symbol_is_said() {
        let pace = |count, seconds, limit| live(count, seconds, limit).unwrap().pace();
        assert_eq!(pace(30, 6, None), "30 symbols at 60 requests a minute: each every 36 s");
        assert_eq!(pace(5, 6, None), "5 symbols every 6s");
        assert_eq!(pace(30, 6, Some(301)), "30 symbols every 6s");
        assert_eq!(pace(500, 6, None), "500 symbols at 60 requests a minute: each every 10 min");
        assert_eq!(pace(1, 60, None), "1 symbol every 1m");
    }

    #[test]
    fn an_interval_too_short_for_the_limit_is_refused_with_the_variable_that_changes_it() {
        let error = live(1, 1, None).unwrap_err().to_string();
        assert!(error.contains("--interval 1s") && error.contains(VARIABLE), "{error}");
        assert!(live(1, 2, None).is_ok());
        assert!(live(1, 1, Some(61)).is_ok());
    }

    #[test]
    fn the_recording_polls_what_it_has_and_names_what_it_has_not() {
        let asked: Vec<Symbol> = ["AAPL", "BRK.B", "AAPL"].map(|symbol| symbol.parse().unwrap()).to_vec();
        let recorded = |symbols: &[Symbol]| Polling::new(symbols, Duration::from_secs(1), None, true);
        let polling = recorded(&asked).unwrap();
        assert_eq!((polling.symbols, polling.unknown), (vec!["AAPL".to_owned()], vec!["BRK.B".to_owned()]));
        let polling = recorded(&[]).unwrap();
        assert_eq!((polling.symbols.len(), polling.rate_limit_per_minute), (5, 315));
        let error = recorded(&asked[1..2]).unwrap_err().to_string();
        assert!(error.contains("BRK.B") && error.contains("AAPL"), "{error}");
    }
}
