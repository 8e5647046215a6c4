"""An incremental run costs what its new rows cost, however long the history is."""

import statistics
import time

from conftest import Warehouse, transformer_of

ROWS_A_DAY = 10_000
NEW_ROWS = 1_000
DAYS = {"short": 10, "long": 300}
ROUNDS = 5
LIMIT = 1.5

HISTORY = """
INSERT INTO {dataset}.bronze_stock_quotes_raw
    (c, d, dp, h, l, o, pc, t, symbol, fetched_at, quote_id, object_key, fetched_date, loaded_at)
WITH numbers AS (
    SELECT day, number, day * {rows_a_day} + number AS n
    FROM UNNEST(GENERATE_ARRAY({first_day}, {last_day})) AS day, UNNEST(GENERATE_ARRAY({first}, {last})) AS number
),
quotes AS (
    SELECT
        n,
        ['AAPL', 'AMZN', 'JPM', 'MSFT', 'TSLA'][OFFSET(MOD(n, 5))] AS symbol,
        1672756200 + 86400 * day + 2 * (number - MOD(number, 5)) AS t
    FROM numbers
)
SELECT
    100.0 + MOD(n, 97), 1.0, 0.5, 200.0, 100.0, 150.0, 140.0, t, symbol, t + 1, CONCAT('quote-', CAST(n AS STRING)), '',
    DATE(TIMESTAMP_SECONDS(t + 1)), {loaded_at}
FROM quotes
"""


class History:
    """A warehouse of its own with so many days, and what runs dbt on it."""

    def __init__(self, name: str, environment: dict[str, str], directory) -> None:
        self.name, self.days = name, DAYS[name]
        self._warehouse = Warehouse(environment["BIGQUERY_ENDPOINT"], dataset=name)
        self._warehouse.empty()
        self._insert("TIMESTAMP_SECONDS(1700000000 + n)", 0, self.days - 1, 0, ROWS_A_DAY - 1)
        self._inserted = 0
        self._transformer = transformer_of(environment, directory / name, BIGQUERY_DATASET=name)
        # What settles, and the views that it reads.
        self._transformer._selection = ["--select", "+config.materialized:incremental"]
        self._transformer.run()

    def _insert(self, loaded_at: str, first_day: int, last_day: int, first: int, last: int) -> None:
        places = {"loaded_at": loaded_at, "first_day": first_day, "last_day": last_day, "first": first, "last": last}
        sql = HISTORY.format(dataset=self.name, rows_a_day=ROWS_A_DAY, **places)
        self._warehouse.query(sql)

    def seconds_of_a_run(self) -> float:
        """Load the next rows of the day after the history; how long dbt takes for them."""
        self._insert("CURRENT_TIMESTAMP()", self.days, self.days, self._inserted, self._inserted + NEW_ROWS - 1)
        self._inserted += NEW_ROWS
        started = time.monotonic()
        self._transformer.run()
        return time.monotonic() - started

    def count(self, table: str) -> int:
        return self._warehouse.rows(f"{self.name}_{table}", "COUNT(*)")[0][0]


def test_a_thousand_rows_take_no_longer_on_three_million_than_on_a_hundred_thousand(environment, tmp_path):
    histories = [History(name, environment, tmp_path) for name in DAYS]
    # The first run after a full one still has the views' run behind it.
    for history in histories:
        history.seconds_of_a_run()

    # Alternating, so that whatever else the machine does falls on both.
    rounds = [[history.seconds_of_a_run() for history in histories] for _ in range(ROUNDS)]

    for history in histories:
        rows = history.days * ROWS_A_DAY + (ROUNDS + 1) * NEW_ROWS
        assert history.count("silver.silver_stock_quotes_settled") == rows
    short, long = (statistics.median(column) for column in zip(*rounds, strict=True))
    print(f"median of {ROUNDS} runs: {short:.2f} s on 100 thousand rows, {long:.2f} s on 3 million")
    assert long < LIMIT * short, rounds
