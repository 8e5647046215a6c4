//! The servers of a run: those that the environment names, and a stand-in for each other one.

use std::{
    net::TcpListener,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, bail};
use broker::{Broker, BrokerError};
use cloud::{Proxy, ProxyConfig};
use feed::{Fault, Feed, recording::Recording};
use tokio::time::Instant;

use crate::{
    base::{
        data_dir::DataDir,
        endpoints::{Endpoints, metrics_url},
        names,
        options::RunOptions,
        polling::Polling,
    },
    finnhub::{client::Upstream, preflight::FirstAnswer, relay::Relay},
    servers::{
        child::{self, Child, Program},
        history,
    },
};

const START: Duration = Duration::from_mins(1);
/// How long an earlier run's stand-ins may take to release their ports.
const PORT_WAIT: Duration = Duration::from_secs(10);
const FINNHUB: &str = "https://finnhub.io/api/v1";
/// The functions' key. The recorded feed accepts it. In a live run, the relay has the real key.
pub(crate) const RECORDED_KEY: &str = "recorded";

/// The addresses of other servers, read from the environment.
pub(crate) struct ExternalServers {
    kafka: Option<String>,
    aws: Option<String>,
    s3: Option<String>,
    bigquery: Option<String>,
    finnhub: Option<String>,
    finnhub_key: Option<String>,
}

impl ExternalServers {
    pub(crate) fn read() -> Self {
        let variable = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
        Self {
            kafka: variable("KAFKA_BOOTSTRAP_SERVERS"),
            aws: variable("AWS_ENDPOINT_URL"),
            s3: variable("AWS_ENDPOINT_URL_S3"),
            bigquery: variable("BIGQUERY_ENDPOINT").map(|url| url.trim_end_matches('/').to_owned()),
            finnhub: variable("FINNHUB_BASE_URL"),
            finnhub_key: variable("FINNHUB_API_KEY"),
        }
    }

    pub(crate) fn is_recorded(&self) -> bool {
        self.finnhub.is_none() && self.finnhub_key.is_none()
    }

    /// The live Finnhub; `None` for the recording.
    ///
    /// # Errors
    /// If the address or the key cannot be used.
    pub(crate) fn upstream(&self) -> anyhow::Result<Option<Upstream>> {
        if self.is_recorded() {
            return Ok(None);
        }
        let base_url = self.finnhub.as_deref().unwrap_or(FINNHUB);
        // Another server with Finnhub's API may need no key.
        Upstream::new(base_url, self.finnhub_key.as_deref().unwrap_or(RECORDED_KEY)).map(Some)
    }

    /// The symbols that are polled, and how often.
    ///
    /// # Errors
    /// If the options do not match the source of the quotes.
    pub(crate) fn polling(&self, options: &RunOptions) -> anyhow::Result<Polling> {
        #[allow(clippy::float_cmp, reason = "it is compared with the exact default")]
        if !self.is_recorded() && options.speed != 1.0 {
            bail!("--speed works with the recording only, but FINNHUB_API_KEY or FINNHUB_BASE_URL is set");
        }
        Polling::read(options, self.is_recorded())
    }
}

/// The ports of the stand-ins.
#[derive(Debug, Clone, Copy)]
struct Ports {
    kafka: u16,
    aws: u16,
    bigquery: u16,
    feed: u16,
    dashboard: u16,
    metrics: u16,
}

impl Ports {
    /// The ports from `base` on, when they are free; any free ones if `base` is 0.
    async fn take(base: u16, external: &ExternalServers, has_proxy: bool) -> anyhow::Result<Self> {
        if base == 0 {
            // All are bound at the same time, so that no two are the same.
            let listen = || TcpListener::bind(("127.0.0.1", 0));
            let held = [listen()?, listen()?, listen()?, listen()?, listen()?, listen()?];
            let port = |held: &TcpListener| held.local_addr().map(|address| address.port());
            let [kafka, aws, bigquery, feed, dashboard, metrics] = &held;
            return Ok(Self {
                kafka: port(kafka)?,
                aws: port(aws)?,
                bigquery: port(bigquery)?,
                feed: port(feed)?,
                dashboard: port(dashboard)?,
                metrics: port(metrics)?,
            });
        }
        let Some(last) = base.checked_add(5) else {
            bail!("--port-base {base} is too high: 6 ports are needed")
        };
        let (kafka, aws, bigquery, feed, dashboard) = (base, base + 1, base + 2, base + 3, base + 4);
        let ports = Self { kafka, aws, bigquery, feed, dashboard, metrics: last };
        let needed = [
            (external.kafka.is_none(), ports.kafka, "Kafka"),
            (external.aws.is_none(), ports.aws, "AWS"),
            (external.bigquery.is_none() || has_proxy, ports.bigquery, "BigQuery"),
            (true, ports.feed, "the recorded feed or the relay to Finnhub"),
            (true, ports.dashboard, "the dashboard"),
            (true, ports.metrics, "the metrics"),
        ];
        let end = Instant::now() + PORT_WAIT;
        for (_, port, part) in needed.into_iter().filter(|(needed, ..)| *needed) {
            while TcpListener::bind(("127.0.0.1", port)).is_err() {
                if Instant::now() > end {
                    bail!(
                        "port {port}, for {part}, is in use: stop what uses it, or choose other ports with \
                         --port-base N (make local ARGS='--port-base N')"
                    );
                }
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        }
        Ok(ports)
    }
}

/// The addresses of all servers of a run, and the servers that the run started.
pub(crate) struct Servers {
    pub kafka: String,
    pub aws: String,
    /// S3: the AWS endpoint, or another server.
    pub s3: String,
    /// BigQuery for clients: the stand-in, or the proxy that adds the cloud's pace.
    pub bigquery: String,
    /// The stand-in itself, for observers.
    pub bigquery_itself: String,
    /// With `--cloud-latency`.
    pub proxy: Option<Proxy>,
    pub finnhub: String,
    /// The dashboard's address.
    pub dashboard: String,
    /// The metrics' address.
    pub metrics: String,
    /// Whether the functions get [`child::passed_on`] from the stand-in's environment. The stand-in would write the
    /// functions' own variables, secrets included, into its state file.
    pub has_own_aws: bool,
    pub polling: Polling,
    pub feed: Option<Feed>,
    /// In a live run.
    pub relay: Option<Relay>,
    broker: Option<Broker>,
    children: Vec<(Child, String)>,
}

impl Servers {
    /// Starts the stand-ins; the Python ones may not answer yet.
    pub(crate) async fn start(
        external: ExternalServers,
        polling: Polling,
        upstream: Option<Upstream>,
        options: &RunOptions,
        data: &DataDir,
        project: &Path,
        python: &Path,
    ) -> anyhow::Result<Self> {
        let ports = Ports::take(options.port_base, &external, options.cloud_latency.is_some()).await?;
        let url = |port: u16| format!("http://127.0.0.1:{port}");
        // The proxy is where clients look for BigQuery.
        let bigquery_port = if options.cloud_latency.is_some() { free_port()? } else { ports.bigquery };
        let mut servers = Self {
            kafka: external.kafka.clone().unwrap_or_default(),
            aws: external.aws.clone().unwrap_or_else(|| url(ports.aws)),
            s3: String::new(),
            bigquery: String::new(),
            bigquery_itself: external.bigquery.clone().unwrap_or_else(|| url(bigquery_port)),
            proxy: None,
            finnhub: String::new(),
            dashboard: format!("{}/", url(ports.dashboard)),
            metrics: metrics_url(ports.metrics),
            has_own_aws: false,
            polling,
            feed: None,
            relay: None,
            broker: None,
            children: Vec::new(),
        };
        servers.s3 = external.s3.unwrap_or_else(|| servers.aws.clone());
        if external.aws.is_none() {
            let child = start_aws(data, python, &servers, ports.aws)?;
            servers.has_own_aws = true;
            servers.children.push((child, format!("{}/_ministack/health", servers.aws)));
        }
        if external.bigquery.is_none() {
            let child = start_bigquery(data, project, python, bigquery_port).await?;
            servers.children.push((child, format!("{}/readyz", servers.bigquery_itself)));
        }
        if let Some(speed) = options.cloud_latency {
            let address = format!("127.0.0.1:{}", ports.bigquery);
            let upstream = servers.bigquery_itself.clone();
            let config = ProxyConfig { address, upstream, speed, seed: options.cloud_seed };
            servers.proxy = Some(Proxy::start(config).await?);
        }
        servers.bigquery = servers.proxy.as_ref().map_or_else(|| servers.bigquery_itself.clone(), Proxy::url);
        if external.kafka.is_none() {
            let broker = start_broker(data, ports.kafka).await?;
            servers.kafka = broker.bootstrap_servers();
            servers.broker = Some(broker);
        }
        if let Some(upstream) = upstream {
            servers.finnhub = upstream.base_url().to_owned();
            servers.relay = Some(Relay::start(ports.feed, upstream).await?);
        } else {
            let config = feed::Config {
                port: ports.feed,
                token: RECORDED_KEY.to_owned(),
                speed: options.speed,
                rate_limit_per_minute: servers.polling.rate_limit_per_minute,
                start_position: match options.start_at {
                    Some(position) => position,
                    None => history::first_position(&Recording::embedded()?),
                },
                state_file: Some(data.join("feed.json")),
            };
            let feed = Feed::start(config).await.context("the recorded feed did not start")?;
            servers.finnhub = feed.base_url();
            servers.feed = Some(feed);
        }
        Ok(servers)
    }

    /// The addresses and names that a client needs to use each part.
    pub(crate) fn endpoints(&self) -> Endpoints {
        let dataset = |layer| format!("{}{layer}", names::DATASET);
        Endpoints {
            kafka_bootstrap_servers: self.kafka.clone(),
            kafka_topic: names::TOPIC.to_owned(),
            kafka_group: names::GROUP.to_owned(),
            aws_endpoint_url: self.aws.clone(),
            s3_endpoint_url: self.s3.clone(),
            aws_region: names::REGION.to_owned(),
            bronze_bucket: names::BRONZE_BUCKET.to_owned(),
            quarantine_bucket: names::QUARANTINE_BUCKET.to_owned(),
            archived_queue: names::ARCHIVED_QUEUE.to_owned(),
            dead_letter_queue: names::DEAD_LETTER_QUEUE.to_owned(),
            bigquery_endpoint: self.bigquery.clone(),
            bigquery_project: names::PROJECT.to_owned(),
            bigquery_dataset: dataset(""),
            bigquery_bronze_dataset: dataset("_bronze"),
            bigquery_silver_dataset: dataset("_silver"),
            bigquery_gold_dataset: dataset("_gold"),
            finnhub_base_url: self.finnhub.clone(),
            dashboard_url: self.dashboard.clone(),
            metrics_url: self.metrics.clone(),
        }
    }

    /// Notes the first answer of a live Finnhub.
    pub(crate) fn note_first_answer(&self, answer: Option<FirstAnswer>) {
        if let (Some(relay), Some(answer)) = (&self.relay, answer) {
            relay.note_first_answer(answer);
        }
    }

    /// The address that fetch-quotes uses for Finnhub.
    pub(crate) fn fetch_from(&self) -> String {
        self.relay.as_ref().map_or_else(|| self.finnhub.clone(), Relay::base_url)
    }

    /// How many quotes fetch-quotes has been given.
    pub(crate) fn quotes(&self) -> u64 {
        let recorded = self.feed.as_ref().map(|feed| feed.served().quotes_with(200));
        recorded.or_else(|| self.relay.as_ref().map(Relay::quotes)).unwrap_or_default()
    }

    /// Why Finnhub, or the recording, returns no quotes now.
    pub(crate) fn trouble(&self) -> Option<String> {
        let refused = |feed: &Feed| match feed.served().newest? {
            200 => None,
            429 => {
                let limit = self.polling.rate_limit_per_minute;
                Some(format!("the recording's limit of {limit} requests a minute is reached (HTTP 429)"))
            }
            status => Some(format!("the recorded feed answers HTTP {status}")),
        };
        self.feed.as_ref().map_or_else(|| self.relay.as_ref()?.trouble(), refused)
    }

    /// Stops returning quotes.
    pub(crate) fn end_polling(&self) {
        if let Some(feed) = &self.feed {
            feed.set_fault(None, Fault::Status(503));
        }
        if let Some(relay) = &self.relay {
            relay.end_polling();
        }
    }

    /// The function's address of BigQuery.
    pub(crate) fn bigquery_of(&self, function: &str) -> String {
        match &self.proxy {
            Some(proxy) => format!("{}/{function}", proxy.url()),
            None => self.bigquery.clone(),
        }
    }

    /// Waits until the Python stand-ins answer.
    pub(crate) async fn ready(&mut self) -> anyhow::Result<()> {
        for (child, health) in &mut self.children {
            child.ready(health, START).await?;
        }
        Ok(())
    }

    /// Resolves when the first stand-in ends by itself.
    pub(crate) async fn ended(&mut self) -> anyhow::Error {
        match self.children.as_mut_slice() {
            [] => std::future::pending().await,
            [(one, _)] => one.ended().await,
            [(one, _), (two, _), ..] => tokio::select! {
                error = one.ended() => error,
                error = two.ended() => error,
            },
        }
    }

    /// Stops the started servers.
    pub(crate) async fn stop(self) -> anyhow::Result<()> {
        if let Some(feed) = self.feed {
            feed.stop().await;
        }
        for (child, _) in self.children {
            child.stop().await;
        }
        if let Some(broker) = self.broker {
            tokio::task::spawn_blocking(move || broker.stop()).await??;
        }
        Ok(())
    }
}

fn free_port() -> anyhow::Result<u16> {
    Ok(TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port())
}

/// The Python that has the stand-ins and dbt.
pub(crate) fn python(project: &Path) -> anyhow::Result<PathBuf> {
    let python =
        std::env::var_os("LOCAL_PYTHON").map_or_else(|| project.join(".venv/bin/python"), PathBuf::from);
    if !python.exists() {
        bail!("{} is missing: run `make setup` (or name another Python in LOCAL_PYTHON)", python.display());
    }
    std::path::absolute(python).map_err(Into::into)
}

async fn start_broker(data: &DataDir, port: u16) -> anyhow::Result<Broker> {
    let config = broker::Config {
        port,
        data_dir: data.join("kafka"),
        topics: vec![(names::TOPIC.to_owned(), names::PARTITIONS)],
    };
    let started: Result<Broker, BrokerError> = tokio::task::spawn_blocking(|| Broker::start(config)).await?;
    started.context("the Kafka broker did not start")
}

fn start_aws(data: &DataDir, python: &Path, servers: &Servers, port: u16) -> anyhow::Result<Child> {
    let passed_on = child::passed_on();
    // The functions inherit the whole environment.
    let mut env: Vec<_> = passed_on.iter().map(|(name, value)| (name.as_str(), value.clone())).collect();
    env.extend([
        ("AWS_ENDPOINT_URL", servers.aws.clone()),
        ("GATEWAY_PORT", port.to_string()),
        ("BIND_HOST", "127.0.0.1".to_owned()),
        // Both would listen on further ports.
        ("IOT_MTLS_ENABLED", "0".to_owned()),
        ("SFTP_ENABLED", "0".to_owned()),
        ("MINISTACK_REGION", names::REGION.to_owned()),
        ("S3_PERSIST", "1".to_owned()),
        ("S3_DATA_DIR", data.text("s3")),
        ("PERSIST_STATE", "1".to_owned()),
        ("STATE_DIR", data.text("aws")),
        ("HOME", data.text("home")),
        ("TMPDIR", data.text("tmp")),
    ]);
    Child::start(Program {
        name: "the AWS stand-in",
        executable: python,
        args: vec!["-m".to_owned(), "ministack".to_owned()],
        env,
        dir: data.path(),
        log: data.log("aws"),
    })
}

async fn start_bigquery(data: &DataDir, project: &Path, python: &Path, port: u16) -> anyhow::Result<Child> {
    let home = data.join("home");
    let import = project.join("localstack/import_duckdb_extension.py");
    let imported = tokio::process::Command::new(python).arg(import).arg(&home).output().await?;
    if !imported.status.success() {
        bail!("DuckDB's extension cannot be installed: {}", String::from_utf8_lossy(&imported.stderr));
    }
    let port = port.to_string();
    let folder = data.text("bigquery");
    let cached = project.join("localstack/bqemulator_cached.py").to_string_lossy().into_owned();
    let args = [
        cached.as_str(),
        "start",
        "--rest-port",
        &port,
        "--grpc-port",
        "0",
        "--persistent",
        "--data-dir",
        &folder,
        "--project",
        names::PROJECT,
        "--log-level",
        "warning",
    ];
    Child::start(Program {
        name: "the BigQuery stand-in",
        executable: python,
        args: args.into_iter().map(str::to_owned).collect(),
        env: vec![
            // It would download the extension.
            ("BQEMU_ENABLE_FORMAT_EXTENSIONS", "false".to_owned()),
            // Otherwise it keeps a copy of a table for each change for a week.
            ("BQEMU_TIME_TRAVEL_RETENTION_DAYS", "0".to_owned()),
            ("HOME", data.text("home")),
            ("TMPDIR", data.text("tmp")),
        ],
        dir: data.path(),
        log: data.log("bigquery"),
    })
}
