"""The dbt project itself: its description, and the rules of dbt_project_evaluator, each as a test with its name.

The package itself needs its tables built in the warehouse. These tests read the same facts from the manifest.
"""

import itertools
import re
import sys
from collections import Counter
from typing import Any

import pytest
from testkit.dbt import ROOT, TABLES

sys.path.insert(0, str(ROOT / "dbt_stocks"))
from columns import written
from dictionary import dictionary

PREFIXES = {"bronze": "bronze_", "intermediate": "int_", "silver": "silver_", "gold": "gold_"}
PROJECT = "dbt_stocks"
# They have the columns of another model and are described there.
BESIDE = {"silver_stock_quotes_settled": "silver_stock_quotes", "gold_kpi_latest": "gold_kpi"}


class Graph:
    """The manifest's models, sources, exposures and tests, and their dependencies."""

    def __init__(self, manifest: dict[str, Any]) -> None:
        nodes = manifest["nodes"].values()
        self.models = {node["unique_id"]: node for node in nodes if node["resource_type"] == "model"}
        self.tests = [node for node in nodes if node["resource_type"] == "test"]
        self.sources = manifest["sources"]
        self.exposures = manifest["exposures"]
        self.parents = {
            key: [parent for parent in node["depends_on"]["nodes"] if parent in self.models or parent in self.sources]
            for key, node in self.models.items()
        }

    def children(self, key: str) -> list[str]:
        return [model for model, parents in self.parents.items() if key in parents]

    def layer(self, key: str) -> str:
        return self.models[key]["fqn"][1]

    def of_layer(self, *layers: str) -> list[str]:
        return [key for key in self.models if self.layer(key) in layers]


@pytest.fixture(scope="module")
def graph(manifest) -> Graph:
    graph = Graph(manifest)
    assert graph.models
    assert graph.sources
    assert graph.exposures
    assert graph.tests
    return graph


def test_no_comment_in_sql_has_a_quotation_mark():
    """The stand-in, bqemulator 1.4.0, would take it for a string's beginning, and change decimals in real strings."""
    comments = [
        f"{path.relative_to(ROOT)}: {comment}"
        for folder in ("models", "macros", "tests")
        for path in sorted((ROOT / "dbt_stocks" / folder).rglob("*.sql"))
        for comment in re.findall(r"--(?! depends_on:).*", path.read_text())
    ]
    assert comments
    assert [comment for comment in comments if "'" in comment or '"' in comment] == []


def test_the_dictionary_is_what_the_manifest_tells(manifest):
    kept = (ROOT / "dbt_stocks" / "DICTIONARY.md").read_text()
    assert kept == dictionary(manifest), "run `make dictionary`"


def test_what_is_written_of_bronzes_columns_is_what_the_raw_table_has():
    files = dict(written())
    assert len(files) > 2
    for path, text in files.items():
        assert path.read_text() == text, f"{path.name}: run `make dictionary`"
    assert sum("# End." in text for text in files.values()) == 7


def test_the_sources_have_the_columns_of_the_raw_tables(graph):
    described = {node["name"]: list(node["columns"]) for node in graph.sources.values()}
    assert described == {name: [column["name"] for column in table["schema"]] for name, table in TABLES.items()}


# --- modelling


def test_direct_join_to_source(graph):
    for key, parents in graph.parents.items():
        assert not (set(parents) & set(graph.sources) and set(parents) & set(graph.models)), key


def test_marts_or_intermediate_dependent_on_source(graph):
    for key in graph.of_layer("intermediate", "silver", "gold"):
        assert not set(graph.parents[key]) & set(graph.sources), key


def test_root_models(graph):
    assert all(graph.parents.values())


def test_source_fanout_and_unused_sources(graph):
    assert {source: len(graph.children(source)) for source in graph.sources} == dict.fromkeys(graph.sources, 1)


def test_multiple_sources_joined(graph):
    for key, parents in graph.parents.items():
        assert len(set(parents) & set(graph.sources)) <= 1, key


def test_duplicate_sources(graph):
    assert len({node["relation_name"] for node in graph.sources.values()}) == len(graph.sources)


def test_staging_dependent_on_staging_or_later(graph):
    for key in graph.of_layer("bronze"):
        assert not set(graph.parents[key]) & set(graph.models), key


def test_model_fanout(graph):
    for key in graph.models:
        assert len([child for child in graph.children(key) if not graph.children(child)]) <= 3, key


def test_too_many_joins(graph):
    for key, parents in graph.parents.items():
        assert len(parents) < 7, key


def test_rejoining_of_upstream_concepts(graph):
    found = set()
    for child, parents in graph.parents.items():
        for first, second in itertools.permutations(parents, 2):
            if first in graph.parents.get(second, []) and graph.children(second) == [child]:
                found.add((second.rsplit(".", 1)[1], child.rsplit(".", 1)[1]))
    # int_load_watermark joins nothing, but must be built after its dependencies. Dashboards read gold_kpi, too.
    expected = {("gold_kpi", "gold_pipeline_health")}
    assert {pair for pair in found if pair[1] != "int_load_watermark"} == expected


def test_hard_coded_references(graph):
    for key, node in graph.models.items():
        without_templates = re.sub(r"{{.*?}}|{%.*?%}|--.*?\n", " ", node["raw_code"], flags=re.S)
        assert not re.search(r"\b(from|join)\s+[`\w-]+\.[`\w-]+", without_templates, re.I), key


# --- tests and documentation


# Their contents are tested at their sources: the raw table, or silver_stock_quotes.
RENAMED = {"bronze_stock_quotes", "int_stock_quotes_judged", "gold_kpi_history"}


def test_missing_primary_key_tests(graph):
    for key, node in graph.models.items():
        tests = [test for test in graph.tests if test.get("attached_node") == key and test["test_metadata"]]
        by_name = {test["test_metadata"]["name"]: test["test_metadata"]["kwargs"] for test in tests}
        if node["name"] in RENAMED:
            assert not by_name, node["name"]
            continue
        unique = by_name.get("unique_combination", {}).get("columns") or [by_name["unique"]["column_name"]]
        assert set(unique) <= set(by_name["never_null"]["columns"]), node["name"]


def test_documentation_coverage(graph):
    for node in [*graph.models.values(), *graph.sources.values(), *graph.exposures.values()]:
        assert node["description"], node["name"]
    for node in [*graph.models.values(), *graph.sources.values()]:
        assert node["columns"], node["name"]
        for column in node["columns"].values():
            assert column["description"], (node["name"], column["name"])
    assert all(source["source_description"] for source in graph.sources.values())


def test_every_column_of_every_table_is_described_and_no_other(graph, warehouse):
    for node in graph.models.values():
        table = warehouse.client.get_table(f"{node['schema']}.{node['name']}")
        assert [field.name for field in table.schema] == list(node["columns"]), node["name"]


def test_sources_without_freshness(graph):
    for node in graph.sources.values():
        assert node["freshness"]["error_after"]["count"], node["name"]
        assert node["loaded_at_field"], node["name"]


# --- structure


def test_model_naming_conventions_and_directories(graph):
    names = Counter()
    for key, node in graph.models.items():
        layer = graph.layer(key)
        assert node["name"].startswith(PREFIXES[layer]), key
        assert node["original_file_path"] == f"models/{layer}/{node['name']}.sql"
        described = BESIDE.get(node["name"], node["name"])
        assert node["patch_path"] == f"{PROJECT}://models/{layer}/{described}.yml"
        names[layer] += 1
    assert set(names) == set(PREFIXES)


def test_source_and_test_directories(graph):
    assert {node["original_file_path"] for node in graph.sources.values()} == {"models/bronze/__sources.yml"}
    for test in graph.tests:
        if test.get("attached_node") in graph.models:
            assert test["original_file_path"].startswith(f"models/{graph.layer(test['attached_node'])}/"), test["name"]


# --- performance and governance


def test_chained_views(graph):
    def views_up_to(key: str) -> int:
        if graph.models.get(key, {}).get("config", {}).get("materialized") != "view":
            return 0
        return 1 + max(views_up_to(parent) for parent in graph.parents[key])

    assert max(views_up_to(key) for key in graph.models) <= 4


def test_exposure_parents_materializations(graph):
    """The only rule that does not hold: dashboards read views, which show quotes that were just loaded."""
    for exposure in graph.exposures.values():
        for key in exposure["depends_on"]["nodes"]:
            assert graph.models[key]["config"]["materialized"] == "view", key


def test_every_gold_model_is_public_and_has_a_contract(graph):
    gold = set(graph.of_layer("gold"))
    assert {key for key, node in graph.models.items() if node["access"] == "public"} == gold
    assert all(graph.models[key]["contract"]["enforced"] for key in gold)


def test_the_exposure_names_what_the_dashboard_reads(graph):
    source = "".join(path.read_text() for path in (ROOT / "functions" / "serve-dashboard" / "src").rglob("*.rs"))
    source += "".join(path.read_text() for path in (ROOT / "crates" / "warehouse" / "src").rglob("*.rs"))
    [exposure] = graph.exposures.values()
    named = {key.rsplit(".", 1)[1] for key in exposure["depends_on"]["nodes"]}
    assert named == {
        graph.models[key]["name"] for key in graph.of_layer("gold") if f'{graph.models[key]["name"]}"' in source
    }


def test_dashboards_have_an_owner_and_an_address(graph):
    for exposure in graph.exposures.values():
        assert exposure["type"] == "dashboard"
        assert exposure["owner"]["email"]
        assert exposure["url"].startswith("http")
