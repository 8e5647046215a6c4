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
FROM {{ ref('silver_stock_quotes') }}
