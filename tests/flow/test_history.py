"""A first run begins with the recorded days before the last: they are loaded immediately, and gold has them."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from testkit import recorded
from testkit.flow import Clients, Flow, counts, left_of

DAYS = [date(2019, 2, day) for day in range(11, 16)]
POLLS = 2
# Four days of 26 quarters of an hour.
HISTORY = 4 * 26 * len(recorded.SYMBOLS)


@dataclass
class Begun:
    """What a first run left in gold, and what it reported."""

    report: dict[str, Any]
    candles: dict[tuple[str, date], dict[str, Any]]
    again: dict[str, Any]


@pytest.fixture(scope="module")
def begun(new_data_dir: Callable[[str], Path]) -> Begun:
    data_dir = new_data_dir("history")
    cases = len(DAYS) * len(recorded.SYMBOLS)
    with Flow(data_dir, "--for", "10m", history=True) as flow:

        def is_loaded(report: dict[str, Any]) -> bool:
            enough = HISTORY + POLLS * len(recorded.SYMBOLS)
            return counts(report)["silver"] >= enough and report["first_gold_at"] is not None

        clients = Clients.of(flow.await_report(is_loaded, "quotes in gold"))
        sql = f"SELECT COUNT(*) AS quotes FROM stock_silver.silver_stock_quotes WHERE market_date < '{DAYS[-1]}'"
        flow.wait_until(lambda: clients.rows(sql)[0]["quotes"] == HISTORY, "whole history in silver")
        rows = clients.rows("SELECT * FROM stock_gold.gold_candlestick")
        candles = {(row["symbol"], row["candle_date"]): row for row in rows}
        assert len(candles) == cases, sorted(candles)
        report = flow.interrupt()
    assert not left_of(data_dir)
    with Flow(data_dir, "--polls", "1", history=True) as flow:
        again = flow.finish()
    return Begun(report, candles, again)


def test_what_is_fetched_comes_on_top_of_the_history(begun: Begun) -> None:
    stages = counts(begun.report)
    assert stages["archived"] == stages["loaded"] == stages["published"] + HISTORY
    assert begun.report["failed"] == 0
    # The latencies are of what this run fetched.
    assert begun.report["latency_ms"]["bronze_row"]["quotes"] == stages["published"]


@pytest.mark.parametrize("symbol", recorded.SYMBOLS)
def test_the_days_before_are_whole_in_gold(begun: Begun, symbol: str) -> None:
    for day in DAYS[:-1]:
        candle, whole = begun.candles[symbol, day], recorded.whole_day(symbol, day)
        assert (candle["candle_high"], candle["candle_low"]) == (whole.high, whole.low), day
        assert candle["candle_close"] == whole.close, day


def test_a_second_run_adds_no_history(begun: Begun) -> None:
    before, after = counts(begun.report), counts(begun.again)
    assert after["published"] == before["published"] + len(recorded.SYMBOLS)
    assert after["archived"] == before["archived"] + len(recorded.SYMBOLS)
