"""A Lambda that throttles as AWS's does, on its own clock: a day of the flow takes a second.

- A scheduled event that meets a function at its reserve is offered again after 1, 2, 4, … s, until it is too old;
  then it is failed. One whose invocation fails comes again as often as its configuration says.
  https://docs.aws.amazon.com/lambda/latest/dg/invocation-async-error-handling.html
- A batch of SQS that meets a function at its reserve stays hidden for the queue's visibility timeout, and its receives
  count: a message that was received too often goes to the dead letters.
  https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-scaling.html
"""

import heapq
import itertools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

# Lambda's longest pause between two offers of an event.
LONGEST_PAUSE_SECONDS = 300


@dataclass
class Function:
    """A function: how many may run at once, how long one takes, and what happens to its scheduled events."""

    name: str
    reserve: int
    # What an invocation does: the seconds that it takes, from its event and when it begins.
    run: Callable[[Any, float], float]
    retries: int = 0
    max_age_seconds: float = 300
    running: int = 0
    throttles: int = 0


@dataclass
class Message:
    """A message of a queue."""

    body: Any
    receives: int = 0


@dataclass
class Queue:
    """A queue that triggers a function."""

    visibility_seconds: float
    max_receives: int
    batch_size: int
    window_seconds: float
    maximum_concurrency: int
    visible: list[Message] = field(default_factory=list)
    dead: list[Message] = field(default_factory=list)
    batches: int = 0
    gathering: bool = False


class Lambda:
    """The service with its clock."""

    def __init__(self) -> None:
        self.now = 0.0
        # Scheduled events that failed, with why.
        self.failed: list[tuple[str, Any, str]] = []
        self._due: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()

    def at(self, moment: float, act: Callable[[], None]) -> None:
        """Do something at a moment."""
        heapq.heappush(self._due, (moment, next(self._order), act))

    def until_idle(self) -> None:
        """Let time pass until nothing is left to happen."""
        while self._due:
            self.now, _, act = heapq.heappop(self._due)
            act()

    def invoke_event(self, function: Function, event: Any) -> None:
        """Invoke a function asynchronously, as a schedule does."""
        self._offer(function, event, self.now, 0, 0)

    def _offer(self, function: Function, event: Any, since: float, throttled: int, tries: int) -> None:
        if self.now - since > function.max_age_seconds:
            self.failed.append((function.name, event, "EventAgeExceeded"))
        elif function.running >= function.reserve:
            function.throttles += 1
            pause = min(2**throttled, LONGEST_PAUSE_SECONDS)
            self.at(self.now + pause, lambda: self._offer(function, event, since, throttled + 1, tries))
        else:
            self._run(function, event, lambda failed: self._answered(function, event, since, tries, failed))

    def _answered(self, function: Function, event: Any, since: float, tries: int, failed: bool) -> None:
        if failed and tries < function.retries:
            pause = 60 * (tries + 1)
            self.at(self.now + pause, lambda: self._offer(function, event, since, 0, tries + 1))
        elif failed:
            self.failed.append((function.name, event, "RetriesExhausted"))

    def _run(self, function: Function, event: Any, answered: Callable[[bool], None]) -> None:
        function.running += 1
        failed = False
        try:
            seconds = function.run(event, self.now)
        except OSError:
            seconds, failed = 1.0, True

        def end() -> None:
            function.running -= 1
            answered(failed)

        self.at(self.now + seconds, end)

    def send(self, queue: Queue, function: Function, body: Any) -> None:
        """Send a message to a function's queue."""
        queue.visible.append(Message(body))
        self._gather(queue, function)

    def _gather(self, queue: Queue, function: Function) -> None:
        if not queue.gathering:
            queue.gathering = True
            self.at(self.now + queue.window_seconds, lambda: self._receive(queue, function))

    def _receive(self, queue: Queue, function: Function) -> None:
        queue.gathering = False
        while queue.visible and queue.batches < queue.maximum_concurrency:
            batch, queue.visible = queue.visible[: queue.batch_size], queue.visible[queue.batch_size :]
            queue.dead += [message for message in batch if message.receives >= queue.max_receives]
            batch = [message for message in batch if message.receives < queue.max_receives]
            for message in batch:
                message.receives += 1
            if function.running >= function.reserve:
                function.throttles += 1
                self._hide(queue, function, batch)
            elif batch:
                self._load(queue, function, batch)

    def _load(self, queue: Queue, function: Function, batch: list[Message]) -> None:
        queue.batches += 1

        def answered(failed: bool) -> None:
            queue.batches -= 1
            if failed:
                self._hide(queue, function, batch)
            if queue.visible:
                self._gather(queue, function)

        self._run(function, [message.body for message in batch], answered)

    def _hide(self, queue: Queue, function: Function, batch: list[Message]) -> None:
        def show() -> None:
            queue.visible += batch
            self._gather(queue, function)

        self.at(self.now + queue.visibility_seconds, show)
