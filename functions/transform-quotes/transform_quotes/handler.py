"""The Lambda handler for schedules: an event settles the loaded quotes (dbt run), `{"task": "test"}` tests them."""

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

# The deployed name, which keeps deployments in one account apart.
FUNCTION = os.environ.get("AWS_LAMBDA_FUNCTION_NAME", "transform-quotes")
NAMESPACE = "Quoteflow"


def log(level: str, message: str, **fields: Any) -> None:
    """Write one JSON line to stdout. WARN: nothing is lost, the event is tried again. ERROR: an operator is needed."""
    line = {"timestamp": datetime.now(UTC).isoformat(), "level": level, "function": FUNCTION}
    print(json.dumps({**line, "message": message, **fields}), flush=True)


class Handler:
    """Runs dbt for an event, and logs and measures the outcome."""

    def __init__(self, transformer: Transformer) -> None:
        self._transformer = transformer
        self._metrics = Metrics(namespace=NAMESPACE)
        self._metrics.set_default_dimensions(function=FUNCTION)

    def __call__(self, event: Any, context: Any = None) -> dict[str, Any]:
        """Handle one invocation."""
        told = {"request_id": getattr(context, "aws_request_id", None)}
        try:
            if isinstance(event, dict) and event.get("task") == "test":
                return self._test(told)
            return self._settle(told)
        except TransformError as error:
            log("WARN", "transform failed", **told, failed=error.failed, error=str(error))
            self._measure(TransformFailed=1)
            raise

    def _settle(self, told: dict[str, Any]) -> dict[str, Any]:
        run = self._transformer.run()
        log("INFO", "transformed", **told, models=run.models, seconds=run.seconds, rejected=run.rejected)
        self._measure(Transformed=1, TransformSeconds=run.seconds)
        for rule, quotes in (run.rejected or {}).items():
            with single_metric("Rejected", MetricUnit.Count, quotes, namespace=NAMESPACE) as metric:
                metric.add_dimension("function", FUNCTION)
                metric.add_dimension("reason", rule)
        return {"ran": True, "models": run.models, "seconds": run.seconds}

    def _test(self, told: dict[str, Any]) -> dict[str, Any]:
        # A failed test does not fail the invocation: a retry would fail again.
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
    """Read the configuration and parse the project. A failure ends the init, which Lambda reports and tries again."""
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
