"""Queues in loops that a test turns by hand, and closes (TK-19)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from conformance9.adapters_task import TaskAdapter
from conformance9.suite.tasks import a_queue
from conformance9.suite.tools import Log, Stage, Started, holds, need, refuses, timing, wait_until, within

pytestmark = pytest.mark.clause("TK-19")

on_asyncio = pytest.mark.capability("loop")
by_hand = pytest.mark.capability("poster")


class ByHand:
    """A loop that comes round when a test says so."""

    def __init__(self) -> None:
        self.posted: list[Callable[[], object]] = []
        self.closed = False

    def post(self, fn: Callable[[], object]) -> None:
        """Have ``fn()`` called at the next turn."""
        if self.closed:
            raise RuntimeError("this loop is closed")
        self.posted.append(fn)

    def turn(self) -> None:
        """Call what was posted before."""
        posted, self.posted = self.posted, []
        for fn in posted:
            fn()


def a_turned_queue(adapter: TaskAdapter) -> tuple[ByHand, Any]:
    """A loop that is turned by hand, and a queue in it."""
    loop = ByHand()
    return loop, adapter.loop_queue("home", loop)


def turn_until(clause: str, loop: ByHand, what: str, condition: Callable[[], object]) -> None:
    """Turn it while others wait for it."""

    def look() -> object:
        loop.turn()
        return condition()

    holds(clause, wait_until(look), f"{what} hangs though the loop comes round")


def ended(loop: ByHand, queue: Any) -> None:
    """Close the queue from another thread while its loop comes round."""
    thread = Started(lambda: queue.close(timing.limit))
    turn_until("TK-19", loop, "close()", lambda: not thread.is_alive())
    if thread.failure is not None:
        raise thread.failure


# --- turned by hand


@by_hand
def test_schedules_before_a_turn_are_one_hand_over(adapter: TaskAdapter) -> None:
    """TK-19: of one task and of many; and again for the next turn."""
    loop, queue = a_turned_queue(adapter)
    log = Log()
    for number in range(1, 4):
        for _ in range(100):
            queue.schedule(adapter.task(log.add))
        holds("TK-19", len(loop.posted) == 1, f"100 schedules before a turn were {len(loop.posted)} hand-overs")
        loop.turn()
        holds("TK-19", len(log.entries) == 100 * number, f"after turn {number} {len(log.entries)} tasks had run")
    ended(loop, queue)


@by_hand
def test_a_turn_runs_what_waits_when_it_begins(adapter: TaskAdapter) -> None:
    """TK-19: what is scheduled meanwhile, by its own tasks too, is for the next turn."""
    loop, queue = a_turned_queue(adapter)
    log = Log()

    def again(task: Any) -> None:
        log.add("again")
        if len(log.entries) < 1000:
            queue.schedule(task)

    task = adapter.task(again)
    queue.schedule(task)
    for number in range(1, 6):
        loop.turn()
        holds(
            "TK-19",
            len(log.entries) == number,
            f"in {number} turns a task that schedules itself ran {len(log.entries)} times",
        )
    holds("TK-19", task.cancel() is True, "cancel() of a task that waits for the loop said False")
    loop.turn()
    holds("TK-19", len(log.entries) == 5, "a task that was cancelled ran")
    ended(loop, queue)


@by_hand
def test_a_loop_inside_of_a_task_runs_nothing_beside_it(adapter: TaskAdapter) -> None:
    """TK-19: as a dialog's; one task at a time, and what came meanwhile comes afterwards."""
    loop, queue = a_turned_queue(adapter)
    log = Log()

    def modal(task: Any) -> None:
        log.add("modal begins")
        queue.schedule(adapter.task(lambda task: log.add("inside")))
        loop.turn()
        log.add("modal ends")

    queue.schedule(adapter.task(modal))
    for _ in range(3):
        loop.turn()
    due = ["modal begins", "modal ends", "inside"]
    holds("TK-19", log.entries == due, f"a task ran in the middle of another one: {log.entries}")
    ended(loop, queue)


# --- closed loops


@on_asyncio
def test_a_closed_asyncio_loop_is_an_error(adapter: TaskAdapter, stage: Stage) -> None:
    """TK-19: for who schedules; the task is idle, and another queue takes it."""
    loop = asyncio.new_event_loop()
    queue, log = adapter.loop_queue("home", loop), Log()
    loop.close()
    _refuses_new_tasks(adapter, stage, queue, log)


@by_hand
def test_a_closed_loop_is_an_error(adapter: TaskAdapter, stage: Stage) -> None:
    """TK-19: also after it has run something."""
    loop, queue = a_turned_queue(adapter)
    log = Log()
    queue.schedule(adapter.task(lambda task: None))
    loop.turn()
    loop.closed = True
    _refuses_new_tasks(adapter, stage, queue, log)


def _refuses_new_tasks(adapter: TaskAdapter, stage: Stage, queue: Any, log: Log) -> None:
    task = adapter.task(log.add)
    for _ in range(2):
        refuses("TK-19", "schedule on a loop that is closed", adapter.loop_error, lambda: queue.schedule(task))
        holds("TK-19", not task.pending, "a schedule that was refused left the task pending")
    other = a_queue(adapter, stage)
    other.schedule(task)
    holds("TK-19", log.reached(1), "a task that a closed loop had refused does not run elsewhere")
    within("TK-19", "close() of an idle queue whose loop is closed", lambda: queue.close(timing.limit))


@by_hand
@pytest.mark.parametrize("call", ["drain", "close", "result"])
@pytest.mark.parametrize("when", ["before", "meanwhile"])
def test_who_waits_for_a_closed_loop_is_not_left_hanging(
    adapter: TaskAdapter, stage: Stage, call: str, when: str
) -> None:
    """TK-19: an error, whether it was closed before or while somebody waits."""
    if call == "result":
        need(adapter, "submit")
    loop, queue = a_turned_queue(adapter)
    task = adapter.task(lambda task: None)
    future: Any = queue.submit(int) if call == "result" else None
    queue.schedule(task)
    if when == "before":
        loop.closed = True
    waits = {"drain": queue.drain, "close": queue.close}.get(call) or future.result

    def body() -> str:
        try:
            waits()
        except adapter.loop_error:
            return "an error"
        return "returned"

    thread = stage.thread(body)
    if when == "meanwhile":
        thread.join(timing.moment)
        holds("TK-19", thread.is_alive(), f"{call}() did not wait for a loop that has not come round")
        loop.closed = True
    thread.join(timing.limit)
    holds("TK-19", not thread.is_alive(), f"{call}() hangs though the loop is closed")
    holds("TK-19", thread.result == "an error", f"{call}() of what never ran: {thread.result or thread.failure!r}")
    within("TK-19", "close() of a queue whose loop is closed", lambda: _closed_quietly(adapter, queue))
    holds("TK-19", not task.pending, "after close() a task still waits for a loop that is closed")


@by_hand
def test_what_waits_for_a_closed_loop_can_be_withdrawn(adapter: TaskAdapter) -> None:
    """TK-19: it never runs, and the queue is idle."""
    loop, queue = a_turned_queue(adapter)
    task = adapter.task(lambda task: None)
    queue.schedule(task)
    loop.closed = True
    holds("TK-19", within("TK-19", "cancel()", task.cancel) is True, "cancel() of what never ran said False")
    within("TK-19", "close() of a queue whose loop is closed", lambda: _closed_quietly(adapter, queue))


def _closed_quietly(adapter: TaskAdapter, queue: Any) -> None:
    try:
        queue.close(timing.limit)
    except adapter.loop_error:
        pass
