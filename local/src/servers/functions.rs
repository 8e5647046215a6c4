//! The functions of a run: their variables and their executables.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::{Context, bail};
use runtime_api::{Function, FunctionConfig, LogSink};

use crate::{
    base::{
        data_dir::DataDir,
        endpoints::{PIPELINE_PATH, beside_metrics},
        names,
        options::RunOptions,
    },
    servers::{
        aws::Aws,
        child,
        provision::{FunctionSpec, Queues},
        stand_ins::{RECORDED_KEY, Servers},
    },
};

/// Deploys the functions behind the Lambda endpoint, all at once.
pub(crate) async fn deploy(
    aws: &Aws,
    servers: &Servers,
    queues: &Queues,
    options: &RunOptions,
) -> anyhow::Result<()> {
    let folder = folder()?;
    let spec = |(name, limits), environment: HashMap<String, String>| FunctionSpec {
        name,
        limits,
        executable: folder.join(name),
        is_copied: !servers.has_own_aws,
        // They may contain a secret, and the stand-in would write it into its state file. Its own environment has them.
        environment: if servers.has_own_aws {
            environment
        } else {
            environment.into_iter().chain(child::passed_on()).collect()
        },
    };
    let [fetch, archive, load, reconcile] = names::DEPLOYED;
    let fetch = spec(fetch, fetch_environment(servers, options));
    let archive = spec(
        archive,
        environment([
            ("AWS_ENDPOINT_URL", &servers.aws),
            ("BRONZE_BUCKET", names::BRONZE_BUCKET),
            ("QUARANTINE_BUCKET", names::QUARANTINE_BUCKET),
            ("OBJECT_LAYOUT", &one_of("OBJECT_LAYOUT", ["per_quote", "batch"])?),
            ("OBJECT_COMPRESSION", &one_of("OBJECT_COMPRESSION", ["gzip", "zstd"])?),
        ]),
    );
    let load_environment = warehouse_environment(servers, names::LOAD)
        .into_iter()
        .chain(environment([("AWS_ENDPOINT_URL", &servers.aws)]));
    let load = spec(load, load_environment.collect());
    let reconcile_environment =
        warehouse_environment(servers, names::RECONCILE).into_iter().chain(environment([
            ("AWS_ENDPOINT_URL", &servers.aws),
            ("BRONZE_BUCKET", names::BRONZE_BUCKET),
            ("ARCHIVED_QUEUE_URL", &queues.archived),
        ]));
    let reconcile = spec(reconcile, reconcile_environment.collect());
    for FunctionSpec { name, .. } in [&fetch, &archive, &load, &reconcile] {
        executable(name)?;
    }
    tokio::try_join!(
        aws.function(&fetch),
        aws.function(&archive),
        aws.function(&load),
        aws.function(&reconcile)
    )?;
    Ok(())
}

/// The folder of the executables, which is this executable's folder.
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

/// The value of a variable of this process, which must be one of `values`; the first of them if it is not set.
fn one_of(name: &str, values: [&'static str; 2]) -> anyhow::Result<String> {
    let value = std::env::var(name).unwrap_or_default();
    match values.iter().find(|known| value == **known || value.is_empty()) {
        Some(known) => Ok((*known).to_owned()),
        None => bail!("{name} is {value:?}, not {} or {}", values[0], values[1]),
    }
}

fn environment<const N: usize>(variables: [(&str, &str); N]) -> HashMap<String, String> {
    variables.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

fn with_telemetry(environment: HashMap<String, String>) -> HashMap<String, String> {
    environment.into_iter().chain(child::telemetry()).collect()
}

fn fetch_environment(servers: &Servers, options: &RunOptions) -> HashMap<String, String> {
    environment([
        ("FINNHUB_BASE_URL", servers.fetch_from().as_str()),
        // In a live run, only the relay has the key.
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

/// serve-dashboard's instances, for the server at its address, with a log for their lines. Each starts with its first
/// request.
pub(crate) fn start_dashboard(servers: &Servers, log: LogSink) -> anyhow::Result<Vec<Function>> {
    let mut config = FunctionConfig::new(names::SERVE, executable(names::SERVE)?);
    config.env = with_telemetry(warehouse_environment(servers, names::SERVE)).into_iter().collect();
    // A stand-in bills nothing, so it is queried more often than BigQuery or the proxy with BigQuery's prices.
    if servers.proxy.is_none() {
        config.env.extend(environment([("DASHBOARD_CACHE_SECONDS", "1"), ("DASHBOARD_CHART_SECONDS", "5")]));
    }
    // So that the page says that the prices are not current.
    let speed = servers.feed.as_ref().map(|feed| feed.speed().to_string());
    config.env.extend(speed.map(|speed| ("DASHBOARD_RECORDING_SPEED".to_owned(), speed)));
    config.env.push(("DASHBOARD_PIPELINE_URL".to_owned(), beside_metrics(&servers.metrics, PIPELINE_PATH)));
    config.timeout = names::SERVE_LIMITS.timeout();
    config.memory_mb = names::SERVE_LIMITS.memory_mb;
    config.log = log;
    // Each instance answers one request at a time.
    let instances = names::SERVE_LIMITS.reserved_concurrency.unwrap_or(1);
    Ok((0..instances).map(|_| Function::start(config.clone())).collect())
}

/// transform-quotes as in its container image, with a log for its lines: a Python runtime client behind the Runtime
/// API.
pub(crate) fn start_transform(
    data: &DataDir,
    project: &Path,
    python: &Path,
    servers: &Servers,
    log: LogSink,
) -> anyhow::Result<Arc<Function>> {
    let mut config = FunctionConfig::new(names::TRANSFORM, std::env::current_exe()?);
    let python = python.display().to_string();
    let own_client = project.join("local/runtime-api/runtime_client.py").display().to_string();
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
    config.timeout = names::TRANSFORM_LIMITS.timeout();
    config.memory_mb = names::TRANSFORM_LIMITS.memory_mb;
    config.log = log;
    Ok(Arc::new(Function::start(config)))
}
