//! The dashboard's server, which does what a Lambda function URL does.

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use anyhow::Context;
use axum::{
    Router,
    body::{Body, Bytes},
    extract::{ConnectInfo, State},
    http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, header::HOST},
    response::{IntoResponse, Response},
};
use base64::{Engine, prelude::BASE64_STANDARD};
use function_kit::lock;
use jiff::Timestamp;
use runtime_api::Function;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::{net::TcpListener, sync::Semaphore, task::JoinHandle};

use crate::{base::names, watch::metrics::Metrics};

/// serve-dashboard behind HTTP.
pub(crate) struct Dashboard {
    instances: Arc<Instances>,
    server: JoinHandle<std::io::Result<()>>,
}

impl Dashboard {
    /// Listens at `url` (`http://127.0.0.1:14504/`) and passes each request to an idle instance of the function.
    pub(crate) async fn start(
        url: &str,
        instances: Vec<Function>,
        metrics: Arc<Metrics>,
    ) -> anyhow::Result<Self> {
        let address = url.trim_start_matches("http://").trim_end_matches('/');
        let cannot = || format!("the dashboard cannot listen on {address}");
        let listener = TcpListener::bind(address).await.with_context(cannot)?;
        let instances = Arc::new(Instances::new(instances));
        let router = Router::new().fallback(respond).with_state((Arc::clone(&instances), metrics));
        let service = router.into_make_service_with_connect_info::<SocketAddr>();
        let server = tokio::spawn(async move { axum::serve(listener, service).await });
        Ok(Self { instances, server })
    }

    /// Starts an instance, so that the first reader does not wait for its start.
    pub(crate) fn warm(&self) {
        if let Some(first) = self.instances.all.first() {
            first.warm();
        }
    }

    /// Stops accepting requests and ends the function. Running requests get 502.
    pub(crate) async fn stop(self) {
        self.server.abort();
        for instance in &self.instances.all {
            instance.stop().await;
        }
    }
}

/// The function's instances. As on AWS, each answers one request at a time, so a slow request delays no other.
struct Instances {
    all: Vec<Function>,
    idle: Mutex<Vec<usize>>,
    permits: Semaphore,
}

impl Instances {
    fn new(all: Vec<Function>) -> Self {
        let permits = Semaphore::new(all.len());
        Self { idle: Mutex::new((0..all.len()).rev().collect()), all, permits }
    }

    async fn invoke(&self, metrics: &Metrics, event: String) -> anyhow::Result<Vec<u8>> {
        let _permit = self.permits.acquire().await?;
        // The instance that was used last has the newest figures.
        let at = lock(&self.idle).pop();
        let used = Used { instances: self, at: at.context("no instance is idle")? };
        Ok(metrics.invoke(&self.all[used.at], event).await?)
    }
}

/// A busy instance. It is idle again when it has answered, or when the request was given up.
struct Used<'a> {
    instances: &'a Instances,
    at: usize,
}

impl Drop for Used<'_> {
    fn drop(&mut self) {
        lock(&self.instances.idle).push(self.at);
    }
}

/// The function's response in payload format 2.0.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Answer {
    status_code: u16,
    #[serde(default)]
    headers: HashMap<String, String>,
    body: Option<String>,
    #[serde(default)]
    is_base64_encoded: bool,
}

async fn respond(
    State((instances, metrics)): State<(Arc<Instances>, Arc<Metrics>)>,
    ConnectInfo(client): ConnectInfo<SocketAddr>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let event = event(&method, &uri, &headers, &body, client).to_string();
    let answer = match instances.invoke(&metrics, event).await {
        Ok(response) => response_of(&response),
        Err(error) => Err(error),
    };
    answer.unwrap_or_else(|error| {
        tracing::warn!("{}: {error:#}", names::SERVE);
        (StatusCode::BAD_GATEWAY, "Internal Server Error").into_response()
    })
}

/// A request as a function URL passes it on.
/// <https://docs.aws.amazon.com/lambda/latest/dg/urls-invocation.html#urls-payloads>
fn event(method: &Method, uri: &Uri, headers: &HeaderMap, body: &[u8], client: SocketAddr) -> Value {
    let path = uri.path();
    let header = |name: &HeaderName| {
        let values: Vec<_> = headers.get_all(name).iter().filter_map(|value| value.to_str().ok()).collect();
        (name.to_string(), Value::from(values.join(",")))
    };
    let now = Timestamp::now();
    json!({
        "version": "2.0",
        "routeKey": "$default",
        "rawPath": path,
        "rawQueryString": uri.query().unwrap_or_default(),
        "headers": headers.keys().map(header).collect::<serde_json::Map<_, _>>(),
        "requestContext": {
            "accountId": "anonymous",
            "apiId": "local",
            "domainName": headers.get(HOST).and_then(|host| host.to_str().ok()),
            "domainPrefix": "local",
            "http": {
                "method": method.as_str(),
                "path": path,
                "protocol": "HTTP/1.1",
                "sourceIp": client.ip(),
                "userAgent": headers.get("user-agent").and_then(|agent| agent.to_str().ok()),
            },
            "requestId": "local",
            "routeKey": "$default",
            "stage": "$default",
            "time": now.strftime("%d/%b/%Y:%H:%M:%S +0000").to_string(),
            "timeEpoch": now.as_millisecond(),
        },
        "body": (!body.is_empty()).then(|| BASE64_STANDARD.encode(body)),
        "isBase64Encoded": !body.is_empty(),
    })
}

fn response_of(response: &[u8]) -> anyhow::Result<Response> {
    let answer: Answer = serde_json::from_slice(response)?;
    let text = answer.body.unwrap_or_default();
    let body = if answer.is_base64_encoded { BASE64_STANDARD.decode(text)? } else { text.into_bytes() };
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = StatusCode::from_u16(answer.status_code)?;
    for (name, value) in answer.headers {
        response.headers_mut().insert(name.parse::<HeaderName>()?, HeaderValue::from_str(&value)?);
    }
    Ok(response)
}
