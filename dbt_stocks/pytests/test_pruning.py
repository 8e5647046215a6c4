"""Each view limits each scan of a large table by constants: BigQuery prunes partitions by them, not by a subquery."""

import re

import pytest
import sqlglot
from sqlglot import exp
from testkit.dbt import Dbt, transformer_of

# The partitioning columns of large tables. bronze_stock_quotes only renames the raw table's other columns.
LARGE = {
    "bronze_stock_quotes": "fetched_date",
    "silver_stock_quotes_settled": "market_date",
    "silver_stock_quotes_daily_settled": "market_date",
}
# They show all of bronze, and their queries must limit the scan. No other view reads the last one.
UNBOUNDED = {"bronze_stock_quotes", "bronze_symbol_watermarks", "int_stock_quotes_judged"}
DAYS_AGO = re.compile(r"(?:^|\.)(\w+) >= DATE_SUB\(CURRENT_DATE(?:\(\))?, INTERVAL '?(\d+)'? DAY\)$")


@pytest.fixture(scope="module")
def views(environment, tmp_path_factory) -> dict[str, exp.Expression]:
    """Each view's parsed query, as it is sent to the cloud."""
    directory = tmp_path_factory.mktemp("bounded")
    dbt = Dbt(transformer_of(environment, directory, DBT_VARS='{"bound_market_dates": true}'))
    dbt("compile", "--select", "config.materialized:view")
    models = [node for node in dbt.manifest.nodes.values() if node.resource_type == "model"]
    return {
        node.name: sqlglot.parse_one(
            (directory / "compiled" / "dbt_stocks" / node.original_file_path).read_text(), dialect="bigquery"
        )
        for node in models
        if node.config.materialized == "view"
    }


def bounds(query: exp.Expression) -> list[tuple[str, dict[str, int]]]:
    """Each table that a query scans, with the columns that a constant limits, and how many days ago the scan begins."""
    found = []
    for table in query.find_all(exp.Table):
        where = table.find_ancestor(exp.Select).args.get("where")
        condition = where.this if where else exp.true()
        parts = condition.flatten() if isinstance(condition, exp.And) else [condition]
        matches = [DAYS_AGO.search(part.sql("bigquery")) for part in parts]
        found.append((table.name, {match[1]: int(match[2]) for match in matches if match}))
    return found


def test_every_scan_of_a_large_table_has_a_constant_bound_on_its_partitions(views):
    scans = [
        (view, table, of)
        for view in sorted(set(views) - UNBOUNDED)
        for table, of in bounds(views[view])
        if table in LARGE
    ]
    assert {view for view, _, _ in scans} > {"silver_stock_quotes", "silver_stock_quotes_daily", "gold_kpi"}
    assert {table for _, table, _ in scans} == set(LARGE)
    assert [(view, table) for view, table, of in scans if LARGE[table] not in of] == []


def test_no_view_reads_what_is_not_bounded(views):
    for view, query in views.items():
        tables = {table.name for table in query.find_all(exp.Table)}
        assert "int_stock_quotes_judged" not in tables, view
        assert "bronze_stock_quotes_raw" not in tables or view == "bronze_stock_quotes", view


def test_the_intraday_candles_read_days_and_not_the_history(views):
    [days] = [
        of["market_date"] for table, of in bounds(views["gold_candlestick_intraday"]) if table == "silver_stock_quotes"
    ]
    assert days <= 14
