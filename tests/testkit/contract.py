"""The metrics that `quoteflow` exposes at /metrics. Rules and dashboards use only these, and a run must show all."""

from typing import Any

from catalogue import CATALOGUE, exposed, labels

from testkit import flow

Labels = dict[str, set[str] | None]

# Label → its values; `None` if any value is possible.
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


# Name → label → its values. A summary is without its _sum and _count.
METRICS: dict[str, Labels] = {exposed(metric): _labels(metric) for metric in CATALOGUE["metrics"]}
# A run without failures misses and rejects nothing, so it does not have these series.
BY_REASON = {name for name, labels in METRICS.items() if "reason" in labels}
