"""`make bench`: measures how fast Quoteflow is, and compares each figure with its goal.

    bench.py [--short] [--rows 1,3,5 [--write]]

Writes bench/results/bench-<day>.json and the table in docs/PERFORMANCE.md. With --rows it writes neither; with --write,
too, these rows replace the same rows of the newest file. With --short it measures very little with the tests'
executables, has no limits and writes neither. That shows that each row can still be measured.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
import traceback
from dataclasses import asdict
from pathlib import Path

import report
from kit import ROOT, BenchError, Executables, OpenRowError, end_on_sigterm, machine
from rows import ROWS, Bench


def main() -> int:
    """Measure, print, and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--short", action="store_true", help="seconds instead of minutes; writes nothing")
    parser.add_argument("--rows", help="only these rows, as in 1,3,5; writes nothing")
    parser.add_argument("--write", action="store_true", help="with --rows: replace these rows in the newest result")
    options = parser.parse_args()
    # The flow's tests also run the whole flow, and its start takes most of a minute.
    wanted = options.rows.split(",") if options.rows else [row for row in ROWS if not (options.short and row == "7")]
    if unknown := [row for row in wanted if row not in ROWS]:
        parser.error(f"no such row: {', '.join(unknown)}; choose from {', '.join(ROWS)}")
    end_on_sigterm()
    here, begun = machine(), time.monotonic()
    measured, failed = [], []
    with tempfile.TemporaryDirectory(prefix="quoteflow-bench-") as folder:
        try:
            whole = report.newest() if options.rows and options.write else None
            programs = Executables.of_tests() if options.short else Executables.packaged(Path(folder))
            if not programs.examples.exists():
                raise BenchError(f"missing: {programs.examples}; run: make bench")
        except BenchError as error:
            sys.exit(f"error: {error}")
        bench = Bench(Path(folder), programs, options.short)
        for row in wanted:
            title, measure = ROWS[row]
            print(f"\n{row} {title}", flush=True)
            figures = []
            try:
                for figure in measure(bench):
                    figures.append(asdict(figure) | {"is_met": figure.is_met})
                    word = {True: "met", False: "MISSED", None: ""}[figure.is_met]
                    shown = f"{report.number(figure.value)} {figure.unit}"
                    print(f"  {figure.what:76} {shown:>14}  {report.goal(figures[-1]):12} {word}", flush=True)
            except Exception as error:
                is_open = isinstance(error, OpenRowError)
                if not is_open:
                    failed.append(row)
                if not isinstance(error, BenchError):
                    traceback.print_exc()
                print(f"  not measured: {error}", flush=True)
                measured.append({"row": row, "title": title, "open": f"not measured: {error}", "figures": figures})
                continue
            measured.append({"row": row, "title": title, "figures": figures})
    result = {
        "machine": here,
        "command": "make bench" + (f" ARGS='--rows {options.rows} --write'" if options.rows else ""),
        "executables": f"executables: {programs.profile}",
        "minutes": round((time.monotonic() - begun) / 60, 1),
        "rows": sorted(measured, key=lambda row: int(row["row"])),
    }
    if not options.short and (options.write or not options.rows):
        written = report.with_rows_again(whole, result) if whole else result
        path = report.write_json("bench", written)
        report.put_into_document("bench", report.table_of_bench(written))
        for row in report.unexplained(written):
            print(f"row {row} misses a goal, and docs/PERFORMANCE.md does not say what limits it (- **Row {row}** …)")
        print(f"\n{path.relative_to(ROOT)}; {result['minutes']} minutes")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
