"""Pictures of the first minute, to be looked at: `make first-minute`, in target/web-screenshots/first-minute.

Real runs of `quoteflow` against a server of Finnhub's shape: a closed market, an open one, a key that is refused, a
warehouse that stands still, and thirty symbols; each in three widths, light and dark.
"""

import json
import math
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from conftest import CHROMIUM, QUIET, SCREENSHOTS
from playwright.sync_api import Browser, Error, sync_playwright
from testkit import finnhub
from testkit.flow import Flow, counts, processes_of, wait_until

KEY = "first-minute-key"
PICTURES = SCREENSHOTS / "first-minute"
SIZES = ((1440, 900), (1060, 800), (390, 844))
LIMIT_SECONDS = 180
OPEN = {"exchange": "US", "holiday": None, "isOpen": True}
CLOSED = {"exchange": "US", "holiday": "Thanksgiving Day", "isOpen": False}
FIVE = {"AAPL": 171.42, "MSFT": 107.9, "TSLA": 305.6, "GOOGL": 1118.6, "AMZN": 1628.4}
MORE = [
    "ABNB", "ADBE", "AMD", "AVGO", "BA", "BAC", "BRK.B", "CRM", "CSCO", "DIS", "GS", "IBM", "INTC", "JNJ", "JPM",
    "KO", "MCD", "META", "NFLX", "NKE", "NVDA", "ORCL", "PEP", "UBER", "WFC",
]  # fmt: skip


class Prices:
    """Prices that move a little with each second."""

    def __init__(self, symbols: list[str], last_trade: datetime | None) -> None:
        self.base = {symbol: FIVE.get(symbol, 40.0 + 17 * number) for number, symbol in enumerate(symbols)}
        self.last_trade = last_trade

    def quote(self, symbol: str) -> str:
        """A quote as Finnhub words it."""
        now = self.last_trade.timestamp() if self.last_trade else time.time()
        number = sorted(self.base).index(symbol)
        before = self.base[symbol]
        drift = 0.9 * math.sin(2.4 * number) + 0.15 * math.sin(now / 37 + number)
        price, high, low = (round(before * (1 + percent / 100), 2) for percent in (drift, drift + 0.6, drift - 0.7))
        change = round(price - before, 2)
        figures = {"c": price, "d": change, "dp": round(100 * change / before, 4), "h": high, "l": low}
        return json.dumps(figures | {"o": round(before * 1.001, 2), "pc": before, "t": int(now)})


def shoot(browser: Browser, url: str, scene: str) -> None:
    """Take a scene's pictures, each in a context of its own."""
    for width, height in SIZES:
        for scheme in ("light", "dark"):
            context = browser.new_context(viewport={"width": width, "height": height}, color_scheme=scheme)
            page = context.new_page()
            page.goto(url)
            try:
                page.locator(".skeleton").wait_for(state="detached", timeout=30_000)
            except Error:
                print(f"{scene} {width} {scheme}: still loading after 30 s")
            page.wait_for_timeout(1_500)
            page.screenshot(path=PICTURES / f"{scene}-{width}-{scheme}.png", full_page=True)
            context.close()
    print(f"{scene}: done")


@contextmanager
def flow(name: str, server: finnhub.Finnhub, symbols: list[str], limit: int) -> Iterator[tuple[Flow, str]]:
    """A live run, and its page's address."""
    with tempfile.TemporaryDirectory() as directory:
        variables = {"FINNHUB_BASE_URL": server.base_url, "FINNHUB_API_KEY": KEY, "RATE_LIMIT_PER_MINUTE": str(limit)}
        with Flow(Path(directory) / "data", "--symbols", ",".join(symbols), interval="6s", **variables) as run:
            wait_until(lambda: "To stop:" in run.text() or run.process.poll() is not None, "start", LIMIT_SECONDS)
            assert run.process.poll() is None, run.text()
            url = run.text().partition("The page:")[2].split()[0]
            yield run, url
            print(f"--- {name}\n{run.text()}")


def gold(run: Flow, quotes: int) -> None:
    run.await_report(lambda report: report["latency_ms"]["gold_row"]["quotes"] >= quotes, f"{quotes} quotes in gold")


def main() -> None:
    """Take all pictures, or those of the scenes that are named."""
    if CHROMIUM is None:
        sys.exit("chromium is missing: run `make test-web`, or name one in CHROMIUM")
    wanted = set(sys.argv[1:]) or {"closed", "open", "many"}
    shutil.rmtree(PICTURES, ignore_errors=True) if len(sys.argv) == 1 else None
    PICTURES.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright, finnhub.serve(KEY) as server:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=list(QUIET))
        symbols = list(FIVE)
        if "closed" in wanted:
            server.market = CLOSED
            server.quote = Prices(symbols, datetime(2026, 11, 25, 20, 59, 58, tzinfo=UTC)).quote
            with flow("closed", server, symbols, 60) as (run, url):
                gold(run, len(symbols))
                shoot(browser, url, "closed")
        if "open" in wanted:
            server.market = OPEN
            server.quote = Prices(symbols, None).quote
            with flow("open", server, symbols, 60) as (run, url):
                shoot(browser, url, "open-at-once")
                gold(run, 3 * len(symbols))
                shoot(browser, url, "open")
                with server.lock:
                    server.says = (401, '{"error":"Invalid API key"}', {})
                wait_until(lambda: "refuses" in run.text(), "refusal", LIMIT_SECONDS)
                time.sleep(70)  # until the page calls the quotes stale
                shoot(browser, url, "refused")
                with server.lock:
                    server.says = None
                before = counts(run.report() or {})["loaded"]
                run.await_report(lambda report: counts(report)["loaded"] > before, "return of the quotes")
                stopped = [pid for pid, command in processes_of(run.data_dir).items() if "bqemulator" in command]
                for pid in stopped:
                    os.kill(pid, signal.SIGSTOP)
                time.sleep(20)
                shoot(browser, url, "stopped")
                for pid in stopped:
                    os.kill(pid, signal.SIGCONT)
        if "many" in wanted:
            server.market = OPEN
            symbols = [*FIVE, *MORE]
            server.quote = Prices(symbols, None).quote
            with flow("many", server, symbols, 60) as (run, url):
                gold(run, len(symbols))
                shoot(browser, url, "many")
        browser.close()


if __name__ == "__main__":
    main()
