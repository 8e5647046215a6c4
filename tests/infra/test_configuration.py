"""Terraform's files by themselves: their format, their logic with mocked providers, their security rules."""

import json
import os
import re
import subprocess
from pathlib import Path

import pytest
from flowkit import ROOT
from infrakit import Terraform

INFRA = ROOT / "infra"
# `make test-infra` installs it; its dependencies contradict the others'.
CHECKOV = INFRA / ".venv" / "bin" / "checkov"


def test_the_files_are_formatted(terraform: Terraform) -> None:
    done = terraform.run("fmt", "-check", "-recursive", "-diff", str(INFRA))
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_root_for_aws_is_valid(terraform: Terraform) -> None:
    terraform.succeed("validate")


def test_modules_and_root_do_what_they_say(terraform: Terraform) -> None:
    printed = terraform.succeed("test")
    summary = re.search(r"Success! (\d+) passed, 0 failed", printed)
    written = sum(len(re.findall(r'^run "', file.read_text(), re.M)) for file in INFRA.glob("aws/tests/*.tftest.hcl"))
    assert summary, printed
    assert int(summary[1]) == written


@pytest.fixture(scope="module")
def findings(tmp_path_factory: pytest.TempPathFactory) -> dict:
    if not CHECKOV.exists():
        pytest.skip(f"checkov is not installed: `make {CHECKOV.parents[1].relative_to(ROOT)}`")
    done = subprocess.run(
        [CHECKOV, "--directory", INFRA, "--framework", "terraform", "--compact", "--output", "json"],
        capture_output=True,
        text=True,
        timeout=180,
        # It looks for its guidelines on the Internet, in vain and without harm, and says so with a stack trace.
        env=os.environ | {"LOG_LEVEL": "ERROR", "HOME": str(tmp_path_factory.mktemp("home"))},
        check=False,
    )
    return json.loads(done.stdout)


def test_checkov_passes_and_read_every_file(findings: dict) -> None:
    failed = [
        f"{one['check_id']} {one['resource']} {one['check_name']}" for one in findings["results"]["failed_checks"]
    ]
    assert failed == []
    # A file that it cannot read is one that it did not check.
    assert findings["results"]["parsing_errors"] == []
    assert findings["summary"]["passed"] > 150


def test_every_skipped_check_has_its_reason_beside_it() -> None:
    skips = [
        (file.name, line.strip())
        for file in INFRA.rglob("*.tf")
        if ".terraform" not in file.parts
        for line in file.read_text().splitlines()
        if "checkov:skip" in line
    ]
    assert skips
    for name, line in skips:
        assert re.fullmatch(r"# checkov:skip=CKV2?_(AWS|GCP)_\d+:.{8,}", line), f"{name}: {line}"


def test_every_variable_and_output_is_described() -> None:
    for file in INFRA.rglob("*.tf"):
        for block in re.findall(r'^(?:variable|output) "[^"]+" \{\n.*?^\}', file.read_text(), re.M | re.S):
            assert "  description = " in block, f"{file}: {block}"
            assert block.startswith("output") or "  type " in block, f"{file}: {block}"


def test_no_module_is_left_unused() -> None:
    used = {
        Path(source).name
        for file in INFRA.glob("*/*.tf")
        for source in re.findall(r'"(\.\./modules/[^"]+)"', file.read_text())
    }
    assert used == {module.name for module in (INFRA / "modules").iterdir()}


def test_google_trusts_the_roles_of_the_functions_that_ask_bigquery() -> None:
    """Without the provider `infra/gcp` cannot be evaluated: the two roots' lists are compared as text."""
    aws = (INFRA / "aws/main.tf").read_text()
    asking = re.search(r"warehouse = \{ for function in (\[.*?\])", aws)
    functions = re.search(r"^  functions = \{\n(.*?)^  \}", (INFRA / "gcp/main.tf").read_text(), re.M | re.S)
    assert asking
    assert functions
    assert re.findall(r"^    ([a-z-]+) += \{", functions[1], re.M) == json.loads(asking[1])
    # A role has its function's name, with the prefix that the two roots share by default.
    assert "name        = var.name\n" in (INFRA / "modules/function/main.tf").read_text()
    defaults = [
        re.search(r'variable "name" \{.*?default += "([a-z]+)"', (INFRA / root / "variables.tf").read_text(), re.S)
        for root in ("aws", "gcp")
    ]
    assert [default and default[1] for default in defaults] == ["quoteflow"] * 2
