"""Every acknowledged quote ends in bronze, once, whatever fails on its way."""

import json
import random
import time
import uuid
from collections.abc import Iterable, Iterator

import pytest
from testkit.faults import FAULTS, VISIBILITY_SECONDS, Trial, mixed, trial
from testkit.flow import BRONZE_BUCKET, TOPIC, wait_until

LOST = "LOST"
MIXES = 3
POISON = "AAPL/1704067256.json"


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trial]:
    with trial(tmp_path_factory.mktemp("faults")) as made:
        yield made


def settle(running: Trial, fault: str, injected: str) -> None:
    quotes_in, quotes_out = running.settle()
    print(f"| {fault} | {injected} | {quotes_in} | {quotes_out} |")


@pytest.mark.parametrize("fault", FAULTS)
def test_nothing_is_lost_and_nothing_is_twice(running: Trial, fault: str) -> None:
    running.more_quotes(5)
    (injected,) = running.inject(fault)
    settle(running, fault, injected)


def test_nothing_is_lost_and_nothing_is_twice_when_faults_overlap(running: Trial) -> None:
    chance = random.Random(2)  # noqa: S311 - a seeded sequence
    for faults in (mixed(chance) for _ in range(MIXES)):
        running.more_quotes(5)
        print(faults, running.inject(*faults))
    settle(running, "chaos", f"{MIXES} pairs of faults")


def publish(running: Trial, seconds: Iterable[int]) -> None:
    """Publish a quote of `LOST` for each second, as another producer."""
    with running.clients.producer() as producer:
        for second in seconds:
            quote = {"c": 150.25, "t": second, "symbol": LOST, "fetched_at": second, "quote_id": str(uuid.uuid4())}
            producer.send(TOPIC, key=LOST.encode(), value=json.dumps(quote).encode())
        producer.flush(timeout=60)


def archived(running: Trial) -> int:
    pages = running.clients.s3.get_paginator("list_objects_v2").paginate(Bucket=BRONZE_BUCKET, Prefix=f"{LOST}/")
    return sum(page["KeyCount"] for page in pages)


def test_losing_every_notification_for_an_hour_costs_nothing_but_time(running: Trial) -> None:
    end = int(time.time())
    # More than the 1,000 keys that a listing has on a page.
    hour = [end - 3600 + 3600 * number // 1010 for number in range(1010)]
    with running.notifications({}):
        publish(running, hour)
        wait_until(lambda: archived(running) == len(hour), "object for every quote")
    # The watermark moves past all that was lost.
    publish(running, [end])
    loaded = f"SELECT quote_id FROM stock.bronze_stock_quotes_raw WHERE symbol = '{LOST}'"
    wait_until(lambda: running.clients.rows(loaded), "row of the later quote")
    assert running.reconcile(LOST, grace_seconds=600) == 0
    assert running.reconcile(LOST) == len(hour)
    others = {record.quote["symbol"] for record in running.clients.records()} - {LOST}
    running.reconcile(*others)
    settle(running, "an hour of notifications lost", f"{len(hour)} objects of one symbol, then reconcile-quotes")


def test_an_object_that_is_not_a_quote_ends_in_the_dead_letter_queue_with_the_reason_logged(running: Trial) -> None:
    letters = running.queue("quotes-archived-dlq")
    running.set_visibility(3)
    running.clients.s3.put_object(Bucket=BRONZE_BUCKET, Key=POISON, Body=b'{"symbol":"AAPL","fetched_at":"never"}')
    receive = {"QueueUrl": letters, "WaitTimeSeconds": 1}
    (letter,) = wait_until(lambda: running.sqs.receive_message(**receive).get("Messages"), "dead letter")
    running.set_visibility(VISIBILITY_SECONDS)
    running.clients.s3.delete_object(Bucket=BRONZE_BUCKET, Key=POISON)
    running.sqs.delete_message(QueueUrl=letters, ReceiptHandle=letter["ReceiptHandle"])
    (record,) = json.loads(letter["Body"])["Records"]
    assert record["s3"]["object"]["key"] in (POISON, POISON.replace("/", "%2F"))
    logged = running.logs.filter_log_events(logGroupName="/aws/lambda/load-quotes", filterPattern='"is not a quote"')
    messages = [event["message"] for event in logged["events"]]
    assert any(POISON in message and "fetched_at" in message for message in messages), messages
    settle(running, "an object that is not a quote", "one object, received 5 times, then a dead letter")
