"""The metrics of a run: at their address, in its report and in `quoteflow status`, against what the stores hold."""

import subprocess
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import pytest
from catalogue import CATALOGUE, exposed, labels, snake
from conftest import OnOtherServers
from prometheus_client.parser import text_string_to_metric_families
from testkit.flow import (
    ARCHIVED_QUEUE,
    BRONZE_BUCKET,
    DEAD_LETTER_QUEUE,
    DEPLOYED,
    FUNCTIONS,
    GROUP,
    QUARANTINE_BUCKET,
    TOPIC,
    Clients,
    Flow,
    counts,
    local,
    processes_of,
    wait_until,
)

POLLS, SYMBOLS = 12, 5
QUOTES = POLLS * SYMBOLS


def own(kind: str) -> dict[str, list[str]]:
    """Function → what it counts, or which durations it measures, as they are exposed; without those by reason."""
    return {
        function: [
            snake(metric["name"])
            for metric in CATALOGUE["metrics"]
            if metric["type"] == kind and function in metric.get("functions", ()) and "reason" not in labels(metric)
        ]
        for function in FUNCTIONS
    }


# A function's counters exist from the start, except those with a reason.
COUNTERS, SUMMARIES = own("counter"), own("summary")

# What is passed on to the functions, and may be a secret.
MARK = "deployment.environment.name=marked-3d1f"

Labels = frozenset[tuple[str, str]]


@dataclass
class Scrape:
    """What Prometheus reads from an answer."""

    content_type: str
    kinds: dict[str, str]
    helps: dict[str, str]
    samples: dict[tuple[str, Labels], float]

    def __call__(self, name: str, **labels: str) -> float:
        """The value of a series, which must be there."""
        return self.samples[f"quoteflow_{name}", frozenset(labels.items())]


def scrape(report: dict[str, Any]) -> Scrape:
    with urllib.request.urlopen(report["endpoints"]["metrics_url"], timeout=10) as response:  # noqa: S310 - it is ours
        text, content_type = response.read().decode(), response.headers["Content-Type"]
    families = list(text_string_to_metric_families(text))
    samples = [sample for family in families for sample in family.samples]
    values = {(sample.name, frozenset(sample.labels.items())): sample.value for sample in samples}
    assert len(values) == len(samples), "a series is there twice"
    kinds = {family.name: family.type for family in families}
    return Scrape(content_type, kinds, {family.name: family.documentation for family in families}, values)


def environments_of(data_dir: Path) -> dict[str, str]:
    """What each running function has of `OTEL_RESOURCE_ATTRIBUTES`."""
    found = {}
    for pid in processes_of(data_dir):
        pairs = Path(f"/proc/{pid}/environ").read_bytes().decode().split("\0")
        variables = dict(pair.partition("=")[::2] for pair in pairs)
        if name := variables.get("AWS_LAMBDA_FUNCTION_NAME"):
            found[name] = variables.get("OTEL_RESOURCE_ATTRIBUTES", "")
    return found


@dataclass
class Seen:
    """A run in which all has arrived but one message, which names nothing that can be loaded."""

    metrics: Scrape
    objects: int
    quarantined: int
    bronze: int
    silver: int
    records: int
    status: subprocess.CompletedProcess[str]
    environments: dict[str, str]
    kept: list[Path]
    log: str
    report: dict[str, Any]
    output: str


@pytest.fixture(scope="module")
def seen(new_data_dir: Callable[[str], Path]) -> Seen:
    data_dir = new_data_dir("metrics")
    variables = {"OTEL_RESOURCE_ATTRIBUTES": MARK}
    with Flow(data_dir, "--polls", str(POLLS), "--speed", "100", **variables) as flow:
        report = flow.await_report(lambda report: report["phase"] == "running", "first report")
        clients = Clients.of(report)
        account = {
            "endpoint_url": report["endpoints"]["aws_endpoint_url"],
            "region_name": "us-east-1",
            "aws_access_key_id": "test",
            "aws_secret_access_key": "test",
        }
        sqs, functions = boto3.client("sqs", **account), boto3.client("lambda", **account)
        # The run waits for the queue before it ends, so every counter keeps its value.
        queue = sqs.get_queue_url(QueueName=report["endpoints"]["archived_queue"])["QueueUrl"]
        sqs.send_message(QueueUrl=queue, MessageBody="no event of S3's")

        def settled() -> Scrape | None:
            metrics = scrape(report)
            arrived = (
                metrics("fetched_total", function="fetch-quotes"),
                metrics("loaded_total", function="load-quotes"),
                metrics("rows", table="silver_stock_quotes"),
                metrics("queue_messages", queue=ARCHIVED_QUEUE),
                metrics("invocations_total", function="reconcile-quotes"),
            )
            latency = ("quoteflow_latency_seconds_count", frozenset({("stage", "gold_row")}))
            in_gold = metrics.samples.get(latency)
            # The views appear one after the other, before the run of dbt that creates them has ended.
            has_settled = metrics("transformed_total", function="transform-quotes") >= 1
            return metrics if arrived == (QUOTES, QUOTES, QUOTES, 1, 1) and in_gold == QUOTES and has_settled else None

        wait_until(settled, f"{QUOTES} quotes in every counter; the flow printed\n{flow.text()}\n")
        functions.put_function_concurrency(FunctionName="reconcile-quotes", ReservedConcurrentExecutions=0)
        functions.invoke(FunctionName="reconcile-quotes", InvocationType="Event", Payload=b"{}")

        def turned_away() -> Scrape | None:
            metrics = scrape(report)
            return metrics if metrics("throttles_total", function="reconcile-quotes") else None

        metrics = wait_until(turned_away, "throttled invocation")
        status = local("status", "--data-dir", data_dir)
        environments = environments_of(data_dir)
        objects, quarantined = len(clients.objects()), len(clients.objects(QUARANTINE_BUCKET))
        bronze, records = len(clients.bronze_ids()), len(clients.records())
        silver = clients.rows("SELECT COUNT(*) AS n FROM stock_silver.silver_stock_quotes")[0]["n"]
        sqs.purge_queue(QueueUrl=queue)
        last = flow.finish()
        files = [path for path in data_dir.rglob("*") if path.is_file()]
        kept = [path for path in files if MARK.encode() in path.read_bytes()]
        log = (data_dir / "logs" / "load-quotes.log").read_text()
        return Seen(
            metrics=metrics,
            objects=objects,
            quarantined=quarantined,
            bronze=bronze,
            silver=silver,
            records=records,
            status=status,
            environments=environments,
            kept=kept,
            log=log,
            report=last,
            output=flow.text(),
        )


def test_the_counters_are_what_the_stores_hold(seen: Seen) -> None:
    metrics = seen.metrics
    counted = {
        "fetched": metrics("fetched_total", function="fetch-quotes"),
        "published": metrics("published_total", function="fetch-quotes"),
        "archived": metrics("archived_total", function="archive-quotes"),
        "loaded": metrics("loaded_total", function="load-quotes"),
    }
    held = {"fetched": QUOTES, "published": seen.records, "archived": seen.objects, "loaded": seen.bronze}
    assert counted == held == dict.fromkeys(held, QUOTES)
    assert metrics("transformed_total", function="transform-quotes") >= 1
    assert metrics("undelivered_total", function="fetch-quotes") == 0


def test_the_gauges_are_what_the_stores_hold(seen: Seen) -> None:
    metrics = seen.metrics
    assert metrics("topic_records", topic=TOPIC) == seen.records
    assert metrics("topic_lag", topic=TOPIC, group=GROUP) == 0
    assert metrics("objects", bucket=BRONZE_BUCKET) == seen.objects
    assert metrics("objects", bucket=QUARANTINE_BUCKET) == seen.quarantined == 0
    assert metrics("rows", table="bronze_stock_quotes_raw") == seen.bronze
    assert metrics("rows", table="silver_stock_quotes") == seen.silver


def test_a_message_that_waits_has_an_age_and_an_empty_queue_has_none(seen: Seen) -> None:
    metrics = seen.metrics
    assert metrics("queue_oldest_message_age_seconds", queue=ARCHIVED_QUEUE) > 0
    assert metrics("queue_messages", queue=DEAD_LETTER_QUEUE) == 0
    assert metrics("queue_oldest_message_age_seconds", queue=DEAD_LETTER_QUEUE) == 0


def test_a_message_that_cannot_be_loaded_is_counted_and_fails_no_invocation(seen: Seen) -> None:
    assert seen.metrics("failed_total", function="load-quotes") >= 1
    assert seen.metrics("errors_total", function="load-quotes") == 0


def test_every_invocation_has_a_duration_below_its_timeout(seen: Seen) -> None:
    metrics = seen.metrics
    for function in FUNCTIONS:
        invocations = metrics("invocations_total", function=function)
        timeout = metrics("timeout_seconds", function=function)
        assert metrics("errors_total", function=function) == 0
        if function == "serve-dashboard":
            # Nobody has asked for the page.
            assert invocations == 0
            continue
        assert invocations > 0, function
        assert metrics("duration_seconds_count", function=function) == invocations
        quantiles = [metrics("duration_seconds", function=function, quantile=one) for one in ("0.5", "0.95", "1")]
        # Quantiles are exact to a ten-thousandth.
        assert quantiles == pytest.approx(sorted(quantiles), rel=0.001)
        assert 0 < quantiles[-1] < timeout


def test_a_throttled_event_is_not_an_invocation(seen: Seen) -> None:
    assert seen.metrics("throttles_total", function="reconcile-quotes") >= 1
    assert seen.metrics("invocations_total", function="reconcile-quotes") == 1
    assert seen.metrics("throttles_total", function="fetch-quotes") == 0
    assert "throttled invocations is unknown" not in seen.output


def test_fetch_quotes_is_invoked_once_for_ten_polls(seen: Seen) -> None:
    assert seen.metrics("invocations_total", function="fetch-quotes") == 2
    # Ten polls, a second from one to the next.
    assert 9 <= seen.metrics("duration_seconds", function="fetch-quotes", quantile="1") < 60


def test_every_metric_has_its_kind_and_a_help(seen: Seen) -> None:
    metrics = seen.metrics
    assert metrics.content_type == "text/plain; version=0.0.4; charset=utf-8"
    known = {exposed(one).removesuffix("_total"): (one["type"], one["help"]) for one in CATALOGUE["metrics"]}
    seldom = {exposed(one).removesuffix("_total") for one in CATALOGUE["metrics"] if "reason" in labels(one)}
    shown = {name: (kind, metrics.helps[name]) for name, kind in metrics.kinds.items()}
    assert known == shown | {name: known[name] for name in seldom}


def test_every_count_of_a_function_is_there_whether_it_is_0_or_not(seen: Seen) -> None:
    for function in FUNCTIONS:
        for name in ("invocations", "errors", "throttles", *COUNTERS[function]):
            assert seen.metrics(f"{name}_total", function=function) >= 0


def test_durations_that_functions_measure_are_summaries(seen: Seen) -> None:
    for function, names in SUMMARIES.items():
        for name in names:
            assert seen.metrics(f"{name}_count", function=function) > 0
            longest = seen.metrics(name, function=function, quantile="1")
            assert 0 <= longest <= seen.metrics(f"{name}_sum", function=function) * 1.001


def test_latencies_are_those_of_the_report(seen: Seen) -> None:
    for stage, latency in seen.report["latency_ms"].items():
        assert seen.metrics("latency_seconds_count", stage=stage) == latency["quotes"] == QUOTES
        longest = seen.metrics("latency_seconds", stage=stage, quantile="1")
        # Both round: to a thousandth, and to a ten-thousandth.
        assert longest == pytest.approx(latency["max"] / 1000, rel=0.002)


def test_the_report_says_the_same(seen: Seen) -> None:
    functions = seen.report["metrics"]
    assert set(functions) == set(FUNCTIONS)
    for function, names in COUNTERS.items():
        counted = {name.replace("_", ""): seen.metrics(f"{name}_total", function=function) for name in names}
        reported = {name.lower(): count for name, count in functions[function]["counts"].items()}
        if function != "load-quotes":
            assert reported == counted
    assert functions["load-quotes"]["counts"]["Loaded"] == QUOTES
    for function in ("fetch-quotes", "archive-quotes"):
        assert functions[function]["invocations"] == seen.metrics("invocations_total", function=function)
        duration = functions[function]["duration_ms"]
        assert 0 < duration["p50"] <= duration["p95"] <= duration["max"]
    assert [one["errors"] for one in functions.values()] == [0] * len(FUNCTIONS)
    assert functions["reconcile-quotes"]["throttles"] >= 1


def test_status_shows_what_each_function_did(seen: Seen) -> None:
    assert seen.status.returncode == 0, seen.status.stderr
    lines = [line for line in seen.status.stdout.splitlines() if line.startswith(("function", "counted"))]
    assert all(len(line) <= 120 for line in lines), lines
    told = {line.split()[1]: line.split() for line in lines if line.startswith("function")}
    assert list(told) == list(FUNCTIONS)
    for function in DEPLOYED:
        assert int(told[function][2]) == seen.metrics("invocations_total", function=function)
        assert told[function][3:6] == ["runs", "0", "failed"]
        assert "p50" in told[function]
    counted = {line.split()[1]: line for line in lines if line.startswith("counted")}
    assert f"Fetched {QUOTES}, Published {QUOTES}" in counted["fetch-quotes"]
    assert f"Loaded {QUOTES}" in counted["load-quotes"]


def test_the_logs_of_the_functions_are_in_the_data_folder(seen: Seen) -> None:
    assert "REPORT RequestId: " in seen.log
    assert '"FreshnessSeconds"' in seen.log


def test_the_functions_are_given_what_open_telemetry_reads(seen: Seen) -> None:
    assert seen.environments == dict.fromkeys((*DEPLOYED, "transform-quotes"), MARK)


def test_what_open_telemetry_reads_is_not_kept(seen: Seen) -> None:
    assert not seen.kept


def test_the_run_names_the_address(seen: Seen) -> None:
    assert seen.report["endpoints"]["metrics_url"] in seen.output


def test_a_run_counts_nothing_of_the_one_before(on_other_servers: OnOtherServers) -> None:
    for report, fetched in ((on_other_servers.first, 50), (on_other_servers.second, 10)):
        functions = report["metrics"]
        counted = [
            functions["fetch-quotes"]["counts"]["Fetched"],
            functions["fetch-quotes"]["counts"]["Published"],
            functions["archive-quotes"]["counts"]["Archived"],
            functions["load-quotes"]["counts"]["Loaded"],
        ]
        assert counted == [fetched] * 4
    # The servers still have the lines of both.
    assert counts(on_other_servers.second)["fetched"] == 60
