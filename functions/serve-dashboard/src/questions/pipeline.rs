//! How quotes move through the flow. `make local` measures every station; elsewhere only the warehouse's figures are known, and
//! the others are null.

use std::time::Instant;

use jiff::Timestamp;
use serde::Serialize;

use super::{
    health::{self, Arrival},
    kpi::{self, Kpi},
};
use crate::{
    flow::{Measured, Station, Stations},
    parameters::Query,
    problem::Problem,
    question::{AnswerError, Answered, Context, Question},
    reads::{Pace, now},
};

#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct PipelineQuestion;

/// How quotes move through the flow.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct PipelineAnswer {
    measured_by: Source,
    #[serde(flatten)]
    measured: Measured,
}

/// flow: the flow measures itself (make local). warehouse: what BigQuery knows.
#[derive(Serialize)]
#[serde(rename_all = "lowercase")]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(inline))]
enum Source {
    Flow,
    Warehouse,
}

impl Question for PipelineQuestion {
    const NAME: &'static str = "pipeline";
    type Answer = PipelineAnswer;

    fn parse(_: &Query) -> Result<Self, Problem> {
        Ok(Self)
    }

    async fn answer(
        &self,
        context: &Context,
        until: Instant,
    ) -> Result<Answered<PipelineAnswer>, AnswerError> {
        if let Some(flow) = &context.flow
            && let Some(report) = flow.report().await
        {
            let answer = PipelineAnswer { measured_by: Source::Flow, measured: report.measured };
            return Ok(context.answered(answer, now(), Pace::Tiles));
        }
        let quotes = kpi::latest(context, until).await?.figures;
        let arrivals = health::arrivals(context, until).await?;
        let settled_at = context.reads.settled_at(until).await;
        let answer = PipelineAnswer::of_warehouse(&arrivals.figures, &quotes, settled_at);
        Ok(context.answered(answer, arrivals.as_of, Pace::Tiles))
    }
}

impl PipelineAnswer {
    /// The warehouse's figures: the rate at bronze, the median time of each symbol's latest quote from the fetch to bronze,
    /// and when dbt settled last.
    fn of_warehouse(arrivals: &[Arrival], quotes: &[Kpi], settled_at: Option<Timestamp>) -> Self {
        let rates: Vec<f64> = arrivals.iter().filter_map(|arrival| arrival.quotes_per_minute).collect();
        let mut took: Vec<f64> = quotes
            .iter()
            .filter_map(|quote| Some(quote.loaded_at?.duration_since(quote.fetched_at).as_secs_f64()))
            .filter(|seconds| *seconds >= 0.0)
            .collect();
        took.sort_by(f64::total_cmp);
        let bronze = Station {
            quotes_per_minute: (!rates.is_empty()).then(|| rounded(rates.iter().sum())),
            p50_seconds: took.get(took.len() / 2).copied(),
            ..Station::default()
        };
        let stations = Stations { bronze, ..Stations::default() };
        Self { measured_by: Source::Warehouse, measured: Measured { trouble: None, settled_at, stations } }
    }
}

fn rounded(rate: f64) -> f64 {
    (rate * 10.0).round() / 10.0
}

#[cfg(test)]
impl crate::openapi::Examples for PipelineQuestion {
    fn examples() -> Vec<(&'static str, PipelineAnswer)> {
        let station = |rate, p50, p95| Station {
            quotes_per_minute: Some(rate),
            p50_seconds: p50,
            p95_seconds: p95,
            failures: Some(0),
            ..Station::default()
        };
        let missed = [("Finnhub's limit was reached".to_owned(), 3)];
        let stations = Stations {
            fetch: Station { missed: Some(missed.into()), ..station(48.5, None, None) },
            kafka: Station { waiting: Some(0), failures: None, ..station(48.5, Some(0.01), Some(0.02)) },
            s3: Station { waiting: Some(2), dead_letters: Some(0), ..station(48.5, Some(0.6), Some(1.9)) },
            bronze: Station { dead_letters: Some(0), ..station(48.0, Some(2.1), Some(3.4)) },
            gold: station(48.0, Some(2.2), Some(3.6)),
        };
        let measured = Measured {
            trouble: Some("Finnhub's limit of 60 requests a minute is reached (HTTP 429)".to_owned()),
            settled_at: "2026-08-03T14:03:00Z".parse().ok(),
            stations,
        };
        let settled_at = "2026-08-03T14:00:09Z".parse().ok();
        vec![
            ("measured by the flow", PipelineAnswer { measured_by: Source::Flow, measured }),
            ("what the warehouse knows", PipelineAnswer::of_warehouse(&[], &[], settled_at)),
        ]
    }
}
