{{
    config(
        materialized='incremental',
        incremental_strategy='merge',
        unique_key=['symbol', 'market_date'],
        partition_by={'field': 'market_date', 'data_type': 'date'},
        cluster_by=['symbol'],
        on_schema_change='ignore'
    )
}}

-- depends_on: {{ ref('int_stock_quotes_batch') }}

WITH source AS (
    SELECT * FROM {{ ref('silver_stock_quotes') }}
    {% if is_incremental() %}
        WHERE market_date IN UNNEST(touched_partitions)
    {% endif %}
)

-- Open and close are ordered by the epoch, not by New York's wall clock: that runs through one hour twice in November.
SELECT
    symbol,
    market_date,
    MIN_BY(current_price, market_timestamp_raw) AS open_price,
    MAX(GREATEST(COALESCE(day_high, current_price), current_price)) AS high_price,
    MIN(LEAST(COALESCE(day_low, current_price), current_price)) AS low_price,
    MAX_BY(current_price, market_timestamp_raw) AS close_price,
    MAX_BY(prev_close, market_timestamp_raw) AS prev_close,
    AVG(current_price) AS mean_price,
    VAR_POP(current_price) AS price_variance,
    COUNT(*) AS quotes,
    MAX(fetched_at) AS last_fetched_at
FROM source
GROUP BY symbol, market_date
