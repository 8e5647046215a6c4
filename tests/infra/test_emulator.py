"""The real `infra/aws`, applied to the emulator: quotes go through what it made, and nothing is left of it at the end.

The tests are in the order of a deployment's life.
"""

import base64
import json
from typing import Any

from flowkit import Record, wait_until
from infrakit import KEY, Deployment

# The schedule's first minute, then its first poll.
FIRST_QUOTE_SECONDS = 150


def test_the_scheduled_function_publishes_with_the_secret_it_was_named(deployment: Deployment) -> None:
    clients = deployment.clients()
    wait_until(lambda: len(clients.records()) >= 5, "quotes of a scheduled invocation", FIRST_QUOTE_SECONDS)
    assert deployment.servers.finnhub.refused == 0


def test_quotes_reach_bronze_once_through_the_deployed_functions(deployment: Deployment) -> None:
    clients = deployment.clients()
    records = clients.records()
    event = kafka_event(records)
    first = invoke(deployment, "archive-quotes", event)
    assert first == {"archived": len(records), "already_archived": 0, "quarantined": 0}
    again = invoke(deployment, "archive-quotes", event)
    assert again == {"archived": 0, "already_archived": len(records), "quarantined": 0}

    ids = sorted(record.quote["quote_id"] for record in records)
    wait_until(lambda: len(clients.bronze_ids()) >= len(ids), "quotes in bronze")
    assert sorted(clients.bronze_ids()) == ids
    assert len(clients.objects(deployment.outputs["buckets"]["bronze"])) == len(ids)
    assert clients.objects(deployment.outputs["buckets"]["quarantine"]) == {}

    outcome = invoke(deployment, "reconcile-quotes", {"all": False, "grace_seconds": 0})
    assert (outcome["objects"], outcome["queued"]) == (len(ids), 0)


def test_the_key_is_in_no_state_and_no_configuration(deployment: Deployment) -> None:
    assert KEY not in deployment.terraform.succeed("state", "pull")
    for function in deployment.account.pages("lambda", "list_functions", "Functions"):
        assert KEY not in json.dumps(function, default=str)


def test_a_second_plan_changes_nothing(deployment: Deployment) -> None:
    deployment.terraform.succeed("plan", "-out=again.tfplan")
    changes = deployment.terraform.changes(deployment.terraform.root / "again.tfplan")
    # The provider reads an alarm of the emulator with most of its fields empty. Its own client reads them all.
    alarms = {address: change for address, change in changes.items() if ".aws_cloudwatch_metric_alarm." in address}
    assert changes.keys() == alarms.keys()
    stored = {
        alarm["AlarmName"]: alarm for alarm in deployment.account.pages("cloudwatch", "describe_alarms", "MetricAlarms")
    }
    assert len(stored) == len(alarms)
    for address, change in alarms.items():
        assert change["actions"] == ["update"]
        before, after = change["before"], change["after"]
        alarm = stored[after["alarm_name"]]
        for field in [field for field in after if after[field] != before[field]]:
            assert field_of(alarm, field) == after[field], f"{address}: {field}"


def test_paused_schedules_do_not_fire(deployment: Deployment) -> None:
    deployment.terraform.succeed(
        "apply", "-auto-approve", "-var=are_schedules_enabled=false", "-target=module.schedules"
    )
    schedules = deployment.account.pages("scheduler", "list_schedules", "Schedules")
    assert {schedule["State"] for schedule in schedules} == {"DISABLED"}


def test_destroy_leaves_nothing(deployment: Deployment) -> None:
    assert set(deployment.account.everything()) >= {"buckets", "queues", "functions", "roles", "alarms", "repositories"}
    # Whoever removes it need not have built it.
    deployment.terraform.succeed("destroy", "-auto-approve", "-var=package_dir=gone")
    assert deployment.account.everything() == {}
    secrets = deployment.account.pages("secretsmanager", "list_secrets", "SecretList")
    assert [secret["Name"] for secret in secrets] == ["finnhub-api-key"], "the operator's own secret stays"


def kafka_event(records: list[Record]) -> dict[str, Any]:
    """The event that an event source mapping makes of records.

    See https://docs.aws.amazon.com/lambda/latest/dg/with-msk.html, "Example event".
    """

    def encoded(data: bytes | None) -> str:
        return base64.b64encode(data or b"").decode()

    partitions: dict[str, list[dict[str, Any]]] = {}
    for record in records:
        partitions.setdefault(f"quoteflow-stock-quotes-{record.partition}", []).append(
            {
                "topic": "quoteflow-stock-quotes",
                "partition": record.partition,
                "offset": record.offset,
                "timestamp": record.quote["fetched_at"] * 1000,
                "timestampType": "CREATE_TIME",
                "key": encoded(record.key),
                "value": encoded(record.value),
                "headers": [],
            }
        )
    return {"eventSource": "SelfManagedKafka", "bootstrapServers": "b-1:9092", "records": partitions}


def invoke(deployment: Deployment, function: str, event: dict[str, Any]) -> dict[str, Any]:
    """The outcome of a deployed function, which must succeed."""
    name = deployment.outputs["functions"][function]
    answer = deployment.account.client("lambda").invoke(FunctionName=name, Payload=json.dumps(event))
    payload = answer["Payload"].read()
    assert "FunctionError" not in answer, payload
    return json.loads(payload)


def field_of(alarm: dict[str, Any], field: str) -> Any:
    """A field of Terraform's alarm, of what CloudWatch answers."""
    if field == "dimensions":
        return {one["Name"]: one["Value"] for one in alarm["Dimensions"]}
    if field == "ok_actions":
        return alarm["OKActions"]
    return alarm["".join(word.title() for word in field.split("_"))]
