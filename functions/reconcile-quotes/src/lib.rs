//! reconcile-quotes compares the bronze bucket with bronze, and queues the objects that are missing in bronze for
//! load-quotes again.
//!
//! It repairs lost notifications and lost messages, and raises the symbols' watermarks. Queueing an object twice is
//! harmless, because each quote is loaded once.

mod bucket;
mod queue;
mod request;

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Mutex,
    time::Duration,
};

use function_kit::{
    About, ConfigError, Environment, Retry, Variable,
    aws::{self, CallError},
    lock, metrics, time_left,
};
use futures::{Stream, StreamExt, TryStreamExt, stream};
use jiff::Timestamp;
use lambda_runtime::LambdaEvent;
use quotes::{ArchiveKey, BatchKey, Compression, QuoteId, QuoteView, Symbol};
use serde::Serialize;
use tokio::time::Instant;
use warehouse::{Compared, Warehouse, WarehouseConfig, WarehouseError};

pub use bucket::{Archive, BronzeBucket, Listed, Page};
pub use queue::{LoadQueue, Queue};
pub use request::{Request, Window};

/// The purpose of reconcile-quotes, and its variables.
pub const ABOUT: About = About {
    name: env!("CARGO_PKG_NAME"),
    purpose: "a schedule's event -> objects that bronze does not have are queued again",
    variables: &[
        &[
            Variable::required("BRONZE_BUCKET", "where the archived quotes are"),
            Variable::required("ARCHIVED_QUEUE_URL", "URL of the queue of load-quotes"),
            // Six hours: longer than a loss of notifications is likely to go unnoticed.
            Variable::or(
                "RECONCILE_MARGIN_SECONDS",
                "21600",
                "how many seconds behind the watermark it looks",
            ),
            // S3's events usually arrive within seconds, sometimes a minute or more.
            Variable::or(
                "RECONCILE_GRACE_SECONDS",
                "120",
                "for how many seconds an object is left to its own event",
            ),
        ],
        warehouse::VARIABLES,
        aws::S3_VARIABLES,
        aws::VARIABLES,
    ],
};

/// How many symbols are listed at once.
const CONCURRENCY: usize = 8;
/// How many keys one statement compares.
const KEYS: usize = 10_000;
/// When this many quotes of batches are collected, a statement looks for them. Each takes 150 bytes in its parameter.
const QUOTES: usize = 10_000;
/// How many days one statement compares at most. It reads all days from its first to its last.
const DAYS: i32 = 7;
/// The part of the function's time that is kept for comparing the listed objects and for raising the watermarks.
const MARGIN: Duration = Duration::from_secs(25);

/// The configuration of reconcile-quotes.
#[derive(Debug, PartialEq, Eq)]
pub struct Config {
    /// The warehouse with the bronze table.
    pub warehouse: WarehouseConfig,
    /// `BRONZE_BUCKET`: where the archived quotes are.
    pub bronze_bucket: String,
    /// `ARCHIVED_QUEUE_URL`: where load-quotes gets its events from.
    pub archived_queue_url: String,
    /// `RECONCILE_MARGIN_SECONDS`: how far behind the watermark it looks.
    pub margin: Duration,
    /// `RECONCILE_GRACE_SECONDS`: how long an object is left to its own event.
    pub grace: Duration,
}

impl Config {
    /// Reads the configuration from the environment.
    ///
    /// # Errors
    /// [`ConfigError`] with all problems.
    pub fn read(mut environment: Environment) -> Result<Self, ConfigError> {
        let warehouse = WarehouseConfig::read(&mut environment);
        let bronze_bucket = environment.get("BRONZE_BUCKET");
        let archived_queue_url = environment.get("ARCHIVED_QUEUE_URL");
        let margin = environment.get("RECONCILE_MARGIN_SECONDS").map(Duration::from_secs);
        let grace = environment.get("RECONCILE_GRACE_SECONDS").map(Duration::from_secs);
        environment.finish(|| {
            Some(Self {
                warehouse: warehouse?,
                bronze_bucket: bronze_bucket?,
                archived_queue_url: archived_queue_url?,
                margin: margin?,
                grace: grace?,
            })
        })
    }
}

/// The warehouse's side of the comparison.
pub trait Bronze {
    /// See [`Warehouse::compare`].
    fn compare(&self, keys: &[&ArchiveKey]) -> impl Future<Output = Result<Compared, WarehouseError>> + Send;

    /// See [`Warehouse::missing_keys`].
    fn missing_keys(
        &self,
        objects: &[(&ArchiveKey, Vec<QuoteId>)],
    ) -> impl Future<Output = Result<HashSet<String>, WarehouseError>> + Send;

    /// See [`Warehouse::newest`].
    fn newest(
        &self,
        keys: &[&ArchiveKey],
    ) -> impl Future<Output = Result<HashMap<String, i64>, WarehouseError>> + Send;

    /// See [`Warehouse::remove_duplicates`].
    fn remove_duplicates(
        &self,
        keys: &[&ArchiveKey],
    ) -> impl Future<Output = Result<u64, WarehouseError>> + Send;

    /// See [`Warehouse::watermarks`].
    fn watermarks(&self) -> impl Future<Output = Result<HashMap<String, i64>, WarehouseError>> + Send;

    /// See [`Warehouse::raise_watermarks`].
    fn raise_watermarks(
        &self,
        watermarks: &BTreeMap<&str, i64>,
    ) -> impl Future<Output = Result<(), WarehouseError>> + Send;
}

impl Bronze for Warehouse {
    async fn compare(&self, keys: &[&ArchiveKey]) -> Result<Compared, WarehouseError> {
        self.compare(keys).await
    }

    async fn missing_keys(
        &self,
        objects: &[(&ArchiveKey, Vec<QuoteId>)],
    ) -> Result<HashSet<String>, WarehouseError> {
        self.missing_keys(objects).await
    }

    async fn newest(&self, keys: &[&ArchiveKey]) -> Result<HashMap<String, i64>, WarehouseError> {
        self.newest(keys).await
    }

    async fn remove_duplicates(&self, keys: &[&ArchiveKey]) -> Result<u64, WarehouseError> {
        self.remove_duplicates(keys).await
    }

    async fn watermarks(&self) -> Result<HashMap<String, i64>, WarehouseError> {
        self.watermarks().await
    }

    async fn raise_watermarks(&self, watermarks: &BTreeMap<&str, i64>) -> Result<(), WarehouseError> {
        self.raise_watermarks(watermarks).await
    }
}

/// The result of an invocation.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Outcome {
    /// Symbols listed.
    pub symbols: usize,
    /// Objects compared.
    pub objects: usize,
    /// Objects queued.
    pub queued: usize,
    /// Watermarks raised.
    pub raised: usize,
}

/// Why the comparison is incomplete. Objects queued before the error stay queued.
#[derive(Debug, thiserror::Error)]
pub enum ReconcileError {
    /// The bucket could not be listed.
    #[error("the bucket {bucket} could not be listed")]
    List {
        /// The bucket's name.
        bucket: String,
        /// The error of the bucket or of the network.
        source: CallError,
    },
    /// An object could not be read.
    #[error("the object {key} could not be read")]
    Read {
        /// The object's key.
        key: String,
        /// The error of the bucket or of the network.
        source: CallError,
    },
    /// The warehouse's request failed.
    #[error("bronze was not compared")]
    Warehouse(#[from] WarehouseError),
    /// The queue did not accept the events.
    #[error("the queue {queue} did not accept the events")]
    Queue {
        /// The queue's URL.
        queue: String,
        /// The error of the queue or of the network.
        source: CallError,
    },
    /// The function ran out of time.
    #[error("the function's time was over before every symbol was compared")]
    Deadline,
}

impl Retry for ReconcileError {
    fn is_retryable(&self) -> bool {
        match self {
            Self::List { source, .. } | Self::Read { source, .. } | Self::Queue { source, .. } => {
                source.is_retryable
            }
            Self::Warehouse(error) => error.is_retryable(),
            Self::Deadline => true,
        }
    }
}

/// The function.
pub struct ReconcileQuotes<A, B, Q> {
    archive: A,
    bronze: B,
    queue: Q,
    margin: Duration,
    grace: Duration,
    /// For each folder, the time until which this process found every written object in bronze.
    compared: Mutex<HashMap<String, Timestamp>>,
}

/// What is known about a folder's objects after the comparison.
#[derive(Default)]
struct Found {
    /// The symbol's newest `fetched_at` that is in bronze and not in the future.
    loaded: Option<i64>,
    /// When the newest object was written.
    written: Option<Timestamp>,
    is_missing_some: bool,
}

impl<A: Archive, B: Bronze, Q: Queue> ReconcileQuotes<A, B, Q> {
    /// The function. It compares `archive` with `bronze` and queues what is missing in bronze.
    pub fn new(archive: A, bronze: B, queue: Q, margin: Duration, grace: Duration) -> Self {
        Self { archive, bronze, queue, margin, grace, compared: Mutex::default() }
    }

    /// Queues the objects that the request selects, and raises the watermarks to the newest quotes found in bronze.
    ///
    /// # Errors
    /// [`ReconcileError`]. The next invocation finds the objects that this one did not queue.
    pub async fn handle(&self, event: LambdaEvent<Request>) -> Result<Outcome, ReconcileError> {
        let left = time_left(&event.context);
        let end = Instant::now() + left.saturating_sub(MARGIN).max(left / 2);
        let (outcome, is_whole) = self.reconcile(&event.payload, end).await?;
        let Outcome { symbols, objects, queued, raised } = outcome;
        metrics::QUEUED.add(queued as u64);
        if queued > 0 && !event.payload.all {
            tracing::warn!(symbols, objects, queued, raised, "queued objects that are not in bronze");
        } else {
            tracing::info!(symbols, objects, queued, raised, "compared the bucket with bronze");
        }
        if is_whole { Ok(outcome) } else { Err(ReconcileError::Deadline) }
    }

    /// Compares until `end`. Returns the result, and whether everything was compared.
    async fn reconcile(&self, request: &Request, end: Instant) -> Result<(Outcome, bool), ReconcileError> {
        let watermarks = self.bronze.watermarks().await?;
        let now = Timestamp::now();
        let folders = self.archive.folders().await?;
        let (batches, symbols): (Vec<&Symbol>, Vec<&Symbol>) =
            folders.iter().partition(|folder| folder.as_str() == BatchKey::FOLDER);
        let symbols: Vec<&Symbol> = symbols.into_iter().filter(|symbol| request.names(symbol)).collect();
        // A batch may have quotes of every symbol.
        let newest = watermarks.values().copied().filter(|last| *last <= now.as_second()).max();
        let of_symbols = symbols.iter().map(|symbol| (*symbol, watermarks.get(symbol.as_str()).copied()));
        let of_batches = batches.iter().map(|folder| (*folder, newest));
        let windows = of_symbols
            .chain(of_batches)
            .map(|(folder, watermark)| (folder, request.window(watermark, now, self.margin, self.grace)));
        let pages = stream::iter(windows)
            .map(|(folder, window)| Box::pin(self.pages(folder, window)))
            .flatten_unordered(CONCURRENCY);
        let mut pages = std::pin::pin!(pages);
        let mut outcome = Outcome { symbols: symbols.len(), ..Outcome::default() };
        let mut found: HashMap<String, Found> = HashMap::new();
        let compared = lock(&self.compared).clone();
        let is_known = |listed: &Listed| {
            let until = compared.get(listed.key.folder()).filter(|_| request.is_scheduled());
            until.zip(listed.written).is_some_and(|(until, written)| written < *until)
        };
        let mut keys = Vec::new();
        let mut is_whole = false;
        while Instant::now() < end && !is_whole {
            match tokio::time::timeout_at(end, pages.try_next()).await {
                Ok(Ok(Some(page))) => {
                    outcome.objects += page.len();
                    keys.extend(page.into_iter().filter(|listed| !is_known(listed)));
                }
                Ok(Ok(None)) => is_whole = true,
                Ok(Err(error)) => return Err(error),
                Err(_) => break,
            }
            if keys.len() >= KEYS {
                outcome.queued += self.compare(std::mem::take(&mut keys), request.all, &mut found).await?;
            }
        }
        outcome.queued += self.compare(keys, request.all, &mut found).await?;
        let raised: BTreeMap<&str, i64> = found
            .iter()
            .filter_map(|(symbol, found)| Some((symbol.as_str(), found.loaded?)))
            .filter(|(symbol, loaded)| match watermarks.get(*symbol) {
                Some(last) => last < loaded || *last > now.as_second(),
                None => true,
            })
            .collect();
        if !raised.is_empty() {
            self.bronze.raise_watermarks(&raised).await?;
        }
        outcome.raised = raised.len();
        if is_whole && request.is_scheduled() {
            let whole = found.into_iter().filter(|(_, found)| !found.is_missing_some);
            lock(&self.compared).extend(whole.filter_map(|(symbol, found)| Some((symbol, found.written?))));
        }
        Ok((outcome, is_whole))
    }

    /// A folder's pages within the window.
    fn pages(
        &self,
        folder: &Symbol,
        window: Window,
    ) -> impl Stream<Item = Result<Vec<Listed>, ReconcileError>> {
        stream::try_unfold(Some(None), move |next: Option<Option<String>>| async move {
            let Some(token) = next else { return Ok(None) };
            let Page { objects, next } = self.archive.page(folder, window, token).await?;
            Ok(Some((objects, next.map(Some))))
        })
    }

    /// Queues those of the objects that are not in bronze (all of them, if `all`), and notes what was found. Returns
    /// how many were queued.
    async fn compare(
        &self,
        mut objects: Vec<Listed>,
        all: bool,
        found: &mut HashMap<String, Found>,
    ) -> Result<usize, ReconcileError> {
        objects.sort_unstable_by_key(|listed| listed.key.newest_and_oldest());
        let now = Timestamp::now().as_second();
        let mut queued = 0;
        let mut rest = objects.as_slice();
        while let Some(first) = rest.first() {
            let is_near = |listed: &Listed| days_between(first, listed) <= DAYS;
            let (near, later) = rest.split_at(rest.partition_point(is_near));
            rest = later;
            let keys: Vec<&ArchiveKey> = near.iter().map(|listed| &listed.key).collect();
            let Compared { missing, has_duplicates } =
                if all { Compared::default() } else { self.bronze.compare(&keys).await? };
            if has_duplicates {
                let removed = self.bronze.remove_duplicates(&keys).await?;
                tracing::warn!(
                    removed,
                    "removed rows of quotes that two simultaneous loads had both inserted"
                );
            }
            let missing: HashSet<String> = if all {
                keys.iter().map(ToString::to_string).collect()
            } else {
                self.missing(missing).await?
            };
            let mut batches = Vec::new();
            for Listed { key, written } in near {
                let found = found.entry(key.folder().to_owned()).or_default();
                found.written = found.written.max(*written);
                match key {
                    _ if missing.contains(&key.to_string()) => found.is_missing_some = true,
                    ArchiveKey::Quote(key) if key.fetched_at() <= now => {
                        found.loaded = found.loaded.max(Some(key.fetched_at()));
                    }
                    ArchiveKey::Quote(_) => {}
                    ArchiveKey::Batch(_) => batches.push(key),
                }
            }
            if !batches.is_empty() {
                for (symbol, newest) in self.bronze.newest(&batches).await? {
                    let found = found.entry(symbol).or_default();
                    found.loaded = found.loaded.max(Some(newest));
                }
            }
            let texts: Vec<String> = missing.into_iter().collect();
            self.queue.send(self.archive.name(), &texts).await?;
            queued += texts.len();
        }
        Ok(queued)
    }

    /// The keys with a quote that is not in bronze. An event that is tried again may be split differently, so that
    /// batches overlap. Then some of a batch's quotes were loaded from another batch, and the batch has fewer rows than
    /// quotes. Therefore the quotes themselves are looked for.
    async fn missing(&self, keys: Vec<String>) -> Result<HashSet<String>, ReconcileError> {
        let mut missing = HashSet::new();
        let mut batches = Vec::new();
        for key in keys {
            match key.parse() {
                Ok(key @ ArchiveKey::Batch(_)) => batches.push(key),
                _ => drop(missing.insert(key)),
            }
        }
        let read = stream::iter(&batches)
            .map(async |key| Ok::<_, ReconcileError>((key, self.archive.get(key).await?)))
            .buffer_unordered(CONCURRENCY);
        let mut read = std::pin::pin!(read);
        let mut asked = Vec::new();
        let mut quotes = 0;
        while let Some((key, bytes)) = read.try_next().await? {
            let Some(bytes) = bytes else { continue };
            match ids(key, &bytes) {
                Some(ids) => {
                    quotes += ids.len();
                    asked.push((key, ids));
                }
                // load-quotes reports what is wrong with it.
                None => drop(missing.insert(key.to_string())),
            }
            if quotes >= QUOTES {
                missing.extend(self.bronze.missing_keys(&asked).await?);
                asked.clear();
                quotes = 0;
            }
        }
        if !asked.is_empty() {
            missing.extend(self.bronze.missing_keys(&asked).await?);
        }
        Ok(missing)
    }
}

/// The ids of a batch's quotes; `None` if it contains something else.
fn ids(key: &ArchiveKey, bytes: &[u8]) -> Option<Vec<QuoteId>> {
    let lines = Compression::of_key(&key.to_string())?.decompress(bytes).ok()?;
    let lines = lines.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    lines.map(|line| QuoteView::parse(line).ok().map(|quote| quote.id())).collect()
}

fn days_between(first: &Listed, later: &Listed) -> i32 {
    (later.key.fetched_date() - first.key.fetched_date()).get_days()
}

#[cfg(test)]
mod tests;
