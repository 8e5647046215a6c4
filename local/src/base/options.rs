//! The options of `quoteflow` that several parts of it read.

use std::{path::PathBuf, time::Duration};

use clap::Args;
use cloud::Speed;
use quotes::Symbol;

use crate::base::hint;

/// The highest speed: more than a recorded day a second.
const FASTEST: f64 = 100_000.0;

/// Where a run keeps its data.
#[derive(Args, Clone)]
pub(crate) struct DataDirOption {
    /// Where data, logs and the run's addresses are kept.
    #[arg(long, default_value = hint::DATA_DIR, value_name = "DIR")]
    pub data_dir: PathBuf,
}

#[derive(Args, Clone)]
pub(crate) struct RunOptions {
    #[command(flatten)]
    pub data: DataDirOption,
    /// Stop after this time, such as 60s or 5m, once everything on its way has arrived.
    #[arg(long = "for", value_name = "TIME", value_parser = duration)]
    pub duration: Option<Duration>,
    /// Stop after this many polls, once everything has arrived.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub polls: Option<u32>,
    /// The time from one poll to the next, 50ms to 60s.
    #[arg(long, value_name = "TIME", default_value = "6s", value_parser = interval)]
    pub interval: Duration,
    /// The symbols to poll, separated by commas [default: AAPL,AMZN,JPM,MSFT,TSLA, which the recording has; live
    /// AAPL,MSFT,TSLA,GOOGL,AMZN].
    #[arg(long, value_delimiter = ',', value_name = "SYMBOLS", value_parser = symbol)]
    pub symbols: Vec<Symbol>,
    /// Replay the recording N times faster.
    #[arg(long, value_name = "N", default_value_t = 1.0, value_parser = speed)]
    pub speed: f64,
    /// Begin the recording at this second of its trading time, unless an earlier run has begun it [default: its last
    /// day, with the days before as history].
    #[arg(long, value_name = "SECONDS")]
    pub start_at: Option<u64>,
    /// The first of the ports of the stand-ins; 0 takes free ones.
    #[arg(long, value_name = "PORT", default_value_t = 14500)]
    pub port_base: u16,
    /// Write the report, as JSON, every 2 s.
    #[arg(long, value_name = "FILE")]
    pub report: Option<PathBuf>,
    /// Make BigQuery's statements take as long as in the cloud (none, fast, typical or slow), refuse requests beyond
    /// its limits, and print the bill.
    #[arg(long, value_name = "PACE")]
    pub cloud_latency: Option<Speed>,
    /// Vary the durations of --cloud-latency by up to a quarter; the same seed gives the same durations.
    #[arg(long, value_name = "N", requires = "cloud_latency")]
    pub cloud_seed: Option<u64>,
    /// Request the dashboard's figures as one open page does, so that the bill has the price of an open page.
    #[arg(long, requires = "cloud_latency")]
    pub open_page: bool,
    /// The project's folder.
    #[arg(long, value_name = "DIR", default_value = ".")]
    pub project: PathBuf,
}

/// A symbol as Finnhub writes it, in capitals.
pub(crate) fn symbol(text: &str) -> Result<Symbol, String> {
    // The type allows them, but no symbol of Finnhub has them, and a shell replaces them.
    if let Some(character) = text.chars().find(|character| "!$@".contains(*character)) {
        return Err(format!(
            "{character:?} is not allowed in a symbol; Finnhub's symbols look like AAPL, BRK.B or BINANCE:BTCUSDT"
        ));
    }
    text.trim().to_ascii_uppercase().parse().map_err(|error: quotes::InvalidSymbol| error.to_string())
}

/// An interval that fetch-quotes accepts.
fn interval(text: &str) -> Result<Duration, String> {
    let interval = humantime::parse_duration(text).map_err(|error| error.to_string())?;
    if (Duration::from_millis(50)..=Duration::from_mins(1)).contains(&interval) {
        Ok(interval)
    } else {
        Err("an interval must be from 50ms to 60s".to_owned())
    }
}

fn duration(text: &str) -> Result<Duration, String> {
    let duration = humantime::parse_duration(text).map_err(|error| error.to_string())?;
    if duration.is_zero() { Err("the time must be more than 0".to_owned()) } else { Ok(duration) }
}

fn speed(text: &str) -> Result<f64, String> {
    let speed: Option<f64> = text.parse().ok();
    let speed = speed.filter(|speed| *speed > 0.0 && *speed <= FASTEST);
    speed.ok_or_else(|| format!("a speed must be a number above 0, at most {FASTEST}"))
}
