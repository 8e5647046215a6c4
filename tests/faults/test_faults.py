"""Every acknowledged quote ends in bronze, once, whatever fails on its way."""

from collections.abc import Iterator

import pytest
from faultkit import FAULTS, Trial, trial


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trial]:
    with trial(tmp_path_factory.mktemp("faults")) as made:
        yield made


@pytest.mark.parametrize("fault", FAULTS)
def test_nothing_is_lost_and_nothing_is_twice(running: Trial, fault: str) -> None:
    running.more_quotes(5)
    injected = getattr(running, fault)()
    quotes_in, quotes_out = running.settle()
    print(f"| {fault} | {injected} | {quotes_in} | {quotes_out} |")
