"""What `quoteflow` provisions and what Terraform creates are the same, except for names and for what is said here."""

import json
import re
from collections.abc import Callable, Iterator
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pytest
from testkit.flow import (
    ARCHIVED_QUEUE,
    BRONZE_BUCKET,
    DEAD_LETTER_QUEUE,
    DEPLOYED,
    PROJECT,
    ROOT,
    Clients,
    Flow,
    counts,
    left_of,
)
from testkit.terraform import Account, Deployment

NAME = "quoteflow"

Described = dict[str, dict[str, Any]]


@pytest.fixture(scope="module")
def flow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Flow]:
    data_dir = tmp_path_factory.mktemp("local") / "data"
    with Flow(data_dir) as flow:
        flow.await_report(lambda report: counts(report)["archived"] > 0, "quote in the bucket")
        yield flow
        flow.kill()
        left_of(data_dir)


@pytest.fixture(scope="module")
def made_by_local(flow: Flow) -> dict[str, Described]:
    report = flow.report() or pytest.fail("no report was written")
    return described(Account(report["endpoints"]["aws_endpoint_url"]), plain=lambda name: name)


@pytest.fixture(scope="module")
def made_by_terraform(deployment: Deployment) -> dict[str, Described]:
    suffix = "-000000000000"
    return described(deployment.account, plain=lambda name: name.removeprefix(f"{NAME}-").removesuffix(suffix))


def test_functions_have_the_same_limits(made_by_local: Any, made_by_terraform: Any) -> None:
    for function in DEPLOYED:
        assert made_by_terraform["functions"][function] == made_by_local["functions"][function], function


def test_functions_have_the_same_environment(made_by_local: Any, made_by_terraform: Any) -> None:
    # Where the servers are, and what is polled how fast, is each run's own.
    own = {"AWS_ENDPOINT_URL", "BIGQUERY_ENDPOINT", "FINNHUB_BASE_URL", "KAFKA_BOOTSTRAP_SERVERS", "SYMBOLS",
           "POLL_INTERVAL_SECONDS", "RATE_LIMIT_PER_MINUTE"}  # fmt: skip
    # `quoteflow` has no secrets but the key of a live run, and makes the topic itself.
    in_the_cloud = {"fetch-quotes": {"FINNHUB_API_KEY_SECRET", "KAFKA_SECURITY", "KAFKA_TOPIC_PARTITIONS"}}
    in_local = {"fetch-quotes": {"FINNHUB_API_KEY"}}
    for function in DEPLOYED:
        local, cloud = (made["environments"][function] for made in (made_by_local, made_by_terraform))
        assert cloud.keys() - local.keys() - own == in_the_cloud.get(function, set()), function
        assert local.keys() - cloud.keys() - own <= in_local.get(function, set()), function
        for variable in (cloud.keys() & local.keys()) - own:
            assert cloud[variable] == local[variable], f"{function}: {variable}"


def test_each_function_has_its_required_variables_and_none_that_it_does_not_read(
    made_by_local: Any, made_by_terraform: Any
) -> None:
    for made in (made_by_local, made_by_terraform):
        assert made["environments"].keys() >= set(DEPLOYED)
        for function, environment in made["environments"].items():
            table = variables(function)
            unknown = {name for name in environment if not any(fnmatch(name, known) for known in table)}
            assert not unknown, function
            for name in (name for name, default in table.items() if default == "required"):
                assert environment.keys() & {name, f"{name}_SECRET"}, f"{function}: {name}"


def test_buckets_and_their_notification_are_the_same(made_by_local: Any, made_by_terraform: Any) -> None:
    assert made_by_terraform["buckets"] == made_by_local["buckets"]
    assert made_by_local["buckets"][BRONZE_BUCKET], "the bucket must send events to the queue"


def test_queues_are_the_same_except_for_what_lambda_needs(made_by_local: Any, made_by_terraform: Any) -> None:
    local, cloud = made_by_local["queues"], made_by_terraform["queues"]
    # Here the next event of a schedule answers for one that failed.
    assert cloud.keys() - local.keys() == {"failed-events"}
    assert local.keys() <= cloud.keys()
    # Lambda asks for six timeouts. With them, 20 receives are an hour: a message must survive an outage of BigQuery.
    assert cloud[ARCHIVED_QUEUE]["redrive"] == [DEAD_LETTER_QUEUE, 20]
    assert local[ARCHIVED_QUEUE]["redrive"] == [DEAD_LETTER_QUEUE, 5]
    timeout = made_by_local["functions"]["load-quotes"]["timeout"]
    assert cloud[ARCHIVED_QUEUE]["visibility"] == 6 * timeout
    assert local[ARCHIVED_QUEUE]["visibility"] == 2 * timeout


def test_the_trigger_of_load_quotes_is_the_same(made_by_local: Any, made_by_terraform: Any) -> None:
    assert made_by_terraform["triggers"]["load-quotes"] == made_by_local["triggers"]["load-quotes"]
    assert made_by_local["triggers"]["load-quotes"]["responses"] == ["ReportBatchItemFailures"]


def test_the_schedules_are_the_same(made_by_local: Any, made_by_terraform: Any) -> None:
    cloud, local = made_by_terraform["schedules"], made_by_local["schedules"]
    # `quoteflow` invokes transform-quotes itself.
    assert cloud.keys() - local.keys() == {"transform-quotes", "transform-quotes-after-close", "test-tables"}
    for name, schedule in local.items():
        assert cloud[name] == schedule, name
    assert local.keys() == {"fetch-quotes", "reconcile-quotes"}


def test_bigquery_has_the_tables_that_infra_gcp_defines(flow: Flow) -> None:
    bigquery = Clients.of(flow.report() or {}).bigquery
    definitions = json.loads((ROOT / "infra/gcp/tables.json").read_text())
    for name, definition in definitions.items():
        table = bigquery.get_table(f"{PROJECT}.stock.{name}")
        fields = [(field["name"], field["type"], field["mode"]) for field in definition["schema"]]
        assert [(field.name, field.field_type, field.mode) for field in table.schema] == fields
        assert table.clustering_fields == definition["cluster_by"]
        assert (table.time_partitioning and table.time_partitioning.field) == definition["partition_by"]
    made = {table.table_id for table in bigquery.list_tables(f"{PROJECT}.stock")}
    assert made == definitions.keys()


def variables(function: str) -> dict[str, str]:
    """The default of each variable of a function, from its README, which its tests compare with what it reads."""
    readme = (ROOT / "functions" / function / "README.md").read_text()
    table = dict(re.findall(r"^\| `([A-Z][A-Z0-9_]+\*?)` \| (.*?) \|", readme, re.M))
    assert table, function
    return table


def described(account: Account, plain: Callable[[str], str]) -> dict[str, Described]:
    """What an account has, by kind and plain name; ARNs and URLs within by the plain name of what they name."""
    sqs, s3, aws_lambda, scheduler = (account.client(name) for name in ("sqs", "s3", "lambda", "scheduler"))

    def named(reference: str) -> str:
        return plain(Path(reference.replace(":", "/")).name)

    functions, environments, triggers = {}, {}, {}
    for function in account.pages("lambda", "list_functions", "Functions"):
        name = function["FunctionName"]
        concurrency = aws_lambda.get_function_concurrency(FunctionName=name).get("ReservedConcurrentExecutions")
        functions[plain(name)] = {
            "timeout": function["Timeout"],
            "memory": function["MemorySize"],
            "runtime": function.get("Runtime"),
            "handler": function.get("Handler"),
            "architectures": function["Architectures"],
            "concurrency": concurrency,
        }
        variables = function.get("Environment", {}).get("Variables", {})
        environments[plain(name)] = {
            variable: named(value) if variable.endswith(("_BUCKET", "_QUEUE_URL", "_TOPIC")) else value
            for variable, value in variables.items()
        }
    for trigger in account.pages("lambda", "list_event_source_mappings", "EventSourceMappings"):
        triggers[named(trigger["FunctionArn"])] = {
            "source": named(trigger["EventSourceArn"]),
            "batch": trigger["BatchSize"],
            "window": trigger["MaximumBatchingWindowInSeconds"],
            "responses": trigger.get("FunctionResponseTypes"),
            "concurrency": trigger.get("ScalingConfig"),
        }

    queues = {}
    for url in account.pages("sqs", "list_queues", "QueueUrls"):
        attributes = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]
        redrive = json.loads(attributes.get("RedrivePolicy", "null"))
        queues[named(url)] = {
            "visibility": int(attributes["VisibilityTimeout"]),
            "redrive": redrive and [named(redrive["deadLetterTargetArn"]), int(redrive["maxReceiveCount"])],
        }

    buckets = {}
    for bucket in account.pages("s3", "list_buckets", "Buckets"):
        notification = s3.get_bucket_notification_configuration(Bucket=bucket["Name"])
        buckets[plain(bucket["Name"])] = {
            named(queue["QueueArn"]): queue["Events"] for queue in notification.get("QueueConfigurations", [])
        }

    schedules = {}
    for entry in account.pages("scheduler", "list_schedules", "Schedules"):
        schedule = scheduler.get_schedule(Name=entry["Name"])
        target = schedule["Target"]
        schedules[plain(entry["Name"])] = {
            "expression": schedule["ScheduleExpression"],
            "window": schedule["FlexibleTimeWindow"],
            "function": named(target["Arn"]),
            "input": target["Input"],
            "retries": target["RetryPolicy"],
        }
    return {
        "functions": functions,
        "environments": environments,
        "triggers": triggers,
        "queues": queues,
        "buckets": buckets,
        "schedules": schedules,
    }
