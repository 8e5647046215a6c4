WITH recent AS (
    {{ judged_quotes(is_fetched_recently()) | indent(4) }}
),

latest AS (
    SELECT * FROM {{ ref('gold_kpi') }}
),

sightings AS (
    SELECT
        symbol,
        fetched_at
    FROM recent
    UNION ALL
    SELECT
        symbol,
        fetched_at
    FROM latest
    UNION ALL
    SELECT
        symbol,
        {{ epoch_timestamp('last_fetched_at') }} AS fetched_at
    FROM {{ ref('bronze_symbol_watermarks') }}
),

-- A time in the future does not show how old the data is.
symbols AS (
    SELECT
        symbol,
        MAX(
            IF(
                fetched_at <= TIMESTAMP_ADD(CURRENT_TIMESTAMP(), INTERVAL {{ var('future_tolerance_seconds') }} SECOND),
                fetched_at,
                NULL
            )
        ) AS last_fetched_at
    FROM sightings
    WHERE symbol IS NOT NULL
    GROUP BY symbol
),

-- The newest load is the clock: with that of the reader, the figures of a pipeline that stands still would change.
clock AS (
    SELECT
        COALESCE(
            (SELECT LEAST(MAX(recent.loaded_at), CURRENT_TIMESTAMP()) FROM recent),
            (SELECT MAX(symbols.last_fetched_at) FROM symbols),
            CURRENT_TIMESTAMP()
        ) AS as_of
),

counted AS (
    SELECT
        recent.symbol,
        COUNT(*) AS recent_quotes,
        COUNTIF(recent.rejection_rules IS NOT NULL) AS recent_rejected,
        MIN(recent.fetched_at) AS first_fetched_at
    FROM recent
    CROSS JOIN clock
    WHERE
        TIMESTAMP_DIFF(clock.as_of, recent.fetched_at, SECOND) >= -{{ var('future_tolerance_seconds') }}
        AND TIMESTAMP_DIFF(clock.as_of, recent.fetched_at, SECOND) < {{ var('health_window_minutes') }} * 60
    GROUP BY recent.symbol
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
    COALESCE(counted.recent_quotes, 0) AS recent_quotes,
    COALESCE(
        counted.recent_quotes / GREATEST(TIMESTAMP_DIFF(clock.as_of, counted.first_fetched_at, SECOND) / 60, 1), 0
    ) AS quotes_per_minute,
    COALESCE(counted.recent_rejected, 0) AS recent_rejected,
    counted.recent_rejected / counted.recent_quotes AS rejected_share
FROM symbols
CROSS JOIN clock
LEFT JOIN latest
    ON symbols.symbol = latest.symbol
LEFT JOIN counted
    ON symbols.symbol = counted.symbol
