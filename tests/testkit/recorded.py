"""The recorded prices, read directly from the files: the expected answer of `/quote` at any of their seconds.

This is an independent implementation of local/feed/data/README.md and of the rule by which a minute's four prices are
replayed: each for a quarter of the minute, the low before the high if the minute rose.
"""

import csv
from dataclasses import dataclass
from datetime import date, datetime
from functools import cache
from pathlib import Path
from zoneinfo import ZoneInfo

DATA = Path(__file__).resolve().parents[2] / "local" / "feed" / "data"
SYMBOLS = ("AAPL", "AMZN", "JPM", "MSFT", "TSLA")
NEW_YORK = ZoneInfo("America/New_York")
SESSION_SECONDS = 390 * 60


@dataclass(frozen=True)
class Candle:
    """Four prices."""

    open: float
    high: float
    low: float
    close: float


@cache
def _bars(symbol: str) -> dict[date, list[Candle]]:
    """Each day's 390 minutes. A minute without a trade has the last close."""
    traded: dict[date, dict[int, Candle]] = {}
    with (DATA / f"{symbol}.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            end = datetime.fromisoformat(row["end"])
            minute = end.hour * 60 + end.minute - (9 * 60 + 31)
            prices = (float(row[name]) for name in ("open", "high", "low", "close"))
            traded.setdefault(end.date(), {})[minute] = Candle(*prices)
    days = {}
    for day, minutes in traded.items():
        bars = [minutes[0]]
        for minute in range(1, 390):
            last = bars[-1].close
            bars.append(minutes.get(minute, Candle(last, last, last, last)))
        days[day] = bars
    return days


def market_date(t: int) -> date:
    """The day in New York."""
    return datetime.fromtimestamp(t, NEW_YORK).date()


def whole_day(symbol: str, day: date) -> Candle:
    """The day's candle, from all its minutes."""
    bars = _bars(symbol)[day]
    return Candle(bars[0].open, max(bar.high for bar in bars), min(bar.low for bar in bars), bars[-1].close)


def quote_at(symbol: str, t: int) -> dict[str, float]:
    """The current price and the day's high, low and open up to the market second `t`."""
    now = datetime.fromtimestamp(t, NEW_YORK)
    bars = _bars(symbol)[now.date()]
    second = (now - now.replace(hour=9, minute=30, second=0)).seconds
    minute, quarter = second // 60, second % 60 // 15
    bar = bars[minute]
    middle = [bar.low, bar.high] if bar.close >= bar.open else [bar.high, bar.low]
    path = [bar.open, *middle, bar.close][: quarter + 1]
    traded = path + [price for past in bars[:minute] for price in (past.high, past.low)]
    return {"c": path[-1], "h": max(traded), "l": min(traded), "o": bars[0].open}


def daily_bar(symbol: str, day: date) -> Candle:
    """The day's candle from the other source."""
    with (DATA / "daily.csv").open(newline="") as file:
        symbol_column, date_column, *prices = next(reader := csv.reader(file))
        assert (symbol_column, date_column, prices) == ("symbol", "date", ["open", "high", "low", "close"])
        found = [row for row in reader if row[:2] == [symbol, day.isoformat()]]
    return Candle(*map(float, found[0][2:]))
