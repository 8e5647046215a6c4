{#- The price, or NULL where Finnhub sent 0 for one that it does not know. -#}
{% macro known(price) -%}
IF({{ price }} > 0, {{ price }}, NULL)
{%- endmacro %}
