{#- Written by `make dictionary` from infra/gcp/tables.json; do not edit. -#}

{#- The columns of bronze_stock_quotes_raw by their readable names. -#}
{% macro raw_columns() -%}
c AS current_price,
    d AS change_amount,
    dp AS change_percent,
    h AS day_high,
    l AS day_low,
    o AS day_open,
    pc AS prev_close,
    t AS market_timestamp,
    symbol,
    fetched_at,
    quote_id,
    object_key,
    fetched_date,
    loaded_at
{%- endmacro %}

{#- The readable names of a quote's prices, and of whatever else of it is a number. -#}
{% macro price_columns() -%}
{{ return([
    'current_price',
    'change_amount',
    'change_percent',
    'day_high',
    'day_low',
    'day_open',
    'prev_close'
]) }}
{%- endmacro %}
