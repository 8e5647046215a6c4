"""`infra/deploy.sh` with commands that only write down how they were called: two clouds and Docker are not here."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from testkit.flow import ROOT

DIGEST = f"sha256:{'a' * 64}"
REPOSITORY = "123456789012.dkr.ecr.eu-central-1.amazonaws.com/quotes/transform-quotes"
GOOGLE = {"name": "quotes", "bigquery": {"project": "p"}}

# What a plan would do is in the file CHANGES: nothing, or a resource and an action.
TERRAFORM = f"""#!/bin/sh
echo "terraform $TF_DATA_DIR $*" >> "$CALLS"
case "$*" in
*for_aws*) echo '{json.dumps(GOOGLE)}' ;;
*transform_repository_url*) printf {REPOSITORY} ;;
*show*) cat "$CHANGES" ;;
*" plan "*) if grep -q actions "$CHANGES"; then exit 2; fi ;;
esac
"""
# A tag exists once an image was pushed with it, a parameter once it was put.
AWS = f"""#!/bin/sh
echo "aws $*" >> "$CALLS"
name=${{*#*--name }}
file="$PARAMETERS/$(echo "${{name%% *}}" | tr / _)"
case "$*" in
*describe-images*) tag=${{*#*imageTag=}}; grep -q "${{tag%% *}} " "$PUSHED" && echo {DIGEST} ;;
*get-account-settings*) echo "${{LIMIT:-1000}}" ;;
*head-bucket*) [ -n "$BUCKET" ] ;;
*get-parameter*) [ -f "$file" ] && cat "$file" ;;
*put-parameter*) printf '%s\\n' "${{*#*--value }}" > "$file" ;;
*) echo password ;;
esac
"""
DOCKER = """#!/bin/sh
echo "docker $*" >> "$CALLS"
case "$*" in
login*) read -r password ;;
*--push*) echo "$* " >> "$PUSHED" ;;
esac
"""


class Deployed:
    """A copy of the project's deployment, with its commands in a folder of their own."""

    def __init__(self, directory: Path) -> None:
        self.infra = directory / "infra"
        self.place = self.infra / "env" / "prod"
        self.calls = directory / "calls"
        self.pushed = directory / "pushed"
        self.parameters = directory / "parameters"
        self.changes = directory / "changes"
        self.commands = directory / "commands"
        self.context = directory / "target" / "package" / "transform-quotes"
        for folder in (self.infra / "aws", self.infra / "gcp", self.commands, self.context, self.parameters):
            folder.mkdir(parents=True)
        shutil.copy2(ROOT / "infra" / "deploy.sh", self.infra)
        shutil.copytree(ROOT / "infra" / "env" / "example", self.place)
        variables = (self.place / "aws.tfvars").read_text()
        for old, new in (('"quoteflow"', '"quotes"'), ('= "us-east-1"', '= "eu-central-1"')):
            assert old in variables
            variables = variables.replace(old, new)
        (self.place / "aws.tfvars").write_text(variables + 'architecture = "arm64"\n')
        (self.context / "Dockerfile").write_text("FROM scratch\n")
        for name, script in (("terraform", TERRAFORM), ("aws", AWS), ("docker", DOCKER)):
            (self.commands / name).write_text(script)
            (self.commands / name).chmod(0o755)
        for name in (
            "bash",
            "sh",
            "dirname",
            "find",
            "sort",
            "xargs",
            "sha256sum",
            "cut",
            "tr",
            "grep",
            "sed",
            "mkdir",
            "cat",
        ):
            (self.commands / name).symlink_to(shutil.which(name) or pytest.fail(f"{name} is missing"))
        (self.commands / "python3").symlink_to(Path(sys.executable).resolve())
        self.pushed.touch()
        self.plans("update")

    def plans(self, *actions: str) -> None:
        """Let every plan do this to one resource; nothing without an action."""
        changes = [{"address": "module.bronze_bucket.aws_s3_bucket.this", "change": {"actions": [*actions]}}]
        self.changes.write_text(json.dumps({"resource_changes": changes} if actions else {}))

    def run(self, *arguments: str, answer: str = "", **variables: str) -> subprocess.CompletedProcess[str]:
        """Run it, with its own commands and the few others that it may use."""
        self.calls.write_text("")
        own = {"PATH": self.commands, "CALLS": self.calls, "PUSHED": self.pushed}
        own |= {"PARAMETERS": self.parameters, "CHANGES": self.changes}
        return subprocess.run(
            ["bash", self.infra / "deploy.sh", *arguments],  # noqa: S607 - the one of the test's PATH
            env={
                "HOME": os.environ["HOME"],
                "BUCKET": "",
                **{name: str(value) for name, value in own.items()},
                **variables,
            },
            input=answer,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def called(self) -> list[str]:
        """What was called, without the folder of Terraform's data."""
        return [call.replace(f"{self.infra}/", "") for call in self.calls.read_text().splitlines()]

    def deploy(self) -> list[str]:
        """Deploy without questions, which must succeed, and return what it called."""
        done = self.run("deploy", "prod", "--yes")
        assert done.returncode == 0, done.stdout + done.stderr
        return self.called()

    def parameter(self, name: str) -> str:
        """A parameter of Systems Manager."""
        return (self.parameters / f"_quotes_{name}").read_text().strip()


@pytest.fixture
def deployed(tmp_path: Path) -> Deployed:
    return Deployed(tmp_path)


def test_google_comes_first_and_what_it_made_is_kept_for_every_operator(deployed: Deployed) -> None:
    calls = deployed.deploy()
    applies = [call for call in calls if " apply " in call]
    saved = [
        f"terraform .terraform/prod/{root} -chdir={root} apply -input=false .terraform/prod/{root}.tfplan"
        for root in ("gcp", "aws", "aws")
    ]
    assert applies == saved, "exactly the plans that were shown"
    assert json.loads(deployed.parameter("google")) == GOOGLE
    assert next(call for call in calls if "put-parameter" in call).startswith(
        "aws ssm put-parameter --region eu-central-1 --name /quotes/google"
    )
    assert not list(deployed.infra.glob("**/*.auto.tfvars*")), "a file in this folder is missing in every other"


def test_each_environment_has_its_variables_its_state_and_its_folder(deployed: Deployed) -> None:
    shutil.copytree(deployed.place, deployed.infra / "env" / "blue")
    calls = {}
    for env in ("prod", "blue"):
        assert deployed.run("deploy", env, "--yes").returncode == 0
        calls[env] = deployed.called()
    for env, called in calls.items():
        other = {"prod": "blue", "blue": "prod"}[env]
        assert not [call for call in called if f"/{other}/" in call]
        for root in ("gcp", "aws"):
            (init,) = [call for call in called if f"-chdir={root} init" in call]
            assert init.endswith(
                f"-backend-config=env/{env}/backend.hcl -backend-config=key=quoteflow/{env}/{root}.tfstate"
            )
            assert [
                call
                for call in called
                if f"{env}/{root} -chdir={root} plan" in call and f"-var-file=env/{env}/{root}.tfvars" in call
            ]


def test_a_second_operator_plans_with_the_same_image_and_the_same_google(deployed: Deployed) -> None:
    deployed.deploy()
    image = deployed.parameter("transform-image-uri")
    assert image == f"{REPOSITORY}@{DIGEST}"
    # Another clone, without Docker.
    shutil.rmtree(deployed.infra / ".terraform")
    (deployed.commands / "docker").unlink()
    done = deployed.run("deploy", "prod", "--yes")
    assert done.returncode == 0
    assert "is not changed" in done.stdout
    assert deployed.parameter("transform-image-uri") == image
    assert not [call for call in deployed.called() if "transform_image_uri" in call or "put-parameter" in call]


def test_settings_that_are_left_out_have_terraforms_defaults(deployed: Deployed) -> None:
    (deployed.place / "aws.tfvars").write_text("# nothing\n")
    calls = deployed.deploy()
    assert [call for call in calls if "put-parameter --region us-east-1 --name /quoteflow/google" in call]
    assert [call for call in calls if "--platform linux/amd64" in call]
    variables = (ROOT / "infra/aws/variables.tf").read_text()
    for name, default in (("name", "quoteflow"), ("aws_region", "us-east-1"), ("architecture", "x86_64")):
        assert re.search(rf'variable "{name}" {{[^}}]*default +?= "{default}"', variables)


def test_the_image_is_built_for_the_architecture_and_for_bigquerys_names(deployed: Deployed) -> None:
    builds = [call for call in deployed.deploy() if "docker buildx" in call]
    assert len(builds) == 1
    assert "--platform linux/arm64" in builds[0]
    assert "--build-arg=BIGQUERY_PROJECT=p" in builds[0]


def test_an_image_is_pushed_again_only_when_it_changed(deployed: Deployed) -> None:
    deployed.deploy()
    assert not [call for call in deployed.deploy() if call.startswith(("docker login", "docker buildx"))]
    (deployed.context / "Dockerfile").write_text("FROM scratch\nCOPY other .\n")
    assert [call for call in deployed.deploy() if "--push" in call]


def test_a_new_image_makes_its_views_at_once(deployed: Deployed) -> None:
    settling = "aws lambda invoke --region eu-central-1 --function-name quotes-transform-quotes --invocation-type Event"
    assert deployed.deploy()[-1].startswith(settling)
    assert not [call for call in deployed.deploy() if "invoke" in call]


def test_a_plan_is_applied_only_after_a_yes(deployed: Deployed) -> None:
    done = deployed.run("deploy", "prod", answer="no\n")
    assert done.returncode == 1
    assert not [call for call in deployed.called() if " apply " in call]
    assert deployed.run("deploy", "prod", answer="yes\nyes\nyes\n").returncode == 0


def test_without_questions_nothing_is_destroyed_by_the_way(deployed: Deployed) -> None:
    deployed.plans("delete", "create")
    done = deployed.run("deploy", "prod", "--yes")
    assert done.returncode == 1
    assert "module.bronze_bucket.aws_s3_bucket.this" in done.stdout
    assert "--allow-destroy" in done.stderr
    assert not [call for call in deployed.called() if " apply " in call]
    assert deployed.run("deploy", "prod", "--yes", "--allow-destroy").returncode == 0


def test_a_plan_that_changes_nothing_asks_nothing(deployed: Deployed) -> None:
    deployed.plans()
    assert deployed.run("deploy", "prod").returncode == 0
    assert not [call for call in deployed.called() if " apply " in call]


def test_terraforms_own_arguments_reach_aws(deployed: Deployed) -> None:
    assert deployed.run("deploy", "prod", "--yes", "-var", "are_schedules_enabled=false").returncode == 0
    plans = [call for call in deployed.called() if " plan " in call]
    assert ["are_schedules_enabled=false" in call for call in plans] == [False, True, True]


def test_drift_has_an_exit_code_of_its_own_and_changes_nothing(deployed: Deployed) -> None:
    for actions, drift in ((["update"], 2), ([], 0)):
        deployed.plans(*actions)
        assert deployed.run("drift", "prod").returncode == drift
        assert not [call for call in deployed.called() if " apply " in call or "put-parameter" in call]
        assert deployed.run("plan", "prod").returncode == 0


def test_an_account_with_too_little_concurrency_is_refused_before_anything_is_made(deployed: Deployed) -> None:
    done = deployed.run("deploy", "prod", "--yes", LIMIT="10")
    assert done.returncode == 1
    assert "request-service-quota-increase" in done.stderr
    assert not [call for call in deployed.called() if " apply " in call]


@pytest.mark.parametrize("missing", ["aws.tfvars", "gcp.tfvars", "backend.hcl"])
def test_missing_variables_stop_it_before_anything_is_made(deployed: Deployed, missing: str) -> None:
    (deployed.place / missing).unlink()
    done = deployed.run("deploy", "prod", "--yes")
    assert done.returncode == 1
    assert f"infra/env/prod/{missing} is missing" in done.stderr
    assert deployed.called() == []


def test_an_environment_that_is_missing_or_not_named(deployed: Deployed) -> None:
    done = deployed.run("deploy", "staging")
    assert done.returncode == 1
    assert "cp -r infra/env/example infra/env/staging" in done.stderr
    done = deployed.run("deploy", "")
    assert done.returncode == 1
    assert done.stdout.startswith("usage:")


def test_destroy_forgets_what_it_kept(deployed: Deployed) -> None:
    assert deployed.run("destroy", "prod").returncode == 0
    calls = [call for call in deployed.called() if "destroy" in call or "delete" in call]
    assert calls == [
        "terraform .terraform/prod/aws -chdir=aws destroy -var-file=env/prod/aws.tfvars",
        "terraform .terraform/prod/gcp -chdir=gcp destroy -var-file=env/prod/gcp.tfvars",
        "aws ssm delete-parameters --region eu-central-1 --names /quotes/google /quotes/transform-image-uri",
    ]


@pytest.mark.parametrize("region", ["us-east-1", "eu-central-1"])
def test_the_states_bucket_is_private_and_keeps_versions(deployed: Deployed, region: str) -> None:
    backend = deployed.place / "backend.hcl"
    backend.write_text(backend.read_text().replace("us-east-1", region))
    done = deployed.run("bootstrap", "prod")
    assert done.returncode == 0, done.stderr
    calls = deployed.called()
    (created,) = [call for call in calls if "create-bucket" in call]
    assert ("LocationConstraint" in created) == (region != "us-east-1"), "S3 refuses the one for us-east-1"
    for call in ("put-bucket-versioning", "put-public-access-block", "put-bucket-policy"):
        assert [one for one in calls if call in one]
    (policy,) = [call.partition("--policy ")[2] for call in calls if "put-bucket-policy" in call]
    assert json.loads(policy)["Statement"][0]["Effect"] == "Deny"
    # Again, when it exists.
    assert deployed.run("bootstrap", "prod", BUCKET="there").returncode == 0
    assert not [call for call in deployed.called() if "create-bucket" in call]
