"""The handler: which events run dbt, its answers, and its log."""

import copy
import importlib
import json
import time

import pytest
from catalogue import CATALOGUE, METRICS
from testkit.dbt import epoch
from transform_quotes.config import Config
from transform_quotes.transformer import Transformer

MODELS, VIEWS = 16, 12
# The catalogue's metrics of this function.
KNOWN = {name: metric for name, metric in METRICS.items() if "transform-quotes" in metric.get("functions", ())}
NOON = epoch("2024-01-02T17:00:00Z")


@pytest.fixture(scope="module")
def module(environment):
    return importlib.import_module("transform_quotes.handler")


@pytest.fixture
def handler(module, transformer):
    return module.Handler(transformer)


@pytest.fixture
def new_process(module, bare, parsed):
    """A handler that has not run yet, and a warehouse without views."""
    return module.Handler(copy.copy(parsed))


def written(capsys) -> tuple[list[dict], dict[str, list]]:
    """The log lines, and the values of all metrics by their names."""
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    metrics = {}
    for line in lines:
        for group in line.get("_aws", {}).get("CloudWatchMetrics", []):
            assert group["Namespace"] == CATALOGUE["namespace"]
            assert line["function"] == "transform-quotes"
            [dimensions] = group["Dimensions"]
            for metric in group["Metrics"]:
                assert dimensions == KNOWN[metric["Name"]].get("labels", ["function"])
                by = " ".join(line[name] for name in dimensions if name != "function")
                metrics[f"{metric['Name']} {by}".strip()] = line[metric["Name"]]
    return [line for line in lines if "_aws" not in line], metrics


@pytest.mark.parametrize("event", [{}, None, {"source": "aws.scheduler"}], ids=str)
def test_a_schedule_settles(warehouse, handler, capsys, event):
    warehouse.insert({"t": NOON})
    capsys.readouterr()

    answer = handler(event)

    assert answer["models"] == MODELS - VIEWS
    assert 0 < answer["seconds"] < 60
    assert len(warehouse.rows("stock_gold.gold_kpi", "symbol")) == 1
    [line], metrics = written(capsys)
    assert (line["level"], line["message"], line["models"]) == ("INFO", "transformed", MODELS - VIEWS)
    assert metrics == {"Transformed": [1], "TransformSeconds": [answer["seconds"]]}


def test_each_rejected_quote_is_counted_once_under_the_rules_it_breaks(warehouse, parsed, handler, module, capsys):
    warehouse.insert({"t": NOON}, {"t": NOON, "c": 0}, {"t": NOON, "c": 0, "o": 0})

    def counted(handler) -> dict:
        capsys.readouterr()
        handler({})
        [line], metrics = written(capsys)
        by_rule = {name.split()[1]: value for name, value in metrics.items() if name.startswith("Rejected")}
        assert line["rejected"] == {rule: int(value) for rule, [value] in by_rule.items()}
        return line["rejected"]

    assert counted(handler) == {"non_positive_price": 2, "missing_open": 1}
    # The next batches contain these quotes again, because batches overlap.
    assert counted(handler) == {}
    warehouse.insert({"t": NOON, "pc": 0})
    assert counted(handler) == {"missing_previous_close": 1}
    another_process = module.Handler(copy.copy(parsed))
    assert counted(another_process) == {}


def test_a_failure_names_the_failed_nodes_and_the_next_run_settles(bare, new_process, module, capsys):
    bare.client.delete_table("stock.bronze_stock_quotes_raw")
    capsys.readouterr()

    with pytest.raises(module.TransformError) as raised:
        new_process({})

    assert "model.dbt_stocks.bronze_stock_quotes" in str(raised.value)
    assert "model.dbt_stocks.gold_kpi" in raised.value.failed
    [line], metrics = written(capsys)
    assert (line["level"], line["message"]) == ("WARN", "transform failed")
    assert line["failed"] == raised.value.failed
    assert metrics == {"TransformFailed": [1]}

    bare.empty()
    assert new_process({})["models"] == MODELS


def test_the_views_are_made_once_and_again_after_a_failure(bare, new_process, module):
    assert new_process({})["models"] == MODELS
    assert new_process({})["models"] == MODELS - VIEWS
    bare.empty()
    with pytest.raises(module.TransformError):
        new_process({})

    assert new_process({})["models"] == MODELS


def test_violated_tests_are_named_and_counted_and_do_not_fail_the_invocation(warehouse, handler, capsys):
    now = int(time.time())
    warehouse.insert({"t": now - 60, "fetched_at": now})
    handler({})
    warehouse.query(
        "INSERT INTO stock_silver.silver_stock_quotes_settled SELECT * FROM stock_silver.silver_stock_quotes"
    )
    capsys.readouterr()

    answer = handler({"task": "test"})

    [failed] = answer["failed"]
    assert failed.startswith("test.dbt_stocks.unique_combination_silver_stock_quotes_settled_")
    assert answer["tests"] >= 30
    [line], metrics = written(capsys)
    assert (line["level"], line["message"], line["failed"]) == ("ERROR", "tests failed", answer["failed"])
    assert metrics == {"TestsFailed": [1]}


def test_tests_that_cannot_be_asked_fail_the_invocation(bare, new_process, module, capsys):
    with pytest.raises(module.TransformError) as raised:
        new_process({"task": "test"})

    assert any(name.startswith("test.dbt_stocks.") for name in raised.value.failed)
    lines, metrics = written(capsys)
    assert lines[-1]["failed"] == raised.value.failed
    assert metrics == {"TransformFailed": [1]}


def test_what_was_parsed_before_is_not_parsed_again(environment, tmp_path):
    kept, new = tmp_path / "image", tmp_path / "new"
    Transformer(Config.from_env({**environment, "DBT_TARGET_PATH": str(kept)}))

    variables = {"DBT_TARGET_PATH": str(new), "DBT_PARSED_PATH": str(kept)}
    Transformer(Config.from_env({**environment, **variables}))

    parsed = {path: json.loads((path / "perf_info.json").read_text())["parsed_path_count"] for path in (kept, new)}
    assert parsed[kept] > 0
    assert parsed[new] == 0


def test_contracts_are_left_to_the_tests(environment, tmp_path):
    deployed = Transformer(Config.from_env({**environment, "DBT_TARGET_PATH": str(tmp_path), "DBT_VARS": ""}))

    models = [node for node in deployed._runner.manifest.nodes.values() if node.resource_type == "model"]
    assert models
    assert not any(node.config.contract.enforced for node in models)


def test_an_unreachable_warehouse_is_a_failure(module):
    class Unreachable:
        def run(self):
            raise module.TransformError([], "connection refused")

    with pytest.raises(module.TransformError, match="connection refused"):
        module.Handler(Unreachable())({})
