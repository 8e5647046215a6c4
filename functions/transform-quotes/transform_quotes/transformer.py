"""dbt in this process: parsed once, run many times."""

import json
import shutil
import threading
import time
from dataclasses import dataclass
from multiprocessing.context import BaseContext
from typing import Any

from transform_quotes.config import Config

# dbt's locks and thread pool are from multiprocessing, whose semaphores need /dev/shm. Lambda has none, so dbt would
# fail with "OSError: [Errno 38] Function not implemented". No process is ever spawned here.
BaseContext.Lock = lambda _context: threading.Lock()
BaseContext.RLock = lambda _context: threading.RLock()

from dbt.artifacts.schemas.results import FreshnessStatus, NodeStatus, TestStatus  # noqa: E402 - after the locks
from dbt.cli.main import dbtRunner, dbtRunnerResult  # noqa: E402


class TransformError(Exception):
    """dbt did not bring every model up to date. The event must be tried again."""

    def __init__(self, failed: list[str], reason: str) -> None:
        super().__init__(f"dbt failed on {', '.join(failed)}: {reason}" if failed else f"dbt failed: {reason}")
        self.failed = failed


@dataclass(frozen=True)
class Run:
    """One successful run: how many models it built, its seconds, and how many newly settled quotes broke each rule.

    A quote that breaks two rules counts under both. `rejected` is None if the warehouse did not answer.
    """

    models: int
    seconds: float
    rejected: dict[str, int] | None


@dataclass(frozen=True)
class Check:
    """One run of the data tests: how many there are, the names of the failed ones, and its seconds."""

    tests: int
    failed: list[str]
    seconds: float


class Transformer:
    """A parsed dbt project. Parsing takes seconds; a run with the parsed manifest takes about one a dozen models."""

    def __init__(self, config: Config) -> None:
        self._options: list[str] = [
            "--project-dir", str(config.project_dir),
            "--profiles-dir", str(config.project_dir),
            "--target-path", str(config.target_path),
            # The tests check the contracts. Here it would cost two statements for each view.
            "--vars", json.dumps({"check_contracts": False, **config.variables}),
            "--log-path", str(config.log_path),
            "--log-level", "none",
            "--log-level-file", "warn",
            "--no-send-anonymous-usage-stats",
            "--no-version-check",
            "--no-write-json",
        ]  # fmt: skip
        parsed, place = (path and path / "partial_parse.msgpack" for path in (config.parsed_path, config.target_path))
        if parsed and parsed.exists() and not place.exists():
            # dbt itself notices a different environment, and then parses again.
            shutil.copy(parsed, place)
        parsed = dbtRunner().invoke(["parse", *self._options])
        if not parsed.success:
            raise TransformError([], _reason(parsed))
        self._runner = dbtRunner(manifest=parsed.result)
        self._selection: list[str] = []

    def run(self) -> Run:
        """Settle the loaded quotes. The views are created only once, because they only change with a deployment.

        Data tests are not part of it, because BigQuery bills each. Raises TransformError with the failed nodes.
        """
        started = time.monotonic()
        selection, self._selection = self._selection, []
        outcome = self._runner.invoke(["run", *self._options, *selection])
        failed = [node for node in outcome.result or [] if node.status != NodeStatus.Success]
        if failed or not outcome.success:
            raise TransformError([node.node.unique_id for node in failed], _reason(outcome, failed))
        self._selection = ["--exclude", "config.materialized:view"]
        return Run(models=len(outcome.result), seconds=_since(started), rejected=self._newly_rejected())

    def test(self) -> Check:
        """Run the data tests and check the sources' freshness.

        A violated test is part of the result. Raises TransformError if a test could not be run.
        """
        started = time.monotonic()
        results, broken = [], []
        for command in (["test", "--exclude", "test_type:unit"], ["source", "freshness"]):
            outcome = self._runner.invoke([*command, *self._options])
            # The result of freshness also has a path; if nothing ran, there is no result.
            asked = list(getattr(outcome.result, "results", outcome.result) or [])
            results += asked
            broken += [node for node in asked if node.status in (TestStatus.Error, FreshnessStatus.RuntimeErr)]
            if broken or not asked:
                raise TransformError([node.node.unique_id for node in broken], _reason(outcome, broken))
        good = (TestStatus.Pass, TestStatus.Warn, FreshnessStatus.Pass, FreshnessStatus.Warn)
        failed = [node.node.unique_id for node in results if node.status not in good]
        return Check(tests=len(results), failed=failed, seconds=_since(started))

    def _newly_rejected(self) -> dict[str, int] | None:
        """Count the rejected quotes that were settled since the previous complete run, by rule."""
        outcome = self._runner.invoke(["show", "--inline", "{{ newly_rejected() }}", "--limit", "-1", *self._options])
        if not outcome.success:
            return None
        return {row["rule"]: int(row["quotes"]) for row in outcome.result.results[0].agate_table.rows}


def _since(started: float) -> float:
    return round(time.monotonic() - started, 3)


def _reason(outcome: dbtRunnerResult, failed: list[Any] = ()) -> str:
    """Return the first failed node's message. Skipped nodes have none."""
    messages = [node.message for node in failed if node.status != NodeStatus.Skipped and node.message]
    text = messages[0] if messages else str(outcome.exception or "no reason given")
    # An error begins with its cause, and may quote whole statements.
    return " ".join(text.split())[:500]
