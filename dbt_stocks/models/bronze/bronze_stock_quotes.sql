{{ config(materialized='view') }}

SELECT
    {{ raw_columns() }}
FROM {{ source('raw', 'bronze_stock_quotes_raw') }}
