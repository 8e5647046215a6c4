"""Generate dbt's texts about bronze's columns and a quote's prices from infra/gcp/tables.json.

A price is a column of type FLOAT. The generated texts are macros/columns.sql, models/bronze_columns.md and, in the
models' YAML, the lines between two comments.
"""

import json
import re
import textwrap
from collections.abc import Iterator
from pathlib import Path

HERE = Path(__file__).resolve().parent
TABLES = HERE.parent / "infra" / "gcp" / "tables.json"
BLOCK = re.compile(
    r"(( *)# (Bronze's columns|A quote's prices), from infra/gcp/tables\.json by `make dictionary`:\n).*?(\2# End\.\n)",
    re.DOTALL,
)
MACROS = """{{#- Written by `make dictionary` from infra/gcp/tables.json; do not edit. -#}}

{{#- The columns of bronze_stock_quotes_raw by their readable names. -#}}
{{% macro raw_columns() -%}}
{names}
{{%- endmacro %}}

{{#- The readable names of a quote's prices, and of whatever else of it is a number. -#}}
{{% macro price_columns() -%}}
{{{{ return([
{prices}
]) }}}}
{{%- endmacro %}}
"""


def written() -> Iterator[tuple[Path, str]]:
    """Yield each generated file with its text."""
    table = json.loads(TABLES.read_text())["bronze_stock_quotes_raw"]
    names = {column["name"]: table["readable_names"].get(column["name"], column["name"]) for column in table["schema"]}
    prices = [column["name"] for column in table["schema"] if column["type"] == "FLOAT"]
    yield (
        HERE / "macros" / "columns.sql",
        MACROS.format(
            names=",\n    ".join(raw if raw == name else f"{raw} AS {name}" for raw, name in names.items()),
            prices=",\n".join(f"    '{names[raw]}'" for raw in prices),
        ),
    )
    docs = (
        f"{{% docs {names[column['name']]} %}}{column['description']}{{% enddocs %}}\n" for column in table["schema"]
    )
    yield HERE / "models" / "bronze_columns.md", "\n".join(docs)
    for path in sorted(HERE.glob("models/*/*.yml")):
        text, *rest = BLOCK.split(path.read_text())
        for begin, indent, kind, end, after in zip(*[iter(rest)] * 5, strict=True):
            columns = "".join(
                f"- name: {raw if path.name == '__sources.yml' else names[raw]}\n"
                f"  description: \"{{{{ doc('{names[raw]}') }}}}\"\n"
                # Gold's contracts need types.
                + ("  data_type: FLOAT64\n" if path.parent.name == "gold" else "")
                for raw in (names if kind == "Bronze's columns" else prices)
            )
            text += begin + textwrap.indent(columns, indent) + end + after
        yield path, text


if __name__ == "__main__":
    for path, text in written():
        path.write_text(text)
