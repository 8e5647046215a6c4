-- Nothing is lost between bronze and silver: silver has each valid quote or a later observation of its trade, and after
-- the next run of dbt each invalid one is in the table of the rejected.
{%- set is_new = is_fetched_recently() if bounds_market_dates() else 'TRUE' %}

WITH judged AS (
    SELECT * FROM {{ ref('int_stock_quotes_judged') }}
    WHERE
        verdict_is_final
        AND {{ is_new }}
),

silver AS (
    SELECT * FROM {{ ref('silver_stock_quotes') }}
    WHERE {{ is_market_date_within(var('history_days')) }}
),

rejected AS (
    SELECT * FROM {{ ref('silver_stock_quotes_rejected') }}
    WHERE {{ is_new }}
)

SELECT judged.quote_id
FROM judged
LEFT JOIN silver
    ON
        judged.symbol = silver.symbol
        AND judged.market_timestamp_raw = silver.market_timestamp_raw
        AND judged.fetched_at <= silver.fetched_at
LEFT JOIN rejected
    ON judged.quote_id = rejected.quote_id
WHERE
    (judged.rejection_rules IS NULL AND (silver.symbol IS NULL OR rejected.quote_id IS NOT NULL))
    OR (
        judged.rejection_rules IS NOT NULL
        AND rejected.quote_id IS NULL
        AND judged.loaded_at < ({{ loads_since(ref('int_load_watermark')) }})
    )
