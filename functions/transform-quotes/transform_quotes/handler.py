"""The Lambda handler: quotes loaded (SQS) or a schedule → dbt run; `{"task": "test"}` → dbt test."""

import json
import os
import time
from datetime import UTC, datetime
from typing import Any

from aws_lambda_powertools import Metrics, single_metric
from aws_lambda_powertools.metrics import MetricUnit

from transform_quotes import credentials
from transform_quotes.config import Config
from transform_quotes.transformer import Transformer, TransformError

# The deployed name, which tells deployments in one account apart.
FUNCTION = os.environ.get("AWS_LAMBDA_FUNCTION_NAME", "transform-quotes")
NAMESPACE = "Quoteflow"


def log(level: str, message: str, **fields: Any) -> None:
    """Write one JSON line to stdout. WARN: nothing is lost, the event comes again. ERROR: an operator is needed."""
    line = {"timestamp": datetime.now(UTC).isoformat(), "level": level, "function": FUNCTION}
    print(json.dumps({**line, "message": message, **fields}), flush=True)


def visible_since(record: dict[str, Any]) -> float | None:
    """Epoch seconds after which a run sees this record's quotes, or None when the record does not tell.

    loaded_at is taken when a load starts, its rows appear when it commits, and its message is sent after that. A run
    that began in between saw nothing of them, so the later of the two times counts.
    """
    try:
        loaded_at = datetime.fromisoformat(json.loads(record["body"])["loaded_at"])
        sent_at = int(record.get("attributes", {}).get("SentTimestamp", 0)) / 1000
    except (AttributeError, KeyError, TypeError, ValueError):
        return None
    return max(loaded_at.timestamp(), sent_at) if loaded_at.tzinfo else None


def is_covered(event: Any, last_started: float | None) -> bool:
    """Whether the run that started at `last_started` (epoch seconds) saw every quote that `event` tells of.

    An event without records is the schedule's and never covered. Nor is a record that cannot be read: a run too many
    is harmless. `rows` is not looked at: a redelivered load merges no row and may still be the first to report them.
    """
    records = event.get("Records") if isinstance(event, dict) else None
    if last_started is None or not records:
        return False
    return all(since is not None and since < last_started for since in map(visible_since, records))


class Handler:
    """The handler's memory between invocations: when the last successful run of this process started."""

    def __init__(self, transformer: Transformer) -> None:
        self._transformer = transformer
        self._last_started: float | None = None
        self._metrics = Metrics(namespace=NAMESPACE)
        self._metrics.set_default_dimensions(function=FUNCTION)

    def __call__(self, event: Any, context: Any = None) -> dict[str, Any]:
        """Handle one invocation."""
        told: dict[str, Any] = {
            "request_id": getattr(context, "aws_request_id", None),
            "records": len(event.get("Records") or []) if isinstance(event, dict) else 0,
        }
        try:
            if isinstance(event, dict) and event.get("task") == "test":
                return self._test(told)
            return self._transform(event, told)
        except TransformError as error:
            log("WARN", "transform failed", **told, failed=error.failed, error=str(error))
            self._measure(TransformFailed=1)
            raise

    def _transform(self, event: Any, told: dict[str, Any]) -> dict[str, Any]:
        if is_covered(event, self._last_started):
            log("INFO", "already transformed", **told)
            return {"ran": False}
        started = time.time()
        run = self._transformer.run()
        self._last_started = started
        log("INFO", "transformed", **told, models=run.models, seconds=run.seconds, rejected=run.rejected)
        self._measure(Transformed=1, TransformSeconds=run.seconds)
        for rule, quotes in (run.rejected or {}).items():
            with single_metric("Rejected", MetricUnit.Count, quotes, namespace=NAMESPACE) as metric:
                metric.add_dimension("function", FUNCTION)
                metric.add_dimension("reason", rule)
        return {"ran": True, "models": run.models, "seconds": run.seconds}

    def _test(self, told: dict[str, Any]) -> dict[str, Any]:
        # A violated test is no failure of the invocation: asked again, it would be violated again.
        check = self._transformer.test()
        level, message = ("ERROR", "tests failed") if check.failed else ("INFO", "tested")
        log(level, message, **told, tests=check.tests, failed=check.failed, seconds=check.seconds)
        self._measure(TestsFailed=len(check.failed))
        return {"ran": True, "tests": check.tests, "failed": check.failed, "seconds": check.seconds}

    def _measure(self, **values: float) -> None:
        """Write metrics in CloudWatch's embedded format, as one more line of the log."""
        for name, value in values.items():
            unit = MetricUnit.Seconds if name.endswith("Seconds") else MetricUnit.Count
            self._metrics.add_metric(name=name, unit=unit, value=value)
        self._metrics.flush_metrics()


def create_handler() -> Handler:
    """Configure and warm up. A failure ends the process's init, which Lambda reports and tries again."""
    started = time.monotonic()
    try:
        config = Config.from_env(os.environ)
        credentials.provide(config, os.environ)
        handler = Handler(Transformer(config))
    except Exception as error:
        log("ERROR", "init failed", error=str(error))
        raise
    log("INFO", "ready", seconds=round(time.monotonic() - started, 3))
    return handler


handler = create_handler()
