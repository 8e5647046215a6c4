"""Prometheus' rules: they are the catalogue's alarms, they fire when they should, and a real Prometheus takes them."""

import http.server
import json
import re
import subprocess
import threading
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import catalogue
import pytest
from catalogue import ALARMS, METRICS
from testkit.flow import ROOT, free_ports, wait_until
from testkit.stack import PROMETHEUS, check_expression, program, read_yaml, rules

ALERTS = {rule["alert"]: rule for rule in rules() if "alert" in rule}
RECORDS = {rule["record"]: rule["expr"] for rule in rules() if "record" in rule}
# Heading → text of its section.
RUNBOOK = {
    heading: text.strip()
    for heading, text in re.findall(
        r"^## ([^\n]+)\n(.*?)(?=^## |\Z)", (ROOT / "docs/RUNBOOK.md").read_text(), re.M | re.S
    )
}
# The alarms of one metric that the functions write.
OWN = [alarm for alarm in ALARMS.values() if "functions" in METRICS.get(alarm.get("metric"), {})]


@pytest.mark.parametrize("file", catalogue.written(), ids=lambda file: file.name)
def test_a_file_says_what_the_catalogue_says(file: Path) -> None:
    assert file.read_text() == catalogue.written()[file], "run `make catalogue`"


def test_an_alarm_of_the_catalogue_has_its_rule() -> None:
    assert [catalogue.rule_name(alarm) for alarm in ALARMS.values()] == list(ALERTS)
    assert {rule["labels"]["severity"] for rule in ALERTS.values()} == {"warning", "critical"}
    assert all(rule["annotations"]["look"] for rule in ALERTS.values())


def test_a_sum_is_what_its_counter_grew_by_in_the_period_of_its_name() -> None:
    sums = {name: expression for name, expression in RECORDS.items() if ":sum" in name}
    assert sums
    for name, expression in sums.items():
        counter, _, period = name.removeprefix("function:").partition(":sum")
        total = f"{counter}_total"
        assert expression == f"({total} - {total} offset {period}) >= 0 or {total}"


@pytest.mark.parametrize("alert", ALERTS)
def test_a_rule_links_to_its_section_of_the_runbook(alert: str) -> None:
    # GitHub's anchor of a heading of one word.
    assert ALERTS[alert]["annotations"]["description"].endswith(f" Runbook: docs/RUNBOOK.md#{alert.lower()}")
    section = RUNBOOK[alert]
    assert section.startswith("**Meaning:** ")
    assert "**Look at** " in section
    assert "**Do:** " in section


def test_the_runbook_has_no_section_of_an_alarm_that_does_not_exist() -> None:
    assert {heading for heading, text in RUNBOOK.items() if "**Meaning:**" in text} == ALERTS.keys() | {"Server"}


@pytest.mark.parametrize("rule", rules(), ids=lambda rule: rule.get("alert") or rule["record"])
def test_a_rule_uses_only_what_is_exposed(rule: dict[str, Any]) -> None:
    check_expression(rule["expr"])


def own_metrics() -> dict[str, Any]:
    """Tests for promtool: each alarm of a function's own metric fires above its limit and not at it."""
    step, tests = 5, []
    for alarm in OWN:
        metric, rule, above = METRICS[alarm["metric"]], ALERTS[catalogue.rule_name(alarm)], alarm["above"]
        labels = dict.fromkeys(catalogue.labels(metric), "one") | {"function": metric["functions"][0]}
        labels |= {"quantile": "1"} if metric["type"] == "summary" else {}
        series = catalogue.exposed(metric) + catalogue.selector([f'{name}="{one}"' for name, one in labels.items()])
        end = alarm["minutes"] * alarm["periods"] + 2 * step
        fires = {"exp_labels": {**labels, "severity": alarm["severity"]}}
        is_counter = metric["type"] == "counter"
        for values, alerts in (
            (f"0+{above + 1}x{end}" if is_counter else f"{above + 1}x{end}", [fires]),
            (f"0x2 {above}x{end}" if is_counter else f"{above}x{end}", []),
        ):
            case = {"eval_time": f"{end}m", "alertname": rule["alert"], "exp_alerts": alerts}
            one = {"interval": f"{step}m", "input_series": [{"series": series, "values": values}]}
            tests.append({**one, "alert_rule_test": [case]})
    return {"evaluation_interval": f"{step}m", "tests": tests}


def complete(unit: dict[str, Any]) -> dict[str, Any]:
    """Promtool's tests with the rules' path, and with the text of each alert that is expected."""
    for case in (case for test in unit["tests"] for case in test["alert_rule_test"]):
        for expected in case.get("exp_alerts", ()):
            texts = dict(ALERTS[case["alertname"]]["annotations"])
            for label, value in expected["exp_labels"].items():
                texts["description"] = texts["description"].replace(f"{{{{ $labels.{label} }}}}", value)
            expected.setdefault("exp_annotations", texts)
    return {**unit, "rule_files": [str(catalogue.ALERTS)]}


def test_each_rule_fires_when_it_should_and_not_before(tmp_path: Path) -> None:
    units = [complete(unit) for unit in (*map(read_yaml, sorted(PROMETHEUS.glob("*_test.yml"))), own_metrics())]
    cases = [case for unit in units for test in unit["tests"] for case in test["alert_rule_test"]]
    files = [tmp_path / f"{number}.json" for number in range(len(units))]
    for file, unit in zip(files, units, strict=True):
        file.write_text(json.dumps(unit))
    for fires in (True, False):
        assert {case["alertname"] for case in cases if bool(case.get("exp_alerts")) == fires} == ALERTS.keys()
    done = subprocess.run(
        [program("promtool"), "test", "rules", *files], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_configuration_is_valid() -> None:
    done = subprocess.run(
        [program("promtool"), "check", "config", PROMETHEUS / "prometheus.yml"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


TEXT = """\
# TYPE quoteflow_queue_messages gauge
quoteflow_queue_messages{queue="quotes-archived-dlq"} 1
quoteflow_queue_messages{queue="quotes-archived"} 7
# TYPE quoteflow_errors_total counter
quoteflow_errors_total{function="load-quotes"} 0
# TYPE quoteflow_duration_seconds summary
quoteflow_duration_seconds{function="load-quotes",quantile="1"} NaN
# TYPE quoteflow_timeout_seconds gauge
quoteflow_timeout_seconds{function="load-quotes"} 60
"""


class Exposing(http.server.BaseHTTPRequestHandler):
    """Answers every request with the text."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/plain; version=0.0.4")
        self.end_headers()
        self.wfile.write(TEXT.encode())

    def log_message(self, *_: object) -> None:
        """Keep the tests' output clean."""


@pytest.fixture
def target() -> Iterator[str]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Exposing) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture
def prometheus(target: str, tmp_path: Path) -> Iterator[str]:
    """A Prometheus with the stack's files, which scrapes `target` every second instead."""
    text = (PROMETHEUS / "prometheus.yml").read_text()
    assert "127.0.0.1:14505" in text
    assert text.count("interval: 15s") == 2
    text = text.replace("127.0.0.1:14505", target).replace("interval: 15s", "interval: 1s")
    (tmp_path / "prometheus.yml").write_text(text)
    (tmp_path / "alerts.yml").write_bytes((PROMETHEUS / "alerts.yml").read_bytes())
    (port,) = free_ports(1)
    with (tmp_path / "log").open("w") as log:
        process = subprocess.Popen(
            [
                program("prometheus"),
                f"--config.file={tmp_path / 'prometheus.yml'}",
                f"--storage.tsdb.path={tmp_path / 'data'}",
                f"--web.listen-address=127.0.0.1:{port}",
            ],
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(30)


def answer(url: str) -> Any:
    """The data of an answer of Prometheus' API; `None` before it listens."""
    try:
        with urllib.request.urlopen(url, timeout=5) as response:  # noqa: S310 - the test's own server
            return json.load(response)["data"]
    except OSError:
        return None


def test_a_real_prometheus_scrapes_evaluates_and_fires(prometheus: str, target: str) -> None:
    def is_scraped() -> bool:
        targets = answer(f"{prometheus}/api/v1/targets")
        return bool(targets) and [one["health"] for one in targets["activeTargets"]] == ["up"]

    def evaluated() -> dict[str, dict[str, Any]] | None:
        groups = (answer(f"{prometheus}/api/v1/rules") or {"groups": []})["groups"]
        found = {rule["name"]: rule for group in groups for rule in group["rules"]}
        fires = found.get("Failed", {}).get("state") == "firing"
        return found if fires and all(rule["health"] == "ok" for rule in found.values()) else None

    wait_until(is_scraped, f"scrape of {target}")
    found = wait_until(evaluated, "firing alert of the dead letter")
    assert found.keys() == ALERTS.keys() | RECORDS.keys()
    (alert,) = found["Failed"]["alerts"]
    assert alert["labels"]["queue"] == "quotes-archived-dlq"
    assert "quotes-archived-dlq is not empty" in alert["annotations"]["description"]
    # Nothing is invoked: the rule waits for a quarter of an hour before it fires.
    assert {name: rule["state"] for name, rule in found.items() if rule.get("state", "inactive") != "inactive"} == {
        "Failed": "firing",
        "Freshness": "pending",
    }
