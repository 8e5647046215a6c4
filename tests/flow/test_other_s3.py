"""A run whose S3 is another server than the AWS endpoint, as MinIO is: it posts its events, for it knows no SQS."""

import json
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import boto3
import pytest
from testkit.flow import BRONZE_BUCKET, Clients, Flow, Stores, answers, wait_until

SYMBOLS = 5


class OtherS3(Stores):
    """A separate S3 server."""

    def _start(self) -> None:
        self.start_aws()
        wait_until(lambda: answers(self.clients().s3.list_buckets), "answer of S3")


@dataclass
class OnOtherS3:
    """What a run of one poll has left in each S3 and in bronze, and the event of each object."""

    objects: dict[str, bytes]
    buckets_at_aws: list[str]
    bronze: dict[str, str]
    status_of_event: set[int]


def event_of(key: str) -> bytes:
    """What MinIO posts of a new object.

    https://docs.min.io/community/minio-object-store/administration/monitoring/bucket-notifications.html
    """
    bucket = {"name": BRONZE_BUCKET, "arn": f"arn:aws:s3:::{BRONZE_BUCKET}", "ownerIdentity": {"principalId": "minio"}}
    record = {
        "eventVersion": "2.0",
        "eventSource": "minio:s3",
        "awsRegion": "",
        "eventName": "s3:ObjectCreated:Put",
        "s3": {"s3SchemaVersion": "1.0", "bucket": bucket, "object": {"key": quote(key, safe=""), "size": 1}},
    }
    return json.dumps({"EventName": record["eventName"], "Key": f"{BRONZE_BUCKET}/{key}", "Records": [record]}).encode()


@pytest.fixture(scope="module")
def on_other_s3(new_data_dir: Callable[[str], Path]) -> Iterator[OnOtherS3]:
    with OtherS3(new_data_dir("s3")) as other:
        variables = {"AWS_ENDPOINT_URL_S3": other.aws, "S3_ACCESS_KEY_ID": "test", "S3_SECRET_ACCESS_KEY": "test"}
        # It ends when it is asked to.
        with Flow(new_data_dir("on-other-s3"), "--polls", "1000", **variables) as flow:
            report = flow.await_report(lambda report: report["stages"]["archived"]["count"] >= SYMBOLS, "object")
            endpoints = report["endpoints"]
            clients = Clients(endpoints["kafka_bootstrap_servers"], other.aws, endpoints["bigquery_endpoint"])
            objects = clients.objects()
            webhook = endpoints["metrics_url"].replace("/metrics", "/object-events")
            statuses = set()
            for key in objects:
                post = urllib.request.Request(webhook, event_of(key))  # noqa: S310 - it is ours
                with urllib.request.urlopen(post, timeout=10) as answer:  # noqa: S310 - it is ours
                    statuses.add(answer.status)

            def bronze() -> dict[str, str]:
                rows = clients.rows("SELECT object_key, quote_id FROM stock.bronze_stock_quotes_raw")
                return {row["object_key"]: row["quote_id"] for row in rows}

            wait_until(lambda: objects.keys() <= bronze().keys(), "row of each object that had an event")
            at_aws = boto3.client(
                "s3",
                endpoint_url=endpoints["aws_endpoint_url"],
                region_name="us-east-1",
                aws_access_key_id="test",
                aws_secret_access_key="test",  # noqa: S106 - the stand-in takes any
            )
            buckets = [bucket["Name"] for bucket in at_aws.list_buckets()["Buckets"]]
            yield OnOtherS3(objects, buckets, bronze(), statuses)


def test_objects_are_in_the_other_s3_alone(on_other_s3: OnOtherS3) -> None:
    assert len(on_other_s3.objects) >= SYMBOLS
    assert on_other_s3.buckets_at_aws == []


def test_a_posted_event_is_taken_and_its_object_is_loaded(on_other_s3: OnOtherS3) -> None:
    assert on_other_s3.status_of_event == {200}
    for key, body in on_other_s3.objects.items():
        assert on_other_s3.bronze[key] == json.loads(body)["quote_id"]
