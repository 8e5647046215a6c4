WITH daily AS (
    SELECT * FROM {{ ref('silver_stock_quotes_daily') }}
)

SELECT
    symbol,
    market_date AS candle_date,
    open_price AS candle_open,
    high_price AS candle_high,
    low_price AS candle_low,
    close_price AS candle_close,
    mean_price AS trend_line,
    quotes,
    warning
FROM daily
QUALIFY ROW_NUMBER() OVER (PARTITION BY symbol ORDER BY market_date DESC) <= 12
