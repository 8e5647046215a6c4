"""What `quoteflow` says where it cannot do what it is asked, and that it then has done nothing."""

import contextlib
import os
import pty
import shlex
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from testkit.flow import BIN_DIR, ROOT, left_of, local


@pytest.fixture
def busy_port() -> Iterator[int]:
    """A port that is taken, after one that is not."""
    while True:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
            try:
                socket.create_server(("127.0.0.1", port - 1)).close()
            except OSError:
                continue
            yield port
            return


def test_a_busy_port_is_named_with_the_option_that_avoids_it(busy_port: int, tmp_path: Path) -> None:
    data_dir = tmp_path / "data"
    refused = local("run", "--project", ROOT, "--data-dir", data_dir, "--port-base", str(busy_port - 1))
    assert refused.returncode == 1
    assert f"port {busy_port}, for AWS, is in use" in refused.stderr
    assert "--port-base" in refused.stderr
    assert not left_of(data_dir)


def test_a_missing_python_environment_is_answered_with_make_setup(tmp_path: Path) -> None:
    data_dir = tmp_path / "data"
    refused = local("run", "--data-dir", data_dir, "--port-base", "0", LOCAL_PYTHON="/nonexistent/python")
    assert refused.returncode == 1
    assert "/nonexistent/python" in refused.stderr
    assert "make setup" in refused.stderr
    assert not left_of(data_dir)


def test_a_folder_that_is_not_the_projects_is_refused_before_anything_is_made(tmp_path: Path) -> None:
    data_dir = tmp_path / "data"
    refused = local("run", "--project", tmp_path, "--data-dir", data_dir)
    assert refused.returncode == 1
    assert f"{tmp_path} is not the project's folder" in refused.stderr
    assert "--project" in refused.stderr
    assert not data_dir.exists()


def test_a_speed_is_refused_where_the_feed_is_not_the_recorded_one(tmp_path: Path) -> None:
    refused = local(
        "run", "--data-dir", tmp_path / "data", "--port-base", "0", "--speed", "2",
        FINNHUB_BASE_URL="http://127.0.0.1:9/api/v1", FINNHUB_API_KEY="marked-key",
    )  # fmt: skip
    assert refused.returncode == 1
    assert "--speed" in refused.stderr
    assert "marked-key" not in refused.stderr + refused.stdout


@pytest.mark.parametrize("verb", [("status",), ("replay", "--from", "2024-01-01"), ("redrive",)])
def test_a_verb_without_any_run_says_how_to_start_one(verb: tuple[str, ...], tmp_path: Path) -> None:
    refused = local(*verb, "--data-dir", tmp_path)
    assert refused.returncode == 1
    assert f"nothing has run in {tmp_path} yet" in refused.stderr
    hint = refused.stderr.rpartition("Start it: ")[2].split()
    assert hint == ["make", "local", f"DATA={tmp_path}"]
    # What it says can be pasted.
    pasted = subprocess.run([*hint, "--dry-run"], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert f"run --data-dir {tmp_path}" in pasted.stdout


def test_a_hint_outside_the_project_can_be_pasted_too(tmp_path: Path) -> None:
    """Without the Makefile, and with a space in the folder's name."""
    folder = tmp_path / "my data"
    folder.mkdir()
    binary = BIN_DIR / "quoteflow"
    refused = subprocess.run(
        [binary, "status", "--data-dir", folder], cwd="/usr", capture_output=True, text=True, timeout=60, check=False
    )
    hint = refused.stderr.rpartition("Start it: ")[2].strip()
    assert shlex.split(hint) == [str(binary), "run", "--data-dir", str(folder)]


@pytest.mark.parametrize(
    ("option", "value"), [("--interval", "0s"), ("--speed", "0"), ("--symbols", "aapl!"), ("--symbols", "FOO,BRK.B")]
)
def test_an_option_that_no_flow_can_run_on_is_refused_before_anything_is_made(
    option: str, value: str, tmp_path: Path
) -> None:
    data_dir = tmp_path / "data"
    refused = local("run", "--project", ROOT, "--data-dir", data_dir, f"{option}={value}")
    assert refused.returncode != 0
    assert value.split(",")[0] in refused.stderr
    assert not data_dir.exists()


def test_more_polls_than_the_key_has_requests_are_refused_with_the_variable(tmp_path: Path) -> None:
    data_dir = tmp_path / "data"
    variables = {"FINNHUB_API_KEY": "marked-key", "FINNHUB_BASE_URL": "http://127.0.0.1:9/api/v1"}
    refused = local("run", "--project", ROOT, "--data-dir", data_dir, "--interval", "1s", **variables)
    assert refused.returncode == 1
    assert "60 requests a minute" in refused.stderr
    assert "RATE_LIMIT_PER_MINUTE" in refused.stderr
    assert not data_dir.exists()


def on_a_terminal(answer: str, *arguments: str | Path) -> tuple[int, str]:
    """Run `quoteflow` on a terminal on which a person types `answer`; its status and what the terminal shows."""
    master, slave = pty.openpty()
    process = subprocess.Popen([BIN_DIR / "quoteflow", *arguments], stdin=slave, stdout=slave, stderr=slave)
    os.close(slave)
    os.write(master, answer.encode())
    shown = b""
    # The terminal of a process that has ended cannot be read.
    with contextlib.suppress(OSError):
        while part := os.read(master, 4096):
            shown += part
    os.close(master)
    return process.wait(60), shown.decode()


def test_reset_says_what_it_removes_and_asks_on_a_terminal(tmp_path: Path) -> None:
    data_dir = tmp_path / "data"
    data_dir.mkdir()
    (data_dir / "lock").touch()
    (data_dir / "state.json").write_text('{"fetched": 21}')
    (data_dir / "much").write_bytes(bytes(3_500_000))
    status, shown = on_a_terminal("n\n", "reset", "--data-dir", data_dir)
    assert status == 0
    assert f"Remove {data_dir}: 21 quotes, 4 MB?" in shown
    assert "nothing was removed" in shown
    assert (data_dir / "much").exists()
    status, shown = on_a_terminal("y\n", "reset", "--data-dir", data_dir)
    assert status == 0
    assert f"removed {data_dir}: 21 quotes, 4 MB" in shown
    assert not data_dir.exists()


def test_reset_refuses_a_folder_that_is_not_its_own(tmp_path: Path) -> None:
    mine = tmp_path / "mine.txt"
    mine.write_text("kept")
    refused = local("reset", "--data-dir", tmp_path)
    assert refused.returncode == 1
    assert "nothing was removed" in refused.stderr
    assert mine.read_text() == "kept"


def test_reset_of_nothing_is_not_an_error(tmp_path: Path) -> None:
    reset = local("reset", "--data-dir", tmp_path / "none")
    assert reset.returncode == 0
    assert "nothing to remove" in reset.stdout
