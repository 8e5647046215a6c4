{#- Condition: `candidate` was observed after `existing`, or `existing` is absent (from a LEFT JOIN). quote_id (uuid v7, so
    ordered in time) decides between observations of one second, which makes the result independent of arrival order. -#}
{% macro later_observation(candidate, existing) -%}
(
    {{ existing }}.symbol IS NULL
    OR {{ candidate }}.fetched_at > {{ existing }}.fetched_at
    OR (
        {{ candidate }}.fetched_at = {{ existing }}.fetched_at
        AND {{ candidate }}.quote_id > {{ existing }}.quote_id
    )
)
{%- endmacro %}
