use std::collections::HashMap;

use quotes::Symbol;
use serde::Serialize;

use crate::problem::Problem;

const HISTORY_LIMITS: std::ops::RangeInclusive<u32> = 1..=5000;
const HISTORY_DEFAULT: u32 = 500;

/// What can be asked of the gold tables.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Question {
    /// Each symbol's latest quote.
    Kpi,
    /// A symbol's candles.
    Candles { symbol: Symbol, interval: Interval },
    /// A symbol's latest quotes, `limit` at most.
    History { symbol: Symbol, limit: u32 },
    /// Each symbol's day change and volatility.
    Treemap,
    /// How fresh the warehouse is.
    Health,
}

/// The length of a candle.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
pub enum Interval {
    /// A New York calendar day.
    #[serde(rename = "1d")]
    Day,
    /// Five minutes.
    #[serde(rename = "5m")]
    FiveMinutes,
    /// A minute.
    #[serde(rename = "1m")]
    Minute,
}

impl Question {
    /// The question of a path and its query. Parameters that the path does not know are passed over; of one that
    /// comes twice the last counts.
    ///
    /// # Errors
    /// [`Problem::Path`], or [`Problem::Parameter`] that names the parameter at fault.
    pub fn parse(path: &str, query: &str) -> Result<Self, Problem> {
        let parameters: HashMap<_, _> = form_urlencoded::parse(query.as_bytes()).collect();
        let parameter = |name: &'static str| parameters.get(name).map(AsRef::as_ref);
        let symbol = || {
            let text =
                parameter("symbol").ok_or_else(|| Problem::Parameter("symbol is missing".to_owned()))?;
            text.parse().map_err(|error| Problem::Parameter(format!("{error}")))
        };
        match path {
            "/api/kpi" => Ok(Self::Kpi),
            "/api/candles" => {
                Ok(Self::Candles { symbol: symbol()?, interval: interval(parameter("interval"))? })
            }
            "/api/history" => Ok(Self::History { symbol: symbol()?, limit: limit(parameter("limit"))? }),
            "/api/treemap" => Ok(Self::Treemap),
            "/api/health" => Ok(Self::Health),
            _ => Err(Problem::Path(path.to_owned())),
        }
    }
}

fn interval(text: Option<&str>) -> Result<Interval, Problem> {
    match text {
        Some("1d") => Ok(Interval::Day),
        Some("5m") => Ok(Interval::FiveMinutes),
        Some("1m") => Ok(Interval::Minute),
        Some(other) => Err(Problem::Parameter(format!("interval is {other:?}; it must be 1d, 5m or 1m"))),
        None => Err(Problem::Parameter("interval is missing; it must be 1d, 5m or 1m".to_owned())),
    }
}

fn limit(text: Option<&str>) -> Result<u32, Problem> {
    let Some(text) = text else { return Ok(HISTORY_DEFAULT) };
    let limit = text.parse().ok().filter(|limit| HISTORY_LIMITS.contains(limit));
    limit.ok_or_else(|| {
        let (least, most) = HISTORY_LIMITS.into_inner();
        Problem::Parameter(format!("limit is {text:?}; it must be from {least} to {most}"))
    })
}
