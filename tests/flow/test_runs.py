"""Four runs on one data folder: one to its end, one until Ctrl-C, one killed, and one that continues with the data."""

import shutil
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from testkit.flow import (
    ARCHIVED_QUEUE,
    DEAD_LETTER_QUEUE,
    STAGES,
    Clients,
    Flow,
    Record,
    Stores,
    counts,
    left_of,
    local,
    processes_of,
)

# Fast enough that every poll has its own market second: silver keeps one quote of each.
SPEED = ("--speed", "100")
POLLS = 12
SYMBOLS = 5


@dataclass
class Ended:
    """A run to its end."""

    data_dir: Path
    report: dict[str, Any]
    left: dict[int, str]


@dataclass
class Interrupted:
    """A run that was asked things, and ended by Ctrl-C."""

    running: dict[str, Any]
    report: dict[str, Any]
    status: subprocess.CompletedProcess[str]
    other_run: subprocess.CompletedProcess[str]
    reset: subprocess.CompletedProcess[str]
    status_afterwards: subprocess.CompletedProcess[str]
    output: str
    left: dict[int, str]


@dataclass
class Killed:
    """A run that was killed: what Kafka had just before, and what ran."""

    records: list[Record]
    processes: dict[int, str]
    left: dict[int, str]


@dataclass
class Kept:
    """What the stores hold after all runs."""

    records: list[Record]
    objects: dict[str, bytes]
    bronze: list[dict[str, Any]]


@pytest.fixture(scope="module")
def first(new_data_dir: Callable[[str], Path]) -> Ended:
    data_dir = new_data_dir("runs")
    with Flow(data_dir, "--polls", str(POLLS), *SPEED) as flow:
        return Ended(data_dir, flow.finish(), left_of(data_dir))


@pytest.fixture(scope="module")
def interrupted(first: Ended) -> Interrupted:
    data_dir = first.data_dir
    with Flow(data_dir, *SPEED) as flow:
        enough = counts(first.report)["silver"] + 2 * SYMBOLS
        running = flow.await_report(lambda report: counts(report)["silver"] >= enough, "new quotes in silver")
        status = local("status", "--data-dir", data_dir)
        other_run = local("run", "--data-dir", data_dir, "--port-base", "0")
        reset = local("reset", "--data-dir", data_dir)
        report = flow.interrupt()
        left = left_of(data_dir)
        output = flow.text()
    status_afterwards = local("status", "--data-dir", data_dir)
    return Interrupted(running, report, status, other_run, reset, status_afterwards, output, left)


@pytest.fixture(scope="module")
def killed(first: Ended, interrupted: Interrupted) -> Killed:
    data_dir = first.data_dir
    with Flow(data_dir, *SPEED) as flow:
        enough = counts(interrupted.report)["published"] + 2 * SYMBOLS
        report = flow.await_report(lambda report: counts(report)["published"] >= enough, "new quotes in Kafka")
        processes = processes_of(data_dir)
        records = Clients.of(report).records()
        flow.kill()
        return Killed(records, processes, left_of(data_dir))


@pytest.fixture(scope="module")
def last(first: Ended, killed: Killed) -> Ended:
    with Flow(first.data_dir, "--polls", "2", *SPEED) as flow:
        return Ended(first.data_dir, flow.finish(), left_of(first.data_dir))


@pytest.fixture(scope="module")
def kept(last: Ended) -> Iterator[Kept]:
    with Stores(last.data_dir) as stores:
        clients = stores.clients()
        bronze = clients.rows("SELECT quote_id, symbol, fetched_at, t FROM stock.bronze_stock_quotes_raw")
        yield Kept(clients.records(), clients.objects(), bronze)


def test_a_run_brings_every_quote_of_every_poll_to_every_stage(first: Ended) -> None:
    assert first.report["phase"] == "finished"
    assert counts(first.report) == dict.fromkeys(STAGES, POLLS * SYMBOLS)
    assert (first.report["quarantined"], first.report["failed"]) == (0, 0)


def test_the_latency_to_every_stage_is_that_of_every_quote(first: Ended) -> None:
    latencies = first.report["latency_ms"]
    assert {stage: latency["quotes"] for stage, latency in latencies.items()} == dict.fromkeys(
        ("kafka_ack", "object", "bronze_row", "gold_row"), POLLS * SYMBOLS
    )
    for latency in latencies.values():
        assert 0 < latency["p50"] <= latency["p95"] <= latency["max"]
    for percentile in ("p50", "p95", "max"):
        in_order = [latencies[stage][percentile] for stage in ("kafka_ack", "object", "bronze_row", "gold_row")]
        assert in_order == sorted(in_order), percentile


def test_a_second_run_counts_on_from_the_first(first: Ended, interrupted: Interrupted) -> None:
    # Even its first reports have the earlier data, and the recording continues where it was.
    running, before = counts(interrupted.running), counts(first.report)
    assert all(running[stage] >= before[stage] for stage in STAGES)


def test_after_ctrl_c_everything_fetched_has_arrived(first: Ended, interrupted: Interrupted) -> None:
    assert interrupted.report["phase"] == "finished"
    after = counts(interrupted.report)
    assert len(set(after.values())) == 1, after
    assert after["published"] >= counts(first.report)["published"] + 2 * SYMBOLS
    assert interrupted.report["failed"] == 0
    assert "left for the next run" not in interrupted.output


def test_status_shows_lag_queues_rows_and_freshness_of_a_running_flow(interrupted: Interrupted) -> None:
    status = interrupted.status
    assert status.returncode == 0, status.stderr
    lines = [line.split() for line in status.stdout.splitlines()]
    named = Counter(line[0] for line in lines)
    del named["counted"]  # One for what each function counted, if it did.
    assert named == {
        "state": 1, "dashboard": 1, "metrics": 1, "kafka": 1, "queue": 2, "bigquery": 8,
        "freshness": SYMBOLS, "function": 6,
    }  # fmt: skip
    assert {line[1] for line in lines if line[0] == "queue"} == {
        ARCHIVED_QUEUE,
        DEAD_LETTER_QUEUE,
    }
    assert "state      all well\n" in status.stdout
    assert "not archived" in status.stdout
    rows = {line[1]: int(line[2]) for line in lines if line[0] == "bigquery"}
    assert rows["bronze_stock_quotes_raw"] >= rows["silver_stock_quotes"] >= POLLS * SYMBOLS
    assert rows["gold_kpi"] == rows["gold_treechart"] == SYMBOLS
    ages = [int(line[2]) for line in lines if line[0] == "freshness"]
    assert all(0 <= age <= 60 for age in ages), ages


def test_status_of_a_stopped_flow_says_that_it_does_not_run(first: Ended, interrupted: Interrupted) -> None:
    assert interrupted.status_afterwards.returncode == 1
    said = interrupted.status_afterwards.stderr
    assert f"the flow of {first.data_dir} is not running (its last run ended " in said
    assert f"{counts(interrupted.report)['fetched']} quotes are kept" in said
    assert "Start it: make local" in said
    # No server is asked.
    assert "Kafka" not in said


def test_a_data_folder_in_use_is_neither_run_on_nor_removed(interrupted: Interrupted) -> None:
    for refused in (interrupted.other_run, interrupted.reset):
        assert refused.returncode == 1
        assert "another `quoteflow run` uses" in refused.stderr


def test_a_run_that_ends_by_itself_leaves_no_process(first: Ended, last: Ended) -> None:
    assert not first.left
    assert not last.left


def test_a_run_that_is_interrupted_leaves_no_process(interrupted: Interrupted) -> None:
    assert not interrupted.left


def test_a_run_that_is_killed_leaves_no_process(killed: Killed) -> None:
    ran = "\n".join(killed.processes.values())
    for program in ("ministack", "bqemulator", "awslambdaric"):
        assert program in ran
    assert not killed.left


def test_after_a_kill_every_acknowledged_quote_arrives_all_the_same(killed: Killed, last: Ended, kept: Kept) -> None:
    assert len(set(counts(last.report).values())) == 1, last.report
    acknowledged = {record.quote["quote_id"] for record in killed.records}
    assert acknowledged <= {row["quote_id"] for row in kept.bronze}


def test_all_runs_together_hold_every_quote_once(last: Ended, kept: Kept) -> None:
    in_kafka = Counter(record.quote["quote_id"] for record in kept.records)
    in_bronze = Counter(row["quote_id"] for row in kept.bronze)
    assert in_kafka == in_bronze
    assert set(in_bronze.values()) == {1}
    assert len(in_bronze) == counts(last.report)["loaded"] == len(kept.objects)


def test_the_recording_goes_on_from_run_to_run(kept: Kept) -> None:
    market_seconds: dict[str, list[int]] = {}
    # A quote's id begins with the time of its fetch.
    for row in sorted(kept.bronze, key=lambda row: row["quote_id"]):
        market_seconds.setdefault(row["symbol"], []).append(row["t"])
    assert len(market_seconds) == SYMBOLS
    for symbol, seconds in market_seconds.items():
        assert seconds == sorted(set(seconds)), symbol


def test_reset_forgets_the_data_of_every_run(kept: Kept, last: Ended, tmp_path: Path) -> None:
    copy = tmp_path / "data"
    # The other tests look at the folder itself.
    shutil.copytree(last.data_dir, copy, ignore=shutil.ignore_patterns("home", "tmp", "aws"))
    reset = local("reset", "--data-dir", copy)
    assert reset.returncode == 0, reset.stderr
    assert f"removed {copy}: {counts(last.report)['fetched']} quotes, " in reset.stdout
    assert not copy.exists()
