"""The function as Lambda runs it: a separate process that uses a Runtime API."""

import json
import os
import queue
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from testkit.dbt import ROOT, epoch

NOON = epoch("2024-01-02T17:00:00Z")
LIMIT_SECONDS = 180


class RuntimeApi(ThreadingHTTPServer):
    """The part of Lambda's Runtime API that a runtime client uses."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), RuntimeApiHandler)
        self.events: queue.Queue = queue.Queue()
        self.answers: queue.Queue = queue.Queue()

    def invoke(self, event: object) -> tuple[str, dict]:
        """Send the function one event. Returns the answer's kind (response or error) and body."""
        self.events.put(event)
        return self.answers.get(timeout=LIMIT_SECONDS)


class RuntimeApiHandler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: RuntimeApi

    def do_GET(self):
        body = json.dumps(self.server.events.get()).encode()
        self.send_response(200)
        self.send_header("Lambda-Runtime-Aws-Request-Id", "request-1")
        self.send_header("Lambda-Runtime-Deadline-Ms", "9999999999999")
        self.send_header("Lambda-Runtime-Invoked-Function-Arn", "arn:aws:lambda:us-east-1:0:function:transform-quotes")
        # awslambdaric 4.2.2 crashes (SIGSEGV) on an invocation without a content type.
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.answers.put((self.path.rsplit("/", 1)[-1], body))
        self.send_response(202)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


@pytest.fixture
def runtime_api():
    api = RuntimeApi()
    thread = threading.Thread(target=api.serve_forever, daemon=True)
    thread.start()
    yield api
    api.shutdown()
    api.server_close()
    thread.join()


@pytest.fixture
def function_env(environment, tmp_path):
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "PYTHONPATH": str(ROOT / "functions" / "transform-quotes"),
        **environment,
    }


def test_awslambdaric_runs_the_handler(warehouse, runtime_api, function_env, tmp_path):
    warehouse.insert({"t": NOON})
    env = {**function_env, "AWS_LAMBDA_RUNTIME_API": f"127.0.0.1:{runtime_api.server_address[1]}"}
    with (tmp_path / "stdout").open("wb") as stdout:
        process = subprocess.Popen(
            [sys.executable, "-m", "awslambdaric", "transform_quotes.handler.handler"],
            cwd=ROOT, env=env, stdout=stdout, stderr=subprocess.STDOUT,
        )  # fmt: skip
    try:
        kind, answer = runtime_api.invoke({})
        assert (kind, answer["models"]) == ("response", 16)
        assert warehouse.rows("stock_gold.gold_kpi", "symbol") == [("AAPL",)]

        warehouse.client.delete_table("stock.bronze_stock_quotes_raw")
        kind, answer = runtime_api.invoke({})
        assert (kind, answer["errorType"]) == ("error", "TransformError")
        assert "model.dbt_stocks.silver_stock_quotes_settled" in answer["errorMessage"]
        warehouse.has_views = False
    finally:
        process.kill()
        process.wait()

    output = (tmp_path / "stdout").read_text()
    logged = [json.loads(line) for line in output.splitlines() if line.startswith("{")]
    assert [line["message"] for line in logged if "_aws" not in line] == [
        "ready",
        "transformed",
        "transform failed",
    ]


def test_the_function_runs_without_shared_memory(warehouse, function_env):
    """Lambda has no /dev/shm. Every semaphore of multiprocessing fails there, as in this process."""
    warehouse.insert({"t": NOON})
    program = """
import errno, multiprocessing.synchronize as synchronize

class SemLock:
    SEM_VALUE_MAX = 1

    def __init__(self, *_, **__):
        raise OSError(errno.ENOSYS, "Function not implemented")

synchronize._multiprocessing.SemLock = SemLock
from transform_quotes.handler import handler
assert handler({}, None)["models"]
"""
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, env=function_env, capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, done.stderr
    assert warehouse.rows("stock_gold.gold_kpi", "symbol") == [("AAPL",)]


def test_an_invalid_configuration_ends_the_init_with_every_name(function_env):
    env = {**function_env, "BIGQUERY_ENDPOINT": "nowhere", "DBT_THREADS": "0"}

    done = subprocess.run(
        [sys.executable, "-c", "import transform_quotes.handler"],
        cwd=ROOT, env=env, capture_output=True, text=True, check=False,
    )  # fmt: skip

    assert done.returncode != 0
    line = json.loads(done.stdout)
    assert (line["level"], line["message"]) == ("ERROR", "init failed")
    assert "BIGQUERY_ENDPOINT" in line["error"]
    assert "DBT_THREADS" in line["error"]
