"""dbt in this process: parsed once, run many times."""

import time
from dataclasses import dataclass
from typing import Any

from transform_quotes.config import Config
from transform_quotes.locks import use_thread_locks

use_thread_locks()

from dbt.artifacts.schemas.results import NodeStatus  # noqa: E402 - after the locks, see use_thread_locks
from dbt.cli.main import dbtRunner, dbtRunnerResult  # noqa: E402

MESSAGE_LIMIT = 500
"""Characters kept of one failed node's message: an error names its cause first and may quote whole statements."""


class TransformError(Exception):
    """dbt did not bring every model up to date. The event has to come again."""

    def __init__(self, failed: list[str], reason: str) -> None:
        super().__init__(f"dbt failed on {', '.join(failed)}: {reason}" if failed else f"dbt failed: {reason}")
        self.failed = failed


@dataclass(frozen=True)
class Run:
    """One successful run: how many models it built and how long it took, in seconds."""

    models: int
    seconds: float


class Transformer:
    """A parsed dbt project. Parsing takes seconds, a run with the parsed manifest less than one."""

    def __init__(self, config: Config) -> None:
        self._options: list[str] = [
            "--project-dir", str(config.project_dir),
            "--profiles-dir", str(config.project_dir),
            "--target-path", str(config.target_path),
            "--log-path", str(config.log_path),
            "--log-level", "none",
            "--log-level-file", "warn",
            "--no-send-anonymous-usage-stats",
            "--no-version-check",
            "--no-write-json",
        ]  # fmt: skip
        parsed = dbtRunner().invoke(["parse", *self._options])
        if not parsed.success:
            raise TransformError([], _reason(parsed))
        self._runner = dbtRunner(manifest=parsed.result)

    def run(self) -> Run:
        """Bring every model up to date.

        Data tests are not part of it: each is a query that BigQuery bills, and a violated one must not keep the new
        quotes from the dashboard. `dbt build` runs them in CI.
        """
        started = time.monotonic()
        outcome = self._runner.invoke(["run", *self._options])
        failed = [node for node in outcome.result or [] if node.status != NodeStatus.Success]
        if failed or not outcome.success:
            raise TransformError([node.node.unique_id for node in failed], _reason(outcome, failed))
        return Run(models=len(outcome.result), seconds=round(time.monotonic() - started, 3))


def _reason(outcome: dbtRunnerResult, failed: list[Any] = ()) -> str:
    """Give the first failed node's own message; skipped nodes have none."""
    messages = [node.message for node in failed if node.status == NodeStatus.Error and node.message]
    text = messages[0] if messages else str(outcome.exception or "no reason given")
    return " ".join(text.split())[:MESSAGE_LIMIT]
