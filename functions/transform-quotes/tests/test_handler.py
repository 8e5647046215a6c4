"""The handler: which events run dbt, what it answers, what it logs."""

import importlib
import json
import time
from datetime import UTC, datetime

import pytest
from conftest import epoch

NOON = epoch("2024-01-02T17:00:00Z")


def loaded(at: float, sent_at: float | None = None) -> dict:
    """An SQS record of quotes loaded `at` and told of `sent_at`, both in epoch seconds."""
    body = {"type": "quotes-loaded", "rows": 5, "loaded_at": datetime.fromtimestamp(at, UTC).isoformat()}
    attributes = {} if sent_at is None else {"SentTimestamp": str(int(sent_at * 1000))}
    return {"messageId": "m", "body": json.dumps(body), "attributes": attributes}


@pytest.fixture(scope="module")
def module(environment):
    return importlib.import_module("transform_quotes.handler")


@pytest.fixture
def handler(module, transformer):
    return module.Handler(transformer)


def lines(capsys) -> list[dict]:
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_an_event_of_loaded_quotes_runs_dbt(warehouse, handler, capsys):
    warehouse.insert({"t": NOON})
    capsys.readouterr()

    answer = handler({"Records": [loaded(time.time())]})

    assert answer["ran"] is True
    assert answer["models"] == 7
    assert 0 < answer["seconds"] < 60
    assert len(warehouse.rows("stock_gold.gold_kpi", "symbol")) == 1
    [line] = lines(capsys)
    assert (line["level"], line["message"], line["models"]) == ("INFO", "transformed", 7)


@pytest.mark.parametrize("event", [{}, None, {"Records": []}, {"source": "aws.scheduler"}], ids=str)
def test_a_schedule_always_runs(warehouse, handler, event):
    assert handler(event)["ran"] is True
    assert handler(event)["ran"] is True


def test_an_event_that_an_earlier_run_covered_is_done_at_once(warehouse, handler, capsys):
    before = time.time() - 1
    handler({"Records": [loaded(before)]})
    capsys.readouterr()

    assert handler({"Records": [loaded(before), loaded(before - 5, sent_at=before)]}) == {"ran": False}
    [line] = lines(capsys)
    assert (line["level"], line["message"], line["records"]) == ("INFO", "already transformed", 2)


def test_one_record_that_is_not_covered_runs_the_batch(warehouse, handler):
    before = time.time() - 1
    handler({"Records": [loaded(before)]})

    assert handler({"Records": [loaded(before), loaded(time.time())]})["ran"] is True


def test_a_load_that_committed_during_a_run_is_not_taken_for_covered(warehouse, handler):
    started_loading = time.time() - 1
    handler({})

    assert handler({"Records": [loaded(started_loading, sent_at=time.time() + 1)]})["ran"] is True


@pytest.mark.parametrize(
    "body", ["", "not JSON", "[]", "null", "{}", '{"loaded_at":7}', '{"loaded_at":"2024-01-02T17:00:00"}']
)
def test_a_record_that_cannot_be_read_runs_and_does_not_fail(warehouse, handler, body):
    handler({})

    assert handler({"Records": [{"body": body}]})["ran"] is True


def test_a_failure_names_the_failed_nodes_and_the_event_runs_again(warehouse, handler, module, capsys):
    event = {"Records": [loaded(time.time() - 1)]}
    warehouse.client.delete_table("stock.bronze_stock_quotes_raw")
    capsys.readouterr()

    with pytest.raises(module.TransformError) as raised:
        handler(event)

    assert "model.dbt_stocks.bronze_stock_quotes" in str(raised.value)
    assert "model.dbt_stocks.gold_kpi" in raised.value.failed
    [line] = lines(capsys)
    assert (line["level"], line["message"]) == ("WARN", "transform failed")
    assert line["failed"] == raised.value.failed

    warehouse.empty()
    assert handler(event)["ran"] is True


def test_an_unreachable_warehouse_is_a_failure(module):
    class Unreachable:
        def run(self):
            raise module.TransformError([], "connection refused")

    with pytest.raises(module.TransformError, match="connection refused"):
        module.Handler(Unreachable())({})
