"""What each role may do, compared with what the function's code calls: neither a right too few nor one too many."""

import json
import re

import pytest
from testkit.flow import ROOT

# What the policies hold, as `tests/flow.tftest.hcl` checks.
ROLES = json.loads((ROOT / "infra/aws/tests/roles.json").read_text())
# The SDKs' calls, and the right that each needs.
CALLS = {
    "get_object": "s3:GetObject",
    "head_object": "s3:GetObject",
    "put_object": "s3:PutObject",
    "copy_object": "s3:PutObject",
    "delete_object": "s3:DeleteObject",
    "delete_objects": "s3:DeleteObject",
    "list_objects": "s3:ListBucket",
    "list_objects_v2": "s3:ListBucket",
    "send_message": "sqs:SendMessage",
    "send_message_batch": "sqs:SendMessage",
    "receive_message": "sqs:ReceiveMessage",
    "delete_message": "sqs:DeleteMessage",
    "delete_message_batch": "sqs:DeleteMessage",
    "change_message_visibility": "sqs:ChangeMessageVisibility",
    "get_queue_attributes": "sqs:GetQueueAttributes",
    "get_queue_url": "sqs:GetQueueUrl",
    "get_parameter": "ssm:GetParameter",
    "put_metric_data": "cloudwatch:PutMetricData",
    "publish": "sns:Publish",
}
LAMBDA = {
    # Its log and its traces.
    "logs:CreateLogStream",
    "logs:PutLogEvents",
    "xray:PutTelemetryRecords",
    "xray:PutTraceSegments",
}
NETWORK = {
    "ec2:CreateNetworkInterface",
    "ec2:DeleteNetworkInterface",
    "ec2:DescribeNetworkInterfaces",
    "ec2:DescribeSubnets",
}
# What Lambda, its triggers and librdkafka do with the role, by AWS's documentation of each.
BESIDES = {
    "fetch-quotes": LAMBDA
    | NETWORK
    | {"ec2:AssignPrivateIpAddresses", "ec2:UnassignPrivateIpAddresses"}
    | {"kafka-cluster:Connect", "kafka-cluster:CreateTopic", "kafka-cluster:DescribeTopic"}
    | {"kafka-cluster:WriteData", "kafka-cluster:WriteDataIdempotently"}
    # The queue of failed events; the key, which function-kit reads.
    | {"sqs:SendMessage", "secretsmanager:GetSecretValue"},
    "archive-quotes": LAMBDA
    | NETWORK
    | {"ec2:DescribeSecurityGroups", "ec2:DescribeVpcs"}
    | {"kafka:DescribeCluster", "kafka:DescribeClusterV2", "kafka:GetBootstrapBrokers"}
    | {"kafka-cluster:Connect", "kafka-cluster:DescribeClusterDynamicConfiguration", "kafka-cluster:DescribeTopic"}
    | {"kafka-cluster:ReadData", "kafka-cluster:AlterGroup", "kafka-cluster:DescribeGroup"},
    # Without ListBucket a deleted object is answered by 403 and not by 404.
    "load-quotes": LAMBDA | {"sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:GetQueueAttributes", "s3:ListBucket"},
    "reconcile-quotes": LAMBDA | {"sqs:SendMessage"},
    "transform-quotes": LAMBDA | {"sqs:SendMessage"},
    "serve-dashboard": LAMBDA,
}


def called(function: str) -> set[str]:
    """The rights that a function's own code needs."""
    folder = ROOT / "functions" / function
    files = [*folder.glob("src/**/*.rs"), *folder.glob("*_quotes/*.py")]
    assert files
    # Tests call servers of their own.
    texts = [file.read_text().split("#[cfg(test)]")[0] for file in files if file.stem != "tests"]
    return {CALLS[call] for text in texts for call in re.findall(r"\.(\w+)\(", text) if call in CALLS}


@pytest.mark.parametrize("function", ROLES)
def test_a_role_allows_what_the_code_calls_and_no_more(function: str) -> None:
    allowed = {right.split(" ")[0] for right in ROLES[function]}
    needed = called(function)
    assert needed <= allowed
    assert allowed <= needed | BESIDES[function]
    assert BESIDES[function] <= allowed, "what AWS's documentation asks for"


def test_the_calls_are_found() -> None:
    """As a check of the check: each function that uses S3 or SQS is seen to."""
    assert called("archive-quotes") == {"s3:GetObject", "s3:PutObject"}
    assert called("reconcile-quotes") == {"s3:GetObject", "s3:ListBucket", "sqs:SendMessage"}
    assert "s3:GetObject" in called("load-quotes")
    assert called("serve-dashboard") == set()


def test_a_right_is_for_one_resource_where_aws_has_one() -> None:
    # Neither X-Ray nor the network interfaces of Lambda have resources to name.
    unnamed = {right for rights in ROLES.values() for right in rights if right.endswith(" *")}
    assert {right.partition(":")[0] for right in unnamed} == {"ec2", "xray"}
    by_bucket = {function: {right for right in rights if right.startswith("s3:")} for function, rights in ROLES.items()}
    assert by_bucket["archive-quotes"] == {
        "s3:GetObject arn:aws:s3:::bronze/*",
        "s3:PutObject arn:aws:s3:::bronze/*",
        "s3:PutObject arn:aws:s3:::quarantine/*",
    }
    assert "s3:PutObject arn:aws:s3:::bronze/*" not in by_bucket["load-quotes"] | by_bucket["reconcile-quotes"]
