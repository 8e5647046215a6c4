"""The figures on the page are the API's. These tests hold on any server that has quotes (QUOTEFLOW_DASHBOARD_URL)."""

from datetime import datetime

import pytest
from conftest import Opener
from playwright.sync_api import expect
from testkit.page import NONE, ask, await_equal, date, figure, moment, open_table, panel, percent, rows, share

CANDLES = {
    ("1d", "1m"): "1 min",
    ("1d", "15m"): "15 min",
    ("5d", "5m"): "5 min",
    ("all", "1h"): "1 h",
    ("all", "1d"): "1 day",
}
RANGES = {"1d": "1D", "5d": "5D", "all": "All"}


def known(price: float) -> str:
    """A price that the source does not know is 0."""
    return figure(price) if price else NONE


def test_each_tile_shows_its_symbols_latest_quote(dashboard: str, open_page: Opener) -> None:
    page = open_page(dashboard)

    def shown() -> list[list[str]]:
        return page.locator(".tile").evaluate_all(
            """tiles => tiles.map(tile => ['.symbol', '.price', '.change', '.range'].map(part =>
                tile.querySelector(part).innerText.replaceAll('\\u00a0', ' ').replace(/\\s+/g, ' ').trim()))"""
        )

    def expected() -> list[list[str]]:
        tiles = []
        for quote in ask(dashboard, "/api/kpi")["quotes"]:
            text = percent(quote["change_percent"])
            arrow = {"+": "▲", "\u2212": "▼"}.get(text[0], "◆")
            change = NONE if quote["change"] is None else figure(quote["change"], signed=True)
            day_range = f"day\u2019s low {known(quote['day_low'])} day\u2019s high {known(quote['day_high'])}"
            tiles.append([quote["symbol"], figure(quote["price"]), f"{arrow} {change} {text}", day_range])
        return tiles

    expect(page.locator(".tile .price").first).to_be_visible()
    await_equal(page, shown, expected)


@pytest.mark.parametrize(("shown", "interval"), CANDLES)
def test_the_candle_table_shows_the_candles(dashboard: str, open_page: Opener, shown: str, interval: str) -> None:
    symbol = ask(dashboard, "/api/kpi")["quotes"][0]["symbol"]
    page = open_page(f"{dashboard}/?symbol={symbol}")
    page.get_by_role("radio", name=RANGES[shown], exact=True).check()
    page.get_by_role("radio", name=CANDLES[shown, interval], exact=True).check()
    table = open_table(panel(page, "Chart"))

    def expected() -> list[list[str]]:
        answer = ask(dashboard, "/api/candles", symbol=symbol, interval=interval, range=shown)
        table = []
        before = None
        for candle in answer["candles"]:
            time = candle["time"]
            prices = [figure(candle[name]) for name in ("open", "high", "low", "close")]
            base = candle["open"] if before is None else before
            before = candle["close"]
            amount = candle["close"] - base
            table.append(
                [
                    moment(time) if isinstance(time, int) else date(time),
                    *prices,
                    f"{figure(amount, signed=True)} ({percent(100 * amount / base)})",
                ]
            )
        return table[::-1]

    # A difference of two prices may lie a cent's hundredth beside the half.
    await_equal(page, lambda: [row[:5] for row in rows(table)], lambda: [row[:5] for row in expected()])
    assert len(rows(table)[0]) == 6
    newest = rows(table)[0]
    legend = [text.replace("\u00a0", " ") for text in panel(page, "Chart").locator(".legend dd").all_inner_texts()]
    assert legend == newest


def test_the_treemap_table_shows_the_tiles(dashboard: str, open_page: Opener) -> None:
    page = open_page(dashboard)
    table = open_table(panel(page, "Day change"))

    def expected() -> list[list[str]]:
        tiles = ask(dashboard, "/api/treemap")["tiles"]
        tiles.sort(key=lambda tile: (-(tile["change_percent"] or 0), tile["symbol"]))
        volatilities = [tile["relative_volatility"] or 0 for tile in tiles]
        weights = [max(one, 0.05 * max(volatilities)) or 1 for one in volatilities]
        return [
            [
                tile["symbol"],
                date(tile["date"]),
                figure(tile["price"]),
                percent(tile["change_percent"]),
                NONE if tile["avg_price"] is None else figure(tile["avg_price"]),
                NONE if tile["volatility"] is None else figure(tile["volatility"]),
                share(tile["relative_volatility"]),
                share(weight / sum(weights)),
            ]
            for tile, weight in zip(tiles, weights, strict=True)
        ]

    await_equal(page, lambda: rows(table), expected)


def test_the_pipeline_table_shows_rates_and_times(dashboard: str, open_page: Opener) -> None:
    page = open_page(dashboard)
    table = panel(page, "Pipeline").get_by_role("table")
    states = {"ok": "Fresh", "closed": "Closed", "stale": "Stale"}

    def time(text: str | None) -> str:
        # Dates are left out beside times of the same day.
        return NONE if text is None else moment(text).split(", ")[-1]

    def expected() -> list[list[str]]:
        return [
            [
                one["symbol"],
                states[one["status"]],
                # None while no quotes come, whatever the last minutes had.
                figure(one["quotes_per_minute"]) if one["status"] == "ok" else NONE,
                share(one["rejected_share"]),
                time(one["last_fetched_at"]),
                time(one["last_loaded_at"]),
                time(one["last_market_time"]),
            ]
            for one in ask(dashboard, "/api/health")["symbols"]
        ]

    def shown() -> list[list[str]]:
        # The age ticks.
        return [[*row[:2], *row[3:5], *(cell.split(", ")[-1] for cell in row[5:])] for row in rows(table)]

    expect(table).to_be_visible()
    await_equal(page, shown, expected)
    for row in ask(dashboard, "/api/health")["symbols"]:
        if row["last_loaded_at"] is not None:
            fetched, loaded = (datetime.fromisoformat(row[key]) for key in ("last_fetched_at", "last_loaded_at"))
            assert fetched <= loaded, "fetched, then loaded"


def test_a_symbol_is_selected_by_its_tile_and_kept_in_the_url(dashboard: str, open_page: Opener) -> None:
    first, *_, last = (quote["symbol"] for quote in ask(dashboard, "/api/kpi")["quotes"])
    page = open_page(f"{dashboard}/?range=1d&interval=5m")
    expect(panel(page, "Chart")).to_contain_text(first)
    page.locator(".tile", has_text=last).click()
    expect(page.get_by_role("heading", name=f"Chart {last}")).to_be_visible()
    expect(page.locator(".tile[aria-current=true] .symbol")).to_have_text(last)
    assert f"symbol={last}&range=1d&interval=5m" in page.url
    page.reload()
    expect(page.get_by_role("heading", name=f"Chart {last}")).to_be_visible()
    expect(page.get_by_role("radio", name="5 min", exact=True)).to_be_checked()
    page.go_back()
    expect(page.get_by_role("heading", name=f"Chart {first}")).to_be_visible()


def test_a_phone_shows_everything_without_scrolling_sideways(dashboard: str, open_page: Opener) -> None:
    page = open_page(dashboard, width=360, height=740, has_touch=True, is_mobile=True)
    expect(panel(page, "Chart").locator(".legend dd").first).to_be_visible()
    for name in ("Chart", "Day change", "Pipeline"):
        expect(panel(page, name)).to_be_visible()
    open_table(panel(page, "Day change"))
    assert page.evaluate("document.scrollingElement.scrollWidth") == 360
