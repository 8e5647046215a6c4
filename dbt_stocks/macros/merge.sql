{#- dbt's MERGE, with a predicate on the target's partitions: those that the batch touches. dbt's own would read the whole
    target, since BigQuery prunes by constants, parameters and scripting variables only, never by a join. The adapter's
    insert_overwrite strategy declares its partitions in the same way. -#}
{% macro bigquery__get_merge_sql(target, source, unique_key, dest_columns, incremental_predicates=none) -%}
{%- set field = config.get('partition_by').field -%}
DECLARE touched_partitions ARRAY<DATE> DEFAULT (
    SELECT ARRAY_AGG(DISTINCT {{ field }})
    FROM {{ ref('int_stock_quotes_batch') }}
    WHERE {{ field }} IS NOT NULL
);
{{
    default__get_merge_sql(
        target,
        source,
        unique_key,
        dest_columns,
        (incremental_predicates or []) + ['DBT_INTERNAL_DEST.' ~ field ~ ' IN UNNEST(touched_partitions)']
    )
}}
{%- endmacro %}
