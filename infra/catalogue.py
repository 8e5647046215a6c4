"""Generate files from `infra/metrics.json`, the catalogue of metrics and alarms: `make catalogue`.

They are Prometheus' rules, the table of metrics in docs/OBSERVABILITY.md and the table of alarms in docs/RUNBOOK.md.
Terraform, the functions, `quoteflow` and the tests read the catalogue itself.
"""

import json
import re
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[1]
CATALOGUE = json.loads((ROOT / "infra/metrics.json").read_text())
METRICS = {metric["name"]: metric for metric in CATALOGUE["metrics"]}
ALARMS = {alarm["name"]: alarm for alarm in CATALOGUE["alarms"]}
ALERTS = ROOT / "dashboards/prometheus/alerts.yml"

BEGIN, END = "<!-- Written by `make catalogue`: -->", "<!-- End -->"
MARKED = re.compile(rf"{BEGIN}\n.*?{END}\n", re.S)

ALERTS_HEADER = """\
# The alarms for Prometheus. Written by `make catalogue` from infra/metrics.json, which Terraform makes CloudWatch's
# alarms of; alerts_test.yml says when each fires.
#
# "M of N periods" is a subquery with the period as its step. Its range is a second short of N periods, so that it never
# holds a point more. "N of N periods" is `for` over N - 1 periods, since the statistic looks back over one itself.
#
# A sum is how much a counter grew within a period. increase() would lose what happened between two neighbouring
# windows, and one error may be all there is. A counter that is new or begins again at 0 counts from there. An
# invocation is counted when it ends, so that a minute may see none: freshness looks at two.
#
# The market is open from 14:30 to 20:00 UTC on weekdays, which is within the New York session in summer and in winter;
# holidays are not known. CloudWatch names a period by its beginning, so the minute that ends now began 60 s ago.
"""
# The minutes that a summary of `quoteflow` covers.
SUMMARY_MINUTES = 5
# Shows the timeout in a description. No label has it.
TIMEOUT = "{{ printf \"quoteflow_timeout_seconds{function='%s'}\" $labels.function | query | first | value }}"


def snake(name: str) -> str:
    """`AlreadyArchived` as `already_archived`."""
    return re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()


def exposed(metric: dict[str, Any]) -> str:
    """Return the name of a metric at `quoteflow`'s /metrics."""
    return f"quoteflow_{snake(metric['name'])}{'_total' if metric['type'] == 'counter' else ''}"


def labels(metric: dict[str, Any]) -> list[str]:
    """Return the labels of a metric of `quoteflow`, except a summary's `quantile`."""
    return metric.get("labels", ["function"])


def selector(matchers: list[str]) -> str:
    """Write matchers of labels."""
    return f"{{{','.join(matchers)}}}" if matchers else ""


def rule_name(alarm: dict[str, Any]) -> str:
    """`TestsFailed` for the alarm `tests-failed`."""
    return alarm["name"].title().replace("-", "")


def duration(minutes: int) -> str:
    """Minutes as Prometheus writes a duration."""
    return f"{minutes // 1440}d" if minutes % 1440 == 0 else f"{minutes}m"


def expression(alarm: dict[str, Any]) -> str:
    """Return the condition of a rule, without `for`."""
    if "promql" in alarm:
        return alarm["promql"]
    metric, period = METRICS[alarm["metric"]], duration(alarm["minutes"])
    matchers = [f'function!~"{"|".join(alarm["except"])}"'] if "except" in alarm else []
    matchers += [
        f'{label}=~"{"|".join(alarm[f"{label}s"])}"'
        for label in ("function", "queue")
        if f"{label}s" in alarm and label in labels(metric)
    ]
    if metric["type"] == "summary":
        if alarm["minutes"] != SUMMARY_MINUTES:
            raise SystemExit(f"alarm {alarm['name']}: set minutes to {SUMMARY_MINUTES}, which a summary covers")
        # The quantile 1 is the maximum.
        matchers.append('quantile="1"')
        statistic = f"{exposed(metric)}{selector(matchers)}"
    elif metric["type"] == "counter":
        statistic = f"function:{exposed(metric).removesuffix('_total')}:sum{period}{selector(matchers)}"
    else:
        statistic = f"max_over_time({exposed(metric)}{selector(matchers)}[{period}])"
    above, limit = {
        "": (">", alarm["above"]),
        "minutes": (">", alarm["above"] * 60),
        "percent of the timeout": ("> ignoring(quantile)", f"({alarm['above'] / 100} * quoteflow_timeout_seconds)"),
    }[alarm.get("unit", "")]
    if "datapoints" not in alarm:
        return f"{statistic} {above} {limit}"
    span = f"{alarm['minutes'] * alarm['periods'] - 1}m59s"
    return (
        f"sum_over_time(({statistic} {above.replace('>', '> bool')} {limit})[{span}:{period}]) >= {alarm['datapoints']}"
    )


def description(alarm: dict[str, Any]) -> str:
    """Return a rule's description, with Prometheus' templates."""
    text = alarm["text"]
    for name in ("function", "queue"):
        text = text.replace(f"{{{name}}}", f"{{{{ $labels.{name} }}}}")
    for name in ("above", "periods"):
        text = text.replace(f"{{{name}}}", str(alarm.get(name)))
    return f"{text.replace('{timeout_seconds}', TIMEOUT)} Runbook: docs/RUNBOOK.md#{rule_name(alarm).lower()}"


def alert(alarm: dict[str, Any]) -> dict[str, Any]:
    """Return the rule of an alarm."""
    held = alarm["minutes"] * (alarm["periods"] - 1) if "datapoints" not in alarm else 0
    return {
        "alert": rule_name(alarm),
        "expr": expression(alarm),
        **({"for": duration(held)} if held else {}),
        "labels": {"severity": alarm["severity"]},
        "annotations": {"description": description(alarm), "look": alarm["look"]},
    }


def alerts() -> str:
    """Return Prometheus' rules: the sums that alerts use, the market's hours, and the alerts."""
    made = [alert(alarm) for alarm in ALARMS.values()]
    sums = re.findall(r"function:(quoteflow_\w+):sum(\w+)", " ".join(one["expr"] for one in made))
    began = "vector(time() - 60)"
    opens, closes = (CATALOGUE["market"][name] for name in ("opens_minute", "closes_minute"))
    rules = [
        *(
            {
                "record": f"function:{counter}:sum{period}",
                "expr": f"({counter}_total - {counter}_total offset {period}) >= 0 or {counter}_total",
            }
            for counter, period in dict.fromkeys(sums)
        ),
        {"record": "market:minute_of_day", "expr": f"hour({began}) * 60 + minute({began})"},
        {
            "record": "market:is_open",
            "expr": f"(day_of_week({began}) > bool 0) * (day_of_week({began}) < bool 6) "
            f"* (market:minute_of_day >= bool {opens}) * (market:minute_of_day < bool {closes})",
        },
        *made,
    ]
    # In one group, the rules are evaluated in this order.
    groups = {"groups": [{"name": "quoteflow", "rules": rules}]}
    return ALERTS_HEADER + yaml.safe_dump(groups, sort_keys=False, width=10_000)


def table(columns: list[str], rows: list[list[str]]) -> str:
    """Write a Markdown table."""
    lines = [columns, ["---"] * len(columns), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def code(names: list[str]) -> str:
    """Write names as code."""
    return ", ".join(f"`{name}`" for name in names)


def metrics() -> str:
    """Write the table of the metrics."""
    rows = []
    for metric in METRICS.values():
        own, there = metric.get("functions"), metric.get("cloudwatch")
        names = [metric["name"]] if own else [f"{there['namespace']} {there['name']}"] if there else []
        by = [label for label in labels(metric) if label != "function" or not own]
        of = " by ".join(part for part in (", ".join(own or ()), ", ".join(by)) if part)
        rows.append([code(names), code([exposed(metric)]), of, metric["help"]])
    return table(["in CloudWatch", "on this machine", "of", "meaning"], rows)


def alarms() -> str:
    """Write the table of the alarms."""
    rows = []
    for alarm in ALARMS.values():
        metric, minutes = METRICS.get(alarm.get("metric")), alarm["minutes"]
        if metric:
            name = metric.get("cloudwatch", metric)["name"]
            condition = (
                f"`{name}` is more than {alarm['above']} {alarm.get('unit', '').replace('percent', '%')}".rstrip()
            )
        else:
            condition = "see below"
        if "datapoints" in alarm:
            condition += f", in {alarm['datapoints']} of {alarm['periods']} periods of {minutes} minutes"
        elif alarm["periods"] > 1:
            condition += f", for {minutes * alarm['periods']} minutes"
        elif metric and metric["type"] == "counter":
            condition += f", in {minutes // 60} hours" if minutes > 60 else f", in {minutes} minutes"
        of = (
            alarm.get("queues")
            or alarm.get("functions")
            or (metric or {}).get("functions")
            or ["FUNCTION"] * bool(metric)
        )
        suffix = alarm.get("suffix", alarm["name"])
        names = [f"NAME-{one}-{suffix}" for one in of] or [f"NAME-{suffix}"]
        link = f"[{rule_name(alarm)}](#{rule_name(alarm).lower()})"
        rows.append([link, code(names), alarm["severity"], condition])
    return table(["section", "alarm in CloudWatch", "severity", "fires when"], rows)


def document(path: str, made: str) -> tuple[Path, str]:
    """Return a document with its table between the marker lines."""
    text, count = MARKED.subn(lambda _: f"{BEGIN}\n\n{made}\n{END}\n", (ROOT / path).read_text())
    if count != 1:
        raise SystemExit(f"{path} must have one table between {BEGIN} and {END}")
    return ROOT / path, text


def written() -> dict[Path, str]:
    """Return each file with the text that it must contain."""
    documents = [document("docs/OBSERVABILITY.md", metrics()), document("docs/RUNBOOK.md", alarms())]
    return {ALERTS: alerts(), **dict(documents)}


if __name__ == "__main__":
    for file, text in written().items():
        file.write_text(text)
