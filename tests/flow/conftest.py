"""The runs that several modules look at. Each is made once."""

import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import pytest
from testkit.flow import BIN_DIR, DEPLOYED, Clients, Flow, Record, Stores, counts, left_of, processes_of


@pytest.fixture(scope="session", autouse=True)
def executables() -> None:
    """Fail immediately, and not test by test, if nothing is built."""
    names = ("quoteflow", *DEPLOYED, "serve-dashboard", "kafka-broker")
    missing = [name for name in names if not (BIN_DIR / name).exists()]
    if missing:
        pytest.exit(
            f"{BIN_DIR} does not have {', '.join(missing)}: run `make build`, or name a folder in QUOTEFLOW_BIN_DIR", 1
        )


@pytest.fixture(scope="session")
def new_data_dir(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Path]]:
    """Makes names for data folders. At the end only their logs are kept: a folder takes some 300 MB."""
    made = []

    def new(name: str) -> Path:
        made.append(tmp_path_factory.mktemp(name) / "data")
        return made[-1]

    yield new
    for data_dir in made:
        for entry in data_dir.glob("*"):
            if entry.is_dir() and entry.name != "logs":
                shutil.rmtree(entry)


class GivenStores(Stores):
    """Stores that run already, where the environment says: those of `make docker-test`."""

    def __init__(self) -> None:
        self.kafka = os.environ["KAFKA_BOOTSTRAP_SERVERS"]
        self.aws = os.environ["AWS_ENDPOINT_URL"]
        self.bigquery = os.environ["BIGQUERY_ENDPOINT"]
        self.processes = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Leave them running."""


@dataclass
class OnOtherServers:
    """Two runs on servers that are not their own, which still run."""

    data_dir: Path
    stores: Stores
    clients: Clients
    first: dict[str, Any]
    second: dict[str, Any]
    processes: dict[int, str]
    left: dict[int, str]
    records: list[Record]


@pytest.fixture(scope="session")
def on_other_servers(new_data_dir: Callable[[str], Path]) -> Iterator[OnOtherServers]:
    """A run that ends in the recording's first day and one that continues in its second.

    The first begins at minute 387, when each symbol has had its high and low of the day. It leaves the recording at
    least 57 s further; the second is so fast that its first poll is in the next day.
    """
    data_dir = new_data_dir("external")
    given = "QUOTEFLOW_STACK" in os.environ
    with GivenStores() if given else Stores(new_data_dir("servers")) as stores:
        options = ("--polls", "10", "--speed", "3", "--start-at", "23240")
        with Flow(data_dir, *options, **stores.variables()) as flow:
            flow.await_report(lambda report: counts(report)["silver"] > 0, "quote in silver")
            processes = processes_of(data_dir)
            first = flow.finish()
        with Flow(data_dir, "--polls", "2", "--speed", "100", **stores.variables()) as flow:
            second = flow.finish()
            left = left_of(data_dir)
        clients = stores.clients()
        yield OnOtherServers(data_dir, stores, clients, first, second, processes, left, clients.records())
