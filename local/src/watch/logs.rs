//! The functions' logs, which are kept in the data folder and evaluated for metrics. The logs of the functions behind
//! the AWS endpoint are read from its CloudWatch, and evaluated for invocations, too.

use std::{
    collections::{HashMap, HashSet},
    fs::File,
    io::Write,
    sync::{Arc, Mutex},
    time::Duration,
};

use anyhow::Context;
use jiff::Timestamp;
use runtime_api::LogSink;
use serde_json::Value;

use crate::{
    base::{
        data_dir::DataDir,
        names::{self, Limits},
    },
    servers::aws::{Aws, LogEvent},
    watch::metrics::Metrics,
};

/// How long after a line with a later timestamp a line may still arrive, in milliseconds.
const OVERLAP_MS: i64 = 10_000;
/// The most lines of an answer. If the server returns no token for the rest, the lines after the last one are
/// requested.
const FULL: usize = 10_000;

/// A new log in the data folder for a function that this process runs. The function's metrics are read from its lines,
/// too.
///
/// # Errors
/// If the log cannot be created.
pub(crate) fn of_hosted(
    data: &DataDir,
    name: &'static str,
    metrics: &Arc<Metrics>,
) -> anyhow::Result<LogSink> {
    let log = Mutex::new(File::create(data.log(name))?);
    let metrics = Arc::clone(metrics);
    Ok(Arc::new(move |line| {
        if let Ok(line) = serde_json::from_str(line) {
            metrics.add_line(name, &line);
        }
        if let Ok(mut log) = log.lock() {
            let _ = writeln!(log, "{line}");
        }
    }))
}

/// Reads what the functions log from the start of the run on.
pub(crate) struct Logs {
    aws: Aws,
    since: Timestamp,
    groups: Vec<Group>,
    /// The warnings that were logged: a server without logs is reported once.
    warned: HashSet<&'static str>,
}

/// The log of one function.
struct Group {
    function: &'static str,
    timeout: Duration,
    lines: Lines,
    /// The streams whose running invocation has failed. A stream contains one invocation after the other.
    failing: HashSet<String>,
    file: File,
}

impl Logs {
    /// The logs of the functions from `since` on. Each function is given with its timeout.
    ///
    /// # Errors
    /// If the logs in the data folder cannot be created.
    pub(crate) fn new(
        aws: Aws,
        data: &DataDir,
        functions: &[(&'static str, Limits)],
        since: Timestamp,
    ) -> anyhow::Result<Self> {
        let group = |(function, limits): &(&'static str, Limits)| {
            let path = data.log(function);
            let file =
                File::create(&path).with_context(|| format!("{} cannot be written", path.display()))?;
            let lines = Lines::new(since.as_millisecond());
            anyhow::Ok(Group { function, timeout: limits.timeout(), lines, failing: HashSet::new(), file })
        };
        let groups = functions.iter().map(group).collect::<anyhow::Result<_>>()?;
        Ok(Self { aws, since, groups, warned: HashSet::new() })
    }

    /// Reads the lines logged since the last call.
    pub(crate) async fn gather(&mut self, metrics: &Metrics) {
        for group in &mut self.groups {
            if let Err(error) = group.gather(&self.aws, metrics).await
                && self.warned.insert("logs")
            {
                tracing::warn!(
                    "the functions' logs cannot be read, so their metrics are incomplete: {error:#}"
                );
            }
        }
        if let Err(error) = self.throttles(metrics).await
            && self.warned.insert("throttles")
        {
            tracing::warn!("the number of throttled invocations is unknown: {error:#}");
        }
    }

    async fn throttles(&self, metrics: &Metrics) -> anyhow::Result<()> {
        // archive-quotes is counted by its caller, the bridge.
        let functions = [names::FETCH, names::LOAD, names::RECONCILE];
        let throttles = self.aws.cloudwatch.sums("Throttles", functions, self.since).await?;
        for (function, throttles) in functions.into_iter().zip(throttles) {
            metrics.set_throttles(function, throttles);
        }
        Ok(())
    }
}

impl Group {
    async fn gather(&mut self, aws: &Aws, metrics: &Metrics) -> anyhow::Result<()> {
        loop {
            let log = format!("/aws/lambda/{}", self.function);
            let events = aws.cloudwatch.log_events(&log, self.lines.since).await?;
            let full = events.len() >= FULL;
            let new = self.lines.new_ones(events);
            for (stream, line) in &new {
                self.read(metrics, stream, line);
            }
            for (_, line) in &new {
                writeln!(self.file, "{line}")?;
            }
            if !full {
                return Ok(());
            }
        }
    }

    fn read(&mut self, metrics: &Metrics, stream: &str, line: &str) {
        if let Some(Ended { took, failed }) = Ended::read(line) {
            metrics.add_invocation(self.function, took);
            let failing = self.failing.remove(stream);
            // The bridge, its caller, counts the errors of archive-quotes.
            if (failing || failed || took >= self.timeout) && self.function != names::ARCHIVE {
                metrics.add_error(self.function);
            }
            return;
        }
        match serde_json::from_str::<Value>(line) {
            Ok(json) if is_failure(&json) => {
                metrics.set_last_error(
                    self.function,
                    json.get("message").and_then(Value::as_str).unwrap_or(line),
                );
                self.failing.insert(stream.to_owned());
            }
            Ok(json) => metrics.add_line(self.function, &json),
            Err(_) if line.contains("panicked at") => {
                metrics.set_last_error(self.function, line);
                self.failing.insert(stream.to_owned());
            }
            Err(_) => {}
        }
    }
}

/// Whether `function_kit::run` logged the line for a failed invocation or a failed start.
fn is_failure(line: &Value) -> bool {
    line.get("level").and_then(Value::as_str) == Some("ERROR") && line.get("error_type").is_some()
}

/// Lambda's log line at the end of an invocation:
/// `REPORT RequestId: ...<tab>Duration: 12.3 ms<tab>...<tab>Status: timeout`.
/// <https://docs.aws.amazon.com/lambda/latest/dg/monitoring-cloudwatchlogs-view.html>
#[derive(Debug, PartialEq)]
struct Ended {
    took: Duration,
    failed: bool,
}

impl Ended {
    fn read(line: &str) -> Option<Self> {
        let fields = line.strip_prefix("REPORT RequestId: ")?.split('\t').map(str::trim);
        let value = |name| fields.clone().find_map(|field| field.strip_prefix(name));
        let milliseconds: f64 = value("Duration: ")?.strip_suffix(" ms")?.parse().ok()?;
        let took = Duration::try_from_secs_f64(milliseconds / 1000.0).ok()?;
        Some(Self { took, failed: value("Status: ").is_some() })
    }
}

/// Finds the new events of a log. The log is requested repeatedly from `since` on. Each answer overlaps the previous
/// one, because events may arrive late, and several may have the same millisecond.
struct Lines {
    /// The first millisecond to request.
    since: i64,
    /// The events from `since` on that were read already, with their times.
    taken: HashMap<EventId, i64>,
}

/// An event's identity: the server's id, or its number among identical events of its stream.
#[derive(PartialEq, Eq, Hash)]
enum EventId {
    Given(String),
    Place { stream: String, timestamp: i64, message: String, number: usize },
}

impl Lines {
    fn new(since: i64) -> Self {
        Self { since, taken: HashMap::new() }
    }

    /// The streams and messages of the events that were not in an earlier answer. `events` are all events of the log
    /// from `since` on, or the oldest of them.
    fn new_ones(&mut self, events: Vec<LogEvent>) -> Vec<(String, String)> {
        let overlap = if events.len() >= FULL { 0 } else { OVERLAP_MS };
        let newest = events.iter().map(|event| event.timestamp).max().unwrap_or(self.since);
        let mut same: HashMap<(String, i64, String), usize> = HashMap::new();
        let mut new = Vec::new();
        for LogEvent { log_stream_name: stream, timestamp, message, event_id } in events {
            let id = event_id.map_or_else(
                || {
                    let number = same.entry((stream.clone(), timestamp, message.clone())).or_default();
                    *number += 1;
                    EventId::Place {
                        stream: stream.clone(),
                        timestamp,
                        message: message.clone(),
                        number: *number,
                    }
                },
                EventId::Given,
            );
            if self.taken.insert(id, timestamp).is_none() {
                new.push((stream, message));
            }
        }
        self.since = self.since.max(newest - overlap);
        self.taken.retain(|_, timestamp| *timestamp >= self.since);
        new
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::watch::screen;

    fn event(stream: &str, timestamp: i64, message: &str) -> LogEvent {
        LogEvent { log_stream_name: stream.into(), timestamp, message: message.into(), event_id: None }
    }

    /// The answer of a server that has these events.
    fn answer(log: &[LogEvent], lines: &Lines) -> Vec<LogEvent> {
        let mut events: Vec<_> = log.iter().filter(|event| event.timestamp >= lines.since).cloned().collect();
        events.sort_by_key(|event| event.timestamp);
        events.truncate(FULL);
        events
    }

    fn messages(new: Vec<(String, String)>) -> Vec<String> {
        new.into_iter().map(|(_, message)| message).collect()
    }

    #[test]
    fn lines_of_the_same_millisecond_are_taken_once_each_however_many_are_the_same() {
        let mut lines = Lines::new(1000);
        let mut log = vec![event("a", 1000, "x"), event("a", 1000, "x"), event("b", 1000, "x")];
        assert_eq!(messages(lines.new_ones(answer(&log, &lines))), ["x", "x", "x"]);
        log.push(event("b", 1000, "x"));
        log.push(event("b", 1000, "y"));
        assert_eq!(messages(lines.new_ones(answer(&log, &lines))), ["x", "y"]);
        assert_eq!(messages(lines.new_ones(answer(&log, &lines))), [""; 0]);
    }

    #[test]
    fn a_line_that_comes_late_is_taken_and_one_of_an_earlier_run_is_not() {
        let mut lines = Lines::new(50_000);
        let mut log = vec![event("a", 49_999, "earlier"), event("a", 70_000, "first")];
        assert_eq!(messages(lines.new_ones(answer(&log, &lines))), ["first"]);
        log.push(event("b", 70_000 - OVERLAP_MS, "late"));
        assert_eq!(messages(lines.new_ones(answer(&log, &lines))), ["late"]);
        log.push(event("b", 90_000, "last"));
        assert_eq!(messages(lines.new_ones(answer(&log, &lines))), ["last"]);
        assert_eq!(messages(lines.new_ones(answer(&log, &lines))), [""; 0]);
    }

    #[test]
    fn the_servers_own_ids_are_used_where_there_are_any() {
        let mut lines = Lines::new(0);
        let named = |id: &str| LogEvent { event_id: Some(id.into()), ..event("", 5, "x") };
        assert_eq!(messages(lines.new_ones(vec![named("1"), named("2")])), ["x", "x"]);
        // Their order may change from answer to answer.
        assert_eq!(messages(lines.new_ones(vec![named("3"), named("2"), named("1")])), ["x"]);
    }

    #[test]
    fn more_lines_than_an_answer_holds_are_all_taken_where_no_token_leads_to_the_rest() {
        let mut lines = Lines::new(0);
        let log: Vec<_> = (0..25_000).map(|number| event("a", number / 7, &number.to_string())).collect();
        let mut taken = Vec::new();
        loop {
            let events = answer(&log, &lines);
            let full = events.len() >= FULL;
            taken.extend(messages(lines.new_ones(events)));
            if !full {
                break;
            }
        }
        let all: Vec<_> = (0..25_000).map(|number| number.to_string()).collect();
        assert_eq!(taken, all);
    }

    #[test]
    fn what_is_remembered_is_bounded_by_the_overlap() {
        let mut lines = Lines::new(0);
        for second in 0..100 {
            lines.new_ones(vec![event("a", second * 1000, "x")]);
        }
        assert!(lines.taken.len() <= 11, "{}", lines.taken.len());
    }

    #[test]
    fn the_end_of_an_invocation_says_how_long_it_took_and_whether_it_was_stopped() {
        let report = |rest: &str| Ended::read(&format!("REPORT RequestId: 8f5e\tDuration: {rest}"));
        let took = |milliseconds| Duration::from_millis(milliseconds);
        let own = "12 ms\tBilled Duration: 12 ms\tMemory Size: 128 MB\tMax Memory Used: 9 MB";
        assert_eq!(report(own), Some(Ended { took: took(12), failed: false }));
        let stopped = "3000.00 ms\tBilled Duration: 3000 ms\tStatus: timeout";
        assert_eq!(report(stopped), Some(Ended { took: took(3000), failed: true }));
        assert_eq!(report("soon"), None);
        for other in ["START RequestId: 8f5e Version: $LATEST", "END RequestId: 8f5e", "REPORT", ""] {
            assert_eq!(Ended::read(other), None, "{other}");
        }
    }

    /// fetch-quotes' log of a minute in which Finnhub began to refuse its requests, and of the next minute.
    fn refused_from_the_middle(status: &str, error_type: &str, failure: &str) -> [Vec<String>; 2] {
        let span = r#""span":{"requestId":"30e67085-e9a1-42e0-8949-d6f80aaf53f9"}"#;
        let line = |level: &str, rest: &str| {
            format!(r#"{{"timestamp":"2026-11-26T05:29:03.348Z","level":"{level}",{rest},{span}}}"#)
        };
        let missed =
            format!(r#""message":"no quote: {status}","symbol":"AAPL","reason":"refused","times":5"#);
        let polled = concat!(
            r#""message":"polled","polls":10,"us_market":"Open","fetched":5,"partial":0,"untraded":0,"#,
            r#""published":5,"undelivered":0,"failed":5,"reasons":{"refused":5},"cut_short":false"#
        );
        let measured = concat!(
            r#"{"_aws":{"Timestamp":1795670943348,"CloudWatchMetrics":[{"Namespace":"Quoteflow","#,
            r#""Dimensions":[["function"]],"Metrics":[{"Name":"Fetched"},{"Name":"Published"}]}]},"#,
            r#""function":"fetch-quotes","Fetched":5,"Published":5}"#
        );
        let failed = format!(r#""message":"{failure}","error_type":"{error_type}""#);
        [
            vec![line("WARN", &missed), line("INFO", polled), measured.to_owned(), end(54_094)],
            vec![line("WARN", &missed), line("ERROR", &failed), end(54_078)],
        ]
    }

    #[test]
    fn a_minute_of_polls_that_all_failed_counts_as_failed_and_one_that_began_well_does_not() {
        for (status, error_type, failure) in [
            (
                "Finnhub refused the key (HTTP 401: Invalid API key)",
                "NonRetryable",
                "Finnhub refused FINNHUB_API_KEY: AAPL: Finnhub refused the key (HTTP 401: Invalid API key)",
            ),
            (
                "Finnhub refused the key (HTTP 403)",
                "NonRetryable",
                "FINNHUB_API_KEY may not read any of SYMBOLS: AAPL: the key may not read this symbol (HTTP 403)",
            ),
            (
                "Finnhub answered HTTP 500",
                "Retryable",
                "Kafka did not acknowledge 5 of 5 quotes: Message timed out",
            ),
        ] {
            let (metrics, mut group) = (Metrics::new().unwrap(), group(names::FETCH));
            group.timeout = Duration::from_secs(75);
            let [first, second] = refused_from_the_middle(status, error_type, failure);
            for line in &first {
                group.read(&metrics, "one", line);
            }
            let fetch = |metrics: &Metrics| metrics.functions()[names::FETCH].clone();
            assert_eq!((metrics.failed(), fetch(&metrics).counts["Fetched"]), (0, 5));
            for line in &second {
                group.read(&metrics, "one", line);
            }
            assert_eq!((metrics.failed(), fetch(&metrics).invocations), (1, 2));
            let said = screen::failures(&metrics.functions());
            assert_eq!(said, [format!("fetch-quotes failed once: {failure}")]);
        }
    }

    fn group(function: &'static str) -> Group {
        let lines = Lines::new(0);
        let file = tempfile::tempfile().unwrap();
        Group { function, timeout: Duration::from_secs(30), lines, failing: HashSet::new(), file }
    }

    fn end(milliseconds: u32) -> String {
        format!("REPORT RequestId: 1\tDuration: {milliseconds} ms\tBilled Duration: 1 ms")
    }

    #[test]
    fn an_invocation_fails_once_by_its_error_by_a_panic_or_by_its_timeout() {
        let failure = r#"{"level":"ERROR","error_type":"Retryable","message":"no answer"}"#;
        for (said, took, errors) in [
            (vec![failure], 5, 1),
            (vec![failure, failure], 30_000, 1),
            (vec!["thread 'main' panicked at src/lib.rs:1:1:"], 5, 1),
            (vec![], 30_000, 1),
            (vec![r#"{"level":"ERROR","message":"one of many"}"#], 5, 0),
            (vec!["odd { line", "[1]", "null"], 5, 0),
        ] {
            let (metrics, mut group) = (Metrics::new().unwrap(), group(names::LOAD));
            for line in &said {
                group.read(&metrics, "one", line);
            }
            // Another environment's invocation ends before this one's.
            group.read(&metrics, "other", &end(5));
            group.read(&metrics, "one", &end(took));
            group.read(&metrics, "one", &end(5));
            let load = &metrics.functions()[names::LOAD];
            assert_eq!((load.invocations, load.errors), (3, errors), "{said:?}");
        }
    }
}
