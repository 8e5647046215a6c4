//! `local run`: starts everything, watches it, and stops it.

use std::{
    collections::HashMap,
    fs::{File, TryLockError},
    io::{IsTerminal, Write},
    net::TcpListener,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use anyhow::{Context, bail};
use aws_sdk_lambda::{primitives::Blob, types::InvocationType};
use broker::{Broker, BrokerError};
use feed::{Fault, Feed};
use jiff::Timestamp;
use runtime_api::{Function, FunctionConfig};
use serde::Deserialize;
use serde_json::json;
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::Notify,
    task::JoinSet,
    time::{Instant, MissedTickBehavior},
};
use tokio_util::sync::CancellationToken;
use warehouse::{Warehouse, WarehouseConfig};

use crate::{
    aws::Aws,
    book::{Book, Stage, now_ms},
    bridge::Bridge,
    child::{Child, Program},
    cli::RunOptions,
    endpoints::{Endpoints, write_json},
    ledger::{Counts, Ledger},
    names,
    provision::{self, FunctionSpec},
    report::{Phase, Report},
    transform::Transform,
};

const REPORT_EVERY: Duration = Duration::from_secs(2);
/// How often a line is printed where there is no terminal to rewrite one on.
const LINE_EVERY: Duration = Duration::from_secs(10);
const STAND_IN_START: Duration = Duration::from_secs(60);
/// How long an earlier run's stand-ins may take to leave their ports.
const PORT_WAIT: Duration = Duration::from_secs(10);
/// How long quotes on their way are waited for at the end.
const DRAIN: Duration = Duration::from_secs(60);
/// The key that the recorded feed takes.
const RECORDED_KEY: &str = "recorded";
const RATE_LIMIT_PER_MINUTE: u32 = 60;
const MINUTE_MS: u64 = 60_000;
/// A minute's polls, what the Scheduler may be late, and the 5 s that the function keeps at its end.
const FETCH_TIMEOUT_SECONDS: i32 = 90;
/// How long before a minute's end its schedule must be there to be sure to fire for the next one.
const SCHEDULE_LEAD_MS: u64 = 15_000;

/// The addresses of other servers, as the environment gives them.
struct Given {
    kafka: Option<String>,
    aws: Option<String>,
    bigquery: Option<String>,
    finnhub: Option<String>,
    finnhub_key: Option<String>,
}

impl Given {
    fn read() -> Self {
        let variable = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
        Self {
            kafka: variable("KAFKA_BOOTSTRAP_SERVERS"),
            aws: variable("AWS_ENDPOINT_URL"),
            bigquery: variable("BIGQUERY_ENDPOINT").map(|url| url.trim_end_matches('/').to_owned()),
            finnhub: variable("FINNHUB_BASE_URL"),
            finnhub_key: variable("FINNHUB_API_KEY"),
        }
    }

    fn is_recorded(&self) -> bool {
        self.finnhub.is_none() && self.finnhub_key.is_none()
    }
}

/// The ports of the stand-ins.
#[derive(Debug, Clone, Copy)]
struct Ports {
    kafka: u16,
    aws: u16,
    bigquery: u16,
    feed: u16,
}

impl Ports {
    /// The ports from `base` on, once they are free; free ones for 0.
    async fn take(base: u16, given: &Given) -> anyhow::Result<Self> {
        if base == 0 {
            // All are held at once, so that no two are the same.
            let held: Vec<TcpListener> =
                (0..4).map(|_| TcpListener::bind(("127.0.0.1", 0))).collect::<Result<_, _>>()?;
            let ports: Vec<u16> =
                held.iter().map(|held| Ok(held.local_addr()?.port())).collect::<std::io::Result<_>>()?;
            return Ok(Self { kafka: ports[0], aws: ports[1], bigquery: ports[2], feed: ports[3] });
        }
        let Some(last) = base.checked_add(3) else { bail!("--port-base {base} leaves no room for 4 ports") };
        let ports = Self { kafka: base, aws: base + 1, bigquery: base + 2, feed: last };
        let needed = [
            (given.kafka.is_none(), ports.kafka, "Kafka"),
            (given.aws.is_none(), ports.aws, "AWS"),
            (given.bigquery.is_none(), ports.bigquery, "BigQuery"),
            (given.is_recorded(), ports.feed, "the recorded feed"),
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

/// The folders of a run.
struct Folders {
    project: PathBuf,
    data: PathBuf,
    /// Held as long as the run goes on.
    _lock: File,
}

impl Folders {
    fn open(project: &Path, data: &Path) -> anyhow::Result<Self> {
        let project = std::path::absolute(project)?;
        if !project.join("dbt_stocks/dbt_project.yml").exists() {
            bail!("{} is not the project's folder: pass --project DIR", project.display());
        }
        let data = std::path::absolute(data)?;
        for folder in ["logs", "tmp", "kafka", "s3", "aws", "bigquery", "home", "dbt"] {
            let folder = data.join(folder);
            std::fs::create_dir_all(&folder)
                .with_context(|| format!("{} cannot be made", folder.display()))?;
        }
        let lock = lock(&data)?;
        Ok(Self { project, data, _lock: lock })
    }

    fn log(&self, name: &str) -> PathBuf {
        self.data.join("logs").join(format!("{name}.log"))
    }
}

fn lock(data: &Path) -> anyhow::Result<File> {
    let path = data.join("lock");
    let file = File::create(&path).with_context(|| format!("{} cannot be written", path.display()))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => {
            bail!("another `local run` uses {}: stop it, or pass --data-dir DIR", data.display())
        }
        Err(TryLockError::Error(error)) => Err(error).context(format!("{} cannot be locked", path.display())),
    }
}

/// Forgets everything in the data folder.
pub(crate) fn reset(data: &Path) -> anyhow::Result<()> {
    if !data.exists() {
        println!("{} is not there: nothing to forget", data.display());
        return Ok(());
    }
    if !data.join("lock").exists() {
        bail!("{} is no data folder of `local` (it has no file \"lock\"): nothing was removed", data.display());
    }
    let _lock = lock(data)?;
    std::fs::remove_dir_all(data).with_context(|| format!("{} cannot be removed", data.display()))?;
    println!("forgot {}", data.display());
    Ok(())
}

/// The Python that has the stand-ins and dbt.
fn python(project: &Path) -> anyhow::Result<PathBuf> {
    let python = std::env::var_os("LOCAL_PYTHON").map_or_else(|| project.join(".venv/bin/python"), PathBuf::from);
    if !python.exists() {
        bail!("{} is missing: run `make setup` (or name another Python in LOCAL_PYTHON)", python.display());
    }
    std::path::absolute(python).map_err(Into::into)
}

/// The folder of the functions' executables: beside this one, unless `LOCAL_FUNCTIONS` names another.
fn functions_dir() -> anyhow::Result<PathBuf> {
    if let Some(dir) = std::env::var_os("LOCAL_FUNCTIONS") {
        return Ok(dir.into());
    }
    Ok(std::env::current_exe()?.parent().context("this executable has no folder")?.to_owned())
}

/// Everything that a run has started.
struct Flow {
    folders: Folders,
    endpoints: Endpoints,
    aws: Aws,
    ledger: Arc<Ledger>,
    book: Arc<Book>,
    feed: Option<Feed>,
    broker: Option<Broker>,
    children: Vec<Child>,
    transform: Arc<Function>,
    tasks: JoinSet<anyhow::Result<()>>,
    stop: CancellationToken,
    first_gold: Arc<std::sync::OnceLock<Timestamp>>,
    started: Timestamp,
}

/// Runs the flow as the options say.
pub(crate) async fn run(options: RunOptions) -> anyhow::Result<()> {
    let mut interrupts = Interrupts::new()?;
    let folders = Folders::open(&options.project, &options.data.data_dir)?;
    let mut flow = tokio::select! {
        flow = Flow::start(&options, folders) => flow?,
        () = interrupts.next() => bail!("interrupted while starting"),
    };
    let outcome = flow.watch(&options, &mut interrupts).await;
    let stopped = flow.stop().await;
    outcome.and(stopped)
}

/// Ctrl-C and the like.
struct Interrupts {
    int: tokio::signal::unix::Signal,
    term: tokio::signal::unix::Signal,
    hangup: tokio::signal::unix::Signal,
}

impl Interrupts {
    fn new() -> anyhow::Result<Self> {
        Ok(Self {
            int: signal(SignalKind::interrupt())?,
            term: signal(SignalKind::terminate())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.int.recv() => {}
            _ = self.term.recv() => {}
            _ = self.hangup.recv() => {}
        }
    }
}

/// Tells, for each part, that it is there and how long it took.
struct Progress(Instant);

impl Progress {
    fn done(&self, part: &str, what: &str) {
        println!("  {:5.1} s  {part:<10} {what}", self.0.elapsed().as_secs_f64());
    }
}

impl Flow {
    async fn start(options: &RunOptions, folders: Folders) -> anyhow::Result<Self> {
        let given = Given::read();
        let python = python(&folders.project)?;
        #[allow(clippy::float_cmp, reason = "the default itself is looked for")]
        if !given.is_recorded() && options.speed != 1.0 {
            bail!("--speed is for the recorded feed; FINNHUB_API_KEY or FINNHUB_BASE_URL names another");
        }
        let started = Timestamp::now();
        let progress = Progress(Instant::now());
        println!("starting in {}", folders.data.display());
        let ports = Ports::take(options.port_base, &given).await?;

        let (broker, kafka) = match given.kafka.clone() {
            Some(kafka) => (None, kafka),
            None => {
                let broker = start_broker(&folders, ports.kafka).await?;
                let address = broker.bootstrap_servers();
                (Some(broker), address)
            }
        };
        let mut children = Vec::new();
        let aws_url = given.aws.clone().unwrap_or_else(|| format!("http://127.0.0.1:{}", ports.aws));
        let bigquery_url =
            given.bigquery.clone().unwrap_or_else(|| format!("http://127.0.0.1:{}", ports.bigquery));
        let mut aws_child = match given.aws {
            Some(_) => None,
            None => Some(start_aws(&folders, &python, &aws_url, ports.aws)?),
        };
        let mut bigquery_child = match given.bigquery {
            Some(_) => None,
            None => Some(start_bigquery(&folders, &python, ports.bigquery).await?),
        };
        let interval_rate = rate_limit(options.interval, options.symbols.len().max(5));
        let feed = if given.is_recorded() {
            let config = feed::Config {
                port: ports.feed,
                token: RECORDED_KEY.to_owned(),
                speed: options.speed,
                rate_limit_per_minute: interval_rate,
                start_position: options.start_at,
                state_file: Some(folders.data.join("feed.json")),
            };
            Some(Feed::start(config).await.context("the recorded feed did not start")?)
        } else {
            None
        };
        let finnhub_url = match (&feed, &given.finnhub) {
            (Some(feed), _) => feed.base_url(),
            (None, Some(url)) => url.clone(),
            (None, None) => "https://finnhub.io/api/v1".to_owned(),
        };
        provision::topic(&kafka).await?;
        progress.done("kafka", &format!("{kafka}, topic {}", names::TOPIC));
        progress.done("finnhub", &match &feed {
            Some(feed) => format!("{finnhub_url} (recorded prices, {}x, at {} s)", options.speed, feed.position()),
            None => finnhub_url.clone(),
        });

        if let Some(child) = &mut aws_child {
            child.ready(&format!("{aws_url}/_ministack/health"), STAND_IN_START).await?;
        }
        let aws = Aws::new(&aws_url);
        let queues = aws.storage().await?;
        progress.done("aws", &format!("{aws_url}, buckets and queues"));

        if let Some(child) = &mut bigquery_child {
            child.ready(&format!("{bigquery_url}/readyz"), STAND_IN_START).await?;
        }
        let warehouse = Warehouse::connect(WarehouseConfig {
            endpoint: Some(bigquery_url.clone()),
            project: names::PROJECT.to_owned(),
            dataset: names::DATASET.to_owned(),
            credentials: None,
        })
        .await?;
        warehouse.create_tables().await?;
        progress.done("bigquery", &format!("{bigquery_url}, raw tables"));
        children.extend(aws_child);
        children.extend(bigquery_child);

        let symbols = match (&feed, options.symbols.is_empty()) {
            (_, false) => options.symbols.iter().map(ToString::to_string).collect::<Vec<_>>(),
            (Some(feed), true) => feed.recording().symbols().map(str::to_owned).collect(),
            (None, true) => Vec::new(),
        };
        let aws_environment = ("AWS_ENDPOINT_URL".to_owned(), aws_url.clone());
        let mut fetch_environment = HashMap::from([
            ("FINNHUB_BASE_URL".to_owned(), finnhub_url.clone()),
            ("FINNHUB_API_KEY".to_owned(), given.finnhub_key.unwrap_or_else(|| RECORDED_KEY.to_owned())),
            ("KAFKA_BOOTSTRAP_SERVERS".to_owned(), kafka.clone()),
            ("KAFKA_TOPIC".to_owned(), names::TOPIC.to_owned()),
            ("POLL_INTERVAL_SECONDS".to_owned(), options.interval.as_secs_f64().to_string()),
            ("RATE_LIMIT_PER_MINUTE".to_owned(), interval_rate.to_string()),
        ]);
        if !symbols.is_empty() {
            fetch_environment.insert("SYMBOLS".to_owned(), symbols.join(","));
        }
        let bigquery_environment = [
            ("BIGQUERY_ENDPOINT".to_owned(), bigquery_url.clone()),
            ("BIGQUERY_PROJECT".to_owned(), names::PROJECT.to_owned()),
            ("BIGQUERY_DATASET".to_owned(), names::DATASET.to_owned()),
        ];
        let transform = start_transform(&folders, &python, &bigquery_environment)?;
        let functions = functions_dir()?;
        let bootstrap = |name| functions.join(name);
        let load_environment = bigquery_environment
            .into_iter()
            .chain([aws_environment.clone(), ("LOADED_QUEUE_URL".to_owned(), queues.loaded.clone())]);
        let specs = [
            FunctionSpec {
                name: names::FETCH,
                bootstrap: bootstrap(names::FETCH),
                environment: fetch_environment,
                timeout_seconds: FETCH_TIMEOUT_SECONDS,
                memory_mb: 128,
                reserved_concurrency: Some(1),
            },
            FunctionSpec {
                name: names::ARCHIVE,
                bootstrap: bootstrap(names::ARCHIVE),
                environment: HashMap::from([
                    aws_environment,
                    ("BRONZE_BUCKET".to_owned(), names::BRONZE_BUCKET.to_owned()),
                    ("QUARANTINE_BUCKET".to_owned(), names::QUARANTINE_BUCKET.to_owned()),
                ]),
                timeout_seconds: 30,
                memory_mb: 128,
                reserved_concurrency: None,
            },
            FunctionSpec {
                name: names::LOAD,
                bootstrap: bootstrap(names::LOAD),
                environment: load_environment.collect(),
                timeout_seconds: 30,
                memory_mb: 256,
                reserved_concurrency: None,
            },
        ];
        if let Some(missing) = specs.iter().find(|spec| !spec.bootstrap.exists()) {
            bail!("{} is missing: run `cargo build --workspace`", missing.bootstrap.display());
        }
        let [fetch, archive, load] = &specs;
        tokio::try_join!(aws.function(fetch), aws.function(archive), aws.function(load))?;
        aws.queue_trigger(&queues.archived).await?;
        progress.done("functions", &format!("{}, {}, {}", names::FETCH, names::ARCHIVE, names::LOAD));

        let book = Arc::new(Book::new()?);
        let ledger =
            Arc::new(Ledger::new(&folders.data, &kafka, aws.clone(), queues.clone(), warehouse)?);
        ledger.list_buckets().await?;
        let dataset = |suffix| format!("{}{suffix}", names::DATASET);
        let endpoints = Endpoints {
            kafka_bootstrap_servers: kafka.clone(),
            kafka_topic: names::TOPIC.to_owned(),
            kafka_group: names::GROUP.to_owned(),
            aws_endpoint_url: aws.endpoint.clone(),
            aws_region: names::REGION.to_owned(),
            bronze_bucket: names::BRONZE_BUCKET.to_owned(),
            quarantine_bucket: names::QUARANTINE_BUCKET.to_owned(),
            archived_queue: names::ARCHIVED_QUEUE.to_owned(),
            dead_letter_queue: names::DEAD_LETTER_QUEUE.to_owned(),
            loaded_queue: names::LOADED_QUEUE.to_owned(),
            bigquery_endpoint: bigquery_url,
            bigquery_project: names::PROJECT.to_owned(),
            bigquery_dataset: dataset(""),
            bigquery_bronze_dataset: dataset("_bronze"),
            bigquery_silver_dataset: dataset("_silver"),
            bigquery_gold_dataset: dataset("_gold"),
            finnhub_base_url: finnhub_url,
            dashboard_url: None,
        };
        endpoints.save(&folders.data)?;

        let stop = CancellationToken::new();
        let first_gold = Arc::new(std::sync::OnceLock::new());
        let mut tasks = JoinSet::new();
        let bridge = Bridge::new(&kafka, aws.clone(), Arc::clone(&book), Arc::clone(&ledger))?;
        tasks.spawn(bridge.run(stop.clone()));
        let (loaded, transformed) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let trigger = Transform {
            aws: aws.clone(),
            queue_url: queues.loaded,
            function: Arc::clone(&transform),
            ledger: Arc::clone(&ledger),
            loaded: Arc::clone(&loaded),
            transformed: Arc::clone(&transformed),
        };
        tasks.spawn(trigger.run(stop.clone()));
        tasks.spawn(observe_bronze(Arc::clone(&ledger), Arc::clone(&book), loaded, stop.clone()));
        tasks.spawn(observe_gold(
            Arc::clone(&ledger),
            Arc::clone(&book),
            transformed,
            Arc::clone(&first_gold),
            stop.clone(),
        ));
        progress.done("triggers", "Kafka -> archive-quotes, loads -> transform-quotes (dbt)");
        Ok(Self {
            folders,
            endpoints,
            aws,
            ledger,
            book,
            feed,
            broker,
            children,
            transform,
            tasks,
            stop,
            first_gold,
            started,
        })
    }

    /// Runs the schedule, or the polls asked for, and reports until it is time to stop.
    async fn watch(&mut self, options: &RunOptions, interrupts: &mut Interrupts) -> anyhow::Result<()> {
        let polls = match options.polls {
            Some(polls) => Some(tokio::spawn(poll(self.aws.clone(), polls))),
            None => {
                self.start_polling(options.interval).await?;
                None
            }
        };
        println!("running; `local status` tells more, Ctrl-C stops\n");
        let end = options.duration.map(|duration| Instant::now() + duration);
        let mut reports = tokio::time::interval(REPORT_EVERY);
        reports.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let mut screen = Screen::new();
        loop {
            tokio::select! {
                _ = reports.tick() => {
                    let counts = self.report(options, Phase::Running).await?;
                    screen.show(self.started, counts, &self.book);
                }
                () = interrupts.next() => break,
                () = sleep_until(end) => break,
                ended = self.tasks.join_next() => {
                    ended.context("no task is left")?.context("a task panicked")??;
                    bail!("a part of the flow ended by itself");
                }
                error = first_ended(&mut self.children) => return Err(error),
                () = tokio::time::sleep(Duration::from_millis(100)),
                    if polls.as_ref().is_some_and(tokio::task::JoinHandle::is_finished) => break,
            }
        }
        screen.end();
        if let Some(polls) = polls.filter(tokio::task::JoinHandle::is_finished) {
            polls.await??;
        }
        self.drain(options, interrupts).await?;
        self.ledger.list_buckets().await?;
        let counts = self.report(options, Phase::Finished).await?;
        self.summary(counts).await
    }

    /// Polls at once until the schedule does: to this minute's end, or to the next one's where this one is
    /// nearly over. Should the schedule fire earlier, the function's concurrency of 1 turns it away.
    async fn start_polling(&self, interval: Duration) -> anyhow::Result<()> {
        self.aws.schedule().await?;
        let left = MINUTE_MS - now_ms() % MINUTE_MS;
        let until = if left < SCHEDULE_LEAD_MS { left + MINUTE_MS } else { left };
        let polls = u128::from(until) / interval.as_millis().max(1);
        let event = json!({ "polls": polls }).to_string();
        let invoke = self.aws.lambda.invoke().function_name(names::FETCH);
        let invoke = invoke.invocation_type(InvocationType::Event).payload(Blob::new(event));
        invoke.send().await.context("fetch-quotes cannot be invoked")?;
        Ok(())
    }

    async fn report(&self, options: &RunOptions, phase: Phase) -> anyhow::Result<Counts> {
        let counts = self.ledger.count(self.feed.as_ref().map(|feed| feed.served().quotes_with(200))).await?;
        if let Some(path) = &options.report {
            let report = Report {
                phase,
                started_at: self.started,
                written_at: Timestamp::now(),
                first_gold_at: self.first_gold.get().copied(),
                stages: counts.into(),
                quarantined: counts.quarantined,
                failed: counts.failed + counts.dead_letters,
                latency_ms: self.book.latencies(),
                endpoints: &self.endpoints,
            };
            write_json(path, &report)?;
        }
        Ok(counts)
    }

    /// Stops fetching and waits until everything fetched has arrived.
    async fn drain(&mut self, options: &RunOptions, interrupts: &mut Interrupts) -> anyhow::Result<()> {
        self.aws.unschedule().await?;
        if let Some(feed) = &self.feed {
            feed.set_fault(None, Fault::Status(503));
        }
        println!("stopping: waiting for the quotes on their way (Ctrl-C to leave them for the next run)");
        let end = Instant::now() + DRAIN;
        loop {
            let counts = self.report(options, Phase::Running).await?;
            let still = counts.lag + counts.to_load + counts.to_transform;
            let unpublished = counts.fetched.saturating_sub(counts.published);
            if still == 0 && unpublished == 0 {
                return Ok(());
            }
            if Instant::now() > end {
                println!(
                    "left for the next run: {} to archive, {} to load, {} to transform",
                    counts.lag, counts.to_load, counts.to_transform
                );
                return Ok(());
            }
            tokio::select! {
                () = tokio::time::sleep(Duration::from_millis(200)) => {}
                () = interrupts.next() => return Ok(()),
            }
        }
    }

    async fn summary(&self, counts: Counts) -> anyhow::Result<()> {
        println!(
            "\nin the stores: fetched {}, published {}, archived {}, loaded {}, silver {}, quarantined {}",
            counts.fetched, counts.published, counts.archived, counts.loaded, counts.silver, counts.quarantined
        );
        println!("failed in this run: {} invocations; dead letters: {}", counts.failed, counts.dead_letters);
        println!("\nfrom the fetch to    quotes    p50 ms    p95 ms    max ms");
        for (stage, latency) in self.book.latencies() {
            let stage = match stage {
                Stage::KafkaAck => "Kafka ack",
                Stage::Object => "object",
                Stage::BronzeRow => "bronze row",
                Stage::GoldRow => "gold row",
            };
            println!(
                "  {stage:<14} {:>10}{:>10}{:>10}{:>10}",
                latency.quotes, latency.p50, latency.p95, latency.max
            );
        }
        println!("\nsymbol        price  change %  market time (New York)");
        for row in self.ledger.prices().await? {
            let text = |column: usize| row.get(column).cloned().flatten().unwrap_or_default();
            println!("{:<8} {:>10} {:>9}  {}", text(0), text(1), text(2), text(3));
        }
        Ok(())
    }

    /// Stops what was started, the last first.
    async fn stop(mut self) -> anyhow::Result<()> {
        self.stop.cancel();
        while let Some(ended) = self.tasks.join_next().await {
            if let Err(error) = ended.context("a task panicked").and_then(|ended| ended) {
                tracing::warn!("{error:#}");
            }
        }
        self.transform.stop().await;
        if let Some(feed) = self.feed.take() {
            feed.stop().await;
        }
        for child in self.children.drain(..) {
            child.stop().await;
        }
        if let Some(broker) = self.broker.take() {
            tokio::task::spawn_blocking(move || broker.stop()).await??;
        }
        println!("\nstopped; the data is kept in {}", self.folders.data.display());
        Ok(())
    }
}

async fn sleep_until(end: Option<Instant>) {
    match end {
        Some(end) => tokio::time::sleep_until(end).await,
        None => std::future::pending().await,
    }
}

async fn first_ended(children: &mut [Child]) -> anyhow::Error {
    match children {
        [] => std::future::pending().await,
        [one] => one.ended().await,
        [one, two, ..] => tokio::select! {
            error = one.ended() => error,
            error = two.ended() => error,
        },
    }
}

/// Enough for every poll and the market's status, and never less than Finnhub's own limit.
fn rate_limit(interval: Duration, symbols: usize) -> u32 {
    let polls = 60_000 / interval.as_millis().max(1) + 1;
    let requests = polls * symbols as u128 + 10;
    u32::try_from(requests).unwrap_or(u32::MAX).max(RATE_LIMIT_PER_MINUTE)
}

/// Runs exactly `polls` polls, a minute's at a time.
async fn poll(aws: Aws, polls: u32) -> anyhow::Result<()> {
    #[derive(Deserialize)]
    struct Outcome {
        polls: u32,
    }
    let mut left = polls;
    while left > 0 {
        let event = json!({ "polls": left.min(10) }).to_string();
        let invoke = aws.lambda.invoke().function_name(names::FETCH).payload(Blob::new(event));
        let answer = invoke.send().await.context("fetch-quotes cannot be invoked")?;
        let payload = answer.payload.map(Blob::into_inner).unwrap_or_default();
        if let Some(kind) = answer.function_error {
            bail!("fetch-quotes failed: {kind} {}", String::from_utf8_lossy(&payload));
        }
        let Outcome { polls } = serde_json::from_slice(&payload).context("fetch-quotes' response is not its own")?;
        left = left.saturating_sub(polls.max(1));
    }
    Ok(())
}

/// Watches bronze: what is new there after a load.
async fn observe_bronze(
    ledger: Arc<Ledger>,
    book: Arc<Book>,
    loaded: Arc<Notify>,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    while stop.run_until_cancelled(loaded.notified()).await.is_some() {
        match ledger.recent_bronze().await {
            Ok(ids) => book.arrived(Stage::BronzeRow, ids),
            Err(error) => tracing::warn!("{error:#}"),
        }
    }
    Ok(())
}

/// Watches gold: what it shows after a run of dbt.
async fn observe_gold(
    ledger: Arc<Ledger>,
    book: Arc<Book>,
    transformed: Arc<Notify>,
    first_gold: Arc<std::sync::OnceLock<Timestamp>>,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    while stop.run_until_cancelled(transformed.notified()).await.is_some() {
        ledger.gold_is_there();
        match ledger.recent_gold().await {
            Ok(ids) => book.arrived(Stage::GoldRow, ids),
            Err(error) => tracing::warn!("{error:#}"),
        }
        if first_gold.get().is_none() && book.latencies().get(&Stage::GoldRow).is_some_and(|gold| gold.quotes > 0) {
            let _ = first_gold.set(Timestamp::now());
        }
    }
    Ok(())
}

/// One line that tells how far the quotes are.
struct Screen {
    rewrites: bool,
    shown: Option<Instant>,
}

impl Screen {
    fn new() -> Self {
        Self { rewrites: std::io::stdout().is_terminal(), shown: None }
    }

    fn show(&mut self, started: Timestamp, counts: Counts, book: &Book) {
        if !self.rewrites && self.shown.is_some_and(|shown| shown.elapsed() < LINE_EVERY) {
            return;
        }
        self.shown = Some(Instant::now());
        let seconds = Timestamp::now().duration_since(started).as_secs();
        let gold = book.latencies().get(&Stage::GoldRow).filter(|gold| gold.quotes > 0).copied();
        let gold = gold.map_or_else(
            || "waiting for gold".to_owned(),
            |gold| format!("{} in gold, p50 {:.1} s", gold.quotes, gold.p50 as f64 / 1000.0),
        );
        let line = format!(
            "{:02}:{:02}  fetched {}  published {}  archived {}  loaded {}  silver {}  failed {}  |  this run: {gold}",
            seconds / 60,
            seconds % 60,
            counts.fetched,
            counts.published,
            counts.archived,
            counts.loaded,
            counts.silver,
            counts.failed + counts.dead_letters,
        );
        if self.rewrites {
            print!("\r\x1b[2K{line}");
        } else {
            println!("{line}");
        }
        let _ = std::io::stdout().flush();
    }

    fn end(&self) {
        if self.rewrites {
            println!();
        }
    }
}

async fn start_broker(folders: &Folders, port: u16) -> anyhow::Result<Broker> {
    let config = broker::Config {
        port,
        data_dir: folders.data.join("kafka"),
        topics: vec![(names::TOPIC.to_owned(), names::PARTITIONS)],
    };
    let started: Result<Broker, BrokerError> = tokio::task::spawn_blocking(|| Broker::start(config)).await?;
    started.context("the Kafka broker did not start")
}

fn start_aws(folders: &Folders, python: &Path, url: &str, port: u16) -> anyhow::Result<Child> {
    let path = |folder: &str| folders.data.join(folder).display().to_string();
    Child::start(Program {
        name: "the AWS stand-in",
        program: python,
        args: vec!["-m".to_owned(), "ministack".to_owned()],
        env: vec![
            ("AWS_ENDPOINT_URL", url.to_owned()),
            ("GATEWAY_PORT", port.to_string()),
            ("BIND_HOST", "127.0.0.1".to_owned()),
            // Both would listen on ports of their own.
            ("IOT_MTLS_ENABLED", "0".to_owned()),
            ("SFTP_ENABLED", "0".to_owned()),
            ("MINISTACK_REGION", names::REGION.to_owned()),
            ("S3_PERSIST", "1".to_owned()),
            ("S3_DATA_DIR", path("s3")),
            ("PERSIST_STATE", "1".to_owned()),
            ("STATE_DIR", path("aws")),
            ("HOME", path("home")),
            ("TMPDIR", path("tmp")),
        ],
        dir: &folders.data,
        log: folders.log("aws"),
    })
}

async fn start_bigquery(folders: &Folders, python: &Path, port: u16) -> anyhow::Result<Child> {
    let home = folders.data.join("home");
    let import = folders.project.join("localstack/import_duckdb_extension.py");
    let imported = tokio::process::Command::new(python).arg(import).arg(&home).output().await?;
    if !imported.status.success() {
        bail!("DuckDB's extension cannot be imported: {}", String::from_utf8_lossy(&imported.stderr));
    }
    let args = ["-m", "bqemulator", "start", "--rest-port", &port.to_string(), "--grpc-port", "0", "--persistent"];
    let more = ["--project", names::PROJECT, "--log-level", "warning", "--data-dir"];
    Child::start(Program {
        name: "the BigQuery stand-in",
        program: python,
        args: args
            .into_iter()
            .chain(more)
            .map(str::to_owned)
            .chain([folders.data.join("bigquery").display().to_string()])
            .collect(),
        env: vec![
            // Neither is needed, and the first would be downloaded; the second keeps a copy of a table for each change.
            ("BQEMU_ENABLE_FORMAT_EXTENSIONS", "false".to_owned()),
            ("BQEMU_TIME_TRAVEL_RETENTION_DAYS", "0".to_owned()),
            ("HOME", home.display().to_string()),
            ("TMPDIR", folders.data.join("tmp").display().to_string()),
        ],
        dir: &folders.data,
        log: folders.log("bigquery"),
    })
}

/// transform-quotes as in its container image: the Python runtime client behind the Runtime API.
fn start_transform(
    folders: &Folders,
    python: &Path,
    bigquery: &[(String, String)],
) -> anyhow::Result<Arc<Function>> {
    let log = std::sync::Mutex::new(File::create(folders.log(names::TRANSFORM))?);
    let path = |folder: &str| folders.data.join(folder).display().to_string();
    let mut config = FunctionConfig::new(names::TRANSFORM, std::env::current_exe()?);
    let command = ["exec", "--", &python.display().to_string(), "-m", "awslambdaric", "transform_quotes.handler.handler"];
    config.args = command.into_iter().map(str::to_owned).collect();
    config.env = bigquery.to_vec();
    config.env.extend([
        ("PYTHONPATH".to_owned(), folders.project.join("functions/transform-quotes").display().to_string()),
        ("DBT_PROJECT_DIR".to_owned(), folders.project.join("dbt_stocks").display().to_string()),
        ("DBT_TARGET_PATH".to_owned(), path("dbt/target")),
        ("DBT_LOG_PATH".to_owned(), path("dbt/logs")),
        ("HOME".to_owned(), path("home")),
        ("TMPDIR".to_owned(), path("tmp")),
    ]);
    config.timeout = Duration::from_mins(5);
    config.memory_mb = 1024;
    config.log = Arc::new(move |line| {
        if let Ok(mut log) = log.lock() {
            let _ = writeln!(log, "{line}");
        }
    });
    Ok(Arc::new(Function::start(config)))
}
