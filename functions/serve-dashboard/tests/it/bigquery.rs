use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{
    Json, Router,
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use serde_json::{Value, json};
use test_support::Executable;

pub const PROGRAM: &str = env!("CARGO_BIN_EXE_serve-dashboard");

/// An HTTP status and the body of an error.
pub type Refusal = (u16, Value);
/// Gets a statement and its parameters by name; gives its rows, or an error.
type Script = dyn Fn(&str, &Value) -> Result<Value, Refusal> + Send + Sync;

struct Shared {
    script: Box<Script>,
    asked: Mutex<Vec<(String, Value)>>,
}

/// A server of BigQuery's kind.
pub struct BigQuery {
    url: String,
    shared: Arc<Shared>,
    server: tokio::task::JoinHandle<()>,
}

impl BigQuery {
    pub async fn start(
        script: impl Fn(&str, &Value) -> Result<Value, Refusal> + Send + Sync + 'static,
    ) -> Self {
        let shared = Arc::new(Shared { script: Box::new(script), asked: Mutex::default() });
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let router = Router::new().fallback(answer).with_state(Arc::clone(&shared));
        let server = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { url, shared, server }
    }

    /// serve-dashboard in front of it.
    pub fn dashboard(&self, env: &[(&str, &str)]) -> Dashboard {
        Dashboard::of(&self.url, env)
    }

    /// Each statement that came, and its parameters by name.
    pub fn asked(&self) -> Vec<(String, Value)> {
        self.shared.asked.lock().unwrap().clone()
    }
}

impl Drop for BigQuery {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn answer(State(shared): State<Arc<Shared>>, Json(request): Json<Value>) -> Response {
    let sql = request["query"].as_str().unwrap().to_owned();
    let parameters = request["queryParameters"].as_array().unwrap().iter();
    let parameters: Value = parameters
        .map(|one| (one["name"].as_str().unwrap().to_owned(), one["parameterValue"]["value"].clone()))
        .collect::<serde_json::Map<_, _>>()
        .into();
    shared.asked.lock().unwrap().push((sql.clone(), parameters.clone()));
    match (shared.script)(&sql, &parameters) {
        Err((status, error)) => (StatusCode::from_u16(status).unwrap(), Json(error)).into_response(),
        Ok(rows) => {
            let row = |row: &Value| {
                let cells: Vec<_> = row.as_array().unwrap().iter().map(|cell| json!({ "v": cell })).collect();
                json!({ "f": cells })
            };
            let rows: Vec<_> = rows.as_array().unwrap().iter().map(row).collect();
            Json(json!({ "jobComplete": true, "rows": rows,
                         "jobReference": { "projectId": "test", "jobId": "1" } }))
            .into_response()
        }
    }
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
        let headers: serde_json::Map<_, _> =
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
