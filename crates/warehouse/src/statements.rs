//! The statements that are sent to BigQuery. The macro `statements` is the only way to create a [`Statement`]. It also
//! creates the list `ALL` of its statements: here those that load, repair and count, in serve-dashboard those that each
//! question reads. The tests check every list with GoogleSQL's analyzer.

use quotes::PRICES;

use crate::{Parameter, WarehouseConfig, WarehouseError};

/// A statement for the warehouse.
#[derive(Debug)]
pub struct Statement {
    name: &'static str,
    sql: &'static str,
    parameters: &'static [(&'static str, &'static str)],
}

impl Statement {
    /// For the macro `statements` only: a statement that is in no list would not be analyzed.
    #[doc(hidden)]
    #[must_use]
    pub const fn listed(
        name: &'static str,
        sql: &'static str,
        parameters: &'static [(&'static str, &'static str)],
    ) -> Self {
        Self { name, sql, parameters }
    }

    /// Its name in errors and logs.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Its parameters: each one's name and its type in GoogleSQL.
    #[must_use]
    pub fn parameters(&self) -> &'static [(&'static str, &'static str)] {
        self.parameters
    }

    /// # Errors
    /// [`WarehouseError::Configuration`] if `parameters` are not those that it declares.
    pub(crate) fn check(&self, parameters: &[Parameter]) -> Result<(), WarehouseError> {
        if parameters.iter().map(Parameter::kind).eq(self.parameters.iter().copied()) {
            return Ok(());
        }
        let problem = format!("{} takes {:?}, not {parameters:?}", self.name, self.parameters);
        Err(WarehouseError::Configuration(problem))
    }

    /// Its text for the configured project and datasets.
    #[must_use]
    pub fn sql(&self, config: &WarehouseConfig) -> String {
        let values = PRICES.map(|price| format!("CAST(JSON_VALUE(q, '$.{price}') AS FLOAT64) AS {price}"));
        self.sql
            .replace("{dataset}", &format!("{}.{}", config.project, config.dataset))
            .replace("{price_values}", &values.join(",\n         "))
            .replace("{prices}", &PRICES.join(", "))
    }
}

/// Creates statements, and the list `ALL` of them. `{dataset}` becomes the project's and the raw dataset's name,
/// `{prices}` the columns of [`PRICES`], and `{price_values}` their values in the JSON object `q`.
#[macro_export]
macro_rules! statements {
    ($(
        $(#[$doc:meta])*
        $statement:ident, $name:literal, ($($parameter:ident: $kind:ident),*), $sql:literal;
    )*) => {
        $(
            $(#[$doc])*
            #[allow(clippy::disallowed_methods, reason = "the statement is in the list below")]
            pub const $statement: $crate::statements::Statement = $crate::statements::Statement::listed(
                $name,
                $sql,
                &[$((stringify!($parameter), stringify!($kind))),*],
            );
        )*

        /// Every statement of this list.
        pub const ALL: &[$crate::statements::Statement] = &[$($statement),*];
    };
}

statements! {
    /// Inserts the quotes of `batch`, a JSON array of rows, that bronze does not have yet. The days are those of
    /// the batch, and limit the partitions that are read.
    MERGE_BRONZE, "the MERGE into bronze", (batch: STRING, first_date: DATE, last_date: DATE),
    "MERGE `{dataset}.bronze_stock_quotes_raw` T USING (
       SELECT
         JSON_VALUE(q, '$.quote_id') AS quote_id,
         JSON_VALUE(q, '$.object_key') AS object_key,
         JSON_VALUE(q, '$.symbol') AS symbol,
         CAST(JSON_VALUE(q, '$.fetched_at') AS INT64) AS fetched_at,
         CAST(JSON_VALUE(q, '$.fetched_date') AS DATE) AS fetched_date,
         CAST(JSON_VALUE(q, '$.t') AS INT64) AS t,
         {price_values}
       FROM UNNEST(JSON_QUERY_ARRAY(@batch)) AS q
     ) S
     ON T.quote_id = S.quote_id AND T.fetched_date BETWEEN @first_date AND @last_date
     WHEN NOT MATCHED THEN
       INSERT (quote_id, object_key, symbol, fetched_at, fetched_date, t, {prices}, loaded_at)
       VALUES (quote_id, object_key, symbol, fetched_at, fetched_date, t, {prices}, CURRENT_TIMESTAMP())";

    /// Raises the watermarks to those in `watermarks`, a JSON array of symbols and seconds.
    RAISE_WATERMARKS, "the MERGE of the watermarks", (watermarks: STRING),
    "MERGE `{dataset}.metadata_last_ts` T USING (
       SELECT
         JSON_VALUE(w, '$.symbol') AS symbol,
         LEAST(CAST(JSON_VALUE(w, '$.last_ts') AS INT64), UNIX_SECONDS(CURRENT_TIMESTAMP())) AS last_ts
       FROM UNNEST(JSON_QUERY_ARRAY(@watermarks)) AS w
     ) S
     ON T.symbol = S.symbol
     WHEN MATCHED THEN UPDATE SET last_ts =
       IF(T.last_ts <= UNIX_SECONDS(CURRENT_TIMESTAMP()), GREATEST(T.last_ts, S.last_ts), S.last_ts)
     WHEN NOT MATCHED THEN INSERT (symbol, last_ts) VALUES (S.symbol, S.last_ts)";

    /// `keys` is a JSON array of objects' keys and numbers of quotes. Returns the keys of which bronze has fewer
    /// quotes, or a quote twice: the key, whether quotes are missing, and whether there are duplicates. The days are
    /// those of the keys.
    COMPARE_KEYS, "the query for missing keys", (keys: STRING, first_date: DATE, last_date: DATE),
    "SELECT wanted.object_key, COALESCE(loaded.quotes, 0) < wanted.quotes, COALESCE(loaded.duplicates, 0) > 0
     FROM (
       SELECT JSON_VALUE(k, '$.key') AS object_key, CAST(JSON_VALUE(k, '$.quotes') AS INT64) AS quotes
       FROM UNNEST(JSON_QUERY_ARRAY(@keys)) AS k
     ) AS wanted
     LEFT JOIN (
       SELECT object_key, COUNT(DISTINCT quote_id) AS quotes, COUNTIF(rows_of_quote > 1) AS duplicates
       FROM (
         SELECT object_key, quote_id, COUNT(*) OVER (PARTITION BY quote_id) AS rows_of_quote
         FROM `{dataset}.bronze_stock_quotes_raw`
         WHERE fetched_date BETWEEN @first_date AND @last_date
       )
       GROUP BY object_key
     ) AS loaded ON loaded.object_key = wanted.object_key
     WHERE COALESCE(loaded.quotes, 0) < wanted.quotes OR COALESCE(loaded.duplicates, 0) > 0";

    /// `quotes` is a JSON array of ids with their objects' keys. Returns the keys of the quotes that are missing in
    /// bronze, whatever object they were loaded from. The days are those of the quotes.
    KEYS_OF_MISSING_QUOTES, "the query for missing quotes", (quotes: STRING, first_date: DATE, last_date: DATE),
    "SELECT DISTINCT wanted.object_key
     FROM (
       SELECT JSON_VALUE(q, '$.key') AS object_key, JSON_VALUE(q, '$.id') AS quote_id
       FROM UNNEST(JSON_QUERY_ARRAY(@quotes)) AS q
     ) AS wanted
     LEFT JOIN (
       SELECT DISTINCT quote_id FROM `{dataset}.bronze_stock_quotes_raw`
       WHERE fetched_date BETWEEN @first_date AND @last_date
     ) AS loaded ON loaded.quote_id = wanted.quote_id
     WHERE loaded.quote_id IS NULL";

    /// Each symbol that was loaded from `keys`, a JSON array, and its newest second that is not in the future. The days
    /// are those of the keys.
    NEWEST_OF_KEYS, "the query for the newest quotes of some keys", (keys: STRING, first_date: DATE, last_date: DATE),
    "SELECT symbol, MAX(fetched_at) FROM `{dataset}.bronze_stock_quotes_raw`
     WHERE fetched_date BETWEEN @first_date AND @last_date
       AND fetched_at <= UNIX_SECONDS(CURRENT_TIMESTAMP())
       AND object_key IN (SELECT k FROM UNNEST(JSON_VALUE_ARRAY(@keys)) AS k)
     GROUP BY symbol";

    /// Removes all rows except the first of each quote.
    REMOVE_DUPLICATES, "the removal of duplicate rows", (first_date: DATE, last_date: DATE),
    "MERGE `{dataset}.bronze_stock_quotes_raw` T USING (
       SELECT quote_id, MIN(loaded_at) AS first_loaded_at FROM `{dataset}.bronze_stock_quotes_raw`
       WHERE fetched_date BETWEEN @first_date AND @last_date
       GROUP BY quote_id
       HAVING COUNT(*) > 1
     ) S
     ON T.quote_id = S.quote_id AND T.fetched_date BETWEEN @first_date AND @last_date
       AND T.loaded_at > S.first_loaded_at
     WHEN MATCHED THEN DELETE";

    /// Each symbol and its newest loaded second.
    WATERMARKS, "the query for the watermarks", (),
    "SELECT symbol, last_ts FROM `{dataset}.metadata_last_ts`";

    /// Each symbol of the last two days, its newest loaded second, and the age of that second in seconds.
    FRESHNESS, "the query for the freshness", (),
    "SELECT symbol, MAX(fetched_at), UNIX_SECONDS(CURRENT_TIMESTAMP()) - MAX(fetched_at)
     FROM `{dataset}.bronze_stock_quotes_raw`
     WHERE fetched_date >= DATE_SUB(CURRENT_DATE(), INTERVAL 1 DAY)
     GROUP BY symbol
     ORDER BY symbol";

    /// How many rows bronze has.
    COUNT_BRONZE, "the count of bronze", (),
    "SELECT COUNT(*) FROM `{dataset}.bronze_stock_quotes_raw`";

    /// How many rows silver has.
    COUNT_SILVER, "the count of silver", (),
    "SELECT COUNT(*) FROM `{dataset}_silver.silver_stock_quotes`";

    /// How many rows each table has.
    COUNT_ALL, "the counts of the tables", (),
    "SELECT 'bronze_stock_quotes_raw', COUNT(*) FROM `{dataset}.bronze_stock_quotes_raw`
     UNION ALL SELECT 'silver_stock_quotes', COUNT(*) FROM `{dataset}_silver.silver_stock_quotes`
     UNION ALL SELECT 'silver_stock_quotes_rejected', COUNT(*) FROM `{dataset}_silver.silver_stock_quotes_rejected`
     UNION ALL SELECT 'gold_kpi_history', COUNT(*) FROM `{dataset}_gold.gold_kpi_history`
     UNION ALL SELECT 'gold_kpi', COUNT(*) FROM `{dataset}_gold.gold_kpi`
     UNION ALL SELECT 'gold_candlestick', COUNT(*) FROM `{dataset}_gold.gold_candlestick`
     UNION ALL SELECT 'gold_candlestick_intraday', COUNT(*) FROM `{dataset}_gold.gold_candlestick_intraday`
     UNION ALL SELECT 'gold_treechart', COUNT(*) FROM `{dataset}_gold.gold_treechart`";

    /// The quotes that bronze got from the second `since` on.
    NEW_IN_BRONZE, "the new rows of bronze", (since: INT64),
    "SELECT quote_id FROM `{dataset}.bronze_stock_quotes_raw`
     WHERE fetched_date >= DATE_SUB(CURRENT_DATE(), INTERVAL 1 DAY) AND loaded_at >= TIMESTAMP_SECONDS(@since)";

    /// Those of the new quotes that gold shows: the quote itself, or a later one of the same market time.
    NEW_IN_GOLD, "the new rows of gold", (since: INT64),
    "SELECT b.quote_id
     FROM `{dataset}.bronze_stock_quotes_raw` AS b
     INNER JOIN `{dataset}_gold.gold_kpi_history` AS g
       ON g.symbol = b.symbol AND g.market_timestamp_raw = b.t
       AND g.fetched_at >= TIMESTAMP_SECONDS(b.fetched_at)
     WHERE b.fetched_date >= DATE_SUB(CURRENT_DATE(), INTERVAL 1 DAY) AND b.loaded_at >= TIMESTAMP_SECONDS(@since)";

    /// The latest price of each symbol, its change in percent, and its market time in New York.
    LATEST_PRICES, "the query for the latest prices", (),
    "SELECT symbol, FORMAT('%.2f', current_price), FORMAT('%+.2f', change_percent),
       FORMAT_DATETIME('%Y-%m-%d %H:%M:%S', market_time_us)
     FROM `{dataset}_gold.gold_kpi` ORDER BY symbol";
}
