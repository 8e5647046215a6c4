{{ config(materialized='view') }}

SELECT
    {% for raw, name in price_columns().items() -%}
        {{ raw }} AS {{ name }},
    {% endfor -%}
    t AS market_timestamp,
    symbol,
    fetched_at,
    quote_id,
    object_key,
    fetched_date,
    loaded_at
FROM {{ source('raw', 'bronze_stock_quotes_raw') }}
