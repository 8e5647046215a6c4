"""A flow whose objects are batches, and then, on the same data, one with an object a quote."""

import gzip
import json
import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from testkit.flow import STAGES, Clients, Flow, Record, Stores, counts, local, wait_until

# Fast enough that every poll has a market second of its own.
SPEED = ("--speed", "100")
SYMBOLS = 5
POLLS = 3
KEY_FORM = re.compile(r"batches/(\d+)-(\d+)-(\d+)-stock-quotes-(\d+)-(\d+)-(\d+)\.ndjson\.gz")
COLUMNS = ("quote_id", "symbol", "fetched_at", "t", "c", "h", "l", "o", "pc")


@dataclass
class Seen:
    """What the stores held while the flow of batches ran, and after the flow of both layouts."""

    replayed: str
    restored: Counter[str]
    batches: dict[str, bytes]
    mixed: dict[str, Any]
    objects: dict[str, bytes]
    records: list[Record]
    bronze: list[dict[str, Any]]


@pytest.fixture(scope="module")
def seen(new_data_dir: Callable[[str], Path]) -> Iterator[Seen]:
    data_dir = new_data_dir("batches")
    with Flow(data_dir, *SPEED, OBJECT_LAYOUT="batch") as flow:
        report = flow.await_report(lambda report: counts(report)["loaded"] >= POLLS * SYMBOLS, "loaded batches")
        clients = Clients.of(report)
        before = Counter(clients.bronze_ids())
        lost = clients.rows("SELECT ANY_VALUE(object_key) AS key FROM stock.bronze_stock_quotes_raw")[0]["key"]
        clients.rows(f"DELETE FROM stock.bronze_stock_quotes_raw WHERE object_key = '{lost}'")
        replayed = local("replay", "--data-dir", data_dir, "--from", "2020-01-01").stdout
        wait_until(lambda: before.keys() <= set(clients.bronze_ids()), "rows of the batch that bronze had lost")
        restored = Counter(clients.bronze_ids())
        flow.interrupt()
        batches = clients_objects(data_dir)
    with Flow(data_dir, "--polls", str(POLLS), *SPEED) as flow:
        mixed = flow.finish()
    with Stores(data_dir) as stores:
        clients = stores.clients()
        bronze = clients.rows("SELECT * FROM stock.bronze_stock_quotes_raw")
        yield Seen(replayed, restored, batches, mixed, clients.objects(), clients.records(), bronze)


def clients_objects(data_dir: Path) -> dict[str, bytes]:
    """The objects that an ended run has left."""
    with Stores(data_dir) as stores:
        return stores.clients().objects()


def lines(objects: dict[str, bytes]) -> list[tuple[str, bytes]]:
    """Each quote's bytes with its object's key."""
    plain = {key: gzip.decompress(body) if key.endswith(".gz") else body for key, body in objects.items()}
    return [(key, line) for key, body in plain.items() for line in body.splitlines()]


def test_a_batch_is_the_records_of_its_offsets_byte_for_byte(seen: Seen) -> None:
    assert seen.batches
    values = {(record.partition, record.offset): record.value for record in seen.records}
    for key, body in seen.batches.items():
        form = KEY_FORM.fullmatch(key)
        assert form, key
        newest, oldest, quotes, partition, first, last = map(int, form.groups())
        held = gzip.decompress(body).splitlines()
        assert held == [values[partition, offset] for offset in range(first, last + 1)]
        times = [json.loads(line)["fetched_at"] for line in held]
        assert (len(held), min(times), max(times)) == (quotes, oldest, newest)


def test_a_replay_of_batches_brings_back_what_bronze_has_lost_and_doubles_nothing(seen: Seen) -> None:
    assert re.search(r"queued \d+ objects to be loaded again", seen.replayed), seen.replayed
    assert set(seen.restored.values()) == {1}


def test_bronze_is_the_topic_whatever_the_layout_and_counts_are_of_quotes(seen: Seen) -> None:
    kinds = Counter(key.startswith("batches/") for key in seen.objects)
    assert kinds[True] == len(seen.batches)
    assert kinds[False] == POLLS * SYMBOLS
    quotes = [record.quote for record in seen.records]
    expected = sorted(tuple(quote[column] for column in COLUMNS) for quote in quotes)
    assert sorted(tuple(row[column] for column in COLUMNS) for row in seen.bronze) == expected
    # Each row names the object that its quote is in.
    where = {json.loads(line)["quote_id"]: key for key, line in lines(seen.objects)}
    assert {row["quote_id"]: row["object_key"] for row in seen.bronze} == where
    assert counts(seen.mixed) == dict.fromkeys(STAGES, len(quotes))
