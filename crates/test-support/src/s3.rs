//! A scripted S3 server.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
};

use aws_credential_types::{Credentials, provider::SharedCredentialsProvider};
use axum::{
    Router,
    body::Body,
    extract::{Request, State},
    http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode},
    response::{IntoResponse, Response},
};
use bytes::Bytes;

/// A script's answer to one request.
pub enum Reply {
    /// S3's own answer.
    Truth,
    /// This status and error code.
    Error(u16, &'static str),
    /// The object is stored, but the answer is this error.
    StoredButError(u16),
    /// The beginning of an object; then the connection ends.
    CutOff,
    /// Endless spaces, after a `content-length` header or without one.
    Endless {
        /// The header's value.
        announced: Option<usize>,
    },
    /// No answer.
    Never,
}

/// Permanent errors of S3, with their HTTP status.
pub const REFUSALS: [(u16, &str); 9] = [
    (403, "AccessDenied"),
    (403, "InvalidAccessKeyId"),
    (403, "SignatureDoesNotMatch"),
    (403, "AllAccessDisabled"),
    (404, "NoSuchBucket"),
    (400, "InvalidBucketName"),
    (400, "InvalidToken"),
    (405, "MethodNotAllowed"),
    (501, "NotImplemented"),
];

/// Temporary errors of S3, with their HTTP status: those that AWS says to retry.
pub const OUTAGES: [(u16, &str); 10] = [
    (503, "SlowDown"),
    (503, "ServiceUnavailable"),
    (500, "InternalError"),
    (502, "BadGateway"),
    (504, "GatewayTimeout"),
    (400, "RequestTimeout"),
    (400, "ExpiredToken"),
    (403, "RequestTimeTooSkewed"),
    (409, "OperationAborted"),
    (429, "TooManyRequests"),
];

/// Gets the method and the number of earlier requests with it.
type Script = dyn Fn(&Method, usize) -> Reply + Send + Sync;

struct Shared {
    script: Box<Script>,
    objects: Mutex<BTreeMap<String, (HeaderMap, Bytes)>>,
    log: Mutex<Vec<(Method, String)>>,
    accounts: Mutex<BTreeSet<String>>,
    /// Whether it ignores `If-None-Match`.
    overwrites: bool,
}

/// A server with S3's PUT and GET that answers as a script says, or else as S3 does.
pub struct S3 {
    /// Its endpoint.
    pub url: String,
    shared: Arc<Shared>,
    server: tokio::task::JoinHandle<()>,
}

impl S3 {
    /// A server that answers each request by `script`, which gets the method and the number of earlier requests with
    /// it.
    pub async fn start(script: impl Fn(&Method, usize) -> Reply + Send + Sync + 'static) -> Self {
        Self::serve(script, false).await
    }

    /// A server that always overwrites objects.
    pub async fn overwriting() -> Self {
        Self::serve(|_, _| Reply::Truth, true).await
    }

    async fn serve(
        script: impl Fn(&Method, usize) -> Reply + Send + Sync + 'static,
        overwrites: bool,
    ) -> Self {
        let shared = Arc::new(Shared {
            script: Box::new(script),
            objects: Mutex::default(),
            log: Mutex::default(),
            accounts: Mutex::default(),
            overwrites,
        });
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let router = Router::new().fallback(answer).with_state(Arc::clone(&shared));
        let server = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { url, shared, server }
    }

    /// A server that answers as S3 does.
    pub async fn truthful() -> Self {
        Self::start(|_, _| Reply::Truth).await
    }

    /// A client of it.
    #[must_use]
    pub fn client(&self) -> aws_sdk_s3::Client {
        client(&self.url)
    }

    /// The object at `/bucket/key`, with the path encoded as in the request.
    #[must_use]
    pub fn object(&self, path: &str) -> Option<Bytes> {
        self.shared.objects.lock().unwrap().get(path).map(|(_, bytes)| bytes.clone())
    }

    /// The metadata `name` of the object at `/bucket/key`.
    #[must_use]
    pub fn metadata(&self, path: &str, name: &str) -> Option<String> {
        let objects = self.shared.objects.lock().unwrap();
        let value = objects.get(path)?.0.get(format!("x-amz-meta-{name}"))?;
        Some(value.to_str().unwrap().to_owned())
    }

    /// Every object whose path begins with `prefix`.
    #[must_use]
    pub fn objects(&self, prefix: &str) -> Vec<Bytes> {
        let objects = self.shared.objects.lock().unwrap();
        let found = objects.iter().filter(|(path, _)| path.starts_with(prefix));
        found.map(|(_, (_, bytes))| bytes.clone()).collect()
    }

    /// The path and the headers of every object whose path begins with `prefix`.
    #[must_use]
    pub fn stored(&self, prefix: &str) -> Vec<(String, HeaderMap)> {
        let objects = self.shared.objects.lock().unwrap();
        let found = objects.iter().filter(|(path, _)| path.starts_with(prefix));
        found.map(|(path, (headers, _))| (path.clone(), headers.clone())).collect()
    }

    /// Puts an object at `/bucket/key`, with the path encoded as in a request.
    pub fn put(&self, path: &str, bytes: &'static [u8]) {
        self.put_with(path, &[], bytes);
    }

    /// Puts an object that is returned with these headers.
    pub fn put_with(&self, path: &str, headers: &[(&'static str, &'static str)], bytes: &'static [u8]) {
        let headers = headers
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
            .collect();
        let object = (headers, Bytes::from_static(bytes));
        self.shared.objects.lock().unwrap().insert(path.to_owned(), object);
    }

    /// The access keys that requests were signed with.
    #[must_use]
    pub fn accounts(&self) -> Vec<String> {
        self.shared.accounts.lock().unwrap().iter().cloned().collect()
    }

    /// How many requests with this method arrived.
    #[must_use]
    pub fn asked(&self, method: &Method) -> usize {
        self.shared.log.lock().unwrap().iter().filter(|(asked, _)| asked == method).count()
    }
}

impl Drop for S3 {
    fn drop(&mut self) {
        self.server.abort();
    }
}

/// A client of the endpoint as the functions create it, but with fixed credentials instead of the environment's.
#[must_use]
pub fn client(url: &str) -> aws_sdk_s3::Client {
    let credentials = Credentials::new("test", "test", None, None, "test");
    let sdk = function_kit::aws::sdk_config_for(Some(url), "us-east-1".to_owned())
        .into_builder()
        .credentials_provider(SharedCredentialsProvider::new(credentials))
        .build();
    aws_sdk_s3::Client::from_conf(aws_sdk_s3::config::Builder::from(&sdk).force_path_style(true).build())
}

async fn answer(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    let path = head.uri.path().to_owned();
    let body = axum::body::to_bytes(body, usize::MAX).await.unwrap();
    let is_probe = path.contains("/.quoteflow-probe/");
    let earlier = if is_probe {
        0
    } else {
        let mut log = shared.log.lock().unwrap();
        let earlier = log.iter().filter(|(method, _)| *method == head.method).count();
        log.push((head.method.clone(), path.clone()));
        earlier
    };
    let signature = head.headers.get("authorization").and_then(|value| value.to_str().ok());
    let credential = signature.and_then(|signature| signature.split_once("Credential="));
    if let Some((key, _)) = credential.and_then(|(_, scope)| scope.split_once('/')) {
        shared.accounts.lock().unwrap().insert(key.to_owned());
    }
    let only_if_absent =
        !shared.overwrites && head.headers.get("if-none-match").is_some_and(|value| value == "*");
    let store = || {
        let mut objects = shared.objects.lock().unwrap();
        if only_if_absent && objects.contains_key(&path) {
            return error(412, "PreconditionFailed");
        }
        let is_kept = |name: &str| {
            name.starts_with("x-amz-meta-") || ["content-type", "content-encoding"].contains(&name)
        };
        let headers = head.headers.iter().filter(|(name, _)| is_kept(name.as_str()));
        let headers = headers.map(|(name, value)| (name.clone(), value.clone())).collect();
        objects.insert(path.clone(), (headers, body.clone()));
        StatusCode::OK.into_response()
    };
    if head.method == Method::DELETE {
        shared.objects.lock().unwrap().remove(&path);
        return StatusCode::NO_CONTENT.into_response();
    }
    // The script does not answer the check that a function makes when it starts.
    let reply = if is_probe { Reply::Truth } else { (shared.script)(&head.method, earlier) };
    match (reply, &head.method) {
        (Reply::Error(status, code), _) => error(status, code),
        (Reply::StoredButError(status), _) => {
            store();
            error(status, "InternalError")
        }
        (Reply::CutOff, _) => ([("content-length", "1000")], Body::from_stream(cut_off())).into_response(),
        (Reply::Endless { announced }, _) => {
            let body = Body::from_stream(futures::stream::repeat_with(|| {
                Ok::<_, std::io::Error>(Bytes::from_static(&[b' '; 8 << 10]))
            }));
            match announced {
                Some(length) => ([("content-length", length.to_string())], body).into_response(),
                None => body.into_response(),
            }
        }
        (Reply::Never, _) => std::future::pending().await,
        (Reply::Truth, &Method::PUT) => store(),
        (Reply::Truth, _) => match shared.objects.lock().unwrap().get(&path) {
            Some((headers, bytes)) => (headers.clone(), Body::from(bytes.clone())).into_response(),
            None => error(404, "NoSuchKey"),
        },
    }
}

fn cut_off() -> impl futures::Stream<Item = std::io::Result<Bytes>> {
    let ended = std::io::Error::from(std::io::ErrorKind::ConnectionReset);
    futures::stream::iter([Ok(Bytes::from_static(b"{")), Err(ended)])
}

fn error(status: u16, code: &str) -> Response {
    let body = format!(r#"<?xml version="1.0"?><Error><Code>{code}</Code><Message>no</Message></Error>"#);
    (StatusCode::from_u16(status).unwrap(), [("content-type", "application/xml")], body).into_response()
}
