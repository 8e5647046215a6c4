{#- Written by `make dictionary` from infra/gcp/tables.json; do not edit. -#}

{#- The prices of a quote, and whatever else of it is a number: the raw columns with their readable names. -#}
{% macro price_columns() -%}
{{ return({
    'c': 'current_price',
    'd': 'change_amount',
    'dp': 'change_percent',
    'h': 'day_high',
    'l': 'day_low',
    'o': 'day_open',
    'pc': 'prev_close'
}) }}
{%- endmacro %}
