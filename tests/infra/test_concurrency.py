"""A trading day under a Lambda that throttles, with the limits that Terraform deployed: nothing good fails for good."""

import itertools
import json
import random
from dataclasses import replace
from typing import Any

import pytest
from testkit.terraform import Deployment
from throttling import Function, Lambda, Queue

SYMBOLS = 5
POLLS_A_MINUTE = 10
MINUTE = 60
DAY_MINUTES = 390
# In seconds, from public logs of BigQuery and dbt: a MERGE whatever its size, a run of dbt.
MERGE_SECONDS = (5.6, 12.5)
DBT_SECONDS = (40, 150)


class Day:
    """The flow's functions and their queue under the fake, and what became of every quote."""

    def __init__(self, functions: dict[str, Function], queue: Queue, seed: int = 1) -> None:
        self.service = Lambda()
        self.functions = functions
        self.queue = queue
        self.random = random.Random(seed)  # noqa: S311 - a repeatable day
        self.fetched: list[str] = []
        self.loaded: list[str] = []
        self.is_out = lambda _: False
        functions["fetch-quotes"].run = self._fetch
        functions["load-quotes"].run = self._load
        functions["reconcile-quotes"].run = lambda _event, _now: self.random.uniform(2, 10)
        functions["transform-quotes"].run = lambda _event, _now: self.random.uniform(*DBT_SECONDS)

    def pass_by(self, minutes: int = DAY_MINUTES, minutes_a_settling: int = 15) -> None:
        """Let the schedules fire for so long, each up to 8 s late and for a while even later, and all of it end."""
        for minute in range(minutes):
            late = self.random.uniform(0, 8) + (20 if 60 <= minute < 90 else 0)
            self._schedule("fetch-quotes", minute * MINUTE + late, minute)
            if minute % 5 == 0:
                self._schedule("reconcile-quotes", minute * MINUTE + late, minute)
            if minute % minutes_a_settling == 0:
                self._schedule("transform-quotes", minute * MINUTE + late, minute)
        self._schedule("transform-quotes", minutes * MINUTE + 10 * MINUTE, "after the close")
        self.service.until_idle()

    def _schedule(self, name: str, moment: float, event: Any) -> None:
        self.service.at(moment, lambda: self.service.invoke_event(self.functions[name], event))

    def _fetch(self, minute: int, now: float) -> float:
        # An event whose minute is over polls nothing. Otherwise it polls from the next offset on, ten times.
        if now >= (minute + 1) * MINUTE:
            return 0.5
        for poll, _ in itertools.product(range(POLLS_A_MINUTE), range(SYMBOLS)):
            quote = f"{minute}-{len(self.fetched)}"
            self.fetched.append(quote)
            # Kafka, the trigger's window, S3's event: a second or so, sometimes many.
            arrives = now + poll * MINUTE / POLLS_A_MINUTE + self.random.expovariate(0.5)
            load = self.functions["load-quotes"]
            self.service.at(arrives, lambda quote=quote, load=load: self.service.send(self.queue, load, quote))
        return 55.0

    def _load(self, batch: list[str], now: float) -> float:
        if self.is_out(now):
            raise OSError("BigQuery does not answer")
        self.loaded += batch
        return self.random.uniform(*MERGE_SECONDS)


@pytest.fixture
def day(deployment: Deployment) -> Day:
    """A day with the limits of what was applied."""
    aws_lambda, sqs = (deployment.account.client(name) for name in ("lambda", "sqs"))
    functions = {}
    for plain in ("fetch-quotes", "load-quotes", "reconcile-quotes", "transform-quotes"):
        name = deployment.outputs["functions"][plain]
        reserve = aws_lambda.get_function_concurrency(FunctionName=name)["ReservedConcurrentExecutions"]
        function = Function(plain, reserve, run=lambda _event, _now: 0.0)
        if plain != "load-quotes":
            asked = aws_lambda.get_function_event_invoke_config(FunctionName=name)
            function.retries = asked["MaximumRetryAttempts"]
            function.max_age_seconds = asked["MaximumEventAgeInSeconds"]
        functions[plain] = function
    load = deployment.outputs["functions"]["load-quotes"]
    (mapping,) = aws_lambda.list_event_source_mappings(FunctionName=load)["EventSourceMappings"]
    url = deployment.outputs["queues"]["archived"]
    attributes = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]
    queue = Queue(
        visibility_seconds=int(attributes["VisibilityTimeout"]),
        max_receives=int(json.loads(attributes["RedrivePolicy"])["maxReceiveCount"]),
        batch_size=mapping["BatchSize"],
        window_seconds=mapping["MaximumBatchingWindowInSeconds"],
        maximum_concurrency=mapping["ScalingConfig"]["MaximumConcurrency"],
    )
    return Day(functions, queue)


def test_a_day_ends_with_every_quote_loaded_and_nothing_failed(day: Day) -> None:
    day.pass_by()
    assert len(day.fetched) > (DAY_MINUTES - 5) * POLLS_A_MINUTE * SYMBOLS, "hardly a minute was lost"
    assert sorted(day.loaded) == sorted(day.fetched)
    assert day.queue.dead == []
    assert day.service.failed == []
    assert day.functions["load-quotes"].throttles == 0
    assert day.functions["fetch-quotes"].throttles > 0, "late schedules did meet running invocations"


def test_five_hundred_symbols_are_loaded_as_they_come(day: Day) -> None:
    """83 quotes a second: a batch has to be as large as a statement carries."""
    ends: list[float] = []
    load = day.functions["load-quotes"].run

    def noted(batch: list[str], now: float) -> float:
        ends.append(now)
        return load(batch, now)

    day.functions["load-quotes"].run = noted
    sent = 83 * MINUTE * 10
    for number in range(sent):
        function = day.functions["load-quotes"]
        day.service.at(
            number / 83, lambda number=number, function=function: day.service.send(day.queue, function, str(number))
        )
    day.service.until_idle()
    assert len(day.loaded) == sent
    assert day.queue.dead == []
    assert max(ends) < 10 * MINUTE + 2 * MERGE_SECONDS[1], "it does not fall behind"


def test_an_outage_of_bigquery_of_fifty_minutes_makes_no_dead_letter(day: Day) -> None:
    day.is_out = lambda moment: 3600 <= moment < 3600 + 50 * MINUTE
    day.pass_by(minutes=180)
    assert sorted(day.loaded) == sorted(day.fetched)
    assert day.queue.dead == []


def test_a_reserve_below_the_triggers_maximum_would_kill_good_messages(day: Day) -> None:
    """As it was before: what keeps this from happening is the reserve, and this fake would show it."""
    day.functions["load-quotes"].reserve = 1
    day.pass_by()
    assert day.functions["load-quotes"].throttles > 0
    assert day.queue.dead != []


def test_a_settling_each_minute_that_may_wait_for_one_would_fill_failed_events(day: Day) -> None:
    """As it was before."""
    day.functions["transform-quotes"] = replace(day.functions["transform-quotes"], max_age_seconds=60)
    day.pass_by(minutes_a_settling=1)
    assert {(name, why) for name, _, why in day.service.failed} == {("transform-quotes", "EventAgeExceeded")}
