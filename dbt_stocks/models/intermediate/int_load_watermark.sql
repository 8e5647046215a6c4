{{ config(materialized='incremental', incremental_strategy='merge', on_schema_change='ignore') }}

-- Built last: dbt builds it only after everything that a run settles.
-- depends_on: {{ ref('silver_stock_quotes_rejected') }}
-- depends_on: {{ ref('silver_stock_quotes_daily_settled') }}

SELECT {{ run_began() }} AS loaded_before
