"""Writes the results: a dated JSON file, and the table in docs/PERFORMANCE.md between its marks."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from kit import ROOT, BenchError

DOCUMENT = ROOT / "docs" / "PERFORMANCE.md"
RESULTS = Path(__file__).resolve().parent / "results"


def write_json(name: str, result: dict[str, Any]) -> Path:
    """Write the result into a file whose name has the day."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}-{result['machine']['date'][:10]}.json"
    path.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n")
    return path


def newest() -> dict[str, Any]:
    """Return the newest result of all rows of `make bench`."""
    paths = sorted(RESULTS.glob("bench-*.json"))
    if not paths:
        raise BenchError("bench/results has no earlier result: run make bench without --rows first")
    return json.loads(paths[-1].read_text())


def with_rows_again(whole: dict[str, Any], run: dict[str, Any]) -> dict[str, Any]:
    """Return the result `whole` with the rows of `run` instead of its own."""
    again = {row["row"]: row for row in run["rows"]}
    rows = [again.get(row["row"], row) for row in whole["rows"]]
    runs = [*whole.get("again", []), {name: value for name, value in run.items() if name != "rows"}]
    return whole | {"rows": rows, "again": runs}


def number(value: float | None) -> str:
    """Format a figure with three significant digits."""
    if value is None:
        return "–"
    if value >= 1000:
        return f"{value:,.0f}"
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def goal(figure: dict[str, Any]) -> str:
    """Format a figure's goal."""
    if figure["at_most"] is not None:
        return f"≤ {number_of_goal(figure['at_most'])} {figure['unit']}"
    if figure["at_least"] is not None:
        return f"≥ {number_of_goal(figure['at_least'])} {figure['unit']}"
    return ""


def number_of_goal(value: float) -> str:
    """Format a goal as it was set."""
    return f"{value:,g}" if value < 1_000_000 else f"{value:,.0f}"


def origin(result: dict[str, Any]) -> str:
    """Describe the machine and the run of the figures."""
    machine = result["machine"]
    return (
        f"{machine['date']}, commit {machine['commit']}, {machine['cores']} cores ({machine['cpu']}), "
        f"{machine['memory_gb']} GB, {machine['system']}; load before: {machine['load_before']}; "
        f"{result['executables']}; {result['minutes']} minutes. Command: `{result['command']}`."
    )


def table_of_bench(result: dict[str, Any]) -> str:
    """Return the table of `make bench`."""
    runs = "\n\nMeasured again: ".join(origin(run) for run in [result, *result.get("again", [])])
    lines = [runs, "", "| # | what | figure | goal | |", "|---|---|---|---|---|"]
    for row in result["rows"]:
        if row.get("open"):
            lines.append(f"| {row['row']} | {row['title']} | – | | open: {row['open']} |")
        for figure in row.get("figures", []):
            word = {True: "met", False: "**missed**", None: ""}[figure["is_met"]]
            what = f"{row['title']}: {figure['what']}" + (f" ({figure['note']})" if figure["note"] else "")
            shown = f"{number(figure['value'])} {figure['unit']}"
            lines.append(f"| {row['row']} | {what} | {shown} | {goal(figure)} | {word} |")
    return "\n".join(lines)


def put_into_document(mark: str, text: str) -> None:
    """Replace the text between two marks of docs/PERFORMANCE.md. All other text is written by hand and stays."""
    begin, end = f"<!-- {mark}:begin -->", f"<!-- {mark}:end -->"
    document = DOCUMENT.read_text()
    pattern = re.compile(re.escape(begin) + ".*?" + re.escape(end), re.DOTALL)
    if not pattern.search(document):
        raise BenchError(f"{DOCUMENT} has no marks {begin} and {end}")
    DOCUMENT.write_text(pattern.sub(lambda _: f"{begin}\n{text}\n{end}", document))


def unexplained(result: dict[str, Any]) -> list[str]:
    """Return the rows that miss a goal and whose limit the document does not explain."""
    document = DOCUMENT.read_text()
    missed = [row["row"] for row in result["rows"] if any(one["is_met"] is False for one in row.get("figures", []))]
    return [row for row in missed if f"- **Row {row}**" not in document]
