WITH source AS (
    SELECT * FROM {{ ref('silver_stock_quotes') }}
    WHERE {{ is_market_date_within(var('intraday_days')) }}
),

-- The day of every market begins at a whole hour of UTC, so no candle reaches into the next one.
candles AS (
    SELECT
        source.symbol,
        interval_minutes,
        source.market_date,
        source.market_timestamp_raw - MOD(source.market_timestamp_raw, interval_minutes * 60) AS candle_start,
        MIN_BY(source.current_price, source.market_timestamp_raw) AS candle_open,
        MAX(source.highest_observed_price) AS candle_high,
        MIN(source.lowest_observed_price) AS candle_low,
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
