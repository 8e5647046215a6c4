//! The executable with credentials for Google, as in the cloud: its own AWS credentials stand for it.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::{Duration, SystemTime},
};

use aws_credential_types::Credentials;
use aws_sigv4::{
    http_request::{SignableBody, SignableRequest, SigningSettings, sign},
    sign::v4,
};
use axum::{
    Router,
    extract::{Request, State},
    http::{Method, header::AUTHORIZATION},
    response::{IntoResponse, Response},
};
use jiff::{civil::DateTime, tz::TimeZone};
use serde_json::{Value, json};
use test_support::Executable;

const AUDIENCE: &str =
    "//iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/quoteflow/providers/aws";
const REGION: &str = "eu-central-1";
const KEY_ID: &str = "ASIAEXAMPLE";
const SECRET_KEY: &str = "marked-secret-key";
const SESSION: &str = "marked/session+token=";
const QUOTE: &str =
    r#"{"c":1.5,"symbol":"AAPL","fetched_at":1704067256,"quote_id":"018cc251-f400-7000-8000-000000000001"}"#;

#[derive(Default)]
struct Shared {
    secret: Mutex<String>,
    exchanges: Mutex<Vec<String>>,
    bearers: Mutex<Vec<String>>,
}

/// S3, Secrets Manager, Google's token services and BigQuery in one.
struct Cloud {
    url: String,
    shared: Arc<Shared>,
    server: tokio::task::JoinHandle<()>,
}

impl Cloud {
    async fn start() -> Self {
        let shared = Arc::<Shared>::default();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let router = Router::new().fallback(answer).with_state(Arc::clone(&shared));
        let server = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { url, shared, server }
    }

    /// What `infra/gcp` gives out: no secret is in it.
    fn credentials(&self) -> String {
        let impersonate =
            "v1/projects/-/serviceAccounts/loader@test.iam.gserviceaccount.com:generateAccessToken";
        let source = json!({
            "environment_id": "aws1",
            "regional_cred_verification_url":
                "https://sts.{region}.amazonaws.com?Action=GetCallerIdentity&Version=2011-06-15",
            // As `gcloud iam workload-identity-pools create-cred-config --aws --enable-imdsv2` writes them. Lambda
            // has no such service, so a request to it would time out.
            "region_url": "http://127.0.0.1:1/placement", "url": "http://127.0.0.1:1/credentials",
            "imdsv2_session_token_url": "http://127.0.0.1:1/token",
        });
        json!({
            "type": "external_account",
            "audience": AUDIENCE,
            "subject_token_type": "urn:ietf:params:aws:token-type:aws4_request",
            "token_url": format!("{}/v1/token", self.url),
            "service_account_impersonation_url": format!("{}/{impersonate}", self.url),
            "credential_source": source,
        })
        .to_string()
    }

    /// Has one quote loaded; returns the function's log.
    async fn load(&self, credentials: (&str, &str)) -> Vec<Value> {
        let function = Executable::new(
            env!("CARGO_BIN_EXE_load-quotes"),
            &[
                credentials,
                ("AWS_REGION", REGION),
                ("AWS_ACCESS_KEY_ID", KEY_ID),
                ("AWS_SECRET_ACCESS_KEY", SECRET_KEY),
                ("AWS_SESSION_TOKEN", SESSION),
                ("AWS_ENDPOINT_URL", &self.url),
                ("BIGQUERY_ENDPOINT", &self.url),
                ("BIGQUERY_PROJECT", "test"),
            ],
            Duration::from_secs(30),
        );
        let body = json!({ "Records": [{ "eventName": "ObjectCreated:Put",
            "s3": { "bucket": { "name": "bronze" }, "object": { "key": "AAPL/1704067256.json" } } }] });
        let event = json!({ "Records": [{ "messageId": "m1", "body": body.to_string() }] }).to_string();
        assert_eq!(function.invoke(event).await.unwrap(), json!({ "batchItemFailures": [] }));
        function.stop().await
    }
}

impl Drop for Cloud {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn answer(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    let body = String::from_utf8(axum::body::to_bytes(body, usize::MAX).await.unwrap().to_vec()).unwrap();
    let path = head.uri.path();
    let answer = if head.headers.get("x-amz-target").is_some_and(|it| it == "secretsmanager.GetSecretValue") {
        json!({ "Name": "google", "SecretString": *shared.secret.lock().unwrap() }).to_string()
    } else if head.method == Method::GET {
        QUOTE.to_owned()
    } else if path == "/v1/token" {
        shared.exchanges.lock().unwrap().push(body);
        json!({ "access_token": "federated", "token_type": "Bearer", "expires_in": 3600,
                "issued_token_type": "urn:ietf:params:oauth:token-type:access_token" })
        .to_string()
    } else if path.ends_with(":generateAccessToken") {
        json!({ "accessToken": "impersonated", "expireTime": "2099-01-01T00:00:00Z" }).to_string()
    } else {
        let bearer = head.headers.get(AUTHORIZATION).map(|value| value.to_str().unwrap().to_owned());
        shared.bearers.lock().unwrap().extend(bearer);
        json!({ "jobComplete": true, "numDmlAffectedRows": "1",
                "jobReference": { "projectId": "test", "jobId": "1" } })
        .to_string()
    };
    ([("content-type", "application/json")], answer).into_response()
}

fn decoded(text: &str) -> String {
    percent_encoding::percent_decode_str(&text.replace('+', " ")).decode_utf8().unwrap().into_owned()
}

/// The `Authorization` that AWS's own signer gives the request.
fn authorization(url: &str, date: &str) -> String {
    let at = DateTime::strptime("%Y%m%dT%H%M%SZ", date).unwrap().to_zoned(TimeZone::UTC).unwrap();
    let identity = Credentials::new(KEY_ID, SECRET_KEY, Some(SESSION.to_owned()), None, "test").into();
    let parameters = v4::SigningParams::builder()
        .identity(&identity)
        .region(REGION)
        .name("sts")
        .time(SystemTime::from(at.timestamp()))
        .settings(SigningSettings::default())
        .build()
        .unwrap();
    let headers = [("x-goog-cloud-target-resource", AUDIENCE)];
    let request = SignableRequest::new("POST", url, headers.into_iter(), SignableBody::Bytes(&[])).unwrap();
    let (signed, _) = sign(request, &parameters.into()).unwrap().into_parts();
    signed.headers().find(|(name, _)| *name == "authorization").unwrap().1.to_owned()
}

#[tokio::test]
async fn lambdas_own_credentials_sign_the_subject_token_and_bigquery_gets_the_service_accounts() {
    let cloud = Cloud::start().await;
    let log = cloud.load(("GOOGLE_CREDENTIALS_JSON", &cloud.credentials())).await;

    let [exchange] = cloud.shared.exchanges.lock().unwrap().clone().try_into().unwrap();
    let form: HashMap<_, _> = exchange.split('&').filter_map(|pair| pair.split_once('=')).collect();
    assert_eq!(decoded(form["audience"]), AUDIENCE);
    assert_eq!(decoded(form["subject_token_type"]), "urn:ietf:params:aws:token-type:aws4_request");
    let subject: Value = serde_json::from_str(&decoded(&decoded(form["subject_token"]))).unwrap();
    let url = subject["url"].as_str().unwrap();
    assert!(url.starts_with("https://sts.eu-central-1.amazonaws.com/?Action=GetCallerIdentity"), "{url}");
    let headers: HashMap<String, &str> = subject["headers"]
        .as_array()
        .unwrap()
        .iter()
        .map(|header| (header["key"].as_str().unwrap().to_lowercase(), header["value"].as_str().unwrap()))
        .collect();
    assert_eq!(headers["x-goog-cloud-target-resource"], AUDIENCE);
    assert_eq!(headers["x-amz-security-token"], SESSION);
    assert_eq!(headers["authorization"], authorization(url, headers["x-amz-date"]));

    let bearers = cloud.shared.bearers.lock().unwrap().clone();
    assert!(
        !bearers.is_empty() && bearers.iter().all(|bearer| bearer == "Bearer impersonated"),
        "{bearers:?}"
    );
    for line in log {
        assert!(!line.to_string().contains("marked"), "{line}");
    }
}

#[tokio::test]
async fn the_credentials_are_read_from_the_secret_that_is_named() {
    let cloud = Cloud::start().await;
    *cloud.shared.secret.lock().unwrap() = cloud.credentials();
    cloud.load(("GOOGLE_CREDENTIALS_SECRET", "arn:aws:secretsmanager:eu-central-1:1:secret:google")).await;
    assert!(!cloud.shared.bearers.lock().unwrap().is_empty());
}

#[tokio::test]
async fn one_source_of_credentials_is_enough() {
    let both = [("GOOGLE_CREDENTIALS_JSON", "{}"), ("GOOGLE_APPLICATION_CREDENTIALS", "key.json")];
    test_support::assert_configuration_problems(
        env!("CARGO_BIN_EXE_load-quotes"),
        &both,
        &["GOOGLE_CREDENTIALS_JSON", "GOOGLE_APPLICATION_CREDENTIALS", "BIGQUERY_PROJECT"],
    )
    .await;
}

/// A key of its own for each run: none is kept in the repository.
fn private_key() -> String {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap();
    let make = "from cryptography.hazmat.primitives.asymmetric import rsa; \
                from cryptography.hazmat.primitives import serialization as s; \
                print(rsa.generate_private_key(65537, 2048).private_bytes(s.Encoding.PEM, s.PrivateFormat.PKCS8, \
                s.NoEncryption()).decode())";
    let python = root.join(".venv/bin/python");
    let output = std::process::Command::new(python).args(["-c", make]).output().expect("`make setup`");
    String::from_utf8(output.stdout).unwrap()
}

/// A server that refuses whatever it is asked, and tells back all that it was sent.
async fn echo(request: Request) -> Response {
    let (head, body) = request.into_parts();
    let body = axum::body::to_bytes(body, usize::MAX).await.unwrap();
    let told = format!("{:?} {}", head.headers, String::from_utf8_lossy(&body));
    let error = json!({ "error": { "code": 401, "message": "Invalid Credentials", "status": "UNAUTHENTICATED" },
                        "told": told });
    (axum::http::StatusCode::UNAUTHORIZED, axum::Json(error)).into_response()
}

#[tokio::test]
async fn no_secret_is_in_a_log_or_an_answer_whatever_is_wrong_with_it_and_whoever_tells_it_back() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let server =
        tokio::spawn(async move { axum::serve(listener, Router::new().fallback(echo)).await.unwrap() });
    let s3 = test_support::S3::truthful().await;
    s3.put("/bronze-transactions/AAPL/1704067256.json", QUOTE.as_bytes());
    let pem = private_key();
    let key = |pem: &str| {
        json!({ "type": "service_account", "client_email": "a@p.iam.gserviceaccount.com",
                "private_key_id": "k", "private_key": pem, "project_id": "p" })
        .to_string()
    };
    let body: String = pem.lines().filter(|line| !line.starts_with('-')).collect();
    let credentials = [
        key(&pem),
        key(&pem.replace('\n', "\\n")),
        key(&pem.replace('\n', "?")),
        key(&pem[..900]),
        key(&body),
        key(&pem).replace('"', "'"),
        pem.clone(),
        body.clone(),
    ];
    let proxy = "http://user:marked-proxy@127.0.0.1:9";
    for (number, credentials) in credentials.iter().enumerate() {
        let function = Executable::new(
            env!("CARGO_BIN_EXE_load-quotes"),
            &[
                ("GOOGLE_CREDENTIALS_JSON", credentials.as_str()),
                ("S3_ACCESS_KEY_ID", "minio"),
                ("S3_SECRET_ACCESS_KEY", "marked-s3"),
                ("AWS_ACCESS_KEY_ID", KEY_ID),
                ("AWS_SECRET_ACCESS_KEY", SECRET_KEY),
                ("AWS_SESSION_TOKEN", SESSION),
                ("AWS_ENDPOINT_URL", &s3.url),
                ("BIGQUERY_ENDPOINT", &url),
                ("BIGQUERY_PROJECT", "test"),
                ("HTTPS_PROXY", proxy),
                ("HTTP_PROXY", proxy),
                ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://user:marked-otel@127.0.0.1:1"),
                ("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Bearer marked-header,marked,=marked"),
                ("LOG_LEVEL", "trace"),
            ],
            Duration::from_secs(30),
        );
        let error = function.invoke(include_str!("payloads/s3.json")).await.unwrap_err().to_string();
        let mut told = vec![error];
        told.extend(function.stop().await.iter().map(ToString::to_string));
        // The first two can be used.
        let problem = told.iter().any(|line| line.contains("GOOGLE_CREDENTIALS_JSON"));
        assert_eq!(problem, number >= 2, "{told:?}");
        for line in &told {
            assert!(!line.contains("marked"), "{line}");
            for part in body.as_bytes().chunks(16) {
                assert!(!line.contains(str::from_utf8(part).unwrap()), "{line}");
                let numbers = format!("{part:?}");
                assert!(!line.contains(numbers.trim_matches(['[', ']'])), "{line}");
            }
        }
    }
    server.abort();
}
