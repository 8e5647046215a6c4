{{ config(materialized='view') }}

WITH source AS (
    SELECT * FROM {{ ref('gold_kpi_history') }}
),

ranked AS (
    SELECT
        *,
        ROW_NUMBER() OVER (
            PARTITION BY symbol
            ORDER BY market_time_utc DESC
        ) AS recency_rank
    FROM source
)

SELECT
    symbol,
    current_price,
    change_amount,
    change_percent,
    day_high,
    day_low,
    day_open,
    prev_close,
    market_timestamp_raw,
    market_time_utc,
    market_time_us,
    fetched_at,
    quote_id,
    loaded_at
FROM ranked
WHERE recency_rank = 1
