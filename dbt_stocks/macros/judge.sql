{#- Query: the quotes of bronze_stock_quotes that meet a condition, typed, with the rules that they break. -#}
{% macro judged_quotes(condition) -%}
{%- set tolerance = var('future_tolerance_seconds') -%}
WITH typed AS (
    SELECT
        * EXCEPT (market_timestamp, fetched_at, quote_id),
        market_timestamp AS market_timestamp_raw,
        {{ epoch_timestamp('market_timestamp') }} AS market_time_utc,
        fetched_at AS fetched_at_raw,
        {{ epoch_timestamp('fetched_at') }} AS fetched_at,
        -- The loader lets no quote without an id in; should one be there, the key of its object tells it apart.
        COALESCE(quote_id, object_key, '') AS quote_id,
        quote_id IS NULL AS lacks_id,
        UNIX_SECONDS(CURRENT_TIMESTAMP()) + {{ tolerance }} AS latest_now,
        UNIX_SECONDS(COALESCE(loaded_at, CURRENT_TIMESTAMP())) + {{ tolerance }} AS latest_loaded
    FROM {{ ref('bronze_stock_quotes') }}
    WHERE {{ condition }}
)

-- Each rule uses only this row, so the verdict does not depend on when and in which order quotes are loaded. The clock matters
-- only if the load time of a quote is in the future, too: see verdict_is_final.
SELECT
    * EXCEPT (lacks_id, latest_now, latest_loaded),
    DATETIME(market_time_utc, 'America/New_York') AS market_time_us,
    {{ market_date('symbol', 'market_time_utc') }} AS market_date,
    COALESCE(UNIX_SECONDS(fetched_at) <= latest_now OR UNIX_SECONDS(fetched_at) > latest_loaded, TRUE)
        AS verdict_is_final,
    NULLIF(
        ARRAY_TO_STRING(
            [
                IF(lacks_id, 'missing_quote_id', NULL),
                IF(COALESCE(TRIM(symbol), '') = '', 'missing_symbol', NULL),
                IF(fetched_at IS NULL OR fetched_date IS NULL, 'missing_fetch_time', NULL),
                IF(UNIX_SECONDS(fetched_at) > LEAST(latest_loaded, latest_now), 'future_fetch_time', NULL),
                IF(COALESCE(market_timestamp_raw, 0) <= 0, 'missing_market_time', NULL),
                IF(
                    market_timestamp_raw > 0
                    AND market_timestamp_raw < UNIX_SECONDS(TIMESTAMP('{{ var("earliest_market_date") }}')),
                    'ancient_market_time',
                    NULL
                ),
                IF(market_timestamp_raw > UNIX_SECONDS(fetched_at) + {{ tolerance }}, 'future_market_time', NULL),
                IF(COALESCE(current_price, 0) <= 0, 'non_positive_price', NULL),
                IF(COALESCE(prev_close, 0) <= 0, 'missing_previous_close', NULL),
                IF(COALESCE(day_open, 0) <= 0, 'missing_open', NULL),
                -- Finnhub sends 0 for a high or a low that it does not know.
                IF({{ known('day_high') }} < {{ known('day_low') }}, 'high_below_low', NULL),
                -- Before any arithmetic: one overflow would fail the statement for every symbol.
                IF(
                    EXISTS (
                        SELECT figure
                        FROM UNNEST([{{ price_columns() | join(', ') }}]) AS figure
                        WHERE NOT ABS(figure) <= {{ var('largest_figure') }}
                    )
                    OR (current_price > 0 AND current_price < 1 / {{ var('largest_figure') }})
                    OR (prev_close > 0 AND prev_close < 1 / {{ var('largest_figure') }}),
                    'absurd_figure',
                    NULL
                )
            ],
            ', '
        ),
        ''
    ) AS rejection_rules
FROM typed
{%- endmacro %}

{#- TIMESTAMP of epoch seconds; NULL before 1970 and from 9999 on (milliseconds sent as seconds, for example).
    TIMESTAMP_SECONDS itself would fail the whole statement, so that one bad quote would block every other. -#}
{% macro epoch_timestamp(seconds) -%}
IF({{ seconds }} BETWEEN 1 AND 253370764799, TIMESTAMP_SECONDS({{ seconds }}), NULL)
{%- endmacro %}

{#- The price, or NULL where Finnhub sent 0 for one that it does not know. -#}
{% macro known(price) -%}
IF({{ price }} > 0, {{ price }}, NULL)
{%- endmacro %}

{#- DATE: the day of the symbol's own market, as Finnhub's day_high, day_low, day_open and prev_close count it. New York's for
    US stocks; UTC's for what trades round the clock, which has an exchange's prefix (BINANCE:BTCUSDT); and the day that ends at
    17:00 in New York for currencies, as their brokers count it. -#}
{% macro market_date(symbol, time) -%}
CASE
        WHEN STRPOS({{ symbol }}, ':') = 0 THEN DATE({{ time }}, 'America/New_York')
        WHEN SPLIT({{ symbol }}, ':')[SAFE_OFFSET(0)] IN ('{{ var("forex_exchanges") | join("', '") }}')
            THEN DATE(DATETIME_ADD(DATETIME({{ time }}, 'America/New_York'), INTERVAL 7 HOUR))
        ELSE DATE({{ time }})
    END
{%- endmacro %}
