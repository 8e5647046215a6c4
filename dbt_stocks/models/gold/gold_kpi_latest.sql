{{ config(materialized='table') }}

{%- set daily = ref('silver_stock_quotes_daily') -%}

WITH source AS (
    SELECT * FROM {{ ref('gold_kpi_history') }}
    WHERE {{ is_latest_date(daily, 'market_date') }}
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
    loaded_at,
    warning
FROM source
QUALIFY ROW_NUMBER() OVER (PARTITION BY symbol ORDER BY market_timestamp_raw DESC) = 1
