"""Builds a zip for each Rust function and architecture of Lambda, and the context of transform-quotes' image.

    target/package/{x86_64,arm64}/{function}.zip    bootstrap, for the runtime provided.al2023
    target/package/transform-quotes/                docker build -f functions/transform-quotes/Dockerfile <this folder>

The same sources, toolchain and folder give the same bytes: entries have a fixed time, mode and order.
"""

import argparse
import os
import platform
import shlex
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from unittest.mock import patch

ROOT = Path(__file__).resolve().parent.parent
TARGET = ROOT / "target"
PACKAGES = TARGET / "package"
IMAGE = "functions/transform-quotes/Dockerfile"
TRIPLES = {"x86_64": "x86_64-unknown-linux-gnu", "arm64": "aarch64-unknown-linux-gnu"}
"""Rust's target triple for each architecture of Lambda."""
FEATURES = ["fetch-quotes/tls"]
EXAMPLES = PACKAGES / ".examples"
OTEL_FEATURES = ["archive-quotes/otel", "fetch-quotes/otel", "load-quotes/otel"]
"""With these features, every function exports its spans. Cargo applies a feature to all packages."""
LIMIT_MB = 4
"""The limit of each zip's size without `--otel`: a cold start begins with its download."""
MB = 1_000_000


def functions() -> list[str]:
    """List the functions that are written in Rust."""
    return sorted(manifest.parent.name for manifest in (ROOT / "functions").glob("*/Cargo.toml"))


def native() -> str:
    """Return Lambda's name for this machine's architecture."""
    return "arm64" if platform.machine() in ("aarch64", "arm64") else "x86_64"


def installed_triples() -> set[str]:
    """List the targets whose standard library is installed; without rustup, only the machine's own target."""
    if shutil.which("rustup"):
        command = ["rustup", "target", "list", "--installed"]
        return set(subprocess.run(command, check=True, capture_output=True, text=True).stdout.split())  # noqa: S603
    command = [shutil.which("rustc") or "rustc", "--version", "--verbose"]
    told = subprocess.run(command, check=True, capture_output=True, text=True).stdout  # noqa: S603
    return {line.removeprefix("host: ") for line in told.splitlines() if line.startswith("host: ")}


def environment() -> dict[str, str]:
    """Return the environment in which the packages are compiled."""
    # librdkafka's cmake build includes this header even where curl is off; an empty one is enough.
    headers = PACKAGES / ".include"
    (headers / "curl").mkdir(parents=True, exist_ok=True)
    (headers / "curl/curl.h").touch()
    return {
        **os.environ,
        "CARGO_TARGET_DIR": str(TARGET),
        # They replace those of .cargo/config.toml. Nothing unwinds through C, and its tables would be 0.1 MB of a zip.
        "CFLAGS": "-fno-unwind-tables -fno-asynchronous-unwind-tables",
        "CPATH": str(headers),
        "CMAKE": str(ROOT / "packaging/cmake.sh"),
        "OPENSSL_SRC_PERL": str(ROOT / "packaging/openssl-perl.sh"),
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
    }


def run(command: list[str]) -> None:
    """Print a command and run it. If it fails, this program ends with its exit code."""
    print("$", shlex.join(command), flush=True)
    if (code := subprocess.run(command, cwd=ROOT, env=environment()).returncode) != 0:  # noqa: S603
        sys.exit(code)


def build(arch: str, names: list[str], features: list[str]) -> dict[str, Path]:
    """Compile these functions for `arch` with `features`; return the executables by function."""
    out = PACKAGES / ".bin" / arch
    run(command(arch, names, features, out))
    return {name: out / name / "bootstrap" for name in names}


def command(arch: str, packages: list[str], features: list[str], out: Path) -> list[str]:
    """Return the command that compiles `packages` for `arch`, with those of `features` that are theirs, into `out`."""
    arguments = ["cargo", "lambda", "build", "--release", "--locked", "--target", TRIPLES[arch]]
    # Its own optimizations abort on a panic: the process would end without a report to Lambda. Cargo.toml has ours.
    arguments += ["--disable-optimizations"]
    arguments += [argument for name in packages for argument in ("--package", name)]
    features = [feature for feature in features if feature.partition("/")[0] in packages]
    return [*arguments, "--features", ",".join(features), "--lambda-dir", str(out)]


def build_examples(names: list[str]) -> None:
    """Compile examples for this machine exactly as the functions are compiled, for `make bench`."""
    arch = native()
    features = [*FEATURES, "function-kit/s3"]
    examples = [argument for name in names for argument in ("--example", name)]
    out = PACKAGES / ".bin" / "examples"
    run([*command(arch, [*functions(), "function-kit"], features, out), *examples])
    EXAMPLES.mkdir(parents=True, exist_ok=True)
    for name in names:
        shutil.copy(out / name / "bootstrap", EXAMPLES / name)


def write_zip(executable: Path, package: Path) -> None:
    """Write a zip with `executable` as `bootstrap`, whose bytes depend on the executable's alone.

    zipfile's own deflate takes 3 % more; libdeflate's highest level takes no longer.
    """
    package.parent.mkdir(parents=True, exist_ok=True)
    content = executable.read_bytes()
    entry = zipfile.ZipInfo("bootstrap", date_time=(1980, 1, 1, 0, 0, 0))
    entry.create_system = 3  # Unix: only then is the mode read
    entry.external_attr = 0o100755 << 16
    entry.compress_type = zipfile.ZIP_DEFLATED
    with (
        patch.object(zipfile, "_get_compressor", lambda *_: Libdeflate()),
        zipfile.ZipFile(package, "w") as archive,
    ):
        archive.writestr(entry, content)


class Libdeflate:
    """A compressor with the interface that zipfile expects. zipfile has no hook for another one."""

    def __init__(self) -> None:
        self.content = bytearray()

    def compress(self, content: bytes) -> bytes:
        """Collect the content, because libdeflate compresses it in one piece."""
        self.content += content
        return b""

    def flush(self) -> bytes:
        """Return the compressed content."""
        import deflate  # of packaging/requirements.lock: other tools import this file without it

        return bytes(deflate.deflate_compress(bytes(self.content), 12))


def copied_into_the_image() -> list[str]:
    """List the paths that the Dockerfile copies, relative to the repository's root."""
    lines = (ROOT / IMAGE).read_text().splitlines()
    return [source for line in lines if line.startswith("COPY ") for source in line.split()[1:-1]]


def write_image_context(context: Path) -> int:
    """Copy only the Dockerfile and the paths that it copies; return the size in bytes."""
    shutil.rmtree(context, ignore_errors=True)
    for name in [IMAGE, *copied_into_the_image()]:
        source, copy = ROOT / name, context / name
        copy.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, copy, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, copy)
    return sum(file.stat().st_size for file in context.rglob("*") if file.is_file())


def main() -> None:
    """Build everything and print the sizes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--arch", choices=TRIPLES, action="append", help="only this (default: all that can be built)")
    parser.add_argument("--native", action="store_const", const=[native()], dest="arch", help="only this machine's")
    parser.add_argument("--function", choices=functions(), action="append", help="only this one's zip (default: all)")
    parser.add_argument(
        "--otel", action="store_true", help="let the functions export spans by OTLP; zips have no limit then"
    )
    parser.add_argument("--example", action="append", help="compile this example instead, for this machine")
    options = parser.parse_args()
    if options.example:
        build_examples(options.example)
        return
    wanted = options.arch
    names = options.function or functions()
    features = FEATURES + (OTEL_FEATURES if options.otel else [])
    installed = installed_triples()
    for arch, triple in TRIPLES.items():
        if triple not in installed and (wanted is None or arch in wanted):
            word = f"{arch} is not built: its target is not installed (rustup target add {triple})"
            if wanted:
                sys.exit(f"error: {word}")
            print(word)

    sizes: list[tuple[str, int, int | None]] = []
    for arch, triple in TRIPLES.items():
        if triple not in installed or (wanted and arch not in wanted):
            continue
        for name, executable in build(arch, names, features).items():
            package = PACKAGES / arch / f"{name}.zip"
            write_zip(executable, package)
            sizes.append((str(package.relative_to(ROOT)), package.stat().st_size, executable.stat().st_size))
    if not options.function:
        context = PACKAGES / "transform-quotes"
        sizes.append((str(context.relative_to(ROOT)), write_image_context(context), None))

    width = max(len(path) for path, _, _ in sizes)
    print(f"\n{'package':{width}}  {'MB':>6}  {'unpacked':>8}")
    for path, size, unpacked in sizes:
        print(f"{path:{width}}  {size / MB:6.2f}  {f'{unpacked / MB:.2f}' if unpacked else '':>8}")
    large = [path for path, size, unpacked in sizes if unpacked and size > LIMIT_MB * MB]
    if large and not options.otel:
        sys.exit(f"error: above {LIMIT_MB} MB: {', '.join(large)}")


if __name__ == "__main__":
    main()
