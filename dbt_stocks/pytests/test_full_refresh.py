"""Runs on parts of the quotes, in any order, give the same tables as one run on all of them."""

import random
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from testkit.dbt import epoch, same

# When a quote was settled is a property of the run.
OF_THE_RUN = {"settled_at"}
# When a quote was loaded is not a property of the quote, and depends on the order.
OF_THE_LOAD = OF_THE_RUN | {
    "loaded_at",
    "as_of",
    "seconds_behind",
    "recent_quotes",
    "quotes_per_minute",
    "recent_rejected",
    "rejected_share",
}
BATCHES = 3


def quotes() -> list[dict[str, Any]]:
    """Quotes of days on both sides of both changes of the clock and of the recorded year.

    Many are of the same trade, some of them in the same second, with the same price or another, and some are invalid.
    """
    chance = random.Random(7)  # noqa: S311 - the same quotes each time
    days = ("2019-02-11", "2024-03-08", "2024-03-11", "2024-11-01", "2024-11-04")
    made = []
    for number in range(240):
        t = epoch(f"{chance.choice(days)}T14:30:00Z") + 30 * chance.randrange(40)
        quote = {
            "symbol": chance.choice(("AAPL", "MSFT", "BINANCE:BTCUSDT")),
            "t": t,
            "fetched_at": t + chance.randrange(1, 4),
            "c": chance.choice((149.0, 150.25, 151.5)),
            "quote_id": f"quote-{number:04}",
        }
        faults = ({}, {}, {}, {}, {}, {"c": 0}, {"pc": 0}, {"h": 140}, {"t": t + 3600}, {"l": 0})
        made.append({**quote, **chance.choice(faults)})
    return made


def shuffled(quotes: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return random.Random(11).sample(quotes, len(quotes))  # noqa: S311 - the same order each time


@pytest.fixture(scope="module")
def in_order() -> dict[str, list]:
    """The tables of the first order, with which the others are compared."""
    return {}


@pytest.mark.parametrize(
    "order", [list, lambda all_of_them: all_of_them[::-1], shuffled], ids=["as they came", "reversed", "shuffled"]
)
def test_runs_that_settle_parts_equal_a_full_refresh(warehouse, transformer, dbt, in_order, order):
    ordered = order(sorted(quotes(), key=lambda quote: quote["fetched_at"]))
    size = len(ordered) // BATCHES
    # Loads that are further apart than load_overlap_minutes, so that each run must find its own.
    first_load = datetime.now(UTC) - timedelta(hours=BATCHES)
    for batch in range(BATCHES):
        loaded_at = (first_load + timedelta(hours=batch)).isoformat()
        warehouse.insert(*({**quote, "loaded_at": loaded_at} for quote in ordered[batch * size : (batch + 1) * size]))
        transformer.run()
        # As if the run had begun just after its load.
        warehouse.query(
            f"UPDATE stock_silver.int_load_watermark SET loaded_before = TIMESTAMP '{loaded_at}' WHERE TRUE"
        )
    incremental = warehouse.everything()
    assert all(incremental.values())

    dbt("run", "--full-refresh", "--select", "config.materialized:incremental")

    same(warehouse.everything(), incremental, leave_out=OF_THE_RUN)
    in_order = in_order or in_order.update(incremental) or in_order
    same(incremental, in_order, leave_out=OF_THE_LOAD)
