"""A server with Finnhub's API that a test can control."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

# Any moment of a trading day will do: 2024-01-02 15:00:00 UTC.
FIRST_T = 1_704_207_600


class Finnhub(ThreadingHTTPServer):
    """Every answer has its own market second, so that silver keeps every quote."""

    daemon_threads = True

    def __init__(self, key: str) -> None:
        super().__init__(("127.0.0.1", 0), _Answer)
        self.key = key
        self.is_out = False
        self.market: dict[str, object] = {"exchange": "US", "holiday": None, "isOpen": True}
        self.unknown: set[str] = set()
        # The answer to every quote instead: status, body, headers.
        self.says: tuple[int, str, dict[str, str]] | None = None
        # Creates a symbol's quote, if the test needs another one.
        self.quote: Callable[[str], str] | None = None
        self.has_data = True
        self.served = 0
        self.refused = 0
        self.paths: list[str] = []
        self.asked_at: list[float] = []
        self.lock = threading.Lock()

    @property
    def base_url(self) -> str:
        """The address that replaces https://finnhub.io/api/v1."""
        return f"http://127.0.0.1:{self.server_port}/api/v1"

    def handle_error(self, request: object, client_address: object) -> None:
        """Print nothing if a client goes away, which happens when its function is ended."""


class _Answer(BaseHTTPRequestHandler):
    server: Finnhub

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        symbol = parse_qs(url.query).get("symbol", [""])[0]
        headers: dict[str, str] = {}
        with self.server.lock:
            self.server.paths.append(self.path)
            self.server.asked_at.append(time.time())
            if self.headers.get("X-Finnhub-Token") != self.server.key:
                self.server.refused += 1
                status, body = 401, '{"error":"Invalid API key"}'
            elif self.server.is_out:
                status, body = 503, '{"error":"out of order"}'
            elif url.path == "/api/v1/stock/market-status":
                status, body = 200, json.dumps(self.server.market)
            elif self.server.says:
                status, body, headers = self.server.says
            elif not self.server.has_data or symbol in self.server.unknown:
                # Finnhub's answer if it has no data: no failure, and no quote.
                status, body = 200, '{"c":0,"d":null,"dp":null,"h":0,"l":0,"o":0,"pc":0,"t":0}'
            elif url.path == "/api/v1/quote" and symbol and self.server.quote:
                status, body, self.server.served = 200, self.server.quote(symbol), self.server.served + 1
            elif url.path == "/api/v1/quote" and symbol:
                # Numbers with a text that no JSON writer would choose. The text must be kept.
                t = FIRST_T + self.server.served
                body = f'{{"c":150.250,"d":2.50,"dp":1.6900,"h":152.0,"l":148.5,"o":1.49e2,"pc":147.75,"t":{t}}}'
                status, self.server.served = 200, self.server.served + 1
            else:
                status, body = 404, "{}"
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, *_: object) -> None:
        """Keep quiet."""


@contextmanager
def serve(key: str) -> Iterator[Finnhub]:
    """A server that runs until the end of the `with` block and accepts `key`."""
    server = Finnhub(key)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
