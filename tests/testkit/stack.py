"""Shared by the tests of the stack: its files, Prometheus' programs, and the series that a PromQL expression uses."""

import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from testkit.contract import METRICS, Labels
from testkit.flow import ROOT

LOCALSTACK = ROOT / "localstack"
COMPOSE = LOCALSTACK / "docker-compose.yml"
PROMETHEUS = ROOT / "dashboards" / "prometheus"
GRAFANA = ROOT / "dashboards" / "grafana"
UNIT_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


def read_yaml(file: Path) -> Any:
    """The file's content."""
    return yaml.safe_load(file.read_text())


def rules() -> list[dict[str, Any]]:
    """Every recording and alerting rule of Prometheus."""
    return [rule for group in read_yaml(PROMETHEUS / "alerts.yml")["groups"] for rule in group["rules"]]


def program(name: str) -> Path:
    """`prometheus` or `promtool`, from the PATH or unpacked by `setup/packages.sh prometheus`."""
    unpacked = ROOT / "target" / "prometheus" / "usr" / "bin" / name
    if found := shutil.which(name) or (unpacked.exists() and unpacked):
        return Path(found)
    return pytest.skip(f"{name} is missing: put it into the PATH (Debian: setup/packages.sh prometheus)")


def seconds(duration: str) -> int:
    """A duration of Prometheus, such as 14m59s."""
    parts = re.findall(r"(\d+)([smhd])", duration)
    assert "".join(map("".join, parts)) == duration, duration
    return sum(int(number) * UNIT_SECONDS[unit] for number, unit in parts)


def check_expression(expression: str, legend: str = "") -> None:
    """Fail if an expression or its legend uses a metric, a label or a value that nothing exposes."""
    # The series that Prometheus creates from the rules.
    known = METRICS | {
        "ALERTS": {"alertname": None, "alertstate": None, "severity": None, "function": None, "queue": None}
    }
    for rule in rules():
        if "record" in rule:
            used = [known[name] for name in names_of(rule["expr"]) if name in known]
            known[rule["record"]] = used[0] if used else {}
    used = names_of(expression)
    unknown = used - known.keys()
    assert not unknown, f"{unknown} in {expression}"
    for name, selector in re.findall(r"([a-zA-Z_:][\w:]*)\{([^}]*)\}", expression):
        for label, operator, value in re.findall(r'(\w+)\s*(=~|!~|!=|=)\s*"([^"]*)"', selector):
            _check_matcher(known[name], name, label, operator, value)
    labels = {"__name__"}.union(*(known[name] for name in used))
    grouped = re.findall(r"\bby \(([^)]*)\)", expression)
    by = {label.strip() for group in grouped for label in group.split(",")}
    assert by <= labels, f"{by - labels} in {expression}"
    shown = set(re.findall(r"\{\{\s*(\w+)\s*\}\}", legend))
    aggregated = re.search(r"\b(sum|max|min|count)\b", expression)
    assert shown <= (by if aggregated else labels), f"{legend} of {expression}"


def names_of(expression: str) -> set[str]:
    """Return the names of the metrics and sums that an expression uses."""
    patterns = re.findall(r'__name__=~"([^"]+)"', expression)
    matched = {name for name in METRICS if any(re.fullmatch(pattern, name) for pattern in patterns)}
    assert bool(matched) == bool(patterns), expression
    return matched | set(re.findall(r"\b(?:ALERTS|quoteflow_\w+|[a-z]+:[\w:]+)", re.sub(r'"[^"]*"', '""', expression)))


def _check_matcher(labels: Labels, name: str, label: str, operator: str, value: str) -> None:
    assert label in labels, f"{name} has no label {label}"
    values = labels[label]
    if values is None:
        return
    # A queue that only the cloud has may be named in addition to those of `quoteflow`.
    matched = {one for one in values if (re.fullmatch(value, one) if "~" in operator else value == one)}
    assert matched, f"no {label} of {name} is {value}: {sorted(values)}"
