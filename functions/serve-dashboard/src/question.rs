use std::collections::HashMap;

use quotes::Symbol;
use serde::Serialize;

use crate::problem::Problem;

const HISTORY_LIMITS: std::ops::RangeInclusive<u32> = 1..=5000;
const HISTORY_DEFAULT: u32 = 500;
/// How many symbols can be compared with one.
const COMPARED: usize = 4;

/// What a client can ask.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Question {
    /// Each symbol's latest quote.
    Kpi,
    /// A symbol's candles.
    Candles(Candles),
    /// A symbol's latest quotes, `limit` at most.
    History { symbol: Symbol, limit: u32 },
    /// Each symbol's day change and volatility.
    Treemap,
    /// Each symbol's closes of the latest date.
    Sparklines,
    /// How fresh the warehouse is.
    Health,
    /// How quotes move through the flow.
    Pipeline,
    /// All that the page shows, in one answer.
    Snapshot(Snapshot),
}

/// Which candles.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candles {
    pub symbol: Symbol,
    /// `None`: what suits the quotes.
    pub interval: Option<Interval>,
    /// `None`: what suits the interval, or the quotes.
    pub range: Option<Range>,
}

/// What the page shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// `None`: the first symbol there is.
    pub symbol: Option<Symbol>,
    pub interval: Option<Interval>,
    pub range: Option<Range>,
    /// Whose candles are shown beside the symbol's.
    pub compared: Vec<Symbol>,
}

/// The length of a candle.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub enum Interval {
    /// A minute.
    #[serde(rename = "1m")]
    Minute,
    /// Five minutes.
    #[serde(rename = "5m")]
    FiveMinutes,
    /// A quarter of an hour.
    #[serde(rename = "15m")]
    QuarterHour,
    /// An hour.
    #[serde(rename = "1h")]
    Hour,
    /// A New York calendar day.
    #[serde(rename = "1d")]
    Day,
}

impl Interval {
    const ALL: [(&str, Self); 5] = [
        ("1m", Self::Minute),
        ("5m", Self::FiveMinutes),
        ("15m", Self::QuarterHour),
        ("1h", Self::Hour),
        ("1d", Self::Day),
    ];
}

/// How many New York dates that have quotes are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub enum Range {
    /// The latest date.
    #[serde(rename = "1d")]
    Day,
    /// The latest five dates.
    #[serde(rename = "5d")]
    Week,
    /// All dates that gold has candles of.
    #[serde(rename = "all")]
    All,
}

impl Range {
    const ALL: [(&str, Self); 3] = [("1d", Self::Day), ("5d", Self::Week), ("all", Self::All)];
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
        let symbol = || symbol(parameter("symbol").ok_or_else(|| missing("symbol"))?);
        let range = || one_of("range", parameter("range"), &Range::ALL);
        let interval = || one_of("interval", parameter("interval"), &Interval::ALL);
        match path {
            "/api/kpi" => Ok(Self::Kpi),
            "/api/candles" => {
                let (symbol, interval, range) = (symbol()?, interval()?, range()?);
                Ok(Self::Candles(Candles { symbol, interval, range }))
            }
            "/api/history" => Ok(Self::History { symbol: symbol()?, limit: limit(parameter("limit"))? }),
            "/api/treemap" => Ok(Self::Treemap),
            "/api/sparklines" => Ok(Self::Sparklines),
            "/api/health" => Ok(Self::Health),
            "/api/pipeline" => Ok(Self::Pipeline),
            "/api/snapshot" => Ok(Self::Snapshot(Snapshot {
                symbol: parameter("symbol").map(self::symbol).transpose()?,
                interval: interval()?,
                range: range()?,
                compared: compared(parameter("compare").unwrap_or_default())?,
            })),
            _ => Err(Problem::Path(path.to_owned())),
        }
    }
}

fn missing(name: &str) -> Problem {
    Problem::Parameter(format!("{name} is missing"))
}

fn symbol(text: &str) -> Result<Symbol, Problem> {
    text.parse().map_err(|error| Problem::Parameter(format!("{error}")))
}

fn compared(text: &str) -> Result<Vec<Symbol>, Problem> {
    let names: Vec<&str> = text.split(',').filter(|name| !name.is_empty()).collect();
    if names.len() > COMPARED {
        let count = names.len();
        return Err(Problem::Parameter(format!(
            "compare has {count} symbols; it must have at most {COMPARED}"
        )));
    }
    names.into_iter().map(symbol).collect()
}

fn one_of<T: Copy>(name: &str, text: Option<&str>, values: &[(&str, T)]) -> Result<Option<T>, Problem> {
    let Some(text) = text else { return Ok(None) };
    let found = values.iter().find(|(value, _)| *value == text);
    found.map(|(_, value)| Some(*value)).ok_or_else(|| {
        let names: Vec<&str> = values.iter().map(|(name, _)| *name).collect();
        Problem::Parameter(format!("{name} is {text:?}; it must be one of {}", names.join(", ")))
    })
}

fn limit(text: Option<&str>) -> Result<u32, Problem> {
    let Some(text) = text else { return Ok(HISTORY_DEFAULT) };
    let limit = text.parse().ok().filter(|limit| HISTORY_LIMITS.contains(limit));
    limit.ok_or_else(|| {
        let (least, most) = HISTORY_LIMITS.into_inner();
        Problem::Parameter(format!("limit is {text:?}; it must be from {least} to {most}"))
    })
}
