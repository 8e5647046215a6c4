//! The client: configuration, and statements with their retries, limits and cancellation.

use std::{
    fmt,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use async_trait::async_trait;
use backon::{ExponentialBuilder, Retryable};
use function_kit::{Environment, Retry, Variable, chain, is_loopback, lock, metrics};
use gcp_bigquery_client::{
    Client,
    auth::Authenticator,
    client_builder::ClientBuilder,
    error::BQError,
    model::{
        get_query_results_parameters::GetQueryResultsParameters, query_parameter::QueryParameter,
        query_parameter_type::QueryParameterType, query_parameter_value::QueryParameterValue,
        query_request::QueryRequest, query_response::QueryResponse, table_row::TableRow,
    },
};
use serde_json::Value;
use uuid::Uuid;

use crate::{
    GoogleCredentials, WarehouseError,
    google::{Google, NoToken},
    statements::Statement,
};

const CONNECT: Duration = Duration::from_secs(2);
/// How long a statement may take by default: less than load-quotes' 30 seconds, the shortest timeout of a writing
/// function.
const TIMEOUT_SECONDS: &str = "20";
/// Extra time of a request for the network, beyond the server's own limit.
const NETWORK: Duration = Duration::from_secs(3);
/// How many bytes one statement may read by default: 10 GiB, which cost $0.06. A day of 500 symbols is 0.3 GB of
/// bronze.
const MAX_BYTES_BILLED: &str = "10737418240";
/// How often a statement is retried, within the function's own time.
const RETRIES: usize = 3;

/// The variables of the warehouse.
pub const VARIABLES: &[Variable] = &[
    Variable::required("BIGQUERY_PROJECT", "the Google Cloud project of all tables"),
    Variable::or(
        "BIGQUERY_DATASET",
        "stock",
        "the dataset of the raw tables; the datasets of the models have `_silver` and `_gold` added",
    ),
    Variable::optional(
        "BIGQUERY_ENDPOINT",
        "URL of a stand-in, as in `http://127.0.0.1:9050`. It needs no credentials. Without it, exactly one of the next \
         three is required",
    ),
    Variable::optional(
        "GOOGLE_CREDENTIALS_JSON",
        "workload identity federation (`external_account`) or a service account's key, as JSON, also in base64. Federation \
         contains no secret: the function's own AWS credentials are exchanged",
    )
    .secret()
    .or_secret_of("GOOGLE_CREDENTIALS_SECRET"),
    Variable::optional("GOOGLE_APPLICATION_CREDENTIALS", "path of a file with such JSON"),
    Variable::or("BIGQUERY_MAX_BYTES_BILLED", MAX_BYTES_BILLED, "a statement that would read more bytes is rejected"),
    Variable::or(
        "BIGQUERY_TIMEOUT_SECONDS",
        TIMEOUT_SECONDS,
        "how long a statement may take, with all its tries, before it is cancelled",
    ),
];

/// The warehouse's address, credentials and limits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WarehouseConfig {
    /// `BIGQUERY_ENDPOINT`: a stand-in's URL (`http://127.0.0.1:9050`); `None` for Google's own.
    pub endpoint: Option<String>,
    /// `BIGQUERY_PROJECT`.
    pub project: String,
    /// `BIGQUERY_DATASET`: the dataset of the raw tables (`stock`).
    pub dataset: String,
    /// The credentials; optional with an endpoint, because a stand-in accepts any token.
    pub credentials: Option<GoogleCredentials>,
    /// `BIGQUERY_MAX_BYTES_BILLED`: BigQuery refuses a statement that would read more.
    pub max_bytes_billed: u64,
    /// `BIGQUERY_TIMEOUT_SECONDS`: how long a statement may take, with all its tries, before it is cancelled.
    pub timeout: Duration,
}

impl WarehouseConfig {
    /// A stand-in at `endpoint`, with this project and dataset and the default limits.
    #[must_use]
    pub fn stand_in(endpoint: &str, project: &str, dataset: &str) -> Self {
        Self {
            endpoint: Some(endpoint.to_owned()),
            project: project.to_owned(),
            dataset: dataset.to_owned(),
            credentials: None,
            max_bytes_billed: MAX_BYTES_BILLED.parse().unwrap_or_default(),
            timeout: Duration::from_secs(TIMEOUT_SECONDS.parse().unwrap_or_default()),
        }
    }

    /// Reads the configuration; `None` if something is missing. Problems are noted.
    pub fn read(environment: &mut Environment) -> Option<Self> {
        let endpoint: Option<String> = environment.get("BIGQUERY_ENDPOINT");
        let project = environment.get("BIGQUERY_PROJECT");
        let dataset = environment.get("BIGQUERY_DATASET");
        let credentials = GoogleCredentials::read(environment);
        let max_bytes_billed = environment.get("BIGQUERY_MAX_BYTES_BILLED");
        let timeout: Option<u32> = environment.get("BIGQUERY_TIMEOUT_SECONDS");
        for (name, value) in [
            ("BIGQUERY_MAX_BYTES_BILLED", max_bytes_billed),
            ("BIGQUERY_TIMEOUT_SECONDS", timeout.map(u64::from)),
        ] {
            if value == Some(0) {
                environment.problem(format!("{name} is 0; it must be 1 or more"));
            }
        }
        let is_set = |name| environment.is_set(name);
        if !["BIGQUERY_ENDPOINT", "GOOGLE_CREDENTIALS_JSON", "GOOGLE_APPLICATION_CREDENTIALS"]
            .into_iter()
            .any(is_set)
        {
            let missing = "set one of GOOGLE_CREDENTIALS_JSON, GOOGLE_CREDENTIALS_SECRET and \
                           GOOGLE_APPLICATION_CREDENTIALS, or BIGQUERY_ENDPOINT for a server without credentials";
            environment.problem(missing.to_owned());
        }
        Some(Self {
            endpoint: endpoint.map(|url| url.trim_end_matches('/').to_owned()),
            project: project?,
            dataset: dataset?,
            credentials,
            max_bytes_billed: max_bytes_billed?,
            timeout: Duration::from_secs(timeout?.into()),
        })
    }
}

/// A client of the warehouse.
#[derive(Clone)]
pub struct Warehouse {
    client: Arc<Client>,
    config: Arc<WarehouseConfig>,
    google: Option<Google>,
}

/// A named parameter of a statement.
#[derive(Clone)]
pub struct Parameter {
    name: &'static str,
    kind: &'static str,
    value: String,
}

/// Without the value: a batch of quotes does not help in an error.
impl fmt::Debug for Parameter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (self.name, self.kind).fmt(f)
    }
}

impl Parameter {
    /// Its name and its type.
    pub(crate) fn kind(&self) -> (&'static str, &'static str) {
        (self.name, self.kind)
    }

    /// Its value, as text.
    #[must_use]
    pub fn value(&self) -> &str {
        &self.value
    }

    /// A `STRING`.
    #[must_use]
    pub fn string(name: &'static str, value: String) -> Self {
        Self { name, kind: "STRING", value }
    }

    /// A `DATE`.
    #[must_use]
    pub fn date(name: &'static str, value: jiff::civil::Date) -> Self {
        Self { name, kind: "DATE", value: value.to_string() }
    }

    /// An `INT64`.
    #[must_use]
    pub fn int(name: &'static str, value: i64) -> Self {
        Self { name, kind: "INT64", value: value.to_string() }
    }
}

impl From<Parameter> for QueryParameter {
    fn from(parameter: Parameter) -> Self {
        Self {
            name: Some(parameter.name.to_owned()),
            parameter_type: Some(QueryParameterType {
                array_type: None,
                struct_types: None,
                r#type: parameter.kind.to_owned(),
            }),
            parameter_value: Some(QueryParameterValue {
                array_values: None,
                struct_values: None,
                value: Some(parameter.value),
            }),
        }
    }
}

/// A statement's result.
#[derive(Debug, Default)]
pub struct Answer {
    /// The columns' names.
    pub columns: Vec<String>,
    /// The rows, each value as the text BigQuery sends (`None` for NULL).
    pub rows: Vec<Vec<Option<String>>>,
    /// How many rows a DML statement changed.
    pub changed: u64,
}

impl Answer {
    /// Adds a page of the answer. Returns how many rows all pages have, if BigQuery says so.
    pub(crate) fn take(&mut self, page: QueryResponse) -> Option<u64> {
        let text = |value: Option<Value>| match value {
            None | Some(Value::Null) => None,
            Some(Value::String(text)) => Some(text),
            Some(other) => Some(other.to_string()),
        };
        if let Some(fields) = page.schema.and_then(|schema| schema.fields) {
            self.columns = fields.into_iter().map(|field| field.name).collect();
        }
        let rows = page.rows.unwrap_or_default().into_iter();
        let row = |row: TableRow| {
            row.columns.unwrap_or_default().into_iter().map(|cell| text(cell.value)).collect()
        };
        self.rows.extend(rows.map(row));
        if let Some(changed) = page.num_dml_affected_rows.and_then(|rows| rows.parse().ok()) {
            self.changed = changed;
        }
        page.total_rows.and_then(|rows| rows.parse().ok())
    }

    /// The first row's first value as an integer; 0 if there is none.
    #[must_use]
    pub fn count(&self) -> u64 {
        let first = self.rows.first().and_then(|row| row.first());
        first.and_then(Option::as_deref).and_then(|text| text.parse().ok()).unwrap_or_default()
    }
}

/// For a stand-in, which accepts any token.
#[derive(Clone)]
struct AnyToken;

#[async_trait]
impl Authenticator for AnyToken {
    async fn access_token(&self) -> Result<String, BQError> {
        Ok("anything".to_owned())
    }
}

impl fmt::Debug for Warehouse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Warehouse").field(&self.config).finish()
    }
}

impl Warehouse {
    /// A client for the configured warehouse; no request is made yet.
    ///
    /// # Errors
    /// [`WarehouseError::Configuration`] if the credentials cannot be used.
    pub async fn connect(config: WarehouseConfig) -> Result<Self, WarehouseError> {
        let unusable = |error: BQError| WarehouseError::Configuration(chain(&error));
        let mut http = reqwest::Client::builder().connect_timeout(CONNECT).timeout(config.timeout + NETWORK);
        if config.endpoint.as_deref().is_some_and(is_loopback) {
            http = http.no_proxy();
        }
        let http = http.build().map_err(|error| WarehouseError::Configuration(chain(&error)))?;
        let google = match (&config.credentials, &config.endpoint) {
            (Some(credentials), _) => Some(Google::new(credentials)?),
            (None, Some(_)) => None,
            (None, None) => {
                let reason = "neither Google credentials nor BIGQUERY_ENDPOINT is set: set one of them";
                return Err(WarehouseError::Configuration(reason.to_owned()));
            }
        };
        let authenticator: Arc<dyn Authenticator> = match &google {
            Some(google) => Arc::new(google.clone()),
            None => Arc::new(AnyToken),
        };
        let mut builder = ClientBuilder::new();
        builder.with_client(http);
        if let Some(endpoint) = &config.endpoint {
            builder.with_v2_base_url(format!("{endpoint}/bigquery/v2"));
        }
        let client = builder.build_from_authenticator(authenticator).await.map_err(unusable)?;
        Ok(Self { client: Arc::new(client), config: Arc::new(config), google })
    }

    /// Its configuration.
    #[must_use]
    pub fn config(&self) -> &WarehouseConfig {
        &self.config
    }

    /// The underlying client, for calls that this crate does not offer.
    #[must_use]
    pub(crate) fn bigquery(&self) -> &Client {
        &self.client
    }

    /// Runs the statement. Temporary errors are retried with growing pauses.
    ///
    /// # Errors
    /// [`WarehouseError`] of the last attempt; [`WarehouseError::Configuration`] if the parameters are not those that
    /// the statement declares.
    pub async fn run(
        &self,
        statement: &Statement,
        parameters: &[Parameter],
    ) -> Result<Answer, WarehouseError> {
        statement.check(parameters)?;
        let (statement, sql) = (statement.name(), statement.sql(&self.config));
        let backoff = ExponentialBuilder::default()
            .with_min_delay(Duration::from_millis(200))
            .with_max_delay(Duration::from_secs(3))
            .with_max_times(RETRIES)
            .with_jitter();
        // An attempt without an answer may still be running. With the same request id, BigQuery answers with the
        // same job instead of starting a second one. A refused job has ended, so a retry needs a new id.
        let id = Mutex::new(Uuid::now_v7());
        let request_id = || lock(&id).to_string();
        let end = Instant::now() + self.config.timeout;
        let is_in_time = |error: &WarehouseError| error.is_retryable() && Instant::now() < end;
        (|| self.run_once(statement, &sql, parameters, request_id(), end))
            .retry(backoff)
            .when(is_in_time)
            .notify(|error, pause| {
                metrics::RETRIED.add(1);
                if matches!(error, WarehouseError::Refused { .. }) {
                    *lock(&id) = Uuid::now_v7();
                }
                tracing::warn!(statement, pause_ms = pause.as_secs_f64() * 1000.0, "trying again: {error}");
            })
            .await
    }

    /// Gets a token before the client does, because the client's error does not name the cause.
    pub(crate) async fn authorize(&self, statement: &'static str) -> Result<(), WarehouseError> {
        let Some(google) = &self.google else { return Ok(()) };
        match google.token().await {
            Ok(_) => Ok(()),
            Err(NoToken { reason, retryable }) => {
                Err(WarehouseError::Unauthorized { statement, reason, passing: retryable })
            }
        }
    }

    pub(crate) fn failed(&self, statement: &'static str, error: BQError) -> WarehouseError {
        let mut error = WarehouseError::of(statement, error);
        // The token has become invalid. The next attempt gets a new one.
        if let (Some(google), WarehouseError::Refused { code: 401, passing, .. }) = (&self.google, &mut error)
        {
            google.renew();
            *passing = true;
        }
        error
    }

    async fn run_once(
        &self,
        statement: &'static str,
        sql: &str,
        parameters: &[Parameter],
        request_id: String,
        end: Instant,
    ) -> Result<Answer, WarehouseError> {
        self.authorize(statement).await?;
        let mut request = QueryRequest::new(sql);
        request.request_id = Some(request_id);
        request.timeout_ms = Some(left_ms(end));
        request.maximum_bytes_billed = Some(self.config.max_bytes_billed.to_string());
        request.parameter_mode = Some("NAMED".to_owned());
        request.query_parameters = Some(parameters.iter().cloned().map(Into::into).collect());
        let of = |error| self.failed(statement, error);
        let unavailable = |reason: String| WarehouseError::Unavailable { statement, reason };
        let (project, jobs) = (&self.config.project, self.client.job());
        let mut response = jobs.query(project, request).await.map_err(of)?;
        let mut answer = Answer::default();
        loop {
            let is_complete = response.job_complete.unwrap_or(false);
            let reference = response.job_reference.take();
            let job = reference.as_ref().and_then(|job| Some((job.job_id.clone()?, job.location.clone())));
            let page_token = response.page_token.take().filter(|token| !token.is_empty());
            if is_complete {
                let rows = answer.take(response);
                if page_token.is_none() {
                    return match rows {
                        Some(all) if all != answer.rows.len() as u64 => {
                            Err(unavailable(format!("it returned {} of {all} rows", answer.rows.len())))
                        }
                        _ => Ok(answer),
                    };
                }
            }
            let Some((job, location)) = job else {
                return Err(unavailable(
                    "the answer names no job, so its further rows cannot be read".to_owned(),
                ));
            };
            if Instant::now() >= end {
                // Otherwise it would run at the same time as the next invocation's statement.
                if !is_complete && let Err(error) = jobs.cancel_job(project, &job, location.as_deref()).await
                {
                    tracing::warn!(statement, job, "the statement could not be cancelled: {}", chain(&error));
                }
                return Err(WarehouseError::Late { statement, after: self.config.timeout });
            }
            let timeout_ms = Some(left_ms(end));
            let ask = GetQueryResultsParameters { timeout_ms, location, page_token, ..Default::default() };
            response = jobs.get_query_results(project, &job, ask).await.map_err(of)?.into();
        }
    }
}

/// The time until `end`, in milliseconds.
fn left_ms(end: Instant) -> i32 {
    i32::try_from(end.saturating_duration_since(Instant::now()).as_millis()).unwrap_or(i32::MAX)
}
