"""`quoteflow replay` and `quoteflow redrive`, which need the servers and the functions, not a run."""

import base64
import json
from collections import Counter

import boto3
import pytest
from conftest import OnOtherServers
from testkit.flow import BRONZE_BUCKET, DEAD_LETTER_QUEUE, QUARANTINE_BUCKET, local, wait_until

SYMBOL = "REPAIRED"


def quarantined(value: bytes, offset: int) -> bytes:
    """What archive-quotes writes for a record that is not a quote."""
    record = {"topic": "stock-quotes", "partition": 0, "offset": offset, "timestamp": 1_704_067_256_000}
    envelope = {"at": f"stock-quotes-0@{offset}", "reason": "the test's", "value": base64.b64encode(value).decode()}
    return json.dumps(record | envelope).encode()


@pytest.fixture
def sqs(on_other_servers: OnOtherServers) -> boto3.client:
    return boto3.client(
        "sqs",
        endpoint_url=on_other_servers.stores.aws,
        region_name="us-east-1",
        aws_access_key_id="test",
        aws_secret_access_key="test",  # noqa: S106 - the stand-in takes any
    )


def test_a_replay_brings_back_what_bronze_has_lost_and_doubles_nothing(on_other_servers: OnOtherServers) -> None:
    clients = on_other_servers.clients
    before = Counter(clients.bronze_ids())
    clients.rows("DELETE FROM stock.bronze_stock_quotes_raw WHERE symbol = 'MSFT'")
    assert len(clients.bronze_ids()) < before.total()
    for _ in range(2):
        replayed = local("replay", "--data-dir", on_other_servers.data_dir, "--from", "2020-01-01")
        assert replayed.returncode == 0, replayed.stderr
        assert f"queued {before.total()} objects of 5 symbols" in replayed.stdout
        wait_until(lambda: Counter(clients.bronze_ids()) == before, "row for every quote")


def test_a_replay_without_a_beginning_says_what_it_needs(on_other_servers: OnOtherServers) -> None:
    refused = local("replay", "--data-dir", on_other_servers.data_dir)
    assert refused.returncode != 0
    assert "--from" in refused.stderr


def test_a_redrive_archives_what_is_a_quote_now_and_keeps_what_is_not(on_other_servers: OnOtherServers) -> None:
    clients = on_other_servers.clients
    value = b'{"c":1.50,"symbol":"%s","fetched_at":1704067256}' % SYMBOL.encode()
    left_by_a_killed_start = ".quoteflow-probe/1-2"
    for key, body in (
        ("good.json", quarantined(value, 1)),
        ("bad.json", quarantined(b"[]", 2)),
        (left_by_a_killed_start, b""),
    ):
        clients.s3.put_object(Bucket=QUARANTINE_BUCKET, Key=key, Body=body)
    redriven = local("redrive", "--data-dir", on_other_servers.data_dir)
    assert redriven.returncode == 0, redriven.stderr
    assert "archived 1 quarantined records; 1 are still not valid quotes" in redriven.stdout
    key = f"{SYMBOL}/1704067256.json"
    where = f"FROM stock.bronze_stock_quotes_raw WHERE symbol = '{SYMBOL}'"
    rows = wait_until(lambda: clients.rows(f"SELECT c, object_key {where}"), "row of the redriven quote")
    assert rows == [{"c": 1.5, "object_key": key}]
    # The record that is still not a quote was quarantined again, under its own key, beside the test's.
    assert "good.json" not in clients.objects(QUARANTINE_BUCKET)
    for left in (left_by_a_killed_start, *clients.objects(QUARANTINE_BUCKET)):
        clients.s3.delete_object(Bucket=QUARANTINE_BUCKET, Key=left)
    clients.s3.delete_object(Bucket=BRONZE_BUCKET, Key=key)
    clients.rows(f"DELETE {where}")


def test_a_redrive_gives_dead_letters_another_try(on_other_servers: OnOtherServers, sqs: boto3.client) -> None:
    clients = on_other_servers.clients
    before = Counter(clients.bronze_ids())
    key = next(key for key in clients.objects() if key.startswith("AAPL/"))
    clients.rows(f"DELETE FROM stock.bronze_stock_quotes_raw WHERE object_key = '{key}'")
    event = {"Records": [{"eventName": "ObjectCreated:Put",
                          "s3": {"bucket": {"name": BRONZE_BUCKET}, "object": {"key": key}}}]}  # fmt: skip
    letters = sqs.get_queue_url(QueueName=DEAD_LETTER_QUEUE)["QueueUrl"]
    sqs.send_message(QueueUrl=letters, MessageBody=json.dumps(event))
    redriven = local("redrive", "--data-dir", on_other_servers.data_dir)
    assert "queued 1 dead letters" in redriven.stdout, redriven
    wait_until(lambda: Counter(clients.bronze_ids()) == before, "row of the dead letter's object")
    assert "Messages" not in sqs.receive_message(QueueUrl=letters)
