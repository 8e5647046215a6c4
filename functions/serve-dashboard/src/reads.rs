//! Queries the warehouse only as often as its figures change, because each statement is billed.
//!
//! Time is divided into spans. In each span, a statement is a job whose name is derived from the statement and the
//! span. So BigQuery runs it once a span, however many instances and viewers there are. If nothing was loaded in a
//! span, which can be checked free of charge, it is not run at all.

use std::{
    any::Any,
    collections::HashMap,
    fmt::Write as _,
    ops::Deref,
    sync::Arc,
    time::{Duration, Instant},
};

use function_kit::{Retry, chain};
use jiff::{SignedDuration, Timestamp};
use serde::{Serialize, Serializer};
use sha2::{Digest, Sha256};
use tokio::{sync::Mutex, task::JoinHandle};
use warehouse::{Answer, BRONZE_TABLE, Parameter, Warehouse, WarehouseError, statements::Statement};

use crate::rows::{self, Decode, MissingColumn};

/// How many answers are kept. A limit is needed because clients choose symbols and limits.
const CAPACITY: usize = 64;
/// The table that dbt settles: the effect of a replay of older days is visible after that.
const SETTLED: (&str, &str) = ("_silver", "silver_stock_quotes_settled");
/// The table that dbt writes at the end of each run.
const RUNS: (&str, &str) = ("_silver", "int_load_watermark");
/// How long the answer that nothing was loaded is used.
const CHECK: SignedDuration = SignedDuration::from_secs(2);
/// How long the warehouse may take to say when it was changed.
const CHECK_PATIENCE: Duration = Duration::from_secs(2);
/// How long a read may take.
const LONGEST: Duration = Duration::from_mins(1);
/// How far the warehouse's clock may be behind this machine's.
const SKEW: SignedDuration = SignedDuration::from_secs(1);
/// How long no request is made to the warehouse after a failure.
const PAUSE: SignedDuration = SignedDuration::from_secs(5);
/// A stand-in of BigQuery does not have a view for a moment while dbt replaces it.
const REPLACING: Duration = Duration::from_millis(100);
const REPLACING_TRIES: u32 = 4;

/// Why there are no figures.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The warehouse did not answer, or refused.
    #[error(transparent)]
    Warehouse(#[from] WarehouseError),
    /// The warehouse did not answer in time.
    #[error("the warehouse did not answer {statement} within {patience:?}")]
    Late { statement: &'static str, patience: Duration },
    /// The warehouse failed a moment ago, and is not queried during the pause.
    #[error("the warehouse failed a moment ago; the next try is at {0}")]
    Pausing(Timestamp),
    /// A column is missing in the answer.
    #[error(transparent)]
    Column(#[from] MissingColumn),
}

impl Retry for ReadError {
    fn is_retryable(&self) -> bool {
        match self {
            Self::Warehouse(error) => error.is_retryable(),
            Self::Late { .. } | Self::Pausing(_) => true,
            Self::Column(_) => false,
        }
    }
}

/// How often something is read.
#[derive(Debug, Clone, Copy)]
pub enum Pace {
    Tiles,
    Charts,
    /// For daily candles: there are few of them, and the live quote is added.
    Days,
}

/// How long an answer is used although more was loaded.
#[derive(Debug, Clone, Copy)]
pub struct Paces {
    pub tiles: SignedDuration,
    pub charts: SignedDuration,
}

impl Paces {
    fn of(&self, pace: Pace) -> SignedDuration {
        match pace {
            Pace::Tiles => self.tiles,
            Pace::Charts => self.charts,
            Pace::Days => self.charts * 5,
        }
    }
}

/// A statement, how often it is run, and how its rows are decoded. The answer is the same for all requests.
pub struct Read<T> {
    pub statement: Statement,
    pub pace: Pace,
    pub decode: Decode<T>,
}

/// Figures that are shared by all requests for them.
pub struct Figures<T>(Arc<Vec<T>>);

impl<T> Clone for Figures<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T> Deref for Figures<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &self.0
    }
}

impl<T> From<Vec<T>> for Figures<T> {
    fn from(figures: Vec<T>) -> Self {
        Self(Arc::new(figures))
    }
}

impl<T: Serialize> Serialize for Figures<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.iter())
    }
}

/// Figures, and the time up to which all loaded quotes are in them.
pub struct Known<T> {
    pub figures: Figures<T>,
    pub as_of: Timestamp,
}

impl<T> Clone for Known<T> {
    fn clone(&self) -> Self {
        Self { figures: self.figures.clone(), as_of: self.as_of }
    }
}

/// A read that continues to its end, whether or not a request waits for it.
type Running<T> = JoinHandle<Result<Vec<T>, ReadError>>;

struct Entry<T> {
    known: Option<Known<T>>,
    /// The span in which it was read.
    span: Option<i64>,
    /// A running read, and the beginning of its span.
    running: Option<(Running<T>, Timestamp)>,
    failures: u32,
    again_at: Option<Timestamp>,
}

impl<T> Default for Entry<T> {
    fn default() -> Self {
        Self { known: None, span: None, running: None, failures: 0, again_at: None }
    }
}

/// When the warehouse was last changed, if that is known.
#[derive(Default)]
struct Changes {
    checked_at: Option<Timestamp>,
    changed_at: Option<Timestamp>,
}

/// The reads of one instance of the function.
pub struct Reads {
    warehouse: Warehouse,
    paces: Paces,
    /// By statement and parameters. Each is an [`Entry`] of the type of the statement's rows.
    entries: Mutex<HashMap<String, Arc<dyn Any + Send + Sync>>>,
    changes: Mutex<Changes>,
    /// When dbt settled last, and when that was requested.
    settled: Mutex<Option<(Timestamp, Option<Timestamp>)>>,
}

impl Reads {
    pub fn new(warehouse: Warehouse, paces: Paces) -> Self {
        Self {
            warehouse,
            paces,
            entries: Mutex::default(),
            changes: Mutex::default(),
            settled: Mutex::default(),
        }
    }

    /// The time until figures of this pace are read again.
    pub fn left(&self, pace: Pace) -> SignedDuration {
        let length = i64::try_from(self.paces.of(pace).as_millis()).unwrap_or(i64::MAX);
        if length == 0 {
            return SignedDuration::ZERO;
        }
        SignedDuration::from_millis(length - now().as_millisecond() % length)
    }

    /// The figures of `read` with `parameters`. If newer ones are still being read at `until`, the previous ones.
    ///
    /// # Errors
    /// [`ReadError`]. The next request tries again, after a pause.
    pub async fn get<T: Send + Sync + 'static>(
        &self,
        read: &'static Read<T>,
        parameters: Vec<Parameter>,
        until: Instant,
    ) -> Result<Known<T>, ReadError> {
        let asked_at = Instant::now();
        let late = || ReadError::Late {
            statement: read.statement.name(),
            patience: until.saturating_duration_since(asked_at),
        };
        let values: Vec<&str> = parameters.iter().map(Parameter::value).collect();
        let key = format!("{}{values:?}", read.statement.sql(self.warehouse.config()));
        let entry = self.entry::<T>(&key).await;
        // A read does not wait for another one. Requests that wait for the same read wait until `until` at most.
        let Ok(mut entry) = tokio::time::timeout_at(until.into(), entry.lock()).await else {
            return Err(late());
        };
        let now = now();
        let pace = self.paces.of(read.pace);
        // If the pace is 0, each request is a separate span.
        let length = i64::try_from(pace.as_millis()).unwrap_or(i64::MAX).max(1);
        let span = now.as_millisecond() / length;
        if let Some(known) = &entry.known {
            if entry.span == Some(span) && !pace.is_zero() {
                return Ok(known.clone());
            }
            if !pace.is_zero()
                && entry.running.is_none()
                && let Some(as_of) = self.unchanged_until(known.as_of, now).await
            {
                let known = Known { figures: known.figures.clone(), as_of };
                entry.known = Some(known.clone());
                return Ok(known);
            }
        }
        if let Some(again_at) = entry.again_at.filter(|again_at| now < *again_at) {
            return Err(ReadError::Pausing(again_at));
        }
        let begin = Timestamp::from_millisecond(span * length).unwrap_or(now).min(now);
        let (mut running, as_of) = if let Some(running) = entry.running.take() {
            running
        } else {
            let id = job(&key, begin, entry.failures);
            let warehouse = self.warehouse.clone();
            let running = async move {
                let answer = ask(&warehouse, &read.statement, &parameters, &id).await?;
                Ok(answer.map_or_else(
                    || Ok(Vec::new()),
                    |answer| rows::figures(read.statement.name(), &answer, read.decode),
                )?)
            };
            (tokio::spawn(running), begin)
        };
        let Ok(ended) = tokio::time::timeout_at(until.into(), &mut running).await else {
            entry.running = Some((running, as_of));
            return entry.known.clone().ok_or_else(late);
        };
        match ended.unwrap_or_else(|_| Err(late())) {
            Ok(figures) => {
                let known = Known { figures: figures.into(), as_of };
                *entry = Entry { known: Some(known.clone()), span: Some(span), ..Entry::default() };
                Ok(known)
            }
            Err(error) => {
                entry.failures += 1;
                entry.again_at = Some(now + PAUSE);
                Err(error)
            }
        }
    }

    async fn entry<T: Send + Sync + 'static>(&self, key: &str) -> Arc<Mutex<Entry<T>>> {
        let mut entries = self.entries.lock().await;
        if entries.len() >= CAPACITY && !entries.contains_key(key) {
            entries.clear();
        }
        let new = || Arc::new(Mutex::new(Entry::<T>::default()));
        let entry = entries.entry(key.to_owned()).or_insert_with(|| new());
        // A statement's rows are always of the same type, so this cannot fail.
        Arc::clone(entry).downcast().unwrap_or_else(|_| new())
    }

    /// The time up to which nothing was loaded or settled since `as_of`; `None` if something was, or if that is not
    /// known.
    async fn unchanged_until(&self, as_of: Timestamp, now: Timestamp) -> Option<Timestamp> {
        let mut changes = self.changes.lock().await;
        if changes.checked_at.is_none_or(|at| now.duration_since(at).abs() >= CHECK) {
            let asked = tokio::time::timeout(CHECK_PATIENCE, self.changed_at()).await;
            let late =
                || ReadError::Late { statement: "the query for the last change", patience: CHECK_PATIENCE };
            *changes = Changes { checked_at: Some(now), changed_at: None };
            match asked.map_err(|_| late()).and_then(|asked| asked.map_err(ReadError::from)) {
                Ok(changed_at) => changes.changed_at = changed_at,
                Err(error) if error.is_retryable() => {
                    tracing::warn!(
                        "every answer is read again, because the last change is unknown: {}",
                        chain(&error)
                    );
                }
                // An error, because an operator must act: each read is billed until then.
                Err(error) => tracing::error!(
                    "every answer is read again, because the last change is unknown: {}",
                    chain(&error)
                ),
            }
        }
        changes.checked_at.filter(|_| changes.changed_at.is_some_and(|changed_at| changed_at + SKEW < as_of))
    }

    /// When dbt ended its last run; `None` if the warehouse does not say. The request is free of charge.
    pub async fn settled_at(&self, until: Instant) -> Option<Timestamp> {
        let mut settled = self.settled.lock().await;
        let now = now();
        if let Some((asked_at, settled_at)) = *settled
            && now.duration_since(asked_at) < self.paces.charts
        {
            return settled_at;
        }
        let asked = tokio::time::timeout_at(until.into(), self.warehouse.changed_at(RUNS.0, RUNS.1)).await;
        let settled_at = asked.ok()?.inspect_err(|error| tracing::warn!("{}", chain(error))).ok()?;
        *settled = Some((now, settled_at));
        settled_at
    }

    async fn changed_at(&self) -> Result<Option<Timestamp>, WarehouseError> {
        let (layer, settled) = SETTLED;
        let (loaded, settled) = tokio::try_join!(
            self.warehouse.changed_at("", BRONZE_TABLE),
            self.warehouse.changed_at(layer, settled)
        )?;
        Ok(loaded.map(|loaded| settled.map_or(loaded, |settled| loaded.max(settled))))
    }
}

/// The job's name. The same request in the same span gets the same job.
fn job(key: &str, begin: Timestamp, failures: u32) -> String {
    let mut id = String::from("dashboard_");
    for byte in &Sha256::digest(key)[..12] {
        let _ = write!(id, "{byte:02x}");
    }
    let _ = write!(id, "_{}_{failures}", begin.as_millisecond());
    id
}

/// The job's answer; `None` if the table does not exist yet, because dbt has not run.
async fn ask(
    warehouse: &Warehouse,
    statement: &Statement,
    parameters: &[Parameter],
    id: &str,
) -> Result<Option<Answer>, ReadError> {
    let mut tries = 0;
    loop {
        let id = if tries == 0 { id.to_owned() } else { format!("{id}_{tries}") };
        match warehouse.read(statement, parameters, &id, LONGEST).await {
            Ok(Some(answer)) => return Ok(Some(answer)),
            Ok(None) => return Err(ReadError::Late { statement: statement.name(), patience: LONGEST }),
            Err(error) if is_missing(&error) && tries < REPLACING_TRIES => {
                tries += 1;
                tokio::time::sleep(REPLACING).await;
            }
            Err(error) if is_missing(&error) => {
                tracing::info!("no figures, because dbt has not run yet: {error}");
                return Ok(None);
            }
            Err(error) => return Err(error.into()),
        }
    }
}

/// Now, in whole milliseconds.
pub fn now() -> Timestamp {
    let now = Timestamp::now();
    Timestamp::from_millisecond(now.as_millisecond()).unwrap_or(now)
}

fn is_missing(error: &WarehouseError) -> bool {
    matches!(error, WarehouseError::Refused { code: 404, .. })
}
