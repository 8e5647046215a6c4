//! `quoteflow run`: starts the flow, watches it, and stops it.

use std::{sync::Arc, time::Duration};

use anyhow::{Context, bail};
use axum::Router;
use feed::recording::SESSION_SECONDS;
use jiff::{SignedDuration, Timestamp};
use runtime_api::Function;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    task::JoinSet,
    time::{Instant, MissedTickBehavior},
};
use tokio_util::sync::CancellationToken;
use warehouse::{Warehouse, WarehouseConfig, statements};

use crate::{
    base::{
        clock::{MINUTE_MS, now_ms},
        data_dir::{DataDir, write_json},
        endpoints::Endpoints,
        hint, names,
        options::RunOptions,
    },
    finnhub::{market::Closed, preflight, relay::Relay},
    servers::{
        aws::Aws,
        functions, history, provision,
        stand_ins::{ExternalServers, Servers, python},
    },
    triggers::{
        bridge::Bridge,
        dashboard::Dashboard,
        object_events,
        transform::{Transform, settle},
    },
    verbs::send_again::SendAgain,
    watch::{
        bill::{self, Billing, CloudReport, Fetching},
        latencies::{Latencies, Stage},
        logs::{self, Logs},
        metrics::{self, Metrics},
        observe::Observer,
        pipeline::{Pipeline, Snapshot},
        report::{Phase, Report},
        screen::{self, Progress, Screen, stopping, summary},
        stall::Stall,
        store_counts::{Counts, StoreCounts},
    },
};

/// The file in the data folder with the flow's state in words, for `quoteflow status`.
pub(crate) const STATE: &str = "now.json";
const REPORT_EVERY: Duration = Duration::from_secs(2);
/// How long the end waits for quotes that are not in gold yet.
const DRAIN: Duration = Duration::from_mins(1);
/// How long a failed invocation is shown. A retry usually succeeds.
const FAILURE_SHOWN: Duration = Duration::from_mins(2);
/// The schedule of reconcile-quotes if S3 may send no events.
const EVERY_FIVE_MINUTES: &str = "rate(5 minutes)";
/// An event in which the Scheduler inserts the time.
const SCHEDULED_TIME: &str = r#"{"scheduled_time":"<aws.scheduler.scheduled-time>"}"#;
/// How long before a minute's end the schedule must exist to fire for the next minute.
const SCHEDULE_LEAD_MS: u64 = 15_000;

/// Everything that a run has started.
struct Flow {
    options: RunOptions,
    data: DataDir,
    servers: Servers,
    endpoints: Endpoints,
    aws: Aws,
    store_counts: Arc<StoreCounts>,
    latencies: Arc<Latencies>,
    transform: Arc<Function>,
    dashboard: Dashboard,
    metrics: Arc<Metrics>,
    logs: Logs,
    metrics_server: metrics::Server,
    pipeline: Pipeline,
    tasks: JoinSet<anyhow::Result<()>>,
    stop: CancellationToken,
    observer: Observer,
    started: Timestamp,
    fetching: Fetching,
    billing: Option<Billing>,
    /// How many invocations have failed, and when the number last changed.
    failed: (u64, Instant),
    stall: Stall,
}

/// Runs the flow as the options say.
pub(crate) async fn run(options: RunOptions) -> anyhow::Result<()> {
    let mut interrupts = Interrupts::new()?;
    let mut flow = tokio::select! {
        flow = Flow::start(options) => flow?,
        () = interrupts.next() => bail!("interrupted while starting"),
    };
    let outcome = flow.watch(&mut interrupts).await;
    let stopped = flow.stop().await;
    outcome.and(stopped)
}

/// The signals that stop a run, such as Ctrl-C.
struct Interrupts([Signal; 3]);

impl Interrupts {
    fn new() -> anyhow::Result<Self> {
        let [int, term, hangup] = [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()];
        Ok(Self([signal(int)?, signal(term)?, signal(hangup)?]))
    }

    async fn next(&mut self) {
        let [int, term, hangup] = &mut self.0;
        tokio::select! {
            _ = int.recv() => {}
            _ = term.recv() => {}
            _ = hangup.recv() => {}
        }
    }
}

impl Flow {
    #[allow(clippy::too_many_lines, reason = "the start of everything, in its order")]
    async fn start(options: RunOptions) -> anyhow::Result<Self> {
        let project = std::path::absolute(&options.project)?;
        if !project.join("dbt_stocks/dbt_project.yml").exists() {
            bail!("{} is not the project's folder: pass --project DIR", project.display());
        }
        let python = python(&project)?;
        let external = ExternalServers::read();
        let polling = external.polling(&options)?;
        let billing = Billing::new(&options, polling.symbols.len())?;
        let upstream = external.upstream()?;
        let first_answer = preflight::first_answer(upstream.as_ref(), &polling.symbols).await?;
        let data = DataDir::open(&options.data.data_dir)?;
        let started = Timestamp::now();
        let progress = Progress::start();
        screen::say(&format!("starting in {}", data.path().display()));
        if !polling.unknown.is_empty() {
            screen::say(&format!("the recording does not have {}: not polled", polling.unknown.join(", ")));
        }
        let mut servers =
            Servers::start(external, polling, upstream, &options, &data, &project, &python).await?;
        provision::topic(&servers.kafka).await?;
        progress.done("kafka", &format!("{}, topic {}", servers.kafka, names::TOPIC));
        say_source(&progress, &servers);
        servers.note_first_answer(first_answer);
        let metrics = Arc::new(Metrics::new()?);
        for (function, limits) in names::DEPLOYED.into_iter().chain(names::HOSTED) {
            metrics.set_timeout(function, limits.timeout());
        }
        let transform = functions::start_transform(
            &data,
            &project,
            &python,
            &servers,
            logs::of_hosted(&data, names::TRANSFORM, &metrics)?,
        )?;
        // dbt takes seconds to start, like the stand-ins, so it starts at the same time.
        transform.warm();
        servers.ready().await?;
        let dashboard =
            functions::start_dashboard(&servers, logs::of_hosted(&data, names::SERVE, &metrics)?)?;
        let dashboard = Dashboard::start(&servers.dashboard, dashboard, Arc::clone(&metrics)).await?;
        dashboard.warm();
        let stand_in = WarehouseConfig::stand_in(&servers.bigquery_itself, names::PROJECT, names::DATASET);
        let warehouse = Warehouse::connect(stand_in).await?;
        let tables = async {
            warehouse.create_tables().await?;
            // Queried before dbt runs, because a first run creates the views one after the other. For a missing
            // view, the stand-in's answer is empty.
            let prices = warehouse.run(&statements::LATEST_PRICES, &[]).await;
            let has_gold = prices.is_ok_and(|prices| !prices.rows.is_empty());
            progress.done("bigquery", &format!("{}, raw tables", servers.bigquery));
            // The first run creates the views before the first quote arrives.
            let first =
                (!has_gold).then(|| tokio::spawn(settle(Arc::clone(&transform), Arc::clone(&metrics))));
            anyhow::Ok((has_gold, first))
        };
        let aws = Aws::new(&servers.aws, &servers.s3);
        let s3_is_separate = servers.s3 != servers.aws;
        let storage = async {
            let feed = servers.feed.as_ref().filter(|_| options.start_at.is_none());
            let delay = servers.proxy.is_some();
            let (queues, history) =
                history::storage(&aws, s3_is_separate, delay, feed, &servers.polling.symbols).await?;
            if history > 0 {
                progress
                    .done("history", &format!("{history} quotes of the days before, to be loaded at once"));
            }
            progress.done("aws", &format!("{}, buckets and queues", servers.aws));
            Box::pin(functions::deploy(&aws, &servers, &queues, &options)).await?;
            progress
                .done("functions", &[names::FETCH, names::ARCHIVE, names::LOAD, names::RECONCILE].join(", "));
            anyhow::Ok((queues, history))
        };
        let ((has_gold, first), (queues, history)) = tokio::try_join!(tables, storage)?;
        aws.queue_trigger(&queues.archived).await?;
        if s3_is_separate {
            progress.done("s3", &format!("{}, buckets", servers.s3));
        }
        let webhook = if s3_is_separate {
            object_events::router(aws.sqs.clone(), queues.archived.clone())
        } else {
            Router::new()
        };
        let pipeline = Pipeline::new();
        let also = webhook.merge(pipeline.router());
        let metrics_server = metrics::Server::start(&servers.metrics, Arc::clone(&metrics), also).await?;
        let endpoints = servers.endpoints();
        endpoints.save(data.path())?;
        let latencies = Arc::new(Latencies::new(Arc::clone(&metrics))?);
        let logs = Logs::new(aws.clone(), &data, &names::DEPLOYED, started)?;
        let store_counts =
            StoreCounts::new(data.path(), &servers.kafka, aws.clone(), queues.clone(), warehouse, has_gold)?;
        store_counts.list_buckets().await?;
        let (store_counts, stop) = (Arc::new(store_counts), CancellationToken::new());
        let observer = Observer::new(&store_counts, &latencies, &stop);
        let stall = Stall::new(options.interval, Instant::now());
        let mut flow = Self {
            options,
            data,
            servers,
            endpoints,
            aws,
            store_counts,
            latencies,
            transform,
            dashboard,
            metrics,
            logs,
            metrics_server,
            pipeline,
            tasks: JoinSet::new(),
            stop,
            observer,
            started,
            fetching: Fetching::start(),
            billing,
            failed: (0, Instant::now()),
            stall,
        };
        let transform = flow.transform_quotes();
        let pause = match first {
            None => Duration::ZERO,
            Some(first) => {
                let pause = transform.note(first.await?);
                progress.done("gold", "silver's and gold's views");
                pause
            }
        };
        flow.start_tasks(transform, pause)?;
        // A killed run may have lost the events of objects that it archived.
        if history == 0 {
            flow.aws.invoke_soon(names::RECONCILE, &json!({ "grace_seconds": 0 })).await?;
        }
        let schedule = if s3_is_separate { EVERY_FIVE_MINUTES } else { names::RECONCILE_SCHEDULE };
        flow.aws.schedule(names::RECONCILE, schedule, "{}").await?;
        progress.done("triggers", "Kafka -> archive-quotes, every 3 minutes -> transform-quotes (dbt)");
        progress.done("dashboard", &flow.endpoints.dashboard_url);
        progress.done("metrics", &flow.endpoints.metrics_url);
        Ok(flow)
    }

    fn transform_quotes(&self) -> Transform {
        Transform {
            function: Arc::clone(&self.transform),
            store_counts: Arc::clone(&self.store_counts),
            metrics: Arc::clone(&self.metrics),
            transformed: Arc::clone(&self.observer.changed),
        }
    }

    fn start_tasks(&mut self, transform: Transform, pause: Duration) -> anyhow::Result<()> {
        let bridge = Bridge::new(
            &self.servers.kafka,
            self.aws.clone(),
            Arc::clone(&self.latencies),
            Arc::clone(&self.store_counts),
            Arc::clone(&self.metrics),
        )?;
        self.tasks.spawn(bridge.run(self.stop.clone()));
        self.tasks.spawn(transform.run(pause, self.stop.clone()));
        self.tasks.spawn(self.observer.clone().bronze());
        self.tasks.spawn(self.observer.clone().gold());
        Ok(())
    }

    /// Runs the schedule, or the requested polls, and reports until it is time to stop.
    async fn watch(&mut self, interrupts: &mut Interrupts) -> anyhow::Result<()> {
        let mut polls = if let Some(polls) = self.options.polls {
            tokio::spawn(poll(self.aws.clone(), polls, self.options.interval))
        } else {
            self.start_polling().await?;
            tokio::spawn(std::future::pending())
        };
        self.fetching = Fetching::start();
        if self.options.open_page {
            let symbol = self.servers.polling.symbols.first().cloned().unwrap_or_default();
            let (url, page) = (self.endpoints.dashboard_url.clone(), self.fetching.lasting());
            self.tasks.spawn(bill::open_page(url, symbol, page));
        }
        let status = hint::command("status", self.data.path());
        screen::say(&format!("\nThe page:   {}", self.endpoints.dashboard_url));
        screen::say_command("More:       ", &status);
        screen::say("To stop:    Ctrl-C\n");
        self.say_market();
        let end = self.options.duration.map(|duration| Instant::now() + duration);
        let mut reports = tokio::time::interval(REPORT_EVERY);
        reports.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let mut screen = Screen::new();
        let mut send_again = SendAgain::default();
        self.pipeline.begin(self.options.interval);
        self.stall = Stall::new(self.options.interval, Instant::now());
        loop {
            tokio::select! {
                _ = reports.tick() => {
                    let reported = tokio::select! {
                        reported = self.report(Phase::Running) => reported,
                        // A store that does not answer must not delay the stop.
                        () = interrupts.next() => break,
                    };
                    self.show(reported, &mut screen)?;
                    self.poll_again(&mut send_again).await?;
                }
                () = interrupts.next() => break,
                () = sleep_until(end) => break,
                polled = &mut polls => {
                    polled??;
                    break;
                }
                ended = self.tasks.join_next() => {
                    ended.context("no task is left")?.context("a task of the flow panicked")??;
                    bail!("a part of the flow ended by itself");
                }
                error = self.servers.ended() => return Err(error),
            }
        }
        screen.end();
        // From now on no quotes are returned.
        let trouble = self.servers.trouble();
        self.drain(interrupts, &mut screen).await?;
        self.store_counts.list_buckets().await?;
        let counts = self.report(Phase::Finished).await?;
        screen.end();
        summary(
            counts,
            trouble.as_deref(),
            &self.metrics.functions(),
            &self.latencies.by_stage(),
            &self.store_counts.prices().await?,
        );
        if let Some(report) = self.cloud_report() {
            bill::print(&report);
        }
        Ok(())
    }

    /// Shows the progress of the quotes, or which store does not answer.
    fn show(&mut self, reported: anyhow::Result<Counts>, screen: &mut Screen) -> anyhow::Result<()> {
        let (fetched, latencies) = (self.servers.quotes(), self.latencies.by_stage());
        let state = match reported {
            Ok(counts) => {
                let taken = latencies.get(&Stage::KafkaAck).map_or(0, |latency| latency.quotes);
                let stall = self.stall.look(fetched, taken, Instant::now());
                let trouble = self.trouble(counts, stall);
                self.pipeline.note(&Snapshot {
                    fetched,
                    counts,
                    latencies: &latencies,
                    functions: &self.metrics.functions(),
                    market: self.servers.relay.as_ref().and_then(Relay::market),
                    trouble: trouble.clone(),
                });
                self.state(trouble)
            }
            Err(error) => {
                tracing::warn!("the stores could not be counted for the report: {error:#}");
                // The log has the whole error.
                error.to_string().split(": ").next().unwrap_or_default().to_owned()
            }
        };
        write_json(&self.data.join(STATE), &state)?;
        let running = Timestamp::now().duration_since(self.started).unsigned_abs();
        screen.show(&screen::progress(running, fetched, &latencies, &state), &state);
        Ok(())
    }

    /// Polls immediately until the schedule does: to the end of this minute, or of the next one if this one is nearly
    /// over. If the schedule fires earlier, the function's concurrency of 1 throttles it.
    async fn start_polling(&self) -> anyhow::Result<()> {
        self.aws.schedule(names::FETCH, names::FETCH_SCHEDULE, SCHEDULED_TIME).await?;
        let left = MINUTE_MS - now_ms() % MINUTE_MS;
        let until = if left < SCHEDULE_LEAD_MS { left + MINUTE_MS } else { left };
        let polls = u128::from(until) / self.options.interval.as_millis().max(1);
        self.aws.invoke_soon(names::FETCH, &json!({ "polls": polls })).await
    }

    /// Prints that the market is closed, or why else no quotes arrive.
    fn say_market(&self) {
        let Some(relay) = &self.servers.relay else { return };
        if let Some(trouble) = relay.trouble() {
            screen::say(&format!("{trouble}; polling continues\n"));
        } else if let Some(Closed { why, until, .. }) = relay.closed() {
            screen::say(&format!("{why}\n{until}. Each symbol is polled twice, for its last price."));
            screen::say("For prices that move: --symbols BINANCE:BTCUSDT, or unset FINNHUB_API_KEY.\n");
        }
    }

    /// The newest reason why there are no quotes, or a recent failure; `None` if all is well.
    fn trouble(&mut self, counts: Counts, stall: Option<&str>) -> Option<String> {
        let relay = self.servers.relay.as_ref();
        let unknown = relay.map(Relay::unknown).unwrap_or_default();
        if !unknown.is_empty() {
            screen::say(&format!("Finnhub has no data for {}: is the symbol right?", unknown.join(", ")));
        }
        if counts.failed > self.failed.0 {
            self.failed = (counts.failed, Instant::now());
        }
        let is_new = counts.failed > 0 && self.failed.1.elapsed() < FAILURE_SHOWN;
        let failed = || screen::failures(&self.metrics.functions()).pop();
        let dead_letters = counts.dead_letters.messages;
        let stall = || stall.filter(|_| self.closed().is_none()).map(str::to_owned);
        self.servers
            .trouble()
            .or_else(|| is_new.then(|| failed().unwrap_or_else(|| format!("{} failed", counts.failed))))
            .or_else(stall)
            .or_else(|| (dead_letters > 0).then(|| format!("dead letters: {dead_letters}")))
    }

    /// The problem, or that the market is closed, or that all is well.
    fn state(&self, trouble: Option<String>) -> String {
        let closed = || self.closed().map(|closed| closed.short);
        trouble.or_else(closed).unwrap_or_else(|| "all well".to_owned())
    }

    /// The closed market, if it is the reason that nothing is polled.
    fn closed(&self) -> Option<Closed> {
        let closed = self.servers.relay.as_ref().and_then(Relay::closed);
        closed.filter(|_| self.servers.polling.is_us_only())
    }

    /// Polls for the rest of a minute whose event was throttled by a running invocation.
    async fn poll_again(&self, send_again: &mut SendAgain) -> anyhow::Result<()> {
        let now = now_ms();
        if self.options.polls.is_some() || !send_again.is_due(self.metrics.throttles(names::FETCH), now) {
            return Ok(());
        }
        let interval = u64::try_from(self.options.interval.as_millis()).unwrap_or(MINUTE_MS).max(1);
        let event = again(now, interval)?;
        match event {
            Some(event) => self.aws.invoke_soon(names::FETCH, &event).await,
            None => Ok(()),
        }
    }

    async fn report(&mut self, phase: Phase) -> anyhow::Result<Counts> {
        self.logs.gather(&self.metrics).await;
        let mut counts = self.store_counts.count(self.servers.quotes(), phase == Phase::Finished).await?;
        counts.failed += self.metrics.failed();
        self.metrics.set_stores(&counts);
        self.metrics.tidy();
        if let Some(path) = &self.options.report {
            let cloud = self.cloud_report();
            let report = Report {
                phase,
                started_at: self.started,
                written_at: Timestamp::now(),
                first_gold_at: self.observer.first_gold.get().copied(),
                stages: counts.into(),
                quarantined: counts.quarantined,
                failed: counts.failed + counts.dead_letters.messages,
                latency_ms: self.latencies.by_stage(),
                metrics: self.metrics.functions(),
                endpoints: &self.endpoints,
                cloud: cloud.as_ref(),
            };
            write_json(path, &report)?;
        }
        Ok(counts)
    }

    fn cloud_report(&self) -> Option<CloudReport> {
        let (billing, proxy) = (self.billing.as_ref()?, self.servers.proxy.as_ref()?);
        Some(billing.report(proxy.usage(), &self.metrics.functions(), self.fetching.lasted()))
    }

    /// Stops fetching, and waits until all fetched quotes have arrived.
    async fn drain(&mut self, interrupts: &mut Interrupts, screen: &mut Screen) -> anyhow::Result<()> {
        self.servers.end_polling();
        self.fetching.end();
        self.aws.unschedule(names::FETCH).await?;
        let end = Instant::now() + DRAIN;
        loop {
            let counts = self.report(Phase::Running).await?;
            let unpublished = counts.fetched.saturating_sub(counts.published);
            let to_load = counts.to_load.messages;
            if unpublished + counts.lag + to_load == 0 && self.store_counts.has_gold() {
                self.observer.look().await;
                return Ok(());
            }
            screen.show(&stopping(unpublished + counts.lag + to_load), "stopping");
            if Instant::now() > end {
                screen.end();
                screen::say(&format!("left for the next run: {} to archive, {to_load} to load", counts.lag));
                return Ok(());
            }
            tokio::select! {
                () = tokio::time::sleep(Duration::from_millis(200)) => {}
                () = interrupts.next() => return Ok(()),
            }
        }
    }

    /// Stops everything that was started, in reverse order.
    async fn stop(mut self) -> anyhow::Result<()> {
        self.stop.cancel();
        while let Some(ended) = self.tasks.join_next().await {
            if let Err(error) = ended.context("a task panicked").and_then(|ended| ended) {
                tracing::warn!("{error:#}");
            }
        }
        self.transform.stop().await;
        self.dashboard.stop().await;
        drop(self.metrics_server);
        self.servers.stop().await?;
        screen::say(&format!("\nstopped; the data is kept in {}", self.data.path().display()));
        Ok(())
    }
}

/// Prints the source of the quotes: a recording as `Feb 11, 2019, from 09:30:00 on, at 1x`.
fn say_source(progress: &Progress, servers: &Servers) {
    progress.done("finnhub", &format!("{}, {}", servers.finnhub, servers.polling.pace()));
    let Some(feed) = &servers.feed else { return };
    let position = feed.position();
    let (day, second) = (feed.recording().day_at(position), position % SESSION_SECONDS);
    let at = us_market::OPEN.saturating_add(SignedDuration::from_secs(second.cast_signed()));
    let (day, at) = (day.strftime("%b %-d, %Y"), at.strftime("%H:%M:%S"));
    progress.done("recording", &format!("{day}, from {at} on, at {}x", feed.speed()));
}

/// Repeats the event of the minute of `now_ms`, for its remaining polls; `None` if none is left.
/// fetch-quotes begins at the next poll.
fn again(now_ms: u64, interval_ms: u64) -> anyhow::Result<Option<Value>> {
    let late_ms = now_ms % MINUTE_MS;
    let begun = if late_ms < interval_ms { 0 } else { late_ms / interval_ms + 1 };
    let left = (MINUTE_MS / interval_ms).saturating_sub(begun);
    let minute = Timestamp::from_millisecond((now_ms - late_ms).cast_signed())?;
    Ok((left > 0).then(|| json!({ "scheduled_time": minute.to_string(), "polls": left })))
}

async fn sleep_until(end: Option<Instant>) {
    match end {
        Some(end) => tokio::time::sleep_until(end).await,
        None => std::future::pending().await,
    }
}

/// Runs exactly `polls` polls, at most a minute of them in one invocation.
async fn poll(aws: Aws, polls: u32, interval: Duration) -> anyhow::Result<()> {
    #[derive(Deserialize)]
    struct Outcome {
        polls: u32,
    }
    let mut left = polls;
    while left > 0 {
        let answer = aws.invoke(names::FETCH, &json!({ "polls": left.min(10) })).await;
        let Outcome { polls } = serde_json::from_slice(&answer.context("fetch-quotes failed")?)?;
        left = left.saturating_sub(polls.max(1));
        if left > 0 {
            tokio::time::sleep(interval).await;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_that_is_sent_again_has_the_polls_that_are_left_of_its_minute() {
        let minute: u64 = 1_704_207_600_000;
        let polls = |late_ms, interval_ms| {
            let event = again(minute + late_ms, interval_ms).unwrap()?;
            assert_eq!(event["scheduled_time"], "2024-01-02T15:00:00Z");
            event["polls"].as_u64()
        };
        assert_eq!(polls(5_000, 6_000), Some(10));
        assert_eq!(polls(6_000, 6_000), Some(8));
        assert_eq!(polls(37_000, 6_000), Some(3));
        assert_eq!(polls(53_900, 6_000), Some(1));
        assert_eq!(polls(54_000, 6_000), None);
        assert_eq!(polls(30_000, 60_000), Some(1));
        assert_eq!(polls(100, 50), Some(1197));
    }
}
