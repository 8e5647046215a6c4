"""Servers that can be killed, a proxy that can inject faults, and a flow that must lose nothing with them."""

import http.client
import json
import os
import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import boto3

from testkit.finnhub import Finnhub, serve
from testkit.flow import (
    ARCHIVED_QUEUE,
    BRONZE_BUCKET,
    QUARANTINE_BUCKET,
    Clients,
    Flow,
    Stores,
    answers,
    counts,
    kill_all,
    processes_of,
    wait_until,
)

KEY = "fault-tests"
# A message that load-quotes did not acknowledge is delivered again after this time. In `quoteflow` it is a minute.
VISIBILITY_SECONDS = 15
# A message may be delivered several times because of a fault, and the stand-in gives load-quotes 10 messages at once.
HEALED_SECONDS = 600
# When a killed run starts again, the minute's polls may be lost, and the next event is a minute later.
INVOKED_SECONDS = 240


class Request:
    """A client's request."""

    def __init__(self, method: str, path: str, body: bytes) -> None:
        self.method = method
        self.path = path
        self.body = body

    @property
    def is_put_of_a_quote(self) -> bool:
        """Whether archive-quotes stores a quote."""
        path = urlsplit(self.path).path
        return self.method == "PUT" and path.startswith(f"/{BRONZE_BUCKET}/") and path.endswith(".json")

    @property
    def is_merge(self) -> bool:
        """Whether load-quotes merges into bronze."""
        return self.path.endswith("/queries") and b"WHEN NOT MATCHED" in self.body and b"first_date" in self.body

    @property
    def is_archive_invocation(self) -> bool:
        """Whether the bridge invokes archive-quotes."""
        return self.path.endswith("/functions/archive-quotes/invocations")


Before = Callable[[Request], int | None]
After = Callable[[Request], None]


class Proxy(ThreadingHTTPServer):
    """Passes everything on, except for injected faults."""

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, upstream_port: int) -> None:
        super().__init__(("127.0.0.1", 0), _Pass)
        self.upstream_port = upstream_port
        self.injected: list[tuple[Before, After]] = []
        self.url = f"http://127.0.0.1:{self.server_port}"
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    @contextmanager
    def inject(self, before: Before = lambda _: None, after: After = lambda _: None) -> Iterator[None]:
        """During the block, `before` may answer with another status, and `after` sees each answer before the client."""
        hooks = (before, after)
        self.injected.append(hooks)
        try:
            yield
        finally:
            self.injected.remove(hooks)

    def before(self, request: Request) -> int | None:
        """The status to answer instead of passing the request on."""
        statuses = [before(request) for before, _ in tuple(self.injected)]
        return next(filter(None, statuses), None)

    def after(self, request: Request) -> None:
        """Called when the request is answered, before the client gets the answer."""
        for _, after in tuple(self.injected):
            after(request)

    def handle_error(self, request: object, client_address: object) -> None:
        """Print nothing about clients that went away, because the tests kill them."""


class _Pass(BaseHTTPRequestHandler):
    server: Proxy
    protocol_version = "HTTP/1.1"
    # Otherwise a response waits for the client's delayed acknowledgement.
    wbufsize = -1

    def handle_one_request(self) -> None:
        self.raw_requestline = self.rfile.readline(65537)
        if not self.raw_requestline or not self.parse_request():
            self.close_connection = True
            return
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        request = Request(self.command, self.path, body)
        status = self.server.before(request)
        if status:
            self.answer(status, [("Content-Type", "text/plain")], b"injected by the test")
            return
        upstream = http.client.HTTPConnection("127.0.0.1", self.server.upstream_port, timeout=120)
        try:
            upstream.request(self.command, self.path, body, dict(self.headers))
            response = upstream.getresponse()
            answer, headers = response.read(), response.getheaders()
        except (OSError, http.client.HTTPException):
            # As for a client of a dead server.
            self.close_connection = True
            return
        finally:
            upstream.close()
        self.server.after(request)
        self.answer(response.status, headers, answer)

    def answer(self, status: int, headers: list[tuple[str, str]], body: bytes) -> None:
        self.send_response_only(status)
        for name, value in headers:
            if name.lower() not in ("content-length", "transfer-encoding", "connection"):
                self.send_header(name, value)
        length = {name.lower(): value for name, value in headers}.get("content-length", "0")
        self.send_header("Content-Length", length if self.command == "HEAD" else str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)
        self.wfile.flush()


class FaultyStores(Stores):
    """The stores, behind proxies. Each can be killed, and started again with its data and its port."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self.s3_proxy = Proxy(self._ports["aws"])
        self.bigquery_proxy = Proxy(self._ports["bigquery"])
        self.direct = (self.aws, self.bigquery)
        # The address for the stand-in's functions, and the address for `quoteflow`.
        self.aws, self.bigquery = self.s3_proxy.url, self.bigquery_proxy.url

    def __exit__(self, *_: object) -> None:
        super().__exit__()
        for proxy in (self.s3_proxy, self.bigquery_proxy):
            proxy.shutdown()
            proxy.server_close()

    def clients(self) -> Clients:
        """Clients that do not use the proxies."""
        return Clients(self.kafka, *self.direct)

    def restart_broker(self) -> None:
        """Kill -9 the broker and start it again."""
        self.processes.remove(self.broker)
        self.broker.kill()
        self.broker.wait()
        self.start_broker()

    def restart_everything(self) -> None:
        """Kill -9 every server and the functions in them; start the servers again on their data and ports."""
        kill_all(self.directory)
        for process in self.processes:
            process.wait()
        self.processes.clear()
        self._start()

    def kill_bigquery(self) -> None:
        """Kill -9 the BigQuery stand-in, whatever it is doing."""
        self.processes.remove(self.big)
        self.big.kill()
        self.big.wait()

    def start_bigquery_again(self) -> None:
        """Start it on its data and its port, and wait until it answers."""
        self.start_bigquery()
        clients = self.clients()
        wait_until(lambda: answers(lambda: clients.rows("SELECT 1")), "answer of BigQuery")


def function_processes(directory: Path, name: str) -> list[int]:
    """The processes of a function."""
    marked = f"AWS_LAMBDA_FUNCTION_NAME={name}".encode()
    found = []
    for pid in processes_of(directory):
        try:
            variables = Path(f"/proc/{pid}/environ").read_bytes()
        except OSError:
            continue
        if marked in variables.split(b"\0"):
            found.append(pid)
    return found


def kill_function(directory: Path, name: str) -> int:
    """Kill -9 every process of a function; returns how many."""
    killed = 0
    for pid in function_processes(directory, name):
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue
        killed += 1
    return killed


class Trial:
    """A flow on faulty stores. Quotes are fetched while a fault is injected; afterwards no quote may be missing."""

    def __init__(self, directory: Path, stores: FaultyStores, finnhub: Finnhub) -> None:
        self.data_dir = directory / "data"
        self.stores = stores
        self.finnhub = finnhub
        self.clients = stores.clients()
        self.sqs, self.functions, self.logs = (self._aws(service) for service in ("sqs", "lambda", "logs"))
        self.flow = self._flow()

    def _aws(self, service: str) -> Any:
        return boto3.client(
            service,
            endpoint_url=self.stores.direct[0],
            region_name="us-east-1",
            aws_access_key_id="test",
            aws_secret_access_key="test",  # noqa: S106 - the stand-in takes any
        )

    def _flow(self) -> Flow:
        # A poll a second is more than a free key allows.
        variables = {"FINNHUB_BASE_URL": self.finnhub.base_url, "FINNHUB_API_KEY": KEY, "RATE_LIMIT_PER_MINUTE": "3000"}
        flow = Flow(self.data_dir, **self.stores.variables(), **variables)
        try:
            flow.await_report(lambda report: report["phase"] == "running", "running flow")
            self.set_visibility(VISIBILITY_SECONDS)
        except BaseException:
            flow.__exit__()
            raise
        return flow

    def restart_flow(self) -> None:
        """Kill -9 `quoteflow`, the bridge in it, and start it again."""
        self.flow.__exit__()
        self.flow = self._flow()

    def queue(self, name: str) -> str:
        """The URL of a queue."""
        return self.sqs.get_queue_url(QueueName=name)["QueueUrl"]

    def set_visibility(self, seconds: int) -> None:
        """Set how long a message that load-quotes did not acknowledge stays hidden."""
        attributes = {"VisibilityTimeout": str(seconds)}
        self.sqs.set_queue_attributes(QueueUrl=self.queue(ARCHIVED_QUEUE), Attributes=attributes)

    @contextmanager
    def notifications(self, configuration: dict[str, Any]) -> Iterator[None]:
        """During the block, S3 sends events of new objects as `configuration` says."""

        def put(configuration: dict[str, Any]) -> None:
            self.clients.s3.put_bucket_notification_configuration(
                Bucket=BRONZE_BUCKET, NotificationConfiguration=configuration, SkipDestinationValidation=True
            )

        before = self.clients.s3.get_bucket_notification_configuration(Bucket=BRONZE_BUCKET)
        before.pop("ResponseMetadata", None)
        put(configuration)
        try:
            yield
        finally:
            put(before)

    def published(self) -> int:
        """How many quotes the report has seen in Kafka."""
        return counts(wait_until(lambda: self.flow.report(), "report"))["published"]

    def more_quotes(self, count: int = 10) -> None:
        """Wait until Kafka has `count` more quotes."""
        start = self.published()
        wait_until(lambda: self.published() >= start + count, f"{count} quotes more", INVOKED_SECONDS)

    def ids(self) -> Counter[str]:
        """The identity of every record of the topic."""
        return Counter(record.quote["quote_id"] for record in self.clients.records())

    def reconcile(self, *symbols: str, grace_seconds: int = 0) -> int:
        """Invoke the scheduled repair now, again if it fails. Returns how many objects it queued."""
        request = json.dumps({"grace_seconds": grace_seconds, "symbols": symbols})

        def queued() -> dict[str, int] | None:
            answer = self.functions.invoke(FunctionName="reconcile-quotes", Payload=request)
            return None if "FunctionError" in answer else json.load(answer["Payload"])

        return wait_until(queued, "answer of reconcile-quotes")["queued"]

    def settle(self) -> tuple[int, int]:
        """Stop fetching, wait until bronze has every acknowledged quote, and return both counts.

        Kafka and BigQuery are queried directly; the functions' own counts are not used.
        """

        def arrived() -> tuple[Counter[str], Counter[str]] | None:
            # In this order, a quote that arrives in between is only in Kafka.
            in_bronze, in_kafka = Counter(self.clients.bronze_ids()), self.ids()
            return (in_kafka, in_bronze) if in_kafka.keys() <= in_bronze.keys() else None

        self.finnhub.has_data = False
        try:
            in_kafka, in_bronze = wait_until(
                lambda: answers(self.ids) and arrived(), "bronze row for every acknowledged quote", HEALED_SECONDS
            )
        finally:
            self.finnhub.has_data = True
        assert in_kafka.keys() == in_bronze.keys()
        assert set(in_bronze.values()) == {1}, in_bronze.most_common(3)
        assert self.clients.objects(QUARANTINE_BUCKET) == {}
        return len(in_kafka), len(in_bronze)

    def inject(self, *faults: str) -> list[str]:
        """Inject these faults at the same time. Returns what each did."""
        with ThreadPoolExecutor(len(faults)) as pool:
            injected = [pool.submit(getattr(self, fault)) for fault in faults]
            for ended in as_completed(injected):
                ended.result()  # The first failure is the cause of the others.
        return [one.result() for one in injected]

    # The faults. Each injects, waits for the effect, ends the fault, and returns what it did.

    def s3_out(self) -> str:
        """S3 answers 503 to every PUT of a quote for a while."""
        refused = Counter[str]()

        def refuse(request: Request) -> int | None:
            if request.is_put_of_a_quote:
                refused["puts"] += 1
                return 503
            return None

        with self.stores.s3_proxy.inject(before=refuse):
            wait_until(lambda: refused["puts"] >= 10, "refused PUT", INVOKED_SECONDS)
        return f"{refused['puts']} PUTs answered 503"

    def bigquery_out(self) -> str:
        """BigQuery answers 503 to every MERGE for a while."""
        refused = Counter[str]()

        def refuse(request: Request) -> int | None:
            if request.is_merge:
                refused["merges"] += 1
                return 503
            return None

        with self.stores.bigquery_proxy.inject(before=refuse):
            wait_until(lambda: refused["merges"] >= 4, "refused MERGE", INVOKED_SECONDS)
        return f"{refused['merges']} MERGEs answered 503"

    def bigquery_slow(self) -> str:
        """BigQuery takes 3 s for every MERGE for a while."""
        slowed = Counter[str]()

        def slow(request: Request) -> None:
            if request.is_merge:
                slowed["merges"] += 1
                time.sleep(3)

        with self.stores.bigquery_proxy.inject(before=slow):
            wait_until(lambda: slowed["merges"] >= 3, "slow MERGE", INVOKED_SECONDS)
        return f"{slowed['merges']} MERGEs delayed by 3 s"

    def bigquery_killed(self) -> str:
        """The BigQuery stand-in is killed during a MERGE, and is absent for some quotes."""
        merging = threading.Event()

        def note(request: Request) -> None:
            if request.is_merge:
                merging.set()

        with self.stores.bigquery_proxy.inject(before=note):
            assert merging.wait(INVOKED_SECONDS), "no MERGE came"
        self.stores.kill_bigquery()
        served = self.finnhub.served
        wait_until(lambda: self.finnhub.served >= served + 10, "quotes while BigQuery is away", INVOKED_SECONDS)
        self.stores.start_bigquery_again()
        return "kill -9 during a MERGE, away for 2 polls"

    def broker_killed(self) -> str:
        """The broker is killed and started again."""
        self.stores.restart_broker()
        return "kill -9, restart on its data"

    def archive_killed(self) -> str:
        """archive-quotes is killed after it has stored a part of its batch."""
        return self._killed("archive-quotes", self.stores.s3_proxy, lambda request: request.is_put_of_a_quote)

    def load_killed(self) -> str:
        """load-quotes is killed after its MERGE, before it has acknowledged anything."""
        return self._killed("load-quotes", self.stores.bigquery_proxy, lambda request: request.is_merge)

    def _killed(self, function: str, proxy: Proxy, moment: Callable[[Request], bool]) -> str:
        killed, lock = Counter[str](), threading.Lock()

        def kill(request: Request) -> None:
            with lock:
                if moment(request) and killed["processes"] < 2:
                    killed["processes"] += kill_function(self.stores.directory, function)

        with proxy.inject(after=kill):
            wait_until(lambda: killed["processes"] >= 2, f"killed {function}", INVOKED_SECONDS)
        return f"{killed['processes']} processes killed mid-batch"

    def notifications_lost(self) -> str:
        """S3 sends no events of new objects for a while; the scheduled repair finds them."""
        with self.notifications({}):
            start = self.published()
            self.more_quotes(10)
            lost = self.published() - start
        self.reconcile()
        return f"about {lost} notifications dropped, then reconcile-quotes"

    def events_twice_and_shuffled(self, seed: int = 7) -> str:
        """Every event of new objects is delivered twice, out of order and late."""
        tap = self.sqs.create_queue(QueueName="tap")["QueueUrl"]
        arn = self.sqs.get_queue_attributes(QueueUrl=tap, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
        with self.notifications({"QueueConfigurations": [{"QueueArn": arn, "Events": ["s3:ObjectCreated:*"]}]}):
            self.more_quotes(10)
        bodies = []
        receive = partial(self.sqs.receive_message, QueueUrl=tap, MaxNumberOfMessages=10, WaitTimeSeconds=1)
        while messages := receive().get("Messages"):
            for message in messages:
                bodies += [message["Body"]] * 2
                self.sqs.delete_message(QueueUrl=tap, ReceiptHandle=message["ReceiptHandle"])
        random.Random(seed).shuffle(bodies)  # noqa: S311 - a seeded shuffle
        queue = self.queue(ARCHIVED_QUEUE)
        for body in bodies:
            self.sqs.send_message(QueueUrl=queue, MessageBody=body)
        return f"{len(bodies) // 2} events sent twice, shuffled"

    def bridge_killed(self) -> str:
        """The bridge is killed when archive-quotes has succeeded, before the offsets are committed."""
        archived = threading.Event()
        held = threading.Event()

        def hold(request: Request) -> None:
            if request.is_archive_invocation:
                archived.set()
                held.wait(30)

        with self.stores.s3_proxy.inject(after=hold):
            assert archived.wait(INVOKED_SECONDS), "archive-quotes was not invoked"
            self.flow.process.kill()
            self.flow.process.wait()
            held.set()
        self.restart_flow()
        return "kill -9 between success and commit, restart"

    def flow_killed(self) -> str:
        """Everything is killed before a batch is archived, and started again on its data; the queues are lost."""
        invoked = threading.Event()
        held = threading.Event()

        def hold(request: Request) -> int | None:
            if request.is_archive_invocation:
                invoked.set()
                held.wait(30)
                return 503
            return None

        with self.stores.s3_proxy.inject(before=hold):
            assert invoked.wait(INVOKED_SECONDS), "archive-quotes was not invoked"
            self.flow.process.kill()
            self.flow.process.wait()
            held.set()
        self.stores.restart_everything()
        self.restart_flow()
        return "kill -9 of every process in the middle of a batch, restart on its data"


PARTS = {"S3", "BigQuery", "Kafka", "archive-quotes", "load-quotes", "notifications", "local"}
# The parts that each fault breaks. Two faults without a common part may be injected at the same time.
FAULTS = {
    "s3_out": {"S3"},
    "bigquery_out": {"BigQuery"},
    "bigquery_slow": {"BigQuery"},
    "bigquery_killed": {"BigQuery"},
    "broker_killed": {"Kafka"},
    "archive_killed": {"archive-quotes"},
    "load_killed": {"load-quotes"},
    "notifications_lost": {"notifications"},
    "events_twice_and_shuffled": {"notifications"},
    # When `quoteflow` starts again, it needs its servers, and configures the notifications again.
    "bridge_killed": {"local", "Kafka", "BigQuery", "notifications"},
    "flow_killed": PARTS,
}


def mixed(chance: random.Random) -> list[str]:
    """A random fault, and a second one to inject at the same time if there is one that breaks other parts."""
    first = chance.choice(list(FAULTS))
    others = [fault for fault, parts in FAULTS.items() if not parts & FAULTS[first]]
    return [first, chance.choice(others)] if others else [first]


@contextmanager
def trial(directory: Path) -> Iterator[Trial]:
    """A running flow on faulty stores; everything ends with the block."""
    with serve(KEY) as server, FaultyStores(directory / "servers") as stores:
        made = Trial(directory, stores, server)
        try:
            made.more_quotes(5)
            yield made
        finally:
            made.flow.__exit__()
