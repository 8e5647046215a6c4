-- The body and the trend line of a candle lie within its wick. A mean of equal prices may differ from them in the
-- last bits.
SELECT
    symbol,
    candle_date
FROM {{ ref('gold_candlestick') }}
WHERE
    candle_low > LEAST(candle_open, candle_close)
    OR candle_high < GREATEST(candle_open, candle_close)
    OR trend_line NOT BETWEEN candle_low * (1 - 1e-9) AND candle_high * (1 + 1e-9)
