"""At every moment, readers see the result of a full refresh of the same bronze, at any step of a run of dbt."""

import math
import random
import re
from collections import defaultdict
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from testkit.dbt import DATASET, KEYS, TABLES, Warehouse
from transform_quotes.config import Config
from transform_quotes.transformer import Transformer

LIVE, FULL = "live", "full"
SILVER, DAILY = "silver_stock_quotes_settled", "silver_stock_quotes_daily_settled"
STEPS = (SILVER, "silver_stock_quotes_rejected", DAILY, "int_load_watermark")
DAY, HOUR = timedelta(days=1), timedelta(hours=1)
# Computed from sums of floating-point numbers, whose last bits depend on the order of the rows.
SUMMED = {"trend_line", "mean_price", "price_variance", "avg_price", "volatility", "relative_volatility"}
NAMES = TABLES["bronze_stock_quotes_raw"]["readable_names"]
KPI = (
    "symbol", *(name for column, name in NAMES.items() if column != "t"), "market_timestamp_raw", "market_time_utc",
    "market_time_us", "fetched_at", "quote_id", "warning",
)  # fmt: skip
ACTIONS = 14

Rows = list[dict[str, Any]]


class Deployment:
    """dbt's tables and views as in the cloud, with limited market dates, and the statements that settle them.

    The statements are dbt's own, read from the files of two runs. So a run can be ended after any of them.
    """

    def __init__(self, environment: dict[str, str], directory: Path) -> None:
        self.warehouse = Warehouse(environment["BIGQUERY_ENDPOINT"], dataset=LIVE)
        self.warehouse.empty()
        own = {"BIGQUERY_DATASET": LIVE, "DBT_TARGET_PATH": str(directory), "DBT_VARS": '{"bound_market_dates": true}'}
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("BIGQUERY_DATASET", LIVE)
            transformer = Transformer(Config.from_env({**environment, **own}))
            transformer.run()
            self._refresh = [self._of_the_full_refresh(self._statement(directory, model)) for model in (SILVER, DAILY)]
            transformer.run()
            self._steps = [self._statement(directory, model) for model in STEPS]
        self.warehouse.client.delete_dataset(FULL, delete_contents=True, not_found_ok=True)
        self.warehouse.client.create_dataset(FULL)

    @staticmethod
    def _of_the_full_refresh(statement: str) -> str:
        """Create the settled tables beside the live ones."""
        return re.sub(rf"`{LIVE}_silver`\.`({SILVER}|{DAILY})`", rf"`{FULL}`.`\1`", statement)

    @staticmethod
    def _statement(directory: Path, model: str) -> str:
        [path] = (directory / "run").rglob(f"models/*/{model}.sql")
        return path.read_text()

    def settle(self, steps: int = len(STEPS), between: Callable[[], None] = lambda: None) -> None:
        """Run dbt up to a step, and `between` after the first step."""
        began = datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S.%f")
        for number, statement in enumerate(self._steps[:steps]):
            self.warehouse.query(re.sub(r"LEAST\(TIMESTAMP '[^']*'", f"LEAST(TIMESTAMP '{began}'", statement))
            if number == 0:
                between()

    def an_hour_passes(self) -> None:
        """Make everything that was loaded or settled an hour older, except loaded_at in the days' latest quotes."""
        for table, column in (
            (".bronze_stock_quotes_raw", "loaded_at"),
            (f"_silver.{SILVER}", "loaded_at"),
            ("_silver.silver_stock_quotes_rejected", "loaded_at"),
            ("_silver.int_load_watermark", "loaded_before"),
        ):
            self.warehouse.query(
                f"UPDATE {LIVE}{table} SET {column} = TIMESTAMP_SUB({column}, INTERVAL 1 HOUR) WHERE TRUE"
            )

    def seen(self) -> dict[str, Rows]:
        """All rows of the views of quotes and days."""
        return {
            table.split(".")[1]: self._rows(f"{LIVE}{table.removeprefix(DATASET)}", key)
            for table, key in KEYS.items()
            if not table.endswith(("rejected", "health"))
        }

    def fully_refreshed(self) -> tuple[Rows, Rows]:
        """Silver and its days after a full refresh, each ordered by its key."""
        for statement in self._refresh:
            self.warehouse.query(statement)
        columns = "* EXCEPT (last_traded, last_fetched)"
        return (
            self._rows(f"{FULL}.{SILVER}", "symbol, market_timestamp_raw"),
            self._rows(f"{FULL}.{DAILY}", "symbol, market_date", columns),
        )

    def _rows(self, table: str, key: str, columns: str = "*") -> Rows:
        return [dict(row.items()) for row in self.warehouse.query(f"SELECT {columns} FROM {table} ORDER BY {key}")]


def expected(silver: Rows, daily: Rows) -> dict[str, Rows]:
    """The expected rows of each view, calculated from silver and its days without SQL."""
    by_symbol, days_of = defaultdict(list), defaultdict(list)
    for row in silver:
        by_symbol[row["symbol"]].append(row)
    for row in daily:
        days_of[row["symbol"]].append(row)
    for days in days_of.values():
        for before, day in zip([None, *days], days, strict=False):
            gap = abs(day["prev_close"] / before["close_price"] - 1) if before else 0
            day["warning"] = "split_like_gap" if gap > 0.4 else None
    return {
        "silver_stock_quotes": silver,
        "silver_stock_quotes_daily": daily,
        "gold_kpi_history": [{name: row[name] for name in (*KPI, "market_date")} for row in silver],
        "gold_kpi": [
            _only(KPI, max(rows, key=lambda row: (row["fetched_at"], row["market_timestamp_raw"])))
            for rows in by_symbol.values()
        ],
        "gold_kpi_latest": [_only(KPI, rows[-1]) for rows in by_symbol.values()],
        "gold_candlestick": [
            {
                "symbol": day["symbol"],
                "candle_date": day["market_date"],
                "candle_open": day["open_price"],
                "candle_high": day["high_price"],
                "candle_low": day["low_price"],
                "candle_close": day["close_price"],
                "trend_line": day["mean_price"],
                "quotes": day["quotes"],
                "warning": day["warning"],
            }
            for days in days_of.values()
            for day in days[-12:]
        ],
        "gold_candlestick_intraday": [
            candle for rows in by_symbol.values() for minutes in (1, 5) for candle in _candles(rows, minutes)
        ],
        "gold_treechart": [_tile(days[-1], by_symbol[symbol]) for symbol, days in days_of.items()],
    }


def _only(names: tuple[str, ...], row: dict[str, Any]) -> dict[str, Any]:
    return {name: row[name] for name in names}


def _candles(rows: Rows, minutes: int) -> Rows:
    candles, so_far = defaultdict(list), defaultdict(list)
    for row in rows:
        start = row["market_timestamp_raw"] - row["market_timestamp_raw"] % (60 * minutes)
        candles[start, row["market_date"]].append(row)
    made = []
    for (start, market_date), quotes in sorted(candles.items()):
        so_far[market_date] += [row["current_price"] for row in quotes]
        made.append(
            {
                "symbol": quotes[0]["symbol"],
                "interval_minutes": minutes,
                "candle_start_utc": datetime.fromtimestamp(start, UTC),
                "market_date": market_date,
                "candle_open": quotes[0]["current_price"],
                "candle_high": max(row["highest_observed_price"] for row in quotes),
                "candle_low": min(row["lowest_observed_price"] for row in quotes),
                "candle_close": quotes[-1]["current_price"],
                "trend_line": sum(so_far[market_date]) / len(so_far[market_date]),
                "quotes": len(quotes),
            }
        )
    return made


def _tile(last: dict[str, Any], rows: Rows) -> dict[str, Any]:
    # No scenario has more days than volatility_days.
    prices = [row["current_price"] for row in rows]
    mean = sum(prices) / len(prices)
    volatility = math.sqrt(sum((price - mean) ** 2 for price in prices) / len(prices))
    return {
        "symbol": last["symbol"],
        "latest_date": last["market_date"],
        "avg_price": last["mean_price"],
        "last_price": last["close_price"],
        "prev_close": last["prev_close"],
        "day_change_percent": pytest.approx(100 * (last["close_price"] - last["prev_close"]) / last["prev_close"]),
        "volatility": volatility,
        "relative_volatility": volatility / mean,
    }


def assert_same(seen: dict[str, Rows], wanted: dict[str, Rows], moment: str) -> None:
    """Compare all views row by row, in the expected columns."""
    for view, rows in wanted.items():
        assert len(seen[view]) == len(rows), f"{view} {moment}"
        for row, want in zip(seen[view], rows, strict=True):
            close = {
                name: pytest.approx(value, rel=1e-9, abs=1e-9) if name in SUMMED else value
                for name, value in want.items()
            }
            assert {name: row[name] for name in want} == close, f"{view} {moment}"


class Feed:
    """Quotes in any order: late, twice, corrected, invalid, of several days and of both sides of midnight."""

    def __init__(self, seed: int) -> None:
        self._chance = random.Random(seed)  # noqa: S311 - the same quotes each time
        self._made: list[dict[str, Any]] = []
        # Long enough ago that a load can be made hours older and is still after the fetch.
        self._newest = datetime.now(UTC).replace(microsecond=0) - 14 * HOUR
        self._day = self._newest.replace(hour=0, minute=0, second=0)

    def quotes(self, *, old: bool) -> list[dict[str, Any]]:
        """Some of the last two days; with `old`, of dates that no view reads from the tail, too."""
        batch = [self._quote(self._trade(old=old)) for _ in range(self._chance.randrange(1, 7))]
        if self._made:
            again = self._chance.choice(self._made)
            batch.append(self._chance.choice((again, self._quote(again["t"], again["symbol"]))))
        self._made += batch
        # A load takes at most load_overlap_minutes before it commits.
        loaded_at = datetime.now(UTC) - timedelta(minutes=self._chance.choice((0, 0, 10, 25)))
        return [{**quote, "loaded_at": loaded_at.isoformat()} for quote in batch]

    def _trade(self, *, old: bool) -> int:
        if old and self._chance.random() < 0.5:
            return int((self._day - self._chance.choice((6, 9, 40)) * DAY).timestamp()) + self._chance.randrange(86_400)
        # These seconds include UTC's midnight, the end of a currency's day and New York's midnight.
        around = self._day - DAY + timedelta(hours=self._chance.choice((0, 4, 5, 14, 21, 22)))
        return int(min(around + timedelta(seconds=self._chance.randrange(-90, 90)), self._newest).timestamp())

    def _quote(self, t: int, symbol: str | None = None) -> dict[str, Any]:
        quote = {
            "symbol": symbol or self._chance.choice(("AAPL", "MSFT", "BINANCE:BTCUSDT", "OANDA:EUR_USD")),
            "t": t,
            "fetched_at": t + self._chance.choice((1, 2, 2, 3, 3600)),
            "c": self._chance.choice((149.0, 150.25, 151.5, 153.0)),
            "pc": self._chance.choice((147.0, 147.0, 30.0)),
            "quote_id": f"quote-{self._chance.randrange(10**9):09}",
        }
        faults = ({}, {}, {}, {}, {}, {"c": 0}, {"o": None}, {"h": 140}, {"t": t + 7200}, {"l": 0}, {"dp": 1e300})
        return {**quote, **self._chance.choice(faults)}


@pytest.fixture(scope="module")
def deployment(environment, tmp_path_factory) -> Deployment:
    return Deployment(environment, tmp_path_factory.mktemp("live"))


@pytest.mark.parametrize("seed", [1, 2])
def test_every_view_equals_a_full_refresh_at_every_moment(deployment, seed):
    chance, feed, load = random.Random(seed), Feed(seed), deployment.warehouse.insert  # noqa: S311
    deployment.warehouse.forget()
    # A quote that no view reads from the tail is shown after the next complete run.
    waits = False
    happened = []
    for number in range(ACTIONS):
        old = chance.random() < 0.2
        actions = {
            "quotes were loaded": lambda old=old: load(*feed.quotes(old=old)),
            "a run was killed": lambda: deployment.settle(chance.randrange(1, len(STEPS))),
            "a run was complete": deployment.settle,
            "quotes were loaded during a run": lambda: deployment.settle(between=lambda: load(*feed.quotes(old=False))),
            "an hour passed": deployment.an_hour_passes,
        }
        action = "quotes were loaded" if number == 0 else chance.choices(list(actions), [4, 2, 2, 2, 2])[0]
        if action == "an hour passed" and waits:
            action = "a run was complete"
        actions[action]()
        happened.append(action)
        waits = (waits or (action == "quotes were loaded" and old)) and not action.endswith(("complete", "a run"))
        if not waits:
            assert_same(deployment.seen(), expected(*deployment.fully_refreshed()), f"after {', then '.join(happened)}")
    assert len(set(happened)) == len(actions), "choose a seed that does everything"
    [[rows]] = deployment.warehouse.rows(f"{LIVE}_silver.silver_stock_quotes", "COUNT(*)")
    assert rows > 5
