"""The real `infra/aws`, applied to the emulator: quotes go through what it made, and nothing is left of it at the end.

The tests are in the order of a deployment's life.
"""

import json
import re
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from typing import Any

import pytest
from testkit.flow import environment, wait_until
from testkit.terraform import KEY, Deployment

# The schedule's first minute, then its first poll.
FIRST_QUOTE_SECONDS = 150


def test_the_scheduled_function_publishes_with_the_secret_it_was_named(deployment: Deployment) -> None:
    clients = deployment.clients()
    wait_until(lambda: len(clients.records()) >= 5, "quotes of a scheduled invocation", FIRST_QUOTE_SECONDS)
    assert deployment.servers.finnhub.refused == 0


def test_quotes_reach_bronze_once_through_the_deployed_functions(deployment: Deployment) -> None:
    clients = deployment.clients()
    records = clients.records()
    first = deployment.archive(records)
    assert first == {"archived": len(records), "already_archived": 0, "quarantined": 0}
    again = deployment.archive(records)
    assert again == {"archived": 0, "already_archived": len(records), "quarantined": 0}

    ids = sorted(record.quote["quote_id"] for record in records)
    wait_until(lambda: len(clients.bronze_ids()) >= len(ids), "quotes in bronze")
    assert sorted(clients.bronze_ids()) == ids
    assert len(clients.objects(deployment.outputs["buckets"]["bronze"])) == len(ids)
    assert clients.objects(deployment.outputs["buckets"]["quarantine"]) == {}

    outcome = deployment.invoke("reconcile-quotes", {"all": False, "grace_seconds": 0})
    assert (outcome["objects"], outcome["queued"]) == (len(ids), 0)


def test_the_smoke_test_follows_a_quote(deployment: Deployment) -> None:
    infra = deployment.terraform.root.parent
    (infra / "env" / "emulator").mkdir()
    (infra / "env" / "emulator" / "aws.tfvars").write_text(f'name = "{deployment.name}"\n')
    stores = deployment.servers.stores
    done = threading.Event()

    def be_the_trigger() -> None:
        seen: set[tuple[int, int]] = set()
        while not done.wait(1):
            records = [one for one in deployment.clients().records() if (one.partition, one.offset) not in seen]
            if records:
                deployment.archive(records)
                seen |= {(one.partition, one.offset) for one in records}

    steps = ["triggers", "fetch", "objects", "bronze", "gold", "page", "failures"]
    servers = {"AWS_ENDPOINT_URL": stores.aws, "BIGQUERY_ENDPOINT": stores.bigquery}
    credentials = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"}

    def smoke(seconds: int, *chosen: str) -> subprocess.CompletedProcess[str]:
        without = [argument for step in steps if step not in chosen for argument in ("--without", step)]
        return subprocess.run(
            [sys.executable, infra / "smoke.py", "emulator", *without, "--seconds", str(seconds)],
            env=environment(**servers, **credentials),
            capture_output=True,
            text=True,
            timeout=200,
            check=False,
        )

    # dbt makes gold, and its image does not run here; the page's address is not one of this machine.
    chosen = ("triggers", "fetch", "objects", "bronze")
    missed = smoke(3, *chosen)
    assert missed.returncode == 1
    assert "no object arrived in the bucket" in missed.stderr
    trigger = threading.Thread(target=be_the_trigger)
    trigger.start()
    try:
        followed = smoke(120, *chosen)
    finally:
        done.set()
        trigger.join()
    assert followed.returncode == 0, followed.stdout + followed.stderr
    assert tuple(re.findall(r"^ *[\d.]+ s  (\w+)", followed.stdout, re.M)) == chosen

    # The emulator takes an event that meets a running function for a failed one.
    sqs, failed = deployment.account.client("sqs"), deployment.outputs["queues"]["failed_events"]
    sqs.purge_queue(QueueUrl=failed)
    assert smoke(3, "failures").returncode == 0
    sqs.send_message(QueueUrl=failed, MessageBody="{}")
    assert "1 messages wait in" in smoke(3, "failures").stderr


def test_the_page_answers_who_reads_and_nobody_else(deployment: Deployment) -> None:
    api_id = re.match(r"https?://([^.]+)\.", deployment.outputs["dashboard_url"])
    assert api_id
    page = f"{deployment.servers.stores.aws}/_aws/execute-api/{api_id[1]}/$default"
    with urllib.request.urlopen(f"{page}/api/openapi.json", timeout=30) as answer:  # noqa: S310 - the emulator
        assert json.load(answer)["openapi"].startswith("3.")
    with urllib.request.urlopen(f"{page}/", timeout=30) as answer:  # noqa: S310 - the emulator
        assert answer.status == 200
    request = urllib.request.Request(f"{page}/api/kpi", data=b"{}", method="POST")  # noqa: S310 - the emulator
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(request, timeout=30)  # noqa: S310 - the emulator
    assert refused.value.code == 404, "the API has no such route: the function is not asked"


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
    made = {"buckets", "queues", "functions", "roles", "logs", "alarms", "repositories"}
    assert set(deployment.account.everything()) >= made
    # Whoever removes it need not have built it.
    deployment.destroy("-var=package_dir=gone")
    assert deployment.account.everything() == {}
    secrets = deployment.account.pages("secretsmanager", "list_secrets", "SecretList")
    assert [secret["Name"] for secret in secrets] == ["finnhub-api-key"], "the operator's own secret stays"


def field_of(alarm: dict[str, Any], field: str) -> Any:
    """A field of Terraform's alarm, of what CloudWatch answers."""
    if field == "dimensions":
        return {one["Name"]: one["Value"] for one in alarm["Dimensions"]}
    if field == "ok_actions":
        return alarm["OKActions"]
    return alarm["".join(word.title() for word in field.split("_"))]
