"""A live Finnhub in its moods: what a person reads, and that nothing is lost or asked for ever."""

import json
import os
import re
import signal
import socket
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from testkit import finnhub
from testkit.flow import ROOT, Flow, counts, left_of, local, processes_of, wait_until

KEY = "marked-live-key"
SYMBOLS = ("AAPL", "MSFT")


def start(data_dir: Path, base_url: str, **more: str) -> Any:
    variables = {"FINNHUB_API_KEY": KEY, "FINNHUB_BASE_URL": base_url} | more
    return local("run", "--project", ROOT, "--data-dir", data_dir, "--port-base", "0", **variables)


def test_a_refused_key_is_one_error_line_before_anything_is_made(tmp_path: Path) -> None:
    with finnhub.serve("another key") as server:
        refused = start(tmp_path / "data", server.base_url)
    assert refused.returncode == 1
    assert refused.stderr.startswith(
        "error: Finnhub refuses FINNHUB_API_KEY (HTTP 401: Invalid API key). Get one at https://"
    )
    assert refused.stderr.count("\n") == 1
    assert KEY not in refused.stderr + refused.stdout
    assert not (tmp_path / "data").exists()


def test_a_key_that_is_refused_with_200_is_refused(tmp_path: Path) -> None:
    with finnhub.serve(KEY) as server:
        server.market = {"error": "Invalid API key."}
        refused = start(tmp_path / "data", server.base_url)
    assert refused.returncode == 1
    assert "Finnhub refuses FINNHUB_API_KEY" in refused.stderr


def test_a_finnhub_that_cannot_be_reached_is_named_with_its_address(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as held:
        base_url = f"http://127.0.0.1:{held.getsockname()[1]}/api/v1"
    refused = start(tmp_path / "data", base_url)
    assert refused.returncode == 1
    assert refused.stderr == f"error: Finnhub cannot be reached at {base_url}: Connection refused\n"
    assert not (tmp_path / "data").exists()


def test_an_address_that_is_not_finnhubs_is_named(tmp_path: Path) -> None:
    with finnhub.serve(KEY) as server:
        refused = start(tmp_path / "data", server.base_url.removesuffix("/api/v1"))
    assert refused.returncode == 1
    assert "does the address end in /api/v1?" in refused.stderr


def ask(report: dict[str, Any], path: str) -> dict[str, Any]:
    """The dashboard's answer."""
    with urllib.request.urlopen(report["endpoints"]["dashboard_url"] + path, timeout=30) as response:  # noqa: S310 - our own
        return json.load(response)


COLUMNS = 80
CLEARED = "\x1b[2K"


def test_a_closed_market_is_said_and_its_last_prices_are_shown(new_data_dir: Callable[[str], Path]) -> None:
    data_dir = new_data_dir("closed")
    with finnhub.serve(KEY) as server:
        server.market = {"exchange": "US", "holiday": "Christmas", "isOpen": False}
        variables = {"FINNHUB_BASE_URL": server.base_url, "FINNHUB_API_KEY": KEY, "RATE_LIMIT_PER_MINUTE": "3000"}
        with Flow(data_dir, "--symbols", ",".join(SYMBOLS), **variables, TZ="Europe/Berlin", columns=COLUMNS) as flow:
            running = flow.await_report(
                lambda report: report["latency_ms"]["gold_row"]["quotes"] == len(SYMBOLS), "last prices in gold"
            )
            market = ask(running, "api/health")["market"]
            wait_until(lambda: "all well" not in flow.text().splitlines()[-1], "a line on the market")
            status = local("status", "--data-dir", data_dir)
            line = flow.text().splitlines()[-1]
            report = flow.interrupt()
        quotes = [path for path in server.paths if "/quote" in path]
    said = flow.text().partition(" fetched")[0]
    assert "US market closed (Christmas)\nuntil " in said
    assert re.search(r"until \w{3} \w{3} \d+ 09:30 New York \(1[45]:30 here\)", said)
    assert "--symbols BINANCE:BTCUSDT" in said
    assert re.search(r"; US market closed until \w{3} 09:30 New York \(1[45]:30 here\)$", line)
    assert counts(report)["published"] == len(quotes) == len(SYMBOLS)
    assert report["failed"] == 0
    assert re.search(r"^state +US market closed until ", status.stdout, re.M), status
    assert (market["state"], market["holiday"]) == ("closed", "Christmas")
    # The line is rewritten in its place, is never wider than the terminal, and no warning is glued to it.
    lines = re.split(r"[\r\n]", flow.text())
    rewritten = [line.removeprefix(CLEARED) for line in lines if line.startswith(CLEARED)]
    assert len(rewritten) >= 2
    assert max(map(len, rewritten)) < COLUMNS
    assert not [
        line for line in lines if re.search(r".(WARN|ERROR) ", line) and not re.match(r"(\x1b\[\d*[Km])*\d{4}-", line)
    ]
    assert not left_of(data_dir)


@pytest.fixture(scope="module")
def troubled(new_data_dir: Callable[[str], Path]) -> Iterator[tuple[finnhub.Finnhub, Flow]]:
    """A flow in an open market, with a symbol that Finnhub does not know."""
    data_dir = new_data_dir("troubled")
    with finnhub.serve(KEY) as server:
        server.unknown = {"NOPE"}
        variables = {"FINNHUB_BASE_URL": server.base_url, "FINNHUB_API_KEY": KEY, "RATE_LIMIT_PER_MINUTE": "3000"}
        with Flow(data_dir, "--symbols", ",".join((*SYMBOLS, "NOPE")), **variables) as flow:
            flow.await_report(
                lambda report: report["latency_ms"]["gold_row"]["quotes"] >= len(SYMBOLS), "quotes in gold"
            )
            yield server, flow


NO_DATA = '{"c":0,"d":null,"dp":null,"h":0,"l":0,"o":0,"pc":0,"t":0}'
RESET = {"X-Ratelimit-Limit": "60", "X-Ratelimit-Remaining": "0", "Retry-After": "3"}


@pytest.mark.parametrize(
    ("status", "body", "headers", "reason"),
    [
        (429, "{}", RESET, "Finnhub's limit of 60 requests a minute is reached (HTTP 429)"),
        (500, '{"error":"oops"}', {}, "Finnhub answers HTTP 500: oops"),
        (200, "<html>maintenance</html>", {}, "Finnhub answers with a web page instead of JSON"),
        (200, NO_DATA, {}, "Finnhub has no data for "),
        (401, '{"error":"Invalid API key"}', {}, "Finnhub refuses FINNHUB_API_KEY (HTTP 401: Invalid API key)"),
    ],
    ids=["limit", "error", "page", "no-data", "refused"],
)
def test_the_progress_line_ends_with_the_newest_reason(
    troubled: tuple[finnhub.Finnhub, Flow], status: int, body: str, headers: dict[str, str], reason: str
) -> None:
    server, flow = troubled
    with server.lock:
        server.says = (status, body, headers)
    wait_until(lambda: f"; {reason}" in flow.text(), f"a line that ends with {reason!r}: {flow.text()}")
    on_page = lambda: ask(flow.report() or {}, "api/pipeline")["trouble"] or ""  # noqa: E731
    wait_until(lambda: on_page().startswith(reason), f"{reason!r} on the page")
    with server.lock:
        server.says = None


def test_finnhubs_word_on_the_market_and_the_flows_own_figures_are_on_the_page(
    troubled: tuple[finnhub.Finnhub, Flow],
) -> None:
    _, flow = troubled
    report = flow.report() or {}
    # Whatever the calendar says of the hour in which the test runs.
    assert ask(report, "api/health")["market"]["state"] == "open"
    pipeline = ask(report, "api/pipeline")
    assert pipeline["measured_by"] == "flow"
    assert pipeline["settled_at"]
    for station in pipeline["stations"].values():
        assert station["quotes_per_minute"] > 0
    for name in ("kafka", "s3", "bronze", "gold"):
        assert 0 < pipeline["stations"][name]["p50_seconds"] <= pipeline["stations"][name]["p95_seconds"]
    assert (pipeline["stations"]["s3"]["dead_letters"], pipeline["stations"]["bronze"]["dead_letters"]) == (0, 0)


def test_with_a_warehouse_that_stands_still_the_page_opens_and_no_question_waits_for_another(
    troubled: tuple[finnhub.Finnhub, Flow],
) -> None:
    _, flow = troubled
    report = flow.report() or {}
    url = report["endpoints"]["dashboard_url"]
    stopped = [pid for pid, command in processes_of(flow.data_dir).items() if "bqemulator" in command]
    assert stopped
    for pid in stopped:
        os.kill(pid, signal.SIGSTOP)
    try:
        with ThreadPoolExecutor() as pool:
            # As many as the dashboard has instances; each waits for the warehouse.
            asked = [pool.submit(ask, report, f"api/snapshot?symbol=S{number}") for number in range(5)]
            with urllib.request.urlopen(url, timeout=10) as page:  # noqa: S310 - our own
                assert b"<title>Quoteflow" in page.read()
            for one in asked:
                assert one.result()["candles"] is None
        wait_until(lambda: "does not answer" in (ask(report, "api/pipeline")["trouble"] or ""), "word of the warehouse")
    finally:
        for pid in stopped:
            os.kill(pid, signal.SIGCONT)
    wait_until(
        lambda: "does not answer" not in (ask(report, "api/pipeline")["trouble"] or ""), "answers of the warehouse"
    )


def test_an_unknown_symbol_is_named_once(troubled: tuple[finnhub.Finnhub, Flow]) -> None:
    _, flow = troubled
    named = [line for line in flow.text().splitlines() if line.startswith("Finnhub has no data for NOPE")]
    assert len(named) == 1


def test_ctrl_c_ends_polling_at_once_and_an_unknown_symbol_does_not_hold_it_up(
    troubled: tuple[finnhub.Finnhub, Flow],
) -> None:
    server, flow = troubled
    before = flow.report() or {}
    flow.await_report(
        lambda report: counts(report)["published"] > counts(before)["published"], "quotes after the troubles"
    )
    os.kill(flow.process.pid, 2)
    # With nothing on the way it ends without the line.
    wait_until(lambda: "stopping: " in flow.text() or flow.process.poll() is not None, "the stop")
    asked = len(server.paths)
    report = flow.finish()
    # One request may have been under way for each of the eight at once.
    assert len(server.paths) - asked <= 8
    assert "left for the next run" not in flow.text()
    assert counts(report)["fetched"] == counts(report)["published"] == counts(report)["loaded"]


def test_nobody_has_seen_the_key(troubled: tuple[finnhub.Finnhub, Flow]) -> None:
    _, flow = troubled
    assert KEY not in flow.text()
    for file in flow.data_dir.rglob("*"):
        if file.is_file() and file.stat().st_size < 10_000_000:
            assert KEY.encode() not in file.read_bytes(), file
