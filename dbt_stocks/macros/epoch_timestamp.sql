{#- TIMESTAMP of epoch seconds; NULL where BigQuery has no such timestamp (milliseconds sent as seconds, for example).
    TIMESTAMP_SECONDS itself would fail the whole statement, so that one bad quote would block every other. -#}
{% macro epoch_timestamp(seconds) -%}
IF({{ seconds }} BETWEEN 1 AND 253402300799, TIMESTAMP_SECONDS({{ seconds }}), NULL)
{%- endmacro %}
