WITH daily AS (
    SELECT * FROM {{ ref('silver_stock_quotes_daily') }}
    QUALIFY ROW_NUMBER() OVER (PARTITION BY symbol ORDER BY market_date DESC) <= {{ var('volatility_days') }}
),

-- The latest day of each symbol: one for all would drop every stock on a weekend, when only crypto pairs trade.
latest_day AS (
    SELECT *
    FROM daily
    QUALIFY ROW_NUMBER() OVER (PARTITION BY symbol ORDER BY market_date DESC) = 1
),

means AS (
    SELECT
        symbol,
        SUM(mean_price * quotes) / SUM(quotes) AS mean_price
    FROM daily
    GROUP BY symbol
),

-- The variance of the quotes of those days: within the days, and of their means. A sum of squares would lose digits.
deviations AS (
    SELECT
        daily.symbol,
        means.mean_price,
        SQRT(
            SUM(daily.quotes * (daily.price_variance + POW(daily.mean_price - means.mean_price, 2))) / SUM(daily.quotes)
        ) AS volatility,
        MAX(daily.warning) AS warning
    FROM daily
    INNER JOIN means
        ON daily.symbol = means.symbol
    GROUP BY daily.symbol, means.mean_price
)

SELECT
    latest_day.symbol,
    latest_day.market_date AS latest_date,
    latest_day.mean_price AS avg_price,
    latest_day.close_price AS last_price,
    latest_day.prev_close,
    100 * (latest_day.close_price - latest_day.prev_close) / latest_day.prev_close AS day_change_percent,
    deviations.volatility,
    deviations.volatility / deviations.mean_price AS relative_volatility,
    deviations.warning
FROM latest_day
INNER JOIN deviations
    ON latest_day.symbol = deviations.symbol
