//! `--cloud-latency`: the bill of a run.

use std::{collections::BTreeMap, time::Duration};

use cloud::{
    ClientUsage, LEAST_BYTES, Speed, Usage,
    bill::{Bill, DAYS, Grows, Prices, Used},
};
use serde::Serialize;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use crate::{
    base::{
        names::{self, Limits},
        options::RunOptions,
    },
    watch::metrics::FunctionMetrics,
};

/// Runs of transform-quotes in a month, as `infra/aws/main.tf` schedules it: every 15 minutes of seven hours and once
/// after the close on 21 days, or every 15 minutes.
const SETTLES: [f64; 2] = [21.0 * 29.0, DAYS * 96.0];
/// Runs of reconcile-quotes, as scheduled there: every 15 minutes, day and night.
const RECONCILES: [f64; 2] = [DAYS * 96.0, DAYS * 96.0];
/// fetch-quotes is invoked each minute, day and night.
const MINUTES: f64 = DAYS * 1_440.0;
/// How often a minute Lambda's pollers poll an empty queue: five of them, 20 s each.
const EMPTY_RECEIVES: f64 = 15.0;
/// How many messages SQS returns or deletes at once.
const SQS_BATCH: f64 = 10.0;

/// How often an open page requests its figures.
const PAGE_EVERY: Duration = Duration::from_secs(5);

/// The data for the bill that BigQuery's proxy does not count.
pub(crate) struct Billing {
    speed: Speed,
    prices: Prices,
    symbols: f64,
    is_page_open: bool,
}

/// The bill in the report.
#[derive(Debug, Serialize)]
pub(crate) struct CloudReport {
    /// The pace of BigQuery's statements.
    latency: Speed,
    /// The usage of BigQuery by client, without the flow's observer.
    bigquery: Usage,
    /// The cost of that and of the rest.
    bill: Bill,
}

impl Billing {
    /// The bill of a run with this number of symbols, if the options request it.
    ///
    /// # Errors
    /// If the prices cannot be read.
    pub(crate) fn new(options: &RunOptions, symbols: usize) -> anyhow::Result<Option<Self>> {
        let Some(speed) = options.cloud_latency else { return Ok(None) };
        let symbols = float(symbols as u64);
        Ok(Some(Self { speed, prices: Prices::read()?, symbols, is_page_open: options.open_page }))
    }

    /// The bill so far. `usage` is the usage of BigQuery. `fetched_for` is how long quotes have been fetched, with a
    /// page open if the options say so.
    pub(crate) fn report(
        &self,
        usage: Usage,
        functions: &BTreeMap<String, FunctionMetrics>,
        fetched_for: Duration,
    ) -> CloudReport {
        let run = Run {
            usage: &usage,
            functions,
            symbols: self.symbols,
            seconds: fetched_for.as_secs_f64(),
            page_open_for: self.is_page_open.then_some(fetched_for),
        };
        let bill = Bill::new(self.prices.clone(), &run.used());
        CloudReport { latency: self.speed, bigquery: usage, bill }
    }
}

/// The data of a run.
struct Run<'a> {
    usage: &'a Usage,
    functions: &'a BTreeMap<String, FunctionMetrics>,
    symbols: f64,
    seconds: f64,
    page_open_for: Option<Duration>,
}

impl Run<'_> {
    fn used(&self) -> Vec<Used> {
        let mut used = Vec::new();
        for (function, limits) in names::DEPLOYED.into_iter().chain(names::HOSTED) {
            used.extend(self.bigquery(function));
            used.extend(self.lambda(function, limits));
        }
        used.extend(self.s3());
        used.extend(self.sqs());
        used
    }

    fn grows(&self, function: &str) -> Option<Grows> {
        let scheduled = |[trading, always]: [f64; 2]| {
            let runs = self.functions.get(function).map_or(0, |metrics| metrics.invocations);
            Grows::WithRuns { runs: float(runs), trading, always }
        };
        match function {
            names::TRANSFORM => Some(scheduled(SETTLES)),
            names::RECONCILE => Some(scheduled(RECONCILES)),
            names::SERVE => self.page_open_for.map(|open| Grows::WithPage { seconds: open.as_secs_f64() }),
            _ => Some(Grows::WithTime { seconds: self.seconds }),
        }
    }

    fn bigquery(&self, function: &str) -> Option<Used> {
        let ClientUsage { bytes_billed, jobs, .. } = self.usage.of(function);
        let used = Used {
            service: "BigQuery",
            by: function.to_owned(),
            price: "bigquery_tib",
            amount: float(bytes_billed / LEAST_BYTES) * 10.0 / f64::from(1 << 20),
            grows: self.grows(function)?,
            from: "counted: 10 MiB for each table of a statement",
        };
        (jobs > 0).then_some(used)
    }

    fn lambda(&self, function: &str, limits: Limits) -> Vec<Used> {
        let Some(metrics) = self.functions.get(function) else { return Vec::new() };
        let gb = f64::from(limits.memory_mb) / 1024.0;
        let of = |price, amount, grows, from| Used {
            service: "Lambda",
            by: function.to_owned(),
            price,
            amount,
            grows,
            from,
        };
        if function == names::FETCH {
            let each_minute = Grows::WithRuns { runs: 1.0, trading: MINUTES, always: MINUTES };
            let busy = Grows::WithTime { seconds: self.seconds };
            let schedule = "estimated: one invocation a minute, day and night";
            return vec![
                of("lambda_requests", 1.0, each_minute, schedule),
                of(
                    "lambda_gb_seconds",
                    self.seconds * gb,
                    busy,
                    "estimated: it runs as long as quotes are fetched",
                ),
            ];
        }
        let Some(grows) = self.grows(function).filter(|_| metrics.invocations > 0) else { return Vec::new() };
        let mut used = vec![
            of("lambda_requests", float(metrics.invocations), grows, "counted"),
            of(
                "lambda_gb_seconds",
                float(metrics.busy_ms) / 1_000.0 * gb,
                grows,
                "measured here, times the memory declared",
            ),
        ];
        if function == names::SERVE {
            used.push(Used {
                service: "API Gateway",
                ..of("http_requests", float(metrics.invocations), grows, "counted")
            });
        }
        used
    }

    fn count(&self, function: &str, name: &str) -> f64 {
        let metrics = self.functions.get(function);
        metrics.and_then(|metrics| metrics.counts.get(name)).copied().map_or(0.0, float)
    }

    fn s3(&self) -> Vec<Used> {
        let of = |by: &str, price, amount, grows, from| Used {
            service: "S3",
            by: by.to_owned(),
            price,
            amount,
            grows,
            from,
        };
        let busy = Grows::WithTime { seconds: self.seconds };
        let written = ["Archived", "AlreadyArchived", "Quarantined"];
        let written = written.into_iter().map(|name| self.count(names::ARCHIVE, name)).sum();
        let read = self.count(names::LOAD, "Loaded");
        let [trading, always] = RECONCILES;
        let lists = Grows::WithRuns { runs: 1.0, trading, always };
        vec![
            of(names::ARCHIVE, "s3_puts", written, busy, "counted: one PUT a record"),
            of(names::LOAD, "s3_gets", read, busy, "counted: one GET a loaded object"),
            of(
                names::RECONCILE,
                "s3_puts",
                1.0 + self.symbols,
                lists,
                "estimated: a LIST of the symbols and one for each",
            ),
        ]
    }

    /// S3 sends one message for each object. load-quotes' mapping receives and deletes ten at a time, and polls an
    /// empty queue.
    fn sqs(&self) -> Vec<Used> {
        let loads = self.functions.get(names::LOAD).map_or(0, |metrics| metrics.invocations);
        let objects = self.count(names::ARCHIVE, "Archived");
        let batches = (objects / SQS_BATCH).max(float(loads));
        let of = |by: &str, amount, grows, from| Used {
            service: "SQS",
            by: by.to_owned(),
            price: "sqs_requests",
            amount,
            grows,
            from,
        };
        let always = Grows::WithRuns { runs: 1.0, trading: MINUTES, always: MINUTES };
        vec![
            of(
                names::LOAD,
                objects + 2.0 * batches,
                Grows::WithTime { seconds: self.seconds },
                "estimated: a message an object, received and deleted ten at a time",
            ),
            of("empty queue", EMPTY_RECEIVES, always, "estimated: five long polls of 20 s, day and night"),
        ]
    }
}

#[allow(clippy::cast_precision_loss, reason = "a count of requests")]
fn float(number: u64) -> f64 {
    number as f64
}

/// Requests the figures of a page that shows the first symbol, as a browser does, until it is stopped.
pub(crate) async fn open_page(
    dashboard_url: String,
    symbol: String,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let http = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(10)).build()?;
    let mut cycles = tokio::time::interval(PAGE_EVERY);
    cycles.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let asked = format!("{dashboard_url}api/snapshot?symbol={symbol}");
    while stop.run_until_cancelled(cycles.tick()).await.is_some() {
        if let Err(error) = http.get(&asked).send().await {
            tracing::warn!("the open page got no figures: {error}");
        }
    }
    Ok(())
}

/// Prints the bill.
pub(crate) fn print(CloudReport { latency, bigquery, bill }: &CloudReport) {
    let of_a_query = latency.of_a_query();
    let latency = serde_json::to_value(latency).unwrap_or_default();
    println!(
        "\nBigQuery, latency {}          jobs  failed  tables  MiB billed  statements",
        latency.as_str().unwrap_or_default()
    );
    for (client, usage) in &bigquery.clients {
        let kinds = usage.statements.iter().map(|(kind, count)| {
            format!("{} {count}", serde_json::to_value(kind).unwrap_or_default().as_str().unwrap_or_default())
        });
        println!(
            "  {client:<28} {:>7} {:>7} {:>7} {:>11}  {}",
            usage.jobs,
            usage.failed,
            usage.tables,
            usage.bytes_billed >> 20,
            kinds.collect::<Vec<_>>().join(", ")
        );
    }
    println!(
        "  the latencies above end with the commit: a reader's own query takes {:.1} s more",
        of_a_query.as_secs_f64()
    );
    let overwrites: u64 = bigquery.overwrites.values().sum();
    let most = bigquery.overwrites.iter().max_by_key(|(_, count)| **count);
    let most = most.map(|(table, count)| format!(", most of {table}: {count}")).unwrap_or_default();
    println!("  tables overwritten: {overwrites}{most}; refused: {:?}", bigquery.refused);
    println!("\nthe bill, in US dollars a month at list prices of {} ({})", bill.prices_of, bill.region);
    println!("  service       by                    trading hours      all hours");
    for line in &bill.lines {
        if line.usd.all_hours < 0.005 && line.usd.trading_hours < 0.005 {
            continue;
        }
        println!(
            "  {:<13} {:<22} {:>12.2} {:>14.2}  {}",
            line.service, line.by, line.usd.trading_hours, line.usd.all_hours, line.unit
        );
    }
    for (service, month) in &bill.services {
        println!("  {service:<13} {:<22} {:>12.2} {:>14.2}", "in all", month.trading_hours, month.all_hours);
    }
    println!("  {:<36} {:>12.2} {:>14.2}", "total", bill.total.trading_hours, bill.total.all_hours);
    println!(
        "  {:<36} {:>12.2} {:>14.2}",
        "less the free allowances", bill.total_less_free.trading_hours, bill.total_less_free.all_hours
    );
    if let Some(page) = bill.page_usd_an_hour {
        println!("  one open page costs {page:.3} an hour of trading, on top");
    }
    println!("  not in it: Kafka, alarms, logs, storage, the network (infra/README.md)");
}

/// How long quotes have been fetched: from a run's start until it stops fetching.
pub(crate) struct Fetching {
    since: Instant,
    ended: Option<Instant>,
    lasting: CancellationToken,
}

impl Fetching {
    pub(crate) fn start() -> Self {
        Self { since: Instant::now(), ended: None, lasting: CancellationToken::new() }
    }

    pub(crate) fn end(&mut self) {
        self.ended.get_or_insert_with(Instant::now);
        self.lasting.cancel();
    }

    /// A token that is cancelled when fetching ends.
    pub(crate) fn lasting(&self) -> CancellationToken {
        self.lasting.clone()
    }

    pub(crate) fn lasted(&self) -> Duration {
        self.ended.unwrap_or_else(Instant::now).duration_since(self.since)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn function(invocations: u64, busy_ms: u64, counts: &[(&str, u64)]) -> FunctionMetrics {
        let counts = counts.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect();
        FunctionMetrics { invocations, busy_ms, counts, ..FunctionMetrics::default() }
    }

    fn used(usage: &Usage, page_open_for: Option<Duration>) -> Vec<Used> {
        let functions = BTreeMap::from([
            (names::FETCH.to_owned(), function(0, 0, &[])),
            (names::ARCHIVE.to_owned(), function(50, 1_000, &[("Archived", 240), ("AlreadyArchived", 10)])),
            (names::LOAD.to_owned(), function(40, 260_000, &[("Loaded", 240)])),
            (names::TRANSFORM.to_owned(), function(2, 50_000, &[])),
            (names::SERVE.to_owned(), function(300, 60_000, &[])),
        ]);
        Run { usage, functions: &functions, symbols: 5.0, seconds: 300.0, page_open_for }.used()
    }

    fn amount(used: &[Used], by: &str, price: &str) -> (f64, Grows) {
        let one = used.iter().find(|one| one.by == by && one.price == price);
        one.map(|one| (one.amount, one.grows)).expect("it is used")
    }

    #[test]
    fn each_function_is_billed_for_its_time_and_its_requests_and_the_scheduled_ones_by_their_schedule() {
        let mut usage = Usage::default();
        let billed =
            ClientUsage { jobs: 40, tables: 40, bytes_billed: 40 * LEAST_BYTES, ..ClientUsage::default() };
        usage.clients.insert(names::LOAD.to_owned(), billed);
        let used = used(&usage, None);
        let with_time = Grows::WithTime { seconds: 300.0 };
        assert_eq!(amount(&used, names::LOAD, "bigquery_tib"), (400.0 / 1_048_576.0, with_time));
        assert_eq!(amount(&used, names::LOAD, "lambda_gb_seconds"), (65.0, with_time));
        assert_eq!(amount(&used, names::FETCH, "lambda_gb_seconds"), (37.5, with_time));
        assert_eq!(amount(&used, names::ARCHIVE, "s3_puts"), (250.0, with_time));
        assert_eq!(amount(&used, names::LOAD, "s3_gets"), (240.0, with_time));
        assert_eq!(amount(&used, names::LOAD, "sqs_requests"), (240.0 + 2.0 * 40.0, with_time));
        let (runs, grows) = amount(&used, names::TRANSFORM, "lambda_requests");
        assert_eq!(
            (runs, grows),
            (2.0, Grows::WithRuns { runs: 2.0, trading: SETTLES[0], always: SETTLES[1] })
        );
    }

    #[test]
    fn a_page_is_billed_only_if_one_was_open() {
        let dashboard = |page| {
            let used = used(&Usage::default(), page);
            used.into_iter().filter(|one| one.by == names::SERVE).collect::<Vec<_>>()
        };
        assert_eq!(dashboard(None), []);
        let open = dashboard(Some(Duration::from_mins(5)));
        assert_eq!(amount(&open, names::SERVE, "http_requests"), (300.0, Grows::WithPage { seconds: 300.0 }));
    }
}
