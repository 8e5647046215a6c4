"""The locks: what they name, for which platforms, and that nothing published later changes what they install."""

import re
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from hashlib import sha256
from itertools import product
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
UV = Path(sys.executable).parent / "uv"
INSTALLER_LOCK = ROOT / "setup" / "installer.lock"
PYTHON_SH = ROOT / "setup" / "python.sh"
LOCKS = sorted(path for pattern in ("[a-z]*/*.lock", "functions/*/*.lock") for path in ROOT.glob(pattern))
# What Debian 12 brings with its Python 3.11.
OLDEST_PIP = "23.0.1"
PLATFORMS = ("x86_64-manylinux_2_28", "aarch64-manylinux_2_28", "aarch64-apple-darwin")
PYTHONS = ("3.11", "3.12", "3.13", "3.14")
PIN = re.compile(r"(?P<name>[a-z0-9][a-z0-9.-]*)==(?P<version>[^\s;]+)(?: ; (?P<marker>\S.*))?")
HASH = re.compile(r"--hash=sha256:[0-9a-f]{64}")

every_lock = pytest.mark.parametrize("lock", LOCKS, ids=[str(lock.relative_to(ROOT)) for lock in LOCKS])


def entries(text: str) -> list[str]:
    """A lock's requirements, each with its hashes on one line."""
    lines = (line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#"))
    return "\n".join(lines).replace("\\\n", " ").splitlines()


def faults(text: str) -> list[str]:
    """The lines that are not a pin with hashes: a name, a version and at most a marker."""
    found = []
    for entry in entries(text):
        pin, *hashes = re.split(r"\s+(?=--)", entry.strip())
        if not PIN.fullmatch(pin) or not hashes or not all(HASH.fullmatch(each) for each in hashes):
            found.append(pin)
    return found


def pins(text: str) -> set[tuple[str, str]]:
    """Each name and version of a lock, whatever the platform."""
    matches = (PIN.match(entry) for entry in entries(text))
    return {(match["name"], match["version"]) for match in matches if match}


def run(*command: str | Path, **options: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, check=False, **options)


def install(venv: Path, lock: Path) -> subprocess.CompletedProcess[str]:
    return run("bash", PYTHON_SH, venv, lock, sys.executable)


def compile_lock(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return run(UV, "pip", "compile", "--quiet", "--only-binary", ":all:", "--python", sys.executable, *arguments)


@pytest.fixture(scope="session")
def index() -> None:
    """The package index, which a machine without a network does not reach."""
    answer = compile_lock("--no-deps", "--refresh", INSTALLER_LOCK.with_suffix(".in"))
    if answer.returncode != 0:
        pytest.skip(f"uv cannot ask the package index: {answer.stderr.strip()}")


def test_all_locks_are_looked_at() -> None:
    tracked = run("git", "-C", ROOT, "ls-files", "*.lock").stdout.split()
    if not tracked:
        pytest.skip("not a git clone")
    assert {str(lock.relative_to(ROOT)) for lock in LOCKS} == set(tracked) - {"Cargo.lock"}


@every_lock
def test_each_line_is_a_pin_with_hashes_and_without_extras(lock: Path) -> None:
    assert faults(lock.read_text()) == []
    assert len(pins(lock.read_text())) > 0


@pytest.mark.parametrize(
    "line",
    [
        "google-auth[pyopenssl, requests]==2.62.2 --hash=sha256:" + "0" * 64,
        "google-auth>=2.29.0 --hash=sha256:" + "0" * 64,
        "google-auth==2.62.2",
        "google-auth==2.62.2 --hash=md5:" + "0" * 32,
        "google-auth @ https://example.invalid/google_auth-2.62.2-py3-none-any.whl",
        "-r other.lock",
        "--extra-index-url https://example.invalid/simple",
    ],
)
def test_a_line_that_a_later_release_could_change_is_found(line: str) -> None:
    assert faults(f"agate==1.9.1 --hash=sha256:{'1' * 64}\n{line}\n") != []


@every_lock
def test_a_lock_has_all_that_its_packages_ask_for(lock: Path, index: None, tmp_path: Path) -> None:
    """On every platform, extras and markers included. `pip check` sees this platform alone, and no extras."""
    options = ["--universal", "--python-version", "3.11", "--constraint", lock]
    asked = compile_lock(*options, "--no-header", "--no-annotate", lock.with_suffix(".in"))
    assert asked.returncode == 0, asked.stderr
    needed = {match["name"]: match["version"] for match in map(PIN.match, entries(asked.stdout)) if match}
    locked = {name for name, _ in pins(lock.read_text())}
    assert set(needed) == locked


@every_lock
def test_each_line_has_a_wheel_for_each_platform_and_python(lock: Path, index: None) -> None:
    def refusal(target: tuple[str, str]) -> str | None:
        platform, python = target
        answer = compile_lock("--no-deps", "--python-platform", platform, "--python-version", python, lock)
        return None if answer.returncode == 0 else f"{platform}, Python {python}: {answer.stderr.strip()}"

    with ThreadPoolExecutor(4) as pool:
        refusals = [found for found in pool.map(refusal, product(PLATFORMS, PYTHONS)) if found]
    assert refusals == []


def test_the_installed_packages_agree() -> None:
    answer = run(UV, "pip", "check", "--python", sys.executable)
    assert answer.returncode == 0, answer.stderr


@pytest.mark.parametrize(
    ("tool", "needs"),
    [
        (r"(?:pip|uv pip|install)\S* install\b", ("--no-deps", "--require-hashes", "--only-binary :all:")),
        (r"cargo (?:build|test|clippy|run|check|nextest run|lambda build)\b", ("--locked",)),
        (r"(?:npm|NPM\)) (?:ci|install|i|add|update|exec)\b", (" ci ",)),
    ],
)
def test_each_install_takes_the_lock_as_it_stands(tool: str, needs: tuple[str, ...]) -> None:
    files = [ROOT / "Makefile", *ROOT.glob(".github/workflows/*"), *ROOT.glob(".ci/*"), *ROOT.glob("packaging/*.py")]
    for folder in ("functions", "infra", "localstack", "setup"):
        files += [*(ROOT / folder).rglob("*.sh"), *(ROOT / folder).rglob("Dockerfile")]
    lines = [(file, line) for file in files for line in commands(file) if re.search(tool, line)]
    # The canary's old pip.
    lines = [(file, line) for file, line in lines if '"pip==' not in line]
    assert lines, "the pattern finds no command: it is out of date"
    wrong = [f"{file.relative_to(ROOT)}: {line.strip()}" for file, line in lines if not all(n in line for n in needs)]
    assert wrong == []


def commands(file: Path) -> list[str]:
    """The file's lines without comments and messages; arguments from a variable or a list are filled in."""
    text = file.read_text().replace("\\\n", " ").replace('", "', " ")
    for name, value in re.findall(r"^(\w+)=\((.*)\)$", text, re.MULTILINE):
        text = text.replace(f'"${{{name}[@]}}"', value)
    return [line for line in text.splitlines() if not re.match(r"\s*(#|echo|@echo)", line) and "echo " not in line]


def test_npm_runs_no_install_scripts() -> None:
    """They could download what no lock names."""
    settings = (ROOT / "dashboards" / "web" / ".npmrc").read_text().splitlines()
    assert "ignore-scripts=true" in settings


@dataclass
class Shelf:
    """A folder of wheels that replaces a package index, and a lock of it."""

    folder: Path
    lock: Path

    def publish(self, name: str, version: str, requires: str = "") -> str:
        """Add a wheel; returns its hash."""
        wheel = self.folder / f"{name}-{version}-py3-none-any.whl"
        info = f"{name}-{version}.dist-info"
        metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\nProvides-Extra: more\n{requires}"
        with zipfile.ZipFile(wheel, "w") as archive:
            archive.writestr(f"{name}.py", f"VERSION = {version!r}\n")
            archive.writestr(f"{info}/METADATA", metadata)
            archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
            archive.writestr(f"{info}/RECORD", "")
        return sha256(wheel.read_bytes()).hexdigest()


@pytest.fixture
def shelf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shelf:
    """The failure of November 2026 in small: an adapter asks for a package, and later releases of both are out."""
    folder = tmp_path / "shelf"
    folder.mkdir()
    for installer in ("PIP", "UV"):
        monkeypatch.setenv(f"{installer}_FIND_LINKS", str(folder))
        monkeypatch.setenv(f"{installer}_NO_INDEX", "1")
    shelf = Shelf(folder, tmp_path / "requirements.lock")
    adapter = shelf.publish("q_adapter", "1.0", "Requires-Dist: q-auth>=2\n")
    auth = shelf.publish("q_auth", "2.0")
    shelf.lock.write_text(f"q-adapter==1.0 --hash=sha256:{adapter}\nq-auth==2.0 --hash=sha256:{auth}\n")
    shelf.publish("q_adapter", "1.1", "Requires-Dist: q-auth>=3\n")
    shelf.publish("q_auth", "3.0", "Requires-Dist: not-published\n")
    return shelf


@pytest.fixture(scope="session")
def environment(index: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A virtual environment with the oldest pip, which has installed uv."""
    venv = tmp_path_factory.mktemp("oldest") / "venv"
    subprocess.run([sys.executable, "-m", "venv", venv], check=True)
    subprocess.run([venv / "bin" / "pip", "install", "--quiet", f"pip=={OLDEST_PIP}"], check=True)
    answer = install(venv, INSTALLER_LOCK)
    assert answer.returncode == 0, answer.stderr
    return venv


@pytest.fixture
def oldest_pip(environment: Path) -> Iterator[Path]:
    """The environment, without the shelf's packages."""
    yield environment
    pip = [environment / "bin" / "pip", "uninstall", "--quiet", "--yes", "q-adapter", "q-auth"]
    subprocess.run(pip, check=True, capture_output=True)


@pytest.mark.parametrize("installer", ["uv", "pip"])
def test_the_oldest_pip_installs_a_lock_whatever_was_published_since(
    installer: str, shelf: Shelf, oldest_pip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if installer == "pip":
        monkeypatch.setenv("UV_PYTHON_DOWNLOADS", "a value that uv refuses")
    answer = install(oldest_pip, shelf.lock)
    assert answer.returncode == 0, answer.stderr
    assert ("trying pip" in answer.stderr) == (installer == "pip")
    program = "import q_adapter, q_auth; print(q_adapter.VERSION, q_auth.VERSION)"
    assert run(oldest_pip / "bin" / "python", "-c", program).stdout.split() == ["1.0", "2.0"]


def test_a_resolver_of_the_oldest_pip_refuses_a_line_with_extras(shelf: Shelf, oldest_pip: Path) -> None:
    """What ended the installation, so that the test above shows what it says."""
    shelf.lock.write_text(shelf.lock.read_text().replace("q-auth==", "q-auth[more]=="))
    answer = run(oldest_pip / "bin" / "pip", "install", "--dry-run", "--require-hashes", "-r", shelf.lock)
    assert answer.returncode != 0
    assert "In --require-hashes mode, all requirements must have their versions pinned" in answer.stderr


def test_a_file_that_is_not_the_locked_one_is_refused(shelf: Shelf, oldest_pip: Path) -> None:
    shelf.publish("q_auth", "2.0", "Requires-Dist: something-else\n")
    answer = install(oldest_pip, shelf.lock)
    assert answer.returncode != 0
    assert "q-auth==2.0" in answer.stderr
    assert run(oldest_pip / "bin" / "python", "-c", "import q_auth").returncode != 0
