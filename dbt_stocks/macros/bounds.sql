{#- The constant predicates by which BigQuery prunes the partitions that a view reads. -#}

{#- Condition: fetched in the days that the tail reads. -#}
{% macro is_fetched_recently() -%}
fetched_date >= DATE_SUB(CURRENT_DATE(), INTERVAL {{ var('tail_days') }} DAY)
{%- endmacro %}

{#- Condition: the market date is at most so many days ago. TRUE where market dates are not bounded. -#}
{% macro is_market_date_within(days) -%}
{{ 'market_date >= DATE_SUB(CURRENT_DATE(), INTERVAL ' ~ days ~ ' DAY)' if bounds_market_dates() else 'TRUE' }}
{%- endmacro %}

{#- Whether views bound market dates by today: not on a stand-in, where the recorded prices of 2019 are played. -#}
{% macro bounds_market_dates() -%}
{{ return(var('bound_market_dates', target.name == 'cloud')) }}
{%- endmacro %}

{#- DATE: from this market date on recent_quotes() gives all quotes; before it the settled tables have. -#}
{% macro first_recent_date() -%}
{{ 'DATE_SUB(CURRENT_DATE(), INTERVAL ' ~ var('recent_market_days') ~ ' DAY)' if bounds_market_dates() else "DATE '0001-01-01'" }}
{%- endmacro %}
