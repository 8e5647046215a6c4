"""The picture of the page in README.md: `make picture`."""

import sys

from conftest import CHROMIUM, QUIET
from playwright.sync_api import expect, sync_playwright
from testkit.fake_api import ROOT, FakeApi
from testkit.page import panel

PICTURE = ROOT / "docs/page.png"
WIDTH, HEIGHT = 1280, 806


def main() -> None:
    """Take it of the recorded prices, with what the tests' server says of the flow."""
    if CHROMIUM is None:
        sys.exit("chromium is missing: run `make test-web`, or name one in CHROMIUM")
    with sync_playwright() as playwright, FakeApi() as api:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=list(QUIET))
        page = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT})
        page.goto(f"{api.url}/?symbol=AAPL&range=5d&interval=15m")
        expect(panel(page, "Chart").locator(".legend dd").first).to_be_visible()
        expect(page.locator(".station")).to_have_count(5)
        page.screenshot(path=PICTURE)
        browser.close()
    print(f"{PICTURE.relative_to(ROOT)}: {PICTURE.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
