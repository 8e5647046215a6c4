//! The figures of each station of the flow for the page, which serve-dashboard requests at [`PIPELINE_PATH`].

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use axum::{Json, Router, extract::State, routing::get};
use function_kit::lock;
use jiff::Timestamp;
use serve_dashboard::flow::{MarketStatus, Measured, Report, Station, Stations};

use crate::{
    base::{endpoints::PIPELINE_PATH, names},
    watch::{
        latencies::{Latency, Stage},
        metrics::FunctionMetrics,
        store_counts::Counts,
    },
};

/// The time over which rates are measured: ten polls of the usual interval. Older prices are called stale.
const WINDOW: Duration = Duration::from_mins(1);
/// The shortest time over which a rate is measured.
const LEAST: Duration = Duration::from_secs(10);
/// Figures are measured every 2 s. If they are older than this, a store does not answer.
const OLD: Duration = Duration::from_secs(15);
const MINUTE: f64 = 60.0;

type Shared = Arc<Mutex<(Instant, Report)>>;

/// The state of the flow at one moment.
pub(crate) struct Snapshot<'a> {
    /// Quotes fetched in this run.
    pub fetched: u64,
    pub counts: Counts,
    pub latencies: &'a BTreeMap<Stage, Latency>,
    pub functions: &'a BTreeMap<String, FunctionMetrics>,
    /// Finnhub's market status.
    pub market: Option<MarketStatus>,
    /// Why no quotes arrive, or what failed.
    pub trouble: Option<String>,
}

/// Measures the flow.
pub(crate) struct Pipeline {
    /// How many quotes had reached each station, in the stations' order.
    samples: VecDeque<(Instant, [u64; 5])>,
    /// How many runs of dbt have succeeded, and when the last one was seen.
    settled: (u64, Option<Timestamp>),
    shared: Shared,
}

impl Pipeline {
    pub(crate) fn new() -> Self {
        let shared = Arc::new(Mutex::new((Instant::now(), Report::default())));
        Self { samples: VecDeque::new(), settled: (0, None), shared }
    }

    /// Answers with the latest figures.
    pub(crate) fn router(&self) -> Router {
        let answer = async |State(shared): State<Shared>| Json(current(&shared));
        Router::new().route(PIPELINE_PATH, get(answer)).with_state(Arc::clone(&self.shared))
    }

    /// Notes that polling begins, every `interval`. The first poll's quotes count for one interval, and no station can
    /// have more quotes than the station before it.
    pub(crate) fn begin(&mut self, interval: Duration) {
        let now = Instant::now();
        self.samples = [(now.checked_sub(interval.min(WINDOW)).unwrap_or(now), [0; 5])].into();
    }

    pub(crate) fn note(&mut self, snapshot: &Snapshot) {
        let report =
            Report { market: snapshot.market.clone(), measured: self.measured(snapshot, Instant::now()) };
        *lock(&self.shared) = (Instant::now(), report);
    }

    fn measured(&mut self, snapshot: &Snapshot, now: Instant) -> Measured {
        let reached = |stage| snapshot.latencies.get(&stage).map_or(0, |latency| latency.quotes);
        self.samples.push_back((
            now,
            [
                snapshot.fetched,
                reached(Stage::KafkaAck),
                reached(Stage::Object),
                reached(Stage::BronzeRow),
                reached(Stage::GoldRow),
            ],
        ));
        while self.samples.front().is_some_and(|(at, _)| now.duration_since(*at) > WINDOW) {
            self.samples.pop_front();
        }
        let known = |function: &str| snapshot.functions.get(function).cloned().unwrap_or_default();
        let settled = known(names::TRANSFORM);
        let runs = settled.invocations - settled.errors.min(settled.invocations);
        if runs > self.settled.0 {
            let second = Timestamp::from_second(Timestamp::now().as_second()).ok();
            self.settled = (runs, second);
        }
        let station = |number: usize, stage: Option<Stage>, function: Option<&str>| {
            let latency =
                stage.and_then(|stage| snapshot.latencies.get(&stage)).filter(|known| known.quotes > 0);
            let function = function.map(known);
            Station {
                quotes_per_minute: self.rate(number),
                p50_seconds: latency.map(|latency| seconds(latency.p50)),
                p95_seconds: latency.map(|latency| seconds(latency.p95)),
                failures: function.as_ref().map(|function| function.errors),
                last_failure: function.and_then(|function| function.last_error),
                ..Station::default()
            }
        };
        let missed = known(names::FETCH).reasons.remove("Missed").unwrap_or_default();
        let missed = missed.into_iter().filter(|(_, times)| *times > 0);
        let missed = missed.map(|(reason, times)| (in_words(&reason).to_owned(), times)).collect();
        let Counts { lag, to_load, quarantined, dead_letters, .. } = snapshot.counts;
        Measured {
            trouble: snapshot.trouble.clone(),
            settled_at: self.settled.1,
            stations: Stations {
                fetch: Station { missed: Some(missed), ..station(0, None, Some(names::FETCH)) },
                kafka: Station { waiting: Some(lag), ..station(1, Some(Stage::KafkaAck), None) },
                s3: Station {
                    waiting: Some(to_load.messages),
                    dead_letters: Some(quarantined),
                    ..station(2, Some(Stage::Object), Some(names::ARCHIVE))
                },
                bronze: Station {
                    dead_letters: Some(dead_letters.messages),
                    ..station(3, Some(Stage::BronzeRow), Some(names::LOAD))
                },
                gold: station(4, Some(Stage::GoldRow), Some(names::TRANSFORM)),
            },
        }
    }

    /// How many quotes a minute reached the station recently; `None` in a run's first seconds.
    #[allow(clippy::cast_precision_loss, reason = "exact up to 2^53")]
    fn rate(&self, station: usize) -> Option<f64> {
        let ((first, before), (last, now)) = (self.samples.front()?, self.samples.back()?);
        let took = last.duration_since(*first);
        let came = now[station].saturating_sub(before[station]) as f64;
        (took >= LEAST).then(|| (came / took.as_secs_f64() * MINUTE * 10.0).round() / 10.0)
    }
}

/// The latest figures. If they are old, there are no rates, and the trouble is a text without an age, so that the
/// answer does not change.
fn current(shared: &Shared) -> Report {
    let (at, mut report) = lock(shared).clone();
    if at.elapsed() > OLD {
        report.measured.trouble =
            Some("a store of the flow (BigQuery, S3, SQS or Kafka) does not answer".to_owned());
        let Stations { fetch, kafka, s3, bronze, gold } = &mut report.measured.stations;
        for station in [fetch, kafka, s3, bronze, gold] {
            station.quotes_per_minute = None;
        }
    }
    report
}

#[allow(clippy::cast_precision_loss, reason = "exact up to 2^53")]
fn seconds(milliseconds: u64) -> f64 {
    milliseconds as f64 / 1000.0
}

/// The meaning of fetch-quotes' reasons. Other functions' reasons are texts already.
pub(crate) fn in_words(reason: &str) -> &str {
    match reason {
        "no_data" => "Finnhub had no data",
        "network" => "Finnhub did not answer",
        "status" => "Finnhub answered with an error",
        "body" => "Finnhub's answer was not a quote",
        "refused" => "Finnhub refused the key",
        "rate_limited" => "Finnhub's limit was reached",
        "no_turn" => "the rate limit allowed no request",
        "breaker_open" => "skipped while Finnhub did not answer",
        "late" => "the schedule's event came late or not at all",
        "no_time" => "the function's time was over",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn latencies(quotes: u64) -> BTreeMap<Stage, Latency> {
        let of = |p50| Latency { quotes, p50, p95: 2 * p50, max: 3 * p50 };
        [(Stage::KafkaAck, 10), (Stage::Object, 600), (Stage::BronzeRow, 2000), (Stage::GoldRow, 2100)]
            .map(|(stage, p50)| (stage, of(p50)))
            .into()
    }

    fn look(pipeline: &mut Pipeline, at: Instant, quotes: u64) -> Measured {
        let counts = Counts { lag: 3, quarantined: 1, ..Counts::default() };
        let latencies = latencies(quotes);
        let functions = BTreeMap::new();
        let snapshot = Snapshot {
            fetched: quotes,
            counts,
            latencies: &latencies,
            functions: &functions,
            market: None,
            trouble: None,
        };
        pipeline.measured(&snapshot, at)
    }

    #[test]
    fn rates_are_of_the_last_minute_and_not_of_the_first_seconds() {
        let (mut pipeline, start) = (Pipeline::new(), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        assert_eq!(look(&mut pipeline, at(0), 0).stations.fetch.quotes_per_minute, None);
        assert_eq!(look(&mut pipeline, at(2), 5).stations.fetch.quotes_per_minute, None);
        assert_eq!(look(&mut pipeline, at(60), 50).stations.gold.quotes_per_minute, Some(50.0));
        look(&mut pipeline, at(90), 50);
        let measured = look(&mut pipeline, at(121), 50);
        assert_eq!(measured.stations.fetch.quotes_per_minute, Some(0.0), "nothing comes any more");
    }

    #[test]
    fn the_first_poll_is_an_intervals_and_what_is_fetched_before_it_is_seen_counts_at_each_station() {
        let mut pipeline = Pipeline::new();
        pipeline.begin(Duration::from_secs(6));
        let (start, _) = pipeline.samples[0];
        // Five quotes every 6 s. At the first snapshot they are fetched and have reached no other station.
        let mut rates = Vec::new();
        for (second, fetched, others) in [(6, 5, 0), (12, 10, 5), (18, 15, 15)] {
            let (at, latencies, functions) =
                (start + Duration::from_secs(second), latencies(others), BTreeMap::new());
            let counts = Counts::default();
            let snapshot = Snapshot {
                fetched,
                counts,
                latencies: &latencies,
                functions: &functions,
                market: None,
                trouble: None,
            };
            let Stations { fetch, kafka, .. } = pipeline.measured(&snapshot, at).stations;
            rates.push((fetch.quotes_per_minute, kafka.quotes_per_minute));
        }
        assert_eq!(rates, [(None, None), (Some(50.0), Some(25.0)), (Some(50.0), Some(50.0))]);
    }

    #[test]
    fn each_station_says_how_long_quotes_take_and_what_waits_there() {
        let stations = look(&mut Pipeline::new(), Instant::now(), 5).stations;
        assert_eq!((stations.kafka.p50_seconds, stations.kafka.waiting), (Some(0.01), Some(3)));
        assert_eq!((stations.s3.p50_seconds, stations.s3.dead_letters), (Some(0.6), Some(1)));
        assert_eq!((stations.bronze.p95_seconds, stations.bronze.dead_letters), (Some(4.0), Some(0)));
        assert_eq!(stations.gold.p50_seconds, Some(2.1));
    }

    #[test]
    fn old_figures_are_marked_as_old() {
        let mut report = Report::default();
        report.measured.stations.fetch.quotes_per_minute = Some(50.0);
        report.measured.stations.gold.quotes_per_minute = Some(49.0);
        let shared: Shared = Arc::new(Mutex::new((Instant::now(), report.clone())));
        assert_eq!(current(&shared), report);
        shared.lock().unwrap().0 -= OLD + Duration::from_secs(1);
        let old = current(&shared).measured;
        assert!(old.trouble.unwrap().contains("does not answer"));
        assert_eq!(old.stations, Stations::default(), "a rate of the past is not one of now");
    }
}
