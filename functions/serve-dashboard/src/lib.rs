//! serve-dashboard: HTTP requests → the gold tables as JSON, and the page that shows them.
//!
//! `openapi.json` describes the API. A read of the warehouse serves every request of the next seconds.

mod cache;
mod content;
mod gold;
mod page;
mod problem;
mod question;

use std::time::Duration;

use function_kit::{ConfigError, Environment, Retry, chain};
use jiff::Timestamp;
use lambda_http::{Body, Request, Response, http::Method};
use tokio::sync::Mutex;
use warehouse::{Warehouse, WarehouseConfig};

use crate::{cache::Cache, content::Content, gold::GoldError, problem::Problem, question::Question};

/// What `--help` prints.
pub const ABOUT: &str = "serve-dashboard: HTTP -> gold tables as JSON, and a web page. A Lambda function: it is run by \
     the Lambda Runtime API (AWS_LAMBDA_RUNTIME_API) and configured by the environment: BIGQUERY_PROJECT, \
     BIGQUERY_DATASET, BIGQUERY_ENDPOINT, GOOGLE_CREDENTIALS_JSON or GOOGLE_CREDENTIALS_SECRET or \
     GOOGLE_APPLICATION_CREDENTIALS, DASHBOARD_CACHE_SECONDS, DASHBOARD_STALE_AFTER_SECONDS, LOG_LEVEL. See \
     functions/serve-dashboard/README.md.";

const OPENAPI: &str = include_str!("../openapi.json");
/// How long the warehouse may take: the page waits for 10 s.
const PATIENCE: Duration = Duration::from_secs(9);

/// The configuration of serve-dashboard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Where gold is: in the dataset of this name with `_gold` added.
    pub warehouse: WarehouseConfig,
    /// `DASHBOARD_CACHE_SECONDS`: how long one read of the warehouse serves.
    pub cache_seconds: u32,
    /// `DASHBOARD_STALE_AFTER_SECONDS`: from which age of the latest quote on the status is `stale`.
    pub stale_after_seconds: u32,
}

impl Config {
    /// Reads the configuration from the environment.
    ///
    /// # Errors
    /// All that is wrong with it.
    pub fn read(mut environment: Environment) -> Result<Self, ConfigError> {
        let warehouse = WarehouseConfig::read(&mut environment);
        let cache_seconds = environment.or("DASHBOARD_CACHE_SECONDS", 5);
        let stale_after_seconds = environment.or("DASHBOARD_STALE_AFTER_SECONDS", 60);
        if stale_after_seconds == 0 {
            environment.problem("DASHBOARD_STALE_AFTER_SECONDS: 0 is less than 1".to_owned());
        }
        environment.finish(warehouse.map(|warehouse| Self { warehouse, cache_seconds, stale_after_seconds }))
    }
}

/// What cannot happen: every failure has an HTTP answer.
#[derive(Debug, thiserror::Error)]
pub enum Never {}

impl Retry for Never {
    fn is_retryable(&self) -> bool {
        match *self {}
    }
}

/// The function.
pub struct ServeDashboard {
    warehouse: Warehouse,
    stale_after_seconds: u32,
    /// A Lambda process has one request at a time. Where there are more, the lock makes them wait for one read.
    cache: Mutex<Cache>,
}

impl ServeDashboard {
    /// The function, reading from `warehouse`.
    #[must_use]
    pub fn new(warehouse: Warehouse, config: &Config) -> Self {
        let cache = Mutex::new(Cache::new(config.cache_seconds));
        Self { warehouse, stale_after_seconds: config.stale_after_seconds, cache }
    }

    /// Answers a request, whatever happens.
    pub async fn handle(&self, request: &Request) -> Response<Body> {
        let answer = match self.answer(request).await {
            Ok(answer) => answer,
            Err(problem) => problem.into_response(),
        };
        content::secured(answer, request.method())
    }

    async fn answer(&self, request: &Request) -> Result<Response<Body>, Problem> {
        let (method, path) = (request.method(), request.uri().path());
        if method != Method::GET && method != Method::HEAD {
            return Err(Problem::Method(method.clone()));
        }
        if let Some(file) = page::file(path) {
            return Ok(file.content.respond(request.headers(), file.caching));
        }
        if path == "/api/openapi.json" {
            return Ok(json(OPENAPI)?.respond(request.headers(), "no-cache"));
        }
        let question = Question::parse(path, request.uri().query().unwrap_or_default())?;
        let (content, seconds) = self.ask(question).await?;
        Ok(content.respond(request.headers(), &format!("public, max-age={seconds}")))
    }

    /// The answer to `question`, and for how many seconds it may be used.
    async fn ask(&self, question: Question) -> Result<(Content, u64), Problem> {
        let mut cache = self.cache.lock().await;
        if let Some(known) = cache.get(&question, Timestamp::now()) {
            return Ok(known);
        }
        let read = gold::read(&self.warehouse, &question, self.stale_after_seconds);
        let read = tokio::time::timeout(PATIENCE, read).await.unwrap_or(Err(GoldError::Late(PATIENCE)));
        let (as_of, text) = read.map_err(|error| unavailable(&error))?;
        Ok(cache.put(question, json(&text)?, as_of))
    }
}

fn json(text: &str) -> Result<Content, Problem> {
    Content::text("application/json", text).map_err(|error| unavailable(&error.into()))
}

/// Tells the log why; a client is told no more than that it may ask again.
fn unavailable(error: &GoldError) -> Problem {
    if error.is_retryable() {
        tracing::warn!("no figures: {}", chain(error));
    } else {
        tracing::error!("no figures: {}", chain(error));
    }
    Problem::Unavailable
}
