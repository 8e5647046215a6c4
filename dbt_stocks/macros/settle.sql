{#- How a run settles what was loaded: which rows of bronze it reads, and which partitions it writes. -#}

{#- Condition: the row of bronze was loaded since the last complete run; TRUE at a full refresh. The variables are declared by
    bigquery__get_merge_sql. -#}
{% macro is_unsettled() -%}
{%- if is_incremental() -%}
{{ is_read('fetched_date') }}
AND COALESCE(loaded_at >= loaded_since, TRUE)
{%- else -%}
TRUE
{%- endif -%}
{%- endmacro %}

{#- Condition: the date is one that this run reads: one that was written to, or one of the tail's days, whatever was written. -#}
{% macro is_read(date) -%}
({{ date }} IN UNNEST(loaded_dates) OR {{ date }} IS NULL
    OR {{ date }} >= DATE_SUB(CURRENT_DATE(), INTERVAL {{ var('tail_days') }} DAY))
{%- endmacro %}

{#- Condition: the row is in a partition that this run writes. -#}
{% macro is_touched(column) -%}
{{ column }} IN UNNEST(touched_partitions)
{%- endmacro %}

{#- Query: from when on loads may not be settled. What began to load so long before the last complete run had been committed
    when that run began. -#}
{% macro loads_since(watermark) -%}
SELECT
    COALESCE(
        TIMESTAMP_SUB(LEAST(MAX(loaded_before), CURRENT_TIMESTAMP()), INTERVAL {{ var('load_overlap_minutes') }} MINUTE),
        TIMESTAMP_SECONDS(0)
    )
FROM {{ watermark }}
{%- endmacro %}

{#- When this run began. The warehouse's clock bounds it: a clock that runs ahead would count loads as settled that are not. -#}
{% macro run_began() -%}
LEAST(TIMESTAMP '{{ run_started_at }}', CURRENT_TIMESTAMP())
{%- endmacro %}

{#- Query: the fetched_dates of which rows were loaded since loaded_since. BigQuery's metadata tells when it last wrote each
    partition, so no row is read. A stand-in is asked for the rows. -#}
{% macro dates_of_loads(since) -%}
{%- if target.name == 'cloud' -%}
SELECT ARRAY_AGG(PARSE_DATE('%Y%m%d', partition_id))
FROM `{{ target.project }}`.{{ target.dataset }}.INFORMATION_SCHEMA.PARTITIONS
WHERE
    table_name = 'bronze_stock_quotes_raw'
    -- The id of a day begins with a digit; this leaves out __NULL__ and the like. bqemulator accepts no variable here, so
    -- loaded_since is not used.
    AND partition_id < 'A'
    AND last_modified_time >= ({{ since }})
{%- else -%}
SELECT ARRAY_AGG(DISTINCT fetched_date)
FROM {{ ref('bronze_stock_quotes') }}
WHERE
    fetched_date IS NOT NULL
    AND COALESCE(loaded_at >= loaded_since, TRUE)
{%- endif -%}
{%- endmacro %}

{#- dbt's MERGE, with the partitions that it reads and writes as variables: BigQuery prunes by constants, parameters and
    scripting variables, never by a join. The adapter's insert_overwrite strategy declares its partitions in the same way. -#}
{% macro bigquery__get_merge_sql(target, source, unique_key, dest_columns, incremental_predicates=none) -%}
{%- set partition = config.get('partition_by') -%}
{%- set predicates = incremental_predicates or [] -%}
{%- if partition -%}
{#- By its name, not by ref(): it is built after everything that a run settles, which dbt would call a cycle. -#}
{%- set watermark = adapter.get_relation(this.database, this.schema, 'int_load_watermark') -%}
{%- do predicates.append('DBT_INTERNAL_DEST.' ~ is_touched(partition.field)) -%}
{%- set since = loads_since(watermark) if watermark else 'SELECT TIMESTAMP_SECONDS(0)' -%}
DECLARE loaded_since TIMESTAMP DEFAULT (
    {{ since }}
);
DECLARE loaded_dates ARRAY<DATE> DEFAULT (
    {{ dates_of_loads(since) }}
);
DECLARE touched_partitions ARRAY<DATE> DEFAULT
{%- if partition.field == 'fetched_date' %} loaded_dates;
{%- else %} (
    SELECT ARRAY_AGG(DISTINCT market_date)
    FROM (
        SELECT {{ market_date('symbol', epoch_timestamp('market_timestamp')) }} AS market_date
        FROM {{ ref('bronze_stock_quotes') }}
        WHERE {{ is_unsettled() }}
    ) AS new_quotes
    WHERE market_date IS NOT NULL
);
{%- endif %}
{% endif -%}
{{ default__get_merge_sql(target, source, unique_key, dest_columns, predicates) }}
{%- endmacro %}

{#- Query: of the rejected quotes that were settled after the complete run before the last one, how many break each rule. What a
    failed run settled is counted by the complete run that follows. A quote that breaks two rules counts under both. -#}
{% macro newly_rejected() -%}
SELECT
    rule,
    COUNT(*) AS quotes
FROM {{ ref('silver_stock_quotes_rejected') }}
CROSS JOIN UNNEST(SPLIT(rejection_rules, ', ')) AS rule
WHERE
    settled_at > COALESCE(
        (SELECT loaded_before FROM {{ ref('int_load_watermark') }} ORDER BY loaded_before DESC LIMIT 1 OFFSET 1),
        TIMESTAMP_SECONDS(0)
    )
GROUP BY rule
{%- endmacro %}
