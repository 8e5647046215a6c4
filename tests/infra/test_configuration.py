"""Terraform's files by themselves: their format, their logic with mocked providers, their security rules."""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import boto3
import hcl2
import pytest
import readmes
from botocore import xform_name
from mutations import MUTATIONS, mutated, noticing, suites
from ordering import EXPECTED, missing_order
from testkit.flow import ROOT
from testkit.terraform import BACKEND, Terraform

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


def test_the_command_that_removes_the_batching_window_is_one_that_aws_has() -> None:
    main = (INFRA / "aws/main.tf").read_text()
    service, operation, options = re.search(r'command = "aws (\S+) (\S+) (.*)"', main).groups()
    model = boto3.client(service, region_name="us-east-1").meta.service_model
    shape = model.operation_model("".join(word.title() for word in operation.split("-"))).input_shape
    asked = dict(zip(*[iter(options.split(" "))] * 2, strict=True))
    # Of the command line itself, for each command.
    del asked["--region"]
    members = {f"--{xform_name(member, '-')}": member for member in shape.members}
    assert shape.required_members == [members["--uuid"]]
    window = shape.members[members["--maximum-batching-window-in-seconds"]]
    assert asked.keys() <= members.keys()
    assert window.metadata["min"] <= int(asked["--maximum-batching-window-in-seconds"]) == 0


def test_the_roles_of_githubs_workflow_are_valid_and_tested(terraform: Terraform) -> None:
    github = Terraform(terraform.root.parent / "github")
    (github.root / "backend_override.tf").write_text(BACKEND)
    github.init()
    github.succeed("validate")
    assert "Success! 2 passed, 0 failed" in github.succeed("test")


@pytest.fixture(scope="module")
def findings(tmp_path_factory: pytest.TempPathFactory) -> dict:
    if not CHECKOV.exists():
        pytest.skip(f"checkov is not installed: `make {CHECKOV.parents[1].relative_to(ROOT)}`")
    done = subprocess.run(
        [CHECKOV, "--directory", INFRA, "--framework", "terraform", "--compact", "--output", "json"],
        capture_output=True,
        text=True,
        timeout=180,
        # It looks for its guidelines on the Internet, which fails harmlessly with a stack trace.
        env=os.environ | {"LOG_LEVEL": "ERROR", "HOME": str(tmp_path_factory.mktemp("home"))},
        check=False,
    )
    return json.loads(done.stdout)


def test_checkov_passes_and_read_every_file(findings: dict) -> None:
    failed = [
        f"{one['check_id']} {one['resource']} {one['check_name']}" for one in findings["results"]["failed_checks"]
    ]
    assert failed == []
    # Checkov skips a file that it cannot read.
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


@pytest.mark.parametrize("module", sorted((INFRA / "modules").iterdir()), ids=lambda module: module.name)
def test_a_modules_readme_names_every_variable_and_output(module: Path) -> None:
    text = (module / "README.md").read_text()
    assert text == readmes.readme(module), "run `make infra-readmes`"
    # Another parser than the one that writes the tables.
    for kind in ("variable", "output"):
        with (module / f"{kind}s.tf").open() as file:
            names = [name.strip('"') for block in hcl2.load(file)[kind] for name in block]
        assert names
        section = text.split(f"\n## {kind.title()}s\n")[1].split("\n## ")[0]
        assert re.findall(r"^\| `(\w+)` \|", section, re.M) == names


def test_no_module_is_left_unused() -> None:
    used = {
        Path(source).name
        for file in INFRA.glob("*/*.tf")
        for source in re.findall(r'"(\.\./modules/[^"]+)"', file.read_text())
    }
    assert used == {module.name for module in (INFRA / "modules").iterdir()}


def test_google_trusts_the_roles_of_the_functions_that_ask_bigquery() -> None:
    """Without the provider `infra/gcp` cannot be evaluated: the two roots' lists are compared as text."""
    aws = (INFRA / "aws/deployed.tf").read_text()
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
    # What one root passes to the other.
    told = re.search(
        r'output "for_aws" \{.*?value = \{\n(.*?)^  \}', (INFRA / "gcp/outputs.tf").read_text(), re.M | re.S
    )
    taken = re.search(
        r'variable "google" \{.*?object\(\{\n(.*?)^  \}\)', (INFRA / "aws/variables.tf").read_text(), re.M | re.S
    )
    assert told
    assert taken
    assert re.findall(r"^    (\w+) +=", told[1], re.M) == re.findall(r"^    (\w+) +=", taken[1], re.M)


def test_google_makes_nothing_before_its_apis_are_usable() -> None:
    """As above, as text: each resource waits for the APIs, or for one that does."""
    text = (INFRA / "gcp/main.tf").read_text()
    resources = dict(re.findall(r'^resource "(\w+" "\w+)" \{\n(.*?)^\}', text, re.M | re.S))
    waiting = {name.replace('" "', ".") for name, body in resources.items() if "depends_on = [time_sleep.apis]" in body}
    for _ in resources:
        waiting |= {
            name.replace('" "', ".")
            for name, body in resources.items()
            if any(f"{one}[" in body or f"{one}." in body for one in waiting)
        }
    first = {"google_project_service.first", "google_project_service.this", "time_sleep.apis"}
    assert {name.replace('" "', ".") for name in resources} == waiting | first
    enabled = set(re.findall(r'"([a-z]+)"', "".join(re.findall(r"toset\((\[.*?\])\)", text))))
    assert enabled >= {
        "bigquery",
        "cloudquotas",
        "cloudresourcemanager",
        "iam",
        "iamcredentials",
        "serviceusage",
        "sts",
    }


def test_providers_are_pinned_exactly_where_they_are_configured() -> None:
    for root in ("aws", "gcp"):
        versions = re.findall(r'^ +version += "(.*)"', (INFRA / root / "versions.tf").read_text(), re.M)
        assert versions
        assert all(re.fullmatch(r"\d+\.\d+\.\d+", version) for version in versions), f"{root}: {versions}"


def test_what_must_come_first_comes_first(terraform: Terraform) -> None:
    assert missing_order(terraform, EXPECTED) == []


def test_every_known_defect_can_still_be_made(terraform: Terraform, tmp_path: Path) -> None:
    """`make mutate-infra` makes each alone and runs the tests on it, for minutes; here two of them are enough."""
    for number, mutation in enumerate(MUTATIONS):
        shutil.copytree(INFRA, tmp_path / str(number), ignore=shutil.ignore_patterns(".venv", ".terraform"))
        mutation.apply(tmp_path / str(number))
    assert len(MUTATIONS) == 16


@pytest.mark.parametrize("name", ["a function may run before its role allows anything", "no route to the NAT gateway"])
def test_a_known_defect_is_noticed(terraform: Terraform, name: str) -> None:
    (mutation,) = [one for one in MUTATIONS if one.name == name]
    assert mutated(terraform.root.parent, mutation, lambda copy: noticing(copy, suites(mutation)[:1]))
