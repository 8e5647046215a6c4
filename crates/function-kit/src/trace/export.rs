//! Exports spans by OTLP over HTTP (protobuf), if OpenTelemetry's variables name a collector.

use std::{
    borrow::Cow,
    cell::Cell,
    sync::{Arc, Mutex, OnceLock},
    time::{Duration, Instant, SystemTime},
};

use async_trait::async_trait;
use aws_smithy_http_client::{
    Connector,
    tls::{Provider, rustls_provider::CryptoMode},
};
use aws_smithy_runtime_api::client::{
    http::{HttpConnector, SharedHttpConnector},
    orchestrator::HttpRequest,
};
use aws_smithy_types::{body::SdkBody, byte_stream::ByteStream};
use opentelemetry::{
    Context, KeyValue, SpanId, TraceFlags, TraceId, Value,
    trace::{
        Link, SpanBuilder, SpanContext, SpanKind as OtelKind, Status, TraceContextExt, TraceState, Tracer,
        TracerProvider,
    },
};
use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response};
use opentelemetry_otlp::{RetryPolicy, SpanExporter, WithHttpConfig};
use opentelemetry_sdk::{
    Resource,
    trace::{
        Config, IdGenerator, RandomIdGenerator, SamplingResult, SdkTracer, SdkTracerProvider, ShouldSample,
    },
};
use tokio::runtime::Handle;

use super::{SpanKind, TraceParent};
use crate::{Environment, chain, lock};

/// How long an export may take by default. OpenTelemetry's own default is 10 s, but here an invocation waits for it.
const TIMEOUT: Duration = Duration::from_secs(2);
/// The part of the function's time that is kept for answering.
const ANSWER: Duration = Duration::from_millis(100);

static TRACER: OnceLock<SdkTracer> = OnceLock::new();

thread_local! {
    /// The id of the next trace that begins on this thread.
    static NEXT_TRACE: Cell<Option<TraceId>> = const { Cell::new(None) };
}

/// Why the last export failed, if it did.
type Trouble = Arc<Mutex<Option<String>>>;

/// The export of this process's spans.
pub(crate) struct Export {
    provider: SdkTracerProvider,
    timeout: Duration,
    trouble: Trouble,
}

impl Export {
    /// Starts to export spans as the variables `OTEL_…` say; `None` if they name no collector. If they are wrong, a
    /// problem is noted. Must be called within a tokio runtime.
    pub fn start(environment: &mut Environment, function: &'static str) -> Option<Self> {
        let endpoint: String = environment
            .get("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
            .or_else(|| environment.get("OTEL_EXPORTER_OTLP_ENDPOINT"))?;
        if environment.get("OTEL_SDK_DISABLED").is_some_and(|it: String| it.eq_ignore_ascii_case("true")) {
            return None;
        }
        let protocol: Option<String> = environment
            .get("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL")
            .or_else(|| environment.get("OTEL_EXPORTER_OTLP_PROTOCOL"));
        if let Some(other) = protocol.filter(|protocol| protocol != "http/protobuf") {
            environment
                .problem(format!("OTEL_EXPORTER_OTLP_PROTOCOL: {other} is not supported; use http/protobuf"));
        }
        let timeout = environment
            .get("OTEL_EXPORTER_OTLP_TRACES_TIMEOUT")
            .or_else(|| environment.get("OTEL_EXPORTER_OTLP_TIMEOUT"))
            .map_or(TIMEOUT, Duration::from_millis);
        let trouble = Trouble::default();
        let collector = Collector {
            connector: connector(endpoint.starts_with("https://")),
            runtime: Handle::current(),
            timeout,
            trouble: Arc::clone(&trouble),
        };
        let exporter = SpanExporter::builder()
            .with_http()
            .with_http_client(collector)
            // A function does not wait for a retry. It exports again after its next invocation.
            .with_retry_policy(RetryPolicy::default().with_max_retries(0))
            .build();
        let exporter = match exporter {
            Ok(exporter) => exporter,
            Err(error) => {
                environment.problem(format!("OTEL_EXPORTER_OTLP_ENDPOINT: {error}"));
                return None;
            }
        };
        let mut resource = Resource::builder();
        let is_named =
            |attributes: String| attributes.split(',').any(|it| it.trim().starts_with("service.name="));
        if !environment.is_set("OTEL_SERVICE_NAME")
            && !environment.get("OTEL_RESOURCE_ATTRIBUTES").is_some_and(is_named)
        {
            resource = resource.with_service_name(function);
        }
        let provider = SdkTracerProvider::builder()
            .with_resource(resource.build())
            .with_id_generator(QuoteIds)
            .with_sampler(ByRandomBits(Config::default().sampler))
            .with_batch_exporter(exporter)
            .build();
        // This is called once in a process, so that it cannot be set already.
        let _ = TRACER.set(provider.tracer("quoteflow"));
        Some(Self { provider, timeout, trouble })
    }

    /// Sends the spans that have ended, because a frozen function cannot. It takes at most the export's timeout and the
    /// time until `deadline`. A failure is only logged.
    pub async fn flush(&self, deadline: Instant) {
        let left = deadline.saturating_duration_since(Instant::now()).saturating_sub(ANSWER);
        let provider = self.provider.clone();
        let flush = tokio::task::spawn_blocking(move || provider.force_flush());
        let flushed = tokio::time::timeout(left.min(self.timeout), flush).await;
        let trouble = lock(&self.trouble).take();
        let reason = match (trouble, flushed) {
            (Some(trouble), _) => trouble,
            (None, Ok(Ok(Ok(())))) => return,
            (None, Ok(Ok(Err(error)))) => chain(&error),
            (None, Ok(Err(error))) => error.to_string(),
            (None, Err(_)) => "the collector did not answer in time".to_owned(),
        };
        tracing::warn!("spans were not exported: {reason}");
    }
}

/// The SDK's thread has no runtime: requests are made on the function's runtime.
#[derive(Debug)]
struct Collector {
    connector: SharedHttpConnector,
    runtime: Handle,
    timeout: Duration,
    trouble: Trouble,
}

/// The AWS SDK's HTTP client, which is linked anyway.
fn connector(tls: bool) -> SharedHttpConnector {
    let builder = Connector::builder();
    SharedHttpConnector::new(if tls {
        builder.tls_provider(Provider::Rustls(CryptoMode::Ring)).build()
    } else {
        builder.build_http()
    })
}

#[async_trait]
impl HttpClient for Collector {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let connector = self.connector.clone();
        let timeout = self.timeout;
        let answer = self.runtime.spawn(async move {
            match tokio::time::timeout(timeout, ask(&connector, request)).await {
                Ok(answer) => answer,
                Err(_) => Err(format!("the collector did not answer within {timeout:?}").into()),
            }
        });
        let answer = answer.await.unwrap_or_else(|error| Err(error.into()));
        let trouble = match &answer {
            Ok(response) if response.status().is_success() => None,
            Ok(response) => Some(format!("the collector answered HTTP {}", response.status().as_u16())),
            Err(error) => Some(chain(error.as_ref())),
        };
        *lock(&self.trouble) = trouble;
        answer
    }
}

async fn ask(connector: &SharedHttpConnector, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
    let request = HttpRequest::try_from(request.map(SdkBody::from))?;
    let response = connector.call(request).await?;
    let status = response.status().as_u16();
    let body = ByteStream::new(response.into_body()).collect().await?.into_bytes();
    Ok(Response::builder().status(status).body(body)?)
}

/// A trace gets the id in `NEXT_TRACE`, if there is one. Spans get random ids.
#[derive(Debug)]
struct QuoteIds;

impl IdGenerator for QuoteIds {
    fn new_trace_id(&self) -> TraceId {
        NEXT_TRACE.take().unwrap_or_else(|| RandomIdGenerator::default().new_trace_id())
    }

    fn new_span_id(&self) -> SpanId {
        RandomIdGenerator::default().new_span_id()
    }
}

/// The sampler that the variables name, with random bits where it reads them. A ratio sampler reads the upper bits of
/// the id's second half. A uuid has its variant there, so that all or no traces would be sampled.
#[derive(Debug, Clone)]
struct ByRandomBits(Box<dyn ShouldSample>);

/// How many of a uuid's last bits are random in every version that is generated here (v5 and v7).
const RANDOM_BITS: u32 = 56;

impl ShouldSample for ByRandomBits {
    fn should_sample(
        &self,
        parent: Option<&Context>,
        trace_id: TraceId,
        name: &str,
        kind: &OtelKind,
        attributes: &[KeyValue],
        links: &[Link],
    ) -> SamplingResult {
        let bits = u128::from_be_bytes(trace_id.to_bytes());
        let shown = TraceId::from(bits << (u64::BITS - RANDOM_BITS) & u128::from(u64::MAX));
        self.0.should_sample(parent, shown, name, kind, attributes, links)
    }
}

/// A span of the SDK.
pub(super) struct Recorded(opentelemetry_sdk::trace::Span);

impl Recorded {
    /// The span and its context; `None` if nothing is exported. `is_child` says whether `context` is a parent or only
    /// names the trace.
    pub fn start(
        kind: SpanKind,
        operation: &'static str,
        destination: &str,
        context: TraceParent,
        is_child: bool,
    ) -> Option<(TraceParent, Self)> {
        let tracer = TRACER.get()?;
        let trace_id = TraceId::from(context.trace_id);
        let parent = if is_child {
            let flags = TraceFlags::new(context.flags);
            let span_id = SpanId::from(context.span_id);
            let remote = SpanContext::new(trace_id, span_id, flags, true, TraceState::default());
            Context::new().with_remote_span_context(remote)
        } else {
            NEXT_TRACE.set(Some(trace_id));
            Context::new()
        };
        let kind = match kind {
            SpanKind::Producer => OtelKind::Producer,
            SpanKind::Consumer => OtelKind::Consumer,
        };
        let builder = SpanBuilder::from_name(format!("{operation} {destination}")).with_kind(kind);
        let span = tracer.build_with_context(builder, &parent);
        NEXT_TRACE.set(None);
        let own = opentelemetry::trace::Span::span_context(&span);
        let context = TraceParent {
            trace_id: u128::from_be_bytes(own.trace_id().to_bytes()),
            span_id: u64::from_be_bytes(own.span_id().to_bytes()),
            flags: own.trace_flags().to_u8(),
        };
        Some((context, Self(span)))
    }

    pub fn set(&mut self, name: &'static str, value: impl Into<Value>) {
        opentelemetry::trace::Span::set_attribute(&mut self.0, KeyValue::new(name, value.into()));
    }

    pub fn fail(&mut self, reason: String) {
        opentelemetry::trace::Span::set_status(
            &mut self.0,
            Status::Error { description: Cow::Owned(reason) },
        );
    }

    pub fn end_at(mut self, at: SystemTime) {
        opentelemetry::trace::Span::end_with_timestamp(&mut self.0, at);
    }
}

#[cfg(test)]
mod tests {
    use opentelemetry_sdk::trace::{Sampler, SamplingDecision};

    use super::*;

    #[test]
    fn a_ratio_of_uuids_is_sampled() {
        let sampler = ByRandomBits(Box::new(Sampler::TraceIdRatioBased(0.25)));
        // The last bits of the uuid v7 count up; its version and variant stay the same.
        let is_sampled = |number: u128| {
            let id = 0x018c_c251_f400_7000_8000_0000_0000_0000 | (number << (RANDOM_BITS - 10));
            let result = sampler.should_sample(None, TraceId::from(id), "", &OtelKind::Producer, &[], &[]);
            result.decision == SamplingDecision::RecordAndSample
        };
        assert_eq!((0..1024).filter(|number| is_sampled(*number)).count(), 256);
    }
}
