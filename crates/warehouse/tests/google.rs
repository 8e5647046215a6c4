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
use base64::{
    Engine,
    prelude::{BASE64_STANDARD as BASE64, BASE64_URL_SAFE_NO_PAD},
};
use function_kit::{Environment, Retry};
use serde_json::{Value, json};
use tempfile::TempDir;
use warehouse::{
    GoogleCredentials, UnusableCredentials, Warehouse, WarehouseConfig, WarehouseError, statements,
};

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

    /// The tokens of the requests to BigQuery.
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
        connect(&self.url, GoogleCredentials::parse(&credentials.to_string()).unwrap()).await.unwrap()
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
    // Impersonation needs its own scope; BigQuery's scope is requested from it.
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
async fn a_refusal_is_reported_and_not_retried_and_a_permission_that_comes_late_is_used() {
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
async fn a_service_accounts_key_signs_its_own_token_from_a_variable_and_from_a_file() {
    let (google, folder) = (Google::start(|_, _| None).await, TempDir::new().unwrap());
    let email = "loader@test.iam.gserviceaccount.com";
    let key = json!({ "type": "service_account", "client_email": email, "private_key_id": "k1",
                      "private_key": private_key(), "project_id": "test" });
    let file = folder.path().join("key.json");
    std::fs::write(&file, key.to_string()).unwrap();
    for (variable, value) in [
        ("GOOGLE_CREDENTIALS_JSON", key.to_string()),
        // With the two characters \n for each line's end.
        ("GOOGLE_CREDENTIALS_JSON", key.to_string().replace("\\n", "\\\\n")),
        ("GOOGLE_APPLICATION_CREDENTIALS", file.to_str().unwrap().to_owned()),
    ] {
        let values = [(variable, value), ("BIGQUERY_PROJECT", "test".to_owned())];
        let mut environment = Environment::new(&[warehouse::VARIABLES], values);
        let config = WarehouseConfig::read(&mut environment).unwrap();
        assert!(environment.problems().is_none(), "{environment:?}");
        ask(&connect(&google.url, config.credentials.unwrap()).await.unwrap()).await.unwrap();
    }
    let bearers = google.bearers();
    assert_eq!(bearers.len(), 3);
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

const BEGIN: &str = "-----BEGIN PRIVATE KEY-----";
const END: &str = "-----END PRIVATE KEY-----";

fn parse(key: &str) -> Result<GoogleCredentials, UnusableCredentials> {
    GoogleCredentials::parse(&with_key(key).to_string())
}

fn with_key(key: &str) -> Value {
    json!({ "type": "service_account", "client_email": "a@p.iam.gserviceaccount.com", "private_key_id": "k",
            "private_key": key, "project_id": "p", "client_id": "1", "token_uri": "http://127.0.0.1:9/token" })
}

#[test]
fn a_key_is_read_whatever_a_tool_made_of_its_line_breaks() {
    let key = private_key();
    let key = key.as_str();
    let expected = parse(key).unwrap();
    for (breaks, name) in [
        (r"\n", "two characters"),
        (r"\\n", "escaped once more"),
        ("\r\n", "of Windows"),
        (r"\r\n", "of Windows, escaped"),
        (" ", "spaces"),
        ("", "none"),
        ("\n\n", "doubled"),
        ("\n    ", "indented"),
    ] {
        assert_eq!(parse(&key.replace('\n', breaks)), Ok(expected.clone()), "{name}");
    }
    assert_eq!(parse(&format!("  \"{key}\"\n\n")), Ok(expected.clone()), "quoted");
    let text = with_key(key).to_string();
    let wrapped = BASE64.encode(&text);
    let lines: Vec<&str> = wrapped.as_bytes().chunks(76).map(|line| str::from_utf8(line).unwrap()).collect();
    for text in [format!("\u{feff}{text}\n"), wrapped.clone(), lines.join("\n")] {
        assert_eq!(GoogleCredentials::parse(&text), Ok(expected.clone()));
    }
}

#[test]
fn a_key_that_cannot_be_used_is_refused_with_its_field_and_nothing_of_it() {
    let key = private_key();
    let key = key.as_str();
    let body: String = key.lines().filter(|line| !line.starts_with('-')).collect();
    let cut = format!("{BEGIN}\n{}\n{END}\n", &body[..400]);
    let label = |label: &str| key.replace("PRIVATE KEY", label);
    // An EC key of the curve P-256.
    let other =
        "MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgJRwVd1zAqSZQ2eXW5F+eBNxqXJvN4oyuTXnUZ1vX0nuhRANCAAQ";
    for (bad, expected) in [
        (key.replace(END, ""), "no END line"),
        (body.clone(), "no BEGIN line"),
        (label("RSA PRIVATE KEY"), "PKCS#1"),
        (label("ENCRYPTED PRIVATE KEY"), "encrypted"),
        (cut, "not a whole RSA key"),
        (format!("{BEGIN}\n{other}=\n{END}"), "not a whole RSA key"),
        (key.replace('\n', "?"), "not base64"),
        (format!("{BEGIN}{END}"), "not a whole RSA key"),
    ] {
        let error = parse(&bad).unwrap_err().to_string();
        assert!(error.contains("the field private_key") && error.contains(expected), "{expected} in {error}");
        assert_contains_nothing_of(&error, &bad);
    }
}

/// No eight characters of a line of the key are in the text, nor its bytes as a list of numbers.
fn assert_contains_nothing_of(text: &str, key: &str) {
    let secret: String = key.lines().filter(|line| !line.starts_with('-')).collect();
    for part in secret.as_bytes().windows(8) {
        let part = str::from_utf8(part).unwrap();
        assert!(!text.contains(part), "{part} in {text}");
    }
    let numbers = format!("{:?}", &secret.as_bytes()[..secret.len().min(4)]);
    assert!(secret.is_empty() || !text.contains(numbers.trim_matches(['[', ']'])), "{text}");
}

#[test]
fn what_is_not_credentials_is_refused_with_what_it_looks_like_and_nothing_of_it() {
    let alone = private_key();
    let key = with_key(&alone).to_string();
    for (text, expected) in [
        ("marked", "does not begin with {"),
        ("bWFya2Vk", "line 1, column 1"),
        ("[\"marked\"]", "does not begin with {"),
        ("{\"marked\"", "line 1"),
        ("{\"type\":\"service_account\",\"private_key\":\"mar\nked\"}", "line 2"),
        (&alone, "a private key alone"),
        ("/run/marked.json", "GOOGLE_APPLICATION_CREDENTIALS"),
        (&format!("'{key}'"), "quotation mark"),
        ("{}", "the field type"),
        (r#"{"type":"marked"}"#, "something else"),
        (r#"{"type":"authorized_user","refresh_token":"marked"}"#, "authorized_user"),
        (r#"{"type":"external_account","client_secret":"marked"}"#, "the field audience"),
        (r#"{"type":"service_account","private_key":"marked"}"#, "the field client_email"),
        (
            r#"{"type":"external_account","audience":"a","subject_token_type":"s","token_url":"u","credential_source":"marked"}"#,
            "the field credential_source",
        ),
    ] {
        let error = GoogleCredentials::parse(text).unwrap_err().to_string();
        assert!(error.contains(expected), "{expected} in {error}");
        assert!(!error.contains("marked") && !error.contains("MII"), "{error}");
    }
}

#[test]
fn credentials_that_cannot_be_used_are_a_problem_of_their_variable() {
    let folder = TempDir::new().unwrap();
    let file = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    std::fs::write(file("bad.json"), r#"{"type":"service_account","private_key":"marked"}"#).unwrap();
    for (variables, expected) in [
        (vec![("GOOGLE_CREDENTIALS_JSON", "marked".to_owned())], "GOOGLE_CREDENTIALS_JSON: the value is not"),
        (
            vec![("GOOGLE_APPLICATION_CREDENTIALS", file("lost.json"))],
            "lost.json: the file cannot be read: No such file",
        ),
        (vec![("GOOGLE_APPLICATION_CREDENTIALS", file("bad.json"))], "bad.json: the field client_email"),
    ] {
        let mut environment = Environment::new(&[warehouse::VARIABLES], variables);
        assert_eq!(WarehouseConfig::read(&mut environment), None);
        let problems = environment.problems().unwrap().to_string();
        assert!(
            problems.contains(expected) && problems.contains("BIGQUERY_PROJECT"),
            "{expected} in {problems}"
        );
        assert!(!problems.contains("marked"), "{problems}");
    }
}

#[tokio::test]
async fn what_google_or_its_library_says_of_a_token_is_logged_without_what_was_sent_for_it() {
    for (status, body, expected) in [
        (
            400,
            r#"{"error":"invalid_grant","error_description":"ID Token issued at ECHO is stale"}"#,
            "is stale",
        ),
        (
            403,
            r#"{"error":{"code":403,"message":"Permission denied for ECHO","status":"PERMISSION_DENIED"}}"#,
            "PERMISSION_DENIED",
        ),
        (400, "<html>ECHO</html>", "400"),
        (200, r#"{"access_token":"ECHO","expires_in":"ECHO"}"#, "no access token"),
        (200, "ECHO", "no access token"),
    ] {
        let google = Google::start(move |asked, _| {
            let echo = asked.authorization.clone().unwrap_or_default() + &asked.body;
            let client = form(&asked.body).get("client_secret").cloned().unwrap_or_default();
            let echo = body.replace("ECHO", &format!("{} {client}", echo.replace('"', "")));
            let headers = [("content-type", "application/json")];
            (asked.path == "/v1/token")
                .then(|| (StatusCode::from_u16(status).unwrap(), headers, echo).into_response())
        })
        .await;
        let folder = TempDir::new().unwrap();
        let mut credentials = google.federated(&folder);
        let subject = "the-subject-token".repeat(20);
        std::fs::write(credentials["credential_source"]["file"].as_str().unwrap(), subject).unwrap();
        credentials["client_id"] = json!("quoteflow");
        credentials["client_secret"] = json!("marked-client-secret");
        let error = ask(&google.connect(&credentials).await).await.unwrap_err().to_string();
        assert!(error.contains(expected), "{expected} in {error}");
        for secret in ["the-subject-token", "marked", "cXVvdGVmbG93Om1hcm"] {
            assert!(!error.contains(secret), "{secret} in {error}");
        }
    }
}
