{#- What a settled table and the view over it and the tail share: how a quote is chosen and how a day is summed up. -#}

{#- Query: the valid quotes among those rows of bronze that meet a condition, of the market dates that meet another. -#}
{% macro valid_quotes(condition, dates='TRUE') -%}
WITH judged AS (
    {{ judged_quotes(condition) | indent(4) }}
)

SELECT
    symbol,
    {% for name in price_columns() -%}
    {{ (known(name) ~ ' AS ' ~ name) if name in ('day_high', 'day_low') else name }},
    {% endfor -%}
    market_timestamp_raw,
    market_time_utc,
    market_time_us,
    market_date,
    fetched_at,
    fetched_date,
    quote_id,
    loaded_at,
    current_price AS lowest_observed_price,
    current_price AS highest_observed_price
FROM judged
-- Before the choice: a rejected latest observation would hide a good earlier one of the same trade.
WHERE
    rejection_rules IS NULL
    AND verdict_is_final
    AND {{ dates }}
{%- endmacro %}

{#- Query: of several observations of one trade the latest, and how far they all reach, whatever the order in which they came.
    quote_id (uuid v7, so ordered in time) decides between two of one second. -#}
{% macro best_quotes(candidates) -%}
SELECT
    *,
    NULLIF(
        ARRAY_TO_STRING(
            [
                IF(lowest_observed_price < highest_observed_price, 'frozen_market_time', NULL),
                IF(current_price > day_high OR current_price < day_low, 'price_outside_range', NULL)
            ],
            ', '
        ),
        ''
    ) AS warning
FROM (
    SELECT
        * EXCEPT (lowest_observed_price, highest_observed_price),
        MIN(lowest_observed_price) OVER (PARTITION BY symbol, market_timestamp_raw) AS lowest_observed_price,
        MAX(highest_observed_price) OVER (PARTITION BY symbol, market_timestamp_raw) AS highest_observed_price
    FROM {{ candidates }}
    QUALIFY
        ROW_NUMBER() OVER (
            PARTITION BY symbol, market_timestamp_raw
            ORDER BY fetched_at DESC, quote_id DESC, loaded_at DESC
        ) = 1
) AS best
{%- endmacro %}

{#- Query: the valid quotes of the latest market dates as of this moment, the best of what is settled and of the tail: what was
    loaded since the last complete run of dbt. A row that is in both counts once. -#}
{% macro recent_quotes() -%}
WITH tail AS (
    {% set is_in_tail -%}
    {{ is_fetched_recently() }}
    AND COALESCE(loaded_at >= (
        {{ loads_since(ref('int_load_watermark')) | indent(8) }}
    ), TRUE)
    {%- endset -%}
    {{ valid_quotes(is_in_tail, is_market_date_within(var('recent_market_days'))) | indent(4) }}
),

candidates AS (
    SELECT * FROM tail
    UNION ALL
    SELECT * EXCEPT (warning)
    FROM {{ ref('silver_stock_quotes_settled') }}
    WHERE market_date >= {{ first_recent_date() }}
)

{{ best_quotes('candidates') }}
{%- endmacro %}

{#- Query: each symbol's quotes of a day in one row. Open and close are ordered by the epoch, not by New York's wall clock,
    which runs through one hour twice in November. With `latest`: also the day's latest quotes, by the market and by the fetch. -#}
{% macro days_of(quotes, latest=false) -%}
SELECT
    symbol,
    market_date,
    MIN_BY(current_price, market_timestamp_raw) AS open_price,
    MAX(GREATEST(COALESCE(day_high, current_price), highest_observed_price)) AS high_price,
    MIN(LEAST(COALESCE(day_low, current_price), lowest_observed_price)) AS low_price,
    MAX_BY(current_price, market_timestamp_raw) AS close_price,
    MAX_BY(prev_close, market_timestamp_raw) AS prev_close,
    AVG(current_price) AS mean_price,
    VAR_POP(current_price) AS price_variance,
    COUNT(*) AS quotes,
    MAX(fetched_at) AS last_fetched_at
    {%- if latest %},
    MAX_BY(STRUCT({{ latest_columns() }}), market_timestamp_raw) AS last_traded,
    ARRAY_AGG(STRUCT({{ latest_columns() }}) ORDER BY fetched_at DESC, market_timestamp_raw DESC LIMIT 1)[OFFSET(0)] AS last_fetched
    {%- endif %}
FROM {{ quotes }}
GROUP BY symbol, market_date
{%- endmacro %}

{#- The columns of a latest quote beside the symbol, named so that they make a row or a STRUCT. -#}
{% macro latest_columns() -%}
{%- for name in price_columns() + [
    'market_timestamp_raw', 'market_time_utc', 'market_time_us', 'fetched_at', 'quote_id', 'loaded_at', 'warning'
] -%}
{{ name }} AS {{ name }}{{ ', ' if not loop.last }}
{%- endfor -%}
{%- endmacro %}

{#- Query: each symbol's latest quote by an order. Of a symbol without recent quotes it is the `last` of its settled days. -#}
{% macro latest_quotes(last, order) -%}
WITH recent AS (
    {{ recent_quotes() | indent(4) }}
),

quotes AS (
    SELECT
        symbol,
        {{ latest_columns() }}
    FROM recent
    UNION ALL
    SELECT
        symbol,
        {{ last }}.*
    FROM {{ ref('silver_stock_quotes_daily_settled') }}
    WHERE
        market_date < {{ first_recent_date() }}
        AND {{ is_market_date_within(var('history_days')) }}
)

SELECT * FROM quotes
QUALIFY ROW_NUMBER() OVER (PARTITION BY symbol ORDER BY {{ order }}) = 1
{%- endmacro %}
