//! A question of the API: its path, its parameters, its statements and its answer.

use std::{
    pin::Pin,
    time::{Duration, Instant},
};

use function_kit::{Retry, chain};
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;
use warehouse::{Parameter, statements::Statement};

use crate::{
    flow::Flow,
    parameters::Query,
    problem::Problem,
    reads::{Known, Pace, Read, ReadError, Reads},
};

/// A question of the API, with its parameters. An answer does not depend on the clock, except for a state that depends
/// on time. An answer that did not change has the same bytes.
pub trait Question: Sized + Send + Sync {
    /// Its path is `/api/` with this.
    const NAME: &'static str;
    /// The statements that it reads itself.
    const STATEMENTS: &'static [Statement] = &[];
    /// How long the warehouse may take: clients wait for 10 s.
    const PATIENCE: Duration = Duration::from_secs(9);
    type Answer: Serialize + Send;

    /// # Errors
    /// [`Problem::Parameter`] that names the invalid parameter.
    fn parse(query: &Query) -> Result<Self, Problem>;

    /// The answer. The warehouse has time until `until`.
    ///
    /// # Errors
    /// [`AnswerError`].
    fn answer(
        &self,
        context: &Context,
        until: Instant,
    ) -> impl Future<Output = Result<Answered<Self::Answer>, AnswerError>> + Send;
}

/// The sources of the answers.
pub struct Context {
    pub reads: Reads,
    /// The flow's own figures, if it serves them.
    pub flow: Option<Flow>,
    pub stale_after: SignedDuration,
    /// How much faster than the market a recording is replayed; `None` without a recording.
    pub recording_speed: Option<f64>,
}

/// An answer.
pub struct Answered<T> {
    pub body: T,
    /// The time up to which all loaded quotes are in it; for a snapshot, of each part.
    pub as_of: String,
    /// How long it may be used.
    pub lifetime: SignedDuration,
}

impl Context {
    /// # Errors
    /// [`ReadError`].
    pub async fn read<T: Send + Sync + 'static>(
        &self,
        read: &'static Read<T>,
        parameters: Vec<Parameter>,
        until: Instant,
    ) -> Result<Known<T>, ReadError> {
        Box::pin(self.reads.get(read, parameters, until)).await
    }

    /// An answer that may be used until its figures are read again.
    pub fn answered<T>(&self, body: T, as_of: Timestamp, pace: Pace) -> Answered<T> {
        Answered { body, as_of: as_of.to_string(), lifetime: self.reads.left(pace) }
    }
}

/// Why a question has no answer.
#[derive(Debug, thiserror::Error)]
pub enum AnswerError {
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error("the answer cannot be written")]
    Write(#[from] serde_json::Error),
}

impl AnswerError {
    /// Logs one line for each failure, when it happens.
    pub fn log(&self) {
        match self {
            Self::Read(ReadError::Pausing(_)) => tracing::debug!("no figures: {}", chain(self)),
            Self::Read(error) if error.is_retryable() => tracing::warn!("no figures: {}", chain(self)),
            _ => tracing::error!("no figures: {}", chain(self)),
        }
    }
}

type Answering<'a> = Pin<Box<dyn Future<Output = Result<Answered<String>, Problem>> + Send + 'a>>;

/// A question of the list.
pub struct Listed {
    pub name: &'static str,
    pub statements: &'static [Statement],
    /// The answer as JSON; a failure is logged.
    pub answer: for<'a> fn(&'a Query, &'a Context) -> Answering<'a>,
}

impl Listed {
    pub const fn of<Q: Question>() -> Self {
        Self { name: Q::NAME, statements: Q::STATEMENTS, answer: answer::<Q> }
    }
}

fn answer<'a, Q: Question>(query: &'a Query, context: &'a Context) -> Answering<'a> {
    Box::pin(async move {
        let question = Q::parse(query)?;
        let answer = question.answer(context, Instant::now() + Q::PATIENCE).await;
        let written = answer.and_then(|Answered { body, as_of, lifetime }| {
            Ok(Answered { body: serde_json::to_string(&body)?, as_of, lifetime })
        });
        // A client only learns that it may try again.
        written.map_err(|error| {
            error.log();
            Problem::Unavailable
        })
    })
}
