use std::{
    collections::{HashMap, HashSet},
    sync::{
        Arc, Mutex,
        atomic::{AtomicI64, AtomicUsize, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use axum::{
    Json, Router,
    extract::{Path, State},
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::{get, post},
};
use serde_json::{Map, Value, json};
use test_support::Executable;

pub const PROGRAM: &str = env!("CARGO_BIN_EXE_serve-dashboard");

/// An HTTP status and the body of an error.
pub type Refusal = (u16, Value);
/// Gets a statement and its parameters by name; gives its rows as objects, or an error.
type Script = dyn Fn(&str, &Value) -> Result<Value, Refusal> + Send + Sync;

/// Now, in milliseconds since 1970.
pub fn now_millis() -> i64 {
    i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis()).unwrap()
}

/// A good row of `gold_kpi`, with the columns of `others` beside its own or in their place.
pub fn kpi_row(symbol: &str, others: Value) -> Value {
    let mut row = json!({
        "symbol": symbol, "current_price": "2", "change_amount": "1", "change_percent": "100", "day_high": "2.5",
        "day_low": "0.5", "day_open": "1.5", "prev_close": "1", "market_timestamp_raw": "1550264398",
        "market_time_text": "2019-02-15T15:59:58", "fetched_millis": now_millis().to_string(),
        "loaded_millis": now_millis().to_string() });
    if let (Value::Object(row), Value::Object(others)) = (&mut row, others) {
        row.extend(others);
    }
    row
}

struct Shared {
    script: Box<Script>,
    asked: Mutex<Vec<(String, Value)>>,
    jobs: Mutex<HashMap<String, Result<Value, Refusal>>>,
    /// Models whose statements do not end.
    slow: Mutex<HashSet<String>>,
    changed_at: AtomicI64,
    looked: AtomicUsize,
    refuses_metadata: Mutex<bool>,
}

/// A server of BigQuery's kind: jobs with names, their results, and when a table was changed.
pub struct BigQuery {
    url: String,
    shared: Arc<Shared>,
    server: tokio::task::JoinHandle<()>,
}

impl BigQuery {
    pub async fn start(
        script: impl Fn(&str, &Value) -> Result<Value, Refusal> + Send + Sync + 'static,
    ) -> Self {
        let shared = Arc::new(Shared {
            script: Box::new(script),
            asked: Mutex::default(),
            jobs: Mutex::default(),
            slow: Mutex::default(),
            // As of a table that was never changed, or of a stand-in that does not know.
            changed_at: AtomicI64::new(CREATED),
            looked: AtomicUsize::new(0),
            refuses_metadata: Mutex::new(false),
        });
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let router = Router::new()
            .route("/bigquery/v2/projects/test/jobs", post(insert))
            .route("/bigquery/v2/projects/test/queries/{job}", get(results))
            .route("/bigquery/v2/projects/test/datasets/{dataset}/tables/{table}", get(table))
            .with_state(Arc::clone(&shared));
        let server = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { url, shared, server }
    }

    /// serve-dashboard in front of it.
    pub fn dashboard(&self, env: &[(&str, &str)]) -> Dashboard {
        Dashboard::of(&self.url, env)
    }

    /// Each statement that was run, and its parameters by name.
    pub fn asked(&self) -> Vec<(String, Value)> {
        self.shared.asked.lock().unwrap().clone()
    }

    /// How many statements of the model were run.
    pub fn asked_of(&self, model: &str) -> usize {
        let from = format!("stock_gold.{model}`");
        self.asked().iter().filter(|(sql, _)| sql.contains(&from)).count()
    }

    /// Something was loaded at this moment, in milliseconds since 1970.
    pub fn change(&self, at: i64) {
        self.shared.changed_at.store(at, Ordering::Relaxed);
    }

    /// How often it was asked when a table was changed.
    pub fn looked(&self) -> usize {
        self.shared.looked.load(Ordering::Relaxed)
    }

    /// The statements of the model do not end, or end again.
    pub fn slow(&self, model: &str, is_slow: bool) {
        let mut slow = self.shared.slow.lock().unwrap();
        if is_slow {
            slow.insert(model.to_owned())
        } else {
            slow.remove(model)
        };
    }

    /// It says of no table when it was changed.
    pub fn refuse_metadata(&self) {
        *self.shared.refuses_metadata.lock().unwrap() = true;
    }
}

const CREATED: i64 = 1_785_000_000_000;

impl Drop for BigQuery {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn insert(State(shared): State<Arc<Shared>>, Json(job): Json<Value>) -> Response {
    let id = job["jobReference"]["jobId"].as_str().unwrap().to_owned();
    let query = &job["configuration"]["query"];
    assert_eq!(query["useLegacySql"], json!(false));
    let sql = query["query"].as_str().unwrap().to_owned();
    let parameters = query["queryParameters"].as_array().unwrap().iter();
    let parameters: Value = parameters
        .map(|one| (one["name"].as_str().unwrap().to_owned(), one["parameterValue"]["value"].clone()))
        .collect::<Map<_, _>>()
        .into();
    let mut jobs = shared.jobs.lock().unwrap();
    if jobs.contains_key(&id) {
        return refusal(refused(409, "duplicate"));
    }
    shared.asked.lock().unwrap().push((sql.clone(), parameters.clone()));
    let model = sql.split("_gold.").nth(1).and_then(|rest| rest.split('`').next()).unwrap_or_default();
    let answer = (shared.script)(&sql, &parameters);
    jobs.insert(id.clone(), answer.map(|rows| json!({ "model": model, "rows": rows })));
    let reference = json!({ "projectId": "test", "jobId": id, "location": "EU" });
    Json(json!({ "jobReference": reference, "status": { "state": "RUNNING" } })).into_response()
}

async fn results(
    State(shared): State<Arc<Shared>>,
    Path(id): Path<String>,
    axum::extract::Query(query): axum::extract::Query<HashMap<String, String>>,
) -> Response {
    assert_eq!(query["location"], "EU", "outside the US a job is found by its location only");
    let answer = shared.jobs.lock().unwrap()[&id].clone();
    let job = match answer {
        Err(refusal_of_job) => return refusal(refusal_of_job),
        Ok(job) => job,
    };
    let reference = json!({ "projectId": "test", "jobId": id, "location": "EU" });
    if shared.slow.lock().unwrap().contains(job["model"].as_str().unwrap()) {
        let wait: u64 = query["timeoutMs"].parse().unwrap();
        tokio::time::sleep(Duration::from_millis(wait)).await;
        return Json(json!({ "jobComplete": false, "jobReference": reference })).into_response();
    }
    // One row a page.
    let rows = job["rows"].as_array().unwrap();
    let page: usize = query.get("pageToken").map_or(0, |token| token.parse().unwrap());
    let columns: Vec<&String> =
        rows.first().map(|row| row.as_object().unwrap().keys().collect()).unwrap_or_default();
    let fields: Vec<_> = columns.iter().map(|name| json!({ "name": name, "type": "STRING" })).collect();
    let cells = |row: &Value| {
        let cells: Vec<_> = columns.iter().map(|name| json!({ "v": row[name.as_str()] })).collect();
        json!({ "f": cells })
    };
    let of_page: Vec<_> = rows.iter().skip(page).take(1).map(cells).collect();
    let mut body = json!({ "jobComplete": true, "rows": of_page, "schema": { "fields": fields }, "jobReference": reference });
    if page + 1 < rows.len() {
        body["pageToken"] = json!((page + 1).to_string());
    }
    Json(body).into_response()
}

async fn table(
    State(shared): State<Arc<Shared>>,
    Path((dataset, table)): Path<(String, String)>,
) -> Response {
    // dbt's last run says nothing of what was loaded.
    if table != "int_load_watermark" {
        shared.looked.fetch_add(1, Ordering::Relaxed);
    }
    if *shared.refuses_metadata.lock().unwrap() {
        return refusal(refused(403, "accessDenied"));
    }
    if dataset != "stock" && table != "int_load_watermark" {
        return refusal(refused(404, "notFound"));
    }
    let changed_at = shared.changed_at.load(Ordering::Relaxed);
    Json(json!({
        "tableReference": { "projectId": "test", "datasetId": dataset, "tableId": table },
        "schema": { "fields": [] }, "location": "EU",
        "creationTime": CREATED.to_string(), "lastModifiedTime": changed_at.to_string()
    }))
    .into_response()
}

fn refusal((status, error): Refusal) -> Response {
    (StatusCode::from_u16(status).unwrap(), Json(error)).into_response()
}

/// An error as BigQuery words it.
pub fn refused(status: u16, reason: &str) -> Refusal {
    let error = json!({ "code": status, "message": reason, "status": "X",
                        "errors": [{ "message": reason, "domain": "global", "reason": reason }] });
    (status, json!({ "error": error }))
}

/// The executable behind a function URL.
pub struct Dashboard(pub Executable);

impl Dashboard {
    pub fn of(warehouse: &str, env: &[(&str, &str)]) -> Self {
        let given = [("BIGQUERY_ENDPOINT", warehouse), ("BIGQUERY_PROJECT", "test")];
        let env: Vec<_> = given.into_iter().chain(env.iter().copied()).collect();
        Self(Executable::new(PROGRAM, &env, Duration::from_secs(30)))
    }

    /// The response to a request: a path with its query, and headers.
    pub async fn ask(&self, method: &str, target: &str, headers: &[(&str, &str)]) -> Answer {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let headers: Map<_, _> =
            headers.iter().map(|(name, value)| ((*name).to_owned(), json!(value))).collect();
        let mut event: Value = serde_json::from_str(include_str!("../payloads/function-url.json")).unwrap();
        event["rawPath"] = json!(path);
        event["rawQueryString"] = json!(query);
        event["headers"].as_object_mut().unwrap().extend(headers);
        event["requestContext"]["http"]["method"] = json!(method);
        event["requestContext"]["http"]["path"] = json!(path);
        Answer(self.0.invoke(event.to_string()).await.unwrap())
    }

    pub async fn get(&self, target: &str) -> Answer {
        self.ask("GET", target, &[]).await
    }
}

/// A response in payload format 2.0.
#[derive(Debug)]
pub struct Answer(pub Value);

impl Answer {
    pub fn status(&self) -> u64 {
        self.0["statusCode"].as_u64().unwrap()
    }

    pub fn header(&self, name: &str) -> &str {
        self.0["headers"][name].as_str().unwrap_or_default()
    }

    pub fn body(&self) -> &str {
        self.0["body"].as_str().unwrap_or_default()
    }

    pub fn json(&self) -> Value {
        serde_json::from_str(self.body()).unwrap()
    }
}
