"""What the page does while the world around it changes, on the fake API."""

import copy
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from conftest import Opener
from fake_api import OPENAPI, ROOT, FakeApi, validator
from pagekit import LONGEST_BACK_OFF_MS, POLL_MS, await_equal, figure, open_table, panel, rows
from playwright.sync_api import Page, expect

Keep = Callable[[Page, str], Path]
AXE = (ROOT / "dashboards/web/node_modules/axe-core/axe.min.js").read_text()


def loaded(page: Page) -> Page:
    """Wait until every panel has its figures."""
    expect(panel(page, "Candles").locator(".legend dd").first).to_be_visible()
    for name in ("Candles", "Day change", "Pipeline", "History AAPL"):
        expect(panel(page, name).get_by_text("Loading…")).to_have_count(0)
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
    paths = (
        "/api/kpi",
        "/api/candles?symbol=AAPL&interval=1d",
        "/api/history?symbol=AAPL",
        "/api/treemap",
        "/api/health",
    )
    await_equal(page, lambda: {one for one in paths if (one, 304) in api.requests}, lambda: set(paths))
    assert {status for _, status in api.requests} == {304}


def test_the_live_quote_joins_candles_that_are_older_until_newer_ones_come(api: FakeApi, open_page: Opener) -> None:
    page = open_page(f"{api.url}/?symbol=AAPL&interval=5m")
    table = open_table(panel(page, "Candles"))
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
    candles = api.market.candles("AAPL", "5m")
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
    expect(page.locator(".status .badge")).to_have_text("No data yet")
    keep(page, "empty")
    assert violations(page) == []
    api.empty = False
    await_equal(page, lambda: page.locator(".tile").count(), lambda: 5)
    expect(page.locator(".status .badge")).to_have_text("Live")


def test_old_quotes_are_called_stale_with_their_age(api: FakeApi, open_page: Opener, keep: Keep) -> None:
    api.age = timedelta(minutes=12, seconds=5)
    page = loaded(open_page(f"{api.url}/?symbol=AAPL&interval=1m"))
    expect(page.locator(".status .badge")).to_have_text("Stale")
    expect(page.locator(".notice")).to_contain_text("No new quotes for 12\u00a0min 5\u00a0s")
    expect(panel(page, "Pipeline").locator(".old")).to_have_count(5)
    keep(page, "stale")
    assert violations(page) == []


def test_the_last_figures_stay_marked_while_the_server_is_away(api: FakeApi, open_page: Opener, keep: Keep) -> None:
    page = loaded(open_page(f"{api.url}/?symbol=AAPL&interval=5m"))
    figures = page.locator(".tile .price").all_inner_texts()
    api.stop()
    await_equal(page, lambda: page.locator(".status .badge").inner_text(), lambda: "Not updating")
    expect(page.locator(".notice")).to_contain_text("The server does not answer. These are the last figures, as of")
    expect(page.get_by_text("Last figures", exact=True)).to_have_count(4)
    assert page.locator(".tile .price").all_inner_texts() == figures
    expect(page.get_by_role("status")).to_contain_text("The server does not answer.")
    keep(page, "server-away")
    assert violations(page) == []
    api.market.tick(30)
    api.start()
    page.clock.fast_forward(LONGEST_BACK_OFF_MS)
    await_equal(page, lambda: page.locator(".status .badge").inner_text(), lambda: "Live")
    expect(page.locator(".notice")).to_have_count(0)
    expect(page.locator(".tile .price").first).to_have_text(figure(api.market.quote("AAPL")["price"]))


def test_tries_become_rarer_while_they_fail_and_can_be_asked_for(api: FakeApi, open_page: Opener) -> None:
    page = loaded(open_page(f"{api.url}/?symbol=AAPL"))
    api.unavailable = True

    def tries() -> int:
        return sum(1 for path, status in api.requests if path == "/api/kpi" and status == 503)

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
    expect(page.locator(".status .badge")).to_have_text("Live")


def test_without_any_figures_an_outage_shows_nothing_but_itself(api: FakeApi, open_page: Opener, keep: Keep) -> None:
    api.unavailable = True
    page = open_page(api.url, color_scheme="dark")
    expect(page.locator(".notice")).to_contain_text("There are no figures to show.")
    expect(page.locator("main .panel")).to_have_count(0)
    keep(page, "no-figures")


@pytest.mark.parametrize(
    ("symbol", "said"),
    [("NONE", "No quotes of NONE."), ("%3Cb%3E", "'<b>' is no symbol."), ("..", "'..' is no symbol.")],
)
def test_a_symbol_without_quotes_is_named_and_the_rest_is_shown(
    api: FakeApi, open_page: Opener, symbol: str, said: str
) -> None:
    page = open_page(f"{api.url}/?symbol={symbol}")
    expect(panel(page, "Candles").locator(".note")).to_have_text(said)
    expect(panel(page, "History").locator(".note")).to_have_text(said)
    expect(page.locator(".tile")).to_have_count(5)
    expect(page.locator(".status .badge")).to_have_text("Live")


@pytest.mark.parametrize("size", ["Equal", "Volatility"])
def test_the_treemaps_tiles_have_the_chosen_areas(api: FakeApi, open_page: Opener, size: str, keep: Keep) -> None:
    """The areas are measured as a reader would: by pointing at a grid of places and reading the tooltip."""
    page = loaded(open_page(f"{api.url}/?symbol=AAPL", reduced_motion="reduce"))
    page.get_by_role("radio", name=size).check()
    chart = panel(page, "Day change").get_by_role("img")
    chart.hover()
    expect(page.locator(".tooltip")).to_be_visible()
    point_everywhere = """chart => {
        const box = chart.getBoundingClientRect();
        const [columns, lines] = [30, 30];
        return Array.from({ length: columns * lines }, (_, place) => {
            const clientX = box.x + box.width * ((place % columns) + 0.5) / columns;
            const clientY = box.y + box.height * (Math.floor(place / columns) + 0.5) / lines;
            const canvas = document.elementFromPoint(clientX, clientY);
            canvas.dispatchEvent(new MouseEvent("mousemove", { clientX, clientY, bubbles: true }));
            return document.querySelector(".tooltip dd")?.textContent;
        });
    }"""
    weights = {tile["symbol"]: 1.0 if size == "Equal" else tile["relative_volatility"] for tile in api.market.tiles()}
    wanted = {symbol: weight / sum(weights.values()) for symbol, weight in weights.items()}

    def shares() -> dict[str, float]:
        pointed = chart.evaluate(point_everywhere)
        return {symbol: pointed.count(symbol) / len(pointed) for symbol in wanted}

    await_equal(page, shares, lambda: pytest.approx(wanted, abs=0.02))
    keep(page, f"treemap-{size.lower()}")


def test_a_click_in_the_treemap_selects_its_symbol(api: FakeApi, open_page: Opener) -> None:
    page = loaded(open_page(f"{api.url}/?symbol=AAPL", reduced_motion="reduce"))
    chart = panel(page, "Day change").get_by_role("img")
    chart.hover(position={"x": 20, "y": 20})
    symbol = page.locator(".tooltip dd").first.inner_text()
    chart.click(position={"x": 20, "y": 20})
    expect(page.get_by_role("heading", name=f"Candles {symbol}")).to_be_visible()


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
    expect(page.get_by_role("heading", name="Candles MSFT")).to_be_visible()
    tab_to("1d")
    page.keyboard.press("ArrowRight")
    expect(page.get_by_role("radio", name="5 min")).to_be_checked()
    assert "interval=5m" in page.url
    tab_to("Zoom in")
    page.keyboard.press("Enter")
    tab_to("Show as a table")
    page.keyboard.press("Enter")
    expect(panel(page, "Candles MSFT").locator("details table")).to_be_visible()
    tab_to("candles of MSFT")
    page.keyboard.press("End")
    tab_to("equal")
    page.keyboard.press("ArrowRight")
    expect(page.get_by_role("radio", name="Volatility")).to_be_checked()


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
@pytest.mark.parametrize("width", [1440, 360])
def test_axe_finds_nothing_wrong(api: FakeApi, open_page: Opener, keep: Keep, scheme: str, width: int) -> None:
    page = loaded(open_page(f"{api.url}/?symbol=AAPL&interval=5m", color_scheme=scheme, width=width))
    keep(page, f"{scheme}-{width}")
    for name in ("Candles", "Day change", "History AAPL"):
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
