"""Defects in `infra/` that AWS would only show when it runs, each as one replacement in one file.

A review once made all of them at once, and every test still passed. `make mutate-infra` makes each alone and says which
test notices.
"""

import re
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ordering import EXPECTED, missing_order
from testkit.terraform import Terraform


@dataclass(frozen=True)
class Mutation:
    """A defect: the file below `infra/`, what is there (a pattern that occurs once), and what is there instead."""

    name: str
    file: str
    pattern: str
    replacement: str

    def apply(self, infra: Path) -> None:
        """Make it in a copy of `infra/`."""
        file = infra / self.file
        text, count = re.subn(self.pattern, self.replacement, file.read_text(), flags=re.S)
        assert count == 1, f"{self.name}: {self.file} has the pattern {count} times"
        file.write_text(text)


NETWORK, STREAM, FUNCTION = (f"modules/{module}/main.tf" for module in ("network", "stream", "function"))
STREAM_RIGHTS, ROOT = "modules/stream/outputs.tf", "aws/main.tf"

MUTATIONS = (
    Mutation("no route to the NAT gateway", NETWORK, r"  route \{\n[^}]*nat_gateway_id[^}]*\}\n", ""),
    Mutation(
        "no way out to port 443",
        STREAM,
        r'(egress_rule" "https" \{\n  for_each = )local\.is_msk',
        r"\1false",
    ),
    Mutation(
        "the trigger may not find the brokers",
        STREAM_RIGHTS,
        r'      \{ actions = \["kafka:DescribeCluster".*?\},\n',
        "",
    ),
    Mutation("the trigger may not read the topic", STREAM_RIGHTS, r', "kafka-cluster:ReadData"', ""),
    Mutation(
        "five of the trigger's six rights to a network are gone",
        STREAM_RIGHTS,
        r'"ec2:CreateNetworkInterface", "ec2:DeleteNetworkInterface", "ec2:DescribeNetworkInterfaces",\s+'
        r'"ec2:DescribeSecurityGroups", "ec2:DescribeSubnets", ',
        "",
    ),
    Mutation(
        "fetch-quotes may read no secret and write to no topic",
        ROOT,
        r"  statements = concat\(\n    \[\{ actions = \[\"secretsmanager:GetSecretValue\"\], resources = "
        r"\[var\.finnhub_api_key_secret_arn\] \}\],\n    module\.stream\.producer_statements,\n  \)\n",
        "",
    ),
    Mutation(
        "load-quotes may not receive",
        ROOT,
        r'      \{ actions = \["sqs:DeleteMessage", [^\n]*archived_queue\.arn\] \},\n',
        "",
    ),
    # The reviewed version also had ListBucket of the quarantine, for a destination of the trigger that was removed.
    Mutation(
        "archive-quotes may not write to the quarantine",
        ROOT,
        r'      \{ actions = \["s3:PutObject"\], resources = \["\$\{module\.quarantine_bucket\.arn\}/\*"\] \},\n',
        "",
    ),
    Mutation(
        "the bucket reports nothing",
        ROOT,
        r'(aws_s3_bucket_notification" "archived" \{\n  bucket = module\.bronze_bucket\.name\n)\n  queue \{.*?\n  \}\n',
        r"\1",
    ),
    Mutation("the bucket may not send to the queue", ROOT, r"  sending_bucket_arn = [^\n]*\n", ""),
    Mutation(
        "load-quotes has no reserve",
        ROOT,
        r"  reserved_concurrency = local\.functions\[.load-quotes.\]\.reserved_concurrency\n",
        "",
    ),
    Mutation(
        "fetch-quotes is scheduled for another century",
        ROOT,
        r"local\.functions\[.fetch-quotes.\]\.schedule",
        '"cron(* * * * ? 2099)"',
    ),
    Mutation(
        "a scheduled event may wait for six hours",
        "modules/function/variables.tf",
        r"(max_age_seconds  = optional\(number, )300",
        r"\g<1>21600",
    ),
    Mutation(
        "a function may run before its role allows anything",
        FUNCTION,
        r"  depends_on = \[aws_iam_role_policy\.this\]\n",
        "",
    ),
    Mutation(
        "alarms look at another namespace",
        "modules/observability/main.tf",
        r"namespace = local\.catalogue\.namespace, name",
        'namespace = "AWS/Lambda", name',
    ),
    Mutation(
        "nobody may open the page",
        "modules/page/main.tf",
        r'"lambda:InvokeFunction"',
        '"lambda:InvokeFunctionUrl"',
    ),
)


def suites(mutation: Mutation) -> list[str]:
    """The files of tests that are about a file: its module's own, and the whole flow's."""
    module = re.match(r"modules/(\w+)/", mutation.file)
    return [*([f"tests/{module[1]}.tftest.hcl"] if module else []), "tests/flow.tftest.hcl"]


def noticing(terraform: Terraform, tests: list[str]) -> list[str]:
    """The tests that fail: of the order of resources, and of these files."""
    lost = [f"test_what_must_come_first_comes_first: {source}" for source in missing_order(terraform, EXPECTED)]
    printed = terraform.run("test", *(f"-filter={test}" for test in tests)).stdout
    failed = re.findall(r'^(tests/\S+)\.\.\. in progress$|^  run "(\w+)"\.\.\. fail$', printed, re.M)
    found, file = [], ""
    for started, run in failed:
        file = started or file
        found += [f"{file}: {run}"] if run else []
    assert found or re.search(r"Success! \d+ passed, 0 failed", printed), printed
    return lost + found


def mutated(ready: Path, mutation: Mutation | None, look: Callable[[Terraform], list[str]]) -> list[str]:
    """What `look` finds in a copy of `ready`, an `infra/` whose root for AWS is initialised, with a mutation."""
    with tempfile.TemporaryDirectory() as directory:
        infra = Path(directory) / "infra"
        shutil.copytree(ready, infra, symlinks=True)
        if mutation:
            mutation.apply(infra)
        return look(Terraform(infra / "aws"))
