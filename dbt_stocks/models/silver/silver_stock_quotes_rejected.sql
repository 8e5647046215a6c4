{{
    config(
        materialized='incremental',
        incremental_strategy='merge',
        unique_key='quote_id',
        partition_by={'field': 'fetched_date', 'data_type': 'date'},
        cluster_by=['symbol'],
        on_schema_change='ignore'
    )
}}

WITH judged AS (
    {{ judged_quotes(is_unsettled()) | indent(4) }}
)

SELECT
    * EXCEPT (market_time_utc, market_time_us, market_date, fetched_at, verdict_is_final),
    {{ run_began() }} AS settled_at
FROM judged
WHERE
    rejection_rules IS NOT NULL
    AND verdict_is_final
    {% if is_incremental() %}
        -- What was read again stays as it was, so that settled_at tells when the quote was counted.
        AND quote_id NOT IN (
            SELECT settled.quote_id
            FROM {{ this }} AS settled
            WHERE {{ is_read('settled.fetched_date') }}
        )
    {% endif %}
-- Two loads side by side could insert a quote twice.
QUALIFY ROW_NUMBER() OVER (PARTITION BY quote_id ORDER BY loaded_at) = 1
