//! The command line of `quoteflow`.

use std::{io::IsTerminal, process::ExitCode};

use clap::{Args, Parser, Subcommand};
use tracing::level_filters::LevelFilter;

use crate::{
    base::{
        data_dir,
        options::{DataDirOption, RunOptions},
    },
    servers::child,
    verbs::{
        repair::{self, ReplayOptions},
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
    /// Process dead letters and quarantined records again, after a fix; safe to repeat.
    Redrive(DataDirOption),
    /// Remove the data of every earlier run; on a terminal, it asks first.
    Reset(ResetOptions),
    /// Run another program, and end all its processes when it or this process's parent ends.
    #[command(hide = true)]
    Supervise {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true, required = true)]
        command: Vec<String>,
    },
    /// Become another program that ends when this process's parent ends.
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

While the market is closed, each symbol is polled twice, for its last price.";

#[derive(Args)]
struct ResetOptions {
    #[command(flatten)]
    data: DataDirOption,
    /// Do not ask.
    #[arg(long)]
    yes: bool,
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
    use quotes::Symbol;

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
