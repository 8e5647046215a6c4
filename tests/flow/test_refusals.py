"""What `quoteflow` says where it cannot do what it is asked, and that it then has done nothing."""

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from flowkit import ROOT, left_of, local


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


def test_status_without_any_run_says_how_to_start_one(tmp_path: Path) -> None:
    refused = local("status", "--data-dir", tmp_path)
    assert refused.returncode == 1
    assert "make local" in refused.stderr


def test_reset_refuses_a_folder_that_is_not_its_own(tmp_path: Path) -> None:
    mine = tmp_path / "mine.txt"
    mine.write_text("kept")
    refused = local("reset", "--data-dir", tmp_path)
    assert refused.returncode == 1
    assert "nothing was removed" in refused.stderr
    assert mine.read_text() == "kept"


def test_reset_of_nothing_is_no_error(tmp_path: Path) -> None:
    reset = local("reset", "--data-dir", tmp_path / "none")
    assert reset.returncode == 0
    assert "nothing to forget" in reset.stdout
