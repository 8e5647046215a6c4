"""The texts that the page shows to a reader, and the expected texts, formatted without the page's code."""

import json
import time
import urllib.request
from collections.abc import Callable
from datetime import datetime
from decimal import ROUND_HALF_UP, Decimal
from typing import Any
from urllib.parse import urlencode

from playwright.sync_api import Locator, Page, expect

from testkit.fake_api import NEW_YORK

# A poll is due every 5 s.
POLL_MS = 5_100
# The longest back-off is a minute.
LONGEST_BACK_OFF_MS = 61_000
AWAIT_SECONDS = 60
NONE = "\u2013"


def ask(dashboard: str, path: str, **query: str) -> dict[str, Any]:
    """Request the API with a client that is not the page."""
    with urllib.request.urlopen(f"{dashboard}{path}?{urlencode(query)}", timeout=AWAIT_SECONDS) as response:  # noqa: S310
        return json.load(response)


def await_equal(page: Page, shown: Callable[[], object], expected: Callable[[], object]) -> None:
    """Wait until the page shows the API's current values. On a live server both keep changing."""
    deadline = time.monotonic() + AWAIT_SECONDS
    while (on_page := shown()) != (wanted := expected()):
        assert time.monotonic() < deadline, f"the page shows {on_page}, the API has {wanted}"
        page.clock.fast_forward(POLL_MS)
        page.wait_for_timeout(200)


def panel(page: Page, name: str) -> Locator:
    return page.get_by_role("region", name=name, exact=False).first


def rows(table: Locator) -> list[list[str]]:
    """A table's body, row by row, with plain spaces."""
    cells = table.locator("tbody tr").evaluate_all(
        "rows => rows.map(row => [...row.cells].map(cell => cell.innerText.trim()))"
    )
    return [[cell.replace("\u00a0", " ") for cell in row] for row in cells]


def open_table(of: Locator) -> Locator:
    """Open the table beside a chart."""
    of.get_by_text("Show as a table").click()
    table = of.locator("details table")
    expect(table.locator("tbody tr").first).to_be_visible()
    return table


def figure(value: float, *, signed: bool = False) -> str:
    """Two decimals, separated thousands, a half rounded away from 0, a true minus sign."""
    rounded = Decimal(repr(value)).quantize(Decimal("0.01"), ROUND_HALF_UP)
    text = f"{rounded:,}" if rounded else "0.00"
    return ("+" if signed and rounded > 0 else "") + text.replace("-", "\u2212")


def percent(value: float | None) -> str:
    return NONE if value is None else f"{figure(value, signed=True)} %"


def share(value: float | None) -> str:
    return NONE if value is None else f"{figure(float(Decimal(repr(value)) * 100))} %"


def moment(at: str | int) -> str:
    """A moment on New York's clock."""
    instant = datetime.fromtimestamp(at, NEW_YORK) if isinstance(at, int) else datetime.fromisoformat(at)
    return f"{instant.astimezone(NEW_YORK):%b {instant.astimezone(NEW_YORK).day}, %Y, %H:%M:%S}"


def date(text: str) -> str:
    day = datetime.fromisoformat(text)
    return f"{day:%b {day.day}, %Y}"
