"""A recorded run without quotes: the reason is said as it is of a live one."""

import json
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

from testkit.flow import Flow, counts, wait_until

LIMIT = "the recording's limit of "


def use_up(finnhub: str) -> None:
    """Ask the recorded feed for quotes until it takes no more requests this minute."""
    request = urllib.request.Request(f"{finnhub}/quote?symbol=AAPL", headers={"X-Finnhub-Token": "recorded"})  # noqa: S310 - our own
    status = 200
    while status == 200:
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310
                status = answer.status
        except urllib.error.HTTPError as refused:
            status = refused.code
    assert status == 429


def trouble(report: dict[str, Any]) -> str:
    """What the page shows."""
    url = report["endpoints"]["dashboard_url"] + "api/pipeline"
    with urllib.request.urlopen(url, timeout=30) as answer:  # noqa: S310
        return json.load(answer)["trouble"] or ""


def test_a_recorded_run_whose_polls_all_fail_says_why_on_the_progress_line_and_on_the_page(
    new_data_dir: Callable[[str], Path],
) -> None:
    with Flow(new_data_dir("trouble")) as flow:
        report = flow.await_report(lambda report: counts(report)["loaded"] > 0, "quotes in bronze")
        assert LIMIT not in flow.text()
        use_up(report["endpoints"]["finnhub_base_url"])
        wait_until(lambda: f"; {LIMIT}" in flow.text(), f"the reason in {flow.text()}")
        assert "all well" not in flow.text().rstrip().splitlines()[-1]
        wait_until(lambda: trouble(report).startswith(LIMIT), "the reason on the page")
        flow.interrupt()
    assert f"\nat the stop: {LIMIT}" in flow.text()
    assert "nothing failed" not in flow.text()
