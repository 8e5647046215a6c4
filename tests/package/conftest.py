"""A Lambda Runtime API that a packaged function can start against."""

import json
import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import islice
from pathlib import Path
from subprocess import PIPE, STDOUT, Popen

import pytest

PATIENCE_S = 60
"""What has not come by then never will."""


@dataclass
class Start:
    """How a function started: whether it asked for its first event, after how long, and what it said."""

    ready: bool
    milliseconds: float
    resident_mb: float
    log: list[dict] = field(default_factory=list)


class RuntimeApi:
    """Waits for a function to ask for its first event and never gives it one."""

    def __init__(self) -> None:
        self._asked = asked = threading.Event()
        self._over = over = threading.Event()

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                if self.path.endswith("/runtime/invocation/next"):
                    asked.set()
                    over.wait(PATIENCE_S)

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def start(self, executable: Path, environment: dict[str, str], lines: int = 0) -> Start:
        """Start the function, end it when it is ready and has logged `lines`, or has ended, and tell how it was."""
        host, port = self._server.server_address[:2]
        lambdas = {
            "AWS_LAMBDA_RUNTIME_API": f"{host}:{port}",
            "AWS_LAMBDA_FUNCTION_NAME": executable.parent.name,
            "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
            "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "128",
            "AWS_REGION": "eu-central-1",
            "AWS_ACCESS_KEY_ID": "AKIAEXAMPLE",
            "AWS_SECRET_ACCESS_KEY": "marked",
        }
        self._asked.clear()
        begun = time.monotonic()
        with Popen([executable], env={**lambdas, **environment}, stdout=PIPE, stderr=STDOUT, text=True) as process:
            while not self._asked.is_set() and process.poll() is None and time.monotonic() - begun < PATIENCE_S:
                self._asked.wait(0.001)
            milliseconds = (time.monotonic() - begun) * 1000
            resident = 0.0
            if process.poll() is None:
                pages = int(Path(f"/proc/{process.pid}/statm").read_text().split()[1])
                resident = pages * 4096 / 1e6
            over = threading.Timer(PATIENCE_S, process.kill)
            over.start()
            log = [json.loads(line) for line in islice(process.stdout, lines)]
            over.cancel()
            process.kill()
            log += [json.loads(line) for line in process.stdout]
        return Start(self._asked.is_set(), milliseconds, resident, log)

    def stop(self) -> None:
        """End the server and every request that waits."""
        self._over.set()
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def runtime_api():
    api = RuntimeApi()
    yield api
    api.stop()
