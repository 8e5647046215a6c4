{{ config(materialized='table', cluster_by=['symbol']) }}

WITH source AS (
    SELECT * FROM {{ ref('silver_stock_quotes') }}
),

-- Open and close are ordered by the epoch, not by New York's wall clock: that runs through one hour twice in November.
prices AS (
    SELECT
        symbol,
        market_date,
        current_price,
        GREATEST(day_high, current_price) AS high_price,
        -- Finnhub sends 0 for a day low it does not know; a candle must not reach down to it.
        LEAST(IF(day_low > 0, day_low, current_price), current_price) AS low_price,
        FIRST_VALUE(current_price) OVER (
            PARTITION BY symbol, market_date
            ORDER BY market_timestamp_raw
            ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING
        ) AS first_price,
        LAST_VALUE(current_price) OVER (
            PARTITION BY symbol, market_date
            ORDER BY market_timestamp_raw
            ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING
        ) AS last_price
    FROM source
),

daily AS (
    SELECT
        symbol,
        market_date AS candle_date,
        ANY_VALUE(first_price) AS candle_open,
        MAX(high_price) AS candle_high,
        MIN(low_price) AS candle_low,
        ANY_VALUE(last_price) AS candle_close,
        AVG(current_price) AS trend_line
    FROM prices
    GROUP BY symbol, market_date
),

ranked AS (
    SELECT
        *,
        ROW_NUMBER() OVER (
            PARTITION BY symbol
            ORDER BY candle_date DESC
        ) AS date_rank
    FROM daily
)

SELECT
    symbol,
    candle_date,
    candle_open,
    candle_high,
    candle_low,
    candle_close,
    trend_line
FROM ranked
WHERE date_rank <= 12
