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

WITH new_quotes AS (
    {{ valid_quotes(is_unsettled()) | indent(4) }}
),

new_keys AS (
    SELECT DISTINCT
        symbol,
        market_timestamp_raw
    FROM new_quotes
),

candidates AS (
    SELECT * FROM new_quotes
    {% if is_incremental() %}
        UNION ALL
        SELECT settled.* EXCEPT (warning)
        FROM {{ this }} AS settled
        INNER JOIN new_keys
            ON
                settled.symbol = new_keys.symbol
                AND settled.market_timestamp_raw = new_keys.market_timestamp_raw
        WHERE {{ is_touched('settled.market_date') }}
    {% endif %}
)

{{ best_quotes('candidates') }}
