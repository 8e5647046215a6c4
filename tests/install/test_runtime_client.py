"""Where awslambdaric has no wheel, our client does the same: both run one handler, and the API sees the same."""

import json
import os
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

CLIENT = Path(__file__).resolve().parents[2] / "local/runtime-api/runtime_client.py"
LIMIT_SECONDS = 60
HANDLERS = """
def handler(event, context):
    print("seen", flush=True)
    if event.get("raise"):
        raise ValueError("no " + event["raise"])
    if event.get("odd"):
        return {1, 2}
    remaining = context.get_remaining_time_in_millis()
    return {"event": event, "id": context.aws_request_id, "arn": context.invoked_function_arn, "late": remaining <= 0}
"""
CLIENTS = {
    "runtime_client.py": [sys.executable, str(CLIENT)],
    "awslambdaric": [sys.executable, "-m", "awslambdaric"],
}


class RuntimeApi(ThreadingHTTPServer):
    """Hands out events and keeps what is posted."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), RuntimeApiHandler)
        # None closes the connection.
        self.events: queue.Queue[str | None] = queue.Queue()
        self.posted: queue.Queue[tuple[str, dict[str, Any]]] = queue.Queue()
        self.address = f"127.0.0.1:{self.server_port}"
        self.number = 0

    def invoke(self, event: object) -> tuple[str, dict[str, Any]]:
        self.events.put(json.dumps(event))
        return self.posted.get(timeout=LIMIT_SECONDS)


class RuntimeApiHandler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: RuntimeApi

    def do_GET(self) -> None:
        event = self.server.events.get()
        if event is None:
            self.close_connection = True
            return
        body = event.encode()
        self.server.number += 1
        self.send_response(200)
        self.send_header("Lambda-Runtime-Aws-Request-Id", f"request-{self.server.number}")
        self.send_header("Lambda-Runtime-Deadline-Ms", str(int(time.time() + 60) * 1000))
        self.send_header("Lambda-Runtime-Invoked-Function-Arn", "arn:aws:lambda:us-east-1:0:function:f")
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.send_response(202)
        self.send_header("Content-Length", "0")
        self.end_headers()
        self.server.posted.put((self.path, body))

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def api() -> Iterator[RuntimeApi]:
    with RuntimeApi() as api:
        threading.Thread(target=api.serve_forever, daemon=True).start()
        yield api
        api.shutdown()


Start = Callable[[list[str], str], subprocess.Popen[bytes]]


@pytest.fixture
def start(api: RuntimeApi, tmp_path: Path) -> Iterator[Start]:
    (tmp_path / "handlers.py").write_text(HANDLERS)
    (tmp_path / "broken.py").write_text("raise LookupError('the setting BIGQUERY_PROJECT is missing')\n")
    variables = os.environ | {"AWS_LAMBDA_RUNTIME_API": api.address, "PYTHONPATH": str(tmp_path)}
    started = []

    def start(client: list[str], handler: str) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(
            [*client, handler], cwd=tmp_path, env=variables, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()


every_client = pytest.mark.parametrize("client", CLIENTS.values(), ids=CLIENTS)


@every_client
def test_answers_and_errors_are_posted_to_the_invocation(client: list[str], api: RuntimeApi, start: Start) -> None:
    start(client, "handlers.handler")
    path, answer = api.invoke({"text": "zażółć ✓"})
    assert path == "/2018-06-01/runtime/invocation/request-1/response"
    arn = "arn:aws:lambda:us-east-1:0:function:f"
    assert answer == {"event": {"text": "zażółć ✓"}, "id": "request-1", "arn": arn, "late": False}
    path, error = api.invoke({"raise": "quotes"})
    assert path == "/2018-06-01/runtime/invocation/request-2/error"
    assert (error["errorType"], error["errorMessage"]) == ("ValueError", "no quotes")
    assert any("in handler" in line for line in error["stackTrace"])
    path, error = api.invoke({"odd": True})
    assert path == "/2018-06-01/runtime/invocation/request-3/error"
    assert "not JSON serializable" in error["errorMessage"]
    # An error ends nothing.
    assert api.invoke({})[0].endswith("request-4/response")


@every_client
@pytest.mark.parametrize("handler", ["broken.handler", "handlers.missing", "nowhere.handler"])
def test_an_error_of_the_start_is_posted_and_ends_it(
    client: list[str], handler: str, api: RuntimeApi, start: Start
) -> None:
    process = start(client, handler)
    path, error = api.posted.get(timeout=LIMIT_SECONDS)
    assert path == "/2018-06-01/runtime/init/error"
    named = {"broken.handler": "BIGQUERY_PROJECT", "handlers.missing": "missing", "nowhere.handler": "nowhere"}
    assert named[handler] in error["errorMessage"]
    assert process.wait(LIMIT_SECONDS) != 0


@every_client
def test_it_ends_when_the_api_is_gone(client: list[str], api: RuntimeApi, start: Start) -> None:
    process = start(client, "handlers.handler")
    api.invoke({})
    api.shutdown()
    api.server_close()
    api.events.put(None)
    assert process.wait(LIMIT_SECONDS) != 0
