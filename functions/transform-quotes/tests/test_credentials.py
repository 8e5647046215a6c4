"""The sources of Google's credentials, and the file that they are written to."""

import base64
import json
import stat
import threading
import traceback
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from aws_lambda_powertools.utilities.parameters.base import DEFAULT_PROVIDERS
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from testkit.dbt import ROOT
from transform_quotes import credentials
from transform_quotes.config import Config, ConfigError

FEDERATION = {
    "type": "external_account",
    "audience": "//iam.googleapis.com/marked",
    "subject_token_type": "urn:ietf:params:aws:token-type:aws4_request",
    "token_url": "https://sts.googleapis.com/v1/token",
}
BY_NAME = "GOOGLE_CREDENTIALS_SECRET"


def pem(key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey, form: str = "PKCS8") -> str:
    form = getattr(serialization.PrivateFormat, form)
    return key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption()).decode()


# Created for each run, because no key is kept in the repository.
RSA = rsa.generate_private_key(65537, 2048)
PEM = pem(RSA)
KEY = {
    "type": "service_account",
    "client_email": "a@p.iam.gserviceaccount.com",
    "private_key": PEM,
    "token_uri": "https://oauth2.googleapis.com/token",
}


class Secrets(BaseHTTPRequestHandler):
    """The part of Secrets Manager's API that reads a secret."""

    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        assert self.headers["X-Amz-Target"] == "secretsmanager.GetSecretValue"
        known = self.server.secrets.get(asked["SecretId"])
        answer = {"SecretString": known} if known else {"__type": "ResourceNotFoundException"}
        body = json.dumps(answer).encode()
        self.send_response(200 if known else 400)
        self.send_header("Content-Type", "application/x-amz-json-1.1")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@pytest.fixture
def secrets(monkeypatch) -> Iterator[dict[str, str]]:
    """Secrets Manager's secrets, by their names."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Secrets)
    server.secrets = {}
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    monkeypatch.setenv("AWS_ENDPOINT_URL_SECRETS_MANAGER", f"http://127.0.0.1:{server.server_address[1]}")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    # A kept client would call the previous test's server.
    DEFAULT_PROVIDERS.clear()
    yield server.secrets
    server.shutdown()
    server.server_close()
    thread.join()


def config(tmp_path, **variables: str) -> Config:
    return Config.from_env({
        "DBT_PROJECT_DIR": str(ROOT / "dbt_stocks"),
        "DBT_TARGET_PATH": str(tmp_path / "target"),
        "DBT_LOG_PATH": str(tmp_path / "logs"),
        "BIGQUERY_PROJECT": "my-project-1",
        **variables,
    })  # fmt: skip


def provided(config: Config) -> dict:
    """The credentials that Google's library would read. Only this user may read the file."""
    env: dict[str, str] = {}
    credentials.provide(config, env)
    path = Path(env["GOOGLE_APPLICATION_CREDENTIALS"])
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    return json.loads(path.read_text())


def test_federation_is_written_to_a_file_that_only_this_user_reads(tmp_path):
    assert provided(config(tmp_path, GOOGLE_CREDENTIALS_JSON=json.dumps(FEDERATION))) == FEDERATION


def test_a_key_comes_from_its_secret(tmp_path, secrets):
    secrets["quoteflow/a-key"] = json.dumps(KEY)

    assert provided(config(tmp_path, **{BY_NAME: "quoteflow/a-key"})) == KEY


def test_a_file_stays_where_it_is(tmp_path):
    env = {"GOOGLE_APPLICATION_CREDENTIALS": "key.json"}

    credentials.provide(config(tmp_path, **env), env)

    assert env == {"GOOGLE_APPLICATION_CREDENTIALS": "key.json"}


def test_a_stand_in_gets_no_credentials(tmp_path):
    env: dict[str, str] = {}
    variables = {"BIGQUERY_ENDPOINT": "http://127.0.0.1:1", "GOOGLE_CREDENTIALS_JSON": json.dumps(FEDERATION)}

    credentials.provide(config(tmp_path, **variables), env)

    assert env == {}


def test_a_secret_that_is_not_there_is_named(tmp_path, secrets):
    with pytest.raises(ConfigError, match="'quoteflow/missing' cannot be read"):
        provided(config(tmp_path, **{BY_NAME: "quoteflow/missing"}))


@pytest.mark.parametrize("breaks", ["\\n", "\\\\n", "\r\n", "\\r\\n", " ", "", "\n    "])
def test_a_key_is_read_whatever_a_tool_made_of_its_line_breaks(tmp_path, secrets, breaks):
    secrets["a-key"] = json.dumps(KEY | {"private_key": PEM.replace("\n", breaks)})

    assert provided(config(tmp_path, **{BY_NAME: "a-key"})) == KEY


def test_a_key_is_read_in_base64(tmp_path, secrets):
    secrets["a-key"] = base64.encodebytes(json.dumps(KEY).encode()).decode()

    assert provided(config(tmp_path, **{BY_NAME: "a-key"})) == KEY


@pytest.mark.parametrize(
    "key",
    [
        PEM[:800],
        "".join(PEM.splitlines()[1:-1]),
        PEM.replace("\n", "?"),
        pem(RSA, "TraditionalOpenSSL"),
        pem(ec.generate_private_key(ec.SECP256R1())),
    ],
    ids=["cut off", "no BEGIN line", "not base64", "PKCS#1", "EC"],
)
def test_a_key_that_cannot_be_used_is_refused_with_its_field_and_not_quoted(tmp_path, secrets, key):
    secrets["a-key"] = json.dumps(KEY | {"private_key": key})

    with pytest.raises(ConfigError, match=f"{BY_NAME}: the field private_key cannot be used") as raised:
        provided(config(tmp_path, **{BY_NAME: "a-key"}))

    told = "".join(traceback.format_exception(raised.value))
    secret = "".join(line for line in key.splitlines() if not line.startswith("-"))
    assert not any(secret[start : start + 8] in told for start in range(len(secret) - 8))


@pytest.mark.parametrize(
    "text",
    [
        json.dumps(KEY),
        "marked, no JSON",
        '["marked"]',
        '{"type":"marked"}',
        '{"type":"authorized_user","refresh_token":"marked"}',
    ],
)
def test_a_key_or_nonsense_in_the_variable_is_refused_and_not_quoted(tmp_path, text):
    with pytest.raises(ConfigError, match=r"GOOGLE_CREDENTIALS_JSON: the (field type|value) is") as raised:
        provided(config(tmp_path, GOOGLE_CREDENTIALS_JSON=text))

    assert "marked" not in str(raised.value)
    assert PEM[40:80] not in str(raised.value)
