"""`infra/deploy.sh` with commands that only write down how they were called: two clouds and Docker are not here."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from flowkit import ROOT

DIGEST = f"sha256:{'a' * 64}"
REPOSITORY = "123456789012.dkr.ecr.eu-central-1.amazonaws.com/quoteflow/transform-quotes"

TERRAFORM = f"""#!/bin/sh
echo "terraform $*" >> "$CALLS"
case "$*" in
*aws_variables*) echo '{{"bigquery": {{"project": "p"}}}}' ;;
*transform_repository_url*) printf {REPOSITORY} ;;
*console*) echo '"arm64"' ;;
esac
"""
# A tag is there once an image was pushed with it.
AWS = f"""#!/bin/sh
echo "aws $*" >> "$CALLS"
case "$*" in
*describe-images*) tag=${{*#*imageTag=}}; grep -q "${{tag%% *}} " "$PUSHED" && echo {DIGEST} ;;
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
        self.calls = directory / "calls"
        self.pushed = directory / "pushed"
        self.commands = directory / "commands"
        self.context = directory / "target" / "package" / "transform-quotes"
        for folder in (self.infra / "aws", self.infra / "gcp", self.commands, self.context):
            folder.mkdir(parents=True)
        shutil.copy2(ROOT / "infra" / "deploy.sh", self.infra)
        (self.context / "Dockerfile").write_text("FROM scratch\n")
        for root in ("aws", "gcp"):
            (self.infra / root / "terraform.tfvars").touch()
        for name, script in (("terraform", TERRAFORM), ("aws", AWS), ("docker", DOCKER)):
            (self.commands / name).write_text(script)
            (self.commands / name).chmod(0o755)
        self.pushed.touch()

    def deploy(self) -> list[str]:
        """Run it, which must succeed, and return what it called."""
        self.calls.write_text("")
        done = self.run()
        assert done.returncode == 0, done.stderr
        return self.calls.read_text().splitlines()

    def run(self) -> subprocess.CompletedProcess[str]:
        """Run it, with its own commands and the few others that it may use."""
        for name in ("bash", "sh", "dirname", "find", "sort", "xargs", "sha256sum", "cut", "tr", "grep"):
            link = self.commands / name
            if not link.exists():
                link.symlink_to(shutil.which(name) or pytest.fail(f"{name} is missing"))
        python = self.commands / "python3"
        if not python.exists():
            python.symlink_to(Path(sys.executable).resolve())
        variables = {"PATH": str(self.commands), "CALLS": str(self.calls), "PUSHED": str(self.pushed)}
        return subprocess.run(
            ["bash", self.infra / "deploy.sh"],  # noqa: S607 - the one of the test's PATH
            env={"HOME": os.environ["HOME"], **variables},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )


@pytest.fixture
def deployed(tmp_path: Path) -> Deployed:
    return Deployed(tmp_path)


def test_google_comes_first_and_tells_aws(deployed: Deployed) -> None:
    calls = deployed.deploy()
    applies = [call for call in calls if " apply" in call]
    assert applies == [
        "terraform -chdir=gcp apply",
        "terraform -chdir=aws apply -target=aws_ecr_repository.transform_quotes",
        "terraform -chdir=aws apply",
    ]
    assert not any("auto-approve" in call for call in calls), "each plan is shown and asked for"
    assert json.loads((deployed.infra / "aws/google.auto.tfvars.json").read_text()) == {"bigquery": {"project": "p"}}


def test_the_image_is_named_by_its_digest_and_built_for_the_architecture(deployed: Deployed) -> None:
    calls = deployed.deploy()
    image = json.loads((deployed.infra / "aws/image.auto.tfvars.json").read_text())
    assert image == {"transform_image_uri": f"{REPOSITORY}@{DIGEST}"}
    builds = [call for call in calls if "docker buildx" in call]
    assert len(builds) == 1
    assert "--platform linux/arm64" in builds[0]
    assert "--build-arg=BIGQUERY_PROJECT=p" in builds[0]
    assert any("--region eu-central-1" in call for call in calls if call.startswith("aws ecr"))


def test_an_image_is_pushed_again_only_when_it_changed(deployed: Deployed) -> None:
    deployed.deploy()
    assert not [call for call in deployed.deploy() if call.startswith("docker")]
    (deployed.context / "Dockerfile").write_text("FROM scratch\nCOPY other .\n")
    assert [call for call in deployed.deploy() if "--push" in call]


def test_without_docker_all_but_the_image_is_deployed(deployed: Deployed) -> None:
    (deployed.commands / "docker").unlink()
    assert deployed.deploy()[-1] == "terraform -chdir=aws apply"
    assert not (deployed.infra / "aws/image.auto.tfvars.json").exists()


def test_missing_variables_stop_it_before_anything_is_made(deployed: Deployed) -> None:
    (deployed.infra / "aws/terraform.tfvars").unlink()
    done = deployed.run()
    assert done.returncode == 1
    assert "terraform.tfvars.example" in done.stderr
    assert "apply" not in deployed.calls.read_text()
