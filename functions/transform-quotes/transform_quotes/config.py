"""The function's configuration, read from the environment once, at init."""

import json
import re
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

LOCAL_PROJECT = "quoteflow-local"
MAX_THREADS = 32
CREDENTIALS = ("GOOGLE_CREDENTIALS_JSON", "GOOGLE_CREDENTIALS_SECRET", "GOOGLE_APPLICATION_CREDENTIALS")


class ConfigError(Exception):
    """The environment is unusable. Names every variable at fault, not only the first one."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("invalid configuration: " + "; ".join(problems))
        self.problems = problems


@dataclass(frozen=True)
class Config:
    """What the function needs to know.

    `endpoint` is the stand-in's URL, None for Google's own API. `parsed_path` holds what dbt parsed when the image was
    built, None if there is none. `variables` are dbt's, as a JSON object. At most one of the credentials is set.
    """

    project_dir: Path
    target_path: Path
    log_path: Path
    project: str
    dataset: str
    location: str
    endpoint: str | None
    threads: int
    variables: str
    parsed_path: Path | None
    credentials_json: str | None = field(repr=False)
    credentials_secret: str | None

    @classmethod
    def from_env(cls, env: Mapping[str, str]) -> "Config":
        """Validate `env`; raise ConfigError with all problems together."""
        problems: list[str] = []

        def check(name: str, value: str, pattern: str, expected: str) -> str:
            if not re.fullmatch(pattern, value):
                problems.append(f"{name} must be {expected}, got {value!r}")
            return value

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

        # A default in the cloud would send a forgotten variable's queries to a project that is not ours.
        project = env.get("BIGQUERY_PROJECT") or (LOCAL_PROJECT if endpoint else "")
        check("BIGQUERY_PROJECT", project, r"([a-z0-9.-]+:)?[a-z][a-z0-9-]{4,28}[a-z0-9]", "a Google Cloud project id")
        dataset = check("BIGQUERY_DATASET", env.get("BIGQUERY_DATASET") or "stock", r"\w{1,1017}", "a dataset id")
        location = check("BIGQUERY_LOCATION", env.get("BIGQUERY_LOCATION") or "US", r"[A-Za-z0-9-]+", "a location")

        threads = env.get("DBT_THREADS") or "4"
        if not threads.isdecimal() or not 1 <= int(threads) <= MAX_THREADS:
            problems.append(f"DBT_THREADS must be a whole number from 1 to {MAX_THREADS}, got {threads!r}")
        check("DBT_TARGET", env.get("DBT_TARGET") or "cloud", r"local|cloud", "local or cloud")
        if env.get("DBT_TARGET") == "local" and endpoint is None:
            problems.append("BIGQUERY_ENDPOINT must be set when DBT_TARGET is local")

        variables = env.get("DBT_VARS") or "{}"
        try:
            if not isinstance(json.loads(variables), dict):
                raise ValueError
        except ValueError:
            problems.append(f"DBT_VARS must be a JSON object, got {variables!r}")

        parsed_path = Path(env["DBT_PARSED_PATH"]).resolve() if env.get("DBT_PARSED_PATH") else None
        credentials = [name for name in CREDENTIALS if env.get(name)]
        if endpoint is None and len(credentials) != 1:
            problems.append(
                f"{', '.join(CREDENTIALS)}: exactly one must be set, got {', '.join(credentials) or 'none'}"
            )

        if problems:
            raise ConfigError(problems)
        return cls(
            project_dir=project_dir,
            target_path=paths["DBT_TARGET_PATH"],
            log_path=paths["DBT_LOG_PATH"],
            project=project,
            dataset=dataset,
            location=location,
            endpoint=endpoint,
            threads=int(threads),
            variables=variables,
            parsed_path=parsed_path,
            credentials_json=None if endpoint else env.get("GOOGLE_CREDENTIALS_JSON") or None,
            credentials_secret=None if endpoint else env.get("GOOGLE_CREDENTIALS_SECRET") or None,
        )
