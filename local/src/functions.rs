//! The functions of a run: what they are given, and where they come from.

use std::{
    collections::HashMap,
    ffi::OsString,
    fs::File,
    io::Write,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    time::Duration,
};

use anyhow::{Context, bail};
use runtime_api::{Function, FunctionConfig, LogSink};

use crate::{
    aws::Aws,
    cli::RunOptions,
    data_dir::DataDir,
    metrics::Metrics,
    names,
    provision::{FunctionSpec, LOAD_CONCURRENCY, Queues},
    stand_ins::{RECORDED_KEY, Servers},
};

/// A minute's polls, what the Scheduler may be late, and the 5 s that the function keeps at its end.
const FETCH_TIMEOUT_SECONDS: i32 = 90;
const TIMEOUT_SECONDS: i32 = 30;
const RECONCILE_TIMEOUT_SECONDS: i32 = 120;
const TRANSFORM_TIMEOUT: Duration = Duration::from_mins(5);
const DASHBOARD_TIMEOUT: Duration = Duration::from_secs(15);

const S3_VARIABLES: [&str; 3] = ["AWS_ENDPOINT_URL_S3", "S3_ACCESS_KEY_ID", "S3_SECRET_ACCESS_KEY"];

/// The functions behind the Lambda endpoint, with the time that an invocation may take.
pub(crate) fn deployed() -> [(&'static str, Duration); 4] {
    let timeout = |seconds: i32| Duration::from_secs(seconds.unsigned_abs().into());
    [
        (names::FETCH, timeout(FETCH_TIMEOUT_SECONDS)),
        (names::ARCHIVE, timeout(TIMEOUT_SECONDS)),
        (names::LOAD, timeout(TIMEOUT_SECONDS)),
        (names::RECONCILE, timeout(RECONCILE_TIMEOUT_SECONDS)),
    ]
}

/// The functions behind this process, with the time that an invocation may take.
pub(crate) const HOSTED: [(&str, Duration); 2] =
    [(names::TRANSFORM, TRANSFORM_TIMEOUT), (names::DASHBOARD, DASHBOARD_TIMEOUT)];

/// The memory of each function, as Terraform declares it.
pub(crate) fn memory_mb(function: &str) -> u32 {
    match function {
        names::LOAD => 256,
        names::TRANSFORM => 1769,
        _ => 128,
    }
}

/// Deploys the functions behind the Lambda endpoint, all at once.
pub(crate) async fn deploy(
    aws: &Aws,
    servers: &Servers,
    queues: &Queues,
    options: &RunOptions,
) -> anyhow::Result<()> {
    let folder = folder()?;
    let spec = |name, environment: HashMap<String, String>| FunctionSpec {
        name,
        bootstrap: folder.join(name),
        // The stand-in's own environment has them: they may hold a secret, and it would write these into its state file.
        environment: if servers.has_own_aws {
            environment
        } else {
            environment.into_iter().chain(passed_on()).collect()
        },
        timeout_seconds: TIMEOUT_SECONDS,
        memory_mb: memory_mb(name).cast_signed(),
        reserved_concurrency: None,
    };
    let fetch = FunctionSpec {
        timeout_seconds: FETCH_TIMEOUT_SECONDS,
        reserved_concurrency: Some(1),
        ..spec(names::FETCH, fetch_environment(servers, options))
    };
    let archive = spec(
        names::ARCHIVE,
        environment([
            ("AWS_ENDPOINT_URL", &servers.aws),
            ("BRONZE_BUCKET", names::BRONZE_BUCKET),
            ("QUARANTINE_BUCKET", names::QUARANTINE_BUCKET),
        ]),
    );
    let load_environment = warehouse_environment(servers, names::LOAD)
        .into_iter()
        .chain(environment([("AWS_ENDPOINT_URL", &servers.aws)]));
    let load = FunctionSpec {
        reserved_concurrency: Some(LOAD_CONCURRENCY),
        ..spec(names::LOAD, load_environment.collect())
    };
    let reconcile_environment =
        warehouse_environment(servers, names::RECONCILE).into_iter().chain(environment([
            ("AWS_ENDPOINT_URL", &servers.aws),
            ("BRONZE_BUCKET", names::BRONZE_BUCKET),
            ("ARCHIVED_QUEUE_URL", &queues.archived),
        ]));
    let reconcile = FunctionSpec {
        timeout_seconds: RECONCILE_TIMEOUT_SECONDS,
        reserved_concurrency: Some(1),
        ..spec(names::RECONCILE, reconcile_environment.collect())
    };
    for FunctionSpec { name, .. } in [&fetch, &archive, &load, &reconcile] {
        executable(name)?;
    }
    tokio::try_join!(
        aws.function(&fetch),
        aws.function(&archive),
        aws.function(&load),
        aws.function(&reconcile)
    )?;
    aws.queue_trigger(&queues.archived).await
}

/// The folder of the executables: this one's.
fn folder() -> anyhow::Result<PathBuf> {
    Ok(std::env::current_exe()?.parent().context("the folder of this executable is unknown")?.to_owned())
}

/// A function's executable.
fn executable(name: &str) -> anyhow::Result<PathBuf> {
    let executable = folder()?.join(name);
    if !executable.exists() {
        bail!("{} is missing: run `make build`", executable.display());
    }
    Ok(executable)
}

fn environment<const N: usize>(variables: [(&str, &str); N]) -> HashMap<String, String> {
    variables.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

/// Where traces go: `OTEL_EXPORTER_OTLP_ENDPOINT` and what else OpenTelemetry reads from the environment.
/// <https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/>
fn telemetry() -> Vec<(String, String)> {
    variables(|name| name.starts_with("OTEL_"))
}

/// Besides [`telemetry`], the address and the account of S3: what the functions behind the Lambda endpoint get from the
/// environment of this process.
pub(crate) fn passed_on() -> Vec<(String, String)> {
    variables(|name| name.starts_with("OTEL_") || S3_VARIABLES.contains(&name))
}

fn variables(is_wanted: impl Fn(&str) -> bool) -> Vec<(String, String)> {
    let text =
        |(name, value): (OsString, OsString)| Some((name.into_string().ok()?, value.into_string().ok()?));
    std::env::vars_os().filter_map(text).filter(|(name, _)| is_wanted(name)).collect()
}

fn with_telemetry(environment: HashMap<String, String>) -> HashMap<String, String> {
    environment.into_iter().chain(telemetry()).collect()
}

fn fetch_environment(servers: &Servers, options: &RunOptions) -> HashMap<String, String> {
    environment([
        ("FINNHUB_BASE_URL", servers.fetch_from().as_str()),
        // The relay has the key of a live run.
        ("FINNHUB_API_KEY", RECORDED_KEY),
        ("KAFKA_BOOTSTRAP_SERVERS", &servers.kafka),
        ("KAFKA_TOPIC", names::TOPIC),
        ("POLL_INTERVAL_SECONDS", &options.interval.as_secs_f64().to_string()),
        ("RATE_LIMIT_PER_MINUTE", &servers.polling.rate_limit_per_minute.to_string()),
        ("SYMBOLS", &servers.polling.symbols.join(",")),
    ])
}

fn warehouse_environment(servers: &Servers, function: &str) -> HashMap<String, String> {
    environment([
        ("BIGQUERY_ENDPOINT", &servers.bigquery_of(function)),
        ("BIGQUERY_PROJECT", names::PROJECT),
        ("BIGQUERY_DATASET", names::DATASET),
    ])
}

/// How many requests serve-dashboard answers at the same time, each in its own instance.
const DASHBOARD_INSTANCES: usize = 5;

/// serve-dashboard's instances, for the server at its address. Each starts with its first request.
pub(crate) fn start_dashboard(
    data: &DataDir,
    servers: &Servers,
    metrics: &Arc<Metrics>,
) -> anyhow::Result<Vec<Function>> {
    let mut config = FunctionConfig::new(names::DASHBOARD, executable(names::DASHBOARD)?);
    config.env = with_telemetry(warehouse_environment(servers, names::DASHBOARD)).into_iter().collect();
    // A stand-in bills nothing, so that it is asked more often than BigQuery is, or the proxy that has its prices.
    if servers.cloud.is_none() {
        config.env.extend(environment([("DASHBOARD_CACHE_SECONDS", "1"), ("DASHBOARD_CHART_SECONDS", "5")]));
    }
    // The page says that the prices are not today's.
    let speed = servers.feed.as_ref().map(|feed| feed.speed().to_string());
    config.env.extend(speed.map(|speed| ("DASHBOARD_RECORDING_SPEED".to_owned(), speed)));
    config.timeout = DASHBOARD_TIMEOUT;
    config.memory_mb = memory_mb(names::DASHBOARD);
    config.log = log(data, names::DASHBOARD, metrics)?;
    Ok((0..DASHBOARD_INSTANCES).map(|_| Function::start(config.clone())).collect())
}

/// transform-quotes as in its container image: a Python runtime client behind the Runtime API.
pub(crate) fn start_transform(
    data: &DataDir,
    project: &Path,
    python: &Path,
    servers: &Servers,
    metrics: &Arc<Metrics>,
) -> anyhow::Result<Arc<Function>> {
    let mut config = FunctionConfig::new(names::TRANSFORM, std::env::current_exe()?);
    let python = python.display().to_string();
    let own_client = project.join("localstack/runtime_client.py").display().to_string();
    // awslambdaric has wheels for Linux only.
    let client: &[&str] = if cfg!(target_os = "linux") { &["-m", "awslambdaric"] } else { &[&own_client] };
    let command = [&["exec", "--", python.as_str()], client, &["transform_quotes.handler.handler"]].concat();
    config.args = command.into_iter().map(str::to_owned).collect();
    let own = environment([
        ("PYTHONPATH", &project.join("functions/transform-quotes").display().to_string()),
        ("DBT_PROJECT_DIR", &project.join("dbt_stocks").display().to_string()),
        ("DBT_TARGET_PATH", &data.text("dbt/target")),
        ("DBT_LOG_PATH", &data.text("dbt/logs")),
        ("HOME", &data.text("home")),
        ("TMPDIR", &data.text("tmp")),
    ]);
    config.env =
        with_telemetry(warehouse_environment(servers, names::TRANSFORM)).into_iter().chain(own).collect();
    config.timeout = TRANSFORM_TIMEOUT;
    config.memory_mb = memory_mb(names::TRANSFORM);
    config.log = log(data, names::TRANSFORM, metrics)?;
    Ok(Arc::new(Function::start(config)))
}

/// A new log of the function's lines, from which its metrics are read too.
fn log(data: &DataDir, name: &'static str, metrics: &Arc<Metrics>) -> anyhow::Result<LogSink> {
    let log = Mutex::new(File::create(data.log(name))?);
    let metrics = Arc::clone(metrics);
    Ok(Arc::new(move |line| {
        if let Ok(line) = serde_json::from_str(line) {
            metrics.add_line(name, &line);
        }
        if let Ok(mut log) = log.lock() {
            let _ = writeln!(log, "{line}");
        }
    }))
}
