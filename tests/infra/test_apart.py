"""Two deployments in one account and on one Kafka: neither sees, changes or removes what is the other's."""

import json
from collections.abc import Iterator
from concurrent.futures import Future

import pytest
from testkit.flow import wait_until
from testkit.terraform import Deployment

# The schedule's first minute, then its first poll.
FIRST_QUOTE_SECONDS = 150


@pytest.fixture(scope="module")
def other(deployment: Deployment, being_applied: dict[str, Future[Deployment]]) -> Iterator[Deployment]:
    """A second deployment beside the first, which polls another symbol."""
    other = being_applied["other"].result()
    yield other
    before = deployment.account.everything()
    other.destroy()
    left = deployment.account.everything()
    removed = {kind: [name for name in names if name not in left.get(kind, [])] for kind, names in before.items()}
    # Triggers have no names.
    assert len(removed.pop("triggers")) == 1
    assert [name for names in removed.values() for name in names if "other" not in name] == []
    assert [name for names in left.values() for name in names if "other" in name] == []


def test_each_fetches_into_its_own_topic(deployment: Deployment, other: Deployment) -> None:
    def symbols(one: Deployment) -> set[str]:
        return {record.quote["symbol"] for record in one.clients().records()}

    wait_until(lambda: symbols(other) and symbols(deployment), "quotes of both", FIRST_QUOTE_SECONDS)
    assert symbols(other) == {"NVDA"}
    assert "NVDA" not in symbols(deployment)
    groups = {one.outputs["kafka"]["group"] for one in (deployment, other)}
    assert groups == {"quoteflow-archive-quotes", "other-archive-quotes"}, "a shared group would split the partitions"


def test_each_loads_its_own_quotes_into_its_own_tables(deployment: Deployment, other: Deployment) -> None:
    records = other.clients().records()
    other.archive(records)
    ids = sorted(record.quote["quote_id"] for record in records)

    def loaded(dataset: str) -> list[str]:
        rows = other.clients().rows(f"SELECT quote_id FROM {dataset}.bronze_stock_quotes_raw")
        return sorted(row["quote_id"] for row in rows)

    wait_until(lambda: len(loaded("other")) >= len(ids), "quotes in the other's bronze")
    assert loaded("other") == ids
    assert not set(loaded("stock")) & set(ids)
    assert not set(deployment.clients().objects(deployment.outputs["buckets"]["bronze"])) & {
        key for key in other.clients().objects(other.outputs["buckets"]["bronze"]) if key.startswith("NVDA/")
    }


def test_each_ones_metrics_carry_its_name(other: Deployment) -> None:
    def lines() -> list[dict]:
        events = other.account.pages(
            "logs", "filter_log_events", "events", logGroupName="/aws/lambda/other-load-quotes", filterPattern="Loaded"
        )
        return [json.loads(event["message"]) for event in events if "_aws" in event["message"]]

    wait_until(lines, "metrics of the other's load")
    assert {line["function"] for line in lines()} == {"other-load-quotes"}
    alarms = other.account.pages("cloudwatch", "describe_alarms", "MetricAlarms")
    watched = {
        (alarm["AlarmName"].split("-")[0], dimension["Value"].split("-")[0])
        for alarm in alarms
        for query in [
            alarm,
            *(query["MetricStat"]["Metric"] for query in alarm.get("Metrics", []) if "MetricStat" in query),
        ]
        for dimension in query.get("Dimensions", [])
    }
    assert watched == {("quoteflow", "quoteflow"), ("other", "other")}


def test_the_second_changes_nothing_of_the_first(deployment: Deployment, other: Deployment) -> None:
    deployment.terraform.succeed("plan", "-out=beside.tfplan")
    changes = deployment.terraform.changes(deployment.terraform.root / "beside.tfplan")
    # The provider reads the emulator's alarms with fields missing; test_emulator.py looks at them.
    assert {address for address in changes if ".aws_cloudwatch_metric_alarm." not in address} == set()
