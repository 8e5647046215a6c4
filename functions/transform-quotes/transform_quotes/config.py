"""The function's configuration, read from the environment once, at init."""

import contextlib
import json
import re
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

CREDENTIALS = ("GOOGLE_CREDENTIALS_JSON", "GOOGLE_CREDENTIALS_SECRET", "GOOGLE_APPLICATION_CREDENTIALS")


class ConfigError(Exception):
    """The environment cannot be used. The message names every wrong variable, not only the first one."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("invalid configuration: " + "; ".join(problems))
        self.problems = problems


@dataclass(frozen=True)
class Config:
    """The function's settings. Variables that dbt's profile reads itself are only checked here.

    `endpoint` is the stand-in's URL, None for Google's own API. `parsed_path` contains what dbt parsed when the image
    was built, None if absent. `variables` are dbt's. At most one of the credentials is set.
    """

    project_dir: Path
    target_path: Path
    log_path: Path
    endpoint: str | None
    variables: dict[str, Any]
    parsed_path: Path | None
    credentials_json: str | None = field(repr=False)
    credentials_secret: str | None

    @classmethod
    def from_env(cls, env: Mapping[str, str]) -> "Config":
        """Validate `env`; raise ConfigError with all problems together."""
        problems: list[str] = []

        def check(name: str, default: str, pattern: str, expected: str) -> None:
            value = env.get(name) or default
            if not re.fullmatch(pattern, value):
                problems.append(f"{name} must be {expected}, got {value!r}")

        project_dir = Path(env.get("DBT_PROJECT_DIR") or "dbt_stocks").resolve()
        if not (project_dir / "dbt_project.yml").is_file():
            problems.append(f"DBT_PROJECT_DIR must be a directory with a dbt_project.yml, got {str(project_dir)!r}")

        writable = Path(tempfile.gettempdir()) / "dbt"
        paths: dict[str, Path] = {}
        for name, default in (("DBT_TARGET_PATH", writable / "target"), ("DBT_LOG_PATH", writable / "logs")):
            paths[name] = Path(env.get(name) or default).resolve()
            try:
                paths[name].mkdir(parents=True, exist_ok=True)
            except OSError as error:
                problems.append(f"{name} must be a writable directory: {error}")

        endpoint = env.get("BIGQUERY_ENDPOINT") or None
        if endpoint is not None:
            url = urlsplit(endpoint)
            if url.scheme not in ("http", "https") or not url.hostname:
                problems.append(f"BIGQUERY_ENDPOINT must be an http(s) URL, got {endpoint!r}")

        # The cloud has no default: if the variable were forgotten, queries would be sent to another project.
        project = r"([a-z0-9.-]+:)?[a-z][a-z0-9-]{4,28}[a-z0-9]"
        check("BIGQUERY_PROJECT", "quoteflow-local" if endpoint else "", project, "a Google Cloud project id")
        check("BIGQUERY_DATASET", "stock", r"\w{1,1017}", "a dataset id")
        check("BIGQUERY_LOCATION", "US", r"[A-Za-z0-9-]+", "a location")
        check("DBT_THREADS", "4", r"0*([1-9]|[12][0-9]|3[0-2])", "a whole number from 1 to 32")
        check("DBT_TARGET", "cloud", r"local|cloud", "local or cloud")
        if env.get("DBT_TARGET") == "local" and endpoint is None:
            problems.append("BIGQUERY_ENDPOINT must be set when DBT_TARGET is local")

        variables = None
        with contextlib.suppress(ValueError):
            variables = json.loads(env.get("DBT_VARS") or "{}")
        if not isinstance(variables, dict):
            problems.append(f"DBT_VARS must be a JSON object, got {env['DBT_VARS']!r}")

        parsed_path = Path(env["DBT_PARSED_PATH"]).resolve() if env.get("DBT_PARSED_PATH") else None
        credentials = [name for name in CREDENTIALS if env.get(name)]
        if endpoint is None and len(credentials) != 1:
            given = ", ".join(credentials) or "none"
            problems.append(f"{', '.join(CREDENTIALS)}: exactly one must be set, got {given}")
        if problems:
            raise ConfigError(problems)
        return cls(
            project_dir=project_dir,
            target_path=paths["DBT_TARGET_PATH"],
            log_path=paths["DBT_LOG_PATH"],
            endpoint=endpoint,
            variables=variables,
            parsed_path=parsed_path,
            credentials_json=None if endpoint else env.get("GOOGLE_CREDENTIALS_JSON") or None,
            credentials_secret=None if endpoint else env.get("GOOGLE_CREDENTIALS_SECRET") or None,
        )
