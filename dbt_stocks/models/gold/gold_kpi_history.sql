{{
    config(
        materialized='incremental',
        incremental_strategy='merge',
        unique_key=['symbol', 'market_time_utc'],
        partition_by={'field': 'market_date', 'data_type': 'date'},
        cluster_by=['symbol']
    )
}}

WITH source AS (
    SELECT * FROM {{ ref('silver_stock_quotes') }}
    {% if is_incremental() %}
        WHERE {{ loaded_since('loaded_at') }}
    {% endif %}
),

selected AS (
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
        loaded_at
    FROM source
)

SELECT selected.*
FROM selected
{% if is_incremental() %}
    LEFT JOIN {{ this }} AS existing
        ON
            selected.symbol = existing.symbol
            AND selected.market_time_utc = existing.market_time_utc
    WHERE {{ later_observation('selected', 'existing') }}
{% endif %}
