SELECT * EXCEPT (fetched_date, lowest_observed_price, highest_observed_price)
FROM {{ ref('silver_stock_quotes') }}
