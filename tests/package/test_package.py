"""What `make package` built: `make test-package` runs it first."""

import importlib.util
import json
import os
import platform
import re
import socket
import ssl
import subprocess
import threading
import zipfile
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID

ROOT = Path(__file__).resolve().parents[2]

spec = importlib.util.spec_from_file_location("package", ROOT / "packaging/package.py")
package = importlib.util.module_from_spec(spec)
spec.loader.exec_module(package)

ZIPS = sorted((ROOT / "target/package").glob("*/*.zip"))
NATIVE = {"x86_64": "x86_64", "aarch64": "arm64"}.get(platform.machine(), "none")
AMAZON_LINUX_2023_GLIBC = (2, 34)
FEDERATED = (
    '{"type":"external_account","audience":"a","subject_token_type":"urn:ietf:params:aws:token-type:aws4_request",'
    '"token_url":"http://127.0.0.1:1","credential_source":{"environment_id":"aws1"}}'
)
GOOGLE = {"BIGQUERY_PROJECT": "project", "GOOGLE_CREDENTIALS_JSON": FEDERATED}
KAFKA = {"FINNHUB_API_KEY": "marked", "KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1"}
ENVIRONMENTS = {
    "archive-quotes": {"BRONZE_BUCKET": "bronze", "QUARANTINE_BUCKET": "quarantine"},
    "fetch-quotes": {**KAFKA, "KAFKA_SECURITY": "msk_iam"},
    "load-quotes": GOOGLE,
    "reconcile-quotes": {**GOOGLE, "BRONZE_BUCKET": "bronze", "ARCHIVED_QUEUE_URL": "https://sqs/1/q"},
    "serve-dashboard": GOOGLE,
}
"""What each function needs to start in the cloud. None is asked for a connection by then."""


def name_of(path: Path) -> str:
    return f"{path.parent.name}/{path.stem}"


@pytest.fixture
def bootstrap(tmp_path):
    """Unpack a zip as Lambda does."""

    def unpack(path: Path) -> Path:
        folder = tmp_path / path.stem
        folder.mkdir()
        executable = folder / "bootstrap"
        with zipfile.ZipFile(path) as archive:
            executable.write_bytes(archive.read("bootstrap"))
        executable.chmod(0o755)
        return executable

    return unpack


def test_every_function_is_packaged():
    assert {path.stem for path in ZIPS if path.parent.name == NATIVE} == set(package.functions())


@pytest.mark.parametrize("path", ZIPS, ids=name_of)
def test_a_zip_holds_one_executable_and_is_small(path):
    with zipfile.ZipFile(path) as archive:
        [entry] = archive.infolist()
        assert archive.testzip() is None
    assert entry.filename == "bootstrap"
    assert entry.external_attr >> 16 == 0o100755
    assert path.stat().st_size <= package.LIMIT_MB * package.MB


@pytest.mark.parametrize("path", ZIPS, ids=name_of)
def test_the_same_executable_gives_the_same_zip_whenever_it_is_packed(path, bootstrap, tmp_path):
    executable = bootstrap(path)
    for seconds in (0, 1_700_000_000):
        os.utime(executable, (seconds, seconds))
        again = tmp_path / f"{seconds}.zip"
        package.write_zip(executable, again)
        assert again.read_bytes() == path.read_bytes()


@pytest.mark.parametrize("path", ZIPS, ids=name_of)
def test_an_executable_asks_for_no_newer_glibc_than_lambdas(path, bootstrap):
    command = ["objdump", "--dynamic-syms", bootstrap(path)]
    symbols = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    versions = {tuple(map(int, found.split("."))) for found in re.findall(r"GLIBC_([0-9.]+)", symbols)}
    assert versions
    assert max(versions) <= AMAZON_LINUX_2023_GLIBC


@pytest.mark.parametrize("name", package.functions())
def test_a_packaged_function_starts(name, bootstrap, runtime_api):
    executable = bootstrap(ROOT / f"target/package/{NATIVE}/{name}.zip")
    starts = [runtime_api.start(executable, ENVIRONMENTS[name]) for _ in range(5)]
    for start in starts:
        assert start.ready, start.log
        assert start.log == []
    milliseconds = sorted(start.milliseconds for start in starts)
    print(f"\n{name}: ready after {milliseconds[2]:.1f} ms (median of 5), {starts[0].resident_mb:.1f} MB resident")


def p256() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def rsa_2048() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def unknown_certificate(folder: Path, key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | None = None) -> Path:
    """Make a certificate for localhost that nobody vouches for; return the file with it and its key."""
    key = key or p256()
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem, pkcs8 = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    file = folder / "certificate.pem"
    file.write_bytes(key.private_bytes(pem, pkcs8, serialization.NoEncryption()) + certificate.public_bytes(pem))
    return file


@pytest.mark.parametrize("security", ["tls", "msk_iam", "sasl_scram"])
def test_packaged_fetch_quotes_speaks_tls_and_refuses_a_broker_that_no_authority_knows(
    security, bootstrap, runtime_api, tmp_path
):
    certificate = unknown_certificate(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    refusals = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                with connection:
                    try:
                        context.wrap_socket(connection, server_side=True)
                    except ssl.SSLError as error:
                        refusals.append(error.reason)
                    except OSError:
                        pass

        threading.Thread(target=serve, daemon=True).start()
        environment = {
            **KAFKA,
            "KAFKA_BOOTSTRAP_SERVERS": f"localhost:{server.getsockname()[1]}",
            "KAFKA_SECURITY": security,
            "KAFKA_SASL": '{"username": "quotes", "password": "marked"}',
            # The topic is requested before the first event.
            "KAFKA_TOPIC_PARTITIONS": "3",
        }
        executable = bootstrap(ROOT / f"target/package/{NATIVE}/fetch-quotes.zip")
        # The topic that was not created, and the producer that is not ready.
        start = runtime_api.start(executable, environment, lines=2)
        server.shutdown(socket.SHUT_RDWR)
    assert start.ready
    assert len(start.log) == 2
    for line in start.log:
        assert line["level"] == "WARN"
        assert "certificate verify failed" in line["message"]
        assert "marked" not in line["message"]
    assert "TLSV1_ALERT_UNKNOWN_CA" in refusals


@pytest.mark.parametrize(
    ("key", "ciphers", "cipher"),
    [
        (rsa_2048, None, "TLS_AES_256_GCM_SHA384"),
        (p256, None, "TLS_AES_256_GCM_SHA384"),
        (rsa_2048, "ECDHE-RSA-AES128-GCM-SHA256", "ECDHE-RSA-AES128-GCM-SHA256"),
        (rsa_2048, "ECDHE-RSA-AES256-GCM-SHA384", "ECDHE-RSA-AES256-GCM-SHA384"),
        (rsa_2048, "ECDHE-RSA-CHACHA20-POLY1305", "ECDHE-RSA-CHACHA20-POLY1305"),
        (rsa_2048, "ECDHE-RSA-AES256-SHA384", "ECDHE-RSA-AES256-SHA384"),
        (rsa_2048, "AES128-GCM-SHA256", "AES128-GCM-SHA256"),
        (p256, "ECDHE-ECDSA-AES128-GCM-SHA256", "ECDHE-ECDSA-AES128-GCM-SHA256"),
        (p256, "ECDHE-ECDSA-AES256-GCM-SHA384", "ECDHE-ECDSA-AES256-GCM-SHA384"),
    ],
    ids=lambda value: getattr(value, "__name__", str(value)),
)
def test_packaged_fetch_quotes_shakes_hands_with_what_brokers_offer(
    key, ciphers, cipher, bootstrap, runtime_api, tmp_path
):
    """`ciphers` are those of TLS 1.2; without them the server speaks TLS 1.3 alone."""
    certificate = unknown_certificate(tmp_path, key())
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    context.minimum_version = ssl.TLSVersion.TLSv1_2 if ciphers else ssl.TLSVersion.TLSv1_3
    if ciphers:
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        context.set_ciphers(ciphers)
    agreed = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                with connection, suppress(OSError):
                    agreed.append(context.wrap_socket(connection, server_side=True).cipher()[0])

        threading.Thread(target=serve, daemon=True).start()
        pem = certificate.read_text()
        environment = {
            **KAFKA,
            "KAFKA_BOOTSTRAP_SERVERS": f"localhost:{server.getsockname()[1]}",
            "KAFKA_SECURITY": "tls",
            "KAFKA_CA": json.dumps({"certificate": pem[pem.index("-----BEGIN CERTIFICATE") :]}),
        }
        executable = bootstrap(ROOT / f"target/package/{NATIVE}/fetch-quotes.zip")
        # The server is not a broker, and the function says so when it has tried.
        start = runtime_api.start(executable, environment, lines=1)
        server.shutdown(socket.SHUT_RDWR)
    assert start.ready
    assert set(agreed) == {cipher}, start.log


def test_the_images_context_holds_what_the_dockerfile_copies_and_no_more():
    context = ROOT / "target/package/transform-quotes"
    copied = [package.IMAGE, *package.copied_into_the_image()]
    assert len(copied) > 3
    for name in copied:
        source = ROOT / name
        files = [source] if source.is_file() else [path for path in source.rglob("*") if path.is_file()]
        for path in files:
            if "__pycache__" not in path.parts:
                assert (context / path.relative_to(ROOT)).read_bytes() == path.read_bytes()
    for path in context.rglob("*"):
        assert any(str(path.relative_to(context)).startswith(name) for name in copied) or path.is_dir()
        assert path.name not in {"__pycache__", ".env"}
