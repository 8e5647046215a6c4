//! `quoteflow status`.

use std::{collections::BTreeMap, path::Path};

use anyhow::{Context, bail};
use jiff::tz::TimeZone;
use rdkafka::{ClientConfig, consumer::BaseConsumer};
use warehouse::{Warehouse, WarehouseConfig, statements};

use crate::{
    base::{
        data_dir::{self, Latest},
        endpoints::{Endpoints, FUNCTIONS_PATH, beside_metrics},
        hint, names,
    },
    servers::{aws::Aws, provision::Messages},
    verbs::run,
    watch::{metrics::FunctionMetrics, pipeline::in_words, store_counts::topic_depth},
};

/// Prints the contents of the running flow's stores, and its functions' metrics.
pub(crate) async fn print(data_dir: &Path) -> anyhow::Result<()> {
    is_running(data_dir)?;
    let endpoints = Endpoints::load(data_dir)?;
    let kafka = endpoints.kafka_bootstrap_servers.clone();
    let not_running =
        || format!("nothing answers at {kafka}: the flow of {} is not running", data_dir.display());
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", &endpoints.kafka_bootstrap_servers)
        .set("group.id", &endpoints.kafka_group)
        .set("log_level", "0")
        .create()?;
    let (records, lag) = topic_depth(&consumer).with_context(not_running)?;
    // The file does not exist in a run's first seconds.
    let state = std::fs::read(data_dir.join(run::STATE)).unwrap_or_default();
    println!(
        "state      {}",
        serde_json::from_slice::<String>(&state).unwrap_or_else(|_| "starting".to_owned())
    );
    println!("dashboard  {}", endpoints.dashboard_url);
    println!("metrics    {}", endpoints.metrics_url);
    let url = beside_metrics(&endpoints.metrics_url, FUNCTIONS_PATH);
    println!("kafka      {}  {records} records, {lag} not archived", endpoints.kafka_topic);

    let aws = Aws::new(&endpoints.aws_endpoint_url, &endpoints.s3_endpoint_url);
    for queue in [&endpoints.archived_queue, &endpoints.dead_letter_queue] {
        let asked = aws.sqs.get_queue_url().queue_name(queue).send().await;
        let url = asked.with_context(|| format!("the queue {queue} cannot be found"))?.queue_url;
        let url = url.unwrap_or_default();
        let Messages { waiting, taken } = aws.messages(&url).await?;
        println!("queue      {queue}  {waiting} waiting, {taken} being worked on");
    }

    let warehouse = Warehouse::connect(WarehouseConfig::stand_in(
        &endpoints.bigquery_endpoint,
        &endpoints.bigquery_project,
        &endpoints.bigquery_dataset,
    ))
    .await?;
    let text = |value: &Option<String>| value.clone().unwrap_or_default();
    for row in warehouse.run(&statements::COUNT_ALL, &[]).await?.rows {
        let [table, count] = row.as_slice() else { continue };
        println!("bigquery   {}  {} rows", text(table), text(count));
    }
    for row in warehouse.run(&statements::FRESHNESS, &[]).await?.rows {
        let [symbol, _, age] = row.as_slice() else { continue };
        println!("freshness  {}  {} s ago", text(symbol), text(age));
    }
    functions(&url).await
}

/// Returns an error if no flow runs on the data folder, without waiting for servers.
fn is_running(data_dir: &Path) -> anyhow::Result<()> {
    let (folder, start) = (data_dir.display(), hint::command("run", data_dir));
    match data_dir::latest(data_dir)? {
        Latest::Running => Ok(()),
        Latest::None => bail!("nothing has run in {folder} yet. {}{start}", hint::START_IT),
        Latest::Ended { at, quotes } => {
            let at = at.map(|at| at.to_zoned(TimeZone::system()).strftime("%a %b %-d %H:%M").to_string());
            let at = at.map_or_else(String::new, |at| format!(" (its last run ended {at})"));
            bail!(
                "the flow of {folder} is not running{at}; {quotes} quotes are kept. {}{start}",
                hint::START_IT
            )
        }
    }
}

/// Prints each function's metrics since the run began.
async fn functions(url: &str) -> anyhow::Result<()> {
    let client = reqwest::Client::builder().no_proxy().build()?;
    let asked = client.get(url).send().await.and_then(reqwest::Response::error_for_status);
    let answer = asked.with_context(|| format!("the metrics cannot be read from {url}"))?.bytes().await?;
    let functions: BTreeMap<String, FunctionMetrics> = serde_json::from_slice(&answer)?;
    for name in names::FUNCTIONS {
        let Some(known) = functions.get(name) else { continue };
        let FunctionMetrics {
            invocations,
            errors,
            throttles,
            busy_ms: _,
            duration_ms,
            counts,
            reasons,
            last_error,
        } = known;
        let took = duration_ms
            .map_or_else(String::new, |took| format!("  p50 {:>6} ms  max {:>6} ms", took.p50, took.max));
        println!(
            "function   {name:<16}  {invocations:>6} runs {errors:>4} failed {throttles:>4} throttled{took}"
        );
        let mut lines = vec![listed(counts)];
        lines.extend(reasons.iter().flat_map(|(count, reasons)| {
            let said = |(reason, times): (&String, &u64)| format!("{count} {times}: {}", in_words(reason));
            reasons.iter().filter(|(_, times)| **times > 0).map(said).collect::<Vec<_>>()
        }));
        lines.extend(last_error.as_ref().map(|error| format!("last failure: {error}")));
        for line in lines.iter().filter(|line| !line.is_empty()) {
            println!("counted    {name:<16}  {line}");
        }
    }
    Ok(())
}

/// `Archived 60, Retried 1`: the counts that are not 0.
fn listed(counts: &BTreeMap<String, u64>) -> String {
    let counted = counts.iter().filter(|(_, count)| **count > 0);
    counted.map(|(name, count)| format!("{name} {count}")).collect::<Vec<_>>().join(", ")
}
