{{ config(materialized='view') }}

WITH source AS (
    SELECT * FROM {{ source('raw', 'metadata_last_ts') }}
)

SELECT
    symbol,
    last_ts AS last_fetched_at
FROM source
