"""Print the data dictionary: every table and column that the manifest describes, as Markdown.

dbt parse --project-dir dbt_stocks --profiles-dir dbt_stocks
python dbt_stocks/dictionary.py dbt_stocks/target/manifest.json > dbt_stocks/DICTIONARY.md
"""

import json
import sys
from pathlib import Path
from typing import Any

LAYERS = ("raw", "bronze", "intermediate", "silver", "gold")
HEAD = """# Data dictionary

Made from the models' descriptions by `make dictionary`; do not edit. Types are given where a contract promises them.
"""


def dictionary(manifest: dict[str, Any]) -> str:
    """Describe the sources and models of dbt's manifest.json, layer by layer."""
    tables = [(node["source_name"], node) for node in manifest["sources"].values()]
    tables += [(node["fqn"][1], node) for node in manifest["nodes"].values() if node["resource_type"] == "model"]
    parts = [HEAD]
    for layer in LAYERS:
        parts.append(f"## {layer.capitalize()}\n")
        parts += [_table(node) for of, node in sorted(tables, key=lambda table: table[1]["name"]) if of == layer]
    return "\n".join(parts)


def _table(node: dict[str, Any]) -> str:
    made = node["config"].get("materialized", "written by load-quotes")
    lines = [
        f"### {node['name']}\n",
        f"{_line(node['description'])} ({made})\n",
        "| column | type | what |",
        "|---|---|---|",
    ]
    lines += [
        f"| `{column['name']}` | {column.get('data_type') or ''} | {_line(column['description'])} |"
        for column in node["columns"].values()
    ]
    return "\n".join(lines) + "\n"


def _line(text: str) -> str:
    return " ".join(text.split())


if __name__ == "__main__":
    sys.stdout.write(dictionary(json.loads(Path(sys.argv[1]).read_text())))
