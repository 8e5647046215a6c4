{{ config(materialized='table', cluster_by=['symbol']) }}

WITH source AS (
    SELECT * FROM {{ ref('silver_stock_quotes') }}
),

ranked AS (
    SELECT
        *,
        ROW_NUMBER() OVER (
            PARTITION BY symbol
            ORDER BY fetched_at DESC, market_timestamp_raw DESC
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
