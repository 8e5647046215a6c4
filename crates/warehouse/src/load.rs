//! Loading: rows of bronze, and the MERGE that inserts them.

use std::{collections::HashSet, time::Instant};

use function_kit::metrics;
use jiff::civil::Date;
use quotes::{PRICES, QuoteId, QuoteView};
use serde::{Serialize, Serializer};
use serde_json::value::RawValue;

use crate::{Parameter, Warehouse, WarehouseError, statements};

/// The most JSON in one statement, in bytes. A request may have 10 MB.
pub const STATEMENT_BYTES: usize = 4 << 20;

/// One row of the bronze table: an archived quote and its object's key.
#[derive(Debug, Clone)]
pub struct BronzeRow {
    quote_id: QuoteId,
    fetched_at: i64,
    fetched_date: Date,
    json: String,
}

#[derive(Serialize)]
struct Row<'a> {
    quote_id: QuoteId,
    object_key: &'a str,
    symbol: &'a str,
    fetched_at: i64,
    fetched_date: Date,
    // BigQuery's INT64 does not accept `1704067200.0`, which is the same number in JSON.
    t: Option<i64>,
    #[serde(flatten)]
    prices: Prices<'a>,
}

struct Prices<'a>([Option<&'a RawValue>; PRICES.len()]);

impl Serialize for Prices<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(PRICES.iter().zip(&self.0))
    }
}

impl BronzeRow {
    /// The row of `quote`, archived under `object_key`.
    #[must_use]
    pub fn new(quote: &QuoteView<'_>, object_key: &str) -> Self {
        let (quote_id, fetched_at, fetched_date) = (quote.id(), quote.fetched_at(), quote.fetched_date());
        let (symbol, t, prices) = (quote.symbol(), quote.market_time(), Prices(quote.prices()));
        let row = Row { quote_id, object_key, symbol, fetched_at, fetched_date, t, prices };
        // Texts, whole numbers and parsed JSON can always be serialised.
        let json = serde_json::to_string(&row).unwrap_or_default();
        Self { quote_id, fetched_at, fetched_date, json }
    }

    /// When the quote was fetched, in seconds since 1970.
    #[must_use]
    pub fn fetched_at(&self) -> i64 {
        self.fetched_at
    }

    /// The row as it is in a statement: a JSON object.
    #[must_use]
    pub fn json(&self) -> &str {
        &self.json
    }
}

/// The result of a load.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Loaded {
    /// Rows that are new in bronze.
    pub inserted: u64,
    /// Rows whose quote was in bronze already, or was in this load twice.
    pub already_there: u64,
}

impl Warehouse {
    /// Loads `rows` into bronze. Each quote is inserted once, whatever was loaded before. The duration of each MERGE
    /// is added to the metric `LoadSeconds`.
    ///
    /// # Errors
    /// [`WarehouseError`]. Rows loaded before the error stay, and loading all rows again is safe.
    pub async fn load(&self, rows: &[BronzeRow]) -> Result<Loaded, WarehouseError> {
        let mut seen = HashSet::new();
        let unique: Vec<&BronzeRow> = rows.iter().filter(|row| seen.insert(row.quote_id)).collect();
        let mut inserted = 0;
        for batch in split(&unique) {
            inserted += self.merge(batch).await?;
        }
        Ok(Loaded { inserted, already_there: rows.len() as u64 - inserted.min(rows.len() as u64) })
    }

    async fn merge(&self, batch: Batch) -> Result<u64, WarehouseError> {
        let parameters = [
            Parameter::string("batch", batch.json),
            Parameter::date("first_date", batch.first_date),
            Parameter::date("last_date", batch.last_date),
        ];
        let start = Instant::now();
        let merged = self.run(&statements::MERGE_BRONZE, &parameters).await?;
        metrics::LOAD_SECONDS.add(start.elapsed().as_secs_f64());
        Ok(merged.changed)
    }
}

/// The rows of one statement.
struct Batch {
    json: String,
    first_date: Date,
    last_date: Date,
}

/// Splits `rows` so that no statement becomes too large.
fn split<'a>(mut rows: &'a [&'a BronzeRow]) -> impl Iterator<Item = Batch> {
    std::iter::from_fn(move || {
        let (first, _) = rows.split_first()?;
        let mut batch =
            Batch { json: String::new(), first_date: first.fetched_date, last_date: first.fetched_date };
        while let Some((row, rest)) = rows.split_first()
            && (batch.json.is_empty() || batch.json.len() + row.json.len() < STATEMENT_BYTES)
        {
            batch.json.push(if batch.json.is_empty() { '[' } else { ',' });
            batch.json.push_str(&row.json);
            batch.first_date = batch.first_date.min(row.fetched_date);
            batch.last_date = batch.last_date.max(row.fetched_date);
            rows = rest;
        }
        batch.json.push(']');
        Some(batch)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(fetched_at: i64) -> BronzeRow {
        let id = QuoteId::at(0);
        let json = format!(
            r#"{{"c":150.250,"d":null,"t":7,"symbol":"AAPL","fetched_at":{fetched_at},"quote_id":"{id}"}}"#
        );
        BronzeRow::new(&QuoteView::parse(json.as_bytes()).unwrap(), "AAPL/7.json")
    }

    #[test]
    fn a_row_keeps_the_numbers_texts() {
        let json = row(86_400).json;
        assert!(json.contains(r#""c":150.250,"d":null,"dp":null"#), "{json}");
        assert!(json.contains(r#""fetched_date":"1970-01-02""#), "{json}");
    }

    #[test]
    fn statements_are_bounded_and_name_their_own_days() {
        let rows: Vec<BronzeRow> = (1..=40_000).map(|number| row(number * 100)).collect();
        let rows: Vec<&BronzeRow> = rows.iter().collect();
        let batches: Vec<Batch> = split(&rows).collect();
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
        assert!(split(&[]).next().is_none());
    }
}
