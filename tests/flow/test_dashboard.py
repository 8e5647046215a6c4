"""The dashboard of a running flow: its answers fit openapi.json, and its figures are the warehouse's."""

import gzip
import json
import os
import re
import shutil
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT202012
from testkit import finnhub
from testkit.flow import ROOT, Clients, Flow, counts, left_of, wait_until

KEY = "a-key"
SYMBOLS = ("AAPL", "BRK.B", "BINANCE:BTCUSDT")
OPENAPI = json.loads((ROOT / "functions/serve-dashboard/openapi.json").read_text())
REGISTRY = Registry().with_resource("urn:openapi", Resource(OPENAPI, DRAFT202012))
CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium")


@dataclass
class Response:
    status: int
    headers: dict[str, str]
    body: bytes


@dataclass
class Served:
    """A flow that still runs and gets no quotes any more."""

    url: str
    clients: Clients
    still_since: datetime

    def get(self, target: str, **headers: str) -> Response:
        request = urllib.request.Request(self.url + target.lstrip("/"), headers=headers)  # noqa: S310
        try:
            with urllib.request.urlopen(request, timeout=20) as response:  # noqa: S310
                return Response(response.status, dict(response.headers), response.read())
        except urllib.error.HTTPError as error:
            return Response(error.code, dict(error.headers), error.read())

    def ask(self, target: str) -> dict[str, Any]:
        """An answer that was read after the last quote, checked against its schema."""

        def recent() -> dict[str, Any] | None:
            response = self.get(target)
            # On a busy machine a part may still be being read: the next answer has it.
            if response.status == 503 or json.loads(response.body).get("missing"):
                return None
            # A snapshot has a moment for each part.
            times = re.findall(r"\d{4}-[^\"]+Z", response.headers["quoteflow-as-of"])
            as_of = min(datetime.fromisoformat(time) for time in times)
            return json.loads(response.body) if as_of > self.still_since else None

        answer = wait_until(recent, f"answer to {target} after the last quote")
        path = OPENAPI["paths"][target.partition("?")[0]]["get"]
        validate(path["responses"]["200"]["content"]["application/json"]["schema"]["$ref"], answer)
        return answer

    def gold(self, table: str, where: str = "TRUE", order: str = "symbol") -> list[dict[str, Any]]:
        return self.clients.rows(f"SELECT * FROM stock_gold.{table} WHERE {where} ORDER BY {order}")


def validate(pointer: str, value: object) -> None:
    schema = {"$ref": f"urn:openapi{pointer}"}
    checker = Draft202012Validator.FORMAT_CHECKER
    Draft202012Validator(schema, registry=REGISTRY, format_checker=checker).validate(value)


def moment(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)


@pytest.fixture(scope="module")
def served(new_data_dir: Callable[[str], Path]) -> Iterator[Served]:
    data_dir = new_data_dir("dashboard")
    with finnhub.serve(KEY) as server:
        # A poll a second is more than a free key has.
        variables = {"FINNHUB_BASE_URL": server.base_url, "FINNHUB_API_KEY": KEY, "RATE_LIMIT_PER_MINUTE": "3000"}
        with Flow(data_dir, "--for", "10m", "--symbols", ",".join(SYMBOLS), **variables) as flow:
            flow.await_report(lambda report: counts(report)["published"] >= 4 * len(SYMBOLS), "quotes in Kafka")
            with server.lock:
                server.is_out = True
                fetched = server.served
            report = flow.await_report(
                lambda report: (
                    counts(report)["silver"] == fetched and report["latency_ms"]["gold_row"]["quotes"] == fetched
                ),
                f"report of {fetched} quotes in gold",
            )
            yield Served(report["endpoints"]["dashboard_url"], Clients.of(report), datetime.now(UTC))
            flow.interrupt()
    assert left_of(data_dir) == {}


# What the API calls otherwise than gold_kpi.
RENAMED = {"price": "current_price", "change": "change_amount", "market_time": "market_time_utc"}


def shown(name: str, value: Any) -> Any:
    """A value of gold_kpi as the API has it: a price of the day that is not known is 0."""
    if name == "market_time_us":
        return value.isoformat(timespec="seconds")
    return value or 0 if name.startswith("day_") else value


def test_the_quotes_are_those_of_the_warehouse(served: Served) -> None:
    rows = served.gold("gold_kpi")
    assert [row["symbol"] for row in rows] == sorted(SYMBOLS)
    names = OPENAPI["components"]["schemas"]["Kpi"]["properties"].keys() - {"loaded_at"}
    expected = [{name: shown(name, row[RENAMED.get(name, name)]) for name in names} for row in rows]
    loaded = {row["symbol"]: row["loaded_at"] for row in rows}
    quotes = served.ask("/api/kpi")["quotes"]
    for quote in quotes:
        # In whole milliseconds.
        assert abs(moment(quote.pop("loaded_at")) - loaded[quote["symbol"]]).total_seconds() < 0.001
    assert [
        {**quote, "market_time": moment(quote["market_time"]), "fetched_at": moment(quote["fetched_at"])}
        for quote in quotes
    ] == expected


@pytest.mark.parametrize("interval", ["1d", "5m", "1m"])
def test_the_candles_are_those_of_the_warehouse(served: Served, interval: str) -> None:
    if interval == "1d":
        rows = served.gold("gold_candlestick", "symbol = 'AAPL'", "candle_date")
        times = [row["candle_date"].isoformat() for row in rows]
        dates = times
    else:
        where = f"symbol = 'AAPL' AND interval_minutes = {interval[0]}"
        rows = served.gold("gold_candlestick_intraday", where, "candle_start_utc")
        times = [int(row["candle_start_utc"].timestamp()) for row in rows]
        dates = [row["market_date"].isoformat() for row in rows]
    names = {name: f"candle_{name}" for name in ("open", "high", "low", "close")} | {"trend": "trend_line"}
    names["quotes"] = "quotes"
    expected = [
        {"time": time, "date": date} | {name: row[column] for name, column in names.items()}
        for time, date, row in zip(times, dates, rows, strict=True)
    ]
    answer = served.ask(f"/api/candles?symbol=AAPL&interval={interval}")
    assert expected
    assert answer["candles"] == expected
    assert answer["day"] == {"date": dates[-1], "trend_line": expected[-1]["trend"]}


@pytest.mark.parametrize("symbol", SYMBOLS)
def test_the_history_is_that_of_the_warehouse(served: Served, symbol: str) -> None:
    rows = served.gold("gold_kpi_history", f"symbol = '{symbol}'", "market_time_utc")
    expected = [(row["market_time_utc"], row["current_price"], row["change_percent"]) for row in rows]
    assert len(expected) >= 2
    for limit, part in ((5000, expected), (2, expected[-2:])):
        points = served.ask(f"/api/history?symbol={symbol}&limit={limit}")["points"]
        assert [(moment(one["market_time"]), one["price"], one["change_percent"]) for one in points] == part


def test_the_treemap_is_that_of_the_warehouse(served: Served) -> None:
    names = {
        "symbol": "symbol",
        "price": "last_price",
        "avg_price": "avg_price",
        "change_percent": "day_change_percent",
        "volatility": "volatility",
        "relative_volatility": "relative_volatility",
    }
    expected = [
        {"date": row["latest_date"].isoformat()} | {name: row[column] for name, column in names.items()}
        for row in served.gold("gold_treechart")
    ]
    assert len(expected) == len(SYMBOLS)
    assert served.ask("/api/treemap")["tiles"] == expected


def test_health_is_that_of_the_warehouse(served: Served) -> None:
    answer = served.ask("/api/health")
    loaded = {row["symbol"]: row["loaded_at"] for row in served.gold("gold_kpi")}
    rows = served.gold("gold_pipeline_health")
    assert [one["symbol"] for one in answer["symbols"]] == [row["symbol"] for row in rows] == sorted(SYMBOLS)
    for one, row in zip(answer["symbols"], rows, strict=True):
        assert one["status"] in ("ok", "closed", "stale")
        assert moment(one["last_fetched_at"]) == row["last_fetched_at"]
        # In whole milliseconds.
        assert abs(moment(one["last_loaded_at"]) - loaded[row["symbol"]]).total_seconds() < 0.001
        assert moment(one["last_market_time"]) == row["last_market_time_utc"]
        assert one["quotes_per_minute"] == row["quotes_per_minute"]
        assert one["rejected_share"] == row["rejected_share"]
        age = datetime.now(UTC) - row["last_fetched_at"]
        assert 0 <= one["freshness_seconds"] <= age.total_seconds()


def test_a_snapshot_has_what_the_single_answers_have(served: Served) -> None:
    snapshot = served.ask("/api/snapshot?symbol=AAPL&interval=5m&range=1d")
    assert snapshot["missing"] == {}
    assert snapshot["kpi"] == served.ask("/api/kpi")
    assert snapshot["treemap"] == served.ask("/api/treemap")
    assert snapshot["candles"] == served.ask("/api/candles?symbol=AAPL&interval=5m&range=1d")
    assert snapshot["health"]["market"] == served.ask("/api/health")["market"]
    assert snapshot["health"]["market"]["state"] in ("open", "closed"), "these quotes are not of a recording"


def test_an_unknown_symbol_has_no_figures(served: Served) -> None:
    assert served.ask("/api/history?symbol=NONE")["points"] == []
    answer = served.ask("/api/candles?symbol=NONE&interval=5m")
    assert (answer["candles"], answer["day"]) == ([], None)


@pytest.mark.parametrize(
    ("target", "status"),
    [
        ("/api/candles?symbol=AAPL&interval=2m", 400),
        ("/api/history?symbol=../x", 400),
        ("/api/history?symbol=AAPL&limit=5001", 400),
        ("/api/nothing", 404),
    ],
)
def test_a_refusal_has_problem_details(served: Served, target: str, status: int) -> None:
    response = served.get(target)
    assert (response.status, response.headers["content-type"]) == (status, "application/problem+json")
    problem = json.loads(response.body)
    validate("#/components/schemas/Problem", problem)
    assert problem["status"] == status


def test_an_answer_that_did_not_change_is_not_sent_again(served: Served) -> None:
    def unchanged() -> bool:
        first = served.get("/api/kpi")
        again = served.get("/api/kpi", **{"If-None-Match": first.headers["etag"]})
        # It is another one where it was read again meanwhile.
        assert again.status in (200, 304)
        return again.status == 304 and again.body == b""

    wait_until(unchanged, "304")


def test_the_page_and_its_assets_are_served(served: Served) -> None:
    page = served.get("/")
    assert (page.status, page.headers["cache-control"]) == (200, "no-cache")
    assets = [part for part in page.body.decode().split('"') if part.startswith("/assets/")]
    assert assets, "the page was not built in: run `make build`"
    for asset in assets:
        response = served.get(asset, **{"Accept-Encoding": "gzip"})
        assert (response.headers["content-encoding"], "immutable" in response.headers["cache-control"]) == (
            "gzip",
            True,
        )
        assert gzip.decompress(response.body) == (ROOT / "dashboards/web/dist" / asset.lstrip("/")).read_bytes()


@pytest.mark.skipif(CHROMIUM is None, reason="chromium is missing: `make test-web` installs it, CHROMIUM names one")
def test_the_page_shows_the_figures_of_the_running_flow(served: Served) -> None:
    served.ask("/api/snapshot")
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "tests/web/test_figures.py"],
        cwd=ROOT,
        env=os.environ | {"QUOTEFLOW_DASHBOARD_URL": served.url.rstrip("/")},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert run.returncode == 0, run.stdout
