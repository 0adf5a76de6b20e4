"""Queues for the tests of the workqueue layer, emptied and destroyed when the test ends."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from conformance9.adapters_workqueue import WorkQueueAdapter, WorkQueueLike
from conformance9.suite.tools import Gate, Stage, need, timing

__all__ = ["KINDS", "Payloads", "a_blocked_queue", "a_queue", "a_queue_of", "seen_by"]

#: Queues that keep the same promises; all but the first need the capability of that name.
KINDS = ["ordered", "percpu", "max_active"]


def a_queue(
    adapter: WorkQueueAdapter, stage: Stage, func: Callable[[Any, Any], object], name: str = "queue", **options: Any
) -> WorkQueueLike:
    """A queue that is drained and destroyed at the end of the test."""
    queue = adapter.queue(name, func, **options)

    def end() -> None:
        queue.drain(timing.limit)
        queue.destroy()

    stage.at_end(end)
    return queue


def a_queue_of(
    kind: str, adapter: WorkQueueAdapter, stage: Stage, func: Callable[[Any, Any], object], **options: Any
) -> WorkQueueLike:
    """A queue of one of `KINDS`."""
    if kind == "ordered":
        return a_queue(adapter, stage, func, **options)
    need(adapter, kind)
    options |= {"percpu": True} if kind == "percpu" else {"max_active": 3}
    return a_queue(adapter, stage, func, **options)


class Payloads:
    """A queue function that notes payloads; a payload that can be called is called first."""

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self.seen: list[Any] = []

    def __call__(self, work: Any, arg: Any) -> None:
        """Call, note."""
        payload = work.payload
        if callable(payload):
            payload()
        with self._condition:
            self.seen.append(payload)
            self._condition.notify_all()

    def reached(self, count: int) -> bool:
        """Wait until there are `count`."""
        with self._condition:
            return self._condition.wait_for(lambda: len(self.seen) >= count, timing.limit)

    def plain(self) -> list[Any]:
        """Those that can't be called."""
        return [payload for payload in self.seen if not callable(payload)]


def a_blocked_queue(
    adapter: WorkQueueAdapter, stage: Stage, name: str = "blocked", **options: Any
) -> tuple[WorkQueueLike, Payloads, Gate]:
    """A queue of `Payloads` whose first work is in the function and stays there until the gate is opened."""
    payloads, gate = Payloads(), stage.gate()
    queue = a_queue(adapter, stage, payloads, name, **options)
    assert queue.enqueue(adapter.work(gate)) is True, "WQ-3: enqueue of an idle work must say True"
    assert gate.entered(), "WQ-3: an enqueued work did not run"
    return queue, payloads, gate


def seen_by(log: list[Any]) -> Callable[[Any, Any], None]:
    """A queue function that appends each payload to `log`."""
    return lambda work, arg: log.append(work.payload)
