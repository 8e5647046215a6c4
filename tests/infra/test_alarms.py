"""What Terraform makes of the catalogue's alarms, against Prometheus' rules and the runbook."""

import json
import re
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest
import yaml
from testkit.flow import FLOW, FUNCTIONS, ROOT
from testkit.terraform import Terraform

RULES = {
    rule.get("alert") or rule["record"]: rule
    for group in yaml.safe_load((ROOT / "dashboards/prometheus/alerts.yml").read_text())["groups"]
    for rule in group["rules"]
}
ALERTS = [name for name, rule in RULES.items() if "alert" in rule]
RUNBOOK = (ROOT / "docs/RUNBOOK.md").read_text()
HEADINGS = re.findall(r"^## (.+)$", RUNBOOK, re.M)
SERIES = {
    "ApproximateNumberOfMessagesVisible": "quoteflow_queue_messages",
    "ApproximateAgeOfOldestMessage": "quoteflow_queue_oldest_message_age_seconds",
    "OffsetLag": "quoteflow_topic_lag",
}
QUEUES = ("quotes-archived", "quotes-archived-dlq", "failed-events")
UNIT_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


@pytest.fixture(scope="module")
def planned(terraform: Terraform) -> dict[str, list[dict[str, Any]]]:
    """Rule → the alarms that the module would make for it, for a deployment called NAME."""
    root = Terraform(terraform.root.parent / "alarms")
    root.root.mkdir()
    flags = ("skip_credentials_validation", "skip_requesting_account_id", "skip_metadata_api_check")
    limits = {one["name"]: one["timeout_seconds"] for one in FLOW["functions"]}
    configuration = {
        "provider": {
            "aws": {"region": "us-east-1", "access_key": "x", "secret_key": "x", **dict.fromkeys(flags, True)}
        },
        "module": {
            "observability": {
                "source": "../modules/observability",
                "name": "NAME",
                "region": "us-east-1",
                "functions": {
                    name: {"name": f"NAME-{name}", "timeout_seconds": limit} for name, limit in limits.items()
                },
                "queues": {queue: f"NAME-{queue}" for queue in QUEUES},
            }
        },
    }
    (root.root / "main.tf.json").write_text(json.dumps(configuration))
    root.init()
    root.succeed("plan", "-out=plan")
    made = defaultdict(list)
    for change in root.changes(Path("plan")).values():
        if "alarm_name" in change["after"]:
            anchor = change["after"]["alarm_description"].rpartition(" Runbook: docs/RUNBOOK.md#")[2]
            (rule,) = (name for name in ALERTS if name.lower() == anchor)
            made[rule].append(change["after"])
    return made


def selector(alarms: list[dict[str, Any]]) -> str:
    """What alarms are made for, as a matcher."""
    names = {value.removeprefix("NAME-") for alarm in alarms for value in alarm["dimensions"].values()}
    if "QueueName" in alarms[0]["dimensions"]:
        return f'{{queue=~"{"|".join(queue for queue in QUEUES if queue in names)}"}}'
    left_out = [function for function in FUNCTIONS if function not in names]
    return f'{{function!~"{"|".join(left_out)}"}}' if 1 < len(alarms) < len(FUNCTIONS) else ""


def expected(alarms: list[dict[str, Any]]) -> tuple[str, int]:
    """The expression, with durations in seconds, and the seconds of `for` that alarms of a rule amount to."""
    alarm = alarms[0]
    metric, period, periods = alarm["metric_name"], alarm["period"], alarm["evaluation_periods"]
    fields = {"metric_name", "namespace", "statistic", "period", "evaluation_periods", "datapoints_to_alarm"}
    for one in alarms:
        assert {field: one[field] for field in fields} == {field: alarm[field] for field in fields}
        assert one["comparison_operator"] == "GreaterThanThreshold"
        assert one["treat_missing_data"] == "notBreaching"
    is_above = f"> bool {alarm['threshold']}"
    if metric == "Duration":
        # Prometheus' quantile 1 is the maximum of 5 minutes.
        assert (alarm["statistic"], period) == ("Maximum", 300)
        for one in alarms:
            function = one["dimensions"]["FunctionName"].removeprefix("NAME-")
            (timeout,) = (one["timeout_seconds"] for one in FLOW["functions"] if one["name"] == function)
            assert one["threshold"] == timeout * 1000 * 0.8
        statistic = 'quoteflow_duration_seconds{quantile="1"}'
        is_above = "> bool ignoring(quantile) (0.8 * quoteflow_timeout_seconds)"
    elif alarm["statistic"] == "Sum":
        snake = re.sub(r"(?<!^)(?=[A-Z])", "_", metric).lower()
        statistic = f"function:quoteflow_{snake}:sum{period}s{selector(alarms)}"
    else:
        assert alarm["statistic"] == "Maximum"
        statistic = f"max_over_time({SERIES[metric]}{selector(alarms)}[{period}s])"
    needed = alarm["datapoints_to_alarm"] or periods
    if needed == periods:
        return f"{statistic} {is_above.replace(' bool', '')}", period * (periods - 1)
    return f"sum_over_time(({statistic} {is_above})[{period * periods - 1}s:{period}s]) >= {needed}", 0


def seconds(duration: str) -> int:
    """A duration of Prometheus, such as 14m59s."""
    return sum(int(number) * UNIT_SECONDS[unit] for number, unit in re.findall(r"(\d+)([smhd])", duration))


def in_seconds(expression: str) -> str:
    """An expression with every duration in seconds, also in the names of sums."""
    return re.sub(r"(?<=[\[:m ])((?:\d+[smhd])+)(?=[\]:{ ]|$)", lambda found: f"{seconds(found[1])}s", expression)


def test_each_rule_has_its_alarms_and_each_alarm_its_rule(planned: dict[str, list[dict[str, Any]]]) -> None:
    assert planned.keys() == set(ALERTS)


@pytest.mark.parametrize("rule", [name for name in ALERTS if name not in ("Freshness", "Stalled")])
def test_a_rule_has_its_alarms_statistic_threshold_and_periods(
    rule: str, planned: dict[str, list[dict[str, Any]]]
) -> None:
    expression, held = expected(planned[rule])
    assert in_seconds(RULES[rule]["expr"]) == expression
    assert seconds(RULES[rule].get("for", "0s")) == held


def queries_of(alarm: dict[str, Any]) -> tuple[dict[str, str], dict[str, dict[str, Any]]]:
    """The expressions and the metrics of an alarm, by their ids."""
    queries = {query["id"]: query for query in alarm["metric_query"]}
    expressions = {name: query["expression"] for name, query in queries.items() if not query["metric"]}
    return expressions, {name: query["metric"][0] for name, query in queries.items() if query["metric"]}


def test_freshness_has_its_alarms_hours_and_minutes(planned: dict[str, list[dict[str, Any]]]) -> None:
    (alarm,), rule = planned["Freshness"], RULES["Freshness"]
    expressions, metrics = queries_of(alarm)
    assert (alarm["comparison_operator"], alarm["threshold"]) == ("LessThanThreshold", 1)
    assert alarm["treat_missing_data"] == "breaching"
    assert {metric["period"] for metric in metrics.values()} == {60}
    assert seconds(rule["for"]) == 60 * (alarm["evaluation_periods"] - 1)
    assert metrics["loaded"]["metric_name"] == "Loaded"
    assert "(sum(function:quoteflow_loaded:sum1m) or vector(0)) < 1 and market:is_open == 1" in rule["expr"]
    # CloudWatch's days are 1 (Monday) to 7, Prometheus' 0 (Sunday) to 6: Monday to Friday is the same.
    minute = r"HOUR\(invoked\)\*60\+MINUTE\(invoked\)"
    hours = re.fullmatch(
        rf"IF\(DAY\(invoked\)<6 AND {minute}>=(\d+) AND {minute}<(\d+), counted, 1\)", expressions["rows"]
    )
    assert hours, expressions
    assert RULES["market:is_open"]["expr"] == (
        "(day_of_week(vector(time() - 60)) > bool 0) * (day_of_week(vector(time() - 60)) < bool 6)"
        f" * (market:minute_of_day >= bool {hours[1]}) * (market:minute_of_day < bool {hours[2]})"
    )


def test_stalled_looks_at_the_same_counts_for_as_long(planned: dict[str, list[dict[str, Any]]]) -> None:
    (alarm,), rule = planned["Stalled"], RULES["Stalled"]
    expressions, metrics = queries_of(alarm)
    assert expressions["stalled"] == "IF(published > 0 AND counted < 1, 1, 0)"
    assert expressions["counted"] == "SUM([invoked, zero])"
    assert (alarm["comparison_operator"], alarm["threshold"]) == ("GreaterThanThreshold", 0)
    assert {metric["period"] for metric in metrics.values()} == {300}
    assert metrics["published"]["metric_name"] == "Published"
    assert metrics["invoked"]["metric_name"] == "Invocations"
    assert metrics["invoked"]["dimensions"] == {"FunctionName": "NAME-archive-quotes"}
    assert rule["expr"] == (
        "sum(function:quoteflow_published:sum5m) > 0 and "
        '(sum(function:quoteflow_invocations:sum5m{function="archive-quotes"}) or vector(0)) < 1'
    )
    assert seconds(rule["for"]) == 300 * (alarm["evaluation_periods"] - 1)


@pytest.mark.parametrize("rule", ALERTS)
def test_a_rule_says_what_its_alarm_says(rule: str, planned: dict[str, list[dict[str, Any]]]) -> None:
    said = re.escape(re.sub(r"\{\{.*?\}\}", "*", RULES[rule]["annotations"]["description"])).replace(r"\*", r"[\w-]+")
    for alarm in planned[rule]:
        assert re.fullmatch(said, alarm["alarm_description"])
        # The subject is named in full where it is a queue, plainly where it is a function.
        assert "NAME-" not in alarm["alarm_description"].removeprefix("A message has waited in ").removeprefix("NAME-")


@pytest.mark.parametrize("rule", ALERTS)
def test_the_runbook_names_the_alarms_of_a_rule(rule: str, planned: dict[str, list[dict[str, Any]]]) -> None:
    alarms = planned[rule]
    names = {alarm["alarm_name"] for alarm in alarms}
    if len(alarms) > len(QUEUES):
        functions = "|".join(FUNCTIONS)
        names = {re.sub(rf"^NAME-({functions})-", "NAME-FUNCTION-", name) for name in names}
    assert {name for name in names if f"`{name}`" not in RUNBOOK} == set()


def test_no_alarm_of_another_module_is_without_a_section() -> None:
    others = [file for file in (ROOT / "infra").glob("*/**/*.tf") if file.parent.name != "observability"]
    texts = [file.read_text() for file in others if ".terraform" not in file.parts]
    links = re.findall(r'^  alarm_description +=.*docs/RUNBOOK\.md#(\w+)"$', "".join(texts), re.M)
    assert len(links) == sum(text.count('resource "aws_cloudwatch_metric_alarm"') for text in texts) > 0
    assert set(links) <= {heading.lower() for heading in HEADINGS}
