{{ config(materialized='view') }}

WITH recent AS (
    {{ recent_quotes() | indent(4) }}
),

days AS (
    SELECT * EXCEPT (last_traded, last_fetched)
    FROM {{ ref('silver_stock_quotes_daily_settled') }}
    WHERE
        market_date < {{ first_recent_date() }}
        AND {{ is_market_date_within(var('history_days')) }}
    UNION ALL
    {{ days_of('recent') | indent(4) }}
)

SELECT
    *,
    -- After a split, the previous close at Finnhub is in new shares, and the day before was observed in old ones.
    IF(
        ABS(prev_close / LAG(close_price) OVER (PARTITION BY symbol ORDER BY market_date) - 1)
        > {{ var('split_gap_percent') }} / 100,
        'split_like_gap',
        NULL
    ) AS warning
FROM days
