//! Asks the warehouse as seldom as its figures change, since each statement is billed.
//!
//! Time is cut into spans, and in each a statement is a job with a name that follows from it. So however many
//! instances and viewers ask, BigQuery runs it once a span; and none at all after a span in which nothing was loaded,
//! which costs nothing to ask.

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

/// How many answers are kept: symbols and limits are the clients' choice.
const CAPACITY: usize = 64;
/// What dbt settles: a replay of older days shows after that.
const SETTLED: (&str, &str) = ("_silver", "silver_stock_quotes_settled");
/// What dbt writes at the end of each run.
const RUNS: (&str, &str) = ("_silver", "int_load_watermark");
/// How long it is believed that nothing was loaded.
const CHECK: SignedDuration = SignedDuration::from_secs(2);
/// How long the warehouse may take to say when it was changed.
const CHECK_PATIENCE: Duration = Duration::from_secs(2);
/// How long a read may go on.
const LONGEST: Duration = Duration::from_mins(1);
/// How much the warehouse's clock may be behind ours.
const SKEW: SignedDuration = SignedDuration::from_secs(1);
/// How long the warehouse is left alone after a failure.
const PAUSE: SignedDuration = SignedDuration::from_secs(5);
/// A stand-in of BigQuery lacks a view for a moment while dbt replaces it.
const REPLACING: Duration = Duration::from_millis(100);
const REPLACING_TRIES: u32 = 4;

/// Why there are no figures.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The warehouse did not answer, or refused.
    #[error(transparent)]
    Warehouse(#[from] WarehouseError),
    /// It did not answer in time.
    #[error("the warehouse did not answer {statement} within {patience:?}")]
    Late { statement: &'static str, patience: Duration },
    /// It failed a moment ago.
    #[error("the warehouse failed a moment ago; the next try is at {0}")]
    Pausing(Timestamp),
    /// The answer does not fit.
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
    /// The live quote joins the candles, and a day has few of these.
    Days,
}

/// For how long an answer serves although more was loaded.
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

/// A statement, how often it is run, and what each row is. The answer is the same for whoever asks.
pub struct Read<T> {
    pub statement: Statement,
    pub pace: Pace,
    pub decode: Decode<T>,
}

/// Figures that all who asked for them share.
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

/// Figures, and the moment up to which all that was loaded is in them.
pub struct Known<T> {
    pub figures: Figures<T>,
    pub as_of: Timestamp,
}

impl<T> Clone for Known<T> {
    fn clone(&self) -> Self {
        Self { figures: self.figures.clone(), as_of: self.as_of }
    }
}

/// It ends by itself, whether or not a request waits for it.
type Running<T> = JoinHandle<Result<Vec<T>, ReadError>>;

struct Entry<T> {
    known: Option<Known<T>>,
    /// The span in which it was read.
    span: Option<i64>,
    /// A read that goes on, and the beginning of its span.
    running: Option<(Running<T>, Timestamp)>,
    failures: u32,
    again_at: Option<Timestamp>,
}

impl<T> Default for Entry<T> {
    fn default() -> Self {
        Self { known: None, span: None, running: None, failures: 0, again_at: None }
    }
}

/// When the warehouse was changed, as far as that is known.
#[derive(Default)]
struct Changes {
    checked_at: Option<Timestamp>,
    changed_at: Option<Timestamp>,
}

/// The reads of one instance of the function.
pub struct Reads {
    warehouse: Warehouse,
    paces: Paces,
    /// By statement and parameters: each an [`Entry`] of the type of the statement's rows.
    entries: Mutex<HashMap<String, Arc<dyn Any + Send + Sync>>>,
    changes: Mutex<Changes>,
    /// When dbt settled last, and when that was asked.
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

    /// How long it takes until what is read at this pace is read again.
    pub fn left(&self, pace: Pace) -> SignedDuration {
        let length = i64::try_from(self.paces.of(pace).as_millis()).unwrap_or(i64::MAX);
        if length == 0 {
            return SignedDuration::ZERO;
        }
        SignedDuration::from_millis(length - now().as_millisecond() % length)
    }

    /// The figures of `read` with `parameters`. While newer ones are still being read at `until`, the last ones.
    ///
    /// # Errors
    /// [`ReadError`]; the next request tries again, after a pause.
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
        // One question waits for no other. Who waits for the same one has no more time for that.
        let Ok(mut entry) = tokio::time::timeout_at(until.into(), entry.lock()).await else {
            return Err(late());
        };
        let now = now();
        let pace = self.paces.of(read.pace);
        // Without a pace each request is a span of its own.
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
        // A statement's rows are of one type, so that this does not fail.
        Arc::clone(entry).downcast().unwrap_or_else(|_| new())
    }

    /// Up to when nothing was loaded or settled since `as_of`; `None` where something was, or where that is not known.
    async fn unchanged_until(&self, as_of: Timestamp, now: Timestamp) -> Option<Timestamp> {
        let mut changes = self.changes.lock().await;
        if changes.checked_at.is_none_or(|at| now.duration_since(at).abs() >= CHECK) {
            let asked = tokio::time::timeout(CHECK_PATIENCE, self.changed_at()).await;
            let late = || ReadError::Late { statement: "when it was changed", patience: CHECK_PATIENCE };
            *changes = Changes { checked_at: Some(now), changed_at: None };
            match asked.map_err(|_| late()).and_then(|asked| asked.map_err(ReadError::from)) {
                Ok(changed_at) => changes.changed_at = changed_at,
                Err(error) if error.is_retryable() => {
                    tracing::warn!("every answer is read again: {}", chain(&error));
                }
                // Each read is billed, which it need not be.
                Err(error) => tracing::error!("every answer is read again: {}", chain(&error)),
            }
        }
        changes.checked_at.filter(|_| changes.changed_at.is_some_and(|changed_at| changed_at + SKEW < as_of))
    }

    /// When dbt ended its last run; `None` where the warehouse does not say. The question is free of charge.
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

/// The job's name: whoever asks for the same in the same span gets the same job.
fn job(key: &str, begin: Timestamp, failures: u32) -> String {
    let mut id = String::from("dashboard_");
    for byte in &Sha256::digest(key)[..12] {
        let _ = write!(id, "{byte:02x}");
    }
    let _ = write!(id, "_{}_{failures}", begin.as_millisecond());
    id
}

/// What the job `id` answers; `None` where there is no such table yet: before the first run of dbt.
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
                tracing::info!("before the first run of dbt: {error}");
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
