{#- dbt asks the warehouse twice for the columns before each CREATE TABLE. Between two runs of one deployment no model
    changes, so `dbt run` on a table that is there leaves that to the CREATE TABLE, which names the contract's columns and
    types; `dbt build` and a first run ask. -#}
{% macro bigquery__get_assert_columns_equivalent(sql) -%}
{%- if flags.WHICH != 'run' or flags.FULL_REFRESH or load_cached_relation(this) is none -%}
{{ default__get_assert_columns_equivalent(sql) }}
{%- endif -%}
{%- endmacro %}

{#- The contract's columns and types in CREATE TABLE. The BigQuery stand-in takes none before a query in parentheses, as dbt
    writes it, and gets none. -#}
{% macro bigquery__get_table_columns_and_constraints() -%}
{%- if target.name == 'cloud' -%}
{{ default__get_table_columns_and_constraints() }}
{%- endif -%}
{%- endmacro %}
