{{ config(materialized='table') }}

-- Built last: dbt builds it only after everything that has to take its part of the batch did.
-- depends_on: {{ ref('silver_stock_quotes_rejected') }}
-- depends_on: {{ ref('gold_candlestick') }}
-- depends_on: {{ ref('gold_kpi_history') }}
-- depends_on: {{ ref('gold_candlestick_intraday') }}

SELECT MAX(loaded_at) AS loaded_at
FROM {{ ref('int_stock_quotes_batch') }}
HAVING MAX(loaded_at) IS NOT NULL
