"""What must exist before what: no mock can see it, and AWS is eventually consistent."""

import re

from testkit.flow import FUNCTIONS
from testkit.terraform import Terraform

MODULES = [function.replace("-", "_") for function in FUNCTIONS]
# A resource, and what it must wait for.
EXPECTED = {
    # A function without its rights fails, and its log group is created automatically, without a retention.
    **{f"module.{one}.aws_lambda_function.this": f"module.{one}.aws_iam_role_policy.this" for one in MODULES},
    **{f"module.{one}.aws_iam_role_policy.this": f"module.{one}.aws_cloudwatch_log_group.this" for one in MODULES},
    "module.schedules.aws_scheduler_schedule.this": "module.schedules.aws_iam_role_policy.this",
    "aws_lambda_event_source_mapping.archive_quotes": "aws_lambda_invocation.topic",
    "aws_s3_bucket_notification.archived": "module.archived_queue.aws_sqs_queue.this",
    "module.network.aws_nat_gateway.this": "module.network.aws_internet_gateway.this",
    "module.bronze_bucket.aws_s3_bucket_policy.this": "module.bronze_bucket.aws_s3_bucket_public_access_block.this",
    "module.page.aws_apigatewayv2_stage.this": "module.page.aws_apigatewayv2_route.this",
}


def missing_order(terraform: Terraform, expected: dict[str, str]) -> list[str]:
    """The resources that do not wait, at whatever distance, for what they must, as Terraform's own graph says."""
    edges = re.findall(r'^\s*"(.*?)" -> "(.*?)"', terraform.succeed("graph"), re.M)
    waits_for: dict[str, set[str]] = {}
    for source, target in edges:
        waits_for.setdefault(source, set()).add(target)

    def behind(source: str) -> set[str]:
        found: set[str] = set()
        waiting = [source]
        while waiting:
            new = waits_for.get(waiting.pop(), set()) - found
            found |= new
            waiting += new
        return found

    return [source for source, first in expected.items() if first not in behind(source)]
