{#- Condition: the row was loaded since this incremental model last read its input, with the overlap of load_overlap_minutes.
    loaded_at is the only clock that late, replayed and out-of-order quotes cannot escape: fetched_at and the market's
    time may lie anywhere in the past. Rows without one (loaded by an older loader) are always read. -#}
{% macro loaded_since(loaded_at) -%}
(
    {{ loaded_at }} IS NULL
    OR {{ loaded_at }} >= (
        SELECT
            TIMESTAMP_SUB(
                COALESCE(MAX(seen.loaded_at), TIMESTAMP '1970-01-02 00:00:00+00'),
                INTERVAL {{ var('load_overlap_minutes') }} MINUTE
            )
        FROM {{ this }} AS seen
    )
)
{%- endmacro %}
