"""Prometheus' rules: they are CloudWatch's alarms, they fire when they should, and a real Prometheus takes them."""

import http.server
import json
import re
import subprocess
import threading
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hcl2
import pytest
from flowkit import ROOT, free_ports, wait_until
from stackkit import PROMETHEUS, check_expression, program, read_yaml, rules, seconds

OBSERVABILITY = ROOT / "infra" / "modules" / "observability"
ALERTS = {rule["alert"]: rule for rule in rules() if "alert" in rule}
RECORDS = {rule["record"]: rule["expr"] for rule in rules() if "record" in rule}
SERIES = {
    "ApproximateNumberOfMessagesVisible": "quoteflow_queue_messages",
    "ApproximateAgeOfOldestMessage": "quoteflow_queue_oldest_message_age_seconds",
    "OffsetLag": 'quoteflow_topic_lag{topic="stock-quotes", group="archive-quotes"}',
}


def plain(value: Any) -> Any:
    """What python-hcl2 read, without the quotes of strings and the ${} of lone expressions."""
    if isinstance(value, dict):
        return {plain(key): plain(one) for key, one in value.items()}
    if isinstance(value, list):
        return [plain(one) for one in value]
    if isinstance(value, str) and (found := re.fullmatch(r'"(.*)"', value, re.S)):
        return found[1]
    return value


def terraform(file: Path) -> dict[str, Any]:
    with file.open() as opened:
        return plain(hcl2.load(opened))


def blocks(file: Path, kind: str) -> dict[str, Any]:
    return {name: body for block in terraform(file).get(kind, []) for name, body in block.items()}


ALARMS = {
    name: body
    for block in terraform(OBSERVABILITY / "main.tf")["resource"]
    for name, body in block.get("aws_cloudwatch_metric_alarm", {}).items()
}
DEFAULTS = {name: body.get("default") for name, body in blocks(OBSERVABILITY / "variables.tf", "variable").items()}
LOCALS = terraform(OBSERVABILITY / "main.tf")["locals"][0]
# How the root calls the module.
CALL = blocks(ROOT / "infra" / "aws" / "main.tf", "module")["observability"]
# Heading → text of its section.
RUNBOOK = {
    heading: text.strip()
    for heading, text in re.findall(
        r"^## ([^\n]+)\n(.*?)(?=^## |\Z)", (ROOT / "docs/RUNBOOK.md").read_text(), re.M | re.S
    )
}
ONE_BY_ONE = [name for name in ALARMS if name not in ("freshness", "stalled")]


def value_of(expression: Any) -> Any:
    """A number or a name as Terraform computes it, for what the alarms contain."""
    text = str(expression).removeprefix("${").removesuffix("}")
    if found := re.fullmatch(r"local\.metrics\.(\w+)\.name", text):
        return plain(LOCALS["metrics"])[found[1]]["name"]
    for name, default in DEFAULTS.items():
        text = text.replace(f"var.{name}", str(default))
    if found := re.fullmatch(r"(\d+)(?: \* (\d+))?(?: \+ (\d+))?", text):
        return int(found[1]) * int(found[2] or 1) + int(found[3] or 0)
    return expression


def selector(alarm: dict[str, Any]) -> str:
    """What an alarm is made for, as a matcher."""
    each = str(alarm.get("for_each"))
    if "is_throttling_normal" in each:
        normal = re.search(r"is_throttling_normal = contains\((\[.*?\]), name\)", CALL["functions"])
        assert normal
        return f'{{function!~"{"|".join(json.loads(normal[1]))}"}}'
    if each == "${var.failed_queues}":
        return f'{{queue=~"{"|".join(CALL["failed_queues"])}"}}'
    if each == "${var.queues}":
        return f'{{queue=~"{"|".join(CALL["queues"])}"}}'
    return ""


def expected(alarm: dict[str, Any]) -> tuple[str, int]:
    """The expression, with durations in seconds, and the seconds of `for` that an alarm amounts to."""
    assert alarm["comparison_operator"] == "GreaterThanThreshold"
    assert alarm["treat_missing_data"] == "notBreaching"
    metric, threshold = value_of(alarm["metric_name"]), value_of(alarm["threshold"])
    period, periods = alarm["period"], value_of(alarm["evaluation_periods"])
    needed = alarm.get("datapoints_to_alarm", periods)
    if metric == "Duration":
        # Prometheus' quantile 1 is the maximum of 5 minutes.
        assert (alarm["statistic"], period) == ("Maximum", 300)
        assert threshold == "${each.value.timeout_seconds * 1000 * 0.8}"
        statistic, threshold = 'quoteflow_duration_seconds{quantile="1"}', "(0.8 * quoteflow_timeout_seconds)"
        is_above = f"> bool ignoring(quantile) {threshold}"
    elif alarm["statistic"] == "Sum":
        snake = re.sub(r"(?<!^)(?=[A-Z])", "_", metric).lower()
        statistic, is_above = f"function:quoteflow_{snake}:sum{period}s{selector(alarm)}", f"> bool {threshold}"
    else:
        assert alarm["statistic"] == "Maximum"
        statistic, is_above = f"max_over_time({SERIES[metric]}{selector(alarm)}[{period}s])", f"> bool {threshold}"
    if needed == periods:
        return f"{statistic} {is_above.replace(' bool', '')}", period * (periods - 1)
    return f"sum_over_time(({statistic} {is_above})[{period * periods - 1}s:{period}s]) >= {needed}", 0


def in_seconds(expression: str) -> str:
    """An expression with every duration in seconds, also in the names of sums."""
    return re.sub(r"(?<=[\[:m ])((?:\d+[smhd])+)(?=[\]:{ ]|$)", lambda found: f"{seconds(found[1])}s", expression)


def test_there_is_a_rule_for_each_alarm() -> None:
    camel = {"".join(part.title() for part in name.split("_")) for name in ALARMS}
    assert ALERTS.keys() == camel
    assert {rule["labels"]["severity"] for rule in ALERTS.values()} == {"warning", "critical"}


@pytest.mark.parametrize("name", ONE_BY_ONE)
def test_a_rule_has_its_alarms_statistic_threshold_and_periods(name: str) -> None:
    rule = ALERTS["".join(part.title() for part in name.split("_"))]
    expression, held = expected(ALARMS[name])
    assert in_seconds(" ".join(rule["expr"].split())) == expression
    assert seconds(rule.get("for", "0s")) == held


def test_a_sum_is_what_its_counter_grew_by_in_the_period_of_its_name() -> None:
    sums = {name: expression for name, expression in RECORDS.items() if ":sum" in name}
    assert sums
    for name, expression in sums.items():
        counter, _, period = name.removeprefix("function:").partition(":sum")
        total = f"{counter}_total"
        assert expression == f"({total} - {total} offset {period}) >= 0 or {total}"


def test_freshness_has_its_alarms_hours_and_minutes() -> None:
    alarm, rule = ALARMS["freshness"], ALERTS["Freshness"]
    minutes = value_of(alarm["evaluation_periods"])
    assert (alarm["comparison_operator"], alarm["threshold"]) == ("LessThanThreshold", 1)
    assert alarm["treat_missing_data"] == "breaching"
    periods = {metric["period"] for query in alarm["metric_query"] for metric in query.get("metric", [])}
    assert periods == {60}
    assert seconds(rule["for"]) == 60 * (minutes - 1)
    assert "(sum(function:quoteflow_loaded:sum1m) or vector(0)) < 1 and market:is_open == 1" in rule["expr"]
    opens, closes = value_of(LOCALS["opens_minute"]), value_of(LOCALS["closes_minute"])
    assert (
        f"(market:minute_of_day >= bool {opens}) * (market:minute_of_day < bool {closes})" in RECORDS["market:is_open"]
    )
    # CloudWatch's days are 1 (Monday) to 7, Prometheus' 0 (Sunday) to 6: Monday to Friday is the same.
    assert LOCALS["is_open"].startswith("DAY(invoked)<6 AND ")
    days = "(day_of_week(vector(time() - 60)) > bool 0) * (day_of_week(vector(time() - 60)) < bool 6)"
    assert days in RECORDS["market:is_open"]
    # The root has its own default.
    root = blocks(ROOT / "infra" / "aws" / "variables.tf", "variable")["freshness_minutes"]["default"]
    assert root == minutes


def test_stalled_looks_at_the_same_counts_for_as_long() -> None:
    alarm, rule = ALARMS["stalled"], ALERTS["Stalled"]
    queries = {query["id"]: query for query in alarm["metric_query"]}
    assert queries["stalled"]["expression"] == "IF(published > 0 AND counted < 1, 1, 0)"
    assert queries["counted"]["expression"] == "SUM([invoked, zero])"
    assert (alarm["comparison_operator"], alarm["threshold"]) == ("GreaterThanThreshold", 0)
    metrics = {name: query["metric"][0] for name, query in queries.items() if "metric" in query}
    assert {metric["period"] for metric in metrics.values()} == {300}
    assert value_of(metrics["published"]["metric_name"]) == "Published"
    assert metrics["invoked"]["metric_name"] == "Invocations"
    assert "archive-quotes" in metrics["invoked"]["dimensions"]["FunctionName"]
    assert " ".join(rule["expr"].split()) == (
        "sum(function:quoteflow_published:sum5m) > 0 and "
        '(sum(function:quoteflow_invocations:sum5m{function="archive-quotes"}) or vector(0)) < 1'
    )
    assert seconds(rule["for"]) == 300 * (alarm["evaluation_periods"] - 1)


@pytest.mark.parametrize("name", ALARMS)
def test_a_rule_says_what_its_alarm_says(name: str) -> None:
    text = ALARMS[name]["alarm_description"]
    for variable, default in DEFAULTS.items():
        text = text.replace(f"${{var.{variable}}}", str(default))
    annotations = ALERTS["".join(part.title() for part in name.split("_"))]["annotations"]
    assert re.sub(r"\{\{.*?\}\}", "*", annotations["description"]) == re.sub(r"\$\{.*?\}", "*", text)
    assert annotations["look"]


@pytest.mark.parametrize("name", ALARMS)
def test_an_alarm_links_to_its_section_of_the_runbook(name: str) -> None:
    alert, alarm = "".join(part.title() for part in name.split("_")), ALARMS[name]
    # GitHub's anchor of a heading of one word.
    link = f" Runbook: docs/RUNBOOK.md#{alert.lower()}"
    assert alarm["alarm_description"].endswith(link)
    assert ALERTS[alert]["annotations"]["description"].endswith(link)
    section = RUNBOOK[alert]
    assert f", {ALERTS[alert]['labels']['severity']}. **Meaning:** " in section
    assert "**Look at** " in section
    assert "**Do:** " in section
    # The section begins with the names that CloudWatch has.
    named = re.match(r"Alarm ((?:`[\w-]+`(?: or )?)+), ", section)
    assert named, section
    pattern = re.sub(r"\$\{.*?\}", ".+", alarm["alarm_name"])
    assert all(re.fullmatch(pattern, one) for one in re.findall(r"`([^`]+)`", named[1])), section
    for queue in CALL["failed_queues"] if alarm.get("for_each") == "${var.failed_queues}" else ():
        assert f"`NAME-{queue}-not-empty`" in named[1]


def test_the_runbook_has_no_section_of_an_alarm_that_does_not_exist() -> None:
    assert {heading for heading, text in RUNBOOK.items() if text.startswith("Alarm ")} == ALERTS.keys() | {"Server"}


def test_no_module_has_an_alarm_without_a_section() -> None:
    links = re.findall(
        r'^  alarm_description +=.*docs/RUNBOOK\.md#(\w+)"$',
        "".join(file.read_text() for file in sorted(OBSERVABILITY.parent.glob("*/*.tf"))),
        re.M,
    )
    made = [file.read_text().count('"aws_cloudwatch_metric_alarm"') for file in OBSERVABILITY.parents[1].rglob("*.tf")]
    assert len(links) == sum(made)
    assert set(links) <= {heading.lower() for heading in RUNBOOK}


@pytest.mark.parametrize("rule", rules(), ids=lambda rule: rule.get("alert") or rule["record"])
def test_a_rule_uses_only_what_is_exposed(rule: dict[str, Any]) -> None:
    check_expression(rule["expr"])


def test_each_rule_fires_when_it_should_and_not_before() -> None:
    files = sorted(PROMETHEUS.glob("*_test.yml"))
    cases = [case for file in files for test in read_yaml(file)["tests"] for case in test["alert_rule_test"]]
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
