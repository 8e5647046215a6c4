"""The flow with BigQuery at the cloud's pace: what arrives, what other clients see, and the bill."""

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from google.api_core.exceptions import GoogleAPICallError, NotFound
from google.cloud.bigquery import QueryJobConfig
from testkit.flow import Clients, Flow, counts, left_of

POLLS = 5


@pytest.fixture(scope="module")
def run(new_data_dir: Callable[[str], Path]) -> Iterator[tuple[dict[str, Any], str]]:
    """The last report of a run with one open page, and what it printed."""
    data_dir = new_data_dir("cloud")
    with Flow(data_dir, "--polls", str(POLLS), "--cloud-latency", "fast", "--cloud-seed", "7", "--open-page") as flow:
        yield flow.finish(), flow.text()
    assert not left_of(data_dir)


def test_at_the_clouds_pace_everything_arrives_and_nothing_fails(run: tuple[dict[str, Any], str]) -> None:
    report, printed = run
    stages = counts(report)
    # Silver has one row for each market time.
    assert 0 < stages.pop("silver") <= 5 * POLLS, printed
    assert set(stages.values()) == {5 * POLLS}, printed
    assert report["failed"] == 0, printed
    assert report["cloud"]["bigquery"]["refused"] == {}


def test_every_statement_of_the_flow_is_read_and_billed_to_who_sent_it(run: tuple[dict[str, Any], str]) -> None:
    report, printed = run
    clients = report["cloud"]["bigquery"]["clients"]
    # What watches the flow is not a part of it.
    assert set(clients) == {"load-quotes", "reconcile-quotes", "transform-quotes", "serve-dashboard"}
    assert clients["load-quotes"]["statements"]["mutate"] >= 1
    assert clients["transform-quotes"]["statements"]["create_view"] >= 1
    for client, usage in clients.items():
        assert "unknown" not in usage["statements"], f"{client}: {printed}"
        assert usage["bytes_billed"] == usage["tables"] * 10 * 2**20
    # Each view of gold reads bronze, the settled rows and the watermark.
    assert clients["serve-dashboard"]["tables"] >= 3 * clients["serve-dashboard"]["statements"]["select"], printed


def test_the_bill_has_each_service_and_its_sum_and_is_printed(run: tuple[dict[str, Any], str]) -> None:
    report, printed = run
    bill = report["cloud"]["bill"]
    assert set(bill["services"]) == {"BigQuery", "Lambda", "S3", "SQS", "API Gateway"}
    for month in ("trading_hours", "all_hours"):
        assert bill["total"][month] == pytest.approx(sum(service[month] for service in bill["services"].values()))
        assert 0 <= bill["total_less_free"][month] < bill["total"][month]
    lines = {(line["service"], line["by"], line["unit"]): line for line in bill["lines"]}
    assert lines["S3", "archive-quotes", "PUT and LIST requests"]["in_run"] == 5 * POLLS
    assert bill["page_usd_an_hour"] > 0
    assert bill["prices_of"] in printed
    assert "one open page costs" in printed


def test_other_clients_wait_as_long_as_in_the_cloud_and_get_the_same_answers(
    new_data_dir: Callable[[str], Path],
) -> None:
    data_dir = new_data_dir("cloud-clients")
    with Flow(data_dir, "--cloud-latency", "fast") as flow:
        report = flow.await_report(lambda report: counts(report)["loaded"] > 0, "loaded quote")
        client = Clients.of(report).bigquery
        sql = "SELECT COUNT(*) AS n FROM stock.bronze_stock_quotes_raw"
        began = time.monotonic()
        inserted = next(iter(client.query(sql).result()))["n"]
        # jobs.query, which answers before the job is done and is asked again.
        waited = next(iter(client.query_and_wait(sql)))["n"]
        # A SELECT takes 0.8 s there: never less, however busy this machine is.
        assert time.monotonic() - began >= 2 * 0.8
        assert waited >= inserted > 0
        job = client.query("CREATE OR REPLACE TABLE stock.copy AS SELECT * FROM stock.bronze_stock_quotes_raw")
        job.result()
        assert (job.state, job.total_bytes_billed) == ("DONE", 10 * 2**20)
        deletion = client.query("DELETE FROM stock.copy WHERE TRUE")
        deletion.result()
        assert deletion.num_dml_affected_rows >= inserted
        with pytest.raises(NotFound):
            client.query("SELECT * FROM stock.nowhere").result()
        with pytest.raises(GoogleAPICallError, match="bytes billed"):
            client.query(sql, job_config=QueryJobConfig(maximum_bytes_billed=1)).result()
        flow.interrupt()
        report = json.loads(flow.report_file.read_text())
    usage = report["cloud"]["bigquery"]
    assert usage["overwrites"]["quoteflow-local.stock.copy"] == 1
    assert usage["refused"] == {"bytesBilledLimitExceeded": 1}
    assert usage["clients"]["others"]["failed"] == 1
