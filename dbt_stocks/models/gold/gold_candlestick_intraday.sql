{{
    config(
        materialized='incremental',
        incremental_strategy='merge',
        unique_key=['symbol', 'interval_minutes', 'candle_start_utc'],
        partition_by={'field': 'market_date', 'data_type': 'date'},
        cluster_by=['symbol', 'interval_minutes'],
        on_schema_change='fail'
    )
}}

{%- set batch = ref('int_stock_quotes_batch') -%}

WITH source AS (
    SELECT * FROM {{ ref('silver_stock_quotes') }}
    {% if is_incremental() %}
        WHERE {{ is_touched(batch) }}
    {% endif %}
),

-- New York's midnight is a whole hour of UTC, so no candle reaches into the next day.
candles AS (
    SELECT
        source.symbol,
        interval_minutes,
        source.market_date,
        source.market_timestamp_raw - MOD(source.market_timestamp_raw, interval_minutes * 60) AS candle_start,
        MIN_BY(source.current_price, source.market_timestamp_raw) AS candle_open,
        MAX(source.current_price) AS candle_high,
        MIN(source.current_price) AS candle_low,
        MAX_BY(source.current_price, source.market_timestamp_raw) AS candle_close,
        SUM(source.current_price) AS price_sum,
        COUNT(*) AS quotes
    FROM source
    CROSS JOIN UNNEST([1, 5]) AS interval_minutes
    GROUP BY 1, 2, 3, 4
),

with_trend AS (
    SELECT
        *,
        SUM(price_sum) OVER day_so_far / SUM(quotes) OVER day_so_far AS trend_line
    FROM candles
    WINDOW day_so_far AS (
        PARTITION BY symbol, interval_minutes, market_date
        ORDER BY candle_start
        ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW
    )
)

SELECT
    symbol,
    interval_minutes,
    TIMESTAMP_SECONDS(candle_start) AS candle_start_utc,
    DATETIME(TIMESTAMP_SECONDS(candle_start), 'America/New_York') AS candle_start_us,
    market_date,
    candle_open,
    candle_high,
    candle_low,
    candle_close,
    trend_line,
    quotes
FROM with_trend
