{{
    config(
        materialized='incremental',
        incremental_strategy='merge',
        unique_key=['symbol', 'market_date'],
        partition_by={'field': 'market_date', 'data_type': 'date'},
        cluster_by=['symbol'],
        on_schema_change='ignore'
    )
}}

-- The partitions that a run writes are those of its quotes (bigquery__get_merge_sql).
-- depends_on: {{ ref('bronze_stock_quotes') }}

WITH quotes AS (
    SELECT * FROM {{ ref('silver_stock_quotes_settled') }}
    {% if is_incremental() %}
        WHERE {{ is_touched('market_date') }}
    {% endif %}
)

{{ days_of('quotes', latest=true) }}
