//! The recorded days before the day that a first run replays. They are written to the bucket as archive-quotes would,
//! before S3 sends events. Then they are queued for load-quotes in messages of many objects, as in a replay, so that
//! one load takes all.

use std::sync::Arc;

use anyhow::Context;
use aws_sdk_s3::primitives::ByteStream;
use feed::{
    Feed,
    recording::{Recording, SESSION_SECONDS},
};
use quotes::{Quote, Symbol};
use serde_json::json;
use tokio::{sync::Semaphore, task::JoinSet};

use crate::{
    base::{clock::now_ms, names},
    servers::{aws::Aws, provision::Queues},
};

/// The recorded seconds from one quote to the next.
const STEP_SECONDS: u64 = 900;
/// How many objects are written at once.
const CONCURRENCY: usize = 16;

/// How many objects one message names. A message may have 256 kB.
const OBJECTS_A_MESSAGE: usize = 200;

/// Where a first run begins: the last recorded day.
pub(crate) fn first_position(recording: &Recording) -> u64 {
    recording.seconds() - SESSION_SECONDS
}

/// Creates the buckets and the queues, and archives and queues the days before `feed`'s last. Returns how many quotes
/// they have: 0 without a feed, or if the bucket is not empty. `s3_is_separate` and `delay` are [`Aws::storage`]'s.
///
/// # Errors
/// If a store refuses a request.
pub(crate) async fn storage(
    aws: &Aws,
    s3_is_separate: bool,
    delay: bool,
    feed: Option<&Feed>,
    symbols: &[String],
) -> anyhow::Result<(Queues, usize)> {
    let keys = match feed {
        Some(feed) => archive(aws, feed.recording(), symbols).await?,
        None => Vec::new(),
    };
    let queues = aws.storage(s3_is_separate, delay).await?;
    announce(aws, &queues.archived, &keys).await?;
    Ok((queues, keys.len()))
}

/// Archives the quotes of the days before the last, each as if it had been fetched a second after the previous one, and
/// all before now. Returns their keys; none if the bucket is not empty.
///
/// # Errors
/// If the store refuses an object.
async fn archive(aws: &Aws, recording: &Recording, symbols: &[String]) -> anyhow::Result<Vec<String>> {
    let bucket = names::BRONZE_BUCKET;
    aws.bucket(bucket).await?;
    let held = aws.s3.list_objects_v2().bucket(bucket).max_keys(1).send().await;
    if !held.with_context(|| format!("the bucket {bucket} cannot be listed"))?.contents().is_empty() {
        return Ok(Vec::new());
    }
    let symbols = symbols.iter().map(|symbol| symbol.parse()).collect::<Result<Vec<Symbol>, _>>()?;
    let slots = Arc::new(Semaphore::new(CONCURRENCY));
    let (mut writes, mut keys) = (JoinSet::new(), Vec::new());
    for quote in quotes_before(recording, &symbols, first_position(recording), now_ms())? {
        let slot = Arc::clone(&slots).acquire_owned().await?;
        let key = quote.object_key().to_string();
        let put = aws.s3.put_object().bucket(bucket).key(&key);
        keys.push(key);
        let put = put.content_type("application/json").body(ByteStream::from(quote.to_json()));
        writes.spawn(async move {
            let written = put.send().await.map(drop);
            drop(slot);
            written
        });
    }
    for written in writes.join_all().await {
        written.context("the recorded days cannot be archived")?;
    }
    Ok(keys)
}

/// Queues the objects for load-quotes.
///
/// # Errors
/// If the queue does not accept a message.
async fn announce(aws: &Aws, queue_url: &str, keys: &[String]) -> anyhow::Result<()> {
    let record = |key: &String| {
        json!({
            "eventSource": "quoteflow:history",
            "eventName": "ObjectCreated:Put",
            "s3": { "bucket": { "name": names::BRONZE_BUCKET }, "object": { "key": key } },
        })
    };
    for keys in keys.chunks(OBJECTS_A_MESSAGE) {
        let records: Vec<_> = keys.iter().map(record).collect();
        let body = json!({ "Records": records }).to_string();
        let sent = aws.sqs.send_message().queue_url(queue_url).message_body(body).send().await;
        sent.context("the recorded days cannot be queued")?;
    }
    Ok(())
}

fn quotes_before(
    recording: &Recording,
    symbols: &[Symbol],
    position: u64,
    now_ms: u64,
) -> anyhow::Result<Vec<Quote>> {
    let positions: Vec<u64> = (0..position).step_by(usize::try_from(STEP_SECONDS)?).collect();
    let first_ms = now_ms - 1000 * positions.len() as u64;
    let mut quotes = Vec::with_capacity(positions.len() * symbols.len());
    for (fetched_ms, position) in (first_ms..).step_by(1000).zip(positions) {
        // The end of each step, so that the day's last is its close.
        let position = position + STEP_SECONDS - 1;
        for symbol in symbols {
            let body = serde_json::to_vec(&recording.quote_at(symbol.as_str(), position))?;
            quotes.push(Quote::observe(symbol, fetched_ms, &body)?);
        }
    }
    Ok(quotes)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn the_history_is_every_day_before_the_last_to_its_close() {
        let recording = Recording::embedded().unwrap();
        let symbols: Vec<Symbol> = ["AAPL", "TSLA"].map(|symbol| symbol.parse().unwrap()).to_vec();
        let now = 1_795_640_000_000;
        let quotes = quotes_before(&recording, &symbols, first_position(&recording), now).unwrap();
        assert_eq!(quotes.len(), 2 * 4 * 390 * 60 / 900);
        let keys: HashSet<String> = quotes.iter().map(|quote| quote.object_key().to_string()).collect();
        assert_eq!(keys.len(), quotes.len());
        let last = quotes.last().unwrap();
        assert!(last.fetched_at() < 1_795_640_000);
        // Thursday's last second.
        assert_eq!(last.market_time().unwrap(), Some(recording.clock_at(first_position(&recording) - 1)));
        assert_eq!(recording.day_at(first_position(&recording)), recording.days()[4]);
    }
}
