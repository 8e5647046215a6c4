"""Runs Terraform for the tests: on a copy of `infra/`, with a provider from this machine or from a registry."""

import base64
import json
import os
import re
import shutil
import subprocess
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config

from testkit.finnhub import Finnhub
from testkit.flow import BIN_DIR, DEPLOYED, PROJECT, ROOT, Clients, Record, Stores, environment

PACKAGED = (*DEPLOYED, "serve-dashboard")
PROVIDER = Path("registry.terraform.io/hashicorp/aws")
# Finnhub's key, with a mark, so that it is found where it should not be.
KEY = "c0ffee-marked-finnhub-key"
# Merged over a root's own backend: the state is a file.
BACKEND = 'terraform {\n  backend "local" {}\n}\n'
# Applying and destroying on the emulator take minutes; anything else takes seconds.
LIMIT_SECONDS = 420


def provider_mirror() -> Path | None:
    """The folder of providers for `terraform init`; `None` to use Terraform's own configuration.

    `QUOTEFLOW_TF_PLUGIN_DIR` names it. Otherwise it is searched in Terraform's own folders on Linux, and one level
    below `/opt`.
    """
    if named := os.environ.get("QUOTEFLOW_TF_PLUGIN_DIR"):
        return Path(named)
    usual = [
        Path.home() / ".terraform.d" / "plugins",
        Path("/usr/local/share/terraform/plugins"),
        Path("/usr/share/terraform/plugins"),
        *sorted(Path("/opt").glob("*")),
    ]
    return next((place for place in usual if (place / PROVIDER).is_dir()), None)


class Terraform:
    """Terraform on one root module. All its files are in the root's folder."""

    def __init__(self, root: Path, **variables: str) -> None:
        self.root = root
        self.environment = environment(TF_IN_AUTOMATION="1", CHECKPOINT_DISABLE="1", TF_INPUT="0", **variables)
        # A missing configuration is only a warning of Terraform, but in every output.
        if not Path(self.environment.get("TF_CLI_CONFIG_FILE", os.devnull)).exists():
            del self.environment["TF_CLI_CONFIG_FILE"]

    def run(self, *arguments: str, limit_seconds: float = LIMIT_SECONDS) -> subprocess.CompletedProcess[str]:
        """Run a command of Terraform to its end, whether it succeeds or fails."""
        return subprocess.run(
            ["terraform", *arguments, "-no-color"],  # noqa: S607 - the one that the user has
            cwd=self.root,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=limit_seconds,
            check=False,
        )

    def succeed(self, *arguments: str) -> str:
        """Run a command that must succeed, and return what it printed."""
        done = self.run(*arguments)
        assert done.returncode == 0, f"terraform {' '.join(arguments)}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def init(self) -> None:
        """Get the providers. Skip the test if they are not available."""
        mirror = provider_mirror()
        done = self.run("init", *([f"-plugin-dir={mirror}"] if mirror else []), limit_seconds=180)
        if done.returncode:
            pytest.skip(f"Terraform's AWS provider is neither on this machine nor in a registry: {done.stderr}")

    def outputs(self) -> dict[str, Any]:
        """The root's outputs."""
        return {name: output["value"] for name, output in json.loads(self.succeed("output", "-json")).items()}

    def changes(self, plan: Path) -> dict[str, dict[str, Any]]:
        """What a plan would change, by address."""
        changes = json.loads(self.succeed("show", "-json", str(plan)))["resource_changes"]
        return {
            one["address"]: one["change"] for one in changes if one["change"]["actions"] not in (["no-op"], ["read"])
        }


def copy_of_infra(directory: Path) -> Path:
    """A copy of `infra/` below `directory`, so that nothing is written into the project."""
    copy = directory / "infra"
    shutil.copytree(ROOT / "infra", copy, ignore=shutil.ignore_patterns(".terraform*", ".venv", "*.tfstate*"))
    (copy / "aws" / "backend_override.tf").write_text(BACKEND)
    return copy


def packages(directory: Path, architecture: str = "x86_64") -> Path:
    """The folder with `ARCHITECTURE/FUNCTION.zip`: the zips of `make package`, or zips of the debug executables.

    `QUOTEFLOW_PACKAGE_DIR` names the former.
    """
    if named := os.environ.get("QUOTEFLOW_PACKAGE_DIR"):
        return Path(named).resolve()
    for function in PACKAGED:
        folder = directory / "bootstraps" / function
        folder.mkdir(parents=True)
        shutil.copy2(BIN_DIR / function, folder / "bootstrap")
        shutil.make_archive(str(directory / architecture / function), "zip", folder)
    return directory


class Account:
    """The resources in the emulator, as boto3 sees them."""

    def __init__(self, endpoint: str) -> None:
        self._session = boto3.session.Session("test", "test", region_name="us-east-1")
        # A session can create clients only for one thread at a time.
        self._lock = threading.Lock()
        self._endpoint = endpoint

    def client(self, service: str) -> Any:
        """A client of one of AWS's services."""
        with self._lock:
            return self._session.client(service, endpoint_url=self._endpoint, config=Config(read_timeout=120))

    def pages(self, service: str, operation: str, key: str, **parameters: Any) -> list[Any]:
        """All entries of a listing."""
        client = self.client(service)
        if client.can_paginate(operation):
            pages = client.get_paginator(operation).paginate(**parameters)
        else:
            pages = [getattr(client, operation)(**parameters)]
        return [entry for page in pages for entry in page.get(key, [])]

    def everything(self) -> dict[str, list[str]]:
        """The names of all resources of a deployment, by kind. A kind without resources is left out.

        A log group without a retention does not belong to a deployment. The emulator creates one if an invocation ends
        after its function's group was destroyed. AWS does not, because no role here may create a log group.
        """
        found = {
            "buckets": [one["Name"] for one in self.pages("s3", "list_buckets", "Buckets")],
            "queues": self.pages("sqs", "list_queues", "QueueUrls"),
            "functions": [one["FunctionName"] for one in self.pages("lambda", "list_functions", "Functions")],
            "triggers": [
                one["UUID"] for one in self.pages("lambda", "list_event_source_mappings", "EventSourceMappings")
            ],
            "roles": [one["RoleName"] for one in self.pages("iam", "list_roles", "Roles")],
            "logs": [
                one["logGroupName"]
                for one in self.pages("logs", "describe_log_groups", "logGroups")
                if "retentionInDays" in one
            ],
            "schedules": [one["Name"] for one in self.pages("scheduler", "list_schedules", "Schedules")],
            "alarms": [one["AlarmName"] for one in self.pages("cloudwatch", "describe_alarms", "MetricAlarms")],
            "dashboards": [
                one["DashboardName"] for one in self.pages("cloudwatch", "list_dashboards", "DashboardEntries")
            ],
            "topics": [one["TopicArn"] for one in self.pages("sns", "list_topics", "Topics")],
            "repositories": [
                one["repositoryName"] for one in self.pages("ecr", "describe_repositories", "repositories")
            ],
        }
        return {kind: names for kind, names in found.items() if names}


@dataclass
class Deployment:
    """`infra/aws`, applied to the emulator, with servers for everything that is not AWS."""

    name: str
    terraform: Terraform
    servers: "Servers"
    outputs: dict[str, Any]

    def destroy(self, *variables: str) -> None:
        """Remove it with Terraform.

        Sometimes the emulator answers late. Then the provider repeats the deletion of a dashboard. The emulator's error
        code for a missing dashboard is not AWS's, so the provider stops. The next `destroy` must succeed.
        """
        done = self.terraform.run("destroy", "-auto-approve", *variables)
        if "DashboardNotFoundError" in done.stderr:
            done = self.terraform.run("destroy", "-auto-approve", *variables)
        assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"

    @property
    def account(self) -> Account:
        """The account of the deployment."""
        return self.servers.account

    def clients(self) -> Clients:
        """Clients of its stores, for its topic and buckets."""
        return self.servers.stores.clients(topic=self.outputs["kafka"]["topic"])

    def invoke(self, function: str, event: dict[str, Any]) -> dict[str, Any]:
        """The result of a deployed function, which must succeed."""
        name = self.outputs["functions"][function]
        answer = self.account.client("lambda").invoke(FunctionName=name, Payload=json.dumps(event))
        payload = answer["Payload"].read()
        assert "FunctionError" not in answer, payload
        return json.loads(payload)

    def archive(self, records: list[Record]) -> dict[str, Any]:
        """Send archive-quotes records, as its trigger would, because the emulator has no Kafka triggers."""
        return self.invoke("archive-quotes", kafka_event(records, self.outputs["kafka"]["topic"]))


@dataclass
class Servers:
    """One account of AWS, one Kafka, one BigQuery and one Finnhub, for any number of deployments."""

    stores: Stores
    account: Account
    finnhub: Finnhub
    secret_arn: str
    packages: Path

    def deploy(
        self, name: str, terraform: Terraform, directory: Path, dataset: str = "stock", **variables: Any
    ) -> Deployment:
        """Apply a copy of the root below `directory`, with the values that `make deploy` keeps in Systems Manager."""
        shutil.copytree(terraform.root.parent, directory, dirs_exist_ok=True)
        root = directory / "aws"
        shutil.copy2(ROOT / "tests/infra/emulator_override.tf", root)
        google = {
            "name": name,
            "aws_account_id": "000000000000",
            "bigquery": {"project": PROJECT, "dataset": dataset, "location": "US"},
            "audience": None,
            "service_accounts": {},
        }
        parameters = {"google": json.dumps(google), "transform-image-uri": f"transform-quotes@sha256:{'0' * 64}"}
        for parameter, value in parameters.items():
            self.account.client("ssm").put_parameter(Name=f"/{name}/{parameter}", Value=value, Type="String")
        own = {"AWS_ENDPOINT_URL": self.stores.aws}
        warehouse = own | {"BIGQUERY_ENDPOINT": self.stores.bigquery}
        given = {
            "name": name,
            "finnhub_api_key_secret_arn": self.secret_arn,
            "stream": {
                "type": "self_managed",
                "self_managed": {
                    "bootstrap_servers": [self.stores.kafka],
                    "security": "plaintext",
                    # The emulator runs functions on its own machine.
                    "subnet_ids": ["subnet-1"],
                    "security_group_ids": ["sg-1"],
                },
            },
            "has_kafka_trigger": False,
            "has_public_page": True,
            "package_dir": str(self.packages),
            "are_buckets_destroyed_with_objects": True,
            "environment": {
                "fetch-quotes": own | {"FINNHUB_BASE_URL": self.finnhub.base_url},
                "archive-quotes": own,
                "load-quotes": warehouse,
                "reconcile-quotes": warehouse,
                "transform-quotes": warehouse,
                "serve-dashboard": warehouse,
            },
        }
        (root / "emulator.auto.tfvars.json").write_text(json.dumps(given | variables))
        credentials = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"}
        applied = Terraform(root, AWS_ENDPOINT_URL=self.stores.aws, **credentials)
        try:
            applied.succeed("apply", "-auto-approve")
        except AssertionError as error:
            # The provider repeats a CreateSchedule whose answer was lost. AWS recognises it by its client token; the
            # emulator refuses it.
            if not (repeated := re.findall(r"Schedule (\S+) already exists", str(error))):
                raise
            for schedule in repeated:
                self.account.client("scheduler").delete_schedule(Name=schedule)
            applied.succeed("apply", "-auto-approve")
        return Deployment(name, applied, self, applied.outputs())


def kafka_event(records: list[Record], topic: str) -> dict[str, Any]:
    """The event that an event source mapping sends for records.

    See https://docs.aws.amazon.com/lambda/latest/dg/with-msk.html, "Example event".
    """

    def encoded(data: bytes | None) -> str:
        return base64.b64encode(data or b"").decode()

    partitions: dict[str, list[dict[str, Any]]] = {}
    for record in records:
        partitions.setdefault(f"{topic}-{record.partition}", []).append(
            {
                "topic": topic,
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
