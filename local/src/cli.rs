use std::{io::IsTerminal, path::PathBuf, process::ExitCode, time::Duration};

use ::cloud::Speed;
use clap::{Args, Parser, Subcommand};
use quotes::Symbol;
use tracing::level_filters::LevelFilter;

use crate::{
    base::{data_dir, hint},
    servers::child,
    verbs::{
        repair::{self, Moment},
        run, status,
    },
    watch::screen,
};

#[derive(Parser)]
#[command(
    name = "quoteflow",
    about = "Quoteflow on one machine: Finnhub -> Kafka -> S3 -> BigQuery -> dbt",
    version
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the whole flow until Ctrl-C.
    #[command(after_help = ENVIRONMENT)]
    Run(RunOptions),
    /// Show the topic's lag, the queues' depths, the tables' rows and freshness, and what each function did.
    Status(DataDirOption),
    /// Load archived quotes into bronze again, whether it has them or not; safe to repeat.
    Replay(ReplayOptions),
    /// Give dead letters and quarantined records another try, after a fix; safe to repeat.
    Redrive(DataDirOption),
    /// Remove the data of every earlier run; on a terminal, only after a yes.
    Reset(ResetOptions),
    /// Run another program, and leave none of its processes when it or this one's parent ends.
    #[command(hide = true)]
    Supervise {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true, required = true)]
        command: Vec<String>,
    },
    /// Become another program that ends when this one's parent does.
    #[command(hide = true)]
    Exec {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true, required = true)]
        command: Vec<String>,
    },
}

const ENVIRONMENT: &str = "Environment:
  FINNHUB_API_KEY          run on the live API instead of the recording
  FINNHUB_BASE_URL         run on another server of Finnhub's shape,
                           such as http://127.0.0.1:9000/api/v1
  RATE_LIMIT_PER_MINUTE    the requests a minute that the key has (live: 60)
  KAFKA_BOOTSTRAP_SERVERS  use this Kafka, not the embedded broker
  AWS_ENDPOINT_URL         use this S3, SQS, Lambda and Scheduler
  AWS_ENDPOINT_URL_S3      use this S3 beside it, such as MinIO, with
                           S3_ACCESS_KEY_ID and S3_SECRET_ACCESS_KEY
                           (localstack/README.md)
  BIGQUERY_ENDPOINT        use this BigQuery
  OBJECT_LAYOUT            per_quote, or batch: one compressed object of the
                           quotes of a partition that come together, with
                           OBJECT_COMPRESSION gzip or zstd
  OTEL_*                   passed on to the functions, for their traces
  LOCAL_PYTHON             the Python that has the stand-ins and dbt
                           (default: .venv/bin/python)

While the market is closed, each symbol is polled once, for its last price.";

/// More than a recorded day a second.
const FASTEST: f64 = 100_000.0;

/// Where a run keeps its data.
#[derive(Args, Clone)]
pub(crate) struct DataDirOption {
    /// Where data, logs and the run's addresses are kept.
    #[arg(long, default_value = hint::DATA_DIR, value_name = "DIR")]
    pub data_dir: PathBuf,
}

#[derive(Args, Clone)]
pub(crate) struct ResetOptions {
    #[command(flatten)]
    pub data: DataDirOption,
    /// Do not ask.
    #[arg(long)]
    pub yes: bool,
}

#[derive(Args, Clone)]
pub(crate) struct ReplayOptions {
    #[command(flatten)]
    pub data: DataDirOption,
    /// The first `fetched_at`: seconds since 1970, a time (2024-01-01T12:00:00Z) or a UTC date (2024-01-01).
    #[arg(long, value_name = "MOMENT")]
    pub from: Moment,
    /// The last `fetched_at` [default: now].
    #[arg(long, value_name = "MOMENT")]
    pub to: Option<Moment>,
    /// One symbol only.
    #[arg(long, value_name = "SYMBOL", value_parser = symbol)]
    pub symbol: Option<Symbol>,
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
    /// Begin the recording at this second of its trading time, if no earlier run has begun it [default: its last day,
    /// with the days before as history].
    #[arg(long, value_name = "SECONDS")]
    pub start_at: Option<u64>,
    /// The first of the ports of the stand-ins; 0 takes free ones.
    #[arg(long, value_name = "PORT", default_value_t = 14500)]
    pub port_base: u16,
    /// Write the report, as JSON, every 2 s.
    #[arg(long, value_name = "FILE")]
    pub report: Option<PathBuf>,
    /// Make BigQuery's statements take as long as in the cloud (none, fast, typical or slow), refuse what is beyond its
    /// limits, and print the bill.
    #[arg(long, value_name = "PACE")]
    pub cloud_latency: Option<Speed>,
    /// Spread the cloud's durations by a quarter around this pace's, the same way for the same seed.
    #[arg(long, value_name = "N", requires = "cloud_latency")]
    pub cloud_seed: Option<u64>,
    /// Ask for the dashboard's figures as one open page does, so that the bill has the price of that.
    #[arg(long, requires = "cloud_latency")]
    pub open_page: bool,
    /// The project's folder.
    #[arg(long, value_name = "DIR", default_value = ".")]
    pub project: PathBuf,
}

/// Runs the binary.
#[must_use]
pub fn main() -> ExitCode {
    let Cli { command } = Cli::parse();
    let outcome = match command {
        Command::Exec { command } => Err(child::become_program(&command)),
        Command::Supervise { command } => in_runtime(child::supervise(&command)),
        Command::Run(options) => in_runtime(run::run(options)),
        Command::Status(data) => in_runtime(status::print(&data.data_dir)),
        Command::Replay(options) => {
            let data_dir = options.data.data_dir.clone();
            in_runtime(async move { repair::replay(&data_dir, options).await })
        }
        Command::Redrive(data) => in_runtime(repair::redrive(&data.data_dir)),
        Command::Reset(options) => data_dir::reset(&options.data.data_dir, options.yes),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            screen::complain(&error);
            ExitCode::FAILURE
        }
    }
}

/// A symbol as Finnhub writes it, which is in capitals.
fn symbol(text: &str) -> Result<Symbol, String> {
    // A domain's symbol may have them; none of Finnhub's does, and a shell makes something else of them.
    if let Some(character) = text.chars().find(|character| "!$@".contains(*character)) {
        return Err(format!(
            "{character:?} is not allowed in a symbol; Finnhub's symbols look like AAPL, BRK.B or BINANCE:BTCUSDT"
        ));
    }
    text.trim().to_ascii_uppercase().parse().map_err(|error: quotes::InvalidSymbol| error.to_string())
}

/// As fetch-quotes takes it.
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

fn in_runtime(work: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<()> {
    let level = std::env::var("LOG_LEVEL").ok().and_then(|level| level.parse().ok());
    tracing_subscriber::fmt()
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(screen::Log)
        .with_target(false)
        .with_max_level(level.unwrap_or(LevelFilter::WARN))
        .init();
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(work)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(options: &[&str]) -> Result<RunOptions, String> {
        let cli = Cli::try_parse_from(["quoteflow", "run"].iter().chain(options));
        match cli.map_err(|error| error.to_string())?.command {
            Command::Run(options) => Ok(options),
            _ => Err("another command".to_owned()),
        }
    }

    #[test]
    fn options_that_no_flow_can_run_on_are_refused_when_they_are_parsed() {
        for (option, value) in [
            ("--interval", "0s"),
            ("--interval", "49ms"),
            ("--interval", "61s"),
            ("--interval", "6"),
            ("--speed", "0"),
            ("--speed", "-1"),
            ("--speed", "NaN"),
            ("--speed", "inf"),
            ("--speed", "1e9"),
            ("--symbols", "aapl!"),
            ("--symbols", "AAPL,MS/FT"),
            ("--symbols", "AAPL,,MSFT"),
            ("--symbols", "$AAPL"),
            ("--symbols", ""),
            ("--polls", "0"),
            ("--for", "0s"),
        ] {
            let error = run(&[&format!("{option}={value}")]).err();
            assert!(
                error.as_ref().is_some_and(|error| error.contains(option)),
                "{option} {value}: {error:?}"
            );
        }
    }

    #[test]
    fn symbols_are_raised_to_capitals() {
        let options = run(&["--symbols", "aapl, Brk.b,binance:btcusdt"]).unwrap();
        let symbols: Vec<&str> = options.symbols.iter().map(Symbol::as_str).collect();
        assert_eq!(symbols, ["AAPL", "BRK.B", "BINANCE:BTCUSDT"]);
    }

    #[test]
    fn help_fits_eighty_columns() {
        assert!(ENVIRONMENT.lines().all(|line| line.len() <= 78));
    }
}
