//! All that the page shows, in one answer.

use std::{
    collections::BTreeMap,
    sync::OnceLock,
    time::{Duration, Instant},
};

use jiff::SignedDuration;
use quotes::Symbol;
use serde::Serialize;

use super::{
    candles::{CandlesAnswer, CandlesQuestion},
    health::{HealthAnswer, HealthQuestion},
    kpi::{self, KpiAnswer, KpiQuestion},
    pipeline::{PipelineAnswer, PipelineQuestion},
    sparklines::{SparklinesAnswer, SparklinesQuestion},
    treemap::{TreemapAnswer, TreemapQuestion},
};
use crate::{
    candle::{Interval, Range},
    parameters::{self, Query},
    problem::Problem,
    question::{AnswerError, Answered, Context, Question},
    reads::{Pace, ReadError, now},
};

/// How many symbols can be compared with one.
const COMPARED: usize = 4;

#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct SnapshotQuestion {
    /// Whose candles; left out: the first symbol there is.
    #[cfg_attr(test, schemars(with = "Option<crate::openapi::Symbol>"))]
    symbol: Option<Symbol>,
    /// Length of a candle; left out: the shortest that the quotes fill with at least 30 candles.
    interval: Option<Interval>,
    /// How many dates; left out: what suits the interval, or the quotes.
    range: Option<Range>,
    /// Up to four symbols to compare with, separated by commas.
    #[cfg_attr(test, schemars(with = "Option<String>"))]
    compare: Vec<Symbol>,
}

/// All that the page shows. A part that cannot be given is null, and named in missing.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct SnapshotAnswer {
    /// Whose candles these are: the one asked for, else the first there is.
    #[cfg_attr(test, schemars(with = "Option<crate::openapi::Symbol>"))]
    symbol: Option<Symbol>,
    kpi: Option<KpiAnswer>,
    /// Null without any symbol, too.
    candles: Option<CandlesAnswer>,
    /// The candles of the symbols to compare with, of the same interval and range.
    compared: Option<Vec<CandlesAnswer>>,
    treemap: Option<TreemapAnswer>,
    sparklines: Option<SparklinesAnswer>,
    health: Option<HealthAnswer>,
    pipeline: Option<PipelineAnswer>,
    /// The parts that are not there, and why.
    missing: BTreeMap<&'static str, &'static str>,
}

impl Question for SnapshotQuestion {
    const NAME: &'static str = "snapshot";
    /// A snapshot leaves out parts that take longer.
    const PATIENCE: Duration = Duration::from_millis(2500);
    type Answer = SnapshotAnswer;

    fn parse(query: &Query) -> Result<Self, Problem> {
        Ok(Self {
            symbol: query.text("symbol").map(parameters::symbol).transpose()?,
            interval: query.one_of("interval", &Interval::ALL)?,
            range: query.one_of("range", &Range::ALL)?,
            compare: compared(query.text("compare").unwrap_or_default())?,
        })
    }

    /// Fails if there is no part and one of them has a permanent error.
    async fn answer(
        &self,
        context: &Context,
        until: Instant,
    ) -> Result<Answered<SnapshotAnswer>, AnswerError> {
        let symbol = OnceLock::new();
        let (kpi, candles, compared, treemap, sparklines, health, pipeline) = tokio::join!(
            KpiQuestion.answer(context, until),
            self.candles(context, until, &symbol),
            self.compared(context, until),
            TreemapQuestion.answer(context, until),
            SparklinesQuestion.answer(context, until),
            HealthQuestion { has_age: false }.answer(context, until),
            PipelineQuestion.answer(context, until),
        );
        let mut parts = Parts::default();
        let mut body = SnapshotAnswer {
            symbol: symbol.into_inner(),
            kpi: parts.take("kpi", kpi),
            candles: parts.take("candles", candles).flatten(),
            compared: parts.take("compared", compared),
            treemap: parts.take("treemap", treemap),
            sparklines: parts.take("sparklines", sparklines),
            health: parts.take("health", health),
            pipeline: parts.take("pipeline", pipeline),
            missing: BTreeMap::new(),
        };
        // An empty comparison and the flow's state are not figures of the warehouse.
        let is_other = |name: &&str| ["compared", "pipeline"].contains(name);
        if let (Some(failure), true) = (parts.failure, parts.as_of.keys().all(is_other)) {
            return Err(failure);
        }
        body.missing = parts.missing;
        let lifetime = if body.missing.is_empty() {
            context.reads.left(Pace::Tiles)
        } else {
            SignedDuration::from_secs(1)
        };
        let as_of: Vec<String> =
            parts.as_of.iter().map(|(name, as_of)| format!("{name}=\"{as_of}\"")).collect();
        Ok(Answered { body, as_of: as_of.join(", "), lifetime })
    }
}

impl SnapshotQuestion {
    /// The candles of the shown symbol, which is noted in `shown`; none without a symbol.
    async fn candles(
        &self,
        context: &Context,
        until: Instant,
        shown: &OnceLock<Symbol>,
    ) -> Result<Answered<Option<CandlesAnswer>>, AnswerError> {
        let symbol = match &self.symbol {
            Some(symbol) => Some(symbol.clone()),
            None => {
                kpi::latest(context, until).await?.figures.first().and_then(|one| one.symbol.parse().ok())
            }
        };
        let Some(symbol) = symbol else { return Ok(context.answered(None, now(), Pace::Charts)) };
        let symbol = shown.get_or_init(|| symbol);
        let Answered { body, as_of, lifetime } =
            of(symbol, self.interval, self.range).answer(context, until).await?;
        Ok(Answered { body: Some(body), as_of, lifetime })
    }

    /// The candles of the symbols to compare with, of the chart's interval and range.
    async fn compared(
        &self,
        context: &Context,
        until: Instant,
    ) -> Result<Answered<Vec<CandlesAnswer>>, AnswerError> {
        let mut answers = Vec::new();
        let (mut interval, mut range) = (self.interval, self.range);
        let mut as_of = now();
        if let (Some(symbol), true) = (&self.symbol, interval.is_none() || range.is_none())
            && !self.compare.is_empty()
        {
            let (chosen, _) = of(symbol, interval, range).chosen(context, until).await?;
            (interval, range) = (Some(chosen.interval), chosen.range.or(range));
        }
        for symbol in &self.compare {
            let (answer, read_at) = of(symbol, interval, range).chosen(context, until).await?;
            as_of = as_of.min(read_at);
            answers.push(answer);
        }
        Ok(context.answered(answers, as_of, Pace::Charts))
    }
}

fn of(symbol: &Symbol, interval: Option<Interval>, range: Option<Range>) -> CandlesQuestion {
    CandlesQuestion { symbol: symbol.clone(), interval, range }
}

fn compared(text: &str) -> Result<Vec<Symbol>, Problem> {
    let names: Vec<&str> = text.split(',').filter(|name| !name.is_empty()).collect();
    if names.len() > COMPARED {
        let count = names.len();
        return Err(Problem::Parameter(format!(
            "compare has {count} symbols; it must have at most {COMPARED}"
        )));
    }
    names.into_iter().map(parameters::symbol).collect()
}

/// Facts about the parts.
#[derive(Default)]
struct Parts {
    /// Of the parts that are present.
    as_of: BTreeMap<&'static str, String>,
    missing: BTreeMap<&'static str, &'static str>,
    /// The permanent error of a part.
    failure: Option<AnswerError>,
}

impl Parts {
    /// The part, if it is present. Otherwise it is noted as missing.
    fn take<T>(&mut self, name: &'static str, part: Result<Answered<T>, AnswerError>) -> Option<T> {
        let error = match part {
            Ok(part) => {
                self.as_of.insert(name, part.as_of);
                return Some(part.body);
            }
            Err(error) => error,
        };
        error.log();
        if matches!(error, AnswerError::Read(ReadError::Late { .. })) {
            self.missing.insert(name, "it is still being read");
        } else {
            self.missing.insert(name, "the warehouse does not answer");
            self.failure = Some(error);
        }
        None
    }
}

#[cfg(test)]
impl crate::openapi::Examples for SnapshotQuestion {
    fn examples() -> Vec<(&'static str, SnapshotAnswer)> {
        use crate::openapi::example;

        let answer = SnapshotAnswer {
            symbol: "AAPL".parse().ok(),
            kpi: example::<KpiQuestion>(),
            candles: example::<CandlesQuestion>(),
            compared: Some(Vec::new()),
            treemap: None,
            sparklines: example::<SparklinesQuestion>(),
            health: example::<HealthQuestion>(),
            pipeline: example::<PipelineQuestion>(),
            missing: [("treemap", "it is still being read")].into(),
        };
        vec![("a part is still being read", answer)]
    }
}
