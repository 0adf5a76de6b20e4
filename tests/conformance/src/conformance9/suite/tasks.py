"""Queues for the tests of the task layer, ended when the test ends."""

from __future__ import annotations

from typing import Any

from conformance9.adapters_task import QueueLike, SharedLike, TaskAdapter
from conformance9.suite.tools import Stage, need, timing

__all__ = ["KINDS", "a_queue", "a_queue_of", "a_shared"]

#: Private queues that keep the same promises; all but the first need the capability of that name.
KINDS = ["serial", "percpu", "concurrency"]


def a_queue(adapter: TaskAdapter, stage: Stage, name: str = "queue", **options: Any) -> QueueLike:
    """A private queue that is closed at the end of the test."""
    queue = adapter.queue(name, **options)
    stage.at_end(lambda: queue.close(timing.limit))
    return queue


def a_queue_of(kind: str, adapter: TaskAdapter, stage: Stage) -> QueueLike:
    """A private queue of one of `KINDS`."""
    if kind == "serial":
        return a_queue(adapter, stage)
    need(adapter, kind)
    return a_queue(adapter, stage, percpu=True) if kind == "percpu" else a_queue(adapter, stage, concurrency=4)


def a_shared(adapter: TaskAdapter, stage: Stage, pri: int) -> SharedLike:
    """A reference to a shared queue that is given back at the end of the test."""
    queue = adapter.shared(pri)
    stage.at_end(lambda: queue.put(timing.limit))
    return queue
