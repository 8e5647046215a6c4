//! Traces a quote through the functions: the trace context that travels with it, and a span for each step.
//!
//! The trace's id is the quote's id, so that a log, a row and a trace have the same id. Spans are exported by OTLP if
//! `OTEL_EXPORTER_OTLP_ENDPOINT` is set and the cargo feature `otel` is on. The context is always passed on.

use std::{fmt, time::SystemTime};

#[cfg(feature = "otel")]
mod export;
#[cfg(not(feature = "otel"))]
#[path = "trace/no_export.rs"]
mod export;

pub(crate) use export::Export;

/// The Kafka header, and the object's metadata key, that contains a [`TraceParent`].
pub const TRACEPARENT: &str = "traceparent";

/// Whether the caller recorded its span, and whether the trace's id is random; the other bits have no meaning yet.
const KNOWN_FLAGS: u8 = 0b11;

/// A span of a trace: what the next step needs to know about it.
///
/// Format: <https://www.w3.org/TR/trace-context/#traceparent-header>.
///
/// ```
/// # use function_kit::trace::TraceParent;
/// let text = "00-018cc251f40070008000000000000001-b7ad6b7169203331-01";
/// let parent = TraceParent::parse(text).unwrap();
/// assert_eq!(parent.trace_id(), "018cc251f40070008000000000000001");
/// assert_eq!(parent.to_string(), text);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TraceParent {
    trace_id: u128,
    span_id: u64,
    flags: u8,
}

impl TraceParent {
    /// Parses a `traceparent`; `None` if it is not valid.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.splitn(5, '-');
        let version = lower_hex(parts.next()?, 2)?;
        let trace_id = lower_hex(parts.next()?, 32)?;
        let span_id = u64::try_from(lower_hex(parts.next()?, 16)?).ok()?;
        let flags = u8::try_from(lower_hex(parts.next()?, 2)?).ok()?;
        // A later version may add parts; 255 is forbidden.
        let is_known = if version == 0 { parts.next().is_none() } else { version != 255 };
        (is_known && trace_id != 0 && span_id != 0).then_some(Self {
            trace_id,
            span_id,
            flags: flags & KNOWN_FLAGS,
        })
    }

    /// The beginning of the trace `id`, without a recorded span; `None` if `id` is 0, which is not a valid trace id.
    #[must_use]
    pub fn root(id: u128) -> Option<Self> {
        // Half of a uuid is as good as random, and the same in every attempt.
        let span_id = u64::try_from(id & u128::from(u64::MAX)).unwrap_or_default().max(1);
        (id != 0).then_some(Self { trace_id: id, span_id, flags: 0 })
    }

    /// The trace's id: 32 hexadecimal digits.
    #[must_use]
    pub fn trace_id(&self) -> String {
        format!("{:032x}", self.trace_id)
    }
}

impl fmt::Display for TraceParent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "00-{:032x}-{:016x}-{:02x}", self.trace_id, self.span_id, self.flags)
    }
}

fn lower_hex(text: &str, digits: usize) -> Option<u128> {
    let is_hex = text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    (is_hex && text.len() == digits).then(|| u128::from_str_radix(text, 16).ok())?
}

/// What a span does with its message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SpanKind {
    /// It sends the message.
    Producer,
    /// It processes the message.
    Consumer,
}

/// One step of a quote, from its start until it is dropped.
pub struct Span {
    context: Option<TraceParent>,
    recorded: Option<export::Recorded>,
}

impl Span {
    /// Starts the span `{operation} {destination}`, named as OpenTelemetry names messaging spans
    /// (<https://opentelemetry.io/docs/specs/semconv/messaging/messaging-spans/>). It is a child of `parent`; without a
    /// parent it is the first span of the trace `id`.
    #[must_use]
    pub fn start(
        kind: SpanKind,
        operation: &'static str,
        destination: &str,
        id: u128,
        parent: Option<TraceParent>,
    ) -> Self {
        let Some(context) = parent.or_else(|| TraceParent::root(id)) else {
            return Self { context: None, recorded: None };
        };
        match export::Recorded::start(kind, operation, destination, context, parent.is_some()) {
            Some((context, recorded)) => Self { context: Some(context), recorded: Some(recorded) },
            // A step that records nothing passes on the context it received.
            None => Self { context: Some(context), recorded: None },
        }
    }

    /// The parent for the next step; `None` without a trace.
    #[must_use]
    pub fn context(&self) -> Option<TraceParent> {
        self.context
    }

    /// The trace's id: 32 hexadecimal digits; `None` without a trace.
    #[must_use]
    pub fn trace_id(&self) -> Option<String> {
        self.context.map(|context| context.trace_id())
    }

    /// Sets a text attribute.
    pub fn set(&mut self, name: &'static str, value: impl fmt::Display) {
        if let Some(recorded) = &mut self.recorded {
            recorded.set(name, value.to_string());
        }
    }

    /// Sets a whole number.
    pub fn set_number(&mut self, name: &'static str, value: i64) {
        if let Some(recorded) = &mut self.recorded {
            recorded.set(name, value);
        }
    }

    /// Marks the step as failed, with the reason.
    pub fn fail(&mut self, reason: impl fmt::Display) {
        if let Some(recorded) = &mut self.recorded {
            recorded.fail(reason.to_string());
        }
    }

    /// Ends the span at a time in the past.
    pub fn end_at(self, at: SystemTime) {
        if let Some(recorded) = self.recorded {
            recorded.end_at(at);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";

    #[test]
    fn a_later_version_is_read_as_far_as_it_is_known() {
        let parent = TraceParent::parse(&format!("00-{TRACE}-b7ad6b7169203331-01")).unwrap();
        for later in ["01-TRACE-b7ad6b7169203331-01", "cc-TRACE-b7ad6b7169203331-09-more-of-it"] {
            assert_eq!(TraceParent::parse(&later.replace("TRACE", TRACE)), Some(parent), "{later}");
        }
    }

    #[test]
    fn what_is_not_a_trace_context_is_none() {
        for text in [
            "",
            "00",
            "00-TRACE-b7ad6b7169203331",
            "00-TRACE-b7ad6b7169203331-01-",
            "00-TRACE-b7ad6b7169203331-01-more",
            "00-TRACE-b7ad6b7169203331-1",
            "00-TRACE-B7AD6B7169203331-01",
            "00-TRACE-+7ad6b7169203331-01",
            "00-TRACE-0000000000000000-01",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "ff-TRACE-b7ad6b7169203331-01",
            "01-TRACE-b7ad6b7169203331-01more",
            " 00-TRACE-b7ad6b7169203331-01",
        ] {
            assert_eq!(TraceParent::parse(&text.replace("TRACE", TRACE)), None, "{text}");
        }
    }

    #[test]
    fn a_step_that_records_nothing_passes_on_what_came() {
        let parent = TraceParent::parse(&format!("00-{TRACE}-b7ad6b7169203331-01"));
        let start = |id, parent| Span::start(SpanKind::Consumer, "process", "quotes", id, parent).context();
        assert_eq!(start(7, parent), parent);
        assert_eq!(
            start(7, None).map(|it| it.to_string()).as_deref(),
            Some("00-00000000000000000000000000000007-0000000000000007-00")
        );
        assert_eq!(start(0, None), None);
    }

    proptest! {
        #[test]
        fn any_text_is_a_context_or_none(text in any::<String>()) {
            let _ = TraceParent::parse(&text);
        }

        #[test]
        fn what_is_written_is_read_again(id in 1u128.., span_id in 1u64.., flags in 0..=KNOWN_FLAGS) {
            let parent = TraceParent { trace_id: id, span_id, flags };
            prop_assert_eq!(TraceParent::parse(&parent.to_string()), Some(parent));
        }

        #[test]
        fn every_trace_has_a_beginning_that_can_be_passed_on(id in 1u128..) {
            let root = TraceParent::root(id).unwrap();
            prop_assert_eq!(TraceParent::parse(&root.to_string()), Some(root));
        }
    }
}
