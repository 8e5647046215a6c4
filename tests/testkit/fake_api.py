"""A server of the dashboard API: the built page and answers made from the recorded prices.

It replaces serve-dashboard if a test needs a state that the real one cannot be put into: no quotes, old quotes, a
warehouse that does not answer, no server. Each answer is checked against openapi.json before it is sent.
"""

import contextlib
import csv
import functools
import hashlib
import json
import statistics
import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self
from urllib.parse import parse_qsl, urlsplit
from zoneinfo import ZoneInfo

from jsonschema import Draft202012Validator
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT202012

ROOT = Path(__file__).parents[2]
DIST = ROOT / "dashboards/web/dist"
RECORDED = ROOT / "local/feed/data"
OPENAPI = json.loads((ROOT / "functions/serve-dashboard/openapi.json").read_text())
# The questions that a snapshot answers.
PARTS = OPENAPI["components"]["schemas"]["SnapshotAnswer"]["properties"].keys() - {"symbol", "missing"}
NEW_YORK = ZoneInfo("America/New_York")

SYMBOLS = ("AAPL", "AMZN", "JPM", "MSFT", "TSLA")
STALE_AFTER_SECONDS = 60
FRESH = timedelta(seconds=4)
BUCKET_SECONDS = {"1m": 60, "5m": 300, "15m": 900, "1h": 3600}
DATES = {"1d": 1, "5d": 5, "all": 12}
# Of the five recorded symbols. Further symbols have the prices of these.
MANY = ("ABNB", "ADBE", "AMD", "BAC", "BINANCE:BTCUSDT", "BRK.B", "CRM", "CSCO", "GOOGL", "GS", "IBM", "INTC", "NVDA")
TYPES = {
    ".html": "text/html",
    ".js": "text/javascript",
    ".css": "text/css",
    ".svg": "image/svg+xml",
    ".md": "text/plain",
}
SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)

Answer = dict[str, Any]


def validator(pointer: str) -> Draft202012Validator:
    """A validator for the schema at a pointer in openapi.json, such as `#/components/schemas/Kpi`."""
    registry = Registry().with_resource("urn:openapi", Resource(OPENAPI, DRAFT202012))
    return Draft202012Validator(
        {"$ref": f"urn:openapi{pointer}"},
        registry=registry,
        format_checker=Draft202012Validator.FORMAT_CHECKER,
    )


def instant(at: datetime) -> str:
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


@dataclass(frozen=True)
class Bar:
    """One recorded minute: its beginning and its prices."""

    start: datetime
    open: float
    high: float
    low: float
    close: float

    @property
    def date(self) -> str:
        return self.start.date().isoformat()

    @property
    def last_trade(self) -> datetime:
        return self.start + timedelta(seconds=58)


@functools.cache
def recorded(symbol: str) -> list[Bar]:
    with (RECORDED / f"{symbol}.csv").open() as file:
        return [
            Bar(
                datetime.fromisoformat(row["end"]).replace(tzinfo=NEW_YORK) - timedelta(minutes=1),
                *(float(row[name]) for name in ("open", "high", "low", "close")),
            )
            for row in csv.DictReader(file)
        ]


class Market:
    """The recorded week up to one of its minutes, as the gold tables would have it."""

    def __init__(self, minutes: int = 1500) -> None:
        self.recorded = {symbol: recorded(symbol) for symbol in SYMBOLS}
        self.symbols = SYMBOLS
        self.minutes = minutes
        self.quotes_per_bar = 10
        self.as_of = datetime.now(UTC)

    def add_symbols(self) -> None:
        """Add as many symbols as a watchlist has, each with the prices of a recorded symbol."""
        self.symbols = tuple(sorted(SYMBOLS + MANY))
        for number, symbol in enumerate(MANY):
            self.recorded[symbol] = self.recorded[SYMBOLS[number % len(SYMBOLS)]]

    def tick(self, minutes: int = 1) -> None:
        """Move forward by a number of minutes."""
        self.minutes += minutes
        self.as_of += timedelta(seconds=1)

    def bars(self, symbol: str) -> list[Bar]:
        return self.recorded.get(symbol, [])[: self.minutes]

    def day(self, symbol: str) -> list[Bar]:
        bars = self.bars(symbol)
        return [bar for bar in bars if bar.date == bars[-1].date]

    def prev_close(self, symbol: str) -> float:
        first = self.day(symbol)[0]
        return max((bar for bar in self.bars(symbol) if bar.start < first.start), key=lambda bar: bar.start).close

    def kpi(self, age: timedelta = FRESH) -> list[Answer]:
        return [self.quote(symbol, age) for symbol in self.symbols]

    def quote(self, symbol: str, age: timedelta = FRESH) -> Answer:
        day, latest, before = self.day(symbol), self.bars(symbol)[-1], self.prev_close(symbol)
        return {
            "symbol": symbol,
            "price": latest.close,
            "change": round(latest.close - before, 4),
            "change_percent": round(100 * (latest.close - before) / before, 4),
            "day_high": max(bar.high for bar in day),
            "day_low": min(bar.low for bar in day),
            "day_open": day[0].open,
            "prev_close": before,
            "market_time": instant(latest.last_trade),
            "market_time_us": latest.last_trade.strftime("%Y-%m-%dT%H:%M:%S"),
            "fetched_at": instant(self.as_of - age),
            "loaded_at": instant(self.as_of - age + timedelta(seconds=2)),
        }

    def candles(self, symbol: str, interval: str, dates_shown: int) -> list[Answer]:
        buckets: dict[str | int, list[Bar]] = {}
        dates = sorted({bar.date for bar in self.bars(symbol)})[-dates_shown:]
        for bar in self.bars(symbol):
            if bar.date in dates:
                epoch = int(bar.start.timestamp())
                time = bar.date if interval == "1d" else epoch - epoch % BUCKET_SECONDS[interval]
                buckets.setdefault(time, []).append(bar)
        means = {date: self.mean(symbol, date) for date in dates}
        return [
            {
                "time": time,
                "date": bars[0].date,
                "open": bars[0].open,
                "high": max(bar.high for bar in bars),
                "low": min(bar.low for bar in bars),
                "close": bars[-1].close,
                "trend": means[bars[0].date],
                "quotes": self.quotes_per_bar * len(bars),
            }
            for time, bars in buckets.items()
        ]

    def mean(self, symbol: str, date: str) -> float:
        return round(statistics.fmean(bar.close for bar in self.bars(symbol) if bar.date == date), 4)

    def history(self, symbol: str, limit: int) -> list[Answer]:
        before = self.prev_close(symbol) if self.bars(symbol) else 0
        return [
            {
                "market_time": instant(bar.last_trade),
                "price": bar.close,
                "change_percent": round(100 * (bar.close - before) / before, 4),
            }
            for bar in self.bars(symbol)[-limit:]
        ]

    def tiles(self) -> list[Answer]:
        tiles = []
        for symbol in self.symbols:
            quote, closes = self.quote(symbol), [bar.close for bar in self.bars(symbol)]
            volatility = statistics.pstdev(closes)
            tiles.append(
                {
                    "symbol": symbol,
                    "date": self.day(symbol)[0].date,
                    "price": quote["price"],
                    "avg_price": self.mean(symbol, self.day(symbol)[0].date),
                    "change_percent": quote["change_percent"],
                    "volatility": round(volatility, 4),
                    "relative_volatility": round(volatility / statistics.fmean(closes), 6),
                }
            )
        return tiles

    def sparklines(self) -> list[Answer]:
        return [{"symbol": symbol, "closes": [bar.close for bar in self.day(symbol)][::10]} for symbol in self.symbols]

    def health(self, age: timedelta, status: str) -> list[Answer]:
        return [
            {
                "symbol": symbol,
                "status": status,
                "reason": None,
                "last_fetched_at": instant(self.as_of - age),
                "last_loaded_at": instant(self.as_of - age + timedelta(seconds=2)),
                "last_market_time": instant(self.bars(symbol)[-1].last_trade),
                "quotes_per_minute": 9.83,
                "rejected_share": 0.0012,
            }
            for symbol in self.symbols
        ]


def station(**known: Any) -> Answer:
    """A station of the pipeline. All values that are not given are unknown."""
    names = ("quotes_per_minute", "p50_seconds", "p95_seconds", "waiting", "dead_letters", "failures", "last_failure")
    return dict.fromkeys((*names, "missed")) | known


def pipeline(**changed: Any) -> Answer:
    """The pipeline's answer, measured by the flow, with the given changes."""
    stations = {
        "fetch": station(quotes_per_minute=50, failures=0, missed={}),
        "kafka": station(quotes_per_minute=50, p50_seconds=0.009, p95_seconds=0.013, waiting=0),
        "s3": station(quotes_per_minute=50, p50_seconds=0.6, p95_seconds=2.05, waiting=2, dead_letters=0, failures=0),
        "bronze": station(quotes_per_minute=49.5, p50_seconds=2.12, p95_seconds=3.4, dead_letters=0, failures=0),
        "gold": station(quotes_per_minute=49.5, p50_seconds=2.31, p95_seconds=3.6, failures=0),
    }
    settled = instant(datetime.now(UTC) - timedelta(minutes=2, seconds=5))
    return {"measured_by": "flow", "trouble": None, "settled_at": settled, "stations": stations} | changed


class RefusedError(Exception):
    """The request is answered with problem details."""

    def __init__(self, status: int, title: str, detail: str) -> None:
        super().__init__(detail)
        self.status = status
        self.problem = {"type": "about:blank", "title": title, "status": status, "detail": detail}


class FakeApi:
    """The server. Its attributes are the state that it shows. `stop` begins an outage, `start` ends it."""

    def __init__(self) -> None:
        self.market = Market()
        self.held: Market | None = None  # the source of the candles, if they are older than the quotes
        self.age = FRESH
        self.market_state: Answer = {"state": "recording", "speed": 60, "date": "2019-02-14"}
        self.pipeline = pipeline()
        self.slow: set[str] = set()  # parts that are still being read
        self.unknown: str | None = None  # a symbol whose latest fetch has no usable time
        self.empty = False
        self.unavailable = False
        self.requests: list[tuple[str, int]] = []
        self.errors: list[str] = []
        self.checked: set[bytes] = set()
        self.port = 0
        self.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start to answer; after `stop`, on the same port again."""
        api = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                api.respond(self)

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", self.port), Handler)
        self.port = self.server.server_port
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02})
        self.thread.start()

    def stop(self) -> None:
        """Stop answering: connections are refused."""
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()

    def respond(self, request: BaseHTTPRequestHandler) -> None:
        try:
            status, headers, body = self.answer(request.path, request.headers.get("If-None-Match"))
        except Exception as error:
            # The page would only show an outage. This error lets the test fail.
            self.errors.append(f"{request.path}: {error}")
            raise
        self.requests.append((request.path, status))
        request.send_response(status)
        for name, value in headers.items():
            request.send_header(name, value)
        request.send_header("Content-Length", str(len(body)))
        with contextlib.suppress(ConnectionError):  # the page gave the request up
            request.end_headers()
            request.wfile.write(body)

    def answer(self, target: str, if_none_match: str | None) -> tuple[int, dict[str, str], bytes]:
        parts = urlsplit(target)
        if not parts.path.startswith("/api/"):
            return self.asset(parts.path)
        if parts.path == "/api/openapi.json":
            return 200, {"Content-Type": "application/json"}, json.dumps(OPENAPI).encode()
        if parts.path not in OPENAPI["paths"]:
            problem = {
                "type": "about:blank",
                "title": "Not Found",
                "status": 404,
                "detail": f"there is no {parts.path}",
            }
            return 404, {"Content-Type": "application/problem+json"}, json.dumps(problem).encode()
        responses = OPENAPI["paths"][parts.path]["get"]["responses"]
        try:
            value = self.value(parts.path, dict(parse_qsl(parts.query)))
        except RefusedError as refused:
            validator("#/components/schemas/Problem").validate(refused.problem)
            headers = {"Content-Type": "application/problem+json"}
            if refused.status == 503:
                headers["Retry-After"] = "1"
            return refused.status, headers, json.dumps(refused.problem).encode()
        body = json.dumps(value).encode()
        if body not in self.checked:
            validator(responses["200"]["content"]["application/json"]["schema"]["$ref"]).validate(value)
            self.checked.add(body)
        etag = f'"{hashlib.sha256(body).hexdigest()[:16]}"'
        as_of = {"candles": instant((self.held or self.market).as_of)}
        as_of = dict.fromkeys(PARTS, instant(self.market.as_of + timedelta(seconds=1))) | as_of
        headers = {
            "ETag": etag,
            "Cache-Control": "public, max-age=5",
            "Quoteflow-As-Of": ", ".join(f'{name}="{time}"' for name, time in as_of.items()),
        }
        if if_none_match == etag:
            return 304, headers, b""
        return 200, {**headers, "Content-Type": "application/json"}, body

    def asset(self, path: str) -> tuple[int, dict[str, str], bytes]:
        file = DIST / (path.lstrip("/") or "index.html")
        if not file.resolve().is_relative_to(DIST) or not file.is_file():
            return 404, {"Content-Type": "text/plain"}, b"not found\n"
        caching = "public, max-age=31536000, immutable" if "/assets/" in path else "no-cache"
        headers = {
            "Content-Type": f"{TYPES[file.suffix]}; charset=utf-8",
            "Cache-Control": caching,
            "Content-Security-Policy": SECURITY_POLICY,
            "X-Content-Type-Options": "nosniff",
        }
        return 200, headers, file.read_bytes()

    def value(self, path: str, query: dict[str, str]) -> Answer:
        if self.unavailable:
            raise RefusedError(503, "Service Unavailable", "the warehouse does not answer")
        answers: dict[str, Callable[[], Answer]] = {
            "/api/kpi": self.kpi,
            "/api/treemap": lambda: {"tiles": [] if self.empty else self.market.tiles()},
            "/api/sparklines": lambda: {"symbols": [] if self.empty else self.market.sparklines()},
            "/api/health": self.health,
            "/api/pipeline": lambda: self.pipeline,
            "/api/candles": lambda: self.candles(self.symbol(query), query),
            "/api/history": lambda: {
                "symbol": self.symbol(query),
                "points": [] if self.empty else self.market.history(query["symbol"], int(query.get("limit", "500"))),
            },
            "/api/snapshot": lambda: self.snapshot(query),
        }
        return answers[path]()

    def kpi(self) -> Answer:
        return {"quotes": [] if self.empty else self.market.kpi(self.age)}

    def snapshot(self, query: dict[str, str]) -> Answer:
        is_unknown = self.empty or "kpi" in self.slow
        symbol = self.symbol(query) if "symbol" in query else None if is_unknown else self.market.symbols[0]
        compared = [one for one in query.get("compare", "").split(",") if one]
        of_chart: dict[str, Callable[[], Any]] = {
            "candles": lambda: None if symbol is None else self.candles(symbol, query),
            "compared": lambda: [self.candles(one, query) for one in compared],
        }

        def part(name: str) -> Any:
            return of_chart[name]() if name in of_chart else self.value(f"/api/{name}", {})

        return {
            "symbol": symbol,
            **{name: None if name in self.slow else part(name) for name in PARTS},
            "missing": dict.fromkeys(sorted(self.slow), "it is still being read"),
        }

    def symbol(self, query: dict[str, str]) -> str:
        symbol = query.get("symbol", "")
        if not validator("#/components/schemas/Symbol").is_valid(symbol):
            raise RefusedError(400, "Bad Request", f"{symbol!r} is not a symbol")
        return symbol

    def candles(self, symbol: str, query: dict[str, str]) -> Answer:
        market = self.held or self.market
        chosen, interval = query.get("range"), query.get("interval")
        # The server's choice for these quotes.
        shown = chosen or (None if interval else "1d")
        interval = interval or {"1d": "1m", "5d": "5m", "all": "15m"}[shown or "1d"]
        dates = DATES[shown] if shown else {"1m": 2, "5m": 5}.get(interval, 12)
        candles = [] if self.empty else market.candles(symbol, interval, dates)
        day = {"date": candles[-1]["date"], "trend_line": candles[-1]["trend"]} if candles else None
        return {"symbol": symbol, "interval": interval, "range": shown, "candles": candles, "day": day}

    def health(self) -> Answer:
        is_closed = self.market_state["state"] == "closed"
        fresh = "closed" if is_closed else "stale" if self.age.total_seconds() > STALE_AFTER_SECONDS else "ok"
        symbols = [] if self.empty else self.market.health(self.age, fresh)
        for one in symbols:
            if one["symbol"] == self.unknown:
                reason = "its latest quote was fetched in the future"
                one |= {"status": "unknown", "reason": reason, "last_fetched_at": "2100-01-01T00:00:00Z"}
        status = "empty" if self.empty else "unknown" if self.unknown else fresh
        return {
            "status": status,
            "stale_after_seconds": STALE_AFTER_SECONDS,
            "market": self.market_state,
            "symbols": symbols,
        }
