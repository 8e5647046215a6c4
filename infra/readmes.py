"""Write the tables of variables and outputs into the README of each Terraform module: `make infra-readmes`.

The tables are below a marker; the text above it is written by hand. The files are read as text in the layout of
`terraform fmt`: two spaces before an attribute of a block.
"""

import re
from pathlib import Path

MODULES = Path(__file__).parent / "modules"
MARKER = "<!-- Below: written by `make infra-readmes`. -->\n"


def blocks(file: Path, kind: str) -> dict[str, dict[str, str]]:
    """Return name → attribute → its text, for every block of a kind."""
    found = re.findall(rf'^{kind} "(\w+)" \{{\n(.*?)^\}}', file.read_text(), re.M | re.S)
    return {name: attributes(body) for name, body in found}


def attributes(body: str) -> dict[str, str]:
    """Return attribute → its text on one line. Nested blocks such as `validation` are left out."""
    found = re.findall(r"^  (\w+) += (.*?)\n(?=^  \w+ +[={]|\n|\Z)", body, re.M | re.S)
    return {name: one_line(text) for name, text in found}


def one_line(text: str) -> str:
    """Write a value on one line: a string without quotes, an object's fields separated by commas."""
    if heredoc := re.fullmatch(r"<<-(\w+)\n(.*)\n\s*\1", text, re.S):
        return " ".join(heredoc[2].split())
    if quoted := re.fullmatch(r'"(.*)"', text):
        return quoted[1].replace('\\"', '"')
    fields = re.sub(r"(?<=[^({[,\s])\s*\n\s*(?=[^)}\]\s])", ", ", text)
    return re.sub(r" +=", " =", " ".join(fields.split()))


def table(columns: list[str], rows: list[list[str]]) -> str:
    """Write a Markdown table."""
    lines = [columns, ["---"] * len(columns), *rows]
    return "".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |\n" for line in lines)


def tables(module: Path) -> str:
    """Write the tables of a module's variables and outputs."""
    variables = [
        [f"`{name}`", f"`{one['type']}`", f"`{one['default']}`" if "default" in one else "required", one["description"]]
        for name, one in blocks(module / "variables.tf", "variable").items()
    ]
    outputs = [[f"`{name}`", one["description"]] for name, one in blocks(module / "outputs.tf", "output").items()]
    return (
        f"\n## Variables\n\n{table(['variable', 'type', 'default', 'meaning'], variables)}"
        f"\n## Outputs\n\n{table(['output', 'meaning'], outputs)}"
    )


def readme(module: Path) -> str:
    """Return a module's README with updated tables."""
    by_hand, marker, _ = (module / "README.md").read_text().partition(MARKER)
    if not marker:
        raise SystemExit(f"{module / 'README.md'} has no line {MARKER.strip()}")
    return by_hand + MARKER + tables(module)


if __name__ == "__main__":
    for folder in sorted(MODULES.iterdir()):
        (folder / "README.md").write_text(readme(folder))
