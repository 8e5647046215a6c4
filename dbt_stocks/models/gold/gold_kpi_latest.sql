WITH recent AS (
    {{ recent_quotes() | indent(4) }}
),

quotes AS (
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
        fetched_at,
        quote_id,
        loaded_at,
        warning
    FROM recent
    UNION ALL
    SELECT
        symbol,
        last_traded.*
    FROM {{ ref('silver_stock_quotes_daily_settled') }}
    WHERE
        market_date < {{ first_recent_date() }}
        AND {{ is_market_date_within(var('history_days')) }}
)

SELECT * FROM quotes
QUALIFY ROW_NUMBER() OVER (PARTITION BY symbol ORDER BY market_timestamp_raw DESC) = 1
