//! Compares object keys with bronze, removes duplicate rows, and keeps the watermarks.

use std::collections::{BTreeMap, HashMap, HashSet};

use quotes::{ArchiveKey, QuoteId};
use serde_json::{Value, json};

use crate::{Parameter, Warehouse, WarehouseError, statements};

/// The result of comparing keys with bronze.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Compared {
    /// The keys of which bronze has fewer rows than the object has quotes.
    pub missing: Vec<String>,
    /// Whether a quote of these keys has more than one row.
    pub has_duplicates: bool,
}

impl Warehouse {
    /// Looks for `keys` in bronze. It reads the days from the first key's day to the last key's day.
    ///
    /// # Errors
    /// [`WarehouseError`].
    pub async fn compare(&self, keys: &[&ArchiveKey]) -> Result<Compared, WarehouseError> {
        let Some([first, last]) = days(keys) else { return Ok(Compared::default()) };
        let wanted: Vec<Value> =
            keys.iter().map(|key| json!({ "key": key.to_string(), "quotes": key.quotes() })).collect();
        let parameters = [Parameter::string("keys", Value::Array(wanted).to_string()), first, last];
        let mut compared = Compared::default();
        for row in self.run(&statements::COMPARE_KEYS, &parameters).await?.rows {
            let Ok([Some(key), is_missing, has_duplicates]) = <[Option<String>; 3]>::try_from(row) else {
                continue;
            };
            compared.has_duplicates |= has_duplicates.as_deref() == Some("true");
            if is_missing.as_deref() == Some("true") {
                compared.missing.push(key);
            }
        }
        Ok(compared)
    }

    /// The keys of the objects with a quote that is missing in bronze, whatever object it was loaded from. Each object
    /// is given with its quotes' ids. It reads the days from the first key's day to the last key's day.
    ///
    /// # Errors
    /// [`WarehouseError`].
    pub async fn missing_keys(
        &self,
        objects: &[(&ArchiveKey, Vec<QuoteId>)],
    ) -> Result<HashSet<String>, WarehouseError> {
        let keys: Vec<&ArchiveKey> = objects.iter().map(|(key, _)| *key).collect();
        let Some([first, last]) = days(&keys) else { return Ok(HashSet::new()) };
        let quotes: Vec<Value> = objects
            .iter()
            .flat_map(|(key, ids)| {
                let key = key.to_string();
                ids.iter().map(move |id| json!({ "key": key, "id": id }))
            })
            .collect();
        let parameters = [Parameter::string("quotes", Value::Array(quotes).to_string()), first, last];
        let rows = self.run(&statements::KEYS_OF_MISSING_QUOTES, &parameters).await?.rows;
        Ok(rows.into_iter().filter_map(|row| row.into_iter().next().flatten()).collect())
    }

    /// The newest second of each symbol that was loaded from `keys`. Seconds in the future do not count.
    ///
    /// # Errors
    /// [`WarehouseError`].
    pub async fn newest(&self, keys: &[&ArchiveKey]) -> Result<HashMap<String, i64>, WarehouseError> {
        let Some([first, last]) = days(keys) else { return Ok(HashMap::new()) };
        let texts: Vec<String> = keys.iter().map(ToString::to_string).collect();
        let parameters = [Parameter::string("keys", json!(texts).to_string()), first, last];
        let rows = self.run(&statements::NEWEST_OF_KEYS, &parameters).await?.rows;
        let newest = |row: Vec<Option<String>>| match <[Option<String>; 2]>::try_from(row) {
            Ok([Some(symbol), Some(newest)]) => Some((symbol, newest.parse().ok()?)),
            _ => None,
        };
        Ok(rows.into_iter().filter_map(newest).collect())
    }

    /// Removes all rows except the first of each quote, on the days from the first key's day to the last key's day.
    /// Returns how many.
    ///
    /// # Errors
    /// [`WarehouseError`].
    pub async fn remove_duplicates(&self, keys: &[&ArchiveKey]) -> Result<u64, WarehouseError> {
        let Some(parameters) = days(keys) else { return Ok(0) };
        Ok(self.run(&statements::REMOVE_DUPLICATES, &parameters).await?.changed)
    }

    /// The watermark of each symbol that has one, in seconds since 1970. A row without a symbol or a number is ignored.
    /// If a symbol has several rows, the highest counts.
    ///
    /// # Errors
    /// [`WarehouseError`].
    pub async fn watermarks(&self) -> Result<HashMap<String, i64>, WarehouseError> {
        let mut watermarks = HashMap::<String, i64>::new();
        for row in self.run(&statements::WATERMARKS, &[]).await?.rows {
            if let Ok([Some(symbol), Some(last)]) = <[Option<String>; 2]>::try_from(row)
                && let Ok(last) = last.parse::<i64>()
            {
                let highest = watermarks.entry(symbol).or_insert(last);
                *highest = last.max(*highest);
            }
        }
        Ok(watermarks)
    }

    /// Raises the watermarks, but not beyond the warehouse's current time. A watermark that is NULL or in the future is
    /// replaced; any other is never lowered.
    ///
    /// # Errors
    /// [`WarehouseError`].
    pub async fn raise_watermarks(&self, watermarks: &BTreeMap<&str, i64>) -> Result<(), WarehouseError> {
        let watermarks: Vec<_> =
            watermarks.iter().map(|(symbol, last)| json!({ "symbol": symbol, "last_ts": last })).collect();
        let parameters = [Parameter::string("watermarks", Value::Array(watermarks).to_string())];
        self.run(&statements::RAISE_WATERMARKS, &parameters).await.map(|_| ())
    }
}

/// The first and the last day of the keys; `None` without keys.
fn days(keys: &[&ArchiveKey]) -> Option<[Parameter; 2]> {
    let dates = keys.iter().map(|key| key.fetched_date());
    let (first, last) = (dates.clone().min()?, dates.max()?);
    Some([Parameter::date("first_date", first), Parameter::date("last_date", last)])
}
