"""What the dbt models make of bronze, run for real on the stand-in."""

import subprocess
import sys
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest
from conftest import ROOT, epoch

SILVER = "stock_silver.silver_stock_quotes"
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

    warehouse.insert({"t": NOON})
    transformer.run()
    assert all(len(rows) == 1 for rows in warehouse.everything().values())


def test_silver_holds_each_key_once(warehouse, transformer):
    warehouse.insert(*({"t": NOON, "fetched_at": NOON + 6 * poll, "c": 150.0 + poll} for poll in range(5)))

    transformer.run()

    assert warehouse.rows(SILVER, "current_price, fetched_at") == [(154.0, datetime.fromtimestamp(NOON + 24, UTC))]


def test_an_invalid_quote_stops_at_bronze(warehouse, transformer):
    faults = {
        "all zero": {"c": 0, "d": None, "dp": None, "h": 0, "l": 0, "o": 0, "pc": 0, "t": 0},
        "price and time only": {"h": 0, "l": 0, "o": 0, "pc": 0},
        "negative price": {"c": -1},
        "no price": {"c": None},
        "no previous close": {"pc": 0},
        "no open": {"o": 0},
        "high below low": {"h": 147, "l": 148},
        "no market time": {"t": None},
        "market time in milliseconds": {"t": NOON * 1000},
    }
    warehouse.insert(
        *({"t": NOON, "fetched_at": NOON + 6, "symbol": symbol, **fault} for symbol, fault in faults.items()),
        {"t": NOON, "symbol": None},
        {"t": NOON, "symbol": "valid"},
    )

    transformer.run()

    assert warehouse.rows(SILVER, "symbol") == [("valid",)]
    assert len(warehouse.rows("stock_bronze.bronze_stock_quotes", "quote_id")) == len(faults) + 2


def test_an_invalid_later_observation_does_not_hide_a_valid_one(warehouse, transformer):
    warehouse.insert({"t": NOON, "fetched_at": NOON + 6}, {"t": NOON, "fetched_at": NOON + 12, "pc": 0})

    transformer.run()

    assert warehouse.rows(SILVER, "fetched_at") == [(datetime.fromtimestamp(NOON + 6, UTC),)]


def test_absent_changes_stay_null(warehouse, transformer):
    warehouse.insert({"t": NOON, "d": None, "dp": None})

    transformer.run()

    assert warehouse.rows(SILVER, "change_amount, change_percent") == [(None, None)]


def test_a_second_run_changes_nothing(warehouse, transformer):
    warehouse.insert(
        *({"t": NOON + 60 * minute, "symbol": s, "c": 150.0 + minute} for minute in range(3) for s in ("AAPL", "MSFT"))
    )
    transformer.run()
    before = warehouse.everything()

    transformer.run()

    assert warehouse.everything() == before


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

    warehouse.insert({"t": NOON, "fetched_at": NOON + 6, "c": 150.0, "quote_id": "first"})
    transformer.run()

    assert warehouse.everything() == before


@pytest.mark.parametrize("order", [("a", "b"), ("b", "a")])
def test_observations_of_one_second_end_alike_in_any_order(warehouse, transformer, order):
    for quote_id in order:
        warehouse.insert({"t": NOON, "fetched_at": NOON + 6, "quote_id": quote_id})
        transformer.run()

    assert warehouse.rows(SILVER, "quote_id") == [("b",)]


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


def test_new_york_time_across_daylight_saving(warehouse, transformer):
    new_york_of = {
        "2024-03-10T04:59:59Z": "2024-03-09T23:59:59",
        "2024-03-10T06:59:59Z": "2024-03-10T01:59:59",
        "2024-03-10T07:00:00Z": "2024-03-10T03:00:00",
        "2024-03-11T03:59:59Z": "2024-03-10T23:59:59",
        "2024-03-11T04:00:00Z": "2024-03-11T00:00:00",
        "2024-11-03T05:59:59Z": "2024-11-03T01:59:59",
        "2024-11-03T06:00:00Z": "2024-11-03T01:00:00",
        "2024-11-04T04:59:59Z": "2024-11-03T23:59:59",
    }
    warehouse.insert(*({"t": epoch(utc)} for utc in new_york_of))

    transformer.run()

    expected = [(datetime.fromisoformat(utc), datetime.fromisoformat(local)) for utc, local in new_york_of.items()]
    assert warehouse.rows(SILVER, "market_time_utc, market_time_us, market_date") == [
        (utc, local, local.date()) for utc, local in expected
    ]
    assert warehouse.rows("stock_gold.gold_candlestick", "candle_date") == [
        (day,) for day in sorted({local.date() for _, local in expected})
    ]


def test_the_hour_that_comes_twice_keeps_its_order(warehouse, transformer):
    warehouse.insert(
        {"t": epoch("2024-11-03T05:50:00Z"), "c": 150.0},
        {"t": epoch("2024-11-03T06:10:00Z"), "c": 151.0},
    )

    transformer.run()

    assert warehouse.rows("stock_gold.gold_candlestick", "candle_open, candle_close") == [(150.0, 151.0)]


def test_a_candle_of_a_day(warehouse, transformer):
    warehouse.insert(
        {"t": NOON + 120, "c": 147.5, "h": 152.0, "l": 148.0},
        {"t": NOON, "c": 150.0, "h": 150.0, "l": 150.0},
        {"t": NOON + 60, "c": 153.0, "h": 152.0, "l": 0},
        {"t": NOON, "c": 10.0, "h": 11.0, "l": 9.0, "o": 10.0, "symbol": "MSFT"},
    )

    transformer.run()

    columns = "symbol, candle_date, candle_open, candle_high, candle_low, candle_close, trend_line"
    assert warehouse.rows("stock_gold.gold_candlestick", columns) == [
        ("AAPL", date(2024, 1, 2), 150.0, 153.0, 147.5, 147.5, pytest.approx(450.5 / 3)),
        ("MSFT", date(2024, 1, 2), 10.0, 11.0, 9.0, 10.0, 10.0),
    ]


def test_candles_of_the_latest_twelve_dates_of_each_symbol(warehouse, transformer):
    day = 86_400
    warehouse.insert(
        *({"t": NOON + day * number, "symbol": "AAPL"} for number in range(15)),
        *({"t": NOON + day * number, "symbol": "MSFT"} for number in range(2)),
    )

    transformer.run()

    first = date(2024, 1, 2)
    assert warehouse.rows("stock_gold.gold_candlestick", "symbol, candle_date", "1, 2") == [
        *(("AAPL", first + timedelta(days=number)) for number in range(3, 15)),
        *(("MSFT", first + timedelta(days=number)) for number in range(2)),
    ]


def test_kpi_goes_by_the_fetch_and_kpi_latest_by_the_market(warehouse, transformer):
    warehouse.insert(
        {"t": NOON, "fetched_at": NOON + 6, "quote_id": "newest trade"},
        {"t": NOON - 86_400, "fetched_at": NOON + 12, "quote_id": "newest fetch"},
    )

    transformer.run()

    assert warehouse.rows("stock_gold.gold_kpi", "quote_id") == [("newest fetch",)]
    assert warehouse.rows("stock_gold.gold_kpi_latest", "quote_id") == [("newest trade",)]


def test_treechart_has_each_symbols_own_latest_day(warehouse, transformer):
    saturday = epoch("2024-01-06T17:00:00Z")
    warehouse.insert(
        {"t": NOON - 86_400, "c": 90.0},
        {"t": NOON, "c": 100.0},
        {"t": NOON + 60, "c": 110.0},
        {"t": saturday, "c": 50.0, "symbol": "BINANCE:BTCUSDT"},
    )

    transformer.run()

    columns = "symbol, latest_date, avg_price, volatility, relative_volatility"
    deviation = (200 / 3) ** 0.5
    assert warehouse.rows("stock_gold.gold_treechart", columns) == [
        ("AAPL", date(2024, 1, 2), 105.0, pytest.approx(deviation), pytest.approx(deviation / 100)),
        ("BINANCE:BTCUSDT", date(2024, 1, 6), 50.0, 0.0, 0.0),
    ]


def test_dbt_build_passes_with_its_data_and_unit_tests(warehouse, environment):
    warehouse.insert(*({"t": NOON + 60 * minute, "symbol": s} for minute in range(3) for s in ("AAPL", "MSFT")))
    project = environment["DBT_PROJECT_DIR"]
    dbt = Path(sys.executable).with_name("dbt")

    build = subprocess.run(
        [dbt, "build", "--project-dir", project, "--profiles-dir", project, "--warn-error"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )

    assert build.returncode == 0, build.stdout
