"""Verbs beside each other: a failure fails the whole and can be read, and nothing is left running."""

import os
import pty
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

PARTS = Path(__file__).resolve().parents[2] / "setup" / "parts.py"
MAKEFILE = """
quick:
	@echo quick is here
broken:
	@printf 'at 1%%\\rat 100%%\\n'; echo "the reason" >&2; exit 3
after:
	@touch $@
busy:
	@python3 -c 'while __import__("time").process_time() < 1.1: pass'
waits:
	@echo $$$$ > pid; exec sleep 600
meets:
	@touch $@.$(MEETS); for try in $$(seq 600); do [ -e meets.a ] && [ -e meets.b ] && exit; sleep 0.1; done; exit 1
meets-a meets-b: meets-%:
	@$(MAKE) --no-print-directory meets MEETS=$*
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "Makefile").write_text(MAKEFILE)
    return tmp_path


def parts(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, PARTS, *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=120)


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def wait_for(file: Path) -> str:
    end = time.monotonic() + 60
    while not file.exists() or not file.read_text().strip():
        assert time.monotonic() < end, f"{file} did not come"
        time.sleep(0.05)
    return file.read_text().strip()


def test_a_failure_fails_the_whole_and_shows_its_output_while_the_others_go_on(folder: Path) -> None:
    ended = parts(folder, "--table", "broken", "quick", "after=quick")
    assert ended.returncode == 1
    assert "the reason" in ended.stdout
    assert "at 100%" in ended.stdout
    assert "at 1%\n" not in ended.stdout
    assert (folder / "after").exists()
    rows = {words[0]: words[-1] for words in map(str.split, ended.stdout.splitlines()[-4:])}
    assert rows == {"broken": "FAILED", "quick": "ok", "after": "ok", "together": "run"}, ended.stdout


def test_the_table_has_the_cpu_time_of_all_that_a_verb_started(folder: Path) -> None:
    ended = parts(folder, "--table", "busy", "quick")
    used = {words[0]: words[2] for words in map(str.split, ended.stdout.splitlines()[-3:])}
    assert used["busy"] not in {"0:00", ""}, ended.stdout
    assert used["together"] >= used["busy"]


def test_what_waits_for_a_failure_does_not_run(folder: Path) -> None:
    ended = parts(folder, "--table", "broken", "after=broken", "quick=after")
    assert ended.returncode == 1
    assert not (folder / "after").exists()
    assert "3 of 3 failed or did not run" in ended.stdout


def test_all_that_succeed_are_a_success_with_the_time_of_each(folder: Path) -> None:
    ended = parts(folder, "--table", "quick", "after=quick")
    assert ended.returncode == 0
    assert "all passed" in ended.stdout
    assert (folder / "target/parts/quick.log").read_text() == "quick is here\n"


def test_verbs_run_beside_each_other(folder: Path) -> None:
    assert parts(folder, "meets-a", "meets-b").returncode == 0


def test_a_verb_that_mostly_waits_takes_no_others_place(folder: Path) -> None:
    assert parts(folder, "--at-once", "1", "+meets-a", "meets-b").returncode == 0


def test_with_stop_a_failure_ends_the_others_and_what_they_started(folder: Path) -> None:
    ended = parts(folder, "--stop", "waits", "broken")
    assert ended.returncode == 1
    assert not is_running(int(wait_for(folder / "pid")))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_everything(folder: Path, number: int) -> None:
    process = subprocess.Popen([sys.executable, PARTS, "waits"], cwd=folder, stdout=subprocess.DEVNULL)
    pid = int(wait_for(folder / "pid"))
    process.send_signal(number)
    assert process.wait(60) == 128 + number
    assert not is_running(pid)


def test_a_verb_that_nobody_runs_cannot_be_waited_for(folder: Path) -> None:
    ended = parts(folder, "quick=missing")
    assert ended.returncode == 2
    assert "quick waits for missing" in ended.stderr


def test_on_a_terminal_each_running_verb_has_a_line(folder: Path) -> None:
    ours, theirs = pty.openpty()
    process = subprocess.Popen([sys.executable, PARTS, "meets-a", "quick", "meets-b=quick"], cwd=folder, stdout=theirs)
    os.close(theirs)
    shown = b""
    while piece := read(ours):
        shown += piece
    assert process.wait(60) == 0
    assert b"  meets-a   0:0" in shown
    assert shown.count(b"done") == 3


def read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 4096)
    except OSError:  # Linux's end of a terminal.
        return b""
