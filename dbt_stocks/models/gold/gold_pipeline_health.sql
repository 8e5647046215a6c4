{{ config(materialized='table') }}

{%- set batch = ref('int_stock_quotes_batch') -%}
{%- set first_day -%}
    SELECT DATE(TIMESTAMP_SUB(MAX(loaded_at), INTERVAL {{ var('health_window_minutes') }} MINUTE)) FROM {{ batch }}
{%- endset -%}
{%- set first_day = query_column(first_day) | first -%}

-- The newest load is the clock: with the reader's own, the same quotes would give another table at each run.
WITH clock AS (
    SELECT MAX(loaded_at) AS as_of
    FROM {{ batch }}
),

symbols AS (
    SELECT
        symbol,
        {{ epoch_timestamp('last_fetched_at') }} AS last_fetched_at
    FROM {{ ref('bronze_symbol_watermarks') }}
),

latest AS (
    SELECT * FROM {{ ref('gold_kpi') }}
),

recent AS (
    SELECT
        judged.symbol,
        COUNT(*) AS recent_quotes,
        COUNTIF(judged.rejection_rules IS NOT NULL) AS recent_rejected,
        MIN(judged.fetched_at) AS first_fetched_at
    FROM {{ ref('int_stock_quotes_judged') }} AS judged
    CROSS JOIN clock
    WHERE
        judged.fetched_date >= DATE '{{ first_day or "9999-12-31" }}'
        AND judged.fetched_at > TIMESTAMP_SUB(clock.as_of, INTERVAL {{ var('health_window_minutes') }} MINUTE)
    GROUP BY judged.symbol
)

SELECT
    symbols.symbol,
    clock.as_of,
    symbols.last_fetched_at,
    TIMESTAMP_DIFF(clock.as_of, symbols.last_fetched_at, SECOND) AS seconds_behind,
    latest.fetched_at AS last_valid_fetched_at,
    latest.market_time_utc AS last_market_time_utc,
    latest.current_price AS last_price,
    latest.warning AS last_warning,
    COALESCE(recent.recent_quotes, 0) AS recent_quotes,
    COALESCE(
        recent.recent_quotes / GREATEST(TIMESTAMP_DIFF(clock.as_of, recent.first_fetched_at, SECOND) / 60, 1), 0
    ) AS quotes_per_minute,
    COALESCE(recent.recent_rejected, 0) AS recent_rejected,
    recent.recent_rejected / recent.recent_quotes AS rejected_share
FROM symbols
CROSS JOIN clock
LEFT JOIN latest
    ON symbols.symbol = latest.symbol
LEFT JOIN recent
    ON symbols.symbol = recent.symbol
