{#- All columns in one query: BigQuery bills each query that a test is. -#}
{% test never_null(model, columns) %}

SELECT {{ columns | join(', ') }}
FROM {{ model }}
WHERE {% for column in columns %}{{ column }} IS NULL{{ ' OR ' if not loop.last }}{% endfor %}

{% endtest %}
