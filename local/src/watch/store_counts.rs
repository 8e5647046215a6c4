//! How many quotes each store contains, counted by requests to the stores themselves.

use std::{
    path::{Path, PathBuf},
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::Context;
use aws_sdk_s3::types::Object;
use function_kit::{aws::PROBES, lock};
use quotes::{ArchiveKey, QuoteId};
use rdkafka::{
    ClientConfig, Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer},
};
use warehouse::{
    Parameter, Warehouse,
    statements::{self, Statement},
};

use crate::{
    base::{data_dir, names},
    servers::{
        aws::Aws,
        provision::{Messages, Queues},
    },
};

const KAFKA_TIMEOUT: Duration = Duration::from_secs(5);
/// How far back the tables are searched for new rows, in seconds: longer than a load takes to commit.
const OVERLAP_SECONDS: i64 = 120;
/// How old silver's count may become during continuous loads.
const SILVER_AGE: Duration = Duration::from_secs(5);

/// The stores of a run, and the counts that no store reports.
pub(crate) struct StoreCounts {
    data_dir: PathBuf,
    kafka: BaseConsumer,
    aws: Aws,
    to_load: WatchedQueue,
    dead_letters: WatchedQueue,
    warehouse: Warehouse,
    fetched_before: u64,
    archived: AtomicU64,
    quarantined: AtomicU64,
    failed: AtomicU64,
    has_gold: AtomicBool,
    last: Mutex<LastRows>,
}

/// The last count of rows.
#[derive(Clone, Copy)]
struct LastRows {
    bronze: u64,
    silver: u64,
    /// When silver was counted.
    at: Instant,
}

/// All counts at one moment.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Counts {
    /// Quotes that Finnhub returned.
    pub fetched: u64,
    /// Records in the topic.
    pub published: u64,
    /// Records that are in no archived batch yet.
    pub lag: u64,
    /// Quotes in the objects of the bronze bucket.
    pub archived: u64,
    /// Objects in the quarantine bucket.
    pub quarantined: u64,
    /// Rows in bronze.
    pub loaded: u64,
    /// Rows in silver.
    pub silver: u64,
    /// New objects that load-quotes has not finished.
    pub to_load: Depth,
    /// Invocations that failed, in this run.
    pub failed: u64,
    /// Messages that load-quotes could not load.
    pub dead_letters: Depth,
}

impl Counts {
    /// Every queue by its name.
    pub(crate) fn queues(&self) -> [(&'static str, Depth); 2] {
        [(names::ARCHIVED_QUEUE, self.to_load), (names::DEAD_LETTER_QUEUE, self.dead_letters)]
    }
}

/// A queue's depth.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Depth {
    /// The number of messages, including those that are being processed.
    pub messages: u64,
    /// How long ago the queue was last seen empty, or else how long this run has observed it. SQS does not report the
    /// age of its oldest message. A message that arrived in this run is not older than this.
    pub oldest: Duration,
}

/// A queue, and when it was last seen empty.
struct WatchedQueue {
    url: String,
    empty_at: Mutex<Instant>,
}

impl WatchedQueue {
    fn new(url: String) -> Self {
        Self { url, empty_at: Mutex::new(Instant::now()) }
    }

    /// `asked` is when the number of the queue's messages was requested.
    fn depth(&self, messages: u64, asked: Instant) -> Depth {
        let mut empty_at = lock(&self.empty_at);
        if messages == 0 {
            *empty_at = asked;
            return Depth::default();
        }
        Depth { messages, oldest: empty_at.elapsed() }
    }
}

impl StoreCounts {
    pub(crate) fn new(
        data_dir: &Path,
        bootstrap_servers: &str,
        aws: Aws,
        queues: Queues,
        warehouse: Warehouse,
        has_gold: bool,
    ) -> anyhow::Result<Self> {
        Ok(Self {
            data_dir: data_dir.to_owned(),
            kafka: ClientConfig::new()
                .set("bootstrap.servers", bootstrap_servers)
                .set("group.id", names::GROUP)
                .create()?,
            aws,
            to_load: WatchedQueue::new(queues.archived),
            dead_letters: WatchedQueue::new(queues.dead_letter),
            warehouse,
            fetched_before: data_dir::fetched(data_dir),
            archived: AtomicU64::new(0),
            quarantined: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            has_gold: AtomicBool::new(has_gold),
            last: Mutex::new(LastRows { bronze: 0, silver: 0, at: Instant::now() }),
        })
    }

    pub(crate) fn add_archived(&self, archived: u64, quarantined: u64) {
        self.archived.fetch_add(archived, Ordering::Relaxed);
        self.quarantined.fetch_add(quarantined, Ordering::Relaxed);
    }

    pub(crate) fn add_failed(&self, invocations: u64) {
        self.failed.fetch_add(invocations, Ordering::Relaxed);
    }

    /// Counts the quotes in both buckets by listing them. Later counts add the numbers that archive-quotes reports.
    pub(crate) async fn list_buckets(&self) -> anyhow::Result<()> {
        self.archived.store(self.objects(names::BRONZE_BUCKET).await?, Ordering::Relaxed);
        self.quarantined.store(self.objects(names::QUARANTINE_BUCKET).await?, Ordering::Relaxed);
        Ok(())
    }

    async fn objects(&self, bucket: &str) -> anyhow::Result<u64> {
        let mut pages = self.aws.s3.list_objects_v2().bucket(bucket).into_paginator().send();
        let mut count = 0;
        while let Some(page) = pages.next().await {
            let page = page.with_context(|| format!("the bucket {bucket} cannot be listed"))?;
            let objects: &[Object] = page.contents();
            // A batch's key says how many quotes it contains.
            let held = |key: &str| key.parse().map_or(1, |key: ArchiveKey| key.quotes());
            let keys = objects.iter().filter_map(|object| object.key());
            count += keys.filter(|key| !key.starts_with(PROBES)).map(held).sum::<u64>();
        }
        Ok(count)
    }

    /// Queries every store. `fetched_now` is how many quotes were returned in this run, and `is_over` whether these
    /// were all.
    pub(crate) async fn count(&self, fetched_now: u64, is_over: bool) -> anyhow::Result<Counts> {
        let (published, lag) = self.topic()?;
        // A quote in Kafka has been fetched, even if a killed run could not note it.
        let fetched = published.max(self.fetched_before + fetched_now);
        let dead_letters = self.depth(&self.dead_letters).await?;
        let loaded = self.warehouse.run(&statements::COUNT_BRONZE, &[]).await?.count();
        let silver = self.silver(loaded, is_over).await?;
        data_dir::note_fetched(&self.data_dir, fetched)?;
        Ok(Counts {
            fetched,
            published,
            lag,
            archived: self.archived.load(Ordering::Relaxed),
            quarantined: self.quarantined.load(Ordering::Relaxed),
            loaded,
            silver,
            to_load: self.depth(&self.to_load).await?,
            failed: self.failed.load(Ordering::Relaxed),
            dead_letters,
        })
    }

    fn topic(&self) -> anyhow::Result<(u64, u64)> {
        topic_depth(&self.kafka)
    }

    async fn depth(&self, queue: &WatchedQueue) -> anyhow::Result<Depth> {
        let (queue_url, asked) = (&queue.url, Instant::now());
        let Messages { waiting, taken } = self.aws.messages(queue_url).await?;
        Ok(queue.depth(waiting + taken, asked))
    }

    /// The layers' views exist from dbt's first run on. Silver is counted while rows of bronze are missing in it, but
    /// rarely during loads: the stand-in answers one query after the other, and this is one of the longest.
    async fn silver(&self, loaded: u64, is_over: bool) -> anyhow::Result<u64> {
        if !self.has_gold() {
            return Ok(0);
        }
        let mut last = *lock(&self.last);
        let is_due = last.bronze == loaded || last.at.elapsed() > SILVER_AGE;
        if is_over || (is_due && last.silver != loaded) {
            last.silver = self.warehouse.run(&statements::COUNT_SILVER, &[]).await?.count();
            last.at = Instant::now();
        }
        last.bronze = loaded;
        *lock(&self.last) = last;
        Ok(last.silver)
    }

    /// Notes that dbt has created the layers' views.
    pub(crate) fn set_has_gold(&self) {
        self.has_gold.store(true, Ordering::Relaxed);
    }

    /// Whether the layers' views exist.
    pub(crate) fn has_gold(&self) -> bool {
        self.has_gold.load(Ordering::Relaxed)
    }

    /// The quotes that were loaded into bronze recently.
    pub(crate) async fn recent_bronze(&self) -> anyhow::Result<Vec<QuoteId>> {
        self.ids(&statements::NEW_IN_BRONZE).await
    }

    /// The quotes that were loaded into bronze recently and that gold shows.
    pub(crate) async fn recent_gold(&self) -> anyhow::Result<Vec<QuoteId>> {
        self.ids(&statements::NEW_IN_GOLD).await
    }

    async fn ids(&self, statement: &Statement) -> anyhow::Result<Vec<QuoteId>> {
        let since = jiff::Timestamp::now().as_second() - OVERLAP_SECONDS;
        let answer = self.warehouse.run(statement, &[Parameter::int("since", since)]).await?;
        let id = |row: Vec<Option<String>>| row.into_iter().next().flatten()?.parse().ok();
        Ok(answer.rows.into_iter().filter_map(id).collect())
    }

    /// The latest price of each symbol, its change in percent, and its market time in New York; none before the views
    /// exist.
    pub(crate) async fn prices(&self) -> anyhow::Result<Vec<Vec<Option<String>>>> {
        if !self.has_gold() {
            return Ok(Vec::new());
        }
        Ok(self.warehouse.run(&statements::LATEST_PRICES, &[]).await?.rows)
    }
}

/// How many records are in the topic, and how many of them the consumer group has not committed.
pub(crate) fn topic_depth(kafka: &BaseConsumer) -> anyhow::Result<(u64, u64)> {
    let unreachable = || format!("Kafka has no information about the topic {}", names::TOPIC);
    let metadata = kafka.fetch_metadata(Some(names::TOPIC), KAFKA_TIMEOUT).with_context(unreachable)?;
    let mut partitions = TopicPartitionList::new();
    for topic in metadata.topics() {
        for partition in topic.partitions() {
            partitions.add_partition(topic.name(), partition.id());
        }
    }
    let committed = kafka.committed_offsets(partitions, KAFKA_TIMEOUT).with_context(unreachable)?;
    let (mut records, mut lag) = (0, 0);
    for partition in committed.elements() {
        let (low, high) = kafka
            .fetch_watermarks(partition.topic(), partition.partition(), KAFKA_TIMEOUT)
            .with_context(unreachable)?;
        let next = match partition.offset() {
            Offset::Offset(offset) => offset.max(low),
            _ => low,
        };
        records += u64::try_from(high - low).unwrap_or_default();
        lag += u64::try_from(high - next).unwrap_or_default();
    }
    Ok((records, lag))
}
