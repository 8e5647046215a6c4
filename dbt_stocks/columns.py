"""Write what dbt says of a quote's prices from bronze's columns of type FLOAT in infra/gcp/tables.json.

Written are macros/columns.sql, models/quote_columns.md and, in each model's YAML, what lies between the two comments.
"""

import json
import re
import textwrap
from collections.abc import Iterator
from pathlib import Path

HERE = Path(__file__).resolve().parent
TABLES = HERE.parent / "infra" / "gcp" / "tables.json"
BLOCK = re.compile(r"(( *)# From infra/gcp/tables\.json, by `make dictionary`:\n).*?(\2# End\.\n)", re.DOTALL)
MACRO = """{{#- Written by `make dictionary` from infra/gcp/tables.json; do not edit. -#}}

{{#- The prices of a quote, and whatever else of it is a number: the raw columns with their readable names. -#}}
{{% macro price_columns() -%}}
{{{{ return({{
{names}
}}) }}}}
{{%- endmacro %}}
"""


def written() -> Iterator[tuple[Path, str]]:
    """Give each file that is written, with its text."""
    table = json.loads(TABLES.read_text())["bronze_stock_quotes_raw"]
    described = {column["name"]: column["description"] for column in table["schema"] if column["type"] == "FLOAT"}
    names = table["readable_names"]
    if list(names) != list(described):
        raise SystemExit(f"{TABLES}: readable_names has {list(names)}, not the FLOAT columns {list(described)}")
    pairs = ",\n".join(f"    '{raw}': '{name}'" for raw, name in names.items())
    yield HERE / "macros" / "columns.sql", MACRO.format(names=pairs)
    docs = "\n".join(f"{{% docs {names[raw]} %}}{text}{{% enddocs %}}\n" for raw, text in described.items())
    yield HERE / "models" / "quote_columns.md", docs
    for path in sorted(HERE.glob("models/*/*.yml")):
        columns = "".join(
            f"- name: {raw if path.name == '__sources.yml' else name}\n  description: \"{{{{ doc('{name}') }}}}\"\n"
            # Gold has contracts.
            + ("  data_type: FLOAT64\n" if path.parent.name == "gold" else "")
            for raw, name in names.items()
        )
        text, *rest = BLOCK.split(path.read_text())
        for begin, indent, end, after in zip(*[iter(rest)] * 4, strict=True):
            text += begin + textwrap.indent(columns, indent) + end + after
        yield path, text


if __name__ == "__main__":
    for path, text in written():
        path.write_text(text)
