//! A server of S3's GET that answers as a script says, and otherwise as S3 does.

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
    /// The beginning of an object, and then the connection's end.
    CutOff,
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

    /// Puts an object at `/bucket/key`, as the path has it on the wire.
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
    let path = request.uri().path().to_owned();
    let earlier = {
        let mut log = shared.log.lock().unwrap();
        let earlier = log.iter().filter(|(method, _)| method == request.method()).count();
        log.push((request.method().clone(), path.clone()));
        earlier
    };
    match (shared.script)(request.method(), earlier) {
        Reply::Error(status, code) => error(status, code),
        Reply::CutOff => ([("content-length", "1000")], Body::from_stream(cut_off())).into_response(),
        Reply::Never => std::future::pending().await,
        Reply::Truth => match shared.objects.lock().unwrap().get(&path) {
            Some(bytes) => Body::from(bytes.clone()).into_response(),
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
