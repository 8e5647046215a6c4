//! Loading: rows of bronze, and the MERGE that inserts them.

use std::{collections::HashSet, time::Instant};

use function_kit::metrics;
use quotes::{Quote, QuoteId};
use serde::Serialize;
use serde_json::value::RawValue;

use crate::{Parameter, Warehouse, WarehouseError, statements};

/// The most JSON that one statement carries, in bytes: a request may have 10 MB.
const STATEMENT_BYTES: usize = 4 << 20;

/// One row of the bronze table: an archived quote and where it was archived.
#[derive(Debug, Clone, Serialize)]
pub struct BronzeRow {
    quote_id: QuoteId,
    object_key: String,
    symbol: String,
    fetched_at: i64,
    fetched_date: jiff::civil::Date,
    c: Option<Box<RawValue>>,
    d: Option<Box<RawValue>>,
    dp: Option<Box<RawValue>>,
    h: Option<Box<RawValue>>,
    l: Option<Box<RawValue>>,
    o: Option<Box<RawValue>>,
    pc: Option<Box<RawValue>>,
    t: Option<i64>,
}

impl BronzeRow {
    /// When the quote was fetched, in seconds since 1970.
    #[must_use]
    pub fn fetched_at(&self) -> i64 {
        self.fetched_at
    }

    /// The row of `quote`, archived under `object_key`.
    #[must_use]
    pub fn new(quote: &Quote, object_key: &str) -> Self {
        let number =
            |name| quote.number_text(name).and_then(|text| RawValue::from_string(text.to_owned()).ok());
        Self {
            quote_id: quote.id(),
            object_key: object_key.to_owned(),
            symbol: quote.symbol().to_string(),
            fetched_at: quote.fetched_at(),
            fetched_date: quote.fetched_date(),
            c: number("c"),
            d: number("d"),
            dp: number("dp"),
            h: number("h"),
            l: number("l"),
            o: number("o"),
            pc: number("pc"),
            // BigQuery's INT64 does not take `1704067200.0`, which is the same number in JSON.
            t: quote.market_time().ok().flatten(),
        }
    }
}

/// What a load did.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Loaded {
    /// Rows that are new in bronze.
    pub inserted: u64,
    /// Rows whose quote was in bronze already, or was twice in this load.
    pub already_there: u64,
}

impl Warehouse {
    /// Loads `rows` into bronze, each quote once whatever was loaded before. Each MERGE into
    /// bronze is noted in the metric `LoadSeconds`.
    ///
    /// # Errors
    /// [`WarehouseError`]; what was loaded by then stays, and loading all of it again is safe.
    pub async fn load(&self, rows: &[BronzeRow]) -> Result<Loaded, WarehouseError> {
        let mut seen = HashSet::new();
        let unique: Vec<&BronzeRow> = rows.iter().filter(|row| seen.insert(row.quote_id)).collect();
        let mut inserted = 0;
        for batch in split(&unique)? {
            inserted += self.merge(&batch).await?;
        }
        Ok(Loaded { inserted, already_there: rows.len() as u64 - inserted.min(rows.len() as u64) })
    }

    async fn merge(&self, batch: &Batch) -> Result<u64, WarehouseError> {
        let parameters = [
            Parameter::string("batch", batch.json.clone()),
            Parameter::date("first_date", batch.first_date),
            Parameter::date("last_date", batch.last_date),
        ];
        let start = Instant::now();
        let merged = self.run(&statements::MERGE_BRONZE, &parameters).await?;
        metrics::seconds("LoadSeconds", start.elapsed().as_secs_f64());
        Ok(merged.changed)
    }
}

/// What one statement carries.
struct Batch {
    json: String,
    first_date: jiff::civil::Date,
    last_date: jiff::civil::Date,
}

/// Splits `rows` where a statement would grow too large.
fn split(rows: &[&BronzeRow]) -> Result<Vec<Batch>, WarehouseError> {
    let mut batches: Vec<Batch> = Vec::new();
    for row in rows {
        let json = serde_json::to_string(row)
            .map_err(|error| WarehouseError::Configuration(format!("{}: {error}", row.object_key)))?;
        match batches.last_mut().filter(|batch| batch.json.len() + json.len() < STATEMENT_BYTES) {
            Some(batch) => {
                batch.json.push(',');
                batch.json.push_str(&json);
                batch.first_date = batch.first_date.min(row.fetched_date);
                batch.last_date = batch.last_date.max(row.fetched_date);
            }
            None => batches.push(Batch {
                json: format!("[{json}"),
                first_date: row.fetched_date,
                last_date: row.fetched_date,
            }),
        }
    }
    for batch in &mut batches {
        batch.json.push(']');
    }
    Ok(batches)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(fetched_at: i64) -> BronzeRow {
        let id = QuoteId::at(0);
        let json = format!(
            r#"{{"c":150.250,"d":null,"t":7,"symbol":"AAPL","fetched_at":{fetched_at},"quote_id":"{id}"}}"#
        );
        BronzeRow::new(&Quote::from_object(json.as_bytes()).unwrap(), "AAPL/7.json")
    }

    #[test]
    fn a_row_keeps_the_numbers_texts() {
        let json = serde_json::to_string(&row(86_400)).unwrap();
        assert!(json.contains(r#""c":150.250,"d":null,"dp":null"#), "{json}");
        assert!(json.contains(r#""fetched_date":"1970-01-02""#), "{json}");
    }

    #[test]
    fn statements_are_bounded_and_name_their_own_days() {
        let rows: Vec<BronzeRow> = (1..=40_000).map(|number| row(number * 100)).collect();
        let batches = split(&rows.iter().collect::<Vec<_>>()).unwrap();
        assert!(batches.len() > 1);
        assert!(batches.iter().all(|batch| batch.json.len() <= STATEMENT_BYTES + 1));
        let count: usize = batches
            .iter()
            .map(|batch| serde_json::from_str::<Vec<serde_json::Value>>(&batch.json).unwrap().len())
            .sum();
        assert_eq!(count, rows.len());
        assert_eq!(batches[0].first_date, rows[0].fetched_date);
        assert!(batches[0].last_date <= batches[1].first_date);
    }

    #[test]
    fn nothing_to_load_needs_no_statement() {
        assert!(split(&[]).unwrap().is_empty());
    }
}
