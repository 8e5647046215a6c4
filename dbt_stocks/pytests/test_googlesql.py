"""Every statement that Quoteflow sends to BigQuery passes GoogleSQL's analyzer. The stand-ins accept more."""

import json
import subprocess

import pytest
import yaml
from dbt.cli.main import dbtRunner
from google.cloud import bigquery
from testkit.dbt import DATASET, PROJECT, ROOT, TABLES, columns_of, epoch
from testkit.googlesql import GoogleSql

NOON = epoch("2024-01-02T17:00:00Z")
STATEMENTS = ROOT / "target" / "debug" / "examples" / "statements"
# The columns that are read, as in BigQuery's documentation.
PARTITIONS = {"table_name": "STRING", "partition_id": "STRING", "last_modified_time": "TIMESTAMP"}
# dbt's wrapper of a data test's query, and an answer to it. test_week.py checks whether the tests pass.
DATA_TEST = "dbt_internal_test"
NO_FAILURES = "SELECT 0 AS failures, FALSE AS should_warn, FALSE AS should_error"

GOOD = ("success", "pass", "no-op")


@pytest.fixture(scope="module")
def googlesql() -> GoogleSql:
    """The analyzer with the raw tables. All tests share it, because its start takes long."""
    googlesql = GoogleSql()
    for name in TABLES:
        googlesql.add_table(f"{DATASET}.{name}", columns_of(name))
    googlesql.add_table(f"{DATASET}.INFORMATION_SCHEMA.PARTITIONS", PARTITIONS)
    return googlesql


@pytest.fixture(scope="module")
def sent(environment, prepared, tmp_path_factory) -> list[str]:
    """Statements of dbt for the target `cloud`: a build with all tests, an incremental run, a full refresh, a count.

    The target is the cloud's, but the address is the stand-in's, whose answers let dbt continue.
    """
    directory = tmp_path_factory.mktemp("cloud")
    profiles = yaml.safe_load((ROOT / "dbt_stocks" / "profiles.yml").read_text())
    outputs = profiles["dbt_stocks"]["outputs"]
    outputs["cloud"].update({key: outputs["local"][key] for key in ("method", "token", "api_endpoint")})
    (directory / "profiles.yml").write_text(yaml.safe_dump(profiles))
    options = ["--project-dir", str(ROOT / "dbt_stocks"), "--profiles-dir", str(directory), "--target", "cloud"]
    options += [
        "--target-path",
        str(directory / "target"),
        "--log-path",
        str(directory),
        "--log-level",
        "none",
        "--quiet",
    ]

    sent = []
    query = bigquery.Client.query

    def record(client, sql=None, *arguments, **named):
        sql = named.pop("query", sql)
        sent.append(sql)
        return query(client, NO_FAILURES if DATA_TEST in sql else sql, *arguments, **named)

    # Emptied, so that the next test creates the views of its own target again.
    prepared.empty()
    prepared.insert({"t": NOON})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bigquery.Client, "query", record)
        dbt = dbtRunner(manifest=dbtRunner().invoke(["parse", *options]).result)
        for command in (
            ["build"],
            ["run", "--select", "config.materialized:incremental"],
            ["run", "--select", "config.materialized:incremental", "--full-refresh"],
            ["show", "--inline", "{{ newly_rejected() }}", "--limit", "-1"],
        ):
            outcome = dbt.invoke([*command, *options])
            bad = [(node.node.name, node.message) for node in outcome.result or [] if node.status not in GOOD]
            assert outcome.success, outcome.exception or bad
    return sent


def test_the_analyzer_refuses_what_both_stand_ins_take(googlesql):
    raw = f"{PROJECT}.{DATASET}.bronze_stock_quotes_raw"
    hidden = f"SELECT MAX(loaded_at) AS loaded_at FROM `{raw}` HAVING MAX(loaded_at) IS NOT NULL"
    [error] = googlesql.errors(PROJECT, hidden, {})
    assert "Aggregations of aggregations are not allowed" in error
    assert googlesql.errors(PROJECT, hidden.replace("HAVING MAX(loaded_at)", "HAVING loaded_at"), {}) == []
    assert googlesql.errors(PROJECT, f"SELECT * REPLACE (MIN(c) OVER () AS c) FROM `{raw}`", {}) != []


def test_every_statement_of_dbt_passes_googlesqls_analyzer(googlesql, sent, manifest):
    statements = list(dict.fromkeys(sent))
    text = "\n".join(statements)
    for node in manifest["nodes"].values():
        if node["resource_type"] == "model":
            assert f"`{node['name']}`" in text, node["name"]
    for part in ("INFORMATION_SCHEMA.PARTITIONS", "DECLARE touched_partitions", "dbt_internal_unit_test_actual"):
        assert part in text, part

    errors = [error for statement in statements for error in googlesql.errors(PROJECT, statement, {})]

    assert errors == []


def test_every_statement_of_the_rust_crates_passes_googlesqls_analyzer(googlesql, sent):
    # After dbt's statements, because some read dbt's views.
    assert sent
    # Built before, because cargo would compile its dependencies again for only this package.
    assert STATEMENTS.exists(), f"{STATEMENTS} is missing: run `make test-python`"
    printed = subprocess.run([STATEMENTS], capture_output=True, text=True, check=True).stdout
    statements = json.loads(printed)
    assert len(statements) > 10

    errors = {
        statement["name"]: googlesql.errors(PROJECT, statement["sql"], statement["parameters"])
        for statement in statements
    }

    assert {name: found for name, found in errors.items() if found} == {}
