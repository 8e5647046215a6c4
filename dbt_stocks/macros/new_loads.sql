{#- Condition that picks the rows of bronze_stock_quotes loaded since the last complete run, with the overlap of
    load_overlap_minutes: everything at a full refresh, and before int_load_watermark is there.

    loaded_at is the only clock that late, replayed and out-of-order quotes cannot escape: fetched_at and the market's
    time may lie anywhere in the past. Alone it would read all of bronze, so the days of those loads are asked for first
    and named as literals, which BigQuery prunes partitions by. -#}
{% macro new_loads(quotes) -%}
{%- set since = loads_to_read_since() if execute and not flags.FULL_REFRESH -%}
{%- if not since -%}
TRUE
{%- else -%}
loaded_at >= TIMESTAMP_MICROS({{ since }})
AND {{ date_in('fetched_date', query_column(dates_loaded_since(quotes, since))) }}
{%- endif -%}
{%- endmacro %}

{#- Microseconds (epoch) from which loads are to be read; none where no run was complete yet. -#}
{% macro loads_to_read_since() -%}
{%- set newest = newest_complete_load(this) -%}
{{ return(newest - var('load_overlap_minutes') * 60 * 1000000 if newest is not none else none) }}
{%- endmacro %}

{#- Microseconds (epoch) of the newest load that a complete run has read; none where there was none. int_load_watermark is
    found by its name beside `neighbour`, not by ref(): it is built after everything that reads this run's batch, which
    dbt would call a cycle. -#}
{% macro newest_complete_load(neighbour) -%}
{%- set watermark = adapter.get_relation(neighbour.database, neighbour.schema, 'int_load_watermark') -%}
{%- if watermark is not none -%}
    {{ return(run_query('SELECT UNIX_MICROS(MAX(loaded_at)) FROM ' ~ watermark).columns[0].values()[0]) }}
{%- endif -%}
{{ return(none) }}
{%- endmacro %}

{#- Statement: the fetched_dates of the rows that were loaded since. -#}
{% macro dates_loaded_since(quotes, since) -%}
{{ return(dates_loaded_since_by_metadata(since) if target.name == 'cloud' else dates_loaded_since_by_rows(quotes, since)) }}
{%- endmacro %}

{#- By when BigQuery last wrote each partition: no row is read, so the cost does not grow with history. A row's loaded_at is
    taken before its statement commits, so no partition is missed. -#}
{% macro dates_loaded_since_by_metadata(since) -%}
SELECT PARSE_DATE('%Y%m%d', IF(STARTS_WITH(partition_id, '__'), NULL, partition_id)) AS fetched_date
FROM `{{ target.project }}`.{{ target.dataset }}.INFORMATION_SCHEMA.PARTITIONS
WHERE
    table_name = 'bronze_stock_quotes_raw'
    AND NOT STARTS_WITH(partition_id, '__')
    AND UNIX_MICROS(last_modified_time) >= {{ since }}
{%- endmacro %}

{#- By the rows: the stand-ins do not keep when a partition was written. -#}
{% macro dates_loaded_since_by_rows(quotes, since) -%}
SELECT DISTINCT fetched_date
FROM {{ quotes }}
WHERE loaded_at >= TIMESTAMP_MICROS({{ since }})
{%- endmacro %}
