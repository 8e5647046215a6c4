//! serve-dashboard: HTTP requests → the gold tables as JSON, and the page that shows them.
//!
//! `openapi.json` describes the API. The warehouse is queried only as often as its figures change: see [`reads`].

mod candle;
mod content;
pub mod flow;
mod market;
#[cfg(test)]
mod openapi;
mod page;
mod parameters;
mod problem;
mod question;
mod questions;
mod reads;
mod rows;

use function_kit::{About, ConfigError, Environment, Retry, Variable, aws, chain};
use jiff::SignedDuration;
use lambda_http::{Body, Request, Response, http::Method};
use warehouse::{Warehouse, WarehouseConfig, statements::Statement};

use crate::{
    content::Content,
    flow::Flow,
    parameters::Query,
    problem::Problem,
    question::{Answered, Context},
    reads::{Paces, Reads},
};

/// The purpose of serve-dashboard, and its variables.
pub const ABOUT: About = About {
    name: env!("CARGO_PKG_NAME"),
    purpose: "HTTP -> gold tables as JSON, and a web page",
    variables: &[
        &[
            Variable::or(
                "DASHBOARD_CACHE_SECONDS",
                "6",
                "for how long one read of the tiles' figures is used; 0: each request reads them",
            ),
            Variable::or("DASHBOARD_CHART_SECONDS", "60", "the same of all other figures"),
            Variable::or(
                "DASHBOARD_STALE_AFTER_SECONDS",
                "60",
                "from which age of its latest quote on a symbol is `stale`",
            ),
            Variable::optional(
                "DASHBOARD_RECORDING_SPEED",
                "the quotes are of a recording, which is replayed so many times faster; `make local` sets it",
            ),
            Variable::optional(
                "DASHBOARD_PIPELINE_URL",
                "where the flow serves its own figures of each station; `make local` sets it",
            ),
        ],
        warehouse::VARIABLES,
        aws::VARIABLES,
    ],
};

const OPENAPI: &str = include_str!("../openapi.json");

/// The configuration of serve-dashboard.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// The warehouse. Gold is in the dataset of this name with `_gold` added.
    pub warehouse: WarehouseConfig,
    /// `DASHBOARD_CACHE_SECONDS`: how long one read of the tiles' figures is used.
    pub cache_seconds: u32,
    /// `DASHBOARD_CHART_SECONDS`: how long one read of any other figures is used.
    pub chart_seconds: u32,
    /// `DASHBOARD_STALE_AFTER_SECONDS`: from which age of the latest quote on the status is `stale`.
    pub stale_after_seconds: u32,
    /// `DASHBOARD_RECORDING_SPEED`: the quotes are of a recording, which is replayed this much faster.
    pub recording_speed: Option<f64>,
    /// `DASHBOARD_PIPELINE_URL`: where the flow serves its own figures of each station.
    pub pipeline_url: Option<String>,
}

impl Config {
    /// Reads the configuration from the environment.
    ///
    /// # Errors
    /// [`ConfigError`] with all problems.
    pub fn read(mut environment: Environment) -> Result<Self, ConfigError> {
        let warehouse = WarehouseConfig::read(&mut environment);
        let cache_seconds = environment.get("DASHBOARD_CACHE_SECONDS");
        let chart_seconds = environment.get("DASHBOARD_CHART_SECONDS");
        let stale_after_seconds: Option<u32> = environment.get("DASHBOARD_STALE_AFTER_SECONDS");
        if stale_after_seconds == Some(0) {
            environment.problem("DASHBOARD_STALE_AFTER_SECONDS is 0; it must be 1 or more".to_owned());
        }
        let recording_speed: Option<f64> = environment.get("DASHBOARD_RECORDING_SPEED");
        if let Some(speed) = recording_speed.filter(|speed| !speed.is_finite() || *speed <= 0.0) {
            environment.problem(format!("DASHBOARD_RECORDING_SPEED is {speed}; it must be more than 0"));
        }
        let pipeline_url = environment.get("DASHBOARD_PIPELINE_URL");
        environment.finish(|| {
            Some(Self {
                warehouse: warehouse?,
                cache_seconds: cache_seconds?,
                chart_seconds: chart_seconds?,
                stale_after_seconds: stale_after_seconds?,
                recording_speed,
                pipeline_url,
            })
        })
    }
}

/// An error that cannot happen, because every failure has an HTTP answer.
#[derive(Debug, thiserror::Error)]
pub enum Never {}

impl Retry for Never {
    fn is_retryable(&self) -> bool {
        match *self {}
    }
}

/// Every statement of the function.
pub fn statements() -> impl Iterator<Item = &'static Statement> {
    questions::ALL.iter().flat_map(|question| question.statements)
}

/// The function.
pub struct ServeDashboard {
    context: Context,
}

impl ServeDashboard {
    /// The function, reading from `warehouse`.
    #[must_use]
    pub fn new(warehouse: Warehouse, config: &Config) -> Self {
        let seconds = |seconds: u32| SignedDuration::from_secs(seconds.into());
        let paces = Paces { tiles: seconds(config.cache_seconds), charts: seconds(config.chart_seconds) };
        let context = Context {
            reads: Reads::new(warehouse, paces),
            flow: config.pipeline_url.clone().map(Flow::new),
            stale_after: seconds(config.stale_after_seconds),
            recording_speed: config.recording_speed,
        };
        Self { context }
    }

    /// Answers a request. A failure is an answer, too.
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
        let name = path.strip_prefix("/api/").unwrap_or_default();
        let Some(question) = questions::ALL.iter().find(|question| question.name == name) else {
            return Err(Problem::Path(path.to_owned()));
        };
        let query = Query::parse(request.uri().query().unwrap_or_default());
        let Answered { body, as_of, lifetime } = (question.answer)(&query, &self.context).await?;
        let caching = format!("public, max-age={}", lifetime.as_secs());
        Ok(content::as_of(json(&body)?.respond(request.headers(), &caching), &as_of))
    }
}

fn json(text: &str) -> Result<Content, Problem> {
    Content::text("application/json", text).map_err(|error| {
        tracing::error!("an answer cannot be compressed: {}", chain(&error));
        Problem::Unavailable
    })
}
