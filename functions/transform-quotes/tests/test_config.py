import pytest
from conftest import ROOT
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

    assert (config.project, config.dataset, config.location, config.threads) == ("quoteflow-local", "stock", "US", 4)


def test_the_cloud_needs_a_project(env):
    with pytest.raises(ConfigError, match="BIGQUERY_PROJECT"):
        Config.from_env(env)
    assert Config.from_env({**env, "BIGQUERY_PROJECT": "my-project-1"}).endpoint is None


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
    config = Config.from_env({**env, "BIGQUERY_ENDPOINT": "", "BIGQUERY_PROJECT": "my-project-1", "DBT_THREADS": ""})

    assert config.endpoint is None
    assert config.threads == 4
