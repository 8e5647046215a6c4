{#- The first column of a statement's answer; nothing while dbt only parses. -#}
{% macro query_column(statement) -%}
{{ return(run_query(statement).columns[0].values() if execute else []) }}
{%- endmacro %}

{#- Condition: `column` is one of `dates`. Literals, because BigQuery prunes partitions by no subquery. -#}
{% macro date_in(column, dates) -%}
{%- if dates -%}
{{ column }} IN ({% for date in dates %}DATE '{{ date }}'{{ ', ' if not loop.last }}{% endfor %})
{%- else -%}
FALSE
{%- endif -%}
{%- endmacro %}

{#- Condition: market_date is one that the batch touches. Not for what dbt puts into its MERGE: touched_partitions is declared
    there (merge.sql). A contract makes dbt put the query into a temporary table first, and that knows no variable. -#}
{% macro is_touched(batch) -%}
{%- set touched -%}
    SELECT DISTINCT market_date FROM {{ batch }} WHERE market_date IS NOT NULL ORDER BY 1
{%- endset -%}
{{ date_in('market_date', query_column(touched)) }}
{%- endmacro %}

{#- Condition: market_date is one on which a symbol has its highest `column` of the daily aggregates. -#}
{% macro is_latest_date(daily, column) -%}
{%- set latest -%}
    SELECT DISTINCT market_date
    FROM (
        SELECT market_date
        FROM {{ daily }}
        QUALIFY RANK() OVER (PARTITION BY symbol ORDER BY {{ column }} DESC) = 1
    ) AS latest
    ORDER BY 1
{%- endset -%}
{{ date_in('market_date', query_column(latest)) }}
{%- endmacro %}
