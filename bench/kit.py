"""Tools for the measurements: quotes, functions behind a Runtime API, servers, CPU seconds.

Machines are shared and noisy. So a measurement is, if possible, a ratio of two values in one run, or the CPU seconds of
one process (user and system, of all its threads), on which other processes have little influence.
"""

from __future__ import annotations

import base64
import json
import math
import os
import platform
import queue
import random
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import uuid
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self

ROOT = Path(__file__).resolve().parent.parent
VENV = Path(__file__).resolve().parent / ".venv"
"""Where the programs that are compared with Quoteflow are installed."""
FUNCTIONS = ("archive-quotes", "fetch-quotes", "load-quotes", "reconcile-quotes", "serve-dashboard")
PATIENCE_S = 120
"""Something that does not arrive in this time is taken as lost."""
ACCESS = {"AWS_REGION": "us-east-1", "AWS_ACCESS_KEY_ID": "bench", "AWS_SECRET_ACCESS_KEY": "bench"}


class BenchError(Exception):
    """A measurement that failed. The text says what was missing."""


class OpenRowError(BenchError):
    """The subject of a row is not built. The row stays open, which is not a failure."""


# --- quotes


@dataclass(frozen=True)
class Message:
    """A quote as fetch-quotes publishes it."""

    key: str
    fetched_at: int
    quote_id: str
    value: bytes


def uuid7(milliseconds: int) -> str:
    """Create a uuid v7 for the time of a quote's fetch, in milliseconds since 1970."""
    bits = (milliseconds & (1 << 48) - 1) << 80 | 7 << 76 | random.getrandbits(12) << 64 | 2 << 62
    return str(uuid.UUID(int=bits | random.getrandbits(62)))


WORDS = [
    "quote",
    "price",
    "market",
    "session",
    "exchange",
    "venue",
    "trade",
    "volume",
    "order",
    "book",
    "spread",
    "open",
]
WORDS += [
    "close",
    "resume",
    "filing",
    "split",
    "index",
    "future",
    "option",
    "yield",
    "curve",
    "source",
    "primary",
    "backup",
]
WORDS += [
    "latency",
    "sequence",
    "channel",
    "vendor",
    "region",
    "host",
    "release",
    "owner",
    "comment",
    "review",
    "state",
]


def symbol(number: int) -> str:
    """Return the symbol with this number. All have the same length, so that all quotes have."""
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
    return "Q" + "".join(letters[number // 26**place % 26] for place in range(3))


def quote(number: int, symbols: int, size: int, at: float) -> Message:
    """Create the `number`th quote, of `symbols` stocks in turn, with `size` bytes, fetched `at` seconds since 1970."""
    price = 100 + number % 997 / 100
    body = {
        "c": round(price, 2), "d": 2.5, "dp": 1.69, "h": round(price + 1.5, 2), "l": round(price - 2, 2),
        "o": round(price - 1, 2), "pc": round(price - 2.5, 2), "t": int(at),
        "symbol": symbol(number % symbols), "fetched_at": int(at), "quote_id": uuid7(int(at * 1000)),
    }  # fmt: skip
    value = json.dumps(body, separators=(",", ":"))
    if (missing := size - len(value)) > len(',"note":""'):
        # An added field of a producer stays in the object. These are words, which compress like text.
        length = missing - len(',"note":""')
        text = " ".join(random.choices(WORDS, k=length // 4))[:length]
        value = value[:-1] + f',"note":"{text}"' + "}"
    return Message(body["symbol"], body["fetched_at"], body["quote_id"], value.encode())


def quotes(count: int, *, size: int = 250, symbols: int = 500, since: float | None = None) -> list[Message]:
    """Create quotes of `symbols` stocks, one a second each, the last of them fetched by `since` (default: now)."""
    end = time.time() if since is None else since
    rounds = math.ceil(count / symbols)
    return [quote(number, symbols, size, end - rounds + number // symbols) for number in range(count)]


def kafka_event(messages: Sequence[Message], first_offset: int = 0, partitions: int = 1) -> bytes:
    """Create the event of Lambda's trigger for records."""
    records: dict[str, list[dict[str, Any]]] = {}
    for position, message in enumerate(messages):
        partition = position % partitions
        records.setdefault(f"stock-quotes-{partition}", []).append(
            {
                "topic": "stock-quotes",
                "partition": partition,
                "offset": first_offset + position,
                "timestamp": message.fetched_at * 1000,
                "timestampType": "CREATE_TIME",
                "key": base64.b64encode(message.key.encode()).decode(),
                "value": base64.b64encode(message.value).decode(),
                "headers": [],
            }
        )
    return json.dumps({"eventSource": "aws:kafka", "bootstrapServers": "b-1:9092", "records": records}).encode()


def s3_event(bucket: str, keys: Sequence[str]) -> bytes:
    """Create an event of SQS with one notification of S3 in each message."""

    def body(key: str) -> str:
        s3 = {"bucket": {"name": bucket}, "object": {"key": key}}
        return json.dumps({"Records": [{"eventName": "ObjectCreated:Put", "s3": s3}]})

    return json.dumps({"Records": [{"messageId": f"m{n}", "body": body(key)} for n, key in enumerate(keys)]}).encode()


# --- processes


def cpu_seconds(pid: int) -> float:
    """Return the CPU seconds that a process has used: user and system, of all its threads."""
    # As clock_getcpuclockid(3), which Python does not have for another process.
    return time.clock_gettime((~pid << 3) | 2)


def ended_children_cpu_seconds(pid: int) -> float:
    """Tell the CPU seconds of a process's children that have ended (proc_pid_stat(5): cutime and cstime)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[13]) + int(fields[14])) / os.sysconf("SC_CLK_TCK")


def children_cpu_seconds(pid: int) -> float:
    """Return the CPU seconds of a process and of its running descendants."""
    total = cpu_seconds(pid)
    for task in Path(f"/proc/{pid}/task").iterdir():
        with suppress(OSError):
            total += sum(children_cpu_seconds(int(child)) for child in (task / "children").read_text().split())
    return total


def memory_mb(pid: int, what: str = "VmHWM") -> float:
    """Return a process's memory in MB: `VmHWM` is its maximum, `VmRSS` its current memory."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(what + ":"):
            return int(line.split()[1]) * 1024 / 1e6
    raise BenchError(f"/proc/{pid}/status has no {what}")


def free_port() -> int:
    """Find a port that nothing listens on."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


def wait_until(condition: Callable[[], Any], what: str, patience: float = PATIENCE_S, pause: float = 0.02) -> Any:
    """Poll until `condition` holds, and return its result."""
    deadline = time.monotonic() + patience
    while True:
        with suppress(OSError):
            if held := condition():
                return held
        if time.monotonic() > deadline:
            raise BenchError(f"no {what} within {patience:.0f} s")
        time.sleep(pause)


def listens(port: int) -> bool:
    """Return whether something listens on the port."""
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


def end_on_sigterm() -> None:
    """Let SIGTERM end this program like Ctrl-C, so that its processes end, too."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))


@contextmanager
def process(command: Sequence[str | Path], folder: Path, **variables: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run a program in `folder` with a clean environment. At the end, end it and its processes."""
    folder.mkdir(parents=True, exist_ok=True)
    environment = {"PATH": os.environ["PATH"], "HOME": str(folder), "TMPDIR": str(folder), **variables}
    with (folder / f"{Path(command[0]).name}.log").open("ab") as log:
        child = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=log, stderr=log, cwd=folder, env=environment, start_new_session=True
        )
    try:
        yield child
    finally:
        end(child)


def end(child: subprocess.Popen[bytes]) -> None:
    """End a process group, by force if it does not end when asked."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        with suppress(ProcessLookupError):
            os.killpg(child.pid, number)
        with suppress(subprocess.TimeoutExpired):
            child.wait(10)
            break
    for stream in (child.stdin, child.stdout):
        if stream:
            stream.close()


# --- functions


@dataclass
class Answer:
    """A function's answer, and how long it took as measured by the Runtime API."""

    seconds: float
    body: Any
    failed: bool


class RuntimeApi:
    """A server of the Lambda Runtime API for one process at a time."""

    def __init__(self, timeout_s: float = 120) -> None:
        self.timeout_s = timeout_s
        self.asked = threading.Event()
        self._events: queue.Queue[tuple[str, bytes] | None] = queue.Queue()
        self._answers: queue.Queue[tuple[float, bytes, bool]] = queue.Queue()
        self.given = 0.0
        api = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            # Each write is sent immediately. The answer's head and body are one write each.
            wbufsize = -1
            disable_nagle_algorithm = True

            def do_GET(self) -> None:
                api.asked.set()
                if (event := api._events.get()) is None:
                    self.close_connection = True
                    return
                request_id, body = event
                self.send_response(200)
                self.send_header("Lambda-Runtime-Aws-Request-Id", request_id)
                self.send_header("Lambda-Runtime-Deadline-Ms", str(int((time.time() + api.timeout_s) * 1000)))
                self.send_header("Lambda-Runtime-Invoked-Function-Arn", "arn:aws:lambda:us-east-1:1:function:bench")
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                api.given = time.perf_counter()
                self.wfile.write(body)
                self.wfile.flush()

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"] or 0))
                came = time.perf_counter()
                self.send_response(202)
                self.send_header("Content-Length", "0")
                self.end_headers()
                self.wfile.flush()
                api._answers.put((came, body, self.path.endswith("/error")))

            def log_message(self, *_: object) -> None:
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 64

            def handle_error(self, *_: object) -> None:
                """Print nothing: a function that is ended breaks its connection."""

        self._server = Server(("127.0.0.1", 0), Handler)
        self.address = f"127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def invoke(self, event: bytes, lives: Callable[[], bool]) -> Answer:
        """Send the function an event and wait for its answer, while it is running."""
        self._events.put((str(uuid.uuid4()), event))
        deadline = time.monotonic() + self.timeout_s
        while True:
            with suppress(queue.Empty):
                came, body, failed = self._answers.get(timeout=0.2)
                return Answer(came - self.given, json.loads(body or b"null"), failed)
            if not lives():
                raise BenchError("the function has ended")
            if time.monotonic() > deadline:
                raise BenchError(f"the function did not answer within {self.timeout_s:.0f} s")

    def stop(self) -> None:
        """End the server and its waiting requests."""
        self._events.put(None)
        self._server.shutdown()
        self._server.server_close()


class Function:
    """A function's executable behind a Runtime API, as Lambda runs it. To be used with `with`."""

    def __init__(self, command: Path | Sequence[str | Path], folder: Path, timeout_s: float = 120, **variables: str):
        self.command = [command] if isinstance(command, Path) else list(command)
        self.folder = folder
        self.variables = variables
        self.api = RuntimeApi(timeout_s)
        self.start_seconds = 0.0
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        name = Path(self.command[0]).name
        lambdas = {
            "AWS_LAMBDA_RUNTIME_API": self.api.address,
            "AWS_LAMBDA_FUNCTION_NAME": name,
            "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
            "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "128",
            "LOG_LEVEL": "warn",
            **ACCESS,
        }
        self._stack.callback(self.api.stop)
        begun = time.perf_counter()
        self.child = self._stack.enter_context(process(self.command, self.folder, **{**lambdas, **self.variables}))
        deadline = begun + PATIENCE_S
        while not self.api.asked.wait(0.5):
            if self.child.poll() is not None or time.perf_counter() > deadline:
                self._stack.close()
                log = (self.folder / f"{name}.log").read_text(errors="replace")[-500:]
                raise BenchError(f"{name} did not request an event; its log ends with: {log}")
        self.start_seconds = time.perf_counter() - begun
        return self

    def __exit__(self, *_: object) -> None:
        # It has no state to save: Lambda ends it in the same way.
        with suppress(ProcessLookupError):
            self.child.kill()
        self._stack.close()

    @property
    def pid(self) -> int:
        """Its process id."""
        return self.child.pid

    def cpu(self) -> float:
        """Return its CPU seconds so far."""
        return cpu_seconds(self.pid)

    def invoke(self, event: bytes) -> Answer:
        """Send it an event. If the answer is an error, the measurement ends."""
        answer = self.api.invoke(event, lambda: self.child.poll() is None)
        if answer.failed:
            raise BenchError(f"{Path(self.command[0]).name} answered with an error: {answer.body}")
        return answer


@dataclass
class Executables:
    """The paths of the programs: as packaged or, in the short form, as compiled for the tests."""

    functions: dict[str, Path]
    programs: Path
    examples: Path
    profile: str
    zips: dict[str, Path] = field(default_factory=dict)

    @classmethod
    def packaged(cls, folder: Path, names: Sequence[str] = FUNCTIONS) -> Executables:
        """Unpack the zips of these functions, which `make package` has built for this machine, into `folder`."""
        arch = {"x86_64": "x86_64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
        zips = {name: ROOT / "target" / "package" / arch / f"{name}.zip" for name in names}
        if missing := [str(path) for path in zips.values() if not path.exists()]:
            raise BenchError(f"missing: {', '.join(missing)}; run: make package")
        functions = {}
        for name, path in zips.items():
            functions[name] = folder / "bin" / name
            functions[name].parent.mkdir(parents=True, exist_ok=True)
            with zipfile.ZipFile(path) as archive:
                functions[name].write_bytes(archive.read("bootstrap"))
            functions[name].chmod(0o755)
        examples = ROOT / "target" / "package" / ".examples"
        return cls(functions, ROOT / "target" / "debug", examples, "release, as packaged", zips)

    @classmethod
    def of_tests(cls) -> Executables:
        """Use the programs that `make build` has compiled."""
        folder = ROOT / "target" / "debug"
        functions = {name: folder / name for name in FUNCTIONS}
        return cls(functions, folder, folder / "examples", "as compiled for the tests")


# --- servers


class S3:
    """An S3 server with its name and its client's options. To be used with `with`."""

    name: str
    url: str

    def client(self, connections: int = 10) -> Any:
        """Create a client that shares no code with the functions."""
        import boto3
        from botocore.config import Config

        return boto3.client(
            "s3",
            endpoint_url=self.url,
            region_name=ACCESS["AWS_REGION"],
            aws_access_key_id=ACCESS["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=ACCESS["AWS_SECRET_ACCESS_KEY"],
            config=Config(s3={"addressing_style": "path"}, max_pool_connections=connections),
        )


@contextmanager
def s3_server(folder: Path, *, stand_in: bool = False) -> Iterator[S3]:
    """Start SeaweedFS. If it is not installed, and in the short form, start the emulator's S3."""
    weed = VENV / "bin" / "weed"
    s3 = S3()
    if weed.exists() and not stand_in:
        ports = [free_port() for _ in range(4)]
        data = folder / "seaweedfs"
        shutil.rmtree(data, ignore_errors=True)
        data.mkdir(parents=True)
        options = dict(zip(("-s3.port", "-master.port", "-volume.port", "-filer.port"), ports, strict=True))
        grpc = {f"{name}.grpc": free_port() for name in options}
        # A bucket takes seven volumes, and `make versus` has some twenty buckets.
        command = [weed, "server", f"-dir={data}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-s3", "-volume.max=1000"]
        command += [f"{name}={port}" for name, port in (options | grpc).items()]
        server = process(command, folder / "seaweedfs-run")
        s3.name, s3.url = "SeaweedFS 4.48", f"http://127.0.0.1:{ports[0]}"
    else:
        port = free_port()
        s3.name, s3.url = "ministack 1.5.33 (an emulator)", f"http://127.0.0.1:{port}"
        server = process(
            [sys.executable, "-m", "ministack"],
            folder / "ministack",
            GATEWAY_PORT=str(port),
            AWS_ENDPOINT_URL=s3.url,
            BIND_HOST="127.0.0.1",
            IOT_MTLS_ENABLED="0",
            SFTP_ENABLED="0",
            MINISTACK_REGION=ACCESS["AWS_REGION"],
        )
    with server as child:
        s3.pid = child.pid
        client = s3.client()

        def answers() -> bool:
            from botocore.exceptions import BotoCoreError, ClientError

            try:
                client.list_buckets()
            except (BotoCoreError, ClientError):
                return False
            return True

        wait_until(answers, f"answer of {s3.name}", pause=0.2)

        def writes() -> bool:
            from botocore.exceptions import BotoCoreError, ClientError

            try:
                client.create_bucket(Bucket="ready")
                client.put_object(Bucket="ready", Key="ready", Body=b"ready")
            except (BotoCoreError, ClientError):
                return False
            return True

        wait_until(writes, f"object of {s3.name}", pause=0.2)
        yield s3


@contextmanager
def kafka(programs: Path, folder: Path, topics: str = "stock-quotes:3") -> Iterator[str]:
    """Start the project's broker, and yield its address."""
    folder.mkdir(parents=True, exist_ok=True)
    broker = subprocess.Popen(
        [programs / "kafka-broker", "0", folder / "kafka", *topics.split()],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        address = broker.stdout.readline().decode().strip() if broker.stdout else ""
        if not address:
            raise BenchError("the broker did not print its address")
        yield address
    finally:
        end(broker)


@dataclass
class BigQuery:
    """The BigQuery stand-in."""

    url: str
    project: str
    pid: int
    name: str = "bqemulator 1.4.0 (a stand-in on DuckDB)"

    def client(self) -> Any:
        """Create Google's own client for it."""
        from google.auth.credentials import AnonymousCredentials
        from google.cloud import bigquery

        options = {"api_endpoint": self.url}
        return bigquery.Client(project=self.project, credentials=AnonymousCredentials(), client_options=options)

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        """Run a query."""
        return [tuple(row.values()) for row in self.client().query(sql).result()]


TYPES = {"FLOAT": "FLOAT64", "INTEGER": "INT64"}
BRONZE = ", ".join(
    f"{column['name']} {TYPES.get(column['type'], column['type'])}{' NOT NULL' * (column['mode'] == 'REQUIRED')}"
    for column in json.loads((ROOT / "infra" / "gcp" / "tables.json").read_text())["bronze_stock_quotes_raw"]["schema"]
)
"""The columns of bronze as `infra/gcp` defines them."""


@contextmanager
def bigquery_server(folder: Path) -> Iterator[BigQuery]:
    """Start the stand-in with an empty bronze table."""
    home = folder / "bigquery"
    shutil.rmtree(home, ignore_errors=True)
    home.mkdir(parents=True)
    importer = ROOT / "localstack" / "import_duckdb_extension.py"
    subprocess.run([sys.executable, importer, home], check=True, timeout=PATIENCE_S)
    port = free_port()
    # As in the local flow, statements' translations are cached.
    program = ROOT / "localstack" / "bqemulator_cached.py"
    command = [sys.executable, program, "start", "--rest-port", str(port), "--grpc-port", "0"]
    command += ["--persistent", "--data-dir", str(home / "data"), "--project", "quoteflow-bench"]
    variables = {"BQEMU_ENABLE_FORMAT_EXTENSIONS": "false", "BQEMU_TIME_TRAVEL_RETENTION_DAYS": "0"}
    with process(command, home, **variables) as child:
        wait_until(lambda: listens(port), "BigQuery stand-in", pause=0.1)
        big = BigQuery(f"http://127.0.0.1:{port}", "quoteflow-bench", child.pid)

        def answers() -> bool:
            try:
                big.rows("SELECT 1")
            except Exception:
                return False
            return True

        wait_until(answers, "answer of the BigQuery stand-in", pause=0.2)
        big.client().create_dataset("stock")
        new_bronze(big)
        yield big


def new_bronze(big: BigQuery, dataset: str = "stock") -> None:
    """Create the bronze table again, empty."""
    big.rows(f"CREATE OR REPLACE TABLE {dataset}.bronze_stock_quotes_raw ({BRONZE}) PARTITION BY fetched_date")


# --- figures


def percentile(values: Sequence[float], share: float) -> float:
    """Return the value below which `share` of all values are (nearest rank)."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def machine() -> dict[str, Any]:
    """Describe the machine of the figures."""
    model = "unknown"
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                model = line.partition(":")[2].strip()
                break
    git = ["git", "-C", str(ROOT)]
    commit = subprocess.run([*git, "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    changed = subprocess.run([*git, "status", "--porcelain"], capture_output=True, text=True, check=False)
    return {
        "cpu": model,
        "cores": os.cpu_count(),
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "load_before": round(os.getloadavg()[0], 1),
        "commit": commit.stdout.strip() + ("+changes" if changed.stdout.strip() else ""),
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
    }
