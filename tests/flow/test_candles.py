"""The recorded prices come out as daily candles: checked against the files, not against the flow."""

from datetime import date
from typing import Any

import pytest
from conftest import OnOtherServers
from testkit import recorded

DAYS = (date(2019, 2, 11), date(2019, 2, 12))
CASES = [(symbol, day) for symbol in recorded.SYMBOLS for day in DAYS]


def quotes_of(runs: OnOtherServers, symbol: str, day: date) -> list[dict[str, Any]]:
    """The day's quotes in Kafka, by market time."""
    quotes = [record.quote for record in runs.records]
    of_day = [quote for quote in quotes if quote["symbol"] == symbol and recorded.market_date(quote["t"]) == day]
    return sorted(of_day, key=lambda quote: quote["t"])


@pytest.fixture(scope="module")
def candles(on_other_servers: OnOtherServers) -> dict[tuple[str, date], recorded.Candle]:
    rows = on_other_servers.clients.rows("SELECT * FROM stock_gold.gold_candlestick")
    assert len(rows) == len(CASES)
    names = ("candle_open", "candle_high", "candle_low", "candle_close")
    return {(row["symbol"], row["candle_date"]): recorded.Candle(*(row[name] for name in names)) for row in rows}


def test_every_published_price_is_the_recorded_one(on_other_servers: OnOtherServers) -> None:
    assert on_other_servers.records
    for record in on_other_servers.records:
        quote = record.quote
        expected = recorded.quote_at(quote["symbol"], quote["t"])
        assert {name: quote[name] for name in expected} == expected, quote


@pytest.mark.parametrize(("symbol", "day"), CASES)
def test_a_candle_is_made_of_the_days_first_and_last_quote_and_its_extremes(
    on_other_servers: OnOtherServers, candles: dict, symbol: str, day: date
) -> None:
    quotes = quotes_of(on_other_servers, symbol, day)
    first, last = (recorded.quote_at(symbol, quote["t"]) for quote in (quotes[0], quotes[-1]))
    # High and low run with the day, so that the last quote has them both.
    assert candles[symbol, day] == recorded.Candle(first["c"], last["h"], last["l"], last["c"])


@pytest.mark.parametrize("symbol", recorded.SYMBOLS)
def test_the_first_days_high_and_low_are_those_of_all_its_minutes(candles: dict, symbol: str) -> None:
    candle, day = candles[symbol, DAYS[0]], recorded.whole_day(symbol, DAYS[0])
    assert (candle.high, candle.low) == (day.high, day.low)
    # The daily bars are of another source, which rounds otherwise.
    independent = recorded.daily_bar(symbol, DAYS[0])
    assert (candle.high, candle.low) == pytest.approx((independent.high, independent.low), rel=0.001)


def test_every_candle_holds_its_open_and_close(candles: dict) -> None:
    for case, candle in candles.items():
        assert candle.low <= min(candle.open, candle.close), case
        assert max(candle.open, candle.close) <= candle.high, case
