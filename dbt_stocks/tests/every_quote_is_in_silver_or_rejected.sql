-- Nothing is lost between bronze and silver: a quote is rejected, or silver has it or a later observation of its trade.
-- Quotes loaded after the last run are still on their way.
SELECT judged.quote_id
FROM {{ ref('int_stock_quotes_judged') }} AS judged
INNER JOIN {{ ref('int_load_watermark') }} AS watermark
    ON judged.loaded_at <= watermark.loaded_at
LEFT JOIN {{ ref('silver_stock_quotes') }} AS silver
    ON
        judged.symbol = silver.symbol
        AND judged.market_timestamp_raw = silver.market_timestamp_raw
        AND judged.fetched_at <= silver.fetched_at
LEFT JOIN {{ ref('silver_stock_quotes_rejected') }} AS rejected
    ON judged.quote_id = rejected.quote_id
WHERE
    IF(judged.rejection_rules IS NULL, silver.symbol, rejected.quote_id) IS NULL
    OR (judged.rejection_rules IS NULL AND rejected.quote_id IS NOT NULL)
