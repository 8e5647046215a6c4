"""Where Google's credentials come from, and where they go."""

import json
import stat
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from conftest import ROOT
from transform_quotes import credentials
from transform_quotes.config import Config, ConfigError

FEDERATION = {"type": "external_account", "audience": "//iam.googleapis.com/marked"}
BY_NAME = "GOOGLE_CREDENTIALS_SECRET"
KEY = {"type": "service_account", "private_key": "marked"}


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
    """What Google's library would read; only this user may read it."""
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


@pytest.mark.parametrize("text", [json.dumps(KEY), "marked, no JSON", '["marked"]'])
def test_a_key_or_nonsense_in_the_variable_is_refused_and_not_quoted(tmp_path, text):
    with pytest.raises(ConfigError, match="GOOGLE_CREDENTIALS_JSON must hold") as raised:
        provided(config(tmp_path, GOOGLE_CREDENTIALS_JSON=text))

    assert "marked" not in str(raised.value)
