use std::collections::HashMap;

use quotes::ObjectKey;

use crate::{BRONZE_TABLE, Parameter, WATERMARK_TABLE, Warehouse, WarehouseError};

impl Warehouse {
    /// Those of `keys` that no row of bronze was loaded from.
    ///
    /// # Errors
    /// [`WarehouseError`].
    pub async fn lacking(&self, keys: &[ObjectKey]) -> Result<Vec<String>, WarehouseError> {
        let dates = keys.iter().map(ObjectKey::fetched_date);
        let (Some(first), Some(last)) = (dates.clone().min(), dates.max()) else { return Ok(Vec::new()) };
        let sql = format!(
            "SELECT k FROM UNNEST(JSON_VALUE_ARRAY(@keys)) AS k
             LEFT JOIN (
               SELECT DISTINCT object_key FROM {table} WHERE fetched_date BETWEEN @first_date AND @last_date
             ) AS loaded ON loaded.object_key = k
             WHERE loaded.object_key IS NULL",
            table = self.table("", BRONZE_TABLE)
        );
        let texts: Vec<String> = keys.iter().map(ToString::to_string).collect();
        let keys = serde_json::to_string(&texts)
            .map_err(|error| WarehouseError::Configuration(error.to_string()))?;
        let parameters = [
            Parameter::string("keys", keys),
            Parameter::date("first_date", first),
            Parameter::date("last_date", last),
        ];
        let rows = self.run("the keys that bronze lacks", &sql, &parameters).await?.rows;
        Ok(rows.into_iter().filter_map(|row| row.into_iter().next().flatten()).collect())
    }

    /// The newest `fetched_at` (seconds since 1970) that was loaded of each symbol.
    ///
    /// # Errors
    /// [`WarehouseError`].
    pub async fn watermarks(&self) -> Result<HashMap<String, i64>, WarehouseError> {
        let sql = format!("SELECT symbol, last_ts FROM {}", self.table("", WATERMARK_TABLE));
        let rows = self.run("the watermarks", &sql, &[]).await?.rows;
        let watermark = |row: Vec<Option<String>>| match <[Option<String>; 2]>::try_from(row) {
            Ok([Some(symbol), Some(last)]) => Some((symbol, last.parse().ok()?)),
            _ => None,
        };
        Ok(rows.into_iter().filter_map(watermark).collect())
    }
}
