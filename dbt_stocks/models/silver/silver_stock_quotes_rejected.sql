{{
    config(
        materialized='incremental',
        incremental_strategy='merge',
        unique_key='quote_id',
        partition_by={'field': 'fetched_date', 'data_type': 'date'},
        cluster_by=['symbol'],
        on_schema_change='ignore'
    )
}}

{%- set all_quotes = ref('int_stock_quotes_judged') -%}
{%- set batch = ref('int_stock_quotes_batch') -%}

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
    fetched_at_raw,
    fetched_date,
    object_key,
    loaded_at,
    rejection_rules
FROM {{ batch if is_incremental() else all_quotes }}
WHERE rejection_rules IS NOT NULL
-- Two loads side by side could insert a quote twice; two rows for one would fail the MERGE.
QUALIFY ROW_NUMBER() OVER (PARTITION BY quote_id ORDER BY loaded_at) = 1
