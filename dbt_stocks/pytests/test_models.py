"""The results of the dbt models over several runs. Their own unit tests check single runs."""

import time
from datetime import UTC, date, datetime, timedelta

import pytest
from testkit.dbt import epoch

SILVER = "stock_silver.silver_stock_quotes"
REJECTED = "stock_silver.silver_stock_quotes_rejected"
NOON = epoch("2024-01-02T17:00:00Z")


def test_a_quote_reaches_every_table_with_its_identity(warehouse, transformer):
    warehouse.insert({"t": NOON, "quote_id": "one", "fetched_at": NOON + 6})

    transformer.run()

    assert warehouse.rows("stock_bronze.bronze_stock_quotes", "quote_id, fetched_at, fetched_date") == [
        ("one", NOON + 6, date(2024, 1, 2))
    ]
    fetched_at = datetime.fromtimestamp(NOON + 6, UTC)
    for table in (SILVER, "stock_gold.gold_kpi", "stock_gold.gold_kpi_latest", "stock_gold.gold_kpi_history"):
        assert warehouse.rows(table, "quote_id, fetched_at, market_timestamp_raw") == [("one", fetched_at, NOON)], table
    assert warehouse.rows("stock_gold.gold_candlestick", "symbol, candle_date") == [("AAPL", date(2024, 1, 2))]
    assert warehouse.rows("stock_gold.gold_treechart", "symbol, latest_date, avg_price, volatility") == [
        ("AAPL", date(2024, 1, 2), 150.0, 0.0)
    ]


def test_an_empty_bronze_makes_empty_tables_and_later_quotes_arrive(warehouse, transformer):
    transformer.run()
    assert all(rows == [] for rows in warehouse.everything().values())

    warehouse.insert({"t": NOON}, {"t": NOON, "c": 0})
    transformer.run()
    rows = {table.split(".")[1]: len(rows) for table, rows in warehouse.everything().items()}
    # Candles of one and of five minutes.
    assert rows.pop("gold_candlestick_intraday") == 2
    assert set(rows.values()) == {1}


def test_an_invalid_quote_is_kept_with_every_rule_that_it_breaks(warehouse, transformer):
    nothing = "missing_market_time, non_positive_price, missing_previous_close, missing_open"
    faults = {
        "all zero": ({"c": 0, "d": None, "dp": None, "h": 0, "l": 0, "o": 0, "pc": 0, "t": 0}, nothing),
        "price and time only": ({"h": 0, "l": 0, "o": 0, "pc": 0}, "missing_previous_close, missing_open"),
        "negative price": ({"c": -1}, "non_positive_price"),
        "no price": ({"c": None}, "non_positive_price"),
        "high below low": ({"c": 147.5, "h": 147, "l": 148}, "high_below_low"),
        "largest double": ({"c": 1.7976931348623157e308}, "absurd_figure"),
        "fetched in the year 2100": ({"fetched_at": 4102444800}, "future_fetch_time"),
        "fetched in 1970": ({"fetched_at": 0}, "missing_fetch_time"),
        "no market time": ({"t": None}, "missing_market_time"),
        "market time in milliseconds": ({"t": NOON * 1000}, "future_market_time"),
        "market time of 1999": ({"t": epoch("1999-12-31T23:59:59Z")}, "ancient_market_time"),
        "fetch time in milliseconds": ({"fetched_at": NOON * 1000, "fetched_date": "2024-01-02"}, "missing_fetch_time"),
    }
    warehouse.insert(
        *({"t": NOON, "fetched_at": NOON + 6, "symbol": symbol, **fault} for symbol, (fault, _) in faults.items()),
        {"t": NOON, "symbol": None},
        {"t": NOON, "symbol": "valid"},
    )

    transformer.run()

    assert warehouse.rows(SILVER, "symbol") == [("valid",)]
    rejected = warehouse.rows(REJECTED, "COALESCE(symbol, 'no symbol'), rejection_rules")
    assert dict(rejected) == {**{symbol: rules for symbol, (_, rules) in faults.items()}, "no symbol": "missing_symbol"}
    assert warehouse.rows(REJECTED, "current_price, day_high, market_timestamp_raw", "1 LIMIT 1") == [
        (None, 152.0, NOON)
    ]


def test_a_high_and_a_low_that_finnhub_does_not_know_are_null(warehouse, transformer):
    warehouse.insert({"t": NOON, "h": 0, "l": 0})

    transformer.run()

    assert warehouse.rows(SILVER, "day_high, day_low") == [(None, None)]
    columns = "candle_open, candle_high, candle_low, candle_close"
    assert warehouse.rows("stock_gold.gold_candlestick", columns) == [(150.0,) * 4]


def test_a_price_that_moves_while_the_market_time_stands_is_marked(warehouse, transformer):
    warehouse.insert({"t": NOON, "fetched_at": NOON + 12, "c": 151.0}, {"t": NOON + 60, "c": 151.0})
    transformer.run()
    assert warehouse.rows(SILVER, "warning") == [(None,), (None,)]

    # Late, and earlier than the existing quotes. It changes only the mark.
    warehouse.insert(
        {"t": NOON, "fetched_at": NOON + 6, "c": 150.0}, {"t": NOON + 60, "fetched_at": NOON + 61, "c": 151.0}
    )
    transformer.run()
    for table in (SILVER, "stock_gold.gold_kpi_history"):
        assert warehouse.rows(table, "market_timestamp_raw, current_price, warning") == [
            (NOON, 151.0, "frozen_market_time"),
            (NOON + 60, 151.0, None),
        ], table


def test_a_later_observation_updates_silver_and_gold(warehouse, transformer):
    warehouse.insert({"t": NOON, "fetched_at": NOON + 6, "c": 150.0, "quote_id": "first"})
    transformer.run()

    warehouse.insert({"t": NOON, "fetched_at": NOON + 12, "c": 151.0, "quote_id": "second"})
    transformer.run()

    for table in (SILVER, "stock_gold.gold_kpi", "stock_gold.gold_kpi_latest", "stock_gold.gold_kpi_history"):
        assert warehouse.rows(table, "quote_id, current_price") == [("second", 151.0)], table
    assert warehouse.rows("stock_gold.gold_candlestick", "candle_close, trend_line") == [(151.0, 151.0)]


def test_an_earlier_observation_that_arrives_late_changes_nothing(warehouse, transformer):
    warehouse.insert({"t": NOON, "fetched_at": NOON + 12, "c": 151.0, "quote_id": "second"})
    transformer.run()
    before = warehouse.everything()

    warehouse.insert({"t": NOON, "fetched_at": NOON + 6, "c": 151.0, "quote_id": "first"})
    transformer.run()

    after = warehouse.everything()
    # The run counts the loads.
    del after["stock_gold.gold_pipeline_health"], before["stock_gold.gold_pipeline_health"]
    assert after == before


def test_a_quote_that_arrives_a_year_late_is_not_lost(warehouse, transformer):
    year = 365 * 86_400
    warehouse.insert({"t": NOON, "quote_id": "today"})
    transformer.run()

    warehouse.insert({"t": NOON - year, "fetched_at": NOON - year + 6, "quote_id": "late"})
    transformer.run()

    for table in (SILVER, "stock_gold.gold_kpi_history"):
        assert warehouse.rows(table, "quote_id") == [("late",), ("today",)], table
    for table in ("stock_gold.gold_kpi", "stock_gold.gold_kpi_latest"):
        assert warehouse.rows(table, "quote_id") == [("today",)], table


def test_a_load_that_commits_after_a_later_one_is_not_lost(warehouse, transformer):
    now = datetime.now(UTC)
    warehouse.insert({"t": NOON, "quote_id": "quick", "loaded_at": now.isoformat()})
    transformer.run()

    warehouse.insert({"t": NOON + 60, "quote_id": "slow", "loaded_at": (now - timedelta(minutes=15)).isoformat()})
    transformer.run()

    for table in (SILVER, "stock_gold.gold_kpi_history"):
        assert warehouse.rows(table, "quote_id") == [("quick",), ("slow",)], table


def test_rejected_quotes_do_not_hold_up_the_ones_that_follow(warehouse, transformer):
    warehouse.insert({"t": NOON})
    transformer.run()
    warehouse.insert({"t": NOON + 60, "c": 0}, {"t": NOON * 1000, "fetched_at": NOON})
    transformer.run()
    warehouse.insert({"t": NOON + 120})
    transformer.run()

    assert warehouse.rows(SILVER, "market_timestamp_raw") == [(NOON,), (NOON + 120,)]


def test_the_hour_that_comes_twice_keeps_its_order(warehouse, transformer):
    warehouse.insert(
        {"t": epoch("2024-11-03T05:50:00Z"), "c": 150.0},
        {"t": epoch("2024-11-03T06:10:00Z"), "c": 151.0},
    )

    transformer.run()

    assert warehouse.rows("stock_gold.gold_candlestick", "candle_open, candle_close") == [(150.0, 151.0)]


def test_treechart_has_each_symbols_own_latest_day(warehouse, transformer):
    saturday = epoch("2024-01-06T17:00:00Z")
    warehouse.insert(
        {"t": NOON - 86_400, "c": 149.0},
        {"t": NOON, "c": 150.0},
        {"t": NOON + 60, "c": 151.0, "pc": 148.0},
        {"t": saturday, "c": 150.0, "symbol": "BINANCE:BTCUSDT"},
    )

    transformer.run()

    columns = (
        "symbol, latest_date, avg_price, last_price, prev_close, day_change_percent, volatility, relative_volatility"
    )
    deviation = (2 / 3) ** 0.5
    assert warehouse.rows("stock_gold.gold_treechart", columns) == [
        (
            "AAPL",
            date(2024, 1, 2),
            150.5,
            151.0,
            148.0,
            pytest.approx(300 / 148),
            *map(pytest.approx, (deviation, deviation / 150)),
        ),
        ("BINANCE:BTCUSDT", date(2024, 1, 6), 150.0, 150.0, 147.0, pytest.approx(300 / 147), 0.0, 0.0),
    ]


def test_pipeline_health_tells_a_symbol_that_fell_silent_and_one_that_is_rejected(warehouse, transformer):
    now = int(time.time())
    warehouse.insert(
        *({"t": now - 6 * poll, "fetched_at": now - 6 * poll} for poll in range(30)),
        *({"t": 0, "fetched_at": now - 6 * poll, "symbol": "BAD"} for poll in range(4)),
        {"t": now - 7200, "fetched_at": now - 7200, "symbol": "SILENT"},
    )

    transformer.run()

    columns = "symbol, recent_quotes, recent_rejected, rejected_share, last_price"
    health = "stock_gold.gold_pipeline_health"
    assert warehouse.rows(health, columns) == [
        ("AAPL", 30, 0, 0.0, 150.0),
        ("BAD", 4, 4, 1.0, None),
        ("SILENT", 0, 0, None, 150.0),
    ]
    [[as_of, fetched_at, seconds_behind]] = warehouse.rows(
        health, "as_of, last_fetched_at, seconds_behind", "symbol LIMIT 1"
    )
    assert fetched_at == datetime.fromtimestamp(now, UTC)
    assert seconds_behind == (as_of - fetched_at) // timedelta(seconds=1)
    [[per_minute]] = warehouse.rows(health, "quotes_per_minute", "symbol LIMIT 1")
    assert per_minute == pytest.approx(30 / ((as_of - fetched_at).seconds + 29 * 6) * 60)
