{{ config(materialized='table', cluster_by=['symbol']) }}

WITH source AS (
    SELECT
        symbol,
        market_date,
        current_price
    FROM {{ ref('silver_stock_quotes') }}
),

-- Each symbol's own latest day: one day for all would drop every stock on a weekend, when only crypto pairs trade.
latest_day AS (
    SELECT
        symbol,
        MAX(market_date) AS latest_date
    FROM source
    GROUP BY symbol
),

latest_price AS (
    SELECT
        source.symbol,
        latest_day.latest_date,
        AVG(source.current_price) AS avg_price
    FROM source
    INNER JOIN latest_day
        ON
            source.symbol = latest_day.symbol
            AND source.market_date = latest_day.latest_date
    GROUP BY source.symbol, latest_day.latest_date
),

volatility AS (
    SELECT
        symbol,
        STDDEV_POP(current_price) AS volatility,
        STDDEV_POP(current_price) / NULLIF(AVG(current_price), 0) AS relative_volatility
    FROM source
    GROUP BY symbol
)

SELECT
    latest_price.symbol,
    latest_price.latest_date,
    latest_price.avg_price,
    volatility.volatility,
    volatility.relative_volatility
FROM latest_price
INNER JOIN volatility
    ON latest_price.symbol = volatility.symbol
