"""The recorded week, minute by minute: gold's results, and that all of dbt's tests pass."""

import copy
from datetime import date, datetime, time
from typing import Any

import pytest
from testkit import recorded
from testkit.dbt import KEYS, Warehouse, same

DAYS = [date(2019, 2, day) for day in range(11, 16)]
CASES = [(symbol, day) for symbol in recorded.SYMBOLS for day in DAYS]
MINUTES = 390


def quotes(day: date) -> list[dict[str, Any]]:
    """Finnhub's answers in the last second of each minute."""
    opening = int(datetime.combine(day, time(9, 30), recorded.NEW_YORK).timestamp())
    made = []
    for symbol in recorded.SYMBOLS:
        prev_close = recorded.daily_bar(
            symbol, date(2019, 2, 8) if day == DAYS[0] else day.replace(day=day.day - 1)
        ).close
        for minute in range(MINUTES):
            t = opening + 60 * minute + 59
            prices = recorded.quote_at(symbol, t)
            made.append({"symbol": symbol, "t": t, "fetched_at": t + 1, **prices, "pc": prev_close})
    return made


@pytest.fixture(scope="module")
def builds(environment, prepared, parsed, dbt) -> dict[str, Any]:
    """The tables after a build of the first four days, of the week, and of the week again. Each build succeeds."""
    warehouse = Warehouse(environment["BIGQUERY_ENDPOINT"])
    prepared.empty()
    warehouse.insert(*(quote for day in DAYS[:4] for quote in quotes(day)))
    copy.copy(parsed).run()
    warehouse.insert(*quotes(DAYS[4]))
    dbt("build", "--warn-error")
    week = warehouse.everything()
    # Unit tests have their own rows.
    dbt("build", "--warn-error", "--exclude-resource-type", "unit_test")
    return {"week": week, "again": warehouse.everything()}


def rows(builds: dict[str, Any], table: str, symbol: str) -> list[dict[str, Any]]:
    return [row for row in builds["week"][f"stock_gold.{table}"] if row["symbol"] == symbol]


def test_a_second_build_changes_nothing(builds):
    assert list(builds["week"]) == list(KEYS)
    same(builds["again"], builds["week"])


def test_no_recorded_quote_is_rejected(builds):
    assert builds["week"]["stock_silver.silver_stock_quotes_rejected"] == []


@pytest.mark.parametrize(("symbol", "day"), CASES)
def test_daily_candles_agree_with_the_minutes_and_with_the_exchanges_bars(builds, symbol, day):
    [candle] = [row for row in rows(builds, "gold_candlestick", symbol) if row["candle_date"] == day]
    minutes, exchange = recorded.whole_day(symbol, day), recorded.daily_bar(symbol, day)

    assert (candle["candle_high"], candle["candle_low"]) == (minutes.high, minutes.low)
    assert candle["candle_close"] == minutes.close
    assert (candle["candle_high"], candle["candle_low"]) == pytest.approx((exchange.high, exchange.low), rel=0.001)
    assert candle["quotes"] == MINUTES


@pytest.mark.parametrize("symbol", recorded.SYMBOLS)
def test_intraday_candles_fill_the_sessions_and_nothing_else(builds, symbol):
    for interval in (1, 5):
        starts = [
            row["candle_start_us"]
            for row in rows(builds, "gold_candlestick_intraday", symbol)
            if row["interval_minutes"] == interval
        ]
        expected = [
            datetime.combine(day, time((570 + minute) // 60, (570 + minute) % 60))
            for day in DAYS
            for minute in range(0, MINUTES, interval)
        ]
        assert starts == expected, interval


@pytest.mark.parametrize("symbol", recorded.SYMBOLS)
def test_the_last_trend_line_of_a_day_is_the_days(builds, symbol):
    daily = {row["candle_date"]: row["trend_line"] for row in rows(builds, "gold_candlestick", symbol)}
    last = {row["market_date"]: row["trend_line"] for row in rows(builds, "gold_candlestick_intraday", symbol)}
    assert last == pytest.approx(daily)


@pytest.mark.parametrize("symbol", recorded.SYMBOLS)
def test_the_treechart_shows_the_days_change(builds, symbol):
    [row] = rows(builds, "gold_treechart", symbol)
    before, last = recorded.daily_bar(symbol, DAYS[3]).close, recorded.whole_day(symbol, DAYS[4]).close
    assert row["day_change_percent"] == pytest.approx(100 * (last - before) / before)
    assert row["relative_volatility"] > 0
