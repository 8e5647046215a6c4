"""A scheduler that is late once, in a live run: no poll is lost, or it is counted with its reason."""

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from testkit import finnhub
from testkit.flow import Flow, processes_of, wait_until

KEY = "live-key"
SYMBOL = "AAPL"
INTERVAL_SECONDS = 1
# A poll between two offsets may count for either, at each of two gaps.
ROUNDED = 2
# How long a minute of polls, and its log, may take after a late beginning.
LIMIT_SECONDS = 200


def second_of_minute() -> float:
    return time.time() % 60


def missed(report: dict[str, Any]) -> dict[str, int]:
    return report["metrics"]["fetch-quotes"]["reasons"].get("Missed", {})


def lost(polls: list[float]) -> int:
    """How many polls there are too few from the first of these to the last."""
    return round((polls[-1] - polls[0]) / INTERVAL_SECONDS) + 1 - len(polls)


def test_a_scheduler_that_is_late_once_loses_no_poll_that_is_not_counted(
    new_data_dir: Callable[[str], Path],
) -> None:
    data_dir = new_data_dir("late")
    with finnhub.serve(KEY) as server:
        variables = {"FINNHUB_BASE_URL": server.base_url, "FINNHUB_API_KEY": KEY, "RATE_LIMIT_PER_MINUTE": "3000"}
        with Flow(data_dir, "--symbols", SYMBOL, **variables) as flow:

            def polls() -> list[float]:
                with server.lock:
                    asked = list(zip(server.paths, server.asked_at, strict=True))
                # The first is asked by `quoteflow` itself, before the flow starts.
                return [at for path, at in asked if "/quote" in path][1:]

            # The first polls may go on into the next minute, so that no event would be missed.
            flow.await_report(
                lambda report: report["metrics"]["fetch-quotes"]["invocations"] >= 1, "end of the first polls"
            )
            # The Scheduler's stand-in stands still over the beginning of a minute, as one that is late does.
            wait_until(lambda: 52 <= second_of_minute() < 56, "end of a minute")
            aws = [pid for pid, command in processes_of(data_dir).items() if "ministack" in command]
            for pid in aws:
                os.kill(pid, signal.SIGSTOP)
            wait_until(lambda: 25 <= second_of_minute() < 45, "late beginning")
            for pid in aws:
                os.kill(pid, signal.SIGCONT)
            late = time.time() - second_of_minute()
            # The late event's polls end in the next minute, whose own event meets them.
            wait_until(lambda: polls()[-1] > late + 100, "polls of the minute after", LIMIT_SECONDS)
            seen = polls()
            gone = lost(seen)
            report = flow.await_report(
                lambda report: missed(report).get("late", 0) >= gone - ROUNDED, f"{gone} polls that were missed"
            )
            flow.interrupt()
    assert gone >= 5, "the scheduler was not late"
    assert abs(missed(report)["late"] - gone) <= ROUNDED, (missed(report), gone)
    # It was late once. In the next minute it was not.
    assert lost([at for at in seen if at > late + 62]) < 10, seen
