{#- Statement: of the batch's quotes that were loaded after the moment `since` (microseconds, epoch; none: of all), how many
    break each rule, and the newest load. A quote that breaks two rules counts under both; rule NULL are the valid ones. -#}
{% macro rejections(since) -%}
SELECT
    rule,
    COUNT(*) AS quotes,
    UNIX_MICROS(MAX(loaded_at)) AS newest
FROM {{ ref('int_stock_quotes_batch') }}
LEFT JOIN UNNEST(SPLIT(rejection_rules, ', ')) AS rule
{% if since is not none -%}
WHERE UNIX_MICROS(loaded_at) > {{ since }}
{% endif -%}
GROUP BY rule
{%- endmacro %}
