"""Google credentials, from where the deployment keeps them to the file that Google's library reads."""

import json
import os
import tempfile
from collections.abc import MutableMapping
from pathlib import Path

from transform_quotes.config import Config, ConfigError


def provide(config: Config, env: MutableMapping[str, str]) -> None:
    """Name the credentials' file in GOOGLE_APPLICATION_CREDENTIALS; write it where they came as text.

    The text is an `external_account` configuration from GOOGLE_CREDENTIALS_JSON, or a service account's key from the
    secret that GOOGLE_CREDENTIALS_SECRET names. Raises ConfigError, which never quotes the text.
    """
    if config.credentials_secret is not None:
        text, source = _secret(config.credentials_secret), "GOOGLE_CREDENTIALS_SECRET"
    elif config.credentials_json is not None:
        text, source = config.credentials_json, "GOOGLE_CREDENTIALS_JSON"
    else:
        return
    try:
        kind = json.loads(text).get("type")
    except (AttributeError, ValueError):
        raise ConfigError([f"{source} must hold a JSON object"]) from None
    # A key in a variable would be readable by whoever may see the function's configuration.
    expected = "external_account" if source == "GOOGLE_CREDENTIALS_JSON" else "service_account"
    if kind != expected:
        raise ConfigError([f"{source} must hold credentials of type {expected}, got {kind!r}"])
    env["GOOGLE_APPLICATION_CREDENTIALS"] = str(_write(text))


def _write(text: str) -> Path:
    """Write a file that only this user can read, in a new directory: a name in /tmp could be somebody else's."""
    path = Path(tempfile.mkdtemp(prefix="google-")) / "credentials.json"
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
    return path


def _secret(name: str) -> str:
    # Imported where it is needed: boto3 takes 0.2 s of the init.
    from aws_lambda_powertools.utilities import parameters

    try:
        return parameters.get_secret(name)
    except parameters.GetParameterError as error:
        raise ConfigError([f"GOOGLE_CREDENTIALS_SECRET {name!r} cannot be read: {error}"]) from error
