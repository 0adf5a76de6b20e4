"""Works whose result somebody wants (WQ-16)."""

from __future__ import annotations

import concurrent.futures
import contextvars
from typing import Any

import pytest

from conformance9.adapters_workqueue import WorkQueueAdapter
from conformance9.suite.loops import begun, cancelled, in_loop, soon
from conformance9.suite.tools import Log, Stage, holds, need, refuses, reported, timing, within
from conformance9.suite.works import KINDS, a_queue, a_queue_of

pytestmark = [pytest.mark.clause("WQ-16"), pytest.mark.capability("submit")]

VARIABLE: contextvars.ContextVar[str] = contextvars.ContextVar("VARIABLE", default="nobody's")


def called(work: Any, arg: Any) -> Any:
    """A queue function that returns what its payload does."""
    return work.payload()


@pytest.mark.parametrize("kind", KINDS)
def test_a_future_has_what_the_function_returned_or_raised(adapter: WorkQueueAdapter, stage: Stage, kind: str) -> None:
    """WQ-16: of the queue's function, for this work; what it raised is the future's, and is not reported."""
    queue = a_queue_of(kind, adapter, stage, called, arg="arg")
    error = ValueError("of a work")

    def fail() -> None:
        raise error

    with reported() as reports:
        futures = [queue.submit(lambda number=number: number) for number in range(50)]
        found = [future.result(timing.limit) for future in futures]
        holds("WQ-16", found == list(range(50)), f"fifty works gave {found}")
        holds("WQ-16", isinstance(futures[0], concurrent.futures.Future), "it is no concurrent.futures.Future")
        failed = queue.submit(fail)
        got = failed.exception(timing.limit)
        same = got is error if "local" in adapter.capabilities else repr(got) == repr(error)
        holds("WQ-16", same, f"exception() gave {got!r}")
        refuses("WQ-16", "result() of a work that raised", ValueError, failed.result)
        queue.flush(timing.limit)
    holds("WQ-16", not reports.entries, f"an exception that was asked for was reported: {reports.entries}")


def test_a_submitted_work_keeps_the_queue_s_order(adapter: WorkQueueAdapter, stage: Stage) -> None:
    """WQ-16: with works that were enqueued; flush waits for it."""
    log, gate = Log(), stage.gate()
    queue = a_queue(adapter, stage, lambda work, arg: work.payload())
    queue.enqueue(adapter.work(gate))
    futures = []
    for number in range(0, 20, 2):
        futures.append(queue.submit(lambda number=number: log.add(number)))
        queue.enqueue(adapter.work(lambda number=number: log.add(number + 1)))
    gate.go.set()
    queue.flush(timing.limit)
    holds("WQ-16", log.entries == list(range(20)), f"works and submitted ones came in the order {log.entries}")
    holds("WQ-16", all(future.done() for future in futures), "after a flush a submitted work has no result")


def test_cancel_is_true_exactly_if_the_function_is_not_called(adapter: WorkQueueAdapter, stage: Stage) -> None:
    """WQ-16: before the call, in it, after it."""
    log, gate = Log(), stage.gate()
    queue = a_queue(adapter, stage, called)
    running = queue.submit(gate)
    assert gate.entered(), "WQ-16: a submitted work was not called"
    waiting, other = queue.submit(lambda: log.add("waiting")), queue.submit(lambda: log.add("other"))
    holds("WQ-16", waiting.cancel() is True and waiting.cancelled(), "cancel() of a work that waits said False")
    refuses("WQ-16", "result() of a cancelled work", concurrent.futures.CancelledError, lambda: waiting.result(0))
    holds("WQ-16", running.cancel() is False, "cancel() of a work in the function said True")
    gate.go.set()
    queue.flush(timing.limit)
    holds("WQ-16", log.entries == ["other"], f"one of two works was cancelled; called were {log.entries}")
    holds("WQ-16", running.result(0) is None, "a cancel() in vain spoiled the result")
    holds("WQ-16", other.cancel() is False and not other.cancelled(), "cancel() of what is over said True")


def test_a_queue_that_has_ended_refuses_it(adapter: WorkQueueAdapter) -> None:
    """WQ-16: as enqueue()."""
    queue = adapter.queue("queue", called)
    queue.destroy()
    refuses("WQ-16", "submit on a destroyed queue", adapter.usage_error, lambda: queue.submit(int))


@pytest.mark.capability("local")
def test_the_function_runs_in_the_context_of_who_submits(adapter: WorkQueueAdapter, stage: Stage) -> None:
    """WQ-16: in a copy, or in the context that is given."""
    queue = a_queue(adapter, stage, called)

    def swap() -> str:
        before = VARIABLE.get()
        VARIABLE.set("the work's")
        return before

    def body() -> list[str]:
        VARIABLE.set("the caller's")
        own = contextvars.copy_context()
        own.run(VARIABLE.set, "given")
        found = [queue.submit(swap).result(timing.limit) for _ in range(2)]
        found += [queue.submit(swap, context=own).result(timing.limit) for _ in range(2)]
        return [*found, VARIABLE.get()]

    found = within("WQ-16", "submit()", lambda: contextvars.Context().run(body))
    due = ["the caller's", "the caller's", "given", "the work's", "the caller's"]
    holds("WQ-16", found == due, f"the works saw {found}, not {due}")


@pytest.mark.capability("max_pending")
def test_a_cancelled_work_gives_its_room_back(adapter: WorkQueueAdapter, stage: Stage) -> None:
    """WQ-16: on a queue with room for one."""
    gate = stage.gate()
    queue = a_queue(adapter, stage, called, max_pending=1)
    queue.submit(gate)
    assert gate.entered(), "WQ-16: a submitted work was not called"
    for _ in range(3):
        future = within("WQ-16", "submit() on a queue with room", lambda: queue.submit(int))
        holds("WQ-16", future.cancel() is True, "cancel() of a work that waits said False")
    gate.go.set()


@pytest.mark.capability("await")
def test_a_future_is_awaited(adapter: WorkQueueAdapter, stage: Stage) -> None:
    """WQ-16: its result; to cancel the await ends the waiting only."""
    queue, gate = a_queue(adapter, stage, called), stage.gate()
    need(adapter, "await")

    async def main() -> None:
        future = queue.submit(gate)

        async def result() -> Any:
            return await future

        await cancelled("the awaited future", await begun("WQ-16", "an awaited future", result))
        gate.go.set()
        holds("WQ-16", await soon("WQ-16", "an awaited future", future) is None, "a wrong result")
        holds("WQ-16", await soon("WQ-16", "an awaited future", queue.submit(int)) == 0, "a wrong result")

    in_loop("WQ-16", "an awaited future", main)
