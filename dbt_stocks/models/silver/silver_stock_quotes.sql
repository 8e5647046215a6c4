{{
    config(
        materialized='incremental',
        incremental_strategy='merge',
        unique_key=['symbol', 'market_timestamp_raw'],
        partition_by={'field': 'market_date', 'data_type': 'date'},
        cluster_by=['symbol'],
        on_schema_change='ignore'
    )
}}

{%- set all_quotes = ref('int_stock_quotes_judged') -%}
{%- set batch = ref('int_stock_quotes_batch') -%}

WITH new_quotes AS (
    SELECT
        symbol,
        current_price,
        change_amount,
        change_percent,
        {{ known('day_high') }} AS day_high,
        {{ known('day_low') }} AS day_low,
        day_open,
        prev_close,
        market_timestamp_raw,
        market_time_utc,
        market_time_us,
        market_date,
        fetched_at,
        fetched_date,
        quote_id,
        loaded_at,
        current_price AS lowest_observed_price,
        current_price AS highest_observed_price,
        FALSE AS is_known
    FROM {{ batch if is_incremental() else all_quotes }}
    -- Before the deduplication: otherwise a rejected latest observation would hide a good earlier one of the same key.
    WHERE rejection_rules IS NULL
),

{% if is_incremental() %}
    new_keys AS (
        SELECT DISTINCT
            symbol,
            market_timestamp_raw
        FROM new_quotes
    ),

    known_quotes AS (
        SELECT
            existing.symbol,
            existing.current_price,
            existing.change_amount,
            existing.change_percent,
            existing.day_high,
            existing.day_low,
            existing.day_open,
            existing.prev_close,
            existing.market_timestamp_raw,
            existing.market_time_utc,
            existing.market_time_us,
            existing.market_date,
            existing.fetched_at,
            existing.fetched_date,
            existing.quote_id,
            existing.loaded_at,
            existing.lowest_observed_price,
            existing.highest_observed_price,
            TRUE AS is_known
        FROM {{ this }} AS existing
        INNER JOIN new_keys
            ON
                existing.symbol = new_keys.symbol
                AND existing.market_timestamp_raw = new_keys.market_timestamp_raw
        -- touched_partitions is declared by macros/merge.sql.
        WHERE existing.market_date IN UNNEST(touched_partitions)  -- noqa: RF02
    ),
{% endif %}

observations AS (
    SELECT * FROM new_quotes
    {% if is_incremental() %}
        UNION ALL
        SELECT * FROM known_quotes
    {% endif %}
),

-- The latest observation, and how far the observations of the same trade reach, whatever the order in which they come:
-- quote_id (uuid v7, so ordered in time) decides between two of one second.
latest AS (
    SELECT
        *,
        MIN(lowest_observed_price) OVER (PARTITION BY symbol, market_timestamp_raw) AS lowest_price,
        MAX(highest_observed_price) OVER (PARTITION BY symbol, market_timestamp_raw) AS highest_price
    FROM observations
    QUALIFY
        ROW_NUMBER() OVER (
            PARTITION BY symbol, market_timestamp_raw
            ORDER BY fetched_at DESC, quote_id DESC, is_known DESC
        ) = 1
)

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
    fetched_date,
    quote_id,
    loaded_at,
    lowest_price AS lowest_observed_price,
    highest_price AS highest_observed_price,
    IF(lowest_price < highest_price, 'frozen_market_time', NULL) AS warning
FROM latest
{% if is_incremental() %}
    -- What is read a second time changes nothing and is not written again.
    WHERE
        NOT is_known
        OR lowest_price < lowest_observed_price
        OR highest_price > highest_observed_price
{% endif %}
