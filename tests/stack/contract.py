"""What `quoteflow` exposes at /metrics: rules and dashboards may use nothing else, and a run must show all of it."""

import flowkit

FUNCTIONS = set(flowkit.FUNCTIONS)
QUANTILES = {"0.5", "0.95", "1"}
QUEUES = {flowkit.ARCHIVED_QUEUE, flowkit.DEAD_LETTER_QUEUE}
ANY = None

Labels = dict[str, set[str] | None]


def _counts(function: str, *names: str) -> dict[str, Labels]:
    return {f"quoteflow_{name}_total": {"function": {function}} for name in names}


def _seconds(function: str, *names: str) -> dict[str, Labels]:
    return {f"quoteflow_{name}_seconds": {"function": {function}, "quantile": QUANTILES} for name in names}


# Name → label → its values; a summary without its _sum and _count.
METRICS: dict[str, Labels] = {
    **_counts("fetch-quotes", "fetched", "partial", "stale", "published", "undelivered"),
    **_counts("archive-quotes", "archived", "already_archived", "quarantined"),
    **_counts("load-quotes", "loaded", "failed"),
    **_counts("reconcile-quotes", "queued"),
    **_counts("transform-quotes", "transformed", "transform_failed", "tests_failed"),
    "quoteflow_retried_total": {"function": {"fetch-quotes", "archive-quotes", "load-quotes"}},
    "quoteflow_missed_total": {"function": {"fetch-quotes"}, "reason": ANY},
    "quoteflow_rejected_total": {"function": {"transform-quotes"}, "reason": ANY},
    **_seconds("fetch-quotes", "publish"),
    **_seconds("archive-quotes", "archive"),
    **_seconds("load-quotes", "freshness", "load"),
    **_seconds("transform-quotes", "transform"),
    "quoteflow_invocations_total": {"function": FUNCTIONS},
    "quoteflow_errors_total": {"function": FUNCTIONS},
    "quoteflow_throttles_total": {"function": FUNCTIONS},
    "quoteflow_duration_seconds": {"function": FUNCTIONS, "quantile": QUANTILES},
    "quoteflow_timeout_seconds": {"function": FUNCTIONS},
    "quoteflow_topic_records": {"topic": {flowkit.TOPIC}},
    "quoteflow_topic_lag": {"topic": {flowkit.TOPIC}, "group": {flowkit.GROUP}},
    "quoteflow_queue_messages": {"queue": QUEUES},
    "quoteflow_queue_oldest_message_age_seconds": {"queue": QUEUES},
    "quoteflow_objects": {"bucket": {flowkit.BRONZE_BUCKET, flowkit.QUARANTINE_BUCKET}},
    "quoteflow_rows": {"table": {"bronze_stock_quotes_raw", "silver_stock_quotes"}},
    "quoteflow_latency_seconds": {
        "stage": {"kafka_ack", "object", "bronze_row", "gold_row"},
        "quantile": QUANTILES,
    },
}
# Nothing is missed or rejected in a run where nothing fails: no series, then.
BY_REASON = {name for name, labels in METRICS.items() if "reason" in labels}
