{{ config(materialized='view') }}

WITH recent AS (
    {{ recent_quotes() | indent(4) }}
)

SELECT * FROM {{ ref('silver_stock_quotes_settled') }}
WHERE
    market_date < {{ first_recent_date() }}
    AND {{ is_market_date_within(var('history_days')) }}
UNION ALL
SELECT * FROM recent
