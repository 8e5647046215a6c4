//! A server of S3's PUT and GET that answers as a script says, and otherwise as S3 does.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use aws_credential_types::{Credentials, provider::SharedCredentialsProvider};
use axum::{
    Router,
    body::Body,
    extract::{Request, State},
    http::{Method, StatusCode},
    response::{IntoResponse, Response},
};
use bytes::Bytes;

/// What a script says to one request.
pub enum Reply {
    /// What S3 would say.
    Truth,
    /// This status and error code.
    Error(u16, &'static str),
    /// The object is stored, and the answer is lost on its way.
    StoredButError(u16),
    /// Nothing, ever.
    Never,
}

/// Gets the method and how many requests of it came before.
type Script = dyn Fn(&Method, usize) -> Reply + Send + Sync;

struct Shared {
    script: Box<Script>,
    objects: Mutex<BTreeMap<String, Bytes>>,
    log: Mutex<Vec<(Method, String)>>,
}

pub struct S3 {
    pub url: String,
    shared: Arc<Shared>,
    server: tokio::task::JoinHandle<()>,
}

impl S3 {
    pub async fn start(script: impl Fn(&Method, usize) -> Reply + Send + Sync + 'static) -> Self {
        let shared =
            Arc::new(Shared { script: Box::new(script), objects: Mutex::default(), log: Mutex::default() });
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let router = Router::new().fallback(answer).with_state(Arc::clone(&shared));
        let server = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { url, shared, server }
    }

    pub async fn truthful() -> Self {
        Self::start(|_, _| Reply::Truth).await
    }

    pub fn client(&self) -> aws_sdk_s3::Client {
        client(&self.url)
    }

    /// The object at `/bucket/key`.
    pub fn object(&self, path: &str) -> Option<Bytes> {
        self.shared.objects.lock().unwrap().get(path).cloned()
    }

    pub fn put(&self, path: &str, bytes: &'static [u8]) {
        self.shared.objects.lock().unwrap().insert(path.to_owned(), Bytes::from_static(bytes));
    }

    pub fn asked(&self, method: &Method) -> usize {
        self.shared.log.lock().unwrap().iter().filter(|(asked, _)| asked == method).count()
    }
}

impl Drop for S3 {
    fn drop(&mut self) {
        self.server.abort();
    }
}

/// As the function makes it, with credentials that the process's environment need not have.
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
    let earlier = {
        let mut log = shared.log.lock().unwrap();
        let earlier = log.iter().filter(|(method, _)| *method == head.method).count();
        log.push((head.method.clone(), path.clone()));
        earlier
    };
    let only_if_absent = head.headers.get("if-none-match").is_some_and(|value| value == "*");
    let store = || {
        let mut objects = shared.objects.lock().unwrap();
        if only_if_absent && objects.contains_key(&path) {
            return error(412, "PreconditionFailed");
        }
        objects.insert(path.clone(), body.clone());
        StatusCode::OK.into_response()
    };
    match ((shared.script)(&head.method, earlier), &head.method) {
        (Reply::Error(status, code), _) => error(status, code),
        (Reply::StoredButError(status), _) => {
            store();
            error(status, "InternalError")
        }
        (Reply::Never, _) => std::future::pending().await,
        (Reply::Truth, &Method::PUT) => store(),
        (Reply::Truth, _) => match shared.objects.lock().unwrap().get(&path) {
            Some(bytes) => Body::from(bytes.clone()).into_response(),
            None => error(404, "NoSuchKey"),
        },
    }
}

fn error(status: u16, code: &str) -> Response {
    let body = format!(r#"<?xml version="1.0"?><Error><Code>{code}</Code><Message>no</Message></Error>"#);
    (StatusCode::from_u16(status).unwrap(), [("content-type", "application/xml")], body).into_response()
}
