"""`make versus`: compares Quoteflow with its alternatives on the same quotes, broker and stores.

    versus.py [--short]

Writes bench/results/versus-<day>.json and the table in docs/PERFORMANCE.md. With --short it measures very little with
the tests' executables, has no limits and writes neither.

Every system is measured in the same way: other clients read the stores at the end.
"""

from __future__ import annotations

import argparse
import gzip
import inspect
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import others
import plain
import report
from kit import (
    ROOT,
    S3,
    VENV,
    BenchError,
    BigQuery,
    Executables,
    Function,
    Message,
    bigquery_server,
    children_cpu_seconds,
    cpu_seconds,
    end,
    end_on_sigterm,
    ended_children_cpu_seconds,
    kafka,
    kafka_event,
    machine,
    memory_mb,
    new_bronze,
    percentile,
    quote,
    quotes,
    s3_event,
    s3_server,
    wait_until,
)
from rows import PLAIN_TABLE

HERE = Path(__file__).resolve().parent
SESSION_MS = 6000
"""How long the broker waits for a consumer that was killed, the same for every system."""


class Place:
    """The servers that all systems share, and the size of the measurement."""

    def __init__(self, folder: Path, programs: Executables, s3: S3, kafka_address: str, big: BigQuery, *, short: bool):
        self.folder, self.programs, self.s3, self.kafka, self.big, self.short = (
            folder, programs, s3, kafka_address, big, short,
        )  # fmt: skip

    def size(self, full: int, short: int) -> int:
        """Return how much to measure."""
        return short if self.short else full


class System(ABC):
    """A system that moves quotes into a store. It can be killed, and is then restarted at once, as by a supervisor."""

    name: str
    settings: int
    """The number of lines to write for it: lines of a program, or variables of its environment."""

    def __init__(self, place: Place, topic: str, label: str) -> None:
        self.place, self.topic, self.label = place, topic, label
        self.stack = ExitStack()

    @classmethod
    def missing(cls) -> str | None:
        """Return what must be installed before it can run."""
        return None

    @abstractmethod
    def prepare(self) -> None:
        """Create the bucket or the table."""

    @abstractmethod
    def start(self) -> None:
        """Start it."""

    @abstractmethod
    def kill(self) -> None:
        """End it by SIGKILL. It is started again."""

    def restart_if_ended(self) -> None:  # noqa: B027 - a function is replaced when it is invoked
        """Start it again if it has ended by itself, as a supervisor would."""

    @abstractmethod
    def stop(self) -> None:
        """End it for good."""

    @abstractmethod
    def cpu(self) -> float:
        """Return its CPU seconds since its start."""

    @abstractmethod
    def memory(self) -> float:
        """Return its maximum memory, in MB."""

    @abstractmethod
    def ids(self) -> Counter[str]:
        """Read from the store how often it has each quote."""

    def offer(self, messages: list[Message]) -> None:  # noqa: B027 - what reads Kafka needs nothing more
        """Offer it quotes outside Kafka, for systems that read objects."""


def bucket_ids(s3: S3, bucket: str, seen: dict[tuple[str, str], list[str]]) -> Counter[str]:
    """Read the ids in all objects of a bucket. `seen` has the ids of objects that were read before."""
    client = s3.client(8)
    entries = {}
    for page in client.get_paginator("list_objects_v2").paginate(Bucket=bucket):
        entries |= {(entry["Key"], entry["ETag"]): entry["Key"] for entry in page.get("Contents", [])}

    def read(of: tuple[str, str]) -> None:
        body = client.get_object(Bucket=bucket, Key=of[0])["Body"].read()
        text = gzip.decompress(body) if of[0].endswith(".gz") else body
        records = [json.loads(line) for line in text.splitlines() if line.strip()]
        # quixstreams and faucet wrap each record.
        seen[of] = [one.get("_value", one.get("value", one))["quote_id"] for one in records]

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(read, [one for one in entries if one not in seen]))
    return Counter(quote_id for one in entries for quote_id in seen[one])


def table_ids(big: BigQuery, table: str) -> Counter[str]:
    """Read how often each quote is in a table; none if the table or its columns do not exist yet."""
    from google.api_core.exceptions import ClientError

    try:
        return Counter(dict(big.rows(f"SELECT quote_id, COUNT(*) FROM {table} GROUP BY quote_id")))
    except ClientError:
        return Counter()


class ToBucket(System):
    """A system that writes objects."""

    def prepare(self) -> None:
        self.bucket = self.label
        self.seen: dict[tuple[str, str], list[str]] = {}
        self.place.s3.client().create_bucket(Bucket=self.bucket)

    def ids(self) -> Counter[str]:
        return bucket_ids(self.place.s3, self.bucket, self.seen)


class ToTable(System):
    """A system that writes rows."""

    table: str

    def ids(self) -> Counter[str]:
        return table_ids(self.place.big, self.table)


class Program(System):
    """A separate program, by default in Python."""

    interpreter: tuple[str | Path, ...] = (VENV / "bin" / "python",)

    @classmethod
    def missing(cls) -> str | None:
        return None if VENV.exists() else "bench/.venv is missing: `make versus` installs it"

    def command(self) -> list[str | Path]:
        """Return its arguments."""
        raise NotImplementedError

    def start(self) -> None:
        self.home = self.place.folder / self.label
        self.home.mkdir(parents=True, exist_ok=True)
        self.before = 0.0
        self._spawn()

    def _spawn(self) -> None:
        with (self.home / "log.txt").open("ab") as log:
            self.child = subprocess.Popen(
                [*self.interpreter, *self.command()],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.home,
                env={
                    "PATH": os.environ["PATH"],
                    "HOME": str(self.home),
                    "TMPDIR": str(self.home),
                    "AWS_ACCESS_KEY_ID": "bench",
                    "AWS_SECRET_ACCESS_KEY": "bench",
                    "SESSION_TIMEOUT_MS": str(SESSION_MS),
                },
                start_new_session=True,
            )

    def kill(self) -> None:
        with suppress(BenchError):
            self.before = self.cpu()
        with suppress(ProcessLookupError):
            os.killpg(self.child.pid, signal.SIGKILL)
        self.child.wait()
        self._spawn()

    def restart_if_ended(self) -> None:
        if self.child.poll() is not None:
            self._spawn()

    def stop(self) -> None:
        end(self.child)

    def check(self) -> None:
        """Fail if it has ended by itself."""
        if self.child.poll() is not None:
            text = (self.home / "log.txt").read_text(errors="replace")
            raise BenchError(f"{self.name} ended by itself: {text.strip().splitlines()[-1:] or ['it says nothing']}")

    def cpu(self) -> float:
        self.check()
        return self.before + cpu_seconds(self.child.pid)

    def memory(self) -> float:
        self.check()
        return memory_mb(self.child.pid)


class Lambda(System):
    """One of our functions. This program is its trigger, which AWS would run and whose CPU is not counted."""

    executable: str

    def variables(self) -> dict[str, str]:
        """Return its environment."""
        raise NotImplementedError

    def start(self) -> None:
        self.before, self.most = 0.0, 0.0
        self.is_stopping = threading.Event()
        self._function()
        self.trigger = threading.Thread(target=self._run, daemon=True)
        self.trigger.start()

    def _function(self) -> None:
        program = self.place.programs.functions[self.executable]
        self.function = Function(program, self.place.folder / self.label, timeout_s=60, **self.variables())
        self.function.__enter__()

    def _run(self) -> None:
        while not self.is_stopping.is_set():
            # Records that were read and not committed are forgotten, as when the trigger itself is replaced.
            with suppress(BenchError):
                self.session()

    def session(self) -> None:
        """Read, invoke, commit, until it is stopped or the function dies."""
        raise NotImplementedError

    def invoke(self, event: bytes) -> Any:
        """Invoke the function. A dead one is replaced, and the event's records are read again."""
        function = self.function
        try:
            answer = function.invoke(event)
        except BenchError:
            if function.child.poll() is None:
                raise
            function.__exit__()
            self._function()
            raise
        return answer.body

    def kill(self) -> None:
        self.before = self.cpu()
        with suppress(ProcessLookupError):
            self.function.child.kill()

    def stop(self) -> None:
        self.is_stopping.set()
        self.trigger.join()
        self.function.__exit__()

    def cpu(self) -> float:
        with suppress(OSError):
            return self.before + self.function.cpu()
        return self.before

    def memory(self) -> float:
        with suppress(OSError):
            self.most = max(self.most, memory_mb(self.function.pid))
        return self.most


class ArchiveQuotes(Lambda, ToBucket):
    """archive-quotes behind a Kafka trigger of 100 records or 500 ms, AWS's defaults."""

    name = "Quoteflow: archive-quotes"
    executable = "archive-quotes"
    settings = 2
    records, window_s = 100, 0.5

    def prepare(self) -> None:
        super().prepare()
        self.place.s3.client().create_bucket(Bucket=f"{self.label}-quarantine")

    def variables(self) -> dict[str, str]:
        return {
            "AWS_ENDPOINT_URL": self.place.s3.url,
            "BRONZE_BUCKET": self.bucket,
            "QUARANTINE_BUCKET": f"{self.bucket}-quarantine",
        }

    def session(self) -> None:
        from confluent_kafka import Consumer

        options = {"bootstrap.servers": self.place.kafka, "group.id": self.label, "auto.offset.reset": "earliest"}
        consumer = Consumer(options | {"enable.auto.commit": False, "session.timeout.ms": SESSION_MS})
        consumer.subscribe([self.topic])
        try:
            while not self.is_stopping.is_set():
                batch = consumer.consume(1, 0.2)
                if not batch:
                    continue
                until = time.monotonic() + self.window_s
                while len(batch) < self.records and (left := until - time.monotonic()) > 0:
                    batch += consumer.consume(self.records - len(batch), left)
                by_partition: dict[int, list[Any]] = {}
                for one in batch:
                    by_partition.setdefault(one.partition(), []).append(one)
                records = {
                    f"{self.topic}-{number}": json.loads(event_of(ones))["records"]["stock-quotes-0"]
                    for number, ones in by_partition.items()
                }
                for number, ones in records.items():
                    for one in ones:
                        one["partition"] = int(number.rpartition("-")[2])
                event = {"eventSource": "aws:kafka", "bootstrapServers": "b-1:9092", "records": records}
                self.invoke(json.dumps(event).encode())
                consumer.commit(asynchronous=False)
        finally:
            consumer.close()


def event_of(ones: list[Any]) -> bytes:
    """Create the trigger's event for records of one partition."""
    messages = [Message(one.key().decode(), one.timestamp()[1] // 1000, "", one.value()) for one in ones]
    return kafka_event(messages, ones[0].offset())


class ArchiveQuotesInBatches(ArchiveQuotes):
    """archive-quotes with one object for the quotes of a partition in an event, and larger events."""

    name = "Quoteflow: archive-quotes, OBJECT_LAYOUT=batch"
    settings = 3
    # Lambda's largest event is 6 MB.
    records = 3000

    def variables(self) -> dict[str, str]:
        return super().variables() | {"OBJECT_LAYOUT": "batch"}


class PlainConsumer(Program, ToBucket):
    """The user's own method for the bucket."""

    name = "a Python consumer, one put_object a message"
    settings = len(inspect.getsource(plain.consumer).splitlines()) + len(
        inspect.getsource(plain.s3_client).splitlines()
    )

    def command(self) -> list[str | Path]:
        return [HERE / "plain.py", "consumer", self.place.kafka, self.topic, self.label, self.place.s3.url, self.bucket]


class QuixObjects(Program, ToBucket):
    """quixstreams' S3 file sink with its defaults."""

    name = "quixstreams 3.28.1, S3FileSink, as it comes"
    kind = "default"
    settings = len(inspect.getsource(others.quix_objects).splitlines()) + 10

    def command(self) -> list[str | Path]:
        command = [HERE / "others.py", "quix-objects", self.place.kafka, self.topic, self.label]
        return [*command, self.place.s3.url, self.bucket, self.kind]


class QuixObjectsTuned(QuixObjects):
    """quixstreams' S3 file sink for throughput."""

    name = "quixstreams 3.28.1, S3FileSink, commits each 10 s, gzip"
    kind = "throughput"


class Faucet(Program, ToBucket):
    """faucet-cli with the settings of its examples for Kafka and S3, started again by a shell when it has ended."""

    name = "faucet-cli 1.0.1, Kafka → S3, pages of 1,000 records"
    interpreter = ("sh", "-c", 'while :; do "$0" run "$1"; done')
    settings = len(inspect.getsource(others.faucet_objects).splitlines()) - 5
    page = 1000

    @classmethod
    def missing(cls) -> str | None:
        install = "cargo install faucet-cli@1.0.1 --locked --no-default-features --features source-kafka,sink-s3"
        return None if shutil.which("faucet") else f"`faucet` is not in the PATH: `{install}`"

    def command(self) -> list[str | Path]:
        place, file = self.place, self.home / "faucet.yaml"
        file.write_text(
            others.faucet_objects(place.kafka, self.topic, self.label, place.s3.url, self.bucket, self.page)
        )
        return [shutil.which("faucet") or "faucet", file]

    def cpu(self) -> float:
        self.check()
        return self.before + children_cpu_seconds(self.child.pid) + ended_children_cpu_seconds(self.child.pid)

    def memory(self) -> float:
        self.check()
        children = Path(f"/proc/{self.child.pid}/task/{self.child.pid}/children").read_text().split()
        return max((memory_mb(int(child)) for child in children), default=0.0)


class FaucetSmallPages(Faucet):
    """faucet-cli with pages as small as the trigger's batches: a page is written when it is full."""

    name = "faucet-cli 1.0.1, Kafka → S3, pages of 100 records"
    page = 100


class LoadQuotes(Lambda, ToTable):
    """load-quotes behind a queue that delivers unacknowledged messages again."""

    name = "Quoteflow: load-quotes"
    executable = "load-quotes"
    settings = 1
    table = "stock.bronze_stock_quotes_raw"
    messages = 1000

    def prepare(self) -> None:
        new_bronze(self.place.big)
        self.place.s3.client().create_bucket(Bucket=self.label)
        self.queue: list[str] = []
        self.lock = threading.Lock()

    def variables(self) -> dict[str, str]:
        return {
            "AWS_ENDPOINT_URL": self.place.s3.url,
            "BIGQUERY_ENDPOINT": self.place.big.url,
            "BIGQUERY_PROJECT": self.place.big.project,
            "BIGQUERY_TIMEOUT_SECONDS": "50",
        }

    def offer(self, messages: list[Message]) -> None:
        keys = put_objects(self.place.s3, self.label, messages)
        with self.lock:
            self.queue += keys

    def session(self) -> None:
        while not self.is_stopping.is_set():
            with self.lock:
                keys = self.queue[: self.messages]
            if not keys:
                time.sleep(0.02)
                continue
            failed = {one["itemIdentifier"] for one in self.invoke(s3_event(self.label, keys))["batchItemFailures"]}
            with self.lock:
                again = [key for number, key in enumerate(keys) if f"m{number}" in failed]
                self.queue = again + self.queue[len(keys) :]


def put_objects(s3: S3, bucket: str, messages: list[Message]) -> list[str]:
    """Write quotes as archive-quotes does. Return their keys."""
    client = s3.client(8)
    keys = [f"{message.key}/{message.fetched_at}.json" for message in messages]
    with ThreadPoolExecutor(8) as pool:
        put = lambda pair: client.put_object(Bucket=bucket, Key=pair[0], Body=pair[1].value)  # noqa: E731
        list(pool.map(put, zip(keys, messages, strict=True)))
    return keys


class OfObjects(Program, ToTable):
    """A program that reads objects of a bucket."""

    def prepare(self) -> None:
        self.place.s3.client().create_bucket(Bucket=self.label)

    def offer(self, messages: list[Message]) -> None:
        put_objects(self.place.s3, self.label, messages)


class PlainLoader(OfObjects):
    """The user's own method for the table, run each second instead of each minute."""

    name = "a Python loader, one load a file, watermarks"
    settings = len(inspect.getsource(plain.loader).splitlines()) + len(inspect.getsource(plain.s3_client).splitlines())

    def prepare(self) -> None:
        super().prepare()
        self.table = f"stock.{self.label.replace('-', '_')}"
        self.place.big.rows(f"CREATE OR REPLACE TABLE {self.table} ({PLAIN_TABLE})")
        self.place.big.rows(f"CREATE OR REPLACE TABLE {self.table}_last_ts (symbol STRING, last_ts INT64)")

    def command(self) -> list[str | Path]:
        big = self.place.big
        return [HERE / "plain.py", "loader", big.url, big.project, self.table, self.place.s3.url, self.label, "1"]


class DltRows(OfObjects):
    """dlt from objects to rows, again each second."""

    name = "dlt 1.31.0, filesystem → bigquery, merge by quote_id"
    settings = len(inspect.getsource(others.dlt_rows).splitlines())

    def prepare(self) -> None:
        super().prepare()
        self.dataset = self.label.replace("-", "_")
        self.table = f"{self.dataset}.quotes"

    def command(self) -> list[str | Path]:
        big = self.place.big
        return [HERE / "others.py", "dlt-rows", self.place.s3.url, self.label, big.url, big.project, self.dataset, "1"]


class Source:
    """Publishes quotes to a topic, and offers them to systems that read objects."""

    def __init__(self, place: Place, topic: str, systems: list[System]) -> None:
        from confluent_kafka import Producer

        self.producer = Producer({"bootstrap.servers": place.kafka, "linger.ms": 0})
        self.topic, self.systems = topic, systems
        self.sent: dict[str, float] = {}

    def send(self, messages: list[Message]) -> None:
        """Publish and offer quotes."""
        for message in messages:
            self.sent[message.quote_id] = time.time()
            self.producer.produce(self.topic, message.value, message.key)
            self.producer.poll(0)
        self.producer.flush()
        for system in self.systems:
            system.offer(messages)


def measure_cpu(
    make: Callable[[str, str], System], place: Place, sizes: Iterable[int], count: int, label: str
) -> Iterator[tuple[str, float]]:
    """Send a system `count` quotes of each size at once. Yield records a CPU second after its start, and its memory."""
    topic = f"{label}-topic"
    system = make(topic, label)
    system.prepare()
    # The first records show that it is running. The CPU seconds until then are its start.
    Source(place, topic, [system]).send(quotes(50, size=250, since=1_700_000_000))
    system.start()
    try:
        wait_until(lambda: len(system.ids()) >= 50, f"record of {system.name}", pause=0.3)
        source = Source(place, topic, [system])
        for number, size in enumerate(sizes, 1):
            before = system.cpu()
            messages = quotes(count, size=size, since=1_700_000_000 + number * 100_000)
            for first in range(0, count, 500):
                source.send(messages[first : first + 500])
            # Polled seldom, because polling slows the store.
            come = lambda total=50 + number * count: len(system.ids()) >= total  # noqa: E731
            wait_until(come, f"last record of {system.name}", patience=240, pause=1)
            yield f"cpu_{size}", count / (system.cpu() - before)
        yield "memory_mb", system.memory()
    finally:
        system.stop()


def measure_latency(make: Callable[[str, str], System], place: Place, label: str) -> Iterator[tuple[str, float]]:
    """Send 10 quotes a second and look for each in the store. The figure includes the time of the look-up."""
    topic = f"{label}-topic"
    system = make(topic, label)
    system.prepare()
    source = Source(place, topic, [system])
    source.send(quotes(5, since=1_700_000_000))
    system.start()
    try:
        wait_until(lambda: len(system.ids()) >= 5, f"record of {system.name}", pause=0.3)
        source.sent.clear()
        count = 150
        came: dict[str, float] = {}

        def send() -> None:
            for number in range(count):
                source.send([quote(number, 500, 250, time.time())])
                time.sleep(0.1)

        sender = threading.Thread(target=send)
        sender.start()
        deadline = time.monotonic() + 120
        while len(came) < count and time.monotonic() < deadline:
            ids = system.ids()
            now = time.time()
            for quote_id in ids:
                if quote_id in source.sent:
                    came.setdefault(quote_id, now)
            time.sleep(0.05)
        sender.join()
        if len(came) < count:
            raise BenchError(f"{count - len(came)} of {count} records of {system.name} are missing after two minutes")
        took = [(at - source.sent[quote_id]) * 1000 for quote_id, at in came.items()]
        yield "p50_ms", percentile(took, 0.5)
        yield "p99_ms", percentile(took, 0.99)
    finally:
        system.stop()


def kill_rounds(kinds: list[type[System]], place: Place, rounds: int, name: str) -> dict[str, dict[str, int]]:
    """Run all systems on one stream of quotes and kill each at random moments. Return the lost and duplicate quotes."""
    topic = f"{name}-kill"
    systems = [kind(place, topic, f"{name}-kill-{number}") for number, kind in enumerate(kinds)]
    source = Source(place, topic, systems)
    is_over = threading.Event()
    for system in systems:
        system.prepare()

    def send() -> None:
        number = 0
        while not is_over.is_set():
            source.send([quote(number + more, 500, 250, time.time()) for more in range(10)])
            number += 10
            is_over.wait(0.2)

    found: dict[str, dict[str, int]] = {}
    running: list[System] = []
    try:
        for system in systems:
            system.start()
            running.append(system)
        sender = threading.Thread(target=send)
        sender.start()
        time.sleep(place.size(15, 5))
        done = Counter[str]()
        while min(done[system.label] for system in systems) < rounds:
            time.sleep(random.uniform(0.2, place.size(2, 1)))
            for system in systems:
                system.restart_if_ended()
            system = random.choice([one for one in systems if done[one.label] < rounds])
            with suppress(BenchError):
                system.kill()
            done[system.label] += 1
        is_over.set()
        sender.join()
        expected = set(source.sent)
        for system in systems:
            # Until nothing has arrived for twice the longest commit interval. Missing quotes are lost then.
            counts, still, patience = system.ids(), time.monotonic(), place.size(60, 10)
            while set(counts) < expected and time.monotonic() - still < patience:
                time.sleep(0.5)
                system.restart_if_ended()
                if (now := system.ids()) != counts:
                    counts, still = now, time.monotonic()
            found[system.name] = {
                "sent": len(expected),
                "lost": len(expected - set(counts)),
                "doubled": sum(count - 1 for quote_id, count in counts.items() if quote_id in expected),
            }
    finally:
        is_over.set()
        for system in running:
            with suppress(BenchError, OSError):
                system.stop()
    return found


OBJECTS: list[type[System]] = [
    ArchiveQuotes,
    ArchiveQuotesInBatches,
    PlainConsumer,
    QuixObjects,
    QuixObjectsTuned,
    Faucet,
    FaucetSmallPages,
]
ROWS: list[type[System]] = [LoadQuotes, PlainLoader, DltRows]
NOT_RUN: list[tuple[str, str]] = [
    (
        "quixstreams' BigQuerySink",
        "the stand-in for BigQuery answers its insertAll with an internal error: it does not take whole numbers as "
        "text, which is how Google's client writes them",
    ),
]
"""Systems that could not be run, each with the reason."""


def table(result: dict[str, Any]) -> str:
    """Return the table of `make versus`."""
    head = "| system | records of 250 B a CPU second | of 1.2 kB | p50 | p99 | memory | lost | doubled | lines |"
    lines = [report.origin(result), ""]
    for title, kind in (("Kafka → objects", "objects"), ("→ rows", "rows")):
        lines += [f"**{title}**", "", head, "|---|---|---|---|---|---|---|---|---|"]
        for one in result["systems"]:
            if one["kind"] != kind:
                continue

            def cell(name: str, unit: str, one: dict[str, Any] = one) -> str:
                return f"{report.number(one[name])}{unit}" if name in one else "–"

            lost = f"{one['lost']} of {one['sent']}" if "lost" in one else "–"
            doubled = str(one.get("doubled", "–"))
            cells = [one["system"], cell("cpu_250", ""), cell("cpu_1200", ""), cell("p50_ms", " ms")]
            cells += [cell("p99_ms", " ms"), cell("memory_mb", " MB"), lost, doubled, str(one["settings"])]
            lines.append("| " + " | ".join(cells) + " |")
        lines.append("")
    troubles = [f"{one['system']}: {trouble}" for one in result["systems"] for trouble in one["troubles"]]
    troubles += [f"{name}: {reason}" for name, reason in result["not_run"]]
    if troubles:
        lines += ["Not measured:", "", *(f"- {trouble}" for trouble in troubles)]
    return "\n".join(lines).rstrip()


def main() -> int:
    """Measure, print, and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--short", action="store_true", help="seconds instead of minutes; writes nothing")
    parser.add_argument("--only", help="only systems whose names contain this text; writes nothing")
    options = parser.parse_args()
    end_on_sigterm()
    here, begun = machine(), time.monotonic()
    systems: list[dict[str, Any]] = []
    not_run = list(NOT_RUN)
    with tempfile.TemporaryDirectory(prefix="quoteflow-versus-") as name:
        folder = Path(name)
        try:
            functions = [one.executable for one in OBJECTS + ROWS if issubclass(one, Lambda)]
            programs = Executables.of_tests() if options.short else Executables.packaged(folder, functions)
        except BenchError as error:
            sys.exit(f"error: {error}")
        for kind, kinds in (("objects", OBJECTS), ("rows", ROWS)):
            if options.only:
                kinds = [one for one in kinds if options.only in one.name]
            not_run += [(one.name, reason) for one in kinds if (reason := one.missing())]
            kinds = [one for one in kinds if not one.missing()]
            systems += compare(kind, kinds, folder / kind, programs, short=options.short)
    result = {
        "machine": here,
        "command": "make versus",
        "executables": f"ours: {programs.profile}",
        "minutes": round((time.monotonic() - begun) / 60, 1),
        "systems": systems,
        "not_run": not_run,
    }
    print("\n" + table(result))
    ours = [one for one in systems if one["system"].startswith("Quoteflow")]
    failed = any(one["troubles"] or one.get("lost") or (one.get("doubled") and one["kind"] == "rows") for one in ours)
    if not options.short and not options.only:
        path = report.write_json("versus", result)
        report.put_into_document("versus", table(result))
        print(f"\n{path.relative_to(ROOT)}")
    return 1 if failed else 0


def compare(
    kind: str, kinds: list[type[System]], folder: Path, programs: Executables, *, short: bool
) -> list[dict[str, Any]]:
    """Compare systems of one kind."""
    found = [{"kind": kind, "system": one.name, "settings": one.settings, "troubles": []} for one in kinds]
    with ExitStack() as stack:
        s3 = stack.enter_context(s3_server(folder, stand_in=short))
        labels = [f"{kind}-{number}" for number in range(len(kinds))]
        topics = [f"{label}-{step}-topic:3" for label in labels for step in ("cpu", "lat")] + [f"{kind}-kill:3"]
        address = stack.enter_context(kafka(programs.programs, folder, " ".join(topics)))
        big = stack.enter_context(bigquery_server(folder))
        place = Place(folder, programs, s3, address, big, short=short)
        for one, system, label in zip(found, kinds, labels, strict=True):
            measure(one, system, place, label)
        runs = [system for one, system in zip(found, kinds, strict=True) if "cpu_250" in one]
        try:
            killed = kill_rounds(runs, place, 2 if short else 20, kind) if runs else {}
        except BenchError as error:
            found[0]["troubles"].append(f"kill -9: {error}")
            killed = {}
        for one in found:
            one |= killed.get(one["system"], {})
            print(f"{one['system']}: {killed.get(one['system'])}", flush=True)
        shutil.copytree(folder, ROOT / "target" / "versus" / kind, dirs_exist_ok=True, ignore=lambda *_: {"seaweedfs"})
    return found


def measure(one: dict[str, Any], system: type[System], place: Place, label: str) -> None:
    """Measure one system and note its figures, or why it could not be measured."""

    def make(topic: str, name: str) -> System:
        return system(place, topic, name)

    count = place.size(3000 if one["kind"] == "objects" else 2000, 50)
    # One load a file is so slow that fewer files give the same result.
    count = min(count, 150) if system is PlainLoader else count
    sizes = (250,) if place.short else (250, 1200)
    steps: dict[str, Iterator[tuple[str, float]]] = {"CPU": measure_cpu(make, place, sizes, count, f"{label}-cpu")}
    if not place.short:
        steps["latency"] = measure_latency(make, place, f"{label}-lat")
    for step, measured in steps.items():
        try:
            for name, value in measured:
                one[name] = value
                print(f"{one['system']}: {name} {report.number(value)}", flush=True)
        except Exception as error:
            if not isinstance(error, BenchError):
                traceback.print_exc()
            one["troubles"].append(f"{step}: {error}")
            print(f"{one['system']}: {step}: {error}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
