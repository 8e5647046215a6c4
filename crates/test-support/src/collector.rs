//! A collector of traces that keeps the spans it receives.

use std::sync::{Arc, Mutex};

use axum::{Router, body::Bytes, extract::State, http::HeaderMap, routing::post};
use opentelemetry_proto::tonic::{
    collector::trace::v1::ExportTraceServiceRequest, common::v1::any_value::Value, trace::v1::Span,
};
use prost::Message;

/// A span as the collector received it, with its ids as hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExportedSpan {
    /// `service.name` of its resource.
    pub service: String,
    /// Its name.
    pub name: String,
    /// 32 digits.
    pub trace_id: String,
    /// 16 digits.
    pub span_id: String,
    /// 16 digits; empty for the first span of a trace.
    pub parent_id: String,
    /// Whether it failed.
    pub failed: bool,
}

/// A collector of OTLP over HTTP that decodes what it receives.
pub struct Collector {
    /// Its endpoint.
    pub url: String,
    spans: Arc<Mutex<Vec<ExportedSpan>>>,
    server: tokio::task::JoinHandle<()>,
}

impl Collector {
    /// A collector that accepts everything.
    pub async fn start() -> Self {
        let spans = Arc::<Mutex<Vec<ExportedSpan>>>::default();
        let router = Router::new().route("/v1/traces", post(take)).with_state(Arc::clone(&spans));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let server = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { url, spans, server }
    }

    /// The spans so far.
    #[must_use]
    pub fn spans(&self) -> Vec<ExportedSpan> {
        self.spans.lock().unwrap().clone()
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn take(State(spans): State<Arc<Mutex<Vec<ExportedSpan>>>>, headers: HeaderMap, body: Bytes) {
    assert_eq!(headers["content-type"], "application/x-protobuf");
    let request = ExportTraceServiceRequest::decode(body).unwrap();
    for group in request.resource_spans {
        let attributes = group.resource.unwrap().attributes;
        let name = attributes.into_iter().find(|attribute| attribute.key == "service.name").unwrap();
        let Some(Value::StringValue(service)) = name.value.unwrap().value else { panic!("no text") };
        for span in group.scope_spans.into_iter().flat_map(|scope| scope.spans) {
            spans.lock().unwrap().push(exported(&service, span));
        }
    }
}

fn exported(service: &str, span: Span) -> ExportedSpan {
    assert!(span.start_time_unix_nano <= span.end_time_unix_nano);
    let hex = |bytes: Vec<u8>| bytes.iter().fold(String::new(), |hex, byte| format!("{hex}{byte:02x}"));
    ExportedSpan {
        service: service.to_owned(),
        name: span.name,
        trace_id: hex(span.trace_id),
        span_id: hex(span.span_id),
        parent_id: hex(span.parent_span_id),
        failed: span.status.is_some_and(|status| status.code == 2),
    }
}
