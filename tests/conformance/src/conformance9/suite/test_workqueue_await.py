"""Awaiting a work queue (AW-1 to AW-4, WQ-14)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from conformance9.adapters_workqueue import WorkQueueAdapter, WorkQueueLike
from conformance9.suite.loops import (
    Waiting,
    abandoned,
    begun,
    cancelled,
    ends_the_waiting_only,
    every_waiter_is_woken,
    in_loop,
    lets_the_loop_go_on,
    looks_again_after_a_closed_loop,
    settles_once,
    soon,
    times_out,
)
from conformance9.suite.tools import Gate, Log, Stage, holds, need, refuses, reported, timing, within
from conformance9.suite.works import Payloads, a_blocked_queue, a_queue

pytestmark = pytest.mark.capability("await")

#: What can be awaited, and the capability that it needs.
NEEDS = {"wait()": None, "cancel()": None, "flush()": None, "drain()": None, "disable()": "freeze", "close()": "close"}
#: Of these what many may wait for at once.
OFTEN = ["wait()", "cancel()", "flush()", "drain()"]


def a_waiting(kind: str, adapter: WorkQueueAdapter, stage: Stage) -> Waiting:
    """A work at a gate, and somebody who could wait for it."""
    if (capability := NEEDS[kind]) is not None:
        need(adapter, capability)
    gate, payloads, name = stage.gate(), Payloads(), kind.removesuffix("()")
    queue, work = adapter.queue("awaited", payloads), adapter.work(gate)

    def end() -> None:
        queue.drain(timing.limit)
        queue.destroy()

    if kind != "close()":
        stage.at_end(end)
    queue.enqueue(work)
    assert gate.entered(), "WQ-3: an enqueued work did not run"
    args = (work,) if kind in ("wait()", "cancel()", "disable()") else ()

    def call(timeout: float | None) -> Any:
        return getattr(adapter.awaiting(queue), name)(*args, timeout=timeout)

    def blocking() -> Any:
        return getattr(queue, name)(*args, timeout=timing.limit)

    def afterwards() -> None:
        if kind == "close()":
            within("AW-2", "close()", blocking)
            return
        if kind == "disable()":
            queue.enable(work)
        within("AW-2", "flush()", lambda: queue.flush(timing.limit))
        other = adapter.work("afterwards")
        for each in (other, work):
            holds("AW-2", queue.enqueue(each) is True, f"after an awaited {kind} a work is refused")
        within("AW-2", "flush()", lambda: queue.flush(timing.limit))
        holds("AW-2", "afterwards" in payloads.seen, f"after an awaited {kind} a work was not called")

    result = {"cancel()": False, "disable()": False, "close()": ()}.get(kind)
    return Waiting(kind, gate, call, blocking, result, afterwards, kind in OFTEN)


@pytest.mark.clause("AW-1", "WQ-14")
@pytest.mark.parametrize("kind", NEEDS)
def test_awaiting_lets_the_loop_go_on(adapter: WorkQueueAdapter, stage: Stage, kind: str) -> None:
    """AW-1: no thread waits, and the result is that of the call that blocks."""
    lets_the_loop_go_on(a_waiting(kind, adapter, stage))


@pytest.mark.clause("AW-1")
@pytest.mark.capability("timeouts")
@pytest.mark.parametrize("kind", OFTEN)
def test_awaiting_has_the_time_limit_of_the_call_that_blocks(
    adapter: WorkQueueAdapter, stage: Stage, kind: str
) -> None:
    """AW-1: the same error."""
    times_out(a_waiting(kind, adapter, stage), adapter.timeout_error)


@pytest.mark.clause("AW-2")
@pytest.mark.parametrize("kind", NEEDS)
def test_cancelling_the_await_ends_the_waiting_only(adapter: WorkQueueAdapter, stage: Stage, kind: str) -> None:
    """AW-2: the work goes on, the queue is open again, the work may be enqueued again."""
    ends_the_waiting_only(a_waiting(kind, adapter, stage))


@pytest.mark.clause("AW-3")
@pytest.mark.parametrize("kind", OFTEN)
def test_a_hand_over_settles_once(adapter: WorkQueueAdapter, stage: Stage, kind: str) -> None:
    """AW-3: what is waited for comes to pass and the await is cancelled, before the loop has come round."""
    settles_once(a_waiting(kind, adapter, stage))


@pytest.mark.clause("AW-3")
@pytest.mark.parametrize("kind", ["wait()", "cancel()", "flush()"])
def test_a_closed_loop_is_passed_over(adapter: WorkQueueAdapter, stage: Stage, kind: str) -> None:
    """AW-3: the others who wait are woken, and nothing is raised where the work ends."""
    waiting = a_waiting(kind, adapter, stage)
    waiting.afterwards = lambda: None  # the task of the closed loop may keep a cancel() under way
    looks_again_after_a_closed_loop(stage, waiting)


@pytest.mark.clause("AW-4")
@pytest.mark.parametrize("kind", OFTEN)
def test_loops_and_threads_wait_for_one_thing(adapter: WorkQueueAdapter, stage: Stage, kind: str) -> None:
    """AW-4: each is woken."""
    every_waiter_is_woken(a_waiting(kind, adapter, stage))


# --- a full queue


class Full:
    """A queue with room for one work, which it has, while another one is at a gate."""

    def __init__(self, adapter: WorkQueueAdapter, stage: Stage) -> None:
        self.adapter = adapter
        self.queue: WorkQueueLike
        self.queue, self.payloads, self.gate = a_blocked_queue(adapter, stage, max_pending=1)
        self.second: Gate = stage.gate()
        assert self.queue.enqueue(adapter.work(self.second)) is True, (
            "WQ-9: a queue with max_pending=1 must take a work"
        )

    def enqueue(self, work: Any, **kwargs: Any) -> Callable[[], Any]:
        """Make an awaitable enqueue of `work`."""
        return lambda: self.adapter.awaiting(self.queue).enqueue(work, **kwargs)

    def make_room(self) -> None:
        """Have the second work called, which gives its place back, and no further one."""
        self.gate.go.set()
        holds("WQ-9", self.second.entered(), "the second work was not called")


@pytest.mark.clause("AW-1", "WQ-14")
@pytest.mark.capability("max_pending")
def test_an_awaited_enqueue_waits_for_room(adapter: WorkQueueAdapter, stage: Stage) -> None:
    """AW-1: the loop goes on meanwhile; with room it returns at once, and says what the blocking one says."""
    full, what = Full(adapter, stage), "the awaited enqueue() on a full queue"
    works = [adapter.work(number) for number in range(3)]

    async def main() -> None:
        tasks = [await begun("AW-1", what, full.enqueue(work)) for work in works]
        holds("AW-1", not any(work.pending for work in works), f"{what} has enqueued its work while it waits")
        full.make_room()
        full.second.go.set()
        for task in tasks:
            holds("AW-1", (await soon("AW-1", what, task)) is True, f"{what} did not say True")

    in_loop("AW-1", what, main)
    full.queue.flush(timing.limit)
    holds("AW-1", sorted(full.payloads.plain()) == [0, 1, 2], f"of three awaited works {full.payloads.plain()} ran")


@pytest.mark.clause("AW-1")
@pytest.mark.capability("max_pending", "timeouts")
def test_an_awaited_enqueue_gives_up_in_time(adapter: WorkQueueAdapter, stage: Stage) -> None:
    """AW-1: with the error that the blocking one has; the work was not enqueued."""
    full, work = Full(adapter, stage), adapter.work("late")

    async def main() -> None:
        try:
            await soon("AW-1", "enqueue() with a time limit", full.enqueue(work, timeout=timing.moment / 10)())
        except adapter.full_error:
            return
        holds("AW-1", False, "an awaited enqueue() on a full queue, its time limit over, raised nothing")

    in_loop("AW-1", "enqueue() with a time limit", main)
    holds("AW-1", not work.pending, "an awaited enqueue() that gave up left its work pending")


@pytest.mark.clause("AW-2", "WQ-14")
@pytest.mark.capability("max_pending")
@pytest.mark.parametrize("other", ["task", "thread"])
def test_room_goes_past_who_was_cancelled(adapter: WorkQueueAdapter, stage: Stage, other: str) -> None:
    """AW-2: of those who wait for room the first was cancelled; the next one gets it."""
    full, what = Full(adapter, stage), "the awaited enqueue() on a full queue"
    gone, next_one = adapter.work("gone"), adapter.work("next")

    async def main() -> None:
        first = await begun("AW-2", what, full.enqueue(gone))
        second = await _another(stage, other, full, next_one, what)
        await cancelled(what, first)
        full.make_room()
        await _gets_room(second, "the next one", "room went to one who had been cancelled")

    in_loop("AW-2", what, main)
    _only_the_next(full, gone)


@pytest.mark.clause("AW-2", "WQ-14")
@pytest.mark.capability("max_pending")
@pytest.mark.parametrize("other", ["task", "thread"])
def test_room_given_to_who_is_cancelled_goes_to_the_next(adapter: WorkQueueAdapter, stage: Stage, other: str) -> None:
    """AW-2: there is room, the first is woken for it, and is cancelled before its loop has come round."""
    full, what = Full(adapter, stage), "the awaited enqueue() on a full queue"
    gone, next_one = adapter.work("gone"), adapter.work("next")

    async def main() -> None:
        first = await begun("AW-2", what, full.enqueue(gone))
        second = await _another(stage, other, full, next_one, what)
        full.make_room()  # in the loop's thread: what was handed over is still to come
        await cancelled(what, first)
        await _gets_room(second, "the next one", "room that was given to one who was cancelled is lost")

    in_loop("AW-2", what, main)
    _only_the_next(full, gone)


async def _another(stage: Stage, kind: str, full: Full, work: Any, what: str) -> Any:
    """Somebody who waits for room too, and has begun to."""
    if kind == "task":
        return await begun("AW-2", what, full.enqueue(work))
    thread = stage.thread(lambda: full.queue.enqueue(work))
    await asyncio.get_running_loop().run_in_executor(None, thread.join, timing.moment)
    holds("AW-2", thread.is_alive(), "enqueue() on a full queue did not block")
    return thread


async def _gets_room(waiter: Any, who: str, otherwise: str) -> None:
    if isinstance(waiter, asyncio.Task):
        await asyncio.wait([waiter], timeout=timing.limit)
        holds("AW-2", waiter.done(), otherwise)
        holds("AW-2", waiter.result() is True, f"{who} did not get it")
    else:
        await asyncio.get_running_loop().run_in_executor(None, waiter.join, timing.limit)
        holds("AW-2", not waiter.is_alive(), otherwise)


def _only_the_next(full: Full, gone: Any) -> None:
    holds("AW-2", not gone.pending, "an enqueue() that was cancelled has enqueued its work")
    full.second.go.set()
    full.queue.flush(timing.limit)
    holds(
        "AW-2", full.payloads.plain() == ["next"], f"of two that waited for room, one cancelled: {full.payloads.seen}"
    )
    holds("AW-2", full.queue.enqueue(gone) is True, "a work whose enqueue() was cancelled is refused")


@pytest.mark.clause("AW-3")
@pytest.mark.capability("max_pending")
def test_room_goes_past_a_loop_that_is_closed(adapter: WorkQueueAdapter, stage: Stage) -> None:
    """AW-3: the first who waits for room was in a loop that is closed; the next one, a thread, gets it."""
    full, what = Full(adapter, stage), "the awaited enqueue() on a full queue"
    with reported() as reports:
        kept = abandoned("AW-3", what, full.enqueue(adapter.work("gone")))
        thread = stage.thread(lambda: full.queue.enqueue(adapter.work("next")))
        thread.join(timing.moment)
        full.make_room()
        thread.join(timing.limit)
        holds("AW-3", not thread.is_alive(), "room went to a loop that is closed")
        holds("AW-3", not reports.entries, f"a loop that waited was closed; that was reported: {reports.entries}")
    full.second.go.set()
    full.queue.flush(timing.limit)
    holds("AW-3", not kept.done() and full.payloads.plain() == ["next"], f"called were {full.payloads.plain()}")


@pytest.mark.clause("AW-2", "WQ-14")
def test_a_cancelled_drain_opens_the_queue_again(adapter: WorkQueueAdapter, stage: Stage) -> None:
    """AW-2: enqueue is refused while it drains, and not afterwards; with two drains not before the last has ended."""
    log, gate = Log(), stage.gate()
    queue = a_queue(adapter, stage, lambda work, arg: (work.payload or log.add)(work))
    queue.enqueue(adapter.work(gate))
    assert gate.entered(), "WQ-3: an enqueued work did not run"

    async def main() -> None:
        drains = [await begun("AW-2", "the awaited drain()", adapter.awaiting(queue).drain) for _ in range(2)]
        for drain in drains:
            refuses("AW-2", "enqueue while it drains", adapter.usage_error, lambda: queue.enqueue(adapter.work()))
            await cancelled("the awaited drain()", drain)
        try:
            queue.enqueue(adapter.work())
        except adapter.usage_error as error:
            holds("AW-2", False, f"after a drain() that was cancelled the queue stays shut: {error}")
        gate.go.set()

    in_loop("AW-2", "the awaited drain()", main)
    holds("AW-2", log.reached(1), "a work enqueued after a cancelled drain() was not called")
