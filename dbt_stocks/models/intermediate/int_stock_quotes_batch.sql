{{ config(materialized='table') }}

SELECT
    quote_id,
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
    market_date,
    fetched_at_raw,
    fetched_at,
    fetched_date,
    object_key,
    loaded_at,
    rejection_rules
FROM {{ ref('int_stock_quotes_judged') }}
WHERE
    {{ new_loads(ref('bronze_stock_quotes')) | indent(4) }}
