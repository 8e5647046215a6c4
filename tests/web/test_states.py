"""What the page does while the world around it changes, on the fake API."""

import copy
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from conftest import Opener
from playwright.sync_api import Page, expect
from testkit.fake_api import OPENAPI, ROOT, FakeApi, pipeline, station, validator
from testkit.page import LONGEST_BACK_OFF_MS, NONE, POLL_MS, await_equal, figure, open_table, panel, percent, rows

Keep = Callable[[Page, str], Path]
RECORDING = "Recording of Feb 14, 2019 · 60\u00d7"
AXE = (ROOT / "dashboards/web/node_modules/axe-core/axe.min.js").read_text()


def loaded(page: Page) -> Page:
    """Wait until every panel has its figures."""
    expect(panel(page, "Chart").locator(".legend dd").first).to_be_visible()
    expect(page.locator(".skeleton")).to_have_count(0)
    return page


def violations(page: Page) -> list[str]:
    """What axe-core finds wrong, by all its rules; run past the security policy, as a browser's extension is."""
    page.evaluate(AXE)
    found: list[dict[str, Any]] = page.evaluate("axe.run().then(results => results.violations)")
    return [f"{one['id']}: {node['html']} {node['failureSummary']}" for one in found for node in one["nodes"]]


def test_every_example_in_the_description_fits_its_schema() -> None:
    contents = [
        content
        for path in OPENAPI["paths"].values()
        for response in [*path["get"]["responses"].values(), *OPENAPI["components"]["responses"].values()]
        for content in response.get("content", {}).values()
        if "examples" in content
    ]
    assert len(contents) > 5
    for content in contents:
        for example in content["examples"].values():
            validator(content["schema"]["$ref"]).validate(example["value"])


def test_an_answer_that_did_not_change_is_not_sent_again(api: FakeApi, open_page: Opener) -> None:
    page = loaded(open_page(f"{api.url}/?symbol=AAPL"))
    api.requests.clear()
    page.clock.fast_forward(POLL_MS)
    await_equal(page, lambda: set(api.requests), lambda: {("/api/snapshot?symbol=AAPL", 304)})


def test_the_live_quote_joins_candles_that_are_older_until_newer_ones_come(api: FakeApi, open_page: Opener) -> None:
    page = open_page(f"{api.url}/?symbol=AAPL&range=5d&interval=5m")
    table = open_table(panel(page, "Chart"))
    before = rows(table)
    api.held = copy.copy(api.market)
    for _ in range(6):
        api.market.tick()
        close = figure(api.market.quote("AAPL")["price"])
        await_equal(page, lambda: rows(table)[0][4], lambda close=close: close)
    joined = rows(table)
    added = len(joined) - len(before)
    assert added in (1, 2)
    assert joined[added + 1 :] == before[1:]
    assert joined[added][1] == before[0][1]
    api.held = None
    candles = api.market.candles("AAPL", "5m", 5)
    prices = [[figure(candle[name]) for name in ("open", "high", "low", "close")] for candle in reversed(candles)]
    await_equal(page, lambda: [row[1:5] for row in rows(table)], lambda: prices)


def test_nobody_is_asked_while_the_page_is_hidden(api: FakeApi, open_page: Opener) -> None:
    page = loaded(open_page(f"{api.url}/?symbol=AAPL"))
    become = """state => {
        Object.defineProperty(document, "visibilityState", { value: state, configurable: true });
        document.dispatchEvent(new Event("visibilitychange"));
    }"""
    page.evaluate(become, "hidden")
    api.requests.clear()
    page.clock.run_for(LONGEST_BACK_OFF_MS)
    page.evaluate("fetch('/api/openapi.json')")
    assert [path for path, _ in api.requests] == ["/api/openapi.json"]
    api.market.tick()
    page.evaluate(become, "visible")
    expect(page.locator(".tile .price").first).to_have_text(figure(api.market.quote("AAPL")["price"]))


def test_no_quotes_yet_is_said_plainly_and_passes_by_itself(api: FakeApi, open_page: Opener, keep: Keep) -> None:
    api.empty = True
    page = open_page(api.url)
    expect(page.get_by_role("heading", name="No quotes yet")).to_be_visible()
    expect(page.locator(".status .badge").last).to_have_text("No data yet")
    keep(page, "empty")
    assert violations(page) == []
    api.empty = False
    await_equal(page, lambda: page.locator(".tile").count(), lambda: 5)
    expect(page.locator(".status .badge")).to_have_text(RECORDING)


def test_old_quotes_are_called_stale_with_their_age(api: FakeApi, open_page: Opener, keep: Keep) -> None:
    api.age = timedelta(minutes=12, seconds=5)
    page = loaded(open_page(f"{api.url}/?symbol=AAPL&interval=1m"))
    expect(page.locator(".status .badge").last).to_have_text("Stale")
    expect(page.locator(".notice")).to_contain_text("No new quotes for 12\u00a0min")
    expect(panel(page, "Pipeline").locator(".old")).to_have_count(5)
    keep(page, "stale")
    assert violations(page) == []


def test_the_last_figures_stay_marked_while_the_server_is_away(api: FakeApi, open_page: Opener, keep: Keep) -> None:
    page = loaded(open_page(f"{api.url}/?symbol=AAPL&interval=5m"))
    figures = page.locator(".tile .price").all_inner_texts()
    api.stop()
    await_equal(page, lambda: page.locator(".status .badge").last.inner_text(), lambda: "Not updating")
    expect(page.locator(".notice")).to_contain_text("The server does not answer. These are the last figures, as of")
    expect(page.get_by_text("Last figures", exact=True)).to_have_count(3)
    assert page.locator(".tile .price").all_inner_texts() == figures
    expect(page.get_by_role("status")).to_contain_text("The server does not answer.")
    keep(page, "server-away")
    assert violations(page) == []
    api.market.tick(30)
    api.start()
    page.clock.fast_forward(LONGEST_BACK_OFF_MS)
    await_equal(page, lambda: page.locator(".status .badge").last.inner_text(), lambda: RECORDING)
    expect(page.locator(".notice")).to_have_count(0)
    expect(page.locator(".tile .price").first).to_have_text(figure(api.market.quote("AAPL")["price"]))


def test_tries_become_rarer_while_they_fail_and_can_be_asked_for(api: FakeApi, open_page: Opener) -> None:
    page = loaded(open_page(f"{api.url}/?symbol=AAPL"))
    api.unavailable = True

    def tries() -> int:
        return sum(1 for path, status in api.requests if path.startswith("/api/snapshot") and status == 503)

    for _ in range(6):
        before = tries()
        # The timer of the next try is set when the last one has failed, a moment after its request.
        while tries() == before:
            page.clock.fast_forward(LONGEST_BACK_OFF_MS)
            page.wait_for_timeout(100)
    before = tries()
    page.clock.run_for(20_000)
    page.evaluate("fetch('/api/openapi.json')")
    assert tries() == before
    expect(page.locator(".notice")).to_contain_text("The warehouse does not answer.")
    api.unavailable = False
    page.get_by_role("button", name="Try now").click()
    expect(page.locator(".badge.outage")).to_have_count(0)
    expect(page.locator(".status .badge")).to_have_text(RECORDING)


def test_without_any_figures_an_outage_shows_nothing_but_itself(api: FakeApi, open_page: Opener, keep: Keep) -> None:
    api.unavailable = True
    page = open_page(api.url, color_scheme="dark")
    expect(page.locator(".notice")).to_contain_text("There are no figures to show.")
    # The server answers, so a hint that it may not be running would be wrong.
    expect(page.locator(".notice")).not_to_contain_text("make local")
    expect(page.locator("main .panel")).to_have_count(0)
    top = page.locator(".top").bounding_box() or {}
    notice = page.locator(".notice").bounding_box() or {}
    assert notice["y"] < top["y"] + top["height"] + 20, "it stands where the figures would"
    keep(page, "no-figures")


def test_a_symbol_without_quotes_is_named_and_the_rest_is_shown(api: FakeApi, open_page: Opener) -> None:
    page = open_page(f"{api.url}/?symbol=NONE")
    note = panel(page, "Chart").locator(".note")
    expect(note).to_contain_text("No quotes of NONE.")
    expect(page.locator(".tile")).to_have_count(5)
    note.get_by_role("button", name="Show AAPL").click()
    expect(page.get_by_role("heading", name="Chart AAPL")).to_be_visible()


@pytest.mark.parametrize("symbol", ["%3Cb%3E", "..", "A%2F..%2FB"])
def test_what_is_no_symbol_is_passed_over(api: FakeApi, open_page: Opener, symbol: str) -> None:
    page = loaded(open_page(f"{api.url}/?symbol={symbol}"))
    expect(page.get_by_role("heading", name="Chart AAPL")).to_be_visible()


# Each tile of the tree map: what it is of, its place in the map, and its text's.
AREAS = """map => [...map.querySelectorAll('.area')].map(tile => {
    const frame = map.getBoundingClientRect();
    const place = box => ({ x: box.x - frame.x, y: box.y - frame.y, width: box.width, height: box.height });
    const texts = [...tile.children].map(text => text.getBoundingClientRect()).filter(text => text.height > 0);
    const isCut = [...tile.children].some(text => text.scrollWidth > text.clientWidth + 1);
    const [left, right] = [Math.min(...texts.map(one => one.left)), Math.max(...texts.map(one => one.right))];
    const [top, bottom] = [Math.min(...texts.map(one => one.top)), Math.max(...texts.map(one => one.bottom))];
    return {
        symbol: tile.dataset.symbol, size: parseFloat(getComputedStyle(tile.firstElementChild).fontSize), isCut,
        tile: place(tile.getBoundingClientRect()),
        text: texts.length === 0 ? null : place({ x: left, y: top, width: right - left, height: bottom - top }),
    };
})"""


@pytest.mark.parametrize("size", ["Equal", "Volatility"])
@pytest.mark.parametrize("many", [False, True])
def test_the_treemaps_tiles_have_the_chosen_areas(
    api: FakeApi, open_page: Opener, size: str, many: bool, keep: Keep
) -> None:
    if many:
        api.market.add_symbols()
    page = loaded(open_page(f"{api.url}/?symbol=AAPL"))
    page.get_by_role("radio", name=size).check()
    tiles = api.market.tiles()
    volatile = [tile["relative_volatility"] for tile in tiles]
    weights = [1.0 if size == "Equal" else max(volatility, 0.05 * max(volatile)) for volatility in volatile]
    wanted = {tile["symbol"]: weight / sum(weights) for tile, weight in zip(tiles, weights, strict=True)}

    def shares() -> dict[str, float]:
        areas = panel(page, "Day change").get_by_role("img").evaluate(AREAS)
        sizes = {one["symbol"]: one["tile"]["width"] * one["tile"]["height"] for one in areas}
        return {symbol: size / sum(sizes.values()) for symbol, size in sizes.items()}

    await_equal(page, shares, lambda: pytest.approx(wanted, abs=0.005))
    keep(page, f"treemap-{size.lower()}-{'many' if many else 'five'}")


@pytest.mark.parametrize("width", [1440, 1060, 390])
@pytest.mark.parametrize("many", [False, True])
def test_the_treemaps_text_is_in_the_middle_of_its_tile_and_as_large_as_that_allows(
    api: FakeApi, open_page: Opener, width: int, many: bool
) -> None:
    if many:
        api.market.add_symbols()
    page = loaded(open_page(f"{api.url}/?symbol=AAPL", width=width))
    areas = panel(page, "Day change").get_by_role("img").evaluate(AREAS)
    assert len(areas) == len(api.market.symbols)
    assert not [one for one in areas if one["isCut"]]
    # A tile that is too small for its name has none.
    for one in areas:
        tile, text = one["tile"], one["text"]
        if text is None:
            assert tile["width"] < 7 * len(one["symbol"]) or tile["height"] < 12, one
            continue
        for start, length in (("x", "width"), ("y", "height")):
            assert tile[start] - 0.5 <= text[start], one
            assert text[start] + text[length] <= tile[start] + tile[length] + 0.5, one
            middle = text[start] + text[length] / 2
            assert middle == pytest.approx(tile[start] + tile[length] / 2, abs=1), one
    areas = [one for one in areas if one["text"]]
    largest = max(areas, key=lambda one: min(one["tile"]["width"], one["tile"]["height"]))
    smallest = min(areas, key=lambda one: min(one["tile"]["width"], one["tile"]["height"]))
    assert largest["size"] > smallest["size"]


def test_the_treemap_begins_with_the_largest_rise(api: FakeApi, open_page: Opener) -> None:
    page = loaded(open_page(f"{api.url}/?symbol=AAPL"))
    areas = panel(page, "Day change").get_by_role("img").evaluate(AREAS)
    tiles = sorted(api.market.tiles(), key=lambda tile: -tile["change_percent"])
    assert [one["symbol"] for one in areas] == [tile["symbol"] for tile in tiles]
    assert (areas[0]["tile"]["x"], areas[0]["tile"]["y"]) == (0, 0)
    expect(panel(page, "Day change").locator(".ticks")).to_have_text("≤ \u22122.00\u00a0%0.00\u00a0%≥ +2.00\u00a0%")


def test_a_click_in_the_treemap_selects_its_symbol(api: FakeApi, open_page: Opener) -> None:
    page = loaded(open_page(f"{api.url}/?symbol=AAPL"))
    panel(page, "Day change").locator(".area", has_text="TSLA").click(position={"x": 5, "y": 5})
    expect(page.get_by_role("heading", name="Chart TSLA")).to_be_visible()


def test_everything_can_be_done_by_keyboard(api: FakeApi, open_page: Opener) -> None:
    page = loaded(open_page(f"{api.url}/?symbol=AAPL"))

    def tab_to(description: str) -> None:
        for _ in range(60):
            page.keyboard.press("Tab")
            focused = page.evaluate(
                "['ariaLabel', 'textContent', 'value'].map(name => document.activeElement[name]).join(' ')"
            )
            if description in focused:
                outline = page.evaluate(
                    """() => [document.activeElement, document.activeElement.nextElementSibling]
                        .some(one => one && getComputedStyle(one).outlineStyle === 'solid')"""
                )
                assert outline, f"{description} does not show its focus"
                return
        raise AssertionError(f"{description} is not reached")

    tab_to("MSFT")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Chart MSFT")).to_be_visible()
    tab_to("1d")
    page.keyboard.press("ArrowRight")
    expect(page.get_by_role("radio", name="5D")).to_be_checked()
    assert "range=5d" in page.url
    tab_to("5m")
    page.keyboard.press("ArrowRight")
    expect(page.get_by_role("radio", name="15 min")).to_be_checked()
    assert "interval=15m" in page.url
    tab_to("Zoom in")
    page.keyboard.press("Enter")
    tab_to("Show as a table")
    page.keyboard.press("Enter")
    expect(panel(page, "Chart MSFT").locator("details table")).to_be_visible()
    tab_to("candles of MSFT")
    page.keyboard.press("End")
    tab_to("volatility")
    page.keyboard.press("ArrowRight")
    expect(page.get_by_role("radio", name="Equal")).to_be_checked()


def test_the_theme_follows_the_system_until_it_is_chosen_and_is_kept(
    api: FakeApi, open_page: Opener, keep: Keep
) -> None:
    page = loaded(open_page(f"{api.url}/?symbol=AAPL&interval=5m", color_scheme="dark"))

    def is_dark() -> bool:
        return page.evaluate("getComputedStyle(document.documentElement).backgroundColor") == "rgb(14, 17, 23)"

    assert is_dark()
    keep(page, "dark")
    page.get_by_role("button", name="Switch to the light theme").click()
    expect(page.get_by_role("button", name="Switch to the dark theme")).to_be_visible()
    assert not is_dark()
    loaded(page).reload()
    expect(page.get_by_role("button", name="Switch to the dark theme")).to_be_visible()
    assert not is_dark()
    page.get_by_role("button", name="Switch to the dark theme").click()
    page.emulate_media(color_scheme="light")
    expect(page.get_by_role("button", name="Switch to the dark theme")).to_be_visible()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1440, 1060, 390])
def test_axe_finds_nothing_wrong(api: FakeApi, open_page: Opener, keep: Keep, scheme: str, width: int) -> None:
    page = loaded(open_page(f"{api.url}/?symbol=AAPL&interval=5m", color_scheme=scheme, width=width))
    keep(page, f"{scheme}-{width}")
    for name in ("Chart", "Day change"):
        open_table(panel(page, name))
    assert violations(page) == []


def test_what_a_screen_reader_is_told_does_not_follow_each_price(api: FakeApi, open_page: Opener) -> None:
    page = loaded(open_page(f"{api.url}/?symbol=AAPL"))
    status = page.get_by_role("status")
    expect(status).to_have_text("Figures are up to date. AAPL is selected.")
    page.evaluate(
        """() => {
            window.told = 0;
            const changes = { childList: true, characterData: true, subtree: true };
            new MutationObserver(() => { window.told += 1; }).observe(document.querySelector('[role=status]'), changes);
        }"""
    )
    for _ in range(3):
        api.market.tick()
        price = figure(api.market.quote("AAPL")["price"])
        await_equal(page, lambda: page.locator(".tile .price").first.inner_text(), lambda price=price: price)
    assert page.evaluate("window.told") == 0


@pytest.mark.parametrize("many", [False, True])
@pytest.mark.parametrize("width", [1440, 1100, 1060, 900, 390, 320])
def test_nothing_runs_over_its_frame(api: FakeApi, open_page: Opener, keep: Keep, width: int, many: bool) -> None:
    """Long symbols, prices of six digits and many symbols included."""
    if many:
        api.market.add_symbols()
    page = loaded(open_page(f"{api.url}/?symbol=AMZN", width=width))
    over = page.evaluate(
        """() => [...document.querySelectorAll('.tile, .chip, .panel, .station, .area')].flatMap(frame => {
            const { right } = frame.getBoundingClientRect();
            return [...frame.querySelectorAll(':scope > *')]
                .filter(part => part.getBoundingClientRect().right > right + 0.5)
                .map(part => `${part.className} in ${frame.className}`);
        })"""
    )
    keep(page, f"{'many' if many else 'five'}-{width}")
    assert over == []
    assert page.evaluate("document.scrollingElement.scrollWidth") == width


@pytest.mark.parametrize(
    ("market", "said"),
    [
        ({"state": "open", "closes_at": "2026-11-25T21:00:00Z"}, "Open"),
        (
            {"state": "closed", "next_open": "2026-11-27T14:30:00Z", "holiday": "Thanksgiving Day"},
            "Closed (Thanksgiving Day) until",
        ),
        ({"state": "recording", "speed": 1, "date": "2019-02-14"}, "Recording of Feb 14, 2019 · 1\u00d7"),
    ],
)
def test_the_page_says_what_the_quotes_are_of(
    api: FakeApi, open_page: Opener, keep: Keep, market: dict[str, Any], said: str
) -> None:
    api.market_state = market
    page = loaded(open_page(api.url))
    expect(page.locator(".badge.market")).to_contain_text(said)
    keep(page, f"market-{market['state']}-{market.get('speed', '')}")
    assert "Live" not in page.locator("body").inner_text()
    assert violations(page) == []


def test_the_age_of_the_last_quote_ticks(api: FakeApi, open_page: Opener) -> None:
    page = loaded(open_page(api.url))
    ages = []
    for _ in range(3):
        ages.append(page.locator(".age").inner_text())
        page.clock.run_for(1_000)
    assert len(set(ages)) == 3, ages
    assert all(age.startswith("Last quote ") and age.endswith(" ago") for age in ages)


def test_a_symbol_whose_times_are_unusable_is_named_and_the_others_are_shown(api: FakeApi, open_page: Opener) -> None:
    api.unknown = "JPM"
    page = loaded(open_page(api.url))
    expect(page.locator(".notice")).to_contain_text("JPM: its latest quote was fetched in the future.")
    expect(panel(page, "Pipeline").locator(".old")).to_have_count(1)
    expect(page.locator(".tile")).to_have_count(5)


def test_a_part_that_is_slow_holds_up_no_other(api: FakeApi, open_page: Opener) -> None:
    api.slow = {"treemap"}
    page = loaded(open_page(f"{api.url}/?symbol=AAPL"))
    expect(page.locator(".tile")).to_have_count(5)
    table = panel(page, "Day change")
    expect(table.get_by_text("Loading…")).to_be_visible()
    api.slow = set()
    page.clock.fast_forward(POLL_MS)
    expect(open_table(table).locator("tbody tr")).to_have_count(5)


@pytest.mark.parametrize("width", [1440, 390])
@pytest.mark.parametrize("many", [False, True])
def test_nothing_moves_while_the_page_loads(api: FakeApi, open_page: Opener, width: int, many: bool) -> None:
    if many:
        api.market.add_symbols()
    page = loaded(open_page(f"{api.url}/?symbol=AAPL", width=width))
    shift = page.evaluate(
        """() => new Promise(resolve => {
            let sum = 0;
            new PerformanceObserver(list => {
                sum += list.getEntries().filter(one => !one.hadRecentInput).reduce((all, one) => all + one.value, 0);
            }).observe({ type: 'layout-shift', buffered: true });
            requestAnimationFrame(() => requestAnimationFrame(() => resolve(sum)));
        })"""
    )
    assert shift < 0.05


def test_many_symbols_are_a_table_that_is_sorted_and_searched(api: FakeApi, open_page: Opener, keep: Keep) -> None:
    api.market.add_symbols()
    page = loaded(open_page(f"{api.url}/?symbol=AAPL"))
    table = page.get_by_role("region", name="All quotes").get_by_role("table")
    symbols = lambda: [row[0] for row in rows(table)]  # noqa: E731
    assert symbols() == sorted(api.market.symbols)
    page.get_by_role("button", name="Change %").click()
    changes = {quote["symbol"]: quote["change_percent"] for quote in api.market.kpi()}
    assert [changes[symbol] for symbol in symbols()] == sorted(changes.values(), reverse=True)
    expect(page.get_by_role("columnheader", name="Change %")).to_have_attribute("aria-sort", "descending")
    page.keyboard.press("/")
    page.keyboard.type("btc")
    expect(table.locator("tbody tr")).to_have_count(1)
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Chart BINANCE:BTCUSDT")).to_be_visible()
    page.keyboard.press("Escape")
    expect(table.locator("tbody tr")).to_have_count(len(api.market.symbols))
    keep(page, "many-sorted")
    assert violations(page) == []


def test_symbols_are_compared_in_percent_from_one_start(api: FakeApi, open_page: Opener, keep: Keep) -> None:
    page = loaded(open_page(f"{api.url}/?symbol=AAPL&range=5d&interval=5m"))
    for symbol in ("MSFT", "TSLA"):
        page.get_by_label("Compare with", exact=True).select_option(symbol)
    assert "compare=MSFT%2CTSLA" in page.url
    chart = panel(page, "Chart")

    def expected(symbol: str) -> str:
        candles = api.market.candles(symbol, "5m", 5)
        return percent(100 * (candles[-1]["close"] / candles[0]["open"] - 1))

    for symbol in ("AAPL", "MSFT", "TSLA"):
        legend = chart.locator(".legend div", has_text=symbol).locator("dd")
        await_equal(
            page,
            lambda legend=legend: legend.inner_text().replace("\u00a0", " "),
            lambda symbol=symbol: expected(symbol),
        )
    keep(page, "compared")
    assert violations(page) == []
    page.get_by_role("button", name="Do not compare with MSFT").click()
    page.get_by_role("button", name="Do not compare with TSLA").click()
    expect(chart.locator(".legend dt").nth(1)).to_have_text("Open")


@pytest.mark.parametrize("kind", ["Candles", "Line", "Area"])
def test_the_kind_of_chart_is_chosen_and_kept(api: FakeApi, open_page: Opener, keep: Keep, kind: str) -> None:
    page = loaded(open_page(f"{api.url}/?symbol=AAPL&range=5d"))
    page.get_by_role("radio", name=kind, exact=True).check()
    keep(page, f"chart-{kind.lower()}")
    page.reload()
    expect(page.get_by_role("radio", name=kind, exact=True)).to_be_checked()


def test_candles_of_one_quote_each_are_shown_as_a_line(api: FakeApi, open_page: Opener) -> None:
    api.market.quotes_per_bar = 1
    page = loaded(open_page(f"{api.url}/?symbol=AAPL"))
    expect(page.get_by_role("radio", name="Line", exact=True)).to_be_checked()


def test_keys_choose_the_symbol_the_interval_the_theme_and_the_clock(api: FakeApi, open_page: Opener) -> None:
    page = loaded(open_page(f"{api.url}/?symbol=AAPL", timezone_id="Europe/Berlin"))
    page.keyboard.press("ArrowRight")
    expect(page.get_by_role("heading", name="Chart AMZN")).to_be_visible()
    page.keyboard.press("ArrowLeft")
    expect(page.get_by_role("heading", name="Chart AAPL")).to_be_visible()
    page.keyboard.press("3")
    expect(page.get_by_role("radio", name="15 min")).to_be_checked()
    page.keyboard.press("t")
    expect(page.get_by_role("button", name="Switch to the light theme")).to_be_visible()
    time = page.locator(".tile .traded").first
    expect(time).to_have_text("15:01:58")
    page.keyboard.press("z")
    expect(time).to_have_text("21:01:58")
    page.reload()
    expect(time).to_have_text("21:01:58")
    page.keyboard.press("?")
    expect(page.get_by_role("dialog")).to_be_visible()
    assert violations(page) == []


PRESS = "keys => keys.forEach(key => document.dispatchEvent(new KeyboardEvent('keydown', { key })))"


def test_each_of_two_keys_pressed_at_once_counts(api: FakeApi, open_page: Opener) -> None:
    page = loaded(open_page(f"{api.url}/?symbol=AAPL", timezone_id="Europe/Berlin"))
    page.evaluate(PRESS, ["ArrowRight", "ArrowRight"])
    expect(page.get_by_role("heading", name=f"Chart {api.market.symbols[2]}")).to_be_visible()
    time = page.locator(".tile .traded").first
    page.evaluate(PRESS, ["t", "t", "z", "z", "1"])
    expect(page.get_by_role("radio", name="1 min")).to_be_checked()
    expect(page.get_by_role("button", name="Switch to the dark theme")).to_be_visible()
    expect(time).to_have_text("15:01:58")
    page.evaluate(PRESS, ["t", "z", "t", "z", "t", "z"])
    expect(page.get_by_role("button", name="Switch to the light theme")).to_be_visible()
    expect(time).to_have_text("21:01:58")


def test_a_key_acts_on_what_the_page_shows_before_that_is_painted(api: FakeApi, open_page: Opener) -> None:
    page = loaded(open_page(f"{api.url}/?symbol=AAPL"))
    # From now on no frame is painted and no timer runs out.
    page.clock.pause_at(datetime.now(UTC) + timedelta(minutes=1))
    for key, symbol in (("ArrowRight", "AMZN"), ("ArrowLeft", "AAPL"), ("ArrowLeft", api.market.symbols[-1])):
        page.keyboard.press(key)
        expect(page.get_by_role("heading", name=f"Chart {symbol}")).to_be_visible()
    page.go_back()
    expect(page.get_by_role("heading", name="Chart AAPL")).to_be_visible()


def test_back_to_no_chosen_symbol_is_the_first_one_before_the_server_answers(api: FakeApi, open_page: Opener) -> None:
    page = loaded(open_page(api.url))
    page.keyboard.press("ArrowRight")
    expect(page.get_by_role("heading", name="Chart AMZN")).to_be_visible()
    expect(panel(page, "Chart").locator(".legend dd").first).to_be_visible()
    page.route("**/api/snapshot", lambda _: None)
    page.go_back()
    expect(page.get_by_role("heading", name="Chart AAPL")).to_be_visible()
    page.keyboard.press("ArrowRight")
    expect(page.get_by_role("heading", name="Chart AMZN")).to_be_visible()


def test_an_arrow_ends_the_comparison_with_the_symbol_that_it_comes_to(api: FakeApi, open_page: Opener) -> None:
    page = loaded(open_page(f"{api.url}/?symbol=AAPL&compare=AMZN"))
    expect(panel(page, "Chart").locator(".legend dt")).to_have_text(["AAPL", "AMZN"])
    page.keyboard.press("ArrowRight")
    expect(page.get_by_role("heading", name="Chart AMZN")).to_be_visible()
    expect(panel(page, "Chart").locator(".legend dt").nth(1)).to_have_text("Open")


def test_figures_that_come_without_the_quotes_leave_the_page_at_its_symbol(api: FakeApi, open_page: Opener) -> None:
    page = loaded(open_page(api.url))
    api.slow = {"kpi", "candles"}
    api.market.tick()
    api.requests.clear()
    page.clock.fast_forward(POLL_MS)
    await_equal(page, lambda: ("/api/snapshot", 200) in api.requests, lambda: True)
    page.clock.fast_forward(1)
    expect(page.get_by_role("heading", name="Chart AAPL")).to_be_visible()
    expect(page.locator(".tile[aria-current]")).to_have_count(1)


def test_another_symbols_price_does_not_light_up_as_if_it_had_changed(api: FakeApi, open_page: Opener) -> None:
    page = loaded(open_page(f"{api.url}/?symbol=AAPL"))
    page.evaluate("() => { Element.prototype.animate = function () { (window.lit ??= []).push(this.textContent); }; }")
    page.keyboard.press("ArrowRight")
    expect(page.get_by_role("heading", name="Chart AMZN")).to_be_visible()
    page.clock.run_for(1_000)
    assert page.evaluate("window.lit ?? []") == []
    api.market.tick()
    price = figure(api.market.quote("AMZN")["price"])
    await_equal(page, lambda: price in page.evaluate("window.lit ?? []"), lambda: True)


@pytest.mark.parametrize("slow", ["candles", "treemap", "health"])
def test_a_panel_that_waits_for_its_figures_says_so_where_it_is_seen(
    api: FakeApi, open_page: Opener, keep: Keep, slow: str
) -> None:
    api.slow = {slow}
    page = open_page(api.url)
    note = page.locator(".note.loading")
    expect(note).to_be_visible()
    keep(page, f"slow-{slow}")
    seen = """note => {
        note.scrollIntoView({ block: 'center' });
        const { x, y, width, height } = note.getBoundingClientRect();
        return document.elementFromPoint(x + width / 2, y + height / 2) === note;
    }"""
    assert note.evaluate(seen)
    if slow == "health":
        last = page.locator(".station").last.bounding_box() or {}
        assert (note.bounding_box() or {})["y"] >= last["y"] + last["height"]


CLOSED = {"state": "closed", "next_open": "2026-11-27T14:30:00Z", "holiday": "Thanksgiving Day"}


def test_a_closed_market_has_no_rates_and_the_day_of_its_last_trades(
    api: FakeApi, open_page: Opener, keep: Keep
) -> None:
    api.market_state = CLOSED
    page = loaded(open_page(api.url))
    expect(page.locator(".badge.market")).to_contain_text("Closed (Thanksgiving Day) until ")
    assert set(page.locator(".station").locator(".none, .figure").all_inner_texts()) == {"Market closed"}
    assert {row[3] for row in rows(panel(page, "Pipeline").locator("table"))} == {NONE}
    expect(page.locator(".tile .traded").first).to_have_text("Feb 14, 15:01")
    keep(page, "closed-market")


def test_symbols_of_one_price_each_have_no_volatility_in_the_tree_map(api: FakeApi, open_page: Opener) -> None:
    tiles = api.market.tiles
    api.market.tiles = lambda: [tile | {"volatility": 0.0, "relative_volatility": 0.0} for tile in tiles()]  # type: ignore[method-assign]
    page = loaded(open_page(api.url))
    expect(panel(page, "Day change").locator(".area .more").first).not_to_contain_text("\u03c3")


def test_a_table_is_given_as_csv(api: FakeApi, open_page: Opener) -> None:
    page = loaded(open_page(f"{api.url}/?symbol=AAPL&range=5d&interval=5m"))
    open_table(panel(page, "Chart"))
    with page.expect_download() as download:
        page.get_by_role("button", name="Download candles-AAPL-5m as CSV").click()
    lines = Path(download.value.path()).read_text().splitlines()
    candles = api.market.candles("AAPL", "5m", 5)
    assert lines[0] == "time,open,high,low,close,quotes"
    assert len(lines) == len(candles) + 1
    assert lines[1].split(",")[1:5] == [
        repr(candles[0][name]).removesuffix(".0") for name in ("open", "high", "low", "close")
    ]


STATIONS = ("Fetch", "Kafka", "S3", "Bronze", "Gold")


def test_the_strip_follows_the_quotes_with_rate_latency_lag_and_dead_letters(api: FakeApi, open_page: Opener) -> None:
    page = loaded(open_page(api.url))
    stations = panel(page, "Pipeline").locator(".station")
    texts = [text.replace("\u00a0", " ").split("\n") for text in stations.all_inner_texts()]
    assert [text[:2] for text in texts] == [
        ["Fetch", "50 a minute"],
        ["Kafka", "50 a minute"],
        ["S3", "50 a minute"],
        ["Bronze", "49.5 a minute"],
        ["Gold", "49.5 a minute"],
    ]
    assert [text[2] for text in texts[1:4]] == [
        "p50 9 ms · 0 waiting",
        "p50 600 ms · 2 waiting · 0 quarantined",
        "p50 2.1 s · 0 dead letters",
    ]
    assert texts[0][2] == "0 missed"
    assert texts[4][2].startswith("p50 2.3 s · settled 2 min ")


@pytest.mark.parametrize("width", [1440, 390])
def test_each_station_is_opened_by_keyboard_and_says_all_that_it_knows(
    api: FakeApi, open_page: Opener, keep: Keep, width: int
) -> None:
    api.pipeline["stations"]["bronze"] |= {
        "dead_letters": 3,
        "failures": 2,
        "last_failure": "BigQuery refused the rows",
    }
    api.pipeline["stations"]["fetch"]["missed"] = {"Finnhub's limit was reached": 4}
    page = loaded(open_page(api.url, width=width))
    said = {
        "Fetch": "4 (Finnhub's limit was reached)",
        "Kafka": "Waiting for archive-quotes (lag)",
        "S3": "In quarantine",
        "Bronze": "BigQuery refused the rows",
        "Gold": "Last settling",
    }
    for name in STATIONS:
        button = page.get_by_role("button", name=name)
        button.focus()
        page.keyboard.press("Enter")
        expect(button).to_have_attribute("aria-expanded", "true")
        opened = page.get_by_role("region", name=f"What is known of {name}")
        expect(opened).to_contain_text(said[name])
        assert violations(page) == []
        if name == "Bronze":
            keep(page, f"station-{width}")
    page.keyboard.press("Escape")
    expect(page.locator(".opened")).to_be_hidden()


def test_what_the_warehouse_does_not_know_is_not_invented(api: FakeApi, open_page: Opener, keep: Keep) -> None:
    bronze = station(quotes_per_minute=49.2, p50_seconds=2.0)
    stations = {name.lower(): station() for name in STATIONS} | {"bronze": bronze}
    api.pipeline = pipeline(measured_by="warehouse", stations=stations)
    page = loaded(open_page(api.url))
    strip = panel(page, "Pipeline").locator(".station")
    expect(strip.nth(1)).to_have_text("KafkaNot known here")
    expect(strip.nth(3)).to_have_text("Bronze49.2 a minutep50 2.0\u00a0s")
    expect(strip.nth(4)).to_contain_text("settled 2\u00a0min")
    page.get_by_role("button", name="Kafka").click()
    opened = page.get_by_role("region", name="What is known of Kafka")
    expect(opened).to_contain_text("Waiting for archive-quotes (lag)not known here")
    expect(opened).to_contain_text("CloudWatch")
    keep(page, "pipeline-warehouse")
    assert violations(page) == []


def test_the_page_says_why_no_quotes_come(api: FakeApi, open_page: Opener, keep: Keep) -> None:
    reason = "Finnhub refuses FINNHUB_API_KEY (HTTP 401: Invalid API key)"
    api.pipeline = pipeline(trouble=reason)
    api.age = timedelta(minutes=3)
    page = loaded(open_page(api.url))
    expect(page.locator(".notice")).to_contain_text("No new quotes for 3\u00a0min")
    expect(page.locator(".notice")).to_contain_text(f". {reason}.")
    expect(panel(page, "Pipeline").locator(".trouble")).to_have_text(f"{reason}.")
    keep(page, "trouble")
    assert violations(page) == []
    # Also while it is not known how fresh the quotes are.
    api.slow = {"health"}
    page = loaded(open_page(api.url))
    expect(page.locator(".notice")).to_have_text(f"{reason}.")
    expect(panel(page, "Pipeline").locator(".trouble")).to_have_text(f"{reason}.")
    api.slow = set()
    api.empty = True
    page = open_page(api.url)
    expect(page.get_by_role("region", name="No quotes yet")).to_contain_text(f"{reason}.")
