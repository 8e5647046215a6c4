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


def recipe(verb: str, *variables: str) -> str:
    """What `make` would run for a verb."""
    command = ["make", "--dry-run", "--no-print-directory", verb, *variables]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout


def test_local_test_runs_every_folder_of_tests() -> None:
    parts = recipe("local-test").partition("parts.py")[2].replace("\\\n", " ").split()
    verbs = [
        part.partition("=")[0].removeprefix("+") for part in parts if not part.startswith("-") and not part.isdigit()
    ]
    commands = "\n".join(recipe(verb, "BUILT=1") for verb in verbs)
    folders = {str(file.parent.relative_to(ROOT)) for file in ROOT.glob("*/*/test_*.py")}
    folders |= {str(file.parent.relative_to(ROOT)) for file in ROOT.glob("functions/*/tests/test_*.py")}
    # The packages take minutes to build; `make test-package` is a separate verb.
    forgotten = {folder for folder in folders if not re.search(rf"pytest (-rP )?{folder}\s", commands)}
    assert forgotten == {"tests/package"}
    for tool in ("cargo nextest run", "cargo test", "cargo fmt --all --check", "ruff check", "sqlfluff lint", "clippy"):
        assert tool in commands, tool
