"""Calls: a function and its arguments, fire and forget (TK-17)."""

from __future__ import annotations

from typing import Any

import pytest

from conformance9.adapters_task import TaskAdapter
from conformance9.suite.kit import Lingering, never
from conformance9.suite.tasks import KINDS, a_queue, a_queue_of
from conformance9.suite.tools import Log, Stage, holds, interrupted_at, refuses, reported, timing

pytestmark = [pytest.mark.clause("TK-17"), pytest.mark.capability("call")]


@pytest.mark.parametrize("kind", KINDS)
def test_each_call_is_made_once_with_its_arguments(adapter: TaskAdapter, stage: Stage, kind: str) -> None:
    """TK-17: the same function again and again, on an idle queue and on a busy one."""
    queue, log = a_queue_of(kind, adapter, stage), Log()

    def note(*args: Any, **kwargs: Any) -> None:
        log.add((args, kwargs))

    queue.call(note, 0, fn="idle")
    holds("TK-17", log.reached(1), "a call on an idle queue was not made")
    gate = stage.gate()
    queue.call(gate)
    holds("TK-17", gate.entered(), "a call was not made")
    for number in range(1, 50):
        queue.call(note, number, fn="busy")
    gate.go.set()
    queue.drain(timing.limit)
    due = [((number,), {"fn": "busy" if number else "idle"}) for number in range(50)]
    seen = sorted(log.entries, key=repr)
    holds("TK-17", seen == sorted(due, key=repr), f"50 calls were due, there were {len(seen)}: {seen[:3]} ...")


def test_calls_and_tasks_keep_one_order(adapter: TaskAdapter, stage: Stage) -> None:
    """TK-17: whichever was put on the queue first."""
    queue, gate, log = a_queue(adapter, stage), stage.gate(), Log()
    queue.schedule(adapter.task(gate))
    assert gate.entered(), "TK-1: a scheduled task did not run"
    for number in range(40):
        if number % 3:
            queue.call(log.add, number)
        else:
            queue.schedule(adapter.task(lambda task, number=number: log.add(number)))
    gate.go.set()
    queue.drain(timing.limit)
    holds("TK-17", log.entries == list(range(40)), f"40 tasks and calls came in the order {log.entries}")


def test_drain_waits_for_calls(adapter: TaskAdapter, stage: Stage) -> None:
    """TK-17: for one that is being made, and for one that waits."""
    queue, one, two = a_queue(adapter, stage), Lingering(), Lingering()
    queue.call(one)
    assert one.entered(), "TK-17: a call was not made"
    queue.drain(timing.limit)
    holds("TK-17", one.ended, "drain() returned while a call was being made")
    queue.call(Lingering())
    queue.call(two)
    queue.drain(timing.limit)
    holds("TK-17", two.ended, "drain() returned while a call waited")


def test_close_makes_the_calls_that_wait_and_refuses_others(adapter: TaskAdapter, stage: Stage) -> None:
    """TK-17: as for tasks."""
    queue, gate, log = adapter.queue("queue"), stage.gate(), Log()
    queue.call(gate)
    assert gate.entered(), "TK-17: a call was not made"
    for number in range(10):
        queue.call(log.add, number)
    thread = stage.thread(lambda: queue.close(timing.limit))
    holds("TK-17", never(gate.ended) and thread.is_alive(), "close() returned though a call was being made")
    gate.go.set()
    thread.join(timing.limit)
    holds("TK-17", not thread.is_alive(), "close() hangs")
    holds("TK-17", log.entries == list(range(10)), f"of ten calls that waited close() made {log.entries}")
    refuses("TK-17", "a call on a closed queue", adapter.closed_error, lambda: queue.call(log.add, 10))


def test_an_exception_of_a_call_is_reported_and_the_queue_goes_on(adapter: TaskAdapter, stage: Stage) -> None:
    """TK-17: as for tasks."""
    queue, log = a_queue(adapter, stage), Log()
    error = ValueError("of a call")

    def fail() -> None:
        raise error

    with reported() as reports:
        queue.call(fail)
        holds("TK-17", reports.reached(1), "what a call raised was not reported")
        queue.call(log.add, 1)
        holds("TK-17", log.reached(1), "after a call that raised the queue does not go on")
    holds("TK-17", reports.entries == [error], f"what was reported is {reports.entries}")


@pytest.mark.capability("any context")
def test_a_call_may_interrupt_a_call(adapter: TaskAdapter, stage: Stage) -> None:
    """TK-17: between any two bytecodes; both are made when the one that was interrupted has gone on."""
    queue = a_queue(adapter, stage)
    for number in range(2000):
        log = Log()

        def interrupt(log: Log = log) -> None:
            queue.call(log.add, "interrupt")
            log.reached(1, 0.002)  # it may have to wait for who was interrupted; else it is over

        met = interrupted_at(number, lambda log=log: queue.call(log.add, "call"), interrupt)
        holds("TK-17", log.reached(1 + met), f"step {number}: of {1 + met} calls there were {log.entries}")
        queue.drain(timing.limit)  # the queue is idle again
        if not met:
            break
