//! The proxy: BigQuery's API with jobs that take as long as in BigQuery, in front of a stand-in that answers at once.
//!
//! Every query becomes a job of the stand-in with the id that the client knows (`jobs.insert`), so that later requests
//! about it can be passed on.

use std::{
    collections::{BTreeSet, HashMap},
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use anyhow::Context;
use axum::{
    Json, Router,
    body::{Body, Bytes},
    extract::State,
    http::{
        HeaderMap, HeaderName, Method, StatusCode, Uri,
        header::{CONNECTION, CONTENT_LENGTH, HOST, TRANSFER_ENCODING},
    },
    response::{IntoResponse, Response},
};
use jiff::Timestamp;
use reqwest::Client;
use serde_json::{Map, Value, json};
use tokio::{net::TcpListener, sync::watch, task::JoinHandle, time::Instant};
use uuid::Uuid;

use crate::{
    Latency, Speed, Usage,
    error::ApiError,
    lock,
    quota::Quotas,
    statement::{Kind, Names, Statement, statements},
    tables::Tables,
    usage::LEAST_BYTES,
};

const API: &str = "/bigquery/v2/";
const LOCATION: &str = "US";
/// How long `jobs.query` and `getQueryResults` wait for a job if the request does not say.
const WAIT: Duration = Duration::from_secs(10);
/// The longest time that they wait.
const LONGEST_WAIT: Duration = Duration::from_secs(200);
/// How long a request's id identifies the job that it started.
const REQUEST_ID: Duration = Duration::from_mins(15);
/// How long the proxy keeps an ended job. The stand-in keeps it longer.
const KEPT: Duration = Duration::from_hours(1);

/// The name for clients whose paths do not begin with a client's name.
pub const OTHERS: &str = "others";
/// The client that waits like others but is not billed: the observer of the flow.
pub const UNBILLED: &str = "unbilled";

/// The configuration of a [`Proxy`].
#[derive(Debug)]
pub struct ProxyConfig {
    /// Where it listens: `127.0.0.1:9050`.
    pub address: String,
    /// The stand-in: `http://127.0.0.1:9060`.
    pub upstream: String,
    /// How long statements take.
    pub speed: Speed,
    /// Spreads the durations.
    pub seed: Option<u64>,
}

/// A running proxy. To be counted separately, a client puts its name before the API's path:
/// `http://127.0.0.1:9050/load-quotes`.
pub struct Proxy {
    shared: Arc<Shared>,
    address: SocketAddr,
    server: JoinHandle<std::io::Result<()>>,
}

impl Proxy {
    /// Starts to listen. The stand-in need not answer yet.
    ///
    /// # Errors
    /// If the address is in use.
    pub async fn start(config: ProxyConfig) -> anyhow::Result<Self> {
        let cannot = || format!("BigQuery's proxy cannot listen on {}", config.address);
        let listener = TcpListener::bind(&config.address).await.with_context(cannot)?;
        let address = listener.local_addr()?;
        let http = Client::builder().no_proxy().build()?;
        let shared = Arc::new(Shared {
            tables: Tables::new(http.clone(), config.upstream.clone()),
            http,
            upstream: config.upstream,
            latency: Latency::new(config.speed, config.seed),
            quotas: Quotas::default(),
            jobs: Mutex::default(),
            requests: Mutex::default(),
            usage: Mutex::default(),
            change_takes: Mutex::default(),
        });
        let router = Router::new().fallback(respond).with_state(Arc::clone(&shared));
        let server = tokio::spawn(async move { axum::serve(listener, router).await });
        Ok(Self { shared, address, server })
    }

    /// Its address, for clients without a name.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The usage so far.
    #[must_use]
    pub fn usage(&self) -> Usage {
        lock(&self.shared.usage).clone()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.server.abort();
    }
}

struct Shared {
    http: Client,
    upstream: String,
    latency: Latency,
    quotas: Quotas,
    tables: Tables,
    jobs: Mutex<HashMap<String, Arc<Job>>>,
    requests: Mutex<HashMap<String, (Instant, String)>>,
    usage: Mutex<Usage>,
    /// How long the stand-in's last statement that changed something took.
    change_takes: Mutex<Duration>,
}

/// A submitted query.
struct Job {
    project: String,
    id: String,
    client: String,
    configuration: Value,
    created: Timestamp,
    state: watch::Sender<Progress>,
}

#[derive(Debug, Clone)]
enum Progress {
    /// It waits for its turn.
    Pending,
    Running(Timestamp),
    Done {
        started: Timestamp,
        ended: Timestamp,
        /// The bytes billed, or why it failed.
        outcome: Result<u64, ApiError>,
        /// The stand-in knows it, too.
        is_upstream: bool,
    },
}

impl Job {
    fn progress(&self) -> Progress {
        self.state.borrow().clone()
    }

    /// Waits for its end; `None` if it does not end in time.
    async fn ended(&self, wait: Duration) -> Option<Result<u64, ApiError>> {
        let mut state = self.state.subscribe();
        let ended = state.wait_for(|progress| matches!(progress, Progress::Done { .. }));
        match tokio::time::timeout(wait, ended).await.ok()?.ok()?.clone() {
            Progress::Done { outcome, .. } => Some(outcome),
            _ => None,
        }
    }

    fn reference(&self) -> Value {
        json!({ "projectId": self.project, "jobId": self.id, "location": LOCATION })
    }

    /// Marks it as running, unless it was cancelled before.
    fn begin(&self) -> Result<(), ApiError> {
        let begins = self.state.send_if_modified(|state| {
            let begins = matches!(state, Progress::Pending);
            if begins {
                *state = Progress::Running(Timestamp::now());
            }
            begins
        });
        if begins { Ok(()) } else { Err(stopped()) }
    }

    fn is_cancelled(&self) -> bool {
        matches!(self.progress(), Progress::Done { .. })
    }

    /// `jobs.cancel`. A job that has not reached the stand-in is never sent to it.
    fn cancel(&self) -> Response {
        self.state.send_if_modified(|state| {
            let started = match state {
                Progress::Pending => Timestamp::now(),
                Progress::Running(started) => *started,
                Progress::Done { .. } => return false,
            };
            let outcome = Err(stopped());
            *state = Progress::Done { started, ended: Timestamp::now(), outcome, is_upstream: false };
            true
        });
        Json(json!({ "kind": "bigquery#jobCancelResponse", "job": self.resource() })).into_response()
    }

    /// The job as a resource, without the stand-in's data.
    fn resource(&self) -> Value {
        let milliseconds = |time: Timestamp| time.as_millisecond().to_string();
        let mut statistics = Map::from_iter([("creationTime".to_owned(), json!(milliseconds(self.created)))]);
        let mut status = Map::new();
        let state = match self.progress() {
            Progress::Pending => "PENDING",
            Progress::Running(started) => {
                statistics.insert("startTime".to_owned(), json!(milliseconds(started)));
                "RUNNING"
            }
            Progress::Done { started, ended, outcome, .. } => {
                statistics.insert("startTime".to_owned(), json!(milliseconds(started)));
                statistics.insert("endTime".to_owned(), json!(milliseconds(ended)));
                if let Err(error) = outcome {
                    status.insert("errorResult".to_owned(), error.job_error());
                    status.insert("errors".to_owned(), json!([error.job_error()]));
                }
                "DONE"
            }
        };
        status.insert("state".to_owned(), json!(state));
        json!({
            "kind": "bigquery#job",
            "id": format!("{}:{LOCATION}.{}", self.project, self.id),
            "jobReference": self.reference(),
            "configuration": self.configuration,
            "status": status,
            "statistics": statistics,
        })
    }
}

/// The kinds of requests that the proxy handles.
enum Call {
    Query { project: String },
    Insert { project: String },
    Results { id: String },
    Get { id: String },
    Cancel { id: String },
    Other,
}

/// The client and the kind of a request.
fn call(method: &Method, path: &str) -> (String, Call) {
    let Some((before, api)) = path.split_once(API) else { return (OTHERS.to_owned(), Call::Other) };
    let client = before.trim_matches('/');
    let client = if client.is_empty() { OTHERS } else { client };
    let parts: Vec<&str> = api.split('/').collect();
    let call = match (method.as_str(), &parts[..]) {
        ("POST", ["projects", project, "queries"]) => Call::Query { project: (*project).to_owned() },
        ("POST", ["projects", project, "jobs"]) => Call::Insert { project: (*project).to_owned() },
        ("GET", ["projects", _, "queries", id]) => Call::Results { id: (*id).to_owned() },
        ("GET", ["projects", _, "jobs", id]) => Call::Get { id: (*id).to_owned() },
        ("POST", ["projects", _, "jobs", id, "cancel"]) => Call::Cancel { id: (*id).to_owned() },
        _ => Call::Other,
    };
    (client.to_owned(), call)
}

async fn respond(
    State(shared): State<Arc<Shared>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let (client, call) = call(&method, uri.path());
    let known = |id: &str| lock(&shared.jobs).get(id).cloned();
    let answer = match &call {
        Call::Query { project } => match serde_json::from_slice(&body) {
            Ok(request) => shared.query(&client, project, request).await,
            Err(_) => None,
        },
        Call::Insert { project } => match serde_json::from_slice(&body) {
            Ok(request) => shared.insert(&client, project, &request),
            Err(_) => None,
        },
        Call::Results { id } => match known(id) {
            Some(job) => shared.results(&job, uri.query()).await,
            None => None,
        },
        Call::Get { id } => match known(id) {
            Some(job) => shared.get(&job).await,
            None => None,
        },
        Call::Cancel { id } => known(id).map(|job| job.cancel()),
        Call::Other => None,
    };
    match answer {
        Some(answer) => answer,
        None => shared.pass_on(method, &uri, headers, body).await,
    }
}

impl Shared {
    /// `jobs.query`; `None` if the proxy has no part in it.
    async fn query(self: &Arc<Self>, client: &str, project: &str, request: Value) -> Option<Response> {
        let Value::Object(mut request) = request else { return None };
        if is_true(request.get("dryRun")) {
            return None;
        }
        let wait = request.remove("timeoutMs").and_then(|wait| milliseconds(&wait)).unwrap_or(WAIT);
        let max_results = request.remove("maxResults").and_then(|most| most.as_u64());
        let request_id = request.remove("requestId").and_then(|id| id.as_str().map(str::to_owned));
        let labels = request.remove("labels");
        for of_the_answer in ["kind", "location", "formatOptions", "jobCreationMode"] {
            request.remove(of_the_answer);
        }
        let known = request_id.as_ref().and_then(|request_id| self.requested(request_id));
        let job = known.unwrap_or_else(|| {
            let mut configuration = json!({ "query": request });
            if let Some(labels) = labels {
                configuration["labels"] = labels;
            }
            let id = format!("job_{}", Uuid::now_v7().simple());
            if let Some(request_id) = request_id {
                lock(&self.requests).insert(request_id, (Instant::now(), id.clone()));
            }
            self.start(client, project, id, configuration)
        });
        let most = max_results.map(|most| format!("maxResults={most}"));
        Some(match job.ended(wait.min(LONGEST_WAIT)).await {
            None => incomplete(&job, "bigquery#queryResponse"),
            Some(Ok(_)) => self.answer(&job, most.as_deref(), "bigquery#queryResponse").await,
            Some(Err(error)) => error.into_response(),
        })
    }

    /// The job that an earlier request with this id has started.
    fn requested(&self, request_id: &str) -> Option<Arc<Job>> {
        let mut requests = lock(&self.requests);
        requests.retain(|_, (at, _)| at.elapsed() < REQUEST_ID);
        let (_, id) = requests.get(request_id)?;
        lock(&self.jobs).get(id).cloned()
    }

    /// `jobs.insert`; `None` if the proxy has no part in it.
    fn insert(self: &Arc<Self>, client: &str, project: &str, request: &Value) -> Option<Response> {
        let configuration = request.get("configuration")?;
        if is_true(configuration.get("dryRun")) {
            return None;
        }
        for kind in ["load", "copy"] {
            if let Some(table) = configuration.get(kind).and_then(|job| job.get("destinationTable")) {
                return self.quotas.modify(&table_name(table)?).err().map(IntoResponse::into_response);
            }
        }
        configuration.get("query")?;
        let id = request.pointer("/jobReference/jobId").and_then(Value::as_str);
        let id = id.map_or_else(|| format!("job_{}", Uuid::now_v7().simple()), str::to_owned);
        if lock(&self.jobs).contains_key(&id) {
            let message = format!("Already Exists: Job {project}:{LOCATION}.{id}");
            return Some(ApiError::new("duplicate", message).into_response());
        }
        let job = self.start(client, project, id, configuration.clone());
        Some(Json(job.resource()).into_response())
    }

    /// Starts a job. It continues even if its client goes away.
    fn start(self: &Arc<Self>, client: &str, project: &str, id: String, configuration: Value) -> Arc<Job> {
        let job = Arc::new(Job {
            project: project.to_owned(),
            id: id.clone(),
            client: client.to_owned(),
            configuration,
            created: Timestamp::now(),
            state: watch::Sender::new(Progress::Pending),
        });
        let mut jobs = lock(&self.jobs);
        let oldest = job.created - KEPT;
        jobs.retain(|_, job| !matches!(job.progress(), Progress::Done { ended, .. } if ended < oldest));
        jobs.insert(id, Arc::clone(&job));
        drop(jobs);
        let (shared, running) = (Arc::clone(self), Arc::clone(&job));
        tokio::spawn(async move { shared.run(&running).await });
        job
    }

    async fn run(&self, job: &Job) {
        let started = Timestamp::now();
        let (outcome, is_upstream) = match self.run_statements(job).await {
            Ok(done) => done,
            Err(error) => (Err(error), false),
        };
        if job.client != UNBILLED {
            match &outcome {
                Err(_) if job.is_cancelled() => {}
                Err(error) if !is_upstream => {
                    *lock(&self.usage).refused.entry(error.reason.clone()).or_default() += 1;
                }
                Err(_) => lock(&self.usage).add_failed(&job.client),
                Ok(_) => {}
            }
        }
        let started = match job.progress() {
            Progress::Running(started) => started,
            _ => started,
        };
        job.state.send_if_modified(|state| {
            // It may have been cancelled.
            let goes_on = !matches!(state, Progress::Done { .. });
            if goes_on {
                *state = Progress::Done { started, ended: Timestamp::now(), outcome, is_upstream };
            }
            goes_on
        });
    }

    /// Returns the outcome, and whether the stand-in has it, too. An error is a refusal because of a limit.
    async fn run_statements(&self, job: &Job) -> Result<(Result<u64, ApiError>, bool), ApiError> {
        let statements = statements_of(job);
        if job.client != UNBILLED {
            lock(&self.usage).add_overwrites(&statements);
        }
        self.quotas.submit(&statements)?;
        let _turns = self.quotas.turn(&statements).await?;
        let billed = self.billed(&statements).await?;
        within_limit(&job.configuration, &billed)?;
        job.begin()?;
        let ends = Instant::now() + self.latency.of(&statements);
        let only_reads =
            statements.iter().all(|statement| matches!(statement.kind, Kind::Select | Kind::Control));
        // A query reads the data as it was when it began. A statement's changes are visible when it ends.
        let ran = if only_reads {
            let ran = self.run_upstream(job).await;
            tokio::time::sleep_until(ends).await;
            ran
        } else {
            // The stand-in's own time is part of the statement's time. The last statement's time is the estimate.
            let lead = *lock(&self.change_takes);
            tokio::time::sleep_until(ends.checked_sub(lead).unwrap_or(ends)).await;
            if job.is_cancelled() {
                return Err(stopped());
            }
            let began = Instant::now();
            let ran = self.run_upstream(job).await;
            *lock(&self.change_takes) = began.elapsed();
            tokio::time::sleep_until(ends).await;
            ran
        };
        self.tables.note(&statements);
        Ok((
            ran.map(|()| {
                let bytes = billed.iter().sum::<u64>() * LEAST_BYTES;
                if job.client != UNBILLED {
                    let statements: Vec<_> = statements.into_iter().zip(billed).collect();
                    lock(&self.usage).add(&job.client, &statements);
                }
                bytes
            }),
            true,
        ))
    }

    /// The number of tables billed for each statement.
    async fn billed(&self, statements: &[Statement]) -> Result<Vec<u64>, ApiError> {
        let mut billed = Vec::new();
        for statement in statements {
            if statement.kind == Kind::CreateView {
                billed.push(0);
                continue;
            }
            let tables: BTreeSet<_> = self
                .tables
                .beneath(&statement.reads)
                .await
                .map_err(|error| ApiError::new("backendError", format!("{error:#}")))?;
            billed.push(tables.len() as u64);
        }
        Ok(billed)
    }

    async fn run_upstream(&self, job: &Job) -> Result<(), ApiError> {
        let unavailable = |error: reqwest::Error| ApiError::new("backendError", error.to_string());
        let body = json!({ "jobReference": job.reference(), "configuration": job.configuration });
        let url = format!("{}{API}projects/{}/jobs", self.upstream, job.project);
        let response = self.http.post(url).json(&body).send().await.map_err(unavailable)?;
        let status = response.status();
        let mut body = response.bytes().await.map_err(unavailable)?;
        if !status.is_success() {
            return Err(ApiError::of_response(status, &body));
        }
        loop {
            let resource: Value = serde_json::from_slice(&body)
                .map_err(|error| ApiError::new("backendError", format!("the stand-in's job: {error}")))?;
            if let Some(error) = resource.pointer("/status/errorResult") {
                return Err(ApiError::of_job(error));
            }
            if resource.pointer("/status/state").and_then(Value::as_str) != Some("RUNNING") {
                return Ok(());
            }
            // The stand-in runs the job in the background.
            tokio::time::sleep(Duration::from_millis(20)).await;
            let response = self.http.get(self.job_url(job)).send().await.map_err(unavailable)?;
            body = response.error_for_status().map_err(unavailable)?.bytes().await.map_err(unavailable)?;
        }
    }

    fn job_url(&self, job: &Job) -> String {
        format!("{}{API}projects/{}/jobs/{}", self.upstream, job.project, job.id)
    }

    /// `getQueryResults` of a known job.
    async fn results(&self, job: &Job, query: Option<&str>) -> Option<Response> {
        let asked = query.unwrap_or_default().split('&').find_map(|part| part.strip_prefix("timeoutMs="));
        let wait = asked.and_then(|wait| wait.parse().ok()).map_or(WAIT, Duration::from_millis);
        Some(match job.ended(wait.min(LONGEST_WAIT)).await {
            None => incomplete(job, "bigquery#getQueryResultsResponse"),
            Some(Ok(_)) => self.answer(job, query, "bigquery#getQueryResultsResponse").await,
            Some(Err(error)) => error.into_response(),
        })
    }

    /// The result of a job that has succeeded.
    async fn answer(&self, job: &Job, query: Option<&str>, kind: &str) -> Response {
        match self.result(job, query, kind).await {
            Ok(result) => Json(result).into_response(),
            Err(error) => ApiError::new("backendError", format!("{error:#}")).into_response(),
        }
    }

    async fn result(&self, job: &Job, query: Option<&str>, kind: &str) -> anyhow::Result<Value> {
        let resource = self.resource(job).await?;
        let url = format!("{}{API}projects/{}/queries/{}", self.upstream, job.project, job.id);
        let url = query.map_or_else(|| url.clone(), |query| format!("{url}?{query}"));
        let response = self.http.get(url).send().await?;
        let mut result = if response.status() == StatusCode::NOT_FOUND {
            // The stand-in keeps no result of a statement without rows.
            json!({ "schema": { "fields": [] }, "rows": [], "totalRows": "0" })
        } else {
            response.error_for_status()?.json().await?
        };
        result["kind"] = json!(kind);
        result["jobReference"] = job.reference();
        result["jobComplete"] = json!(true);
        for name in [
            "totalBytesProcessed",
            "totalBytesBilled",
            "statementType",
            "numDmlAffectedRows",
            "ddlOperationPerformed",
            "cacheHit",
        ] {
            if let Some(value) = resource.pointer(&format!("/statistics/query/{name}")) {
                result[name] = value.clone();
            }
        }
        Ok(result)
    }

    /// `jobs.get` of a known job.
    async fn get(&self, job: &Job) -> Option<Response> {
        Some(match self.resource(job).await {
            Ok(resource) => Json(resource).into_response(),
            Err(error) => ApiError::new("backendError", format!("{error:#}")).into_response(),
        })
    }

    /// The job as a resource: the stand-in's once it has it, with the proxy's times and bytes.
    async fn resource(&self, job: &Job) -> anyhow::Result<Value> {
        let own = job.resource();
        let Progress::Done { outcome, is_upstream: true, .. } = job.progress() else { return Ok(own) };
        let mut resource: Value =
            self.http.get(self.job_url(job)).send().await?.error_for_status()?.json().await?;
        for name in ["id", "jobReference", "status"] {
            resource[name] = own[name].clone();
        }
        for name in ["creationTime", "startTime", "endTime"] {
            resource["statistics"][name] = own["statistics"][name].clone();
        }
        let bytes = outcome.unwrap_or_default().to_string();
        for name in ["totalBytesProcessed", "totalBytesBilled"] {
            resource["statistics"]["query"][name] = json!(bytes);
        }
        resource["statistics"]["totalBytesProcessed"] = json!(bytes);
        Ok(resource)
    }

    /// Passes any other request on to the stand-in.
    async fn pass_on(&self, method: Method, uri: &Uri, mut headers: HeaderMap, body: Bytes) -> Response {
        for own in [HOST, CONTENT_LENGTH, CONNECTION, TRANSFER_ENCODING] {
            headers.remove(own);
        }
        let query = uri.query().map(|query| format!("?{query}")).unwrap_or_default();
        let url = format!("{}{}{query}", self.upstream, path_without_client(uri.path()));
        let request = self.http.request(method, url).headers(headers).body(body);
        match request.send().await {
            Ok(response) => {
                let mut answer = Response::new(Body::empty());
                *answer.status_mut() = response.status();
                let is_own =
                    |name: &HeaderName| [CONTENT_LENGTH, CONNECTION, TRANSFER_ENCODING].contains(name);
                let passed = response.headers().iter().filter(|(name, _)| !is_own(name));
                answer.headers_mut().extend(passed.map(|(name, value)| (name.clone(), value.clone())));
                match response.bytes().await {
                    Ok(bytes) => *answer.body_mut() = Body::from(bytes),
                    Err(error) => return ApiError::new("backendError", error.to_string()).into_response(),
                }
                answer
            }
            Err(error) => ApiError::new("backendError", error.to_string()).into_response(),
        }
    }
}

fn path_without_client(path: &str) -> &str {
    match path.find(API) {
        // An upload's path is not changed.
        Some(at) if !path[..at].ends_with("/upload") => &path[at..],
        Some(at) => &path[at - "/upload".len()..],
        None => path,
    }
}

fn is_true(value: Option<&Value>) -> bool {
    value.and_then(Value::as_bool) == Some(true)
}

/// A number, or a number as text, as Google's clients send it.
fn milliseconds(value: &Value) -> Option<Duration> {
    let number = value.as_u64().or_else(|| value.as_str()?.parse().ok())?;
    Some(Duration::from_millis(number))
}

fn table_name(reference: &Value) -> Option<String> {
    let part = |name: &str| reference.get(name).and_then(Value::as_str);
    Some(format!("{}.{}.{}", part("projectId")?, part("datasetId")?, part("tableId")?))
}

fn statements_of(job: &Job) -> Vec<Statement> {
    let query = &job.configuration["query"];
    let dataset = query.pointer("/defaultDataset/datasetId").and_then(Value::as_str);
    let names = Names { project: &job.project, dataset };
    let mut all = statements(query["query"].as_str().unwrap_or_default(), names);
    if let (Some(target), [one]) = (query.get("destinationTable").and_then(table_name), &mut all[..])
        && one.kind == Kind::Select
    {
        *one = Statement {
            kind: Kind::CreateTableAs,
            target: Some(target),
            reads: std::mem::take(&mut one.reads),
        };
    }
    all
}

/// Checks `maximumBytesBilled`, which applies to each statement.
fn within_limit(configuration: &Value, tables: &[u64]) -> Result<(), ApiError> {
    let limit = configuration.pointer("/query/maximumBytesBilled");
    let limit = limit.and_then(|limit| limit.as_u64().or_else(|| limit.as_str()?.parse().ok()));
    let most = tables.iter().max().copied().unwrap_or_default() * LEAST_BYTES;
    match limit {
        Some(limit) if most > limit => {
            let message =
                format!("Query exceeded limit for bytes billed: {limit}. {most} or higher required.");
            Err(ApiError::new("bytesBilledLimitExceeded", message))
        }
        _ => Ok(()),
    }
}

fn stopped() -> ApiError {
    ApiError::new("stopped", "Job execution was cancelled: User requested cancellation".to_owned())
}

fn incomplete(job: &Job, kind: &str) -> Response {
    Json(json!({ "kind": kind, "jobReference": job.reference(), "jobComplete": false })).into_response()
}
