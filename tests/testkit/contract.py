"""What `quoteflow` exposes at /metrics: rules and dashboards may use nothing else, and a run must show all of it."""

from typing import Any

from catalogue import CATALOGUE, exposed, labels

from testkit import flow

Labels = dict[str, set[str] | None]

# Label → its values; `None` where any is possible.
VALUES: Labels = {
    "function": set(flow.FUNCTIONS),
    "reason": None,
    "topic": {flow.TOPIC},
    "group": {flow.GROUP},
    "queue": {flow.ARCHIVED_QUEUE, flow.DEAD_LETTER_QUEUE},
    "bucket": {flow.BRONZE_BUCKET, flow.QUARANTINE_BUCKET},
    "table": {"bronze_stock_quotes_raw", "silver_stock_quotes"},
    "stage": {"kafka_ack", "object", "bronze_row", "gold_row"},
}


def _labels(metric: dict[str, Any]) -> Labels:
    found = {label: VALUES[label] for label in labels(metric)}
    if "functions" in metric:
        found["function"] = set(metric["functions"])
    return found | ({"quantile": {"0.5", "0.95", "1"}} if metric["type"] == "summary" else {})


# Name → label → its values; a summary without its _sum and _count.
METRICS: dict[str, Labels] = {exposed(metric): _labels(metric) for metric in CATALOGUE["metrics"]}
# Nothing is missed or rejected in a run where nothing fails: no series, then.
BY_REASON = {name for name, labels in METRICS.items() if "reason" in labels}
