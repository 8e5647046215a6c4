{{ config(materialized='view') }}

WITH source AS (
    SELECT * FROM {{ ref('bronze_stock_quotes') }}
),

typed AS (
    SELECT
        symbol,
        current_price,
        change_amount,
        change_percent,
        day_high,
        day_low,
        day_open,
        prev_close,
        market_timestamp AS market_timestamp_raw,
        {{ epoch_timestamp('market_timestamp') }} AS market_time_utc,
        fetched_at AS fetched_at_raw,
        {{ epoch_timestamp('fetched_at') }} AS fetched_at,
        fetched_date,
        -- The loader lets no quote without an id in; should one be there, its object's key tells it apart.
        COALESCE(quote_id, object_key) AS quote_id,
        quote_id IS NULL AS lacks_id,
        object_key,
        loaded_at
    FROM source
),

-- Each rule looks at this one row and no clock, so a quote is judged alike whenever and in whatever order it is loaded.
judged AS (
    SELECT
        *,
        NULLIF(
            ARRAY_TO_STRING(
                [
                    IF(lacks_id, 'missing_quote_id', NULL),
                    IF(COALESCE(TRIM(symbol), '') = '', 'missing_symbol', NULL),
                    IF(fetched_at IS NULL, 'missing_fetch_time', NULL),
                    IF(COALESCE(market_timestamp_raw, 0) <= 0, 'missing_market_time', NULL),
                    IF(
                        market_timestamp_raw > 0
                        AND market_timestamp_raw < UNIX_SECONDS(TIMESTAMP('{{ var("earliest_market_date") }}')),
                        'ancient_market_time',
                        NULL
                    ),
                    IF(
                        market_timestamp_raw > fetched_at_raw + {{ var('future_tolerance_seconds') }},
                        'future_market_time',
                        NULL
                    ),
                    IF(COALESCE(current_price, 0) <= 0, 'non_positive_price', NULL),
                    IF(COALESCE(prev_close, 0) <= 0, 'missing_previous_close', NULL),
                    IF(COALESCE(day_open, 0) <= 0, 'missing_open', NULL),
                    -- Finnhub sends 0 for a high or a low that it does not know.
                    IF({{ known('day_high') }} < {{ known('day_low') }}, 'high_below_low', NULL),
                    IF(
                        current_price > 0
                        AND (current_price > {{ known('day_high') }} OR current_price < {{ known('day_low') }}),
                        'price_outside_range',
                        NULL
                    )
                ],
                ', '
            ),
            ''
        ) AS rejection_rules
    FROM typed
)

SELECT
    quote_id,
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
    DATETIME(market_time_utc, 'America/New_York') AS market_time_us,
    DATE(market_time_utc, 'America/New_York') AS market_date,
    fetched_at_raw,
    fetched_at,
    fetched_date,
    object_key,
    loaded_at,
    rejection_rules
FROM judged
