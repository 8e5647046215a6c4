"""A Lambda handler in Python that imports what a Kafka consumer for S3 needs. Its start is compared with ours."""

import boto3
import confluent_kafka

S3 = boto3.client("s3", region_name="us-east-1", endpoint_url="http://127.0.0.1:1")
CONSUMER = confluent_kafka.Consumer


def handler(event: object, _: object) -> object:
    """Return the event. It is never called."""
    return event
