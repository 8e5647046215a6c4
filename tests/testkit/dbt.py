"""A BigQuery stand-in, a parsed project and dbt's tables for the session, emptied before each test.

A `conftest.py` imports the fixtures.
"""

import copy
import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from google.auth.credentials import AnonymousCredentials
from google.cloud import bigquery

ROOT = Path(__file__).resolve().parents[2]
PROJECT = "quoteflow-test"
DATASET = "stock"
START_LIMIT_SECONDS = 60

TABLES = json.loads((ROOT / "infra" / "gcp" / "tables.json").read_text())
TYPES = {"FLOAT": "FLOAT64", "INTEGER": "INT64"}


def columns_of(table: str) -> dict[str, str]:
    """The columns of a raw table with their types in GoogleSQL."""
    return {column["name"]: TYPES.get(column["type"], column["type"]) for column in TABLES[table]["schema"]}


KEYS = {
    "stock_silver.silver_stock_quotes": "symbol, market_timestamp_raw",
    "stock_silver.silver_stock_quotes_rejected": "quote_id",
    "stock_silver.silver_stock_quotes_daily": "symbol, market_date",
    "stock_gold.gold_kpi": "symbol",
    "stock_gold.gold_kpi_latest": "symbol",
    "stock_gold.gold_kpi_history": "symbol, market_time_utc",
    "stock_gold.gold_candlestick": "symbol, candle_date",
    "stock_gold.gold_candlestick_intraday": "symbol, interval_minutes, candle_start_utc",
    "stock_gold.gold_treechart": "symbol",
    "stock_gold.gold_pipeline_health": "symbol",
}

# The tables with stored rows. The rest are views.
ROWS = (
    ".bronze_stock_quotes_raw",
    ".metadata_last_ts",
    "_silver.silver_stock_quotes_settled",
    "_silver.silver_stock_quotes_daily_settled",
    "_silver.silver_stock_quotes_rejected",
    "_silver.int_load_watermark",
)

BRONZE = columns_of("bronze_stock_quotes_raw")
INSERT = f"""
INSERT INTO {{dataset}}.bronze_stock_quotes_raw ({", ".join(BRONZE)})
SELECT {", ".join(f"CAST(JSON_VALUE(x, '$.{name}') AS {kind})" for name, kind in BRONZE.items())}
FROM UNNEST(JSON_QUERY_ARRAY(@batch)) AS x
"""

WATERMARKS = """
MERGE {dataset}.metadata_last_ts T USING (
    SELECT JSON_VALUE(x, '$.symbol') AS symbol, MAX(CAST(JSON_VALUE(x, '$.fetched_at') AS INT64)) AS last_ts
    FROM UNNEST(JSON_QUERY_ARRAY(@batch)) AS x
    WHERE JSON_VALUE(x, '$.symbol') IS NOT NULL
    GROUP BY 1
) S
ON T.symbol = S.symbol
WHEN MATCHED THEN UPDATE SET last_ts = GREATEST(T.last_ts, S.last_ts)
WHEN NOT MATCHED THEN INSERT (symbol, last_ts) VALUES (S.symbol, S.last_ts)
"""


def wait_until(condition: Callable[[], bool], limit_seconds: float, what: str) -> None:
    """Poll `condition`. After `limit_seconds`, fail with the name `what`."""
    deadline = time.monotonic() + limit_seconds
    while not condition():
        if time.monotonic() > deadline:
            pytest.fail(f"no {what} within {limit_seconds} s")
        time.sleep(0.02)


def epoch(text: str) -> int:
    """Epoch seconds of an ISO 8601 time with offset, as in 2024-03-10T07:00:00Z."""
    return int(datetime.fromisoformat(text).timestamp())


class Emulator:
    """A bqemulator process on free ports, with its HOME and data below `directory`."""

    def __init__(self, directory: Path) -> None:
        home = directory / "home"
        subprocess.run([sys.executable, ROOT / "localstack" / "import_duckdb_extension.py", home], check=True)
        self.log = directory / "bqemulator.log"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [
                    sys.executable, ROOT / "localstack" / "bqemulator_cached.py", "start",
                    "--rest-port", "0", "--grpc-port", "0",
                    "--persistent", "--data-dir", directory / "data",
                    "--project", PROJECT, "--log-level", "info",
                ],
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=directory,
                env={
                    "PATH": os.environ["PATH"],
                    "HOME": str(home),
                    "BQEMU_ENABLE_FORMAT_EXTENSIONS": "false",
                    "BQEMU_TIME_TRAVEL_RETENTION_DAYS": "0",
                },
            )  # fmt: skip
        self.endpoint = ""

    def is_ready(self) -> bool:
        """Whether it answers. The free port that it chose is in its log."""
        if self.process.poll() is not None:
            pytest.fail(f"bqemulator ended with {self.process.returncode}:\n{self.log.read_text()}")
        for line in self.log.read_text().splitlines():
            if '"rest.listen"' in line:
                self.endpoint = f"http://127.0.0.1:{json.loads(line)['port']}"
        if not self.endpoint:
            return False
        try:
            with urllib.request.urlopen(f"{self.endpoint}/readyz", timeout=5) as answer:  # noqa: S310 - our own URL
                return answer.status == 200
        except (urllib.error.URLError, OSError):
            return False

    def stop(self) -> None:
        """End the process, by force if it does not end."""
        self.process.terminate()
        try:
            self.process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


@pytest.fixture(scope="session")
def emulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulator]:
    emulator = Emulator(tmp_path_factory.mktemp("bqemulator"))
    try:
        wait_until(emulator.is_ready, START_LIMIT_SECONDS, "answer from bqemulator")
        yield emulator
    finally:
        emulator.stop()


@pytest.fixture(scope="session")
def environment(emulator: Emulator, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The function's environment variables. They are also set for this process, because dbt's profile reads them."""
    directory = tmp_path_factory.mktemp("dbt")
    variables = {
        "BIGQUERY_ENDPOINT": emulator.endpoint,
        "BIGQUERY_PROJECT": PROJECT,
        "BIGQUERY_DATASET": DATASET,
        "DBT_PROJECT_DIR": str(ROOT / "dbt_stocks"),
        "DBT_TARGET_PATH": str(directory / "target"),
        "DBT_LOG_PATH": str(directory / "logs"),
        "DBT_THREADS": "4",
        # Every run in the tests checks gold's contracts.
        "DBT_VARS": '{"check_contracts": true}',
    }
    with pytest.MonkeyPatch.context() as patch:
        for name in ("DBT_TARGET", "DBT_PARSED_PATH"):
            patch.delenv(name, raising=False)
        for name, value in variables.items():
            patch.setenv(name, value)
        yield variables


class Warehouse:
    """The stand-in's tables, as another BigQuery client sees them."""

    def __init__(self, endpoint: str, dataset: str = DATASET) -> None:
        self._dataset = dataset
        self.client = bigquery.Client(
            project=PROJECT, credentials=AnonymousCredentials(), client_options={"api_endpoint": endpoint}
        )
        self._inserted = 0
        self.has_views = False

    def empty(self) -> None:
        """Drop everything and create the raw tables."""
        self.has_views = False
        for layer in ("", "_bronze", "_silver", "_gold"):
            self.client.delete_dataset(self._dataset + layer, delete_contents=True, not_found_ok=True)
        self.client.create_dataset(self._dataset)
        for name, table in TABLES.items():
            # No column is REQUIRED, because in rows of another loader any may be missing.
            columns = ", ".join(f"{column} {kind}" for column, kind in columns_of(name).items())
            partition = f"PARTITION BY {table['partition_by']}" if table["partition_by"] else ""
            cluster = f"CLUSTER BY {', '.join(table['cluster_by'])}" if table["cluster_by"] else ""
            self.query(f"CREATE TABLE {self._dataset}.{name} ({columns}) {partition} {cluster}")

    def forget(self) -> None:
        """Delete every row. With an empty watermark, the next run begins from nothing."""
        for table in ROWS:
            self.query(f"DELETE FROM {self._dataset}{table} WHERE TRUE")

    def query(self, sql: str, parameters: list | None = None) -> list[bigquery.Row]:
        """The answer to one statement. An error is raised at once, because a retry of a stand-in's 500 fails again."""
        config = bigquery.QueryJobConfig(query_parameters=parameters or [])
        return list(self.client.query(sql, job_config=config, retry=None, job_retry=None).result(retry=None))

    def insert(self, *quotes: dict[str, Any]) -> None:
        """Load quotes into bronze. Missing fields get valid values."""
        batch = []
        for quote in quotes:
            self._inserted += 1
            number = f"{self._inserted:08}"
            valid = {"symbol": "AAPL", "c": 150.0, "d": 1.0, "dp": 0.7, "h": 152.0, "l": 148.0, "o": 149.0, "pc": 147.0}
            row = {**valid, "quote_id": f"quote-{number}", "loaded_at": datetime.now(UTC).isoformat(), **quote}
            row.setdefault("fetched_at", (row["t"] or 0) + 10)
            if "fetched_date" not in row:
                row["fetched_date"] = datetime.fromtimestamp(row["fetched_at"], UTC).date().isoformat()
            row.setdefault("object_key", f"{row['symbol']}/{row['fetched_at']}.json")
            batch.append(row)
        parameter = bigquery.ScalarQueryParameter("batch", "STRING", json.dumps(batch))
        for statement in (INSERT, WATERMARKS):
            self.query(statement.format(dataset=self._dataset), [parameter])

    def rows(self, table: str, columns: str, order: str = "1") -> list[tuple]:
        """The columns of all rows of `table`."""
        return [tuple(row.values()) for row in self.query(f"SELECT {columns} FROM {table} ORDER BY {order}")]

    def everything(self) -> dict[str, list[dict[str, Any]]]:
        """All rows of the public tables of silver and gold, ordered by their keys."""
        return {
            table: [dict(row.items()) for row in self.query(f"SELECT * FROM {table} ORDER BY {key}")]
            for table, key in KEYS.items()
        }


# Computed from sums of floating-point numbers, whose last bits depend on the order of the rows.
SUMMED = {"trend_line", "mean_price", "price_variance", "avg_price", "volatility", "relative_volatility"}


def comparable(row: dict[str, Any], leave_out: set[str] = frozenset()) -> dict[str, Any]:
    return {
        name: pytest.approx(value, rel=1e-12, abs=1e-12) if name in SUMMED else value
        for name, value in row.items()
        if name not in leave_out
    }


def same(left: dict[str, list], right: dict[str, list], leave_out: set[str] = frozenset()) -> None:
    """Compare all tables, row by row."""
    for table in KEYS:
        assert [comparable(row, leave_out) for row in left[table]] == [
            {name: value for name, value in row.items() if name not in leave_out} for row in right[table]
        ], table


@pytest.fixture(scope="session")
def prepared(environment: dict[str, str]) -> Warehouse:
    return Warehouse(environment["BIGQUERY_ENDPOINT"])


def emptied(prepared: Warehouse, parsed) -> Warehouse:
    """The tables and views of dbt, without a row. They are created if they do not exist."""
    if not prepared.has_views:
        prepared.empty()
        copy.copy(parsed).run()
        prepared.has_views = True
    prepared.forget()
    return prepared


@pytest.fixture
def warehouse(prepared: Warehouse, parsed) -> Warehouse:
    return emptied(prepared, parsed)


@pytest.fixture
def bare(prepared: Warehouse) -> Warehouse:
    """The raw tables alone, as before the first run of dbt."""
    prepared.empty()
    return prepared


class Dbt:
    """Runs dbt's commands on a parsed project, in this process."""

    def __init__(self, transformer) -> None:
        self._runner, self._options = transformer._runner, transformer._options
        self.manifest = self._runner.manifest

    def __call__(self, *arguments: str) -> None:
        """Run one command, which must succeed."""
        outcome = self._runner.invoke([*arguments, *self._options])
        if not outcome.success:
            results = getattr(outcome.result, "results", [])
            pytest.fail(f"{outcome.exception}, {[(one.node.name, one.status, one.message) for one in results]}")


@pytest.fixture(scope="session")
def dbt(parsed) -> Dbt:
    return Dbt(parsed)


@pytest.fixture(scope="session")
def manifest(dbt: Dbt) -> dict[str, Any]:
    """The project's manifest.json as dbt writes it."""
    return json.loads(json.dumps(dbt.manifest.writable_manifest().to_dict(omit_none=False), default=str))


def transformer_of(environment: dict[str, str], directory: Path, **own: str):
    """Parse the project for other variables than the session's. dbt's files are below `directory`."""
    from dbt_common.behavior_flags import BehaviorFlagRendered
    from transform_quotes.config import Config
    from transform_quotes.transformer import Transformer

    # For each of its 60 flags dbt searches the stack for a module's name. In pytest's stack, that takes half of a run.
    BehaviorFlagRendered._default_source = staticmethod(lambda: "dbt")
    own = {**environment, **own, "DBT_TARGET_PATH": str(directory)}
    # dbt's profile reads the environment.
    with pytest.MonkeyPatch.context() as patch:
        for name, value in own.items():
            patch.setenv(name, value)
        return Transformer(Config.from_env(own))


@pytest.fixture(scope="session")
def parsed(environment: dict[str, str]):
    return transformer_of(environment, Path(environment["DBT_TARGET_PATH"]))


@pytest.fixture(scope="session")
def settling(parsed):
    """A transformer that has run once, so that it creates no views."""
    settling = copy.copy(parsed)
    settling._selection = ["--exclude", "config.materialized:view"]
    return settling


@pytest.fixture
def transformer(warehouse: Warehouse, settling):
    return copy.copy(settling)
