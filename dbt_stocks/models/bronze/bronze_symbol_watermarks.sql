{{ config(materialized='view') }}

SELECT
    symbol,
    last_ts AS last_fetched_at
FROM {{ source('raw', 'metadata_last_ts') }}
