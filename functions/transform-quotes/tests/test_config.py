import re

import pytest
from testkit.dbt import ROOT
from transform_quotes.config import Config, ConfigError


@pytest.fixture
def env(tmp_path) -> dict[str, str]:
    return {
        "DBT_PROJECT_DIR": str(ROOT / "dbt_stocks"),
        "DBT_TARGET_PATH": str(tmp_path / "target"),
        "DBT_LOG_PATH": str(tmp_path / "logs"),
    }


def test_defaults_with_a_stand_in(env):
    config = Config.from_env({**env, "BIGQUERY_ENDPOINT": "http://127.0.0.1:9050"})

    assert (config.endpoint, config.variables, config.parsed_path) == ("http://127.0.0.1:9050", {}, None)


def test_the_cloud_needs_a_project(env):
    cloud = {**env, "GOOGLE_APPLICATION_CREDENTIALS": "key.json"}
    with pytest.raises(ConfigError, match="BIGQUERY_PROJECT"):
        Config.from_env(cloud)
    assert Config.from_env({**cloud, "BIGQUERY_PROJECT": "my-project-1"}).endpoint is None


@pytest.mark.parametrize(
    "given", [(), ("GOOGLE_CREDENTIALS_JSON", "GOOGLE_CREDENTIALS_SECRET")], ids=["none", "two at once"]
)
def test_the_cloud_needs_one_kind_of_credentials(env, given):
    cloud = {**env, "BIGQUERY_PROJECT": "my-project-1", **dict.fromkeys(given, "{}")}
    with pytest.raises(ConfigError, match="exactly one must be set"):
        Config.from_env(cloud)


def test_credentials_are_not_printed(env):
    config = Config.from_env({**env, "BIGQUERY_PROJECT": "my-project-1", "GOOGLE_CREDENTIALS_JSON": "marked"})

    assert config.credentials_json == "marked"
    assert "marked" not in repr(config)


def test_all_problems_are_reported_together(env, tmp_path):
    occupied = tmp_path / "file"
    occupied.write_text("")
    bad = {
        "DBT_PROJECT_DIR": str(tmp_path),
        "DBT_TARGET_PATH": str(occupied),
        "DBT_THREADS": "many",
        "DBT_TARGET": "prod",
        "BIGQUERY_PROJECT": "Not a project",
        "BIGQUERY_DATASET": "stock.quotes",
        "BIGQUERY_LOCATION": "the moon",
        "BIGQUERY_ENDPOINT": "127.0.0.1:9050",
    }

    with pytest.raises(ConfigError) as raised:
        Config.from_env({**env, **bad})

    assert [problem.split()[0] for problem in raised.value.problems] == [
        "DBT_PROJECT_DIR",
        "DBT_TARGET_PATH",
        "BIGQUERY_ENDPOINT",
        "BIGQUERY_PROJECT",
        "BIGQUERY_DATASET",
        "BIGQUERY_LOCATION",
        "DBT_THREADS",
        "DBT_TARGET",
    ]
    assert all(name in str(raised.value) for name in bad)


def test_an_empty_variable_is_an_absent_one(env):
    empty = dict.fromkeys(("BIGQUERY_ENDPOINT", "DBT_THREADS", "DBT_PARSED_PATH", "GOOGLE_CREDENTIALS_JSON"), "")
    cloud = {"BIGQUERY_PROJECT": "my-project-1", "GOOGLE_APPLICATION_CREDENTIALS": "key.json"}

    config = Config.from_env({**env, **empty, **cloud})

    assert config.endpoint is None
    assert config.parsed_path is None
    assert config.credentials_json is None


class Recorded(dict[str, str]):
    """An environment that notes which variables are read."""

    def __init__(self, env: dict[str, str]) -> None:
        super().__init__(env)
        self.read: set[str] = set()

    def get(self, name, default=None):
        self.read.add(name)
        return super().get(name, default)


def test_the_readme_has_every_variable_with_the_defaults_of_dbts_profile(env):
    readme = (ROOT / "functions/transform-quotes/README.md").read_text()
    table = dict(re.findall(r"^\| `(\w+)` \| (.*?) \|", readme, re.M))
    recorded = Recorded({**env, "BIGQUERY_ENDPOINT": "http://127.0.0.1:9050"})
    Config.from_env(recorded)
    profile = re.findall(r"env_var\('(\w+)', '(\w*)'\)", (ROOT / "dbt_stocks/profiles.yml").read_text())

    # dbt itself reads this one.
    assert recorded.read | {name for name, _ in profile} | {"DBT_FULL_REFRESH"} == table.keys()
    for name, default in profile:
        assert not default or f"`{default}`" in table[name], name
