-- gold_kpi_history has silver's quotes, all of them and as they are there.
SELECT
    silver.quote_id AS silver_quote_id,
    history.quote_id AS history_quote_id
FROM {{ ref('silver_stock_quotes') }} AS silver
FULL OUTER JOIN {{ ref('gold_kpi_history') }} AS history
    ON
        silver.symbol = history.symbol
        AND silver.market_time_utc = history.market_time_utc
WHERE
    silver.quote_id IS NULL
    OR history.quote_id IS NULL
    OR silver.quote_id != history.quote_id
    OR COALESCE(silver.warning, '') != COALESCE(history.warning, '')
