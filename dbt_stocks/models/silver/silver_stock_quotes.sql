{{
    config(
        materialized='incremental',
        incremental_strategy='merge',
        unique_key=['symbol', 'market_timestamp_raw'],
        partition_by={'field': 'market_date', 'data_type': 'date'},
        cluster_by=['symbol']
    )
}}

WITH source AS (
    SELECT * FROM {{ ref('bronze_stock_quotes') }}
    {% if is_incremental() %}
        WHERE {{ loaded_since('loaded_at') }}
    {% endif %}
),

typed AS (
    SELECT
        symbol,
        CAST(current_price AS FLOAT64) AS current_price,
        CAST(change_amount AS FLOAT64) AS change_amount,
        CAST(change_percent AS FLOAT64) AS change_percent,
        CAST(day_high AS FLOAT64) AS day_high,
        CAST(day_low AS FLOAT64) AS day_low,
        CAST(day_open AS FLOAT64) AS day_open,
        CAST(prev_close AS FLOAT64) AS prev_close,
        CAST(market_timestamp AS INT64) AS market_timestamp_raw,
        {{ epoch_timestamp('CAST(market_timestamp AS INT64)') }} AS market_time_utc,
        {{ epoch_timestamp('CAST(fetched_at AS INT64)') }} AS fetched_at,
        fetched_date,
        quote_id,
        loaded_at
    FROM source
),

-- Before the deduplication: otherwise a rejected latest observation would hide a good earlier one of the same key.
validated AS (
    SELECT *
    FROM typed
    WHERE
        symbol IS NOT NULL
        AND market_time_utc IS NOT NULL
        AND fetched_at IS NOT NULL
        AND current_price > 0
        AND prev_close > 0
        AND day_open > 0
        AND day_high >= day_low
),

ranked AS (
    SELECT
        *,
        ROW_NUMBER() OVER (
            PARTITION BY symbol, market_timestamp_raw
            ORDER BY fetched_at DESC, quote_id DESC
        ) AS observation_rank
    FROM validated
),

latest AS (
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
        DATETIME(market_time_utc, 'America/New_York') AS market_time_us,
        DATE(market_time_utc, 'America/New_York') AS market_date,
        fetched_at,
        fetched_date,
        quote_id,
        loaded_at
    FROM ranked
    WHERE observation_rank = 1
)

SELECT latest.*
FROM latest
{% if is_incremental() %}
    -- The merge updates every row it is given, so an earlier observation that arrives late must not reach it.
    LEFT JOIN {{ this }} AS existing
        ON
            latest.symbol = existing.symbol
            AND latest.market_timestamp_raw = existing.market_timestamp_raw
    WHERE {{ later_observation('latest', 'existing') }}
{% endif %}
