//! Credentials for Google, against a server in the place of Google's token services and of BigQuery.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::{
    collections::HashMap,
    path::Path,
    process::Command,
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{
    Router,
    extract::{Request, State},
    http::{StatusCode, header::AUTHORIZATION},
    response::{IntoResponse, Response},
};
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use function_kit::Retry;
use serde_json::{Value, json};
use tempfile::TempDir;
use warehouse::{GoogleCredentials, Warehouse, WarehouseConfig, WarehouseError, statements};

const AUDIENCE: &str =
    "//iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/quoteflow/providers/aws";
const SCOPE: &str = "https://www.googleapis.com/auth/bigquery";
const IMPERSONATE: &str =
    "/v1/projects/-/serviceAccounts/loader@test.iam.gserviceaccount.com:generateAccessToken";
/// What has not come by then never will.
const PATIENCE: Duration = Duration::from_mins(1);

/// A request: its path, its authorization, and its form or JSON as text.
#[derive(Debug, Clone)]
struct Asked {
    path: String,
    authorization: Option<String>,
    body: String,
}

/// Gets a request and how many came to the same path before; `None` is the usual answer.
type Script = dyn Fn(&Asked, usize) -> Option<Response> + Send + Sync;

struct Shared {
    script: Box<Script>,
    log: Mutex<Vec<Asked>>,
}

/// Google: a token a request, numbered, and rows from BigQuery.
struct Google {
    url: String,
    shared: Arc<Shared>,
    server: tokio::task::JoinHandle<()>,
}

impl Google {
    async fn start(script: impl Fn(&Asked, usize) -> Option<Response> + Send + Sync + 'static) -> Self {
        let shared = Arc::new(Shared { script: Box::new(script), log: Mutex::default() });
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let router = Router::new().fallback(answer).with_state(Arc::clone(&shared));
        let server = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { url, shared, server }
    }

    fn asked(&self, path: &str) -> Vec<Asked> {
        self.shared.log.lock().unwrap().iter().filter(|asked| asked.path.contains(path)).cloned().collect()
    }

    /// The tokens with which BigQuery was asked.
    fn bearers(&self) -> Vec<String> {
        self.asked("/queries").into_iter().filter_map(|asked| asked.authorization).collect()
    }

    /// Federation with a subject token from a file.
    fn federated(&self, folder: &TempDir) -> Value {
        let file = folder.path().join("subject");
        std::fs::write(&file, "the-subject-token").unwrap();
        json!({
            "type": "external_account",
            "audience": AUDIENCE,
            "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
            "token_url": format!("{}/v1/token", self.url),
            "credential_source": { "file": file },
        })
    }

    async fn connect(&self, credentials: &Value) -> Warehouse {
        connect(&self.url, GoogleCredentials::Json(credentials.to_string().parse().unwrap())).await.unwrap()
    }
}

impl Drop for Google {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn connect(url: &str, credentials: GoogleCredentials) -> Result<Warehouse, WarehouseError> {
    let config =
        WarehouseConfig { credentials: Some(credentials), ..WarehouseConfig::stand_in(url, "test", "stock") };
    Warehouse::connect(config).await
}

async fn answer(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    let body = axum::body::to_bytes(body, usize::MAX).await.unwrap();
    let asked = Asked {
        path: head.uri.path().to_owned(),
        authorization: head.headers.get(AUTHORIZATION).map(|value| value.to_str().unwrap().to_owned()),
        body: String::from_utf8(body.to_vec()).unwrap(),
    };
    let earlier = {
        let mut log = shared.log.lock().unwrap();
        log.push(asked.clone());
        log.iter().filter(|other| other.path == asked.path).count() - 1
    };
    (shared.script)(&asked, earlier).unwrap_or_else(|| match asked.path.as_str() {
        "/v1/token" => token(earlier, 3600),
        IMPERSONATE => reply(
            200,
            &json!({ "accessToken": format!("impersonated-{earlier}"), "expireTime": "2099-01-01T00:00:00Z" }),
        ),
        _ => rows(),
    })
}

fn reply(status: u16, body: &Value) -> Response {
    let headers = [("content-type", "application/json")];
    (StatusCode::from_u16(status).unwrap(), headers, body.to_string()).into_response()
}

fn token(number: usize, seconds: u64) -> Response {
    reply(
        200,
        &json!({
            "access_token": format!("token-{number}"),
            "issued_token_type": "urn:ietf:params:oauth:token-type:access_token",
            "token_type": "Bearer",
            "expires_in": seconds,
        }),
    )
}

fn rows() -> Response {
    reply(
        200,
        &json!({ "jobComplete": true, "jobReference": { "projectId": "test", "jobId": "1" },
                 "rows": [{ "f": [{ "v": "7" }] }] }),
    )
}

fn form(text: &str) -> HashMap<String, String> {
    let decode = |text: &str| {
        let text = text.replace('+', " ");
        percent_encoding::percent_decode_str(&text).decode_utf8().unwrap().into_owned()
    };
    text.split('&')
        .filter_map(|pair| pair.split_once('='))
        .map(|(name, value)| (decode(name), decode(value)))
        .collect()
}

async fn ask(warehouse: &Warehouse) -> Result<u64, WarehouseError> {
    warehouse.run(&statements::COUNT_BRONZE, &[]).await.map(|answer| answer.count())
}

#[tokio::test]
async fn federation_exchanges_the_subject_token_for_the_audience_and_bigquerys_scope() {
    let (google, folder) = (Google::start(|_, _| None).await, TempDir::new().unwrap());
    assert_eq!(ask(&google.connect(&google.federated(&folder)).await).await.unwrap(), 7);
    let [exchange] = google.asked("/v1/token").try_into().unwrap();
    let form = form(&exchange.body);
    for (name, value) in [
        ("grant_type", "urn:ietf:params:oauth:grant-type:token-exchange"),
        ("audience", AUDIENCE),
        ("scope", SCOPE),
        ("requested_token_type", "urn:ietf:params:oauth:token-type:access_token"),
        ("subject_token", "the-subject-token"),
        ("subject_token_type", "urn:ietf:params:oauth:token-type:jwt"),
    ] {
        assert_eq!(form.get(name).map(String::as_str), Some(value), "{name}");
    }
    assert_eq!(google.bearers(), ["Bearer token-0"]);
}

#[tokio::test]
async fn a_service_account_is_impersonated_with_the_federated_token() {
    let (google, folder) = (Google::start(|_, _| None).await, TempDir::new().unwrap());
    let mut credentials = google.federated(&folder);
    credentials["service_account_impersonation_url"] = json!(format!("{}{IMPERSONATE}", google.url));
    ask(&google.connect(&credentials).await).await.unwrap();
    let [exchange] = google.asked("/v1/token").try_into().unwrap();
    // Impersonation needs a scope of its own; BigQuery's is asked of it.
    assert_eq!(form(&exchange.body)["scope"], "https://www.googleapis.com/auth/iam");
    let [impersonation] = google.asked(":generateAccessToken").try_into().unwrap();
    assert_eq!(impersonation.authorization.as_deref(), Some("Bearer token-0"));
    let body: Value = serde_json::from_str(&impersonation.body).unwrap();
    assert_eq!(body["scope"], json!([SCOPE]));
    assert_eq!(google.bearers(), ["Bearer impersonated-0"]);
}

#[tokio::test]
async fn a_token_serves_many_statements() {
    let (google, folder) = (Google::start(|_, _| None).await, TempDir::new().unwrap());
    let warehouse = google.connect(&google.federated(&folder)).await;
    for _ in 0..3 {
        ask(&warehouse).await.unwrap();
    }
    assert_eq!((google.asked("/v1/token").len(), google.bearers().len()), (1, 3));
}

#[tokio::test]
async fn a_token_is_replaced_minutes_before_its_end() {
    // Its end is 242 s away, and 240 s before it another is fetched.
    let google =
        Google::start(|asked, earlier| (asked.path == "/v1/token").then(|| token(earlier, 242))).await;
    let folder = TempDir::new().unwrap();
    let warehouse = google.connect(&google.federated(&folder)).await;
    ask(&warehouse).await.unwrap();
    let replaced = async {
        while google.bearers().last().is_none_or(|bearer| bearer == "Bearer token-0") {
            tokio::time::sleep(Duration::from_millis(100)).await;
            ask(&warehouse).await.unwrap();
        }
    };
    tokio::time::timeout(PATIENCE, replaced).await.unwrap();
    assert_eq!(google.bearers().last().unwrap(), "Bearer token-1");
}

#[tokio::test]
async fn an_outage_of_the_token_service_passes() {
    let google = Google::start(|asked, earlier| {
        (asked.path == "/v1/token" && earlier < 2).then(|| reply(503, &json!({ "error": "backend" })))
    })
    .await;
    let folder = TempDir::new().unwrap();
    assert_eq!(ask(&google.connect(&google.federated(&folder)).await).await.unwrap(), 7);
    assert_eq!(google.bearers(), ["Bearer token-2"]);
}

#[tokio::test]
async fn a_token_service_that_cannot_be_reached_is_retryable() {
    let (google, folder) = (Google::start(|_, _| None).await, TempDir::new().unwrap());
    let mut credentials = google.federated(&folder);
    credentials["token_url"] = json!("http://127.0.0.1:1/v1/token");
    let error = ask(&google.connect(&credentials).await).await.unwrap_err();
    assert!(error.is_retryable() && error.to_string().contains("no access token"), "{error}");
    assert!(google.bearers().is_empty());
}

#[tokio::test]
async fn a_refusal_is_told_and_not_retried_and_a_permission_that_comes_late_is_used() {
    let google = Google::start(|asked, earlier| {
        let why = json!({ "error": "invalid_grant", "error_description": "The audience is not allowed" });
        (asked.path == "/v1/token" && earlier == 0).then(|| reply(400, &why))
    })
    .await;
    let folder = TempDir::new().unwrap();
    let warehouse = google.connect(&google.federated(&folder)).await;
    let error = ask(&warehouse).await.unwrap_err();
    assert!(!error.is_retryable(), "{error}");
    for part in ["no access token for the count of bronze", "400", "The audience is not allowed"] {
        assert!(error.to_string().contains(part), "{part} in {error}");
    }
    assert!(!error.to_string().contains("the-subject-token"), "{error}");
    assert_eq!(ask(&warehouse).await.unwrap(), 7);
}

#[tokio::test]
async fn a_token_that_bigquery_refuses_is_replaced() {
    let google = Google::start(|asked, _| {
        let why = json!({ "error": { "code": 401, "message": "Invalid Credentials", "status": "UNAUTHENTICATED",
                                     "errors": [{ "reason": "authError", "message": "Invalid Credentials" }] } });
        (asked.authorization.as_deref() == Some("Bearer token-0")).then(|| reply(401, &why))
    })
    .await;
    let folder = TempDir::new().unwrap();
    assert_eq!(ask(&google.connect(&google.federated(&folder)).await).await.unwrap(), 7);
    assert_eq!(google.bearers(), ["Bearer token-0", "Bearer token-1"]);
}

/// A key of its own for each run: none is kept in the repository.
fn private_key() -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap();
    let python = root.join(".venv/bin/python");
    let make = "from cryptography.hazmat.primitives.asymmetric import rsa; \
                from cryptography.hazmat.primitives import serialization as s; \
                print(rsa.generate_private_key(65537, 2048).private_bytes(s.Encoding.PEM, s.PrivateFormat.PKCS8, \
                s.NoEncryption()).decode())";
    let output =
        Command::new(python).args(["-c", make]).output().expect("`make setup` installs Python's part");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[tokio::test]
async fn a_service_accounts_key_signs_its_own_token_from_json_and_from_a_file() {
    let (google, folder) = (Google::start(|_, _| None).await, TempDir::new().unwrap());
    let email = "loader@test.iam.gserviceaccount.com";
    let key = json!({ "type": "service_account", "client_email": email, "private_key_id": "k1",
                      "private_key": private_key(), "project_id": "test" });
    let file = folder.path().join("key.json");
    std::fs::write(&file, key.to_string()).unwrap();
    ask(&google.connect(&key).await).await.unwrap();
    let from_file = GoogleCredentials::File(file.to_str().unwrap().to_owned());
    ask(&connect(&google.url, from_file).await.unwrap()).await.unwrap();
    let bearers = google.bearers();
    assert_eq!(bearers.len(), 2);
    for bearer in bearers {
        let parts: Vec<_> = bearer.strip_prefix("Bearer ").unwrap().split('.').collect();
        let part = |index: usize| -> Value {
            serde_json::from_slice(&BASE64_URL_SAFE_NO_PAD.decode(parts[index]).unwrap()).unwrap()
        };
        assert_eq!((&part(0)["alg"], &part(0)["kid"]), (&json!("RS256"), &json!("k1")));
        assert_eq!((&part(1)["iss"], &part(1)["scope"]), (&json!(email), &json!(SCOPE)));
        assert_eq!(BASE64_URL_SAFE_NO_PAD.decode(parts[2]).unwrap().len(), 256);
    }
    assert!(google.asked("/v1/token").is_empty(), "no service is asked for it");
}

#[tokio::test]
async fn unusable_credentials_are_told_without_a_word_of_theirs() {
    let folder = TempDir::new().unwrap();
    let lost = folder.path().join("lost.json").to_str().unwrap().to_owned();
    let json = |text: &str| GoogleCredentials::Json(text.parse().unwrap());
    for (credentials, expected) in [
        (json("marked {"), "GOOGLE_CREDENTIALS_JSON"),
        (json(r#"{"type":"authorized_user","refresh_token":"marked"}"#), "authorized_user"),
        (json(r#"{"private_key":"marked"}"#), "external_account or service_account"),
        (json(r#"{"type":"external_account","token_url":"marked"}"#), "missing field"),
        (json(r#"{"type":"service_account","private_key":"marked"}"#), "missing field"),
        (GoogleCredentials::File(lost.clone()), lost.as_str()),
    ] {
        let error = connect("http://127.0.0.1:1", credentials).await.unwrap_err();
        assert!(matches!(error, WarehouseError::Configuration(_)) && !error.is_retryable(), "{error:?}");
        assert!(error.to_string().contains(expected), "{expected} in {error}");
        assert!(!error.to_string().contains("marked"), "{error}");
    }
}
