"""Grafana's dashboards: they query what exists, from datasources that are provisioned."""

import json
import re
import subprocess
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import catalogue
import pytest
from prometheus_client.parser import text_string_to_metric_families
from testkit.contract import BY_REASON, METRICS
from testkit.flow import ROOT, Flow, wait_until
from testkit.stack import COMPOSE, GRAFANA, check_expression, names_of, program, read_yaml

BOARDS = {file.stem: json.loads(file.read_text()) for file in sorted((GRAFANA / "dashboards").glob("*.json"))}
OPENAPI = json.loads((ROOT / "functions/serve-dashboard/openapi.json").read_text())
SOURCES = {
    source["uid"]: source["type"]
    for source in read_yaml(GRAFANA / "provisioning/datasources/datasources.yml")["datasources"]
}
PANELS = [
    pytest.param(board, panel, id=f"{name}: {panel['title']}")
    for name, board in BOARDS.items()
    for panel in board["panels"]
    if panel["type"] != "row"
]
QUERIES = [
    pytest.param(target["expr"], target["legendFormat"], id=f"{param.id} {target['refId']}")
    for param in PANELS
    for target in param.values[1]["targets"]
    if "expr" in target
]
REQUESTS = [
    pytest.param(target, id=f"{param.id} {target['refId']}")
    for param in PANELS
    for target in param.values[1]["targets"]
    if "url" in target
] + [
    pytest.param(variable["query"]["infinityQuery"], id=f"variable {variable['name']}")
    for board in BOARDS.values()
    for variable in board["templating"]["list"]
    if variable["type"] == "query"
]
# The Okabe-Ito palette, which colour-blind people can distinguish, and grey.
COLOURS = {"#0072B2", "#56B4E9", "#009E73", "#F0E442", "#E69F00", "#D55E00", "#CC79A7", "#999999", "transparent"}
COLUMN_TYPES = {
    "number": {"number", "integer"},
    "string": {"string"},
    "timestamp": {"date", "date-time"},
    "timestamp_epoch_s": {"integer"},
}


def walk(value: Any) -> Iterator[tuple[str, Any]]:
    """Every key with its value, however deep."""
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, one in pairs:
        yield str(key), one
        yield from walk(one)


def resolved(schema: dict[str, Any]) -> dict[str, Any]:
    while "$ref" in schema:
        schema = OPENAPI["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    return schema


def kinds(schema: dict[str, Any]) -> set[str]:
    """A field's types, a string's format instead of it."""
    schema = resolved(schema)
    if "anyOf" in schema:
        return set().union(*(kinds(one) for one in schema["anyOf"]))
    types = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
    return {schema.get("format", kind) if kind == "string" else kind for kind in types} - {"null"}


def test_grafana_finds_what_is_provisioned() -> None:
    grafana = read_yaml(COMPOSE)["services"]["grafana"]
    (provider,) = read_yaml(GRAFANA / "provisioning/dashboards/dashboards.yml")["providers"]
    mounted = dict(volume.split(":")[:2][::-1] for volume in grafana["volumes"])
    assert (COMPOSE.parent / mounted["/etc/grafana/provisioning"]).resolve() == GRAFANA / "provisioning"
    assert (COMPOSE.parent / mounted[provider["options"]["path"]]).resolve() == GRAFANA / "dashboards"
    home = Path(grafana["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"])
    assert home.parent == Path(provider["options"]["path"])
    assert home.stem in BOARDS
    plugins = dict(one.split("@") for one in grafana["environment"]["GF_PLUGINS_PREINSTALL_SYNC"].split(","))
    assert set(SOURCES.values()) == {"prometheus", *plugins}
    assert all(re.fullmatch(r"\d+\.\d+\.\d+", version) for version in plugins.values())


@pytest.mark.parametrize("name", BOARDS)
def test_a_dashboard_asks_only_provisioned_datasources(name: str) -> None:
    asked = [value for key, value in walk(BOARDS[name]) if key == "datasource"]
    assert asked
    for source in asked:
        assert SOURCES[source["uid"]] == source["type"]


@pytest.mark.parametrize("name", BOARDS)
def test_a_dashboard_has_only_colours_that_everybody_can_distinguish(name: str) -> None:
    keys = ("color", "fixedColor", "up", "down")
    used = {value for key, value in walk(BOARDS[name]) if key in keys and isinstance(value, str)}
    assert used
    assert used <= COLOURS


@pytest.mark.parametrize("name", BOARDS)
def test_links_name_dashboards_that_there_are(name: str) -> None:
    uids = {board["uid"] for board in BOARDS.values()}
    assert len(uids) == len(BOARDS)
    for link in BOARDS[name]["links"]:
        assert urlsplit(link["url"]).path.removeprefix("/d/") in uids


def test_addresses_in_the_alerts_name_a_dashboard_that_there_is() -> None:
    text = (ROOT / "dashboards/prometheus/alerts.yml").read_text()
    named = set(re.findall(r"127\.0\.0\.1:3000/d/([a-z-]+)", text))
    assert named
    assert named <= {board["uid"] for board in BOARDS.values()}


@pytest.mark.parametrize(("board", "panel"), PANELS)
def test_a_panel_says_what_it_shows(board: dict[str, Any], panel: dict[str, Any]) -> None:
    assert panel["title"]
    assert panel["description"].endswith(".")
    assert panel["targets"]
    if panel["type"] not in ("table", "candlestick") and panel["title"] != "$symbol, price":
        assert panel["fieldConfig"]["defaults"]["unit"]
    variables = {variable["name"] for variable in board["templating"]["list"]}
    used = set(re.findall(r"\$\{?([a-z]+)", json.dumps([panel["title"], [one.get("url") for one in panel["targets"]]])))
    assert used <= variables


@pytest.mark.parametrize("name", BOARDS)
def test_no_panel_lies_on_another(name: str) -> None:
    taken = set()
    for panel in BOARDS[name]["panels"]:
        at = panel["gridPos"]
        assert at["x"] + at["w"] <= 24
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert not cells & taken, panel["title"]
        taken |= cells


@pytest.mark.parametrize(("expression", "legend"), QUERIES)
def test_a_query_asks_for_what_is_exposed(expression: str, legend: str) -> None:
    check_expression(expression, legend)


def test_every_query_is_promql(tmp_path: Path) -> None:
    rules = [
        {"record": f"query:{number}", "expr": param.values[0].replace("$__rate_interval", "1m")}
        for number, param in enumerate(QUERIES)
    ]
    (tmp_path / "queries.yml").write_text(json.dumps({"groups": [{"name": "queries", "rules": rules}]}))
    done = subprocess.run(
        [program("promtool"), "check", "rules", tmp_path / "queries.yml"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{len(QUERIES)} rules found" in done.stdout


def test_every_metric_is_on_a_dashboard() -> None:
    assert METRICS.keys() <= set().union(*(names_of(param.values[0]) for param in QUERIES))


@pytest.mark.parametrize(("board", "panel"), PANELS)
def test_a_panel_turns_red_at_its_alerts_limit(board: dict[str, Any], panel: dict[str, Any]) -> None:
    alarms = {catalogue.rule_name(alarm): alarm for alarm in catalogue.ALARMS.values()}
    for name in re.findall(r"\balert (\w+)", panel["description"]):
        limit, unit = alarms[name]["above"], alarms[name].get("unit")
        limit = {None: limit, "minutes": limit * 60, "percent of the timeout": limit / 100}[unit]
        steps = panel["fieldConfig"]["defaults"].get("thresholds", {}).get("steps", [])
        # A number turns red above the limit, a line lies on it.
        assert not steps or steps[-1]["value"] == limit + (panel["type"] == "stat"), f"{board['title']}: {name}"


@pytest.mark.parametrize("request_of", REQUESTS)
def test_a_request_and_its_columns_are_the_apis(request_of: dict[str, Any]) -> None:
    url = urlsplit(request_of["url"])
    operation = OPENAPI["paths"][url.path]["get"]
    known = [
        OPENAPI["components"]["parameters"][one["$ref"].rpartition("/")[2]] if "$ref" in one else one
        for one in operation["parameters"]
    ]
    parameters = {one["name"]: one for one in known if one["in"] == "query"}
    given = dict(parse_qsl(url.query, strict_parsing=bool(url.query)))
    assert given.keys() <= parameters.keys()
    assert {name for name, one in parameters.items() if one.get("required")} <= given.keys()
    if "interval" in given:
        allowed = resolved(parameters["interval"]["schema"])["enum"]
        options = [
            one["query"].split(",") for one in BOARDS["market"]["templating"]["list"] if one["name"] == "interval"
        ]
        for interval in options[0] if given["interval"] == "${interval}" else [given["interval"]]:
            assert interval in allowed
    answer = resolved(operation["responses"]["200"]["content"]["application/json"]["schema"])
    row = resolved(answer["properties"][request_of["root_selector"]]["items"])
    for column in request_of["columns"]:
        assert kinds(row["properties"][column["selector"]]) & COLUMN_TYPES[column["type"]], column


def exposed_at(url: str) -> dict[str, dict[str, set[str]]]:
    """The labels of each metric at an endpoint, with their values."""
    with urllib.request.urlopen(url, timeout=30) as response:  # noqa: S310 - the flow's own server
        text = response.read().decode()
    exposed: dict[str, dict[str, set[str]]] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            labels = exposed.setdefault(sample.name, {})
            for label, value in sample.labels.items():
                labels.setdefault(label, set()).add(value)
    return exposed


def test_a_run_exposes_every_metric_with_its_labels(tmp_path: Path) -> None:
    # Ten polls an invocation: fetch-quotes reports what it measured at an invocation's end.
    with Flow(tmp_path / "data", "--polls", "60") as flow:
        report = flow.await_report(lambda report: bool(report.get("endpoints")), "endpoint")

        def whole() -> dict[str, dict[str, set[str]]] | None:
            exposed = exposed_at(report["endpoints"]["metrics_url"])
            stages = exposed.get("quoteflow_latency_seconds", {}).get("stage", ())
            ended = {"quoteflow_publish_seconds", "quoteflow_transform_seconds"}
            return exposed if "gold_row" in stages and ended <= exposed.keys() else None

        exposed = wait_until(whole, "latency of gold, and the end of the first invocations of fetch-quotes and dbt")
    missing = METRICS.keys() - exposed.keys()
    assert missing <= BY_REASON
    for name in METRICS.keys() & exposed.keys():
        assert exposed[name].keys() == METRICS[name].keys(), name
        for label, values in METRICS[name].items():
            found = exposed[name][label]
            # A summary has only what was measured meanwhile.
            is_whole = "quantile" not in METRICS[name] or label == "quantile"
            assert values is None or (found == values if is_whole else found <= values), f"{name}: {label}"


def lines_agree(expressions: list[str], tmp_path: Path) -> bool:
    """Whether Prometheus gives all expressions about the same value, whenever it is asked.

    The counters are as a run has them: fetch-quotes' grow by a minute's quotes at once, at the end of its invocation;
    the others' with each batch.
    """
    minutes, quotes = 20, 50
    once_a_minute = [quotes * (second // 60) for second in range(0, 60 * minutes, 15)]
    with_each_batch = [quotes * second // 60 for second in range(0, 60 * minutes, 15)]
    counters = {
        "quoteflow_fetched_total": once_a_minute,
        "quoteflow_published_total": once_a_minute,
        "quoteflow_archived_total": with_each_batch,
        "quoteflow_loaded_total": with_each_batch,
    }
    checks = [
        {
            "expr": f"abs(({one}) - {quotes}) < bool {quotes / 4}",
            "eval_time": f"{at}s",
            "exp_samples": [{"labels": "{}", "value": 1}],
        }
        for one in expressions
        for at in range(400, 60 * (minutes - 1), 35)
    ]
    series = [{"series": name, "values": " ".join(map(str, values))} for name, values in counters.items()]
    unit = {"interval": "15s", "input_series": series, "promql_expr_test": checks}
    (tmp_path / "lines.yml").write_text(json.dumps({"tests": [unit]}))
    run = subprocess.run(
        [program("promtool"), "test", "rules", tmp_path / "lines.yml"],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert "SUCCESS" in run.stdout or "FAILED" in run.stdout + run.stderr, run.stderr
    return run.returncode == 0


def test_the_rates_of_the_steps_show_no_false_gap(tmp_path: Path) -> None:
    (panel,) = (one for one in BOARDS["pipeline"]["panels"] if one["title"] == "Quotes a minute")
    expressions = [target["expr"] for target in panel["targets"]]
    assert len(expressions) == 4
    assert lines_agree(expressions, tmp_path)
    # What it would show over a minute, which is Grafana's own choice here.
    short = [f"{expression.replace('[5m]', '[60s]')} * 5" for expression in expressions]
    assert not lines_agree(short, tmp_path)
