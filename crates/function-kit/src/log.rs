//! The log: one line of JSON for each event, with the request's id in `span`.

use std::{
    fmt::{self, Debug},
    panic::PanicHookInfo,
};

use indexmap::IndexMap;
use serde_json::Value;
use tracing::{
    Event, Subscriber,
    field::{Field, Visit},
    level_filters::LevelFilter,
};
use tracing_subscriber::{
    filter::Targets,
    fmt::{
        FmtContext, FormatEvent, FormattedFields,
        format::{JsonFields, Writer},
        time::{FormatTime, SystemTime},
    },
    layer::SubscriberExt,
    registry::LookupSpan,
    util::SubscriberInitExt,
};

/// Starts the log. `function` and the crates of this project log at `level`; a panic is logged like any other failure.
/// Libraries log warnings and errors only: below that, some print what they send, which may contain secrets.
pub(crate) fn start(function: &str, level: LevelFilter) {
    let own = [function, "function-kit", "quotes", "warehouse"].map(|name| (name.replace('-', "_"), level));
    let targets = Targets::new()
        .with_default(level.min(LevelFilter::WARN))
        .with_targets(own)
        // The span with the request's id.
        .with_target("lambda_runtime::layers::trace", LevelFilter::INFO)
        // It would log each failure a second time, as Rust's Debug.
        .with_target("lambda_runtime::layers::panic", LevelFilter::OFF);
    let lines = tracing_subscriber::fmt::layer().fmt_fields(JsonFields::new()).event_format(Line);
    tracing_subscriber::registry().with(targets).with(lines).init();
    std::panic::set_hook(Box::new(log_panic));
}

fn log_panic(panic: &PanicHookInfo<'_>) {
    let at = panic.location().map(ToString::to_string);
    let message = panic.payload_as_str().unwrap_or("no message");
    tracing::error!(error_type = "Panic", at, "panicked: {message}");
}

/// An event as `{"timestamp":…,"level":…,"message":…,<its fields>,"span":{…}}`.
struct Line;

impl<S> FormatEvent<S, JsonFields> for Line
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, JsonFields>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut timestamp = String::new();
        SystemTime.format_time(&mut Writer::new(&mut timestamp))?;
        let mut line = Fields(IndexMap::new());
        line.0.insert("timestamp", timestamp.into());
        line.0.insert("level", event.metadata().level().as_str().into());
        event.record(&mut line);
        if let Some(span) = context.lookup_current()
            && let Some(fields) = span.extensions().get::<FormattedFields<JsonFields>>()
        {
            line.0.insert("span", serde_json::from_str(fields).unwrap_or_default());
        }
        writeln!(writer, "{}", serde_json::to_string(&line.0).map_err(|_| fmt::Error)?)
    }
}

/// The fields of an event, in their order.
struct Fields(IndexMap<&'static str, Value>);

impl Visit for Fields {
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.0.insert(field.name(), value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.0.insert(field.name(), value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.0.insert(field.name(), value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.0.insert(field.name(), value.into());
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.insert(field.name(), value.into());
    }

    /// Rust's Debug of a list or a map of texts and numbers is JSON and is written as JSON. Anything else becomes a
    /// string.
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        let text = format!("{value:?}");
        let structured = (field.name() != "message" && text.starts_with(['[', '{']))
            .then(|| serde_json::from_str(&text).ok())
            .flatten();
        self.0.insert(field.name(), structured.unwrap_or(Value::String(text)));
    }
}

#[cfg(test)]
mod tests {
    use std::{
        collections::BTreeMap,
        io::Write,
        sync::{Arc, Mutex},
    };

    use serde_json::json;

    use super::*;

    #[derive(Clone, Default)]
    struct Sink(Arc<Mutex<Vec<u8>>>);

    impl Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    fn logged(log: impl FnOnce()) -> Value {
        let sink = Sink::default();
        let writer = sink.clone();
        let lines = tracing_subscriber::fmt::layer().fmt_fields(JsonFields::new()).event_format(Line);
        let subscriber = tracing_subscriber::registry().with(lines.with_writer(move || writer.clone()));
        tracing::subscriber::with_default(subscriber, log);
        let bytes = sink.0.lock().unwrap().clone();
        let mut line: Value = serde_json::from_slice(&bytes).unwrap();
        line.as_object_mut().unwrap().remove("timestamp").unwrap();
        line
    }

    #[test]
    fn lists_and_maps_are_lists_and_maps_and_the_span_is_there_once() {
        let line = logged(|| {
            let span = tracing::info_span!("Lambda runtime invoke", requestId = "r1");
            let ids = ["m1", "m\"2"];
            let reasons = BTreeMap::from([("no_data", 2)]);
            span.in_scope(|| {
                tracing::warn!(?ids, ?reasons, failed = 2, none = None::<&str>, "[1] {}", "[2]");
            });
        });
        let expected = json!({ "level": "WARN", "message": "[1] [2]", "ids": ["m1", "m\"2"],
            "reasons": { "no_data": 2 }, "failed": 2, "span": { "requestId": "r1" } });
        assert_eq!(line, expected);
    }
}
