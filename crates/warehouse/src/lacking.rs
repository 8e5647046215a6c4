use std::collections::HashMap;

use quotes::ObjectKey;

use crate::{Parameter, Warehouse, WarehouseError, statements};

impl Warehouse {
    /// Those of `keys` that no row of bronze was loaded from.
    ///
    /// # Errors
    /// [`WarehouseError`].
    pub async fn lacking(&self, keys: &[ObjectKey]) -> Result<Vec<String>, WarehouseError> {
        let dates = keys.iter().map(ObjectKey::fetched_date);
        let (Some(first), Some(last)) = (dates.clone().min(), dates.max()) else { return Ok(Vec::new()) };
        let texts: Vec<String> = keys.iter().map(ToString::to_string).collect();
        let keys = serde_json::to_string(&texts)
            .map_err(|error| WarehouseError::Configuration(error.to_string()))?;
        let parameters = [
            Parameter::string("keys", keys),
            Parameter::date("first_date", first),
            Parameter::date("last_date", last),
        ];
        let rows = self.run(&statements::MISSING_KEYS, &parameters).await?.rows;
        Ok(rows.into_iter().filter_map(|row| row.into_iter().next().flatten()).collect())
    }

    /// The newest `fetched_at` (seconds since 1970) that was loaded of each symbol.
    ///
    /// # Errors
    /// [`WarehouseError`].
    pub async fn watermarks(&self) -> Result<HashMap<String, i64>, WarehouseError> {
        let rows = self.run(&statements::WATERMARKS, &[]).await?.rows;
        let watermark = |row: Vec<Option<String>>| match <[Option<String>; 2]>::try_from(row) {
            Ok([Some(symbol), Some(last)]) => Some((symbol, last.parse().ok()?)),
            _ => None,
        };
        Ok(rows.into_iter().filter_map(watermark).collect())
    }
}
