"""A bad value affects no other quote and is always reported, in the tail and after it was settled."""

import copy
import math
import time
from datetime import UTC, date, datetime, timedelta

import pytest
from testkit.dbt import KEYS, Warehouse, emptied, epoch

SILVER = "stock_silver.silver_stock_quotes"
REJECTED = "stock_silver.silver_stock_quotes_rejected"
CANDLES = "stock_gold.gold_candlestick"
HEALTH = "stock_gold.gold_pipeline_health"
FIGURES = ("c", "d", "dp", "h", "l", "o", "pc")
EXTREMES = {
    "the largest": 1.7976931348623157e308,
    "the lowest": -1.7976931348623157e308,
    "the smallest": 5e-324,
    "minus zero": -0.0,
    "infinity": "inf",
    "no number": "nan",
    "nothing": None,
}
INTEGERS = (None, 0, -1, -(2**63), 2**63 - 1, 1_795_637_089_000)
FAR = epoch("2100-01-01T00:00:00Z")


def quotes(now: int) -> list[dict]:
    """All bad values at once, and a good quote of each symbol."""
    good = {"t": now - 600, "fetched_at": now - 599}
    bad = {"t": now - 300, "fetched_at": now - 299}
    today = datetime.fromtimestamp(now, UTC).date().isoformat()
    made = [{**good, "symbol": "GOOD"}]
    for figure in FIGURES:
        for name, value in EXTREMES.items():
            symbol = f"{figure} is {name}"
            made += [{**good, "symbol": symbol}, {**bad, "symbol": symbol, figure: value}]
    for column in ("t", "fetched_at"):
        for value in INTEGERS:
            symbol = f"{column} is {value}"
            made += [{**good, "symbol": symbol}, {**bad, "symbol": symbol, "fetched_date": today, column: value}]
    for column in ("symbol", "quote_id", "object_key", "fetched_date", "loaded_at"):
        symbol = f"{column} is nothing"
        made += [{**good, "symbol": symbol}, {**bad, "symbol": symbol, column: None}]

    unknown = {"h": 0, "l": 0}
    made += [
        # A feed's placeholder for an unknown price, and an ordinary quote.
        {**bad, **unknown, "symbol": "HUGE", "c": 1.7976931348623157e308, "o": 1, "pc": 1},
        {**good, **unknown, "symbol": "HUGE", "c": 1, "o": 1, "pc": 1},
        # Finnhub's time stands still while the price moves.
        *(
            {**unknown, "symbol": "FRZ", "t": now - 600, "fetched_at": now - 600 + 6 * number, "c": price}
            for number, price in enumerate((100, 110, 90, 105))
        ),
        # The price is above the high, which is from another cache.
        *(
            {"symbol": "NEWH", "t": now - seconds, "fetched_at": now - seconds, "c": price, "h": 100, "l": 95}
            for seconds, price in ((600, 100), (570, 100.01), (540, 100.02))
        ),
        {**good, "symbol": "IMP", "loaded_at": datetime.fromtimestamp(now + 9 * 3600, UTC).isoformat()},
        {**good, "symbol": "FUT", "c": 149.5, "fetched_at": FAR},
        {**bad, "symbol": "FUT", "c": 151.5},
        {**good, "symbol": "BOTH", "fetched_at": FAR, "loaded_at": "2100-01-02T00:00:00Z"},
        {**good, "symbol": "ZERO", "fetched_at": 0},
    ]  # fmt: skip
    # Just before and at the end of a day of each kind of market.
    for symbol, end in (
        ("AAPL", "2024-06-03T04:00:00Z"),
        ("BINANCE:BTCUSDT", "2024-06-03T00:00:00Z"),
        ("OANDA:EUR_USD", "2024-06-02T21:00:00Z"),
    ):
        made += [{"symbol": symbol, "t": epoch(end) + second, "fetched_at": now} for second in (-1, 0)]
    noon = epoch("2024-06-03T16:00:00Z")
    made += [
        {"symbol": "SPLT", "t": noon, "fetched_at": now, "c": 500, "h": 501, "l": 499, "pc": 495},
        {"symbol": "SPLT", "t": noon + 86_400, "fetched_at": now, "c": 125.5, "h": 126, "l": 124, "pc": 125},
        *(
            {"symbol": "LONG", "t": noon + 86_400 * day, "fetched_at": now, "c": 1000 if day == 0 else 150}
            | {"h": 0, "l": 0, "pc": 1000 if day == 1 else 150}
            for day in range(31)
        ),
    ]
    return made


@pytest.fixture(scope="module", params=["in the tail", "settled"])
def loaded(request, prepared, parsed, settling) -> Warehouse:
    warehouse = emptied(prepared, parsed)
    warehouse.insert(*quotes(int(time.time())))
    warehouse.query("INSERT INTO stock.metadata_last_ts (symbol, last_ts) VALUES ('NUL', NULL)")
    if request.param == "settled":
        copy.copy(settling).run()
    warehouse.is_settled = request.param == "settled"
    return warehouse


def test_every_view_answers_with_figures_that_are_numbers(loaded):
    everything = loaded.everything()
    assert set(everything) == set(KEYS)
    for table, rows in everything.items():
        if not table.endswith("rejected"):
            assert len(rows) > 1, table
            numbers = [value for row in rows for value in row.values() if isinstance(value, float)]
            assert all(map(math.isfinite, numbers)), table


def test_every_symbol_keeps_its_good_quote(loaded):
    prices = dict(loaded.rows("stock_gold.gold_kpi", "symbol, current_price"))
    symbols = {quote["symbol"] for quote in quotes(0)} - {"ZERO", "BOTH", None}
    assert set(prices) == symbols
    good = {symbol: price for symbol, price in prices.items() if " is " in symbol}
    assert set(good.values()) == {150.0}


def test_what_is_absurd_is_rejected_with_its_reason(loaded):
    if loaded.is_settled:
        rules = dict(loaded.rows(REJECTED, "symbol, rejection_rules"))
        for figure in FIGURES:
            for name in ("the largest", "infinity", "no number"):
                assert "absurd_figure" in rules[f"{figure} is {name}"], (figure, name)
        assert rules["pc is the smallest"] == "absurd_figure"
        assert rules["HUGE"] == "absurd_figure"
        assert rules["ZERO"] == "missing_fetch_time"
        assert rules["FUT"] == "future_fetch_time"
        # It is in the future, and in no table until then.
        assert "BOTH" not in rules
    assert dict(loaded.rows("stock_gold.gold_kpi", "symbol, current_price"))["HUGE"] == 1.0


def test_a_candle_holds_every_observed_price(loaded):
    columns = "symbol, candle_open, candle_high, candle_low, candle_close"
    for table in (CANDLES, "stock_gold.gold_candlestick_intraday"):
        candles = {row[0]: row[1:] for row in loaded.rows(table, columns)}
        assert candles["FRZ"] == (105.0, 110.0, 90.0, 105.0), table
    assert {row[0]: row[2] for row in loaded.rows(CANDLES, columns)}["NEWH"] == 100.02


def test_a_price_beyond_the_days_range_is_a_warning(loaded):
    kpi = {row[0]: row[1:] for row in loaded.rows("stock_gold.gold_kpi", "symbol, current_price, warning")}
    assert kpi["NEWH"] == (100.02, "price_outside_range")
    assert kpi["FRZ"] == (105.0, "frozen_market_time")
    assert kpi["GOOD"] == (150.0, None)


def test_no_time_in_the_future_counts(loaded):
    kpi = {row[0]: row[1:] for row in loaded.rows("stock_gold.gold_kpi", "symbol, current_price, fetched_at")}
    assert kpi["FUT"][0] == 151.5
    assert kpi["IMP"][0] == 150.0
    health = {row[0]: row[1:] for row in loaded.rows(HEALTH, "symbol, as_of, last_fetched_at, recent_quotes")}
    now = datetime.now(UTC)
    assert all(as_of <= now for as_of, _, _ in health.values())
    assert all(fetched is None or fetched <= now + timedelta(minutes=1) for _, fetched, _ in health.values())
    # The fetch time of these is unknown. The others have theirs.
    assert {symbol for symbol, (_, fetched, _) in health.items() if fetched is None} == {"ZERO", "NUL", "BOTH"}
    assert health["FUT"][2] == 1


def test_what_is_loaded_after_a_load_from_the_future_is_shown_and_settled(loaded, settling):
    now = int(time.time())
    loaded.insert({"symbol": "LATER", "t": now - 5, "fetched_at": now})
    assert "LATER" in dict(loaded.rows(SILVER, "symbol, quote_id"))

    copy.copy(settling).run()

    assert "LATER" in dict(loaded.rows("stock_silver.silver_stock_quotes_settled", "symbol, quote_id"))
    [[before]] = loaded.rows("stock_silver.int_load_watermark", "MAX(loaded_before)")
    assert before <= datetime.now(UTC)


def test_the_day_is_that_of_the_symbols_market(loaded):
    days = loaded.rows(SILVER, "symbol, market_date", "symbol, market_timestamp_raw")
    assert [row for row in days if row[0] in ("AAPL", "BINANCE:BTCUSDT", "OANDA:EUR_USD")] == [
        ("AAPL", date(2024, 6, 2)),
        ("AAPL", date(2024, 6, 3)),
        ("BINANCE:BTCUSDT", date(2024, 6, 2)),
        ("BINANCE:BTCUSDT", date(2024, 6, 3)),
        ("OANDA:EUR_USD", date(2024, 6, 2)),
        ("OANDA:EUR_USD", date(2024, 6, 3)),
    ]


def test_a_split_is_marked_and_forgotten_by_the_volatility(loaded):
    candles = loaded.rows(
        CANDLES,
        "candle_date, candle_close, warning",
        "candle_date",
    )
    assert (date(2024, 6, 4), 125.5, "split_like_gap") in candles
    assert (date(2024, 6, 3), 500.0, None) in candles
    tiles = {row[0]: row[1:] for row in loaded.rows("stock_gold.gold_treechart", "symbol, volatility, warning")}
    assert tiles["SPLT"] == (pytest.approx(187.25), "split_like_gap")
    # 31 days, of which the first has another price.
    assert tiles["LONG"] == (0.0, None)
