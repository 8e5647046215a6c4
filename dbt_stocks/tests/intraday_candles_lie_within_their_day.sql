-- A candle holds its open and its close, and reaches no further than the candle of its day.
SELECT
    intraday.symbol,
    intraday.interval_minutes,
    intraday.candle_start_utc
FROM {{ ref('gold_candlestick_intraday') }} AS intraday
INNER JOIN {{ ref('silver_stock_quotes_daily') }} AS daily
    ON
        intraday.symbol = daily.symbol
        AND intraday.market_date = daily.market_date
WHERE
    intraday.candle_low > LEAST(intraday.candle_open, intraday.candle_close)
    OR intraday.candle_high < GREATEST(intraday.candle_open, intraday.candle_close)
    OR intraday.candle_low < daily.low_price
    OR intraday.candle_high > daily.high_price
