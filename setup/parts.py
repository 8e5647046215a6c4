"""Run verbs of the Makefile at the same time, show the progress of each, and print how long each took.

python3 parts.py [--at-once N] [--stop] [--table] [+]VERB[=OTHER,...] ...

VERB=OTHER begins when OTHER has succeeded. +VERB mostly waits, so it does not count as one of the N. A verb's output is
in target/parts/VERB.log, and is shown if it fails.
The exit status is 1 if one failed. With --stop the first failure ends the others; otherwise they run to their end.
Only the standard library is used, because the Python environment may not exist yet.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

LOGS = Path("target/parts")
# How often a line is printed for each running verb without a terminal.
QUIET_SECONDS = 60
# Control sequences that cargo and others print on a terminal.
ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\x1b\][^\x07]*\x07")
SHOWN_LINES = 400
# How long a verb may take to end its processes.
END_SECONDS = 60


@dataclass
class Part:
    """A verb, the verbs that it waits for, and its outcome."""

    verb: str
    after: list[str] = field(default_factory=list)
    mostly_waits: bool = False
    process: subprocess.Popen[bytes] | None = None
    began: float = 0.0
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    outcome: str = ""

    @classmethod
    def parse(cls, text: str) -> Part:
        """Read `VERB` or `VERB=OTHER,OTHER`, with `+` before it or not."""
        verb, _, others = text.partition("=")
        return cls(verb.removeprefix("+"), [other for other in others.split(",") if other], verb.startswith("+"))

    @property
    def log(self) -> Path:
        """Where its output goes."""
        return LOGS / f"{self.verb}.log"

    def start(self) -> None:
        """Start it in a separate process group, so that it can be ended with all its processes."""
        # Cargo draws its progress into the log. BUILT: the verb's prerequisites are made by other parts.
        environment = os.environ | {"CARGO_TERM_PROGRESS_WHEN": "always", "CARGO_TERM_PROGRESS_WIDTH": "100"}
        command = [os.environ.get("MAKE", "make"), "--no-print-directory", self.verb, "BUILT=1"]
        self.began = time.monotonic()
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(  # noqa: S603 - a verb of this repository's Makefile
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment, start_new_session=True
            )

    def status(self) -> int | None:
        """Its exit status if it has ended. Then its CPU time is known, including that of its waited-for processes."""
        if self.process and self.process.returncode is None:
            pid, status, usage = os.wait4(self.process.pid, os.WNOHANG)
            if pid:
                self.process.returncode = os.waitstatus_to_exitcode(status)
                self.cpu_seconds = usage.ru_utime + usage.ru_stime
        return self.process.returncode if self.process else None

    def signal(self, number: int) -> None:
        """Send a signal to the verb and to all its processes."""
        if self.process and self.process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, number)

    def wait(self) -> None:
        """Wait until it has ended. Processes that do not end in time are killed."""
        if self.process:
            try:
                self.process.wait(END_SECONDS)
            except subprocess.TimeoutExpired:
                self.signal(signal.SIGKILL)
                self.process.wait()

    def lines(self) -> list[str]:
        """Its output as a terminal would show it."""
        text = ESCAPES.sub("", self.log.read_bytes().decode(errors="replace"))
        # After a carriage return, the line is overwritten.
        lines = (line.rstrip("\r").rsplit("\r", 1)[-1].rstrip() for line in text.split("\n"))
        return [line for line in lines if line and "Building [" not in line]

    def last_line(self) -> str:
        """Its progress: the last line that it printed."""
        with self.log.open("rb") as log:
            log.seek(max(0, self.log.stat().st_size - 1000))
            pieces = re.split(r"[\r\n]", ESCAPES.sub("", log.read().decode(errors="replace")))
        return next((piece.strip() for piece in reversed(pieces) if piece.strip()), "")


def minutes(seconds: float) -> str:
    """`m:ss`."""
    return f"{int(seconds) // 60}:{int(seconds) % 60:02}"


class Screen:
    """The progress: on a terminal, one line for each running part, drawn repeatedly; otherwise a line now and then."""

    def __init__(self, width: int) -> None:
        self.is_terminal = sys.stdout.isatty()
        self.width = width
        self.drawn = 0
        self.said = time.monotonic()

    def clear(self) -> None:
        """Remove the drawn lines."""
        if self.drawn:
            sys.stdout.write(f"\x1b[{self.drawn}A\x1b[J")
            self.drawn = 0

    def say(self, text: str) -> None:
        """Print lines that stay."""
        self.clear()
        print(text, flush=True)

    def draw(self, running: list[Part]) -> None:
        """Show the progress of each part."""
        now = time.monotonic()
        if not self.is_terminal and now - self.said < QUIET_SECONDS:
            return
        self.said = now
        self.clear()
        columns = shutil.get_terminal_size().columns - 1 if self.is_terminal else 120
        for part in running:
            line = f"  {part.verb:{self.width}} {minutes(now - part.began):>6}  {part.last_line()}"
            print(line[:columns])
        sys.stdout.flush()
        self.drawn = len(running) if self.is_terminal else 0


def run(parts: list[Part], at_once: int, *, stops: bool, has_table: bool) -> bool:
    """Run all; returns whether all succeeded."""
    LOGS.mkdir(parents=True, exist_ok=True)
    screen = Screen(max(len(part.verb) for part in parts))
    by_verb = {part.verb: part for part in parts}
    began = time.monotonic()

    def running() -> list[Part]:
        return [part for part in parts if part.process and not part.outcome]

    def end_all(number: int, _: object) -> None:
        for part in running():
            part.signal(number)
        for part in running():
            part.wait()
        screen.clear()
        sys.exit(128 + number)

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, end_all)

    while any(not part.outcome for part in parts):
        for part in parts:
            busy = sum(not other.mostly_waits for other in running())
            if part.process or part.outcome or (busy >= at_once and not part.mostly_waits):
                continue
            outcomes = [by_verb[other].outcome for other in part.after]
            if any(outcome in ("FAILED", "not run") for outcome in outcomes):
                part.outcome = "not run"
            elif all(outcome == "ok" for outcome in outcomes):
                part.start()
        time.sleep(0.1)
        for part in running():
            status = part.status()
            if status is None:
                continue
            part.seconds = time.monotonic() - part.began
            part.outcome = "ok" if status == 0 else "FAILED"
            if status == 0:
                screen.say(f"  {part.verb:{screen.width}} {minutes(part.seconds):>6}  done")
                continue
            shown = "\n".join(part.lines()[-SHOWN_LINES:])
            said = f"{part.verb} failed after {minutes(part.seconds)}; its output is above and in {part.log}"
            screen.say(f"\n{shown}\n\n  {said}\n")
            if stops:
                ended = running()
                for other in ended:
                    other.signal(signal.SIGTERM)
                for other in ended:
                    other.wait()
                for other in parts:
                    other.outcome = other.outcome or "not run"
        screen.draw(running())
    screen.clear()
    if has_table:
        print(table(parts, time.monotonic() - began), flush=True)
    return all(part.outcome == "ok" for part in parts)


def table(parts: list[Part], seconds: float) -> str:
    """List the time and CPU time of each, the longest first. They run in parallel, so the sum exceeds the total."""
    width = max(len(part.verb) for part in parts)

    def row(name: str, seconds: float, cpu_seconds: float, end: str) -> str:
        return f"  {name:{width}} {minutes(seconds):>6} {minutes(cpu_seconds):>6}  {end}"

    rows = [
        row(part.verb, part.seconds, part.cpu_seconds, part.outcome)
        for part in sorted(parts, key=lambda part: -part.seconds)
    ]
    failed = sum(part.outcome != "ok" for part in parts)
    end = f"{failed} of {len(parts)} failed or did not run" if failed else "all passed"
    together = row("together", seconds, sum(part.cpu_seconds for part in parts), end)
    return "\n".join(["", f"  {'':{width}} {'time':>6} {'CPU':>6}", *rows, together])


def main() -> None:
    """Read the command line and run its verbs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--at-once", type=int, default=3, help="how many verbs run at the same time (default 3)")
    parser.add_argument("--stop", action="store_true", help="end the others when one fails")
    parser.add_argument("--table", action="store_true", help="print a table of times at the end")
    parser.add_argument("parts", nargs="+", type=Part.parse, metavar="VERB")
    options = parser.parse_args()
    verbs = {part.verb for part in options.parts}
    for part in options.parts:
        if not verbs.issuperset(part.after):
            parser.error(f"{part.verb} waits for {', '.join(set(part.after) - verbs)}, which is not among the verbs")
    sys.exit(not run(options.parts, options.at_once, stops=options.stop, has_table=options.table))


if __name__ == "__main__":
    main()
