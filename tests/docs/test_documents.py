"""What the documents name exists: links, verbs of make, files, tests; and the workflows run every part."""

import re
import subprocess
from functools import cache
from pathlib import Path
from urllib.parse import unquote

import botocore.session
import pytest
import yaml
from botocore import xform_name

ROOT = Path(__file__).resolve().parents[2]
WORKFLOWS = sorted((ROOT / ".github/workflows").glob("*.yml"))


def tracked(*patterns: str) -> list[Path]:
    """The files that git has or would add."""
    listed = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "--deduplicate", "-z", "--", *patterns]
    names = subprocess.run(listed, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\0")
    return [ROOT / name for name in names if name and (ROOT / name).is_file()]


DOCUMENTS = tracked("*.md")
# A test's name in backticks, or a column's: at least four words.
NAME = re.compile(r"`((?:[a-z0-9]+_){3,}[a-z0-9]+)`")
FOLDERS = {path.relative_to(ROOT).parts[0] for path in tracked()}
# Made by a build or by a run, or by an operator.
MADE = re.compile(r"^(target|infra/env|dashboards/web/dist|dbt_stocks/target|infra/\.venv|tests/flow/target)(/|$)")


def by_name(file: Path) -> str:
    return str(file.relative_to(ROOT))


@cache
def anchors(document: Path) -> set[str]:
    """The anchors of a document's headings, as GitHub makes them."""
    text = re.sub(r"^```.*?^```", "", document.read_text(), flags=re.M | re.S)
    made: dict[str, int] = {}
    for heading in re.findall(r"^#+ +(.+?) *#*$", text, re.M):
        shown = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading)
        anchor = re.sub(r"[^\w\- ]", "", shown.lower()).replace(" ", "-")
        made[anchor] = made.get(anchor, -1) + 1
        if made[anchor]:
            made[f"{anchor}-{made[anchor]}"] = 0
    return set(made)


@pytest.mark.parametrize("document", DOCUMENTS, ids=by_name)
def test_every_link_leads_somewhere(document: Path) -> None:
    text = re.sub(r"^```.*?^```", "", document.read_text(), flags=re.M | re.S)
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = unquote(link).partition("#")
        target = (document.parent / path).resolve() if path else document
        assert target.exists(), f"{link}: {target} does not exist"
        assert not anchor or anchor in anchors(target), f"{link}: {sorted(anchors(target))}"


@pytest.mark.parametrize("document", DOCUMENTS, ids=by_name)
def test_every_verb_of_make_exists(document: Path) -> None:
    verbs = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.M))
    commands = re.findall(r"(?:`|^ {4}|&& )make ((?:[A-Z_]+=\S+ )*)([a-z][a-z-]*)", document.read_text(), re.M)
    assert {verb for _, verb in commands} <= verbs


@pytest.mark.parametrize("document", DOCUMENTS, ids=by_name)
def test_every_file_that_is_named_exists(document: Path) -> None:
    named = re.findall(r"`([\w.-]+(?:/[\w.-]+)+/?)`", document.read_text())
    for name in named:
        if name.split("/")[0] in FOLDERS and not MADE.match(name):
            assert (ROOT / name).exists() or (document.parent / name).exists(), name


# Commands that the AWS CLI has beside those of the services' models, and options of every command.
OWN_COMMANDS = {"ecr get-login-password", "logs tail", "s3 cp", "s3 ls", "sso login"}
OWN_OPTIONS = {"cli-binary-format", "output", "query", "region"}


@pytest.mark.parametrize("document", DOCUMENTS, ids=by_name)
def test_every_command_of_aws_has_its_options(document: Path) -> None:
    text = document.read_text().replace("\\\n", " ")
    session = botocore.session.get_session()
    # Up to the end of the command: a line's end, a pipe, a backtick, or a command within it.
    for service, command, rest in re.findall(r"\baws ([a-z0-9]+) ([a-z-]+)((?:(?!\$\(aws)[^\n|`])*)", text):
        if f"{service} {command}" in OWN_COMMANDS:
            continue
        model = session.get_service_model(service)
        operations = {xform_name(name, "-"): name for name in model.operation_names}
        assert command in operations, f"aws {service} {command}"
        members = model.operation_model(operations[command]).input_shape.members
        options = {xform_name(name, "-"): shape for name, shape in members.items()}
        switches = {f"no-{name}" for name, shape in options.items() if shape.type_name == "boolean"}
        for option in re.findall(r" --([a-z-]+)", rest):
            assert option in options.keys() | switches | OWN_OPTIONS, f"aws {service} {command} --{option}"


# The words of CONTRIBUTING.md's list that have no other use here.
OLD_WORDS = re.compile(
    r"\b(anew|heed(s|ed)?|thereby|for want of|tells? of|told of|where it is none|turned away|reckoned"
    r"|(?<!there )(?<!what )(is|are) no (quote|number|symbol|error|event|object)s?|holds? no (quote|number)s?)\b"
)


def test_texts_have_the_words_of_the_style() -> None:
    found = [
        f"{by_name(file)}:{number}: {match[0]}"
        for file in tracked(
            "*.rs", "*.py", "*.md", "*.tf", "*.hcl", "*.yml", "*.sql", "*.sh", "*.ts", "*.tsx", "Makefile"
        )
        if file not in (ROOT / "CONTRIBUTING.md", Path(__file__).resolve())
        for number, line in enumerate(file.read_text().splitlines(), 1)
        if (match := OLD_WORDS.search(line))
    ]
    assert not found


@cache
def words_of_the_code() -> set[str]:
    """Every name in the code: functions, tests, columns, variables."""
    code = tracked("*.rs", "*.py", "*.sql", "*.yml", "*.tf", "*.hcl", "*.json", "*.ts", "*.tsx", "*.toml", "*.in")
    return set().union(*(re.findall(r"\w+", file.read_text()) for file in code))


@pytest.mark.parametrize("document", DOCUMENTS, ids=by_name)
def test_every_test_that_is_named_exists(document: Path) -> None:
    # A test of pytest may be named without its prefix.
    missing = [name for name in NAME.findall(document.read_text()) if not {name, f"test_{name}"} & words_of_the_code()]
    assert not missing


def test_the_workflow_runs_every_part_of_local_test() -> None:
    makefile = (ROOT / "Makefile").read_text()
    (tests,) = re.findall(r"^TESTS := (.+)$", makefile, re.M)
    (parts,) = re.findall(r"^local-test:.*\n((?:\t.*\n)+)", makefile, re.M)
    expected = set(tests.split()) | set(re.findall(r"\b(test-[a-z]+)=", parts))
    assert "lint-files=" in parts
    # What both of these build is built by the job before.
    expected |= {"lint", "test-package"}
    ci = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text())
    verbs = ci["jobs"]["test"]["strategy"]["matrix"]["verb"]
    assert sorted(verbs) == sorted(expected)


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=by_name)
def test_every_action_is_pinned_to_a_commit_with_its_version_beside_it(workflow: Path) -> None:
    used = re.findall(r"\buses: *(.+)", workflow.read_text())
    assert used
    for action in used:
        assert re.fullmatch(r"[\w/-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", action), action


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=by_name)
def test_a_workflow_may_only_read_unless_it_says_otherwise(workflow: Path) -> None:
    permissions = yaml.safe_load(workflow.read_text())["permissions"]
    assert permissions["contents"] == "read"
    assert set(permissions) <= {"contents", "id-token"}
