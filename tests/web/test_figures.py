"""The figures on the page are the API's. These tests hold on any server that has quotes (QUOTEFLOW_DASHBOARD_URL)."""

import pytest
from conftest import Opener
from pagekit import NONE, ask, await_equal, date, figure, moment, open_table, panel, percent, rows, share
from playwright.sync_api import expect

INTERVALS = {"1d": "1 day", "5m": "5 min", "1m": "1 min"}


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

    expect(page.locator(".tile").first).to_be_visible()
    await_equal(page, shown, expected)


@pytest.mark.parametrize("interval", INTERVALS)
def test_the_candle_table_shows_the_candles(dashboard: str, open_page: Opener, interval: str) -> None:
    symbol = ask(dashboard, "/api/kpi")["quotes"][0]["symbol"]
    page = open_page(f"{dashboard}/?symbol={symbol}")
    page.get_by_role("radio", name=INTERVALS[interval]).check()
    table = open_table(panel(page, "Candles"))

    def expected() -> list[list[str]]:
        answer = ask(dashboard, "/api/candles", symbol=symbol, interval=interval)
        table = []
        for candle in reversed(answer["candles"]):
            time = candle["time"]
            prices = [figure(candle[name]) for name in ("open", "high", "low", "close")]
            trend = candle["trend"]
            if trend is None and candle["date"] == answer["day"]["date"]:
                trend = answer["day"]["trend_line"]
            table.append(
                [
                    moment(time) if isinstance(time, int) else date(time),
                    *prices,
                    NONE if trend is None else figure(trend),
                ]
            )
        return table

    await_equal(page, lambda: rows(table), expected)
    newest = rows(table)[0]
    legend = panel(page, "Candles").locator(".legend dd").all_inner_texts()
    assert legend == newest


def test_the_history_table_shows_the_history(dashboard: str, open_page: Opener) -> None:
    symbol = ask(dashboard, "/api/kpi")["quotes"][-1]["symbol"]
    page = open_page(f"{dashboard}/?symbol={symbol}")
    table = open_table(panel(page, f"History {symbol}"))

    def expected() -> list[list[str]]:
        points = ask(dashboard, "/api/history", symbol=symbol)["points"]
        return [
            [moment(one["market_time"]), figure(one["price"]), percent(one["change_percent"])]
            for one in reversed(points)
        ]

    await_equal(page, lambda: rows(table), expected)


def test_the_treemap_table_shows_the_tiles(dashboard: str, open_page: Opener) -> None:
    page = open_page(dashboard)
    table = open_table(panel(page, "Day change"))

    def expected() -> list[list[str]]:
        tiles = ask(dashboard, "/api/treemap")["tiles"]
        return [
            [
                tile["symbol"],
                date(tile["date"]),
                figure(tile["price"]),
                percent(tile["change_percent"]),
                figure(tile["avg_price"]),
                figure(tile["volatility"]),
                share(tile["relative_volatility"]),
                share(1 / len(tiles)),
            ]
            for tile in tiles
        ]

    await_equal(page, lambda: rows(table), expected)


def test_the_pipeline_table_shows_rates_and_ages(dashboard: str, open_page: Opener) -> None:
    page = open_page(dashboard)
    table = panel(page, "Pipeline").get_by_role("table")

    def duration(seconds: float) -> str:
        whole = round(seconds)
        units = [(whole // 86_400, "d"), (whole // 3_600 % 24, "h"), (whole // 60 % 60, "min"), (whole % 60, "s")]
        first = next((index for index, (count, _) in enumerate(units) if count), 3)
        named = [f"{count} {unit}" for count, unit in units[first : first + 2] if count]
        return " ".join(named) or "0 s"

    def expected() -> list[list[str]]:
        return [
            [
                one["symbol"],
                duration(one["freshness_seconds"]),
                figure(one["quotes_per_minute"]),
                share(one["rejected_share"]),
                moment(one["last_fetched_at"]).split(", ")[-1],
                moment(one["last_loaded_at"]).split(", ")[-1],
                moment(one["last_market_time"]).split(", ")[-1],
            ]
            for one in ask(dashboard, "/api/health")["symbols"]
        ]

    # Dates are left out beside times of the same day.
    def shown() -> list[list[str]]:
        return [[*row[:4], *(cell.split(", ")[-1] for cell in row[4:])] for row in rows(table)]

    expect(table).to_be_visible()
    await_equal(page, shown, expected)


def test_a_symbol_is_selected_by_its_tile_and_kept_in_the_url(dashboard: str, open_page: Opener) -> None:
    first, *_, last = (quote["symbol"] for quote in ask(dashboard, "/api/kpi")["quotes"])
    page = open_page(f"{dashboard}/?interval=1m")
    expect(panel(page, "Candles")).to_contain_text(first)
    page.locator(".tile", has_text=last).click()
    expect(page.get_by_role("heading", name=f"Candles {last}")).to_be_visible()
    expect(page.locator(".tile[aria-current=true] .symbol")).to_have_text(last)
    assert f"symbol={last}&interval=1m" in page.url
    page.reload()
    expect(page.get_by_role("heading", name=f"Candles {last}")).to_be_visible()
    expect(page.get_by_role("radio", name="1 min")).to_be_checked()
    page.go_back()
    expect(page.get_by_role("heading", name=f"Candles {first}")).to_be_visible()


def test_a_phone_shows_everything_without_scrolling_sideways(dashboard: str, open_page: Opener) -> None:
    page = open_page(dashboard, width=360, height=740, has_touch=True, is_mobile=True)
    expect(panel(page, "Candles").locator(".legend dd").first).to_be_visible()
    for name in ("Candles", "Day change", "Pipeline"):
        expect(panel(page, name)).to_be_visible()
    open_table(panel(page, "Day change"))
    assert page.evaluate("document.scrollingElement.scrollWidth") == 360
