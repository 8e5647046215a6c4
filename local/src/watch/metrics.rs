//! The functions' own metrics, those that AWS reports about them in the cloud, and the stores' counts. They are shown
//! as Prometheus' text, in the report and in `quoteflow status`.
//!
//! Names: a count `Loaded` of the functions' logs is `quoteflow_loaded_total{function="load-quotes"}`, durations
//! `LoadSeconds` are the summary `quoteflow_load_seconds`. All begin at 0 with each run.

use std::{
    collections::BTreeMap,
    num::NonZeroU32,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use ::metrics::{Counter, Key, Label, Level, Metadata, Recorder};
use anyhow::Context;
use axum::{Json, Router, extract::State, http::header::CONTENT_TYPE, routing::get};
use function_kit::lock;
use hdrhistogram::Histogram;
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusRecorder};
use metrics_util::MetricKindMask;
use runtime_api::{Function, InvokeError};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::{net::TcpListener, task::JoinHandle, time::Instant};

use crate::{
    base::{
        endpoints::{FUNCTIONS_PATH, METRICS_PATH},
        names,
    },
    watch::{
        emf::{self, Sample},
        store_counts::Counts,
    },
};

/// Prometheus' text format. <https://prometheus.io/docs/instrumenting/exposition_formats/>
const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";
/// Summaries cover the last 5 minutes, in parts of 30 s of which the oldest is dropped.
const PARTS: NonZeroU32 = NonZeroU32::MIN.saturating_add(10);
const PART: Duration = Duration::from_secs(30);
/// An idle summary is left out just before its window is empty, because the exporter would show the quantiles of no
/// values as 0.
const IDLE: Duration = Duration::from_secs(290);
const QUANTILES: [f64; 3] = [0.5, 0.95, 1.0];
/// A quarter of an hour, the longest that a function may run, in milliseconds.
const LONGEST: u64 = 900_000;
const METADATA: Metadata<'static> = Metadata::new("quoteflow", Level::INFO, None);

/// The metrics' definitions, which Terraform and the functions read, too.
const CATALOGUE: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../infra/metrics.json"));

#[derive(Deserialize)]
struct Catalogue {
    metrics: Vec<Metric>,
}

#[derive(Deserialize)]
struct Metric {
    name: String,
    #[serde(rename = "type")]
    kind: Kind,
    /// The functions that write it; none if it is measured here.
    #[serde(default)]
    functions: Vec<String>,
    #[serde(default = "by_function")]
    labels: Vec<String>,
    help: String,
}

#[derive(Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
enum Kind {
    Counter,
    Gauge,
    Summary,
}

impl Metric {
    /// Whether all its series are known at the start.
    fn is_a_functions_count(&self) -> bool {
        self.kind == Kind::Counter && self.labels == by_function()
    }
}

fn by_function() -> Vec<String> {
    vec!["function".to_owned()]
}

fn catalogue() -> anyhow::Result<Vec<Metric>> {
    let Catalogue { metrics } = serde_json::from_str(CATALOGUE).context("infra/metrics.json is not valid")?;
    Ok(metrics)
}

/// Every metric of a run.
pub(crate) struct Metrics {
    recorder: PrometheusRecorder,
    functions: Mutex<BTreeMap<&'static str, Tally>>,
}

struct Tally {
    known: FunctionMetrics,
    /// In milliseconds.
    durations: Histogram<u64>,
}

/// A function's metrics since the run began.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct FunctionMetrics {
    pub invocations: u64,
    /// Invocations that failed.
    pub errors: u64,
    /// Invocations that were throttled.
    pub throttles: u64,
    /// How long they took in all, each rounded up to a millisecond.
    pub busy_ms: u64,
    /// How long they took; `None` before the first.
    pub duration_ms: Option<Durations>,
    /// The function's own counts, such as `Loaded`.
    pub counts: BTreeMap<String, u64>,
    /// Counts such as `Missed`, by reason.
    pub reasons: BTreeMap<String, BTreeMap<String, u64>>,
    /// The error message of the last failed invocation, if it had one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_error: Option<String>,
}

/// Milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Durations {
    pub p50: u64,
    pub p95: u64,
    pub max: u64,
}

impl Metrics {
    pub(crate) fn new() -> anyhow::Result<Self> {
        let recorder = PrometheusBuilder::new()
            .set_quantiles(&QUANTILES)?
            .set_bucket_duration(PART)?
            .set_bucket_count(PARTS)
            .idle_timeout(MetricKindMask::HISTOGRAM, Some(IDLE))
            .build_recorder();
        let catalogue = catalogue()?;
        for Metric { name, kind, help, .. } in &catalogue {
            let (name, help) = (snake_case(name), help.clone().into());
            match kind {
                Kind::Counter => recorder.describe_counter(full_name(&name, "_total").into(), None, help),
                Kind::Gauge => recorder.describe_gauge(full_name(&name, "").into(), None, help),
                Kind::Summary => recorder.describe_histogram(full_name(&name, "").into(), None, help),
            }
        }
        let tally = |function| {
            let durations = Histogram::new_with_max(LONGEST, 3)?;
            anyhow::Ok((function, Tally { known: FunctionMetrics::default(), durations }))
        };
        let functions = names::FUNCTIONS.into_iter().map(tally).collect::<anyhow::Result<_>>()?;
        let metrics = Self { recorder, functions: Mutex::new(functions) };
        // The series exist from the start, so that no alert reads a missing series.
        for Metric { name, functions, .. } in catalogue.iter().filter(|one| one.is_a_functions_count()) {
            for function in functions {
                metrics.count(function, name, None, 0);
            }
            for function in names::FUNCTIONS.iter().filter(|_| functions.is_empty()) {
                metrics.counter(&snake_case(name), function, None).absolute(0);
            }
        }
        Ok(metrics)
    }

    /// Adds the metrics in a line of the function's log, given as JSON, if it has any.
    pub(crate) fn add_line(&self, function: &str, line: &Value) {
        for Sample { name, reason, values } in emf::samples(line) {
            if name.ends_with("Seconds") {
                let labels = vec![Label::new("function", function.to_owned())];
                for seconds in values {
                    self.add_seconds(&snake_case(&name), labels.clone(), seconds);
                }
            } else {
                self.count(function, &name, reason.as_deref(), whole(values.iter().sum()));
            }
        }
    }

    /// Notes an invocation that has ended.
    pub(crate) fn add_invocation(&self, function: &str, took: Duration) {
        self.counter("invocations", function, None).increment(1);
        let labels = vec![Label::new("function", function.to_owned())];
        self.add_seconds("duration_seconds", labels, took.as_secs_f64());
        self.tally(function, |tally| {
            tally.known.invocations += 1;
            tally.known.busy_ms += u64::try_from(took.as_micros().div_ceil(1_000)).unwrap_or(LONGEST);
            tally.durations.saturating_record(u64::try_from(took.as_millis()).unwrap_or(LONGEST));
        });
    }

    /// Notes that an invocation has failed.
    pub(crate) fn add_error(&self, function: &str) {
        self.counter("errors", function, None).increment(1);
        self.tally(function, |tally| tally.known.errors += 1);
    }

    /// How many invocations of the function were throttled.
    pub(crate) fn throttles(&self, function: &str) -> u64 {
        self.tallies().get(function).map_or(0, |tally| tally.known.throttles)
    }

    /// How many invocations have failed according to the functions' logs. The callers of archive-quotes and of
    /// transform-quotes count those functions' failures, which may be in no log.
    pub(crate) fn failed(&self) -> u64 {
        let tallies = self.tallies();
        let errors = |function| tallies.get(function).map_or(0, |tally| tally.known.errors);
        [names::FETCH, names::LOAD, names::RECONCILE, names::SERVE].map(errors).iter().sum()
    }

    /// Notes the error message of a failed invocation.
    pub(crate) fn set_last_error(&self, function: &str, message: &str) {
        self.tally(function, |tally| tally.known.last_error = Some(message.to_owned()));
    }

    /// Notes that an invocation was throttled.
    pub(crate) fn add_throttle(&self, function: &str) {
        self.counter("throttles", function, None).increment(1);
        self.tally(function, |tally| tally.known.throttles += 1);
    }

    /// Notes how many invocations were throttled since the run began.
    pub(crate) fn set_throttles(&self, function: &str, throttles: f64) {
        let throttles = whole(throttles);
        self.counter("throttles", function, None).absolute(throttles);
        self.tally(function, |tally| tally.known.throttles = throttles);
    }

    /// Notes how long an invocation of the function may take.
    pub(crate) fn set_timeout(&self, function: &str, timeout: Duration) {
        self.set("timeout_seconds", vec![Label::new("function", function.to_owned())], timeout.as_secs_f64());
    }

    /// Notes that a quote was seen at a stage `milliseconds` after its fetch.
    pub(crate) fn add_latency(&self, stage: &'static str, milliseconds: u64) {
        let labels = vec![Label::new("stage", stage)];
        self.add_seconds("latency_seconds", labels, Duration::from_millis(milliseconds).as_secs_f64());
    }

    /// Notes the stores' counts.
    pub(crate) fn set_stores(&self, counts: &Counts) {
        let labels = |label, value| vec![Label::new(label, value)];
        let lag = [Label::new("topic", names::TOPIC), Label::new("group", names::GROUP)];
        self.set("topic_records", labels("topic", names::TOPIC), float(counts.published));
        self.set("topic_lag", lag.to_vec(), float(counts.lag));
        for (queue, depth) in counts.queues() {
            self.set("queue_messages", labels("queue", queue), float(depth.messages));
            let age = depth.oldest.as_secs_f64();
            self.set("queue_oldest_message_age_seconds", labels("queue", queue), age);
        }
        self.set("objects", labels("bucket", names::BRONZE_BUCKET), float(counts.archived));
        self.set("objects", labels("bucket", names::QUARANTINE_BUCKET), float(counts.quarantined));
        self.set("rows", labels("table", warehouse::BRONZE_TABLE), float(counts.loaded));
        self.set("rows", labels("table", names::SILVER_TABLE), float(counts.silver));
    }

    /// Invokes a function that this process runs, and notes the outcome.
    ///
    /// # Errors
    /// As [`Function::invoke`].
    pub(crate) async fn invoke(&self, function: &Function, event: String) -> Result<Vec<u8>, InvokeError> {
        let started = Instant::now();
        let answer = function.invoke(event).await;
        if !matches!(answer, Err(InvokeError::Stopped)) {
            self.add_invocation(function.name(), started.elapsed());
        }
        if matches!(&answer, Err(error) if !matches!(error, InvokeError::Stopped)) {
            self.add_error(function.name());
        }
        answer.map(Vec::from)
    }

    /// Prometheus' text.
    pub(crate) fn text(&self) -> String {
        self.recorder.handle().render()
    }

    /// Updates the summaries, and forgets those without values in the last 5 minutes. Otherwise the exporter does both
    /// only when its text is requested.
    pub(crate) fn tidy(&self) {
        drop(self.text());
    }

    /// Each function's metrics.
    pub(crate) fn functions(&self) -> BTreeMap<String, FunctionMetrics> {
        let known = |Tally { known, durations }: &Tally| FunctionMetrics {
            duration_ms: (!durations.is_empty()).then(|| Durations {
                p50: durations.value_at_quantile(0.5),
                p95: durations.value_at_quantile(0.95),
                max: durations.max(),
            }),
            ..known.clone()
        };
        self.tallies().iter().map(|(function, tally)| ((*function).to_owned(), known(tally))).collect()
    }

    fn count(&self, function: &str, name: &str, reason: Option<&str>, count: u64) {
        self.counter(&snake_case(name), function, reason).increment(count);
        self.tally(function, |Tally { known, .. }| {
            let known = match reason {
                None => known.counts.entry(name.to_owned()),
                Some(reason) => known.reasons.entry(name.to_owned()).or_default().entry(reason.to_owned()),
            };
            *known.or_default() += count;
        });
    }

    fn tally(&self, function: &str, change: impl FnOnce(&mut Tally)) {
        if let Some(tally) = self.tallies().get_mut(function) {
            change(tally);
        }
    }

    fn counter(&self, name: &str, function: &str, reason: Option<&str>) -> Counter {
        let mut labels = vec![Label::new("function", function.to_owned())];
        labels.extend(reason.map(|reason| Label::new("reason", reason.to_owned())));
        self.recorder.register_counter(&Key::from_parts(full_name(name, "_total"), labels), &METADATA)
    }

    fn set(&self, name: &str, labels: Vec<Label>, value: f64) {
        self.recorder.register_gauge(&Key::from_parts(full_name(name, ""), labels), &METADATA).set(value);
    }

    fn add_seconds(&self, name: &str, labels: Vec<Label>, seconds: f64) {
        let key = Key::from_parts(full_name(name, ""), labels);
        self.recorder.register_histogram(&key, &METADATA).record(seconds);
    }

    fn tallies(&self) -> MutexGuard<'_, BTreeMap<&'static str, Tally>> {
        lock(&self.functions)
    }
}

fn full_name(name: &str, suffix: &str) -> String {
    format!("quoteflow_{name}{suffix}")
}

/// `AlreadyArchived` as `already_archived`.
fn snake_case(name: &str) -> String {
    let mut snake = String::with_capacity(name.len() + 4);
    for letter in name.chars() {
        if letter.is_ascii_uppercase() && !snake.is_empty() {
            snake.push('_');
        }
        snake.push(letter.to_ascii_lowercase());
    }
    snake
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a float's cast saturates")]
fn whole(count: f64) -> u64 {
    count.round() as u64
}

#[allow(clippy::cast_precision_loss, reason = "exact up to 2^53")]
fn float(count: u64) -> f64 {
    count as f64
}

/// Serves the metrics until it is dropped.
pub(crate) struct Server(JoinHandle<std::io::Result<()>>);

impl Server {
    /// Listens at `url` (`http://127.0.0.1:14505/metrics`), which returns Prometheus' text. The functions' metrics are
    /// at [`FUNCTIONS_PATH`].
    ///
    /// `also` is served beside them.
    pub(crate) async fn start(url: &str, metrics: Arc<Metrics>, also: Router) -> anyhow::Result<Self> {
        let address = url.trim_start_matches("http://").trim_end_matches(METRICS_PATH);
        let cannot = || format!("the metrics cannot be served on {address}");
        let listener = TcpListener::bind(address).await.with_context(cannot)?;
        let text = async |State(metrics): State<Arc<Metrics>>| ([(CONTENT_TYPE, TEXT)], metrics.text());
        let json = async |State(metrics): State<Arc<Metrics>>| Json(metrics.functions());
        let router = Router::new()
            .route(METRICS_PATH, get(text))
            .route(FUNCTIONS_PATH, get(json))
            .with_state(metrics)
            .merge(also);
        Ok(Self(tokio::spawn(async move { axum::serve(listener, router).await })))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.0.abort();
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn line(names: &[&str], dimensions: &[&str], members: Value) -> Value {
        let metrics: Vec<Value> = names.iter().map(|name| json!({ "Name": name })).collect();
        let directive = json!({ "Namespace": "Quoteflow", "Dimensions": [dimensions], "Metrics": metrics });
        let mut line = members;
        line["_aws"] = json!({ "Timestamp": 1, "CloudWatchMetrics": [directive] });
        line
    }

    fn shows(metrics: &Metrics, line: &str) -> bool {
        metrics.text().lines().any(|shown| shown == line)
    }

    #[test]
    fn counts_of_several_lines_add_up_and_those_with_a_reason_stay_apart() {
        let metrics = Metrics::new().unwrap();
        for loaded in [2, 3] {
            metrics.add_line(names::LOAD, &line(&["Loaded"], &["function"], json!({ "Loaded": loaded })));
        }
        for (reason, missed) in [("timeout", 1), ("rate_limited", 4), ("timeout", 1)] {
            let members = json!({ "reason": reason, "Missed": missed });
            metrics.add_line(names::FETCH, &line(&["Missed"], &["function", "reason"], members));
        }
        assert!(shows(&metrics, r#"quoteflow_loaded_total{function="load-quotes"} 5"#), "{}", metrics.text());
        let missed = r#"quoteflow_missed_total{function="fetch-quotes",reason="timeout"} 2"#;
        assert!(shows(&metrics, missed), "{}", metrics.text());
        let functions = metrics.functions();
        assert_eq!(functions[names::LOAD].counts["Loaded"], 5);
        assert_eq!(functions[names::FETCH].reasons["Missed"]["rate_limited"], 4);
    }

    #[test]
    fn every_known_count_is_there_before_anything_happens_and_no_summary_is() {
        let metrics = Metrics::new().unwrap();
        for Metric { name, functions, .. } in
            catalogue().unwrap().iter().filter(|one| one.is_a_functions_count())
        {
            let all = names::FUNCTIONS.map(str::to_owned).to_vec();
            for function in if functions.is_empty() { &all } else { functions } {
                let name = snake_case(name);
                let zero = format!(r#"quoteflow_{name}_total{{function="{function}"}} 0"#);
                assert!(shows(&metrics, &zero), "{zero}\n{}", metrics.text());
            }
        }
        for known in
            [r#"loaded_total{function="load-quotes"}"#, r#"errors_total{function="serve-dashboard"}"#]
        {
            assert!(shows(&metrics, &format!("quoteflow_{known} 0")), "{}", metrics.text());
        }
        assert!(!metrics.text().contains("summary"), "{}", metrics.text());
    }

    #[test]
    fn durations_are_summaries_with_the_longest_of_them() {
        let metrics = Metrics::new().unwrap();
        let members = json!({ "TransformSeconds": [1.0, 2.0, 8.0] });
        metrics.add_line(names::TRANSFORM, &line(&["TransformSeconds"], &["function"], members));
        let text = metrics.text();
        assert!(text.contains("# TYPE quoteflow_transform_seconds summary"), "{text}");
        assert!(text.contains("# HELP quoteflow_transform_seconds Time that"), "{text}");
        for (series, expected) in [
            (r#"{function="transform-quotes",quantile="0.5"}"#, 2.0),
            (r#"{function="transform-quotes",quantile="1"}"#, 8.0),
            (r#"_sum{function="transform-quotes"}"#, 11.0),
            (r#"_count{function="transform-quotes"}"#, 3.0),
        ] {
            let value = text
                .lines()
                .find_map(|line| line.strip_prefix("quoteflow_transform_seconds")?.strip_prefix(series));
            let value: f64 = value.unwrap_or_else(|| panic!("{series}\n{text}")).trim().parse().unwrap();
            // Quantiles are exact to a ten-thousandth.
            assert!((value - expected).abs() <= expected / 1000.0, "{series} {value}");
        }
    }

    #[test]
    fn errors_and_durations_of_invocations_are_known_by_function() {
        let metrics = Metrics::new().unwrap();
        metrics.add_invocation(names::LOAD, Duration::from_millis(40));
        metrics.add_invocation(names::LOAD, Duration::from_millis(400));
        metrics.add_error(names::LOAD);
        let functions = metrics.functions();
        let load = &functions[names::LOAD];
        assert_eq!((load.invocations, load.errors), (2, 1));
        assert_eq!(load.duration_ms, Some(Durations { p50: 40, p95: 400, max: 400 }));
        assert_eq!(functions[names::ARCHIVE].duration_ms, None);
    }
}
