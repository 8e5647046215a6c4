"""Terraform, ready to run on a copy of `infra/`."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from finnhub import serve
from flowkit import PROJECT, ROOT, Stores
from google.cloud.bigquery import SchemaField, Table, TimePartitioning, TimePartitioningType
from infrakit import KEY, Account, Deployment, Servers, Terraform, copy_of_infra, packages


@pytest.fixture(scope="session")
def terraform(tmp_path_factory: pytest.TempPathFactory) -> Terraform:
    """The root for AWS with its provider."""
    if not shutil.which("terraform"):
        pytest.skip("terraform is not installed")
    terraform = Terraform(copy_of_infra(tmp_path_factory.mktemp("infra")) / "aws")
    terraform.init()
    return terraform


@pytest.fixture(scope="session")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    """What the deployments need beside themselves: one account of AWS, one Kafka, BigQuery, Finnhub."""
    directory = tmp_path_factory.mktemp("servers")
    with Stores(directory) as stores, serve(KEY) as finnhub:
        for dataset in ("stock", "other"):
            make_tables(stores, ROOT / "infra/gcp/tables.json", dataset)
        account = Account(stores.aws)
        secret = account.client("secretsmanager").create_secret(Name="finnhub-api-key", SecretString=KEY)
        yield Servers(stores, account, finnhub, secret["ARN"], packages(directory / "packages"))


@pytest.fixture(scope="session")
def deployment(terraform: Terraform, servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> Deployment:
    """The real root, applied to the emulator, without what that does not have: Kafka triggers, and running images."""
    return servers.deploy("quoteflow", terraform, tmp_path_factory.mktemp("deployment"))


def make_tables(stores: Stores, definitions: Path, dataset: str) -> None:
    """Make the raw tables as `infra/gcp` defines them."""
    bigquery = stores.clients().bigquery
    bigquery.create_dataset(dataset)
    for name, definition in json.loads(definitions.read_text()).items():
        fields = [SchemaField.from_api_repr(field) for field in definition["schema"]]
        table = Table(f"{PROJECT}.{dataset}.{name}", schema=fields)
        table.clustering_fields = definition["cluster_by"]
        if definition["partition_by"]:
            table.time_partitioning = TimePartitioning(TimePartitioningType.DAY, definition["partition_by"])
        bigquery.create_table(table)
