"""The programs that the tests start, and their clients: `quoteflow`, the stand-ins, and other clients of the stores."""

import contextlib
import fcntl
import json
import os
import pty
import signal
import socket
import struct
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import boto3
import pytest
from botocore.config import Config
from google.auth.credentials import AnonymousCredentials
from google.cloud import bigquery
from kafka import KafkaConsumer, KafkaProducer, TopicPartition

ROOT = Path(__file__).resolve().parents[2]
BIN_DIR = Path(os.environ.get("QUOTEFLOW_BIN_DIR", ROOT / "target" / "debug")).resolve()

# Names and limits, as Terraform and `quoteflow` read them.
FLOW = json.loads((ROOT / "infra/flow.json").read_text())
TOPIC, GROUP = FLOW["kafka"]["topic"], FLOW["kafka"]["group"]
BRONZE_BUCKET, QUARANTINE_BUCKET = FLOW["buckets"]["bronze"], FLOW["buckets"]["quarantine"]
ARCHIVED_QUEUE = FLOW["queue"]["name"]
DEAD_LETTER_QUEUE = f"{ARCHIVED_QUEUE}-dlq"
# In the order of the flow.
FUNCTIONS = tuple(function["name"] for function in FLOW["functions"])
# The functions behind `quoteflow`'s Lambda endpoint.
DEPLOYED = FUNCTIONS[:4]
PROJECT = "quoteflow-local"
STAGES = ("fetched", "published", "archived", "loaded", "silver")

# Long enough for a busy machine; a flow that hangs still fails the test.
LIMIT_SECONDS = 120
# How long processes may take to end after their parent was killed. The stand-ins save their state first.
GONE_SECONDS = 10

# Variables that would make a flow use other servers or programs than the test says.
FOREIGN_VARIABLES = (
    "FINNHUB_",
    "KAFKA_",
    "AWS_",
    "S3_",
    "BIGQUERY_",
    "LOCAL_",
    "LOG_LEVEL",
    "RUST_LOG",
    "DBT_",
    "OTEL_",
)


def wait_until(condition: Callable[[], Any], what: str, limit_seconds: float = LIMIT_SECONDS) -> Any:
    """Poll `condition` until it holds and return its result. After the limit, fail with the name `what`."""
    deadline = time.monotonic() + limit_seconds
    while not (held := condition()):
        if time.monotonic() > deadline:
            pytest.fail(f"no {what} within {limit_seconds} s")
        time.sleep(0.05)
    return held


def environment(**variables: str) -> dict[str, str]:
    """The environment without the variables that affect a flow, and with `variables`."""
    own = {name: value for name, value in os.environ.items() if not name.startswith(FOREIGN_VARIABLES)}
    return own | variables


def free_ports(count: int) -> list[int]:
    """Free ports. All are bound at the same time, so that no two are the same."""
    held = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [one.getsockname()[1] for one in held]
    for one in held:
        one.close()
    return ports


def processes_of(directory: Path) -> dict[int, str]:
    """The processes whose command line or environment names `directory`, without this one: pid → command line.

    The stand-ins, the functions and dbt all have their HOME and TMPDIR below the data folder, so that all are found,
    whatever their parents are.
    """
    found = {}
    for process in Path("/proc").glob("[0-9]*"):
        try:
            command = (process / "cmdline").read_bytes()
            variables = (process / "environ").read_bytes()
        except OSError:
            continue  # It has ended, or it belongs to another user.
        named = any(str(directory).encode() in text for text in (command, variables))
        # A zombie has neither a command line nor an environment, so it is never found here.
        if named and int(process.name) != os.getpid():
            found[int(process.name)] = command.replace(b"\0", b" ").decode(errors="replace").strip()
    return found


def left_of(directory: Path) -> dict[int, str]:
    """Wait until no process of `directory` is left. Return and end those that are left after the limit."""
    deadline = time.monotonic() + GONE_SECONDS
    while left := processes_of(directory):
        if time.monotonic() > deadline:
            kill_all(directory)
            return left
        time.sleep(0.05)
    return {}


def kill_all(directory: Path) -> None:
    """End by force the processes that a failed test has left."""
    for pid in processes_of(directory):
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue


def local(*arguments: str | Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run `quoteflow` with these arguments to its end, which must be soon."""
    return subprocess.run(
        [BIN_DIR / "quoteflow", *arguments],
        capture_output=True,
        text=True,
        timeout=LIMIT_SECONDS,
        cwd=ROOT,
        env=environment(**variables),
        check=False,
    )


class Flow:
    """A `quoteflow run` on `data_dir`. At the end of the `with` block, it and all its processes are ended."""

    def __init__(
        self,
        data_dir: Path,
        *options: str,
        history: bool = False,
        interval: str = "1s",
        columns: int | None = None,
        **variables: str,
    ) -> None:
        self.data_dir = data_dir
        self.report_file = data_dir.with_suffix(".report.json")
        self.report_file.unlink(missing_ok=True)
        self.output = data_dir.with_suffix(".output")
        command = [BIN_DIR / "quoteflow", "run", "--project", ROOT, "--port-base", "0", "--interval", interval,
                   "--data-dir", data_dir, "--report", self.report_file, *options]  # fmt: skip
        if not history and "--start-at" not in options:
            # Then the stores contain only fetched quotes.
            command += ["--start-at", "0"]
        self.terminal: threading.Thread | None = None
        with self.output.open("wb") as output:
            stdout = output.fileno() if columns is None else self._terminal(columns)
            self.process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=stdout,
                stderr=subprocess.STDOUT,
                # Not below the project, because nothing may depend on the working directory.
                cwd=data_dir.parent,
                env=environment(**variables),
                start_new_session=True,
            )
            if columns is not None:
                os.close(stdout)

    def _terminal(self, columns: int) -> int:
        """A terminal of this width. Its text is written to the output file."""
        ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))

        def copy() -> None:
            # Reading a terminal that no process has open is an error.
            with self.output.open("ab") as output, contextlib.suppress(OSError):
                while read := os.read(ours, 65536):
                    output.write(read)
                    output.flush()
            os.close(ours)

        self.terminal = threading.Thread(target=copy)
        self.terminal.start()
        return theirs

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        kill_all(self.data_dir)
        if self.terminal:
            self.terminal.join()

    def text(self) -> str:
        """The text that it has printed so far."""
        return self.output.read_text().replace("\r\n", "\n")

    def report(self) -> dict[str, Any] | None:
        """The latest report; `None` before the first."""
        try:
            return json.loads(self.report_file.read_text())
        except FileNotFoundError:
            return None

    def await_report(self, condition: Callable[[dict[str, Any]], bool], what: str) -> dict[str, Any]:
        """Wait for a report for which `condition` holds. It fails immediately if the flow ends without one."""

        def fitting() -> dict[str, Any] | None:
            report = self.report()
            return report if report and condition(report) else None

        return self.wait_until(fitting, what)

    def wait_until(self, condition: Callable[[], Any], what: str) -> Any:
        """Wait for a condition while the flow runs. It fails immediately if the flow ends first."""
        deadline = time.monotonic() + LIMIT_SECONDS
        while True:
            ended = self.process.poll()
            if held := condition():
                return held
            if ended is not None:
                pytest.fail(f"no {what}: the flow ended with {ended} and printed\n{self.text()}")
            if time.monotonic() > deadline:
                said = f"the last report is {self.report()}; the flow printed\n{self.text()}"
                pytest.fail(f"no {what} within {LIMIT_SECONDS} s; {said}")
            time.sleep(0.05)

    def finish(self) -> dict[str, Any]:
        """Wait until it ends by itself, which must be with status 0, and return its last report."""
        status = self.process.wait(LIMIT_SECONDS)
        assert status == 0, self.text()
        return self.report() or pytest.fail("no report was written")

    def interrupt(self) -> dict[str, Any]:
        """Do what Ctrl-C does, and wait for the end."""
        self.process.send_signal(signal.SIGINT)
        return self.finish()

    def kill(self) -> None:
        """End it without a chance to clean up."""
        self.process.kill()
        self.process.wait()


def counts(report: dict[str, Any]) -> dict[str, int]:
    """The report's count of each stage."""
    stages = report.get("stages", {})
    return {stage: stages.get(stage, {}).get("count", 0) for stage in STAGES}


@dataclass(frozen=True)
class Record:
    """A Kafka record."""

    partition: int
    offset: int
    key: bytes | None
    value: bytes | None

    @property
    def quote(self) -> dict[str, Any]:
        """The quote in the value."""
        return json.loads(self.value or b"null")


class Clients:
    """Clients of the stores that share no code with the flow."""

    def __init__(self, kafka: str, aws: str, bigquery_endpoint: str, topic: str = TOPIC) -> None:
        self.kafka = kafka
        self.topic = topic
        # With the client's defaults for retries and pools. Any credentials are accepted.
        config = Config(s3={"addressing_style": "path"}, connect_timeout=5, read_timeout=30)
        self.s3 = boto3.client(
            "s3",
            endpoint_url=aws,
            region_name="us-east-1",
            aws_access_key_id="test",
            aws_secret_access_key="test",  # noqa: S106 - the stand-in takes any
            config=config,
        )
        self.bigquery = bigquery.Client(
            project=PROJECT,
            credentials=AnonymousCredentials(),
            client_options={"api_endpoint": bigquery_endpoint},
        )

    @classmethod
    def of(cls, report: dict[str, Any]) -> Self:
        """Clients of the endpoints that a report names."""
        endpoints = report["endpoints"]
        return cls(endpoints["kafka_bootstrap_servers"], endpoints["aws_endpoint_url"], endpoints["bigquery_endpoint"])

    def records(self) -> list[Record]:
        """Every record of the topic, from the beginning to the current end."""
        consumer = KafkaConsumer(bootstrap_servers=self.kafka, enable_auto_commit=False)
        try:
            partitions = [
                TopicPartition(self.topic, number) for number in sorted(consumer.partitions_for_topic(self.topic) or ())
            ]
            assert partitions, f"Kafka has no topic {self.topic}"
            consumer.assign(partitions)
            consumer.seek_to_beginning()
            ends = consumer.end_offsets(partitions)
            records = []

            def read_to_the_end() -> bool:
                for batch in consumer.poll(timeout_ms=500).values():
                    records.extend(Record(one.partition, one.offset, one.key, one.value) for one in batch)
                return all(consumer.position(partition) >= end for partition, end in ends.items())

            wait_until(read_to_the_end, "end of the topic")
        finally:
            consumer.close()
        return [one for one in records if one.offset < ends[TopicPartition(self.topic, one.partition)]]

    @contextmanager
    def producer(self) -> Iterator[KafkaProducer]:
        """Another producer."""
        producer = KafkaProducer(bootstrap_servers=self.kafka, acks="all")
        try:
            yield producer
        finally:
            producer.close(timeout=10)

    def objects(self, bucket: str = BRONZE_BUCKET) -> dict[str, bytes]:
        """Every object of a bucket by its key, without the test objects that archive-quotes writes when it starts."""
        pages = self.s3.get_paginator("list_objects_v2").paginate(Bucket=bucket)
        keys = [entry["Key"] for page in pages for entry in page.get("Contents", [])]
        keys = [key for key in keys if not key.startswith(".quoteflow-probe/")]
        return {key: self.s3.get_object(Bucket=bucket, Key=key)["Body"].read() for key in keys}

    def rows(self, sql: str) -> list[dict[str, Any]]:
        """The rows of a query."""
        return [dict(row.items()) for row in self.bigquery.query(sql).result()]

    def bronze_ids(self) -> list[str]:
        """The `quote_id` of every row of bronze."""
        return [row["quote_id"] for row in self.rows("SELECT quote_id FROM stock.bronze_stock_quotes_raw")]


class Stores:
    """Kafka, the AWS stand-in and the BigQuery stand-in without a flow, on `directory`. To be used with `with`.

    It has the same folders as a data folder of `quoteflow`, so that a run's data can be read after its end.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        aws, big = free_ports(2)
        self.aws = f"http://127.0.0.1:{aws}"
        self.bigquery = f"http://127.0.0.1:{big}"
        self.kafka = ""
        self.processes: list[subprocess.Popen[bytes]] = []
        for folder in ("s3", "aws", "bigquery", "home", "tmp", "kafka", "logs"):
            (directory / folder).mkdir(parents=True, exist_ok=True)
        self._homes = {
            "PATH": os.environ["PATH"],
            "HOME": str(directory / "home"),
            "TMPDIR": str(directory / "tmp"),
        }
        self._ports = {"aws": aws, "bigquery": big}

    def __enter__(self) -> Self:
        try:
            self._start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for process in reversed(self.processes):
            if process.stdin:
                process.stdin.close()  # Then the broker saves its data and ends.
            else:
                process.terminate()
        for process in self.processes:
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            if process.stdout:
                process.stdout.close()
        kill_all(self.directory)

    def _start(self) -> None:
        self.start_broker()
        self.start_aws()
        importer = ROOT / "localstack" / "import_duckdb_extension.py"
        subprocess.run([sys.executable, importer, self.directory / "home"], check=True, timeout=LIMIT_SECONDS)
        self.start_bigquery()
        for port in self._ports.values():
            wait_until(lambda port=port: listens(port), f"server at port {port}")
        clients = self.clients()
        wait_until(lambda: answers(lambda: clients.rows("SELECT 1")), "answer of BigQuery")
        wait_until(lambda: answers(clients.s3.list_buckets), "answer of S3")

    def start_broker(self) -> None:
        """Start Kafka; after the first time, on the same port."""
        port = self.kafka.rpartition(":")[2] or "0"
        broker = subprocess.Popen(
            [BIN_DIR / "kafka-broker", port, self.directory / "kafka", f"{TOPIC}:3"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=self._homes,
            start_new_session=True,
        )
        self.processes.append(broker)
        self.kafka = broker.stdout.readline().decode().strip() if broker.stdout else ""
        assert self.kafka, "the broker did not print its address"
        self.broker = broker

    def start_aws(self) -> None:
        """Start the AWS stand-in with a clean environment, because functions inherit all of it."""
        self._stand_in(
            "aws",
            ["-m", "ministack"],
            AWS_ENDPOINT_URL=self.aws,
            GATEWAY_PORT=str(self._ports["aws"]),
            BIND_HOST="127.0.0.1",
            IOT_MTLS_ENABLED="0",
            SFTP_ENABLED="0",
            MINISTACK_REGION="us-east-1",
            S3_PERSIST="1",
            S3_DATA_DIR=str(self.directory / "s3"),
            PERSIST_STATE="1",
            STATE_DIR=str(self.directory / "aws"),
            # AWS retries a failed event after a minute, with the function's present variables. The stand-in retries it
            # after a second with its old variables, in a process that then serves later events, too.
            LAMBDA_ASYNC_RETRY_BASE_SECONDS="60",
            LAMBDA_ASYNC_RETRY_MAX_SECONDS="60",
        )

    def start_bigquery(self) -> None:
        """Start the BigQuery stand-in."""
        self.big = self._stand_in(
            "bigquery",
            [str(ROOT / "localstack" / "bqemulator_cached.py"), "start",
             "--rest-port", str(self._ports["bigquery"]), "--grpc-port", "0", "--persistent",
             "--data-dir", str(self.directory / "bigquery"), "--project", PROJECT],
            BQEMU_ENABLE_FORMAT_EXTENSIONS="false",
            BQEMU_TIME_TRAVEL_RETENTION_DAYS="0",
        )  # fmt: skip

    def _stand_in(self, name: str, arguments: list[str], **variables: str) -> subprocess.Popen[bytes]:
        with (self.directory / "logs" / f"own-{name}.log").open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=self.directory,
                env=self._homes | variables,
                start_new_session=True,
            )
        self.processes.append(process)
        return process

    def variables(self) -> dict[str, str]:
        """The environment that makes `quoteflow run` use these stores."""
        return {
            "KAFKA_BOOTSTRAP_SERVERS": self.kafka,
            "AWS_ENDPOINT_URL": self.aws,
            "BIGQUERY_ENDPOINT": self.bigquery,
        }

    def clients(self, topic: str = TOPIC) -> Clients:
        """Clients of these stores."""
        return Clients(self.kafka, self.aws, self.bigquery, topic)


def listens(port: int) -> bool:
    """Whether something listens on the port."""
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


def answers(ask: Callable[[], object]) -> bool:
    """Whether a starting server answers already."""
    try:
        ask()
    except Exception:  # Each client has its own errors.
        return False
    return True
