"""What is compiled for `make local` is what `make local-test` takes."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def features(edges: str) -> set[str]:
    """The packages that are compiled, each with its features."""
    command = [
        "cargo",
        "tree",
        "--locked",
        "--offline",
        "--workspace",
        "--prefix",
        "none",
        "-f",
        "{p}|{f}",
        "-e",
        edges,
    ]
    tree = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return {re.sub(r" \(\*\)$", "", line) for line in tree.splitlines() if line}


def test_the_tests_compile_no_dependency_a_second_time() -> None:
    """A feature that only a test asks for would make cargo build the package again, and all that stands on it."""
    if not shutil.which("cargo"):
        pytest.skip("cargo is not installed")
    for_local, for_tests = features("normal,build"), features("normal,build,dev")
    assert len(for_local) > 100
    assert for_local - for_tests == set(), "add the features to crates/test-support/Cargo.toml"
