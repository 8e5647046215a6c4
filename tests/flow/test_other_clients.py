"""A flow on another Finnhub, and what clients that share no code with it find in its stores."""

import base64
import json
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from testkit import finnhub
from testkit.flow import QUARANTINE_BUCKET, TOPIC, Clients, Flow, Record, counts, left_of, wait_until

KEY = "marked-key-4f1c9e"
S3_MARK = "marked-s3-7d20b4"
PROXY_MARK = "marked-proxy-0b7e95"
SECRETS = (KEY, S3_MARK, PROXY_MARK)
# As on a company's machine. Nobody listens there: what runs on this machine must not be asked through it.
PROXIES = dict.fromkeys(
    ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"),
    f"http://user:{PROXY_MARK}@127.0.0.1:9",
)
SYMBOLS = ("AAPL", "BRK.B", "^DJI", "BINANCE:BTCUSDT", "IC MARKETS:1")
PRICES = '"c":150.250,"d":2.50,"dp":1.6900,"h":152.0,"l":148.5,"o":1.49e2,"pc":147.75'
# From another producer: without quote_id and fetched_at, with an additional field.
FOREIGN = f'{{"symbol":"AAPL",{PRICES},"t":{finnhub.FIRST_T - 60},"note":"of another producer"}}'.encode()
HOSTILE = (b'{"symbol":"../x","c":1}', b"\xff no JSON", None)
KEY_FORM = re.compile(rf"(?P<symbol>.+)/(?P<fetched_at>\d{{10}})(-{TOPIC}-\d+-\d+)?\.json")


@dataclass
class Seen:
    """What was found in every store while nothing was on its way, and what the run left."""

    served: int
    report: dict[str, Any]
    last: dict[str, Any]
    records: list[Record]
    objects: dict[str, bytes]
    quarantined: list[dict[str, Any]]
    bronze: list[dict[str, Any]]
    silver: list[dict[str, Any]]
    gold: list[dict[str, Any]]
    history: int
    poisoned_partition: int
    server: finnhub.Finnhub
    output: str
    data_dir: Path
    left: dict[int, str]

    @property
    def quotes(self) -> list[Record]:
        """The records that fetch-quotes published."""
        ours = [record for record in self.records if record.value not in (FOREIGN, *HOSTILE)]
        assert len(ours) == self.served
        return ours


@pytest.fixture(scope="module")
def seen(new_data_dir: Callable[[str], Path]) -> Seen:
    data_dir = new_data_dir("clients")
    with finnhub.serve(KEY) as server:
        # A poll a second is more than a free key has.
        variables = {"FINNHUB_BASE_URL": server.base_url, "FINNHUB_API_KEY": KEY, "RATE_LIMIT_PER_MINUTE": "3000"}
        variables |= PROXIES | {"S3_ACCESS_KEY_ID": "minio", "S3_SECRET_ACCESS_KEY": S3_MARK}
        with Flow(data_dir, "--for", "10m", "--symbols", ",".join(SYMBOLS), **variables) as flow:
            report = flow.await_report(lambda report: counts(report)["published"] >= 25, "25 quotes in Kafka")
            clients = Clients.of(report)
            partition = next(record.partition for record in clients.records() if record.key == b"AAPL")
            with clients.producer() as producer:
                for value in (HOSTILE[0], HOSTILE[1], FOREIGN, HOSTILE[2]):
                    producer.send(TOPIC, key=b"AAPL", value=value, partition=partition).get(10)
            # Good ones follow, and then no others: the stores can be compared only when nothing changes.
            enough = server.served + 2 * len(SYMBOLS)
            wait_until(lambda: server.served >= enough, "quotes behind the hostile ones")
            with server.lock:
                server.is_out = True
                served = server.served
            report = flow.await_report(
                lambda report: (
                    counts(report)["published"] == served + len(HOSTILE) + 1
                    and report["quarantined"] == len(HOSTILE)
                    and all(counts(report)[stage] == served + 1 for stage in ("archived", "loaded", "silver"))
                    # dbt is done, too: the stand-in does not have a table while it is replaced. The other producer's
                    # message has an id without the time of the fetch, and so no latency.
                    and report["latency_ms"]["gold_row"]["quotes"] == served
                ),
                f"report of {served} quotes at every stage",
            )
            found = Seen(
                served=served,
                report=report,
                last={},
                records=clients.records(),
                objects=clients.objects(),
                quarantined=[json.loads(body) for body in clients.objects(QUARANTINE_BUCKET).values()],
                bronze=clients.rows("SELECT * FROM stock.bronze_stock_quotes_raw"),
                silver=clients.rows("SELECT * FROM stock_silver.silver_stock_quotes"),
                gold=clients.rows("SELECT * FROM stock_gold.gold_kpi"),
                history=clients.rows("SELECT COUNT(*) AS n FROM stock_gold.gold_kpi_history")[0]["n"],
                poisoned_partition=partition,
                server=server,
                output="",
                data_dir=data_dir,
                left={},
            )
            found.last = flow.interrupt()
            found.left = left_of(data_dir)
            found.output = flow.text()
    return found


def test_kafka_the_bucket_and_bronze_hold_the_same_quotes_once(seen: Seen) -> None:
    in_kafka = Counter(record.quote["quote_id"] for record in seen.quotes)
    in_bucket = Counter(json.loads(body)["quote_id"] for body in seen.objects.values())
    in_bronze = Counter(row["quote_id"] for row in seen.bronze)
    assert in_bucket == in_bronze
    assert set(in_bronze.values()) == set(in_kafka.values()) == {1}
    # The other producer's message is the one that had no id in Kafka.
    assert in_kafka.keys() < in_bronze.keys()
    assert len(in_bronze) == len(in_kafka) + 1 == seen.served + 1


def test_an_object_is_the_message_byte_for_byte(seen: Seen) -> None:
    messages = {record.quote["quote_id"]: record.value for record in seen.quotes}
    objects = {json.loads(body)["quote_id"]: body for body in seen.objects.values()}
    assert messages.items() <= objects.items()
    for body in messages.values():
        assert body.startswith(f"{{{PRICES},".encode())


def test_a_key_is_the_symbol_and_the_time_of_the_fetch_and_bronze_knows_it(seen: Seen) -> None:
    for key, body in seen.objects.items():
        form, quote = KEY_FORM.fullmatch(key), json.loads(body)
        assert form, key
        assert (form["symbol"], int(form["fetched_at"])) == (quote["symbol"], quote["fetched_at"])
    by_key = {key: json.loads(body)["quote_id"] for key, body in seen.objects.items()}
    assert by_key == {row["object_key"]: row["quote_id"] for row in seen.bronze}


def test_every_symbol_gets_through_whatever_its_characters(seen: Seen) -> None:
    polled = Counter(record.quote["symbol"] for record in seen.quotes)
    assert set(polled) == set(SYMBOLS)
    assert polled.total() == seen.served
    in_bronze = Counter(row["symbol"] for row in seen.bronze)
    assert in_bronze == polled + Counter(["AAPL"])
    assert {row["symbol"] for row in seen.gold} == set(SYMBOLS)


def test_a_symbol_stays_in_order_within_one_partition(seen: Seen) -> None:
    partitions: dict[str, list[Record]] = {}
    for record in seen.quotes:
        assert record.key == record.quote["symbol"].encode()
        partitions.setdefault(record.quote["symbol"], []).append(record)
    for records in partitions.values():
        assert len({record.partition for record in records}) == 1
        in_order = sorted(records, key=lambda record: record.offset)
        fetched = [record.quote["fetched_at"] for record in in_order]
        assert fetched == sorted(fetched)


def test_hostile_records_are_quarantined_with_bytes_reason_and_coordinates(seen: Seen) -> None:
    offsets = {record.offset: record for record in seen.records if record.partition == seen.poisoned_partition}
    assert len(seen.quarantined) == len(HOSTILE)
    for aside in seen.quarantined:
        assert aside["reason"]
        assert (aside["topic"], aside["partition"]) == (TOPIC, seen.poisoned_partition)
        value = base64.b64decode(aside["value"]) if aside.get("value") is not None else None
        assert value == offsets[aside["offset"]].value
    values = [aside.get("value") and base64.b64decode(aside["value"]) for aside in seen.quarantined]
    assert sorted(values, key=str) == sorted(HOSTILE, key=str)


def test_good_records_behind_hostile_ones_in_their_partition_go_on(seen: Seen) -> None:
    last_hostile = max(record.offset for record in seen.records if record.value in HOSTILE)
    behind = [
        record.quote["quote_id"]
        for record in seen.quotes
        if record.partition == seen.poisoned_partition and record.offset > last_hostile
    ]
    assert len(behind) >= 1
    assert set(behind) <= {row["quote_id"] for row in seen.bronze}


def test_another_producers_message_gets_an_id_and_keeps_its_own_field(seen: Seen) -> None:
    [body] = [body for body in seen.objects.values() if b"of another producer" in body]
    assert json.loads(body).items() > json.loads(FOREIGN).items()
    [row] = [row for row in seen.bronze if row["t"] == finnhub.FIRST_T - 60]
    assert row["quote_id"] == json.loads(body)["quote_id"]
    assert abs(row["fetched_at"] - row["loaded_at"].timestamp()) < 120


def test_bronze_silver_and_gold_have_the_prices(seen: Seen) -> None:
    names = ("c", "d", "dp", "h", "l", "o", "pc")
    assert {tuple(row[name] for name in names) for row in seen.bronze} == {
        (150.25, 2.5, 1.69, 152.0, 148.5, 149.0, 147.75)
    }
    assert len(seen.silver) == seen.history == seen.served + 1
    assert {row["quote_id"] for row in seen.silver} == {row["quote_id"] for row in seen.bronze}
    latest: dict[str, Any] = {}
    for record in seen.quotes:
        quote = record.quote
        latest[quote["symbol"]] = max(latest.get(quote["symbol"], 0), quote["t"])
    assert {row["symbol"]: row["market_timestamp_raw"] for row in seen.gold} == latest


def test_the_report_says_what_the_clients_find_and_the_end_changes_nothing(seen: Seen) -> None:
    for report in (seen.report, seen.last):
        assert counts(report)["published"] == len(seen.records)
        assert counts(report)["archived"] == len(seen.objects)
        assert counts(report)["loaded"] == len(seen.bronze)
        assert counts(report)["silver"] == len(seen.silver)
        assert (report["quarantined"], report["failed"]) == (len(HOSTILE), 0)
    assert seen.last["phase"] == "finished"
    assert seen.report["endpoints"]["finnhub_base_url"] == seen.server.base_url


def test_no_process_is_left_to_ask_finnhub_any_more(seen: Seen) -> None:
    assert not seen.left


def test_the_key_travels_in_a_header_and_no_secret_is_printed(seen: Seen) -> None:
    assert seen.server.refused == 0
    assert not [path for path in seen.server.paths if KEY in path]
    told = seen.output + json.dumps(seen.last)
    assert not [secret for secret in SECRETS if secret in told]
    assert list((seen.data_dir / "logs").iterdir())
    assert not holding_a_secret(seen.data_dir / "logs")


def test_no_secret_is_in_a_file_that_the_run_leaves(seen: Seen) -> None:
    assert not holding_a_secret(seen.data_dir)


def holding_a_secret(directory: Path) -> list[str]:
    """The files below `directory` that hold a secret."""
    files = [path for path in directory.rglob("*") if path.is_file() and not path.is_symlink()]
    texts = ((path, path.read_bytes()) for path in files)
    return [
        str(path.relative_to(directory)) for path, text in texts if any(secret.encode() in text for secret in SECRETS)
    ]
