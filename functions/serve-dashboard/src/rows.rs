//! The rows of a statement's answer as figures. If a column of a row cannot be used, only that row is left out.

use std::str::FromStr;

use jiff::{SignedDuration, Timestamp};
use warehouse::Answer;

/// How far another clock may be ahead of this machine's. A later time is in the future.
const AHEAD: SignedDuration = SignedDuration::from_mins(5);
/// How many unusable rows of one answer are logged.
const LOGGED: usize = 3;

/// Turns a row into a figure.
pub type Decode<T> = fn(&Row) -> Result<T, Unusable>;

/// A column is missing in a statement's answer: the statement and this code do not match.
#[derive(Debug, thiserror::Error)]
#[error("{statement} has no column {column}")]
pub struct MissingColumn {
    statement: &'static str,
    column: &'static str,
}

/// Why a row is left out.
pub enum Unusable {
    Value { column: &'static str, value: Option<String> },
    Missing(MissingColumn),
}

/// Whether `time` is further ahead than clocks may differ.
pub fn is_future(time: Timestamp, now: Timestamp) -> bool {
    time.duration_since(now) > AHEAD
}

/// The figures in the answer of the statement with this name. Unusable rows are left out and logged.
///
/// # Errors
/// [`MissingColumn`].
pub fn figures<T>(
    statement: &'static str,
    answer: &Answer,
    decode: Decode<T>,
) -> Result<Vec<T>, MissingColumn> {
    let (mut figures, mut unusable) = (Vec::new(), 0);
    for values in &answer.rows {
        let row = Row { statement, columns: &answer.columns, values };
        match decode(&row) {
            Ok(figure) => figures.push(figure),
            Err(Unusable::Missing(error)) => return Err(error),
            Err(Unusable::Value { column, value }) => {
                unusable += 1;
                if unusable <= LOGGED {
                    let symbol = row.value("symbol").ok().flatten().unwrap_or_default();
                    let model = statement;
                    tracing::warn!(model, symbol, column, value, "a row with an unusable value is left out");
                }
            }
        }
    }
    if unusable > LOGGED {
        tracing::warn!(model = statement, "{unusable} rows are left out");
    }
    Ok(figures)
}

/// A row, with its values as BigQuery's text.
pub struct Row<'a> {
    statement: &'static str,
    columns: &'a [String],
    values: &'a [Option<String>],
}

impl Row<'_> {
    fn value(&self, column: &'static str) -> Result<Option<&str>, Unusable> {
        let at = self.columns.iter().position(|name| name == column);
        let missing = || Unusable::Missing(MissingColumn { statement: self.statement, column });
        Ok(self.values.get(at.ok_or_else(missing)?).and_then(Option::as_deref))
    }

    pub fn unusable(&self, column: &'static str) -> Unusable {
        let value = self.value(column).ok().flatten().map(str::to_owned);
        Unusable::Value { column, value }
    }

    /// The value of a column that may be NULL.
    pub fn optional<T: FromStr>(&self, column: &'static str) -> Result<Option<T>, Unusable> {
        Ok(self.value(column)?.and_then(|text| text.parse().ok()))
    }

    pub fn get<T: FromStr>(&self, column: &'static str) -> Result<T, Unusable> {
        self.optional(column)?.ok_or_else(|| self.unusable(column))
    }

    /// As [`Self::optional`], for a finite number: JSON has no NaN and no infinity.
    pub fn optional_number(&self, column: &'static str) -> Result<Option<f64>, Unusable> {
        Ok(self.optional(column)?.filter(|number: &f64| number.is_finite()))
    }

    pub fn number(&self, column: &'static str) -> Result<f64, Unusable> {
        self.optional_number(column)?.ok_or_else(|| self.unusable(column))
    }

    pub fn seconds(&self, column: &'static str) -> Result<Timestamp, Unusable> {
        Timestamp::from_second(self.get(column)?).map_err(|_| self.unusable(column))
    }

    pub fn optional_millis(&self, column: &'static str) -> Result<Option<Timestamp>, Unusable> {
        Ok(self.optional(column)?.and_then(|millis| Timestamp::from_millisecond(millis).ok()))
    }

    pub fn millis(&self, column: &'static str) -> Result<Timestamp, Unusable> {
        self.optional_millis(column)?.ok_or_else(|| self.unusable(column))
    }
}
