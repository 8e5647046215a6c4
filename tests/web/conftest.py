"""A browser, and the page on the fake API or on the server that QUOTEFLOW_DASHBOARD_URL names."""

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright
from testkit.fake_api import DIST, ROOT, FakeApi

SCREENSHOTS = ROOT / "target/web-screenshots"
CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium")
# Chromium asks its maker's servers for this and that unless it is told not to.
QUIET = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


# A live server on a busy machine answers late; the page asks it again after some seconds.
expect.set_options(timeout=30_000)


@pytest.fixture(scope="session", autouse=True)
def built() -> None:
    if not (DIST / "index.html").exists():
        pytest.exit(f"{DIST} is missing: run `make web`", 1)
    if CHROMIUM is None:
        pytest.exit("chromium is missing: run `make test-web`, or name one in CHROMIUM", 1)


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Chromium with an empty profile of its own."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=list(QUIET))
        yield browser
        browser.close()


@pytest.fixture
def api() -> Iterator[FakeApi]:
    with FakeApi() as api:
        yield api
    assert api.errors == []


@pytest.fixture
def dashboard(request: pytest.FixtureRequest) -> str:
    """Where the page is, for tests that hold on any server with quotes."""
    return os.environ.get("QUOTEFLOW_DASHBOARD_URL") or request.getfixturevalue("api").url


Opener = Callable[..., Page]


@pytest.fixture
def open_page(browser: Browser) -> Iterator[Opener]:
    """Opens pages, each in a context of its own, and checks what holds for every page whatever it shows."""
    contexts: list[BrowserContext] = []
    faults: list[str] = []

    def open_page(url: str, *, width: int = 1440, height: int = 900, **options: object) -> Page:
        context = browser.new_context(viewport={"width": width, "height": height}, **options)
        contexts.append(context)
        page = context.new_page()
        origin = "/".join(url.split("/", 3)[:3])
        page.on("pageerror", lambda error: faults.append(f"uncaught: {error}"))
        page.on("request", lambda request: request.url.startswith(origin) or faults.append(f"external: {request.url}"))
        page.on("console", lambda message: "Content Security Policy" in message.text and faults.append(message.text))
        page.clock.install()
        page.goto(url)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert faults == []


@pytest.fixture
def keep() -> Callable[[Page, str], Path]:
    """Keeps a screenshot of the whole page."""

    def keep(page: Page, name: str) -> Path:
        SCREENSHOTS.mkdir(parents=True, exist_ok=True)
        path = SCREENSHOTS / f"{name}.png"
        page.screenshot(path=path, full_page=True)
        return path

    return keep
