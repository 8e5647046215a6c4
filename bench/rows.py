"""The rows of `make bench`. Each measures one thing and yields its figures."""

from __future__ import annotations

import gzip
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

from kit import (
    ACCESS,
    FUNCTIONS,
    ROOT,
    S3,
    BenchError,
    BigQuery,
    Executables,
    Function,
    Message,
    OpenRowError,
    bigquery_server,
    cpu_seconds,
    kafka,
    kafka_event,
    memory_mb,
    new_bronze,
    percentile,
    process,
    quote,
    quotes,
    s3_event,
    s3_server,
    wait_until,
)

FEDERATED = (
    '{"type":"external_account","audience":"a","subject_token_type":"urn:ietf:params:aws:token-type:aws4_request",'
)
FEDERATED += '"token_url":"http://127.0.0.1:1","credential_source":{"environment_id":"aws1"}}'
GOOGLE = {"BIGQUERY_PROJECT": "project", "GOOGLE_CREDENTIALS_JSON": FEDERATED}
STARTS = {
    "archive-quotes": {"BRONZE_BUCKET": "bronze", "QUARANTINE_BUCKET": "quarantine"},
    "fetch-quotes": {"FINNHUB_API_KEY": "marked"},
    "load-quotes": GOOGLE,
    "reconcile-quotes": {**GOOGLE, "BRONZE_BUCKET": "bronze", "ARCHIVED_QUEUE_URL": "https://sqs/1/q"},
    "serve-dashboard": GOOGLE,
}
"""The variables that each function needs to start in the cloud."""
BUCKETS = {"BRONZE_BUCKET": "bronze", "QUARANTINE_BUCKET": "quarantine"}


@dataclass
class Figure:
    """One figure: what it is, its unit, and its goal, if any."""

    what: str
    value: float | None
    unit: str
    at_most: float | None = None
    at_least: float | None = None
    note: str = ""

    @property
    def is_met(self) -> bool | None:
        """Whether the goal is met; `None` without a goal or a measured value."""
        if self.value is None or (self.at_most is None and self.at_least is None):
            return None
        below = self.at_most is None or self.value <= self.at_most
        return below and (self.at_least is None or self.value >= self.at_least)


@dataclass
class Bench:
    """The rows' parameters: their folder, their programs, and whether they are short."""

    folder: Path
    programs: Executables
    short: bool

    def size(self, full: int, short: int) -> int:
        """Return how much to measure."""
        return short if self.short else full


def start_figures(
    bench: Bench, name: str, milliseconds: list[float], resident: list[float], cpu: list[float]
) -> Iterator[Figure]:
    """Compare a function's starts and its zip with their goals."""
    yield Figure(f"{name}: start, p50", percentile(milliseconds, 0.5), "ms", at_most=12)
    yield Figure(f"{name}: start, p99", percentile(milliseconds, 0.99), "ms", at_most=20)
    yield Figure(f"{name}: start, CPU", percentile(cpu, 0.5), "ms")
    yield Figure(f"{name}: memory when ready", max(resident), "MB", at_most=15)
    if name in bench.programs.zips:
        yield Figure(f"{name}: zip", bench.programs.zips[name].stat().st_size / 1e6, "MB", at_most=4)


def row_1_start(bench: Bench) -> Iterator[Figure]:
    """Measure starts: from exec to the first request for an event."""
    medians = []
    with kafka(bench.programs.programs, bench.folder / "start") as address:
        for name in FUNCTIONS:
            variables = STARTS[name] | ({"KAFKA_BOOTSTRAP_SERVERS": address} if name == "fetch-quotes" else {})
            milliseconds, resident, cpu = [], [], []
            for _ in range(bench.size(50, 2)):
                with Function(bench.programs.functions[name], bench.folder / "start" / name, **variables) as function:
                    milliseconds.append(function.start_seconds * 1000)
                    resident.append(memory_mb(function.pid, "VmRSS"))
                    cpu.append(function.cpu() * 1000)
            medians.append(percentile(milliseconds, 0.5))
            yield from start_figures(bench, name, milliseconds, resident, cpu)
    shutil.copy(Path(__file__).parent / "python_handler.py", bench.folder / "python_handler.py")
    python = []
    for _ in range(bench.size(10, 1)):
        command = [sys.executable, "-m", "awslambdaric", "python_handler.handler"]
        variables = {"PYTHONPATH": str(bench.folder), "LAMBDA_TASK_ROOT": str(bench.folder)}
        with Function(command, bench.folder / "start" / "python", **variables) as function:
            python.append(function.start_seconds * 1000)
    median = percentile(python, 0.5)
    yield Figure("a Python handler that imports boto3 and confluent_kafka: start, p50", median, "ms")
    yield Figure("Python's start ÷ that of the slowest function", median / max(medians), "×", at_least=25)


def row_2_record_to_object(bench: Bench) -> Iterator[Figure]:
    """Measure from the sending of a record to its object, through a trigger with a window of 0 and of 500 ms."""
    from confluent_kafka import Consumer, Producer

    for window_ms in (0, 500):
        folder = bench.folder / f"latency-{window_ms}"
        with s3_server(folder, stand_in=bench.short) as s3, kafka(bench.programs.programs, folder) as address:
            client = s3.client()
            for bucket in BUCKETS.values():
                client.create_bucket(Bucket=bucket)
            variables = {"AWS_ENDPOINT_URL": s3.url, **BUCKETS}
            with Function(bench.programs.functions["archive-quotes"], folder, **variables) as function:
                options = {"bootstrap.servers": address, "group.id": "bench", "auto.offset.reset": "earliest"}
                consumer = Consumer(options | {"enable.auto.commit": False, "fetch.wait.max.ms": 100})
                consumer.subscribe(["stock-quotes"])
                while not consumer.assignment():
                    consumer.poll(0.05)
                producer = Producer({"bootstrap.servers": address, "linger.ms": 0, "acks": "all"})
                count = bench.size(300, 10)
                sent: list[float] = []
                took: list[float] = []

                def invoke(batch: list[Any], function: Function = function) -> None:
                    records = [
                        Message(one.key().decode(), one.timestamp()[1] // 1000, "", one.value()) for one in batch
                    ]
                    function.invoke(kafka_event(records, batch[0].offset()))

                # The first record waits until the producer, the trigger and the function have their connections.
                first = quote(0, 500, 250, time.time())
                producer.produce("stock-quotes", first.value, first.key, partition=0)
                producer.flush()
                if not (batch := consumer.consume(1, 10)):
                    raise BenchError("the trigger did not get the first record within 10 s")
                invoke(batch)

                def send(producer: Any = producer, count: int = count, sent: list[float] = sent) -> None:
                    for number in range(count):
                        message = quote(number + 1, 500, 250, time.time())
                        sent.append(time.perf_counter())
                        producer.produce("stock-quotes", message.value, message.key, partition=0)
                        producer.poll(0)
                        time.sleep(0.02)
                    producer.flush()

                sender = threading.Thread(target=send)
                sender.start()
                while len(took) < count:
                    if not (batch := consumer.consume(1, 10)):
                        raise BenchError(f"the trigger got no record within 10 s; it had {len(took)} of {count}")
                    until = time.perf_counter() + window_ms / 1000
                    while len(batch) < 100 and (left := until - time.perf_counter()) > 0:
                        batch += consumer.consume(100 - len(batch), left)
                    invoke(batch)
                    end = time.perf_counter()
                    took += [(end - sent[one.offset() - 1]) * 1000 for one in batch]
                sender.join()
                consumer.close()
        goal = {"at_most": 40} if window_ms == 0 else {}
        note = f"on {s3.name}"
        yield Figure(f"window of {window_ms} ms: p50", percentile(took, 0.5), "ms", note=note, **goal)
        goal = {"at_most": 100} if window_ms == 0 else {}
        yield Figure(f"window of {window_ms} ms: p99", percentile(took, 0.99), "ms", note=note, **goal)


def ceiling(bench: Bench, s3: S3, count: int, prefix: str) -> tuple[float, str, float]:
    """Write objects with only the functions' client. Return the best rate, its concurrency, and CPU seconds a PUT."""
    program = bench.programs.examples / "put_objects"
    at_once = ["16", "32", "64"] if not bench.short else ["16"]
    command = [program, "bronze", prefix, str(count), "250", *at_once]
    environment = {**ACCESS, "AWS_ENDPOINT_URL": s3.url}
    ran = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if ran.returncode:
        raise BenchError(f"put_objects: {ran.stderr[-300:]}")
    runs = [json.loads(line) for line in ran.stdout.splitlines()]
    best = max(runs, key=lambda run: run["objects"] / run["seconds"])
    return best["objects"] / best["seconds"], str(best["at_once"]), best["cpu_seconds"] / best["objects"]


def row_3_archive_per_quote(bench: Bench) -> Iterator[Figure]:
    """Compare archive-quotes, one object a quote, with the store's maximum and a plain Python consumer."""
    folder = bench.folder / "archive"
    with s3_server(folder, stand_in=bench.short) as s3, kafka(bench.programs.programs, folder) as address:
        client = s3.client()
        for bucket in (*BUCKETS.values(), "plain"):
            client.create_bucket(Bucket=bucket)
        variables = {"AWS_ENDPOINT_URL": s3.url, **BUCKETS}
        ours, tops, cpu, top_cpu = [], [], [], []
        events, size = bench.size(10, 1), 100
        with Function(bench.programs.functions["archive-quotes"], folder, **variables) as function:
            function.invoke(kafka_event(quotes(size, since=1_600_000_000)))
            # Alternately, so that other load on the machine affects both.
            for turn in range(bench.size(4, 1)):
                messages = quotes(events * size, since=1_700_000_000 + turn * 10_000)
                batches = [
                    kafka_event(messages[first : first + size], first) for first in range(0, len(messages), size)
                ]
                before, begun = function.cpu(), time.perf_counter()
                for event in batches:
                    answer = function.invoke(event).body
                    if answer["archived"] != size:
                        raise BenchError(f"archive-quotes stored not all: {answer}")
                ours.append(len(messages) / (time.perf_counter() - begun))
                cpu.append((function.cpu() - before) / len(messages))
                top, at_once, one = ceiling(bench, s3, events * size, f"ceiling/{turn}")
                tops.append(top)
                top_cpu.append(one)
            memory = memory_mb(function.pid)
        rate, top = statistics.median(ours), statistics.median(tops)
        note = f"on {s3.name}, 250 B, events of {size} records"
        yield Figure("quotes a second", rate, "/s", note=note)
        yield Figure(f"the store's own ceiling (the same client, {at_once} at once)", top, "/s", note=f"on {s3.name}")
        ratios = [mine / its for mine, its in zip(ours, tops, strict=True)]
        yield Figure("of the store's own ceiling", statistics.median(ratios), "×", at_least=0.9)
        mine = statistics.median(cpu) * 1000
        yield Figure("CPU a quote, reading the event included", mine, "ms", at_most=0.25)
        yield Figure("of that, the bare PUT by the same client", statistics.median(top_cpu) * 1000, "ms")
        yield Figure("most memory", memory, "MB")
        plain_rate, plain_cpu = plain_consumer(folder, s3, address, bench.size(1000, 20))
        yield Figure("a plain Python consumer: messages a second", plain_rate, "/s", note=f"on {s3.name}")
        yield Figure("a plain Python consumer: CPU a message", plain_cpu * 1000, "ms")
        yield Figure("the consumer's CPU ÷ archive-quotes'", plain_cpu * 1000 / mine, "×", at_least=20)


def plain_consumer(folder: Path, s3: S3, address: str, count: int) -> tuple[float, float]:
    """Let the plain consumer write `count` messages. Return messages a second and CPU seconds a message."""
    from confluent_kafka import Producer

    producer = Producer({"bootstrap.servers": address})
    for message in quotes(count, since=1_700_000_000):
        producer.produce("stock-quotes", message.value, message.key)
        producer.poll(0)
    producer.flush()
    client = s3.client()

    def written() -> int:
        pages = client.get_paginator("list_objects_v2").paginate(Bucket="plain")
        return sum(page["KeyCount"] for page in pages)

    command = [sys.executable, Path(__file__).parent / "plain.py", "consumer", address, "stock-quotes", "plain"]
    with process([*command, s3.url, "plain"], folder / "plain") as child:
        # Its start and the group's first assignment do not count.
        wait_until(lambda: written() > 0, "object of the plain consumer")
        first, before, begun = written(), cpu_seconds(child.pid), time.perf_counter()
        wait_until(lambda: written() >= count, "last object of the plain consumer", pause=0.1)
        seconds, cpu = time.perf_counter() - begun, cpu_seconds(child.pid) - before
    done = max(1, count - first)
    return done / seconds, cpu / done


def row_4_archive_batch(bench: Bench) -> Iterator[Figure]:
    """Measure archive-quotes with OBJECT_LAYOUT=batch: quotes a CPU second."""
    folder = bench.folder / "batch"
    with s3_server(folder, stand_in=bench.short) as s3:
        for bucket in BUCKETS.values():
            s3.client().create_bucket(Bucket=bucket)
        # As many as fit into an event's 6 MB.
        for size, records, goal in ((250, 10_000, 350_000), (1200, 3000, 120_000)):
            count = bench.size(records, 50)
            messages = quotes(count, size=size, since=1_700_000_000)
            for compression in ("gzip", "zstd"):
                variables = {"OBJECT_LAYOUT": "batch", "OBJECT_COMPRESSION": compression}
                own = {"AWS_ENDPOINT_URL": s3.url, **BUCKETS, **variables}
                with Function(bench.programs.functions["archive-quotes"], folder, **own) as function:
                    first = 10_000_000 * size + (compression == "zstd") * 5_000_000
                    function.invoke(kafka_event(messages, first))
                    refuse_objects_of_one_quote(s3)
                    turns = bench.size(10, 1)
                    before = function.cpu()
                    for turn in range(1, turns + 1):
                        answer = function.invoke(kafka_event(messages, first + turn * count)).body
                        if answer["archived"] != count:
                            raise BenchError(f"archive-quotes stored not all: {answer}")
                    rate = turns * count / (function.cpu() - before)
                    memory = memory_mb(function.pid)
                yield Figure(f"{size} B, {compression}: quotes a CPU second", rate, "", at_least=goal)
                yield Figure(f"{size} B, {compression}: most memory", memory, "MB", note=f"events of {count} records")


def refuse_objects_of_one_quote(s3: S3) -> None:
    """Check that archive-quotes has written batches."""
    if not s3.client().list_objects_v2(Bucket="bronze", Prefix="batches/", MaxKeys=1).get("KeyCount"):
        raise OpenRowError("archive-quotes knows no OBJECT_LAYOUT=batch")


def week(first: int, count: int) -> list[Message]:
    """Create quotes of 500 symbols, one a minute of five trading days each, from the `first`th on."""
    found = []
    for number in range(first, first + count):
        day, minute = divmod(number // 500, 390)
        found.append(quote(number, 500, 250, 1_699_885_800 + day * 86_400 + minute * 60))
    return found


def row_6_replay(bench: Bench) -> Iterator[Figure]:
    """Load a week of 500 symbols from batch objects into bronze, and a part of it again."""
    folder = bench.folder / "replay"
    total, size = bench.size(975_000, 200), bench.size(10_000, 100)
    with s3_server(folder, stand_in=bench.short) as s3, bigquery_server(folder) as big:
        for bucket in BUCKETS.values():
            s3.client().create_bucket(Bucket=bucket)
        own = {"AWS_ENDPOINT_URL": s3.url, **BUCKETS, "OBJECT_LAYOUT": "batch", "OBJECT_COMPRESSION": "zstd"}
        with Function(bench.programs.functions["archive-quotes"], folder, **own) as function:
            for first in range(0, total, size):
                function.invoke(kafka_event(week(first, min(size, total - first)), first))
        refuse_objects_of_one_quote(s3)
        pages = s3.client().get_paginator("list_objects_v2").paginate(Bucket="bronze")
        keys = [entry["Key"] for page in pages for entry in page.get("Contents", [])]
        variables = {
            "AWS_ENDPOINT_URL": s3.url,
            "BIGQUERY_ENDPOINT": big.url,
            "BIGQUERY_PROJECT": big.project,
            "BIGQUERY_TIMEOUT_SECONDS": "120",
        }
        step = max(1, len(keys) // 20)
        memory, seconds = [], 0.0
        with Function(bench.programs.functions["load-quotes"], folder, timeout_s=300, **variables) as function:
            before = function.cpu()
            for first in range(0, len(keys), step):
                answer = function.invoke(s3_event("bronze", keys[first : first + step]))
                seconds += answer.seconds
                memory.append(memory_mb(function.pid))
                if answer.body["batchItemFailures"]:
                    raise BenchError(f"load-quotes failed for {len(answer.body['batchItemFailures'])} messages")
            cpu = (function.cpu() - before) / total
            function.invoke(s3_event("bronze", keys[:step]))
        rows = big.rows("SELECT COUNT(*), COUNT(DISTINCT quote_id) FROM stock.bronze_stock_quotes_raw")[0]
        # The week is of 2023.
        dbt = Dbt(bench, big, "stock", is_bounded=False)
        settling, reading = dbt.run(), statistics.median(dbt.read("gold_kpi") for _ in range(3))
        # A MERGE takes longer the more rows the table has. During the replay it has half of them on average.
        sql = merge_statement(big.project)
        full = merge_directly(big, sql, week(total, size))
        new_bronze(big)
        alone = (full + merge_directly(big, sql, week(0, size))) / 2
    note = f"{total:,} quotes in {len(keys)} objects, {big.name}"
    yield Figure("quotes a second", total / seconds, "/s", note=note)
    yield Figure("of the stand-in's own rate for the MERGE alone", alone / size / (seconds / total), "×", at_least=0.8)
    yield Figure("CPU a quote", cpu * 1e6, "µs")
    yield Figure("most memory", memory[-1], "MB", at_most=256)
    yield Figure(
        "memory at the end ÷ after half of the events", memory[-1] / memory[(len(memory) - 1) // 2], "×", at_most=1.2
    )
    yield Figure("rows too few, after a part was loaded twice", total - rows[1], "", at_most=0)
    yield Figure("rows too many, after a part was loaded twice", rows[0] - rows[1], "", at_most=0)
    yield Figure("then dbt's run, which settles the week", settling, "s")
    yield Figure("then gold_kpi's read, median of 3", reading * 1000, "ms")


def merge_statement(project: str) -> str:
    """Return the MERGE that load-quotes sends."""
    program = ROOT / "target/debug/examples/statements"
    if not program.exists():
        raise BenchError(f"{program} is missing; run: make bench")
    variables = {"BIGQUERY_PROJECT": project, "BIGQUERY_DATASET": "stock"}
    printed = subprocess.run([program], env=variables, capture_output=True, check=True).stdout
    return next(one["sql"] for one in json.loads(printed) if one["name"] == "the MERGE into bronze")


def merge_directly(big: BigQuery, sql: str, messages: list[Message]) -> float:
    """Send only the MERGE that load-quotes sends. Return its seconds."""
    from google.cloud import bigquery

    rows = []
    for message in messages:
        row = json.loads(message.value)
        row.pop("note", None)
        day = time.strftime("%Y-%m-%d", time.gmtime(message.fetched_at))
        rows.append(row | {"object_key": f"{message.key}/{message.fetched_at}.json", "fetched_date": day})
    days = sorted({row["fetched_date"] for row in rows})
    parameters = [
        bigquery.ScalarQueryParameter("batch", "STRING", json.dumps(rows)),
        bigquery.ScalarQueryParameter("first_date", "DATE", days[0]),
        bigquery.ScalarQueryParameter("last_date", "DATE", days[-1]),
    ]
    client = big.client()
    begun = time.perf_counter()
    job = client.query(sql, job_config=bigquery.QueryJobConfig(query_parameters=parameters))
    job.result()
    seconds = time.perf_counter() - begun
    if job.num_dml_affected_rows != len(rows):
        raise BenchError(f"the MERGE inserted {job.num_dml_affected_rows} of {len(rows)} rows")
    return seconds


def write_objects(s3: S3, bucket: str, messages: list[Message]) -> list[str]:
    """Write quotes as archive-quotes does. Return their keys."""
    client = s3.client(16)
    keys = [f"{message.key}/{message.fetched_at}.json" for message in messages]

    def write(position: int) -> None:
        client.put_object(Bucket=bucket, Key=keys[position], Body=messages[position].value)

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(write, range(len(keys))))
    return keys


def row_5_load(bench: Bench) -> Iterator[Figure]:
    """Measure load-quotes: objects to rows of bronze."""
    folder = bench.folder / "load"
    with s3_server(folder, stand_in=bench.short) as s3, bigquery_server(folder) as big:
        sql = merge_statement(big.project)
        s3.client().create_bucket(Bucket="bronze")
        large = bench.size(10_000, 200)
        messages = quotes(large, since=1_700_000_000)
        keys = write_objects(s3, "bronze", messages)
        variables = {
            "AWS_ENDPOINT_URL": s3.url,
            "BIGQUERY_ENDPOINT": big.url,
            "BIGQUERY_PROJECT": big.project,
            "BIGQUERY_TIMEOUT_SECONDS": "60",
        }

        def load(function: Function, first: int, count: int) -> float:
            answer = function.invoke(s3_event("bronze", keys[first : first + count]))
            if answer.body["batchItemFailures"]:
                raise BenchError(f"load-quotes failed for {len(answer.body['batchItemFailures'])} messages")
            return answer.seconds

        step = bench.size(1000, 50)
        executable = bench.programs.functions["load-quotes"]
        with Function(executable, folder, timeout_s=300, **variables) as function:
            load(function, 0, 10)
            new_bronze(big)
            for count in (10, 100) if not bench.short else (10,):
                times = [load(function, large // 2 + turn * count, count) for turn in range(5)]
                rate = count / statistics.median(times)
                yield Figure(f"{count} objects a batch: quotes a second", rate, "/s", note=f"{s3.name}, {big.name}")
            ratios, rates, cpu = [], [], []
            for turn in range(bench.size(4, 1)):
                new_bronze(big)
                before = function.cpu()
                seconds = load(function, turn * step, step)
                cpu.append((function.cpu() - before) / step)
                new_bronze(big)
                alone = merge_directly(big, sql, messages[turn * step : (turn + 1) * step])
                rates.append(step / seconds)
                ratios.append(alone / seconds)
        yield Figure(f"{step} objects a batch: quotes a second", statistics.median(rates), "/s")
        what = f"{step} objects a batch: of the stand-in's own rate for the same MERGE"
        yield Figure(what, statistics.median(ratios), "×", at_least=0.8)
        what = "CPU a quote: GET, reading, encoding, the statement"
        yield Figure(what, statistics.median(cpu) * 1e6, "µs", at_most=20)
        new_bronze(big)
        with Function(executable, folder, timeout_s=300, **variables) as function:
            seconds = load(function, 0, large)
            memory = memory_mb(function.pid)
        rows = big.rows("SELECT COUNT(*), COUNT(DISTINCT quote_id) FROM stock.bronze_stock_quotes_raw")[0]
        if rows != (large, large):
            raise BenchError(f"bronze has {rows[0]} rows of {rows[1]} quotes in place of {large}")
        yield Figure(f"{large:,} objects in one event: most memory", memory, "MB", at_most=128)
        yield Figure(f"{large:,} objects in one event: quotes a second", large / seconds, "/s")
        plain = plain_loader(folder, s3, big, bench.size(60, 3))
        yield Figure("a loader with one load a file: files a second", plain, "/s", note=f"on {big.name}")
        what = f"load-quotes with {step} objects a batch ÷ one load a file"
        yield Figure(what, statistics.median(rates) / plain, "×", at_least=10)


PLAIN_TABLE = """c FLOAT64, d FLOAT64, dp FLOAT64, h FLOAT64, l FLOAT64, o FLOAT64, pc FLOAT64, t INT64, symbol STRING,
fetched_at INT64, quote_id STRING, note STRING"""


def plain_loader(folder: Path, s3: S3, big: BigQuery, files: int) -> float:
    """Let the plain loader load some files. Return files a second."""
    big.rows(f"CREATE OR REPLACE TABLE stock.plain ({PLAIN_TABLE})")
    big.rows("CREATE OR REPLACE TABLE stock.plain_last_ts (symbol STRING, last_ts INT64)")

    def loaded() -> int:
        return big.rows("SELECT COUNT(*) FROM stock.plain")[0][0]

    command = [
        sys.executable,
        Path(__file__).parent / "plain.py",
        "loader",
        big.url,
        big.project,
        "stock.plain",
        s3.url,
    ]
    with process([*command, "bronze", "60"], folder / "plain-loader"):
        first = wait_until(loaded, "row of the plain loader", pause=0.1)
        begun = time.perf_counter()
        last = wait_until(lambda: (now := loaded()) >= files and now, "last row of the plain loader", pause=0.2)
        return (last - first) / (time.perf_counter() - begun)


class Finnhub:
    """A server with Finnhub's API whose answers take a known time. It notes when each was sent."""

    def __init__(self, delay_s: float) -> None:
        import asyncio

        self.delay_s = delay_s
        self.sent: list[float] = []
        self._loop = asyncio.new_event_loop()
        ready = threading.Event()

        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            with suppress(asyncio.IncompleteReadError, ConnectionError):
                while True:
                    head = await reader.readuntil(b"\r\n\r\n")
                    is_status = b"market-status" in head.split(b"\r\n", 1)[0]
                    now = int(time.time())
                    body = json.dumps(
                        {"exchange": "US", "holiday": None, "isOpen": True, "session": "regular", "t": now}
                        if is_status
                        else {"c": 100.5, "d": 1.5, "dp": 1.5, "h": 101.0, "l": 99.0, "o": 99.5, "pc": 99.0, "t": now}
                    ).encode()
                    await asyncio.sleep(self.delay_s)
                    writer.write(
                        b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body)
                    )
                    writer.write(body)
                    if not is_status:
                        self.sent.append(time.perf_counter())

        async def start() -> None:
            server = await asyncio.start_server(answer, "127.0.0.1", 0)
            self.port = server.sockets[0].getsockname()[1]
            ready.set()

        self._loop.create_task(start())
        threading.Thread(target=self._loop.run_forever, daemon=True).start()
        ready.wait()

    @property
    def url(self) -> str:
        """The address that replaces https://finnhub.io/api/v1."""
        return f"http://127.0.0.1:{self.port}/api/v1"

    def stop(self) -> None:
        """End it."""
        self._loop.call_soon_threadsafe(self._loop.stop)


@contextmanager
def fetching(bench: Bench, folder: Path, finnhub: Finnhub, address: str, **variables: str) -> Iterator[Function]:
    """Run fetch-quotes against a fake Finnhub and the broker."""
    own = {"FINNHUB_API_KEY": "bench", "FINNHUB_BASE_URL": finnhub.url, "KAFKA_BOOTSTRAP_SERVERS": address}
    with Function(bench.programs.functions["fetch-quotes"], folder, **own, **variables) as function:
        yield function


def row_8_fetch(bench: Bench) -> Iterator[Figure]:
    """Measure fetch-quotes: the time that it adds to a poll, and the cost of 30 requests a second."""
    from confluent_kafka import Consumer

    folder = bench.folder / "fetch"
    finnhub = Finnhub(0.03)
    polls = bench.size(20, 2)
    with kafka(bench.programs.programs, folder) as address:
        consumer = Consumer({"bootstrap.servers": address, "group.id": "bench", "auto.offset.reset": "earliest"})
        consumer.subscribe(["stock-quotes"])
        while not consumer.assignment():
            consumer.poll(0.05)
        variables = {"POLL_INTERVAL_SECONDS": "0.5", "RATE_LIMIT_PER_MINUTE": "100000"}
        arrived: list[float] = []
        with fetching(bench, folder, finnhub, address, **variables) as function:
            expected = polls * 5

            def receive() -> None:
                while len(arrived) < expected:
                    message = consumer.poll(10)
                    if message is None:
                        return
                    if not message.error():
                        arrived.append(time.perf_counter())

            receiver = threading.Thread(target=receive)
            receiver.start()
            answer = function.invoke(json.dumps({"polls": polls}).encode()).body
            receiver.join()
            if answer["published"] != expected or len(arrived) != expected:
                raise BenchError(f"fetch-quotes published not all: {answer}, {len(arrived)} arrived")
        consumer.close()
        # Five quotes a poll: from the sending of the last answer until a consumer has the last record.
        own = [(arrived[5 * poll + 4] - finnhub.sent[5 * poll + 4]) * 1000 for poll in range(polls)]
        yield Figure(
            "from a poll's last answer to its last record at a consumer, p50", percentile(own, 0.5), "ms", at_most=5
        )
        yield Figure("from a poll's last answer to its last record at a consumer, p99", percentile(own, 0.99), "ms")
        symbols = ",".join(sorted({message.key for message in quotes(500)}))
        variables = {"SYMBOLS": symbols, "RATE_LIMIT_PER_MINUTE": "1800", "POLL_INTERVAL_SECONDS": "6"}
        if bench.short:
            variables["POLL_INTERVAL_SECONDS"] = "1"
        with fetching(bench, folder, finnhub, address, **variables) as function:
            before, begun = function.cpu(), time.perf_counter()
            answer = function.invoke(json.dumps({"polls": bench.size(5, 1)}).encode()).body
            seconds, cpu = time.perf_counter() - begun, function.cpu() - before
            memory = memory_mb(function.pid)
        published = publish(bench, address, bench.size(50_000, 100))
    finnhub.stop()
    if answer["published"] == 0:
        raise BenchError(f"fetch-quotes published nothing: {answer}")
    rate = answer["published"] / seconds
    yield Figure("500 symbols at the limit of 30 a second: quotes a second", rate, "/s")
    yield Figure("500 symbols at the limit of 30 a second: of a core", cpu / seconds * 100, "%", at_most=5)
    yield Figure("500 symbols at the limit of 30 a second: CPU a quote", cpu / answer["published"] * 1e6, "µs")
    yield Figure("500 symbols: most memory", memory, "MB")
    yield Figure("the producer alone: quotes that Kafka acknowledges a second", published, "/s", at_least=50_000)


def publish(bench: Bench, address: str, count: int) -> float:
    """Publish quotes as fetch-quotes does, without Finnhub. Return the median rate of five runs."""
    rates = []
    for _ in range(bench.size(5, 1)):
        command = [bench.programs.examples / "publish", address, "stock-quotes", str(count)]
        ran = subprocess.run(command, capture_output=True, text=True, check=False)
        if ran.returncode:
            raise BenchError(f"publish: {ran.stderr[-300:]}")
        done = json.loads(ran.stdout)
        rates.append(done["published"] / done["seconds"])
    return statistics.median(rates)


HISTORY = """INSERT INTO {dataset}.bronze_stock_quotes_raw
  (c, d, dp, h, l, o, pc, t, symbol, fetched_at, quote_id, object_key, fetched_date, loaded_at)
WITH numbers AS (
  SELECT n, {begin} + 86400 * CAST(FLOOR(n / {a_day}) AS INT64) + 2 * (MOD(n, {a_day}) - MOD(n, 5)) AS t
  FROM UNNEST(GENERATE_ARRAY({first}, {last})) AS n
)
SELECT 100.0 + MOD(n, 97), 1.0, 0.5, 200.0, 100.0, 150.0, 140.0, t,
  ['AAPL', 'AMZN', 'JPM', 'MSFT', 'TSLA'][OFFSET(MOD(n, 5))], t + 1, CONCAT('quote-', CAST(n AS STRING)), '',
  DATE(TIMESTAMP_SECONDS(t + 1)), {loaded_at}
FROM numbers"""
"""Quotes of five symbols, `a_day` a day, from 14:30 UTC on."""

READS = {
    "gold_kpi": "",
    "gold_kpi_latest": "",
    "gold_kpi_history": "WHERE symbol = 'AAPL' AND market_date >= DATE_SUB(CURRENT_DATE(), INTERVAL 5 DAY) LIMIT 1000",
    "gold_candlestick": "WHERE symbol = 'AAPL'",
    "gold_candlestick_intraday": "WHERE symbol = 'AAPL' AND interval_minutes = 5",
    "gold_treechart": "",
    "gold_pipeline_health": "",
}
"""How the dashboard reads each view of gold."""


class Dbt:
    """The dbt project on a dataset that has bronze."""

    def __init__(self, bench: Bench, big: BigQuery, dataset: str, *, is_bounded: bool) -> None:
        sys.path.insert(0, str(ROOT / "functions" / "transform-quotes"))
        from transform_quotes.config import Config
        from transform_quotes.transformer import Transformer

        self.big, self.dataset = big, dataset
        big.rows(f"CREATE TABLE {dataset}.metadata_last_ts (symbol STRING, last_ts INT64)")
        folder = bench.folder / dataset
        self.variables = {
            "BIGQUERY_ENDPOINT": big.url,
            "BIGQUERY_PROJECT": big.project,
            "BIGQUERY_DATASET": dataset,
            "DBT_PROJECT_DIR": str(ROOT / "dbt_stocks"),
            "DBT_TARGET_PATH": str(folder / "target"),
            "DBT_LOG_PATH": str(folder / "logs"),
            # As in the cloud, where a view reads only the last days.
            "DBT_VARS": json.dumps({"bound_market_dates": is_bounded}),
        }
        with patch.dict(os.environ, self.variables):
            self.transformer = Transformer(Config.from_env(os.environ))

    def run(self) -> float:
        """Do what transform-quotes does every 15 minutes. Return the seconds."""
        begun = time.perf_counter()
        # dbt's profile reads the environment.
        with patch.dict(os.environ, self.variables):
            self.transformer.run()
        return time.perf_counter() - begun

    def read(self, view: str) -> float:
        """Read a view of gold as the dashboard does. Return the seconds."""
        begun = time.perf_counter()
        if not self.big.rows(f"SELECT * FROM {self.dataset}_gold.{view} {READS[view]}"):
            raise BenchError(f"{view} has no rows")
        return time.perf_counter() - begun


class History(Dbt):
    """Bronze with a number of rows, and the dbt project on it."""

    def __init__(self, bench: Bench, big: BigQuery, rows: int, a_day: int) -> None:
        dataset = f"stock_{rows}"
        big.client().create_dataset(dataset)
        new_bronze(big, dataset)
        super().__init__(bench, big, dataset, is_bounded=True)
        self.rows, self.a_day, self.inserted = rows, a_day, 0
        # New quotes are of yesterday.
        self.begin = (int(time.time()) // 86400 - 1 - rows // a_day) * 86400 + 52_200
        # In steps, because of the stand-in's memory, which is not measured.
        step = 1_000_000
        for first in range(0, rows, step):
            self.insert(first, min(first + step, rows), "TIMESTAMP_SUB(CURRENT_TIMESTAMP(), INTERVAL 1 HOUR)")
        self.run()

    def insert(self, first: int, end: int, loaded_at: str) -> None:
        """Insert the quotes from `first` to `end`, exclusive."""
        places = {"begin": self.begin, "a_day": self.a_day, "first": first, "last": end - 1}
        self.big.rows(HISTORY.format(dataset=self.dataset, loaded_at=loaded_at, **places))

    def run_for(self, new: int) -> float:
        """Insert new quotes. Return the seconds of the scheduled run for them."""
        first = self.rows + self.inserted
        self.insert(first, first + new, "CURRENT_TIMESTAMP()")
        self.inserted += new
        return self.run()


def row_9_history(bench: Bench) -> Iterator[Figure]:
    """Run dbt for 1,000 new quotes, and read each view, on short and long histories."""
    sizes = [100_000, 1_000_000, 10_000_000] if not bench.short else [2000, 4000]
    a_day, new, turns = bench.size(10_000, 200), bench.size(1000, 100), bench.size(5, 1)
    with bigquery_server(bench.folder / "history") as big:
        histories = [History(bench, big, rows, a_day) for rows in sizes]
        # The first run of each differs: it follows a full build, or its statements are new to the stand-in.
        for history in histories:
            history.run_for(new)
            for view in READS:
                history.read(view)
        # Alternately, so that other load on the machine affects all.
        runs = [[history.run_for(new) for history in histories] for _ in range(turns)]
        reads = {view: [[history.read(view) for history in histories] for _ in range(turns)] for view in READS}
        for history in histories:
            settled = big.rows(f"SELECT COUNT(*) FROM {history.dataset}_silver.silver_stock_quotes_settled")[0][0]
            if settled != history.rows + history.inserted:
                raise BenchError(f"{settled} of {history.rows + history.inserted} quotes are settled")
    for what, found in {"the scheduled run": runs, **reads}.items():
        short, *_, long = (statistics.median(column) for column in zip(*found, strict=True))
        yield Figure(f"{what} on {sizes[0]:,} rows", short * 1000, "ms", note=f"{new:,} new, {big.name}")
        yield Figure(f"{what}: {sizes[-1]:,} rows ÷ {sizes[0]:,}", long / short, "×", at_most=1.5)


FIRST_FIGURE = """new MutationObserver((_, observer) => {
  if (/[0-9]/.test(document.querySelector(".tile .price")?.textContent ?? "")) {
    window.firstFigure = performance.now();
    observer.disconnect();
  }
}).observe(document, { childList: true, subtree: true, characterData: true });"""
"""Notes when the page first shows a price, in milliseconds since the navigation began."""


def row_10_page(bench: Bench) -> Iterator[Figure]:
    """Measure the page's size as it is sent, and open it in a browser with immediate answers."""
    dist = ROOT / "dashboards" / "web" / "dist"
    files = [
        path for path in dist.rglob("*") if path.is_file() and path.suffix in {".html", ".js", ".css", ".svg", ".woff2"}
    ]
    if not files:
        raise BenchError(f"{dist} is empty; run: make web")
    size = sum(len(gzip.compress(path.read_bytes(), 9)) for path in files)
    yield Figure("all that the page is made of, gzip", size / 1000, "kB", at_most=250)
    chromium = os.environ.get("CHROMIUM") or shutil.which("chromium")
    if chromium is None:
        raise BenchError("chromium is missing: run make test-web, or name one in CHROMIUM")
    sys.path.insert(0, str(ROOT / "tests"))
    from playwright.sync_api import sync_playwright
    from testkit.fake_api import FakeApi

    seconds = bench.size(60, 6)
    with FakeApi() as api, sync_playwright() as playwright:
        options = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]
        browser = playwright.chromium.launch(executable_path=chromium, args=options)
        shown = []
        for _ in range(bench.size(5, 1)):
            page = browser.new_context(viewport={"width": 1440, "height": 900}).new_page()
            page.add_init_script(FIRST_FIGURE)
            page.goto(api.url)
            # Not wait_for_function, because the page's security policy forbids it.
            shown.append(wait_until(lambda page=page: page.evaluate("window.firstFigure"), "figure on the page"))
            page.context.close()
        yield Figure(
            "from the navigation's start to the first figures, median of 5",
            statistics.median(shown),
            "ms",
            at_most=1000,
        )
        page = browser.new_context(viewport={"width": 1440, "height": 900}).new_page()
        paths: list[str] = []
        page.on("request", lambda request: "/api/" in request.url and paths.append(request.url))
        page.goto(api.url)
        page.wait_for_selector(".tile .price")
        page.wait_for_timeout(2000)
        devtools = page.context.new_cdp_session(page)
        devtools.send("Performance.enable")

        def script_ms() -> float:
            metrics = {one["name"]: one["value"] for one in devtools.send("Performance.getMetrics")["metrics"]}
            return metrics["ScriptDuration"] * 1000

        asked, marks = [len(paths)], [script_ms()]
        for _ in range(seconds):
            page.wait_for_timeout(1000)
            asked.append(len(paths))
            marks.append(script_ms())
        browser.close()
    requests = asked[-1] - asked[0]
    # In a second without an answer only the page's clock ticks.
    ticks = [marks[at + 1] - marks[at] for at in range(seconds) if asked[at] == asked[at + 1]]
    tick = statistics.median(ticks) if ticks else 0.0
    yield Figure("requests a minute while it is open", requests * 60 / seconds, "")
    yield Figure("script time of a second in which only the clock ticks, median", tick, "ms")
    if requests:
        update = (marks[-1] - marks[0] - tick * seconds) / requests
        yield Figure("script time of an answer's update", update, "ms", at_most=8)


def flow_folder(bench: Bench) -> Path:
    """Put quoteflow, its broker and the functions into one folder: quoteflow deploys the functions beside it."""
    folder = bench.folder / "flow-bin"
    folder.mkdir()
    for program in ("quoteflow", "kafka-broker"):
        shutil.copy2(bench.programs.programs / program, folder / program)
    for name, executable in bench.programs.functions.items():
        shutil.copy2(executable, folder / name)
    return folder


@contextmanager
def flow(folder: Path, programs: Path) -> Iterator[Callable[[], dict[str, Any]]]:
    """Run quoteflow on new data, five symbols every 6 s. Yield a function that reads its report."""
    report_file = folder.with_suffix(".report.json")
    command = [programs / "quoteflow", "run", "--project", ROOT, "--port-base", "0", "--interval", "6s"]
    command += ["--start-at", "0", "--data-dir", folder, "--report", report_file]
    output = folder.with_suffix(".output").open("wb")
    foreign = ("FINNHUB_", "KAFKA_", "AWS_", "S3_", "BIGQUERY_", "LOCAL_", "LOG_LEVEL", "RUST_LOG", "DBT_", "OTEL_")
    own = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
    child = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=own, start_new_session=True
    )

    def report() -> dict[str, Any]:
        if (status := child.poll()) is not None:
            text = folder.with_suffix(".output").read_text().strip().splitlines()
            raise BenchError(f"quoteflow ended with {status}: {text[-1:] or ['it says nothing']}")
        return json.loads(report_file.read_text())

    try:
        yield report
    finally:
        # Like Ctrl-C twice: it does not wait for quotes on the way.
        for _ in range(2):
            child.send_signal(signal.SIGINT)
            with suppress(subprocess.TimeoutExpired):
                child.wait(10)
                break
        child.kill()
        child.wait()
        output.close()


def row_7_flow(bench: Bench) -> Iterator[Figure]:
    """Run the whole flow, with another producer's quotes in addition to the five polled symbols."""
    sys.path.insert(0, str(ROOT / "tests"))
    from testkit.flow import Clients

    programs = flow_folder(bench)
    first: dict[str, float] = {}
    for rate in (50, 5000, 50_000) if not bench.short else (50,):
        seconds = bench.size(60, 8)
        with flow(bench.folder / f"flow-{rate}", programs) as report:
            wait_until(lambda report=report: report()["latency_ms"].get("gold_row"), "quote in gold", 300, 0.5)
            clients = Clients.of(report())
            sent = produce_at(rate, seconds, clients.kafka)
            yield from flow_figures(rate, seconds, report, clients, sent, first, bench.size(60, 30))


def produce_at(rate: int, seconds: int, address: str) -> set[str]:
    """Publish quotes evenly, `rate` a minute less the 50 that fetch-quotes publishes. Return their ids."""
    from confluent_kafka import Producer

    producer = Producer({"bootstrap.servers": address, "linger.ms": 5})
    count = max(0, rate - 50) * seconds // 60
    begun = time.time()
    ids = set()
    for number in range(count):
        due = begun + number * seconds / count
        if (early := due - time.time()) > 0:
            time.sleep(early)
        message = quote(number, 500, 250, time.time())
        ids.add(message.quote_id)
        producer.produce("stock-quotes", message.value, message.key)
        producer.poll(0)
    producer.flush()
    if not count:
        time.sleep(seconds)
    return ids


def flow_figures(
    rate: int,
    seconds: int,
    report: Callable[[], dict[str, Any]],
    clients: Any,
    sent: set[str],
    first: dict[str, float],
    patience: int,
) -> Iterator[Figure]:
    """Wait until the flow has caught up, then read its stores and its report."""
    begun = time.monotonic()

    def loaded() -> set[str]:
        return sent & set(clients.bronze_ids())

    missing = len(sent) - len(loaded())
    while missing and time.monotonic() - begun < patience:
        time.sleep(2)
        missing = len(sent) - len(loaded())
    caught_up = time.monotonic() - begun
    counts = clients.rows("SELECT COUNT(*) AS n, COUNT(DISTINCT quote_id) AS ids FROM stock.bronze_stock_quotes_raw")[0]
    latency = report()["latency_ms"]
    what = f"{rate:,} a minute for {seconds} s"
    yield Figure(f"{what}: quotes not in bronze {caught_up:.0f} s after the last was sent", missing, "", at_most=0)
    yield Figure(f"{what}: rows too many in bronze", counts["n"] - counts["ids"], "", at_most=0)
    for stage in ("object", "bronze_row", "gold_row"):
        p50 = latency.get(stage, {}).get("p50")
        figure = Figure(f"{what}: from the fetch to {stage.replace('_', ' ')}, p50", p50, "ms")
        if rate == 50:
            first[stage] = p50
        yield figure
        if rate == 5000 and p50 and first.get(stage):
            yield Figure(f"{what}: the same ÷ that of 50 a minute", p50 / first[stage], "×", at_most=1.5)


ROWS: dict[str, tuple[str, Callable[[Bench], Iterator[Figure]]]] = {
    "1": ("start of each function", row_1_start),
    "2": ("Kafka record → object", row_2_record_to_object),
    "3": ("archive-quotes, one object a quote", row_3_archive_per_quote),
    "4": ("archive-quotes, OBJECT_LAYOUT=batch", row_4_archive_batch),
    "5": ("load-quotes: objects → bronze", row_5_load),
    "6": ("replay of a week of 500 symbols", row_6_replay),
    "7": ("the whole flow", row_7_flow),
    "8": ("fetch-quotes", row_8_fetch),
    "9": ("dbt's scheduled run and gold's views on long histories", row_9_history),
    "10": ("the page", row_10_page),
}
