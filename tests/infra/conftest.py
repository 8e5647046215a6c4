"""Terraform, ready to run on a copy of `infra/`."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from finnhub import serve
from flowkit import PROJECT, Stores
from google.cloud.bigquery import SchemaField, Table, TimePartitioning, TimePartitioningType
from infrakit import KEY, Account, Deployment, Terraform, copy_of_infra, packages


@pytest.fixture(scope="session")
def terraform(tmp_path_factory: pytest.TempPathFactory) -> Terraform:
    """The root for AWS with its provider."""
    if not shutil.which("terraform"):
        pytest.skip("terraform is not installed")
    terraform = Terraform(copy_of_infra(tmp_path_factory.mktemp("infra")) / "aws")
    terraform.init()
    return terraform


@pytest.fixture(scope="session")
def deployment(terraform: Terraform, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    """Apply the real root to the emulator. What the emulator lacks is off: the Kafka trigger, and running images."""
    directory = tmp_path_factory.mktemp("deployment")
    copy = directory / "aws"
    shutil.copytree(terraform.root.parent, directory, dirs_exist_ok=True)
    shutil.copy2(Path(__file__).parent / "emulator_override.tf", copy)
    with Stores(directory / "servers") as stores, serve(KEY) as finnhub:
        make_tables(stores, copy.parent / "gcp" / "tables.json")
        account = Account(stores.aws)
        secret = account.client("secretsmanager").create_secret(Name="finnhub-api-key", SecretString=KEY)
        own = {"AWS_ENDPOINT_URL": stores.aws}
        warehouse = own | {"BIGQUERY_ENDPOINT": stores.bigquery}
        variables = {
            "finnhub_api_key_secret_arn": secret["ARN"],
            "stream": {
                "type": "self_managed",
                "self_managed": {"bootstrap_servers": [stores.kafka], "security": "plaintext"},
            },
            "has_kafka_trigger": False,
            "bigquery": {"project": PROJECT},
            "transform_image_uri": f"transform-quotes@sha256:{'0' * 64}",
            "package_dir": str(packages(directory / "packages")),
            "are_buckets_destroyed_with_objects": True,
            "environment": {
                "fetch-quotes": own | {"FINNHUB_BASE_URL": finnhub.base_url},
                "archive-quotes": own,
                "load-quotes": warehouse,
                "reconcile-quotes": warehouse,
                "transform-quotes": warehouse,
            },
        }
        (copy / "emulator.auto.tfvars.json").write_text(json.dumps(variables))
        credentials = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"}
        applied = Terraform(copy, AWS_ENDPOINT_URL=stores.aws, **credentials)
        applied.succeed("apply", "-auto-approve")
        yield Deployment(applied, stores, account, finnhub, applied.outputs())


def make_tables(stores: Stores, definitions: Path) -> None:
    """Make the raw tables as `infra/gcp` defines them."""
    bigquery = stores.clients().bigquery
    bigquery.create_dataset("stock")
    for name, definition in json.loads(definitions.read_text()).items():
        fields = [SchemaField.from_api_repr(field) for field in definition["schema"]]
        table = Table(f"{PROJECT}.stock.{name}", schema=fields)
        table.clustering_fields = definition["cluster_by"]
        if definition["partition_by"]:
            table.time_partitioning = TimePartitioning(TimePartitioningType.DAY, definition["partition_by"])
        bigquery.create_table(table)
