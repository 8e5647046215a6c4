use std::{path::PathBuf, process::ExitCode, time::Duration};

use clap::{Args, Parser, Subcommand};
use quotes::Symbol;
use tracing::level_filters::LevelFilter;

use crate::{
    child, data_dir,
    repair::{self, Moment},
    run, status,
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
    /// Forget the data of every earlier run.
    Reset(DataDirOption),
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
  FINNHUB_API_KEY          run on the live API instead of the recorded feed
  FINNHUB_BASE_URL         run on another server of Finnhub's shape (http://127.0.0.1:9000/api/v1)
  KAFKA_BOOTSTRAP_SERVERS  use this Kafka instead of the embedded broker
  AWS_ENDPOINT_URL         use this S3, SQS, Lambda and Scheduler instead of the stand-in
  AWS_ENDPOINT_URL_S3      use this S3, such as MinIO, beside the AWS endpoint (localstack/README.md), as
                           S3_ACCESS_KEY_ID with S3_SECRET_ACCESS_KEY
  BIGQUERY_ENDPOINT        use this BigQuery instead of the stand-in
  OTEL_*                   passed on to the functions: OTEL_EXPORTER_OTLP_ENDPOINT says where their traces go
  LOCAL_PYTHON             the Python with the stand-ins and dbt (default .venv/bin/python)";

/// Where a run keeps its data.
#[derive(Args, Clone)]
pub(crate) struct DataDirOption {
    /// Where data, logs and the run's addresses are kept.
    #[arg(long, default_value = ".local", value_name = "DIR")]
    pub data_dir: PathBuf,
}

#[derive(Args, Clone)]
pub(crate) struct ReplayOptions {
    #[command(flatten)]
    pub data: DataDirOption,
    /// The first `fetched_at`: seconds since 1970, a time (2024-01-01T12:00:00Z) or a UTC date (2024-01-01).
    #[arg(long, value_name = "MOMENT")]
    pub from: Moment,
    /// The last `fetched_at`; until now where it is left out.
    #[arg(long, value_name = "MOMENT")]
    pub to: Option<Moment>,
    /// One symbol only.
    #[arg(long, value_name = "SYMBOL")]
    pub symbol: Option<Symbol>,
}

#[derive(Args, Clone)]
pub(crate) struct RunOptions {
    #[command(flatten)]
    pub data: DataDirOption,
    /// Stop after this time, such as 60s or 5m, once everything on its way has arrived.
    #[arg(long = "for", value_name = "TIME", value_parser = humantime::parse_duration)]
    pub duration: Option<Duration>,
    /// Stop after this many polls, once everything has arrived.
    #[arg(long, value_name = "N")]
    pub polls: Option<u32>,
    /// The time from one poll to the next.
    #[arg(long, value_name = "TIME", default_value = "6s", value_parser = humantime::parse_duration)]
    pub interval: Duration,
    /// The symbols to poll, separated by commas; the recording's five, or AAPL,MSFT,TSLA,GOOGL,AMZN live.
    #[arg(long, value_delimiter = ',', value_name = "SYMBOLS")]
    pub symbols: Vec<Symbol>,
    /// Replay the recording N times faster.
    #[arg(long, value_name = "N", default_value_t = 1.0)]
    pub speed: f64,
    /// Begin the recording at this second of its trading time, where no earlier run has begun it.
    #[arg(long, value_name = "SECONDS", default_value_t = 0)]
    pub start_at: u64,
    /// The first of the ports of the stand-ins; 0 takes free ones.
    #[arg(long, value_name = "PORT", default_value_t = 14500)]
    pub port_base: u16,
    /// Write the report, as JSON, every 2 s.
    #[arg(long, value_name = "FILE")]
    pub report: Option<PathBuf>,
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
        Command::Reset(data) => data_dir::reset(&data.data_dir),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn in_runtime(work: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<()> {
    let level = std::env::var("LOG_LEVEL").ok().and_then(|level| level.parse().ok());
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_target(false)
        .with_max_level(level.unwrap_or(LevelFilter::WARN))
        .init();
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(work)
}
