//! Repairs by hand: `quoteflow replay` and `quoteflow redrive`. Both are safe to repeat.

use std::path::Path;

use anyhow::{Context, bail};
use clap::Args;
use function_kit::aws::PROBES;
use jiff::{Timestamp, civil, tz::TimeZone};
use quotes::Symbol;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{
    base::{
        endpoints::Endpoints,
        names,
        options::{DataDirOption, symbol},
    },
    servers::aws::Aws,
};

/// A moment on the command line: seconds since 1970, RFC 3339, or a UTC date.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Moment(i64);

impl std::str::FromStr for Moment {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let date =
            |date: civil::Date| date.to_zoned(TimeZone::UTC).ok().map(|day| day.timestamp().as_second());
        let seconds = text.parse::<i64>().ok();
        let seconds = seconds.or_else(|| text.parse().ok().map(Timestamp::as_second));
        let seconds = seconds.or_else(|| text.parse().ok().and_then(date));
        let wanted = "seconds since 1970, a time such as 2024-01-01T12:00:00Z, or a date such as 2024-01-01";
        seconds.map(Self).ok_or_else(|| format!("{text:?} is not one of: {wanted}"))
    }
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

/// Queues archived quotes for load-quotes again, whether bronze has them or not.
pub(crate) async fn replay(data_dir: &Path, options: ReplayOptions) -> anyhow::Result<()> {
    #[derive(Deserialize)]
    struct Outcome {
        symbols: u64,
        queued: u64,
    }
    let endpoints = Endpoints::load(data_dir)?;
    if let Some(to) = options.to.filter(|to| to.0 < options.from.0) {
        bail!("--to ({}) is before --from ({}): nothing to replay", to.0, options.from.0);
    }
    let aws = Aws::new(&endpoints.aws_endpoint_url, &endpoints.s3_endpoint_url);
    let symbols: Vec<&Symbol> = options.symbol.iter().collect();
    let request = json!({
        "all": true,
        "from": options.from.0,
        "to": options.to.map(|to| to.0),
        "symbols": symbols,
        "grace_seconds": 0,
    });
    let answer = aws.invoke(names::RECONCILE, &request).await.context("the replay failed; repeat it")?;
    let Outcome { symbols, queued } = serde_json::from_slice(&answer)?;
    // Batches may have quotes of every symbol, so they are not counted by symbols.
    let of = if symbols > 0 { format!(" of {symbols} symbols") } else { String::new() };
    println!("queued {queued} objects{of} to be loaded again");
    Ok(())
}

/// Processes dead letters and quarantined records again.
pub(crate) async fn redrive(data_dir: &Path) -> anyhow::Result<()> {
    let endpoints = Endpoints::load(data_dir)?;
    let aws = Aws::new(&endpoints.aws_endpoint_url, &endpoints.s3_endpoint_url);
    let letters = redrive_dead_letters(&aws, &endpoints).await?;
    println!("queued {letters} dead letters to be loaded again");
    let (archived, kept) = redrive_quarantine(&aws, &endpoints.quarantine_bucket).await?;
    println!("archived {archived} quarantined records; {kept} are still not valid quotes and stay");
    Ok(())
}

async fn redrive_dead_letters(aws: &Aws, endpoints: &Endpoints) -> anyhow::Result<usize> {
    let url = async |queue: &str| -> anyhow::Result<String> {
        let found = aws.sqs.get_queue_url().queue_name(queue).send().await;
        let found = found.with_context(|| format!("the queue {queue} cannot be found"))?;
        Ok(found.queue_url.unwrap_or_default())
    };
    let (from, to) = (url(&endpoints.dead_letter_queue).await?, url(&endpoints.archived_queue).await?);
    let mut moved = 0;
    loop {
        let receive = aws.sqs.receive_message().queue_url(&from).max_number_of_messages(10);
        let messages = receive.send().await.context("the dead letters cannot be read")?.messages;
        let Some(messages) = messages.filter(|messages| !messages.is_empty()) else { return Ok(moved) };
        for message in messages {
            // It is sent before it is deleted: a message that is sent twice is loaded once.
            let body = message.body.unwrap_or_default();
            aws.sqs.send_message().queue_url(&to).message_body(body).send().await?;
            let receipt = message.receipt_handle.unwrap_or_default();
            aws.sqs.delete_message().queue_url(&from).receipt_handle(receipt).send().await?;
            moved += 1;
        }
    }
}

/// The object that archive-quotes wrote; see its `Quarantined`.
#[derive(Deserialize)]
struct Quarantined {
    topic: Option<String>,
    partition: Option<i32>,
    offset: Option<i64>,
    timestamp: Option<i64>,
    value: Option<String>,
    record: Option<String>,
}

impl Quarantined {
    /// The record as it was in Kafka's event.
    fn record(self) -> anyhow::Result<Value> {
        match self.record {
            Some(record) => Ok(serde_json::from_str(&record)?),
            None => Ok(json!({
                "topic": self.topic,
                "partition": self.partition,
                "offset": self.offset,
                "timestamp": self.timestamp,
                "value": self.value,
            })),
        }
    }
}

async fn redrive_quarantine(aws: &Aws, bucket: &str) -> anyhow::Result<(usize, usize)> {
    #[derive(Deserialize)]
    struct Outcome {
        quarantined: u64,
    }
    let (mut archived, mut kept) = (0, 0);
    let mut pages = aws.s3.list_objects_v2().bucket(bucket).into_paginator().send();
    while let Some(page) = pages.next().await {
        let page = page.with_context(|| format!("{bucket} cannot be listed"))?;
        let keys = page.contents().iter().filter_map(|object| object.key());
        for key in keys.filter(|key| !key.starts_with(PROBES)) {
            let object = aws.s3.get_object().bucket(bucket).key(key).send().await?;
            let bytes = object.body.collect().await?.to_vec();
            let quarantined: Quarantined =
                serde_json::from_slice(&bytes).with_context(|| format!("{bucket}/{key} is damaged"))?;
            let event = json!({
                "eventSource": "aws:SelfManagedKafka",
                "records": { "redrive-0": [quarantined.record()?] },
            });
            let answer = aws.invoke(names::ARCHIVE, &event).await.with_context(|| key.to_owned())?;
            let Outcome { quarantined } = serde_json::from_slice(&answer)?;
            if quarantined == 0 {
                aws.s3.delete_object().bucket(bucket).key(key).send().await?;
                archived += 1;
            } else {
                kept += 1;
            }
        }
    }
    Ok((archived, kept))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_seconds_a_time_or_a_date() {
        for text in ["1704067200", "2024-01-01T00:00:00Z", "2024-01-01", "2023-12-31T19:00:00-05:00"] {
            assert_eq!(text.parse(), Ok(Moment(1_704_067_200)), "{text}");
        }
        assert!("yesterday".parse::<Moment>().is_err());
    }
}
