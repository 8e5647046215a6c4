"""The stand-in of BigQuery and dbt's tables."""

import pytest

pytest.register_assert_rewrite("testkit.dbt")

from testkit.dbt import (  # noqa: E402, F401 - fixtures, after their assertions are made to explain themselves
    bare,
    dbt,
    emulator,
    environment,
    manifest,
    parsed,
    prepared,
    settling,
    transformer,
    warehouse,
)
