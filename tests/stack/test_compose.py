"""The Docker stack as far as it can be checked without a Docker daemon."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from testkit.flow import ROOT, free_ports, wait_until
from testkit.stack import COMPOSE, LOCALSTACK, PROMETHEUS, read_yaml

STACK = read_yaml(COMPOSE)
SERVICES: dict[str, dict[str, Any]] = STACK["services"]
IN_HOST_NETWORK = {name for name, service in SERVICES.items() if service.get("network_mode") == "host"}
SCRIPT = LOCALSTACK / "stack.sh"
each_service = pytest.mark.parametrize("service", SERVICES.values(), ids=SERVICES)


def test_it_keeps_to_the_compose_specification() -> None:
    done = subprocess.run(
        [Path(sys.executable).with_name("check-jsonschema"), "--builtin-schema", "vendor.compose-spec", COMPOSE],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout


def test_docker_compose_takes_it() -> None:
    docker = shutil.which("docker")
    if not docker or subprocess.run([docker, "compose", "version"], capture_output=True, check=False).returncode:
        pytest.skip("Docker's compose plugin is not installed")
    done = subprocess.run(
        [docker, "compose", "--file", COMPOSE, "--profile", "*", "config", "--quiet"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr


@each_service
def test_a_service_is_pinned_watched_and_bounded(service: dict[str, Any]) -> None:
    tag = service["image"].rpartition(":")[2]
    assert re.search(r"\d", tag), "an image without a version"
    assert "latest" not in service["image"]
    assert service["healthcheck"]["test"][0] == "CMD"
    assert service["restart"] == "unless-stopped"
    assert service["cpus"] > 0
    assert service["mem_limit"]
    assert service["logging"]["options"].keys() == {"max-size", "max-file"}


@each_service
def test_a_port_is_published_on_this_machine_only(service: dict[str, Any]) -> None:
    for port in service.get("ports", []):
        assert re.fullmatch(r"127\.0\.0\.1:(\d+):\1", port), port


@pytest.mark.parametrize("name", sorted(IN_HOST_NETWORK))
def test_a_service_in_the_hosts_network_listens_on_this_machine_only(name: str) -> None:
    listens = {
        "ministack": ("BIND_HOST", "127.0.0.1"),
        "localstack": ("GATEWAY_LISTEN", "127.0.0.1:4566"),
        "grafana": ("GF_SERVER_HTTP_ADDR", "127.0.0.1"),
        "minio": "--address 127.0.0.1:9000 --console-address 127.0.0.1:9001",
        "prometheus": "--web.listen-address=127.0.0.1:9090",
    }[name]
    service = SERVICES[name]
    if isinstance(listens, str):
        assert listens in " ".join(service["command"])
    else:
        assert service["environment"][listens[0]] == listens[1]
    assert "ports" not in service


def test_no_two_services_of_a_stack_have_the_same_port() -> None:
    ports = [port.split(":")[1] for service in SERVICES.values() for port in service.get("ports", [])]
    # Of those in the host's network the two emulators share one, and never run together.
    ports += ["4566", "3000", "9000", "9001", "9090"]
    assert len(ports) == len(set(ports))
    assert SERVICES["ministack"]["profiles"] == ["ministack"]
    assert SERVICES["localstack"]["profiles"] == ["localstack"]


@each_service
def test_what_is_mounted_is_there_and_what_is_kept_is_named(service: dict[str, Any]) -> None:
    for volume in service.get("volumes", []):
        source, target, *mode = volume.split(":")
        if source.startswith("."):
            assert (COMPOSE.parent / source).exists(), volume
            assert mode == ["ro"], volume
        elif source != "/var/run/docker.sock":
            assert source in STACK["volumes"], volume
        assert target.startswith("/")


def test_every_named_volume_is_used() -> None:
    used = {volume.split(":")[0] for service in SERVICES.values() for volume in service.get("volumes", [])}
    assert STACK["volumes"].keys() <= used


def test_the_endpoints_that_are_printed_and_tested_are_the_stacks() -> None:
    exported = dict(
        re.findall(r"(KAFKA_BOOTSTRAP_SERVERS|AWS_ENDPOINT_URL|BIGQUERY_ENDPOINT)=(\S+:\d+)\b", SCRIPT.read_text())
    )
    assert exported.keys() == {"KAFKA_BOOTSTRAP_SERVERS", "AWS_ENDPOINT_URL", "BIGQUERY_ENDPOINT"}
    kafka = SERVICES["kafka"]
    advertised = dict(one.split("://") for one in kafka["environment"]["KAFKA_ADVERTISED_LISTENERS"].split(","))
    assert exported["KAFKA_BOOTSTRAP_SERVERS"] == advertised["HOST"] == "127.0.0.1:9092"
    assert kafka["ports"] == ["127.0.0.1:9092:9092"]
    assert exported["BIGQUERY_ENDPOINT"] == "http://127.0.0.1:9050"
    assert SERVICES["bigquery"]["ports"] == ["127.0.0.1:9050:9050"]
    assert exported["AWS_ENDPOINT_URL"] == SERVICES["ministack"]["environment"]["AWS_ENDPOINT_URL"]
    assert exported["AWS_ENDPOINT_URL"].endswith(str(SERVICES["ministack"]["environment"]["GATEWAY_PORT"]))
    assert exported["AWS_ENDPOINT_URL"].endswith(SERVICES["localstack"]["environment"]["GATEWAY_LISTEN"])
    assert SERVICES["kafka-ui"]["environment"]["KAFKA_CLUSTERS_0_BOOTSTRAPSERVERS"] == advertised["STACK"]


def test_what_reads_local_reads_its_default_ports() -> None:
    base = re.search(r'value_name = "PORT", default_value_t = (\d+)', (ROOT / "local/src/base/options.rs").read_text())
    assert base
    metrics, dashboard = int(base[1]) + 5, int(base[1]) + 4
    scraped = read_yaml(PROMETHEUS / "prometheus.yml")["scrape_configs"][0]["static_configs"][0]["targets"]
    assert scraped == [f"127.0.0.1:{metrics}"]
    told = SERVICES["minio"]["environment"]["MINIO_NOTIFY_WEBHOOK_ENDPOINT_QUOTEFLOW"]
    assert told.startswith(f"http://127.0.0.1:{metrics}/")
    sources = read_yaml(ROOT / "dashboards/grafana/provisioning/datasources/datasources.yml")["datasources"]
    assert {source["url"] for source in sources} == {"http://127.0.0.1:9090", f"http://127.0.0.1:{dashboard}"}


def pins(lock: Path) -> dict[str, str]:
    return dict(re.findall(r"^([a-z0-9._-]+)(?:\[[^]]*\])?==(\S+)", lock.read_text(), re.M))


def test_the_image_has_the_versions_that_local_runs() -> None:
    image, all_of_them = pins(LOCALSTACK / "stand-ins.lock"), pins(ROOT / "setup/requirements.lock")
    assert {"ministack", "bqemulator", "duckdb", "duckdb-extension-spatial"} <= image.keys()
    assert image.items() <= all_of_them.items()
    dockerfile = (LOCALSTACK / "Dockerfile").read_text()
    assert re.search(r"^FROM python:3\.11\.\d+-slim-trixie$", dockerfile, re.M)
    for copied in re.findall(r"^COPY (\S+)", dockerfile, re.M):
        assert (LOCALSTACK / copied).exists(), copied
        assert f"!{copied}\n" in (LOCALSTACK / ".dockerignore").read_text()


@pytest.mark.parametrize(("name", "port"), [("ministack", "4566"), ("bigquery", "9050")])
def test_a_stand_ins_command_starts_what_its_health_check_finds_healthy(name: str, port: str, tmp_path: Path) -> None:
    """The image's commands with this machine's Python, on another port and in another folder."""
    service = SERVICES[name]
    (free,) = free_ports(1)

    def here(text: Any) -> str:
        moved = str(text).replace("/data", str(tmp_path)).replace("0.0.0.0", "127.0.0.1")  # noqa: S104 - a container's
        return sys.executable if moved == "python" else moved.replace(port, str(free))

    variables = {variable: here(value) for variable, value in service["environment"].items()}
    variables |= {"HOME": str(tmp_path), "PATH": os.environ["PATH"]}
    subprocess.run(
        [sys.executable, LOCALSTACK / "import_duckdb_extension.py", tmp_path], check=True, timeout=120, env=variables
    )
    check = [here(part) for part in service["healthcheck"]["test"][1:]]

    def is_healthy() -> bool:
        return subprocess.run(check, capture_output=True, timeout=30, check=False).returncode == 0

    assert not is_healthy()
    with (tmp_path / "log").open("w") as log:
        process = subprocess.Popen(
            [here(part) for part in service["command"]],
            cwd=tmp_path,
            env=variables,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    try:
        wait_until(lambda: is_healthy() or process.poll() is not None, f"health of {name}")
        assert process.poll() is None, (tmp_path / "log").read_text()
    finally:
        process.terminate()
        process.wait(30)


@pytest.mark.parametrize("verb", ["up", "down", "test"])
def test_without_a_docker_daemon_it_says_so(verb: str) -> None:
    if not shutil.which("docker"):
        pytest.skip("docker is not installed")
    done = subprocess.run(
        ["/bin/bash", SCRIPT, verb],
        capture_output=True,
        text=True,
        timeout=60,
        env={"PATH": os.environ["PATH"], "DOCKER_HOST": "unix:///nowhere/docker.sock"},
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.startswith("error: no Docker daemon is reachable")
    assert "make local" in done.stderr
