"""Terraform, ready to run on a copy of `infra/`."""

import contextlib
import json
import shutil
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest
from google.cloud.bigquery import SchemaField, Table, TimePartitioning, TimePartitioningType
from testkit.finnhub import serve
from testkit.flow import PROJECT, ROOT, Stores
from testkit.terraform import KEY, Account, Deployment, Servers, Terraform, copy_of_infra, packages


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
def being_applied(
    request: pytest.FixtureRequest,
    terraform: Terraform,
    servers: Servers,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[dict[str, Future[Deployment]]]:
    """The deployments, applied beside each other and beside the tests that need none: Terraform waits most of the time.

    The provider waits 25 s for each queue.
    """
    # The second is for the tests that look at both, which remove it. It polls another symbol.
    variables = {"quoteflow": {}, "other": {"dataset": "other", "symbols": ["NVDA"]}}
    if not any(asks_for("other", item) for item in request.session.items):
        del variables["other"]
    with ThreadPoolExecutor() as pool:
        yield {
            name: pool.submit(servers.deploy, name, terraform, tmp_path_factory.mktemp(name), **own)
            for name, own in variables.items()
        }


def asks_for(fixture: str, item: pytest.Item) -> bool:
    """Whether a test of this folder needs a fixture, itself or through another."""
    return item.path.parent == Path(__file__).parent and fixture in getattr(item, "fixturenames", ())


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run what needs no deployment first, while the deployments are applied."""
    items.sort(key=lambda item: asks_for("deployment", item))


@pytest.fixture(scope="session", autouse=True)
def applying(request: pytest.FixtureRequest) -> None:
    """Begin to apply if a test needs it."""
    # Without Terraform the tests that need it are skipped, and no other.
    with contextlib.suppress(pytest.skip.Exception):
        if any(asks_for("deployment", item) for item in request.session.items):
            request.getfixturevalue("being_applied")


@pytest.fixture(scope="session")
def deployment(being_applied: dict[str, Future[Deployment]]) -> Deployment:
    """The real root, applied to the emulator. What the emulator lacks is off: the Kafka trigger, and running images."""
    return being_applied["quoteflow"].result()


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
