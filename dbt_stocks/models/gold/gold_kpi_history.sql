{{
    config(
        materialized='incremental',
        incremental_strategy='merge',
        unique_key=['symbol', 'market_time_utc'],
        partition_by={'field': 'market_date', 'data_type': 'date'},
        cluster_by=['symbol'],
        on_schema_change='fail'
    )
}}

{%- set batch = ref('int_stock_quotes_batch') -%}

WITH source AS (
    SELECT * FROM {{ ref('silver_stock_quotes') }}
    {% if is_incremental() %}
        WHERE
            {{ is_touched(batch) }}
            -- Not the day's other quotes. The time suffices: another symbol's quote of it is written as it was.
            AND market_timestamp_raw IN (SELECT new_quotes.market_timestamp_raw FROM {{ batch }} AS new_quotes)
    {% endif %}
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
    market_date,
    fetched_at,
    quote_id,
    loaded_at,
    warning
FROM source
