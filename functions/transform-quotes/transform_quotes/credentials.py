"""Reads Google credentials from the deployment and writes the file that Google's library reads."""

import base64
import json
import os
import re
import tempfile
from collections.abc import MutableMapping
from pathlib import Path
from typing import Any

from google.auth import crypt

from transform_quotes.config import Config, ConfigError

BEGIN, END = "-----BEGIN PRIVATE KEY-----", "-----END PRIVATE KEY-----"
REQUIRED = {
    "external_account": ("audience", "subject_token_type", "token_url"),
    "service_account": ("client_email", "private_key", "token_uri"),
}
"""The fields that Google's library needs, by accepted type."""

OTHER_TYPES = (
    "authorized_user",
    "impersonated_service_account",
    "external_account_authorized_user",
    "gdch_service_account",
)
"""Unaccepted types that Google's tools write. Any other value may be a part of a key and is not quoted."""


def provide(config: Config, env: MutableMapping[str, str]) -> None:
    """Set GOOGLE_APPLICATION_CREDENTIALS to the credentials' file; write the file if they are given as text.

    The text is an `external_account` configuration from GOOGLE_CREDENTIALS_JSON, or a service account's key from the
    secret that GOOGLE_CREDENTIALS_SECRET names. Raises ConfigError, which never quotes the text.
    """
    if config.credentials_secret is not None:
        text, source = _secret(config.credentials_secret), "GOOGLE_CREDENTIALS_SECRET"
    elif config.credentials_json is not None:
        text, source = config.credentials_json, "GOOGLE_CREDENTIALS_JSON"
    else:
        return
    # A key in a variable could be read by everyone who may see the function's configuration.
    expected = "external_account" if source == "GOOGLE_CREDENTIALS_JSON" else "service_account"
    try:
        text = json.dumps(_usable(text, expected))
    except ValueError as error:
        raise ConfigError([f"{source}: {error}"]) from None
    env["GOOGLE_APPLICATION_CREDENTIALS"] = str(_write(text))


def _usable(text: str, expected: str) -> dict[str, Any]:
    """Read credentials of the type `expected` from `text`: JSON, also in base64, as in Terraform's output of a key.

    Raises ValueError, which names the unusable field and its expected form. It quotes nothing of the text, which a
    parser's own message might.
    """
    text = text.lstrip("\ufeff").strip()
    try:
        fields = json.loads(text if text.startswith("{") else base64.b64decode("".join(text.split()), validate=True))
    except ValueError:
        fields = None
    if not isinstance(fields, dict):
        raise ValueError(
            f'the value is not a JSON object; it should be the file that Google wrote: {{"type": "{expected}", …}}'
        )
    kind = fields.get("type")
    if kind != expected:
        told = repr(kind) if kind is None or kind in OTHER_TYPES or kind in REQUIRED else "something else"
        raise ValueError(f"the field type is {told}; it should be {expected}")
    for field in REQUIRED[expected]:
        if not isinstance(fields.get(field), str) or not fields[field]:
            raise ValueError(f"the field {field} is missing or not a text; the file that Google wrote has it")
    if expected == "service_account":
        fields["private_key"] = _private_key(fields["private_key"])
    return fields


def _private_key(text: str) -> str:
    r"""Return the key as PEM with correct line breaks: tools replace them by spaces or by the characters `\n`."""
    _, begin, rest = text.partition(BEGIN)
    body, end, _ = rest.partition(END)
    body = re.sub(r"\\+[nrt]?|\s+", "", body)
    lines = [body[start : start + 64] for start in range(0, len(body), 64)]
    key = "\n".join([BEGIN, *lines, END, ""])
    try:
        if not begin or not end:
            raise ValueError
        base64.b64decode(body, validate=True)
        crypt.RSASigner.from_string(key).sign(b"anything")
    # Several libraries raise many kinds of errors, and any message may quote the key.
    except Exception:
        raise ValueError(
            "the field private_key cannot be used: it is cut off, or not an RSA key in PKCS#8; it should be the"
            f" text of the file that Google wrote: {BEGIN}, a line break or \\n, base64, a line break or \\n, and {END}"
        ) from None
    return key


def _write(text: str) -> Path:
    """Write a file that only this user can read, in a new directory: a name in /tmp could belong to another user."""
    path = Path(tempfile.mkdtemp(prefix="google-")) / "credentials.json"
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
    return path


def _secret(name: str) -> str:
    # Imported only if it is needed, because boto3 takes 0.2 s of the init.
    from aws_lambda_powertools.utilities import parameters

    try:
        return parameters.get_secret(name)
    except parameters.GetParameterError as error:
        raise ConfigError([f"GOOGLE_CREDENTIALS_SECRET {name!r} cannot be read: {error}"]) from error
