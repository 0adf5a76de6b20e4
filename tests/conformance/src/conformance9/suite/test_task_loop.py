"""Queues that live in an event loop (TK-19)."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from conformance9.adapters_task import TaskAdapter
from conformance9.suite.loops import in_loop, soon
from conformance9.suite.tasks import a_queue
from conformance9.suite.tools import Log, Stage, Started, holds, need, refuses, reported, timing, wait_until, within

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


async def closed(adapter: TaskAdapter, queue: Any) -> None:
    """Close the queue as its loop can."""
    if "await" in adapter.capabilities:
        await soon("TK-19", "the awaited close() of a queue in this loop", adapter.awaiting(queue).close())
    else:
        thread = Started(lambda: queue.close(timing.limit))
        while thread.is_alive():
            await asyncio.sleep(0.001)


async def reached(log: Log, count: int, what: str) -> None:
    """Wait in the loop for the entries of a log."""
    deadline = time.monotonic() + timing.limit
    while len(log.entries) < count:
        holds("TK-19", time.monotonic() < deadline, f"{what}: {len(log.entries)} of {count} within {timing.limit:g} s")
        await asyncio.sleep(0.001)


# --- where, in which order, how often


@on_asyncio
def test_tasks_run_in_the_thread_of_the_loop_in_order(adapter: TaskAdapter, stage: Stage) -> None:
    """TK-19: whichever thread schedules them; and not inside of the schedule."""
    log = Log()

    async def main() -> None:
        queue = adapter.loop_queue("home", asyncio.get_running_loop())

        def schedule(base: int) -> None:
            for number in range(base, base + 50):
                queue.schedule(adapter.task(lambda task, number=number: log.add((number, threading.get_ident()))))

        schedule(0)
        holds("TK-19", not log.entries, "a task of a loop's queue was run by the schedule itself")
        await reached(log, 50, "tasks that were scheduled in the loop's thread")
        stage.thread(lambda: schedule(50))
        await reached(log, 100, "tasks that were scheduled by another thread")
        due = [(number, threading.get_ident()) for number in range(100)]
        holds("TK-19", log.entries == due, "tasks ran elsewhere than in the loop's thread, or out of order")
        await closed(adapter, queue)

    in_loop("TK-19", "a queue in a loop", main)


@on_asyncio
def test_schedules_before_the_run_coalesce(adapter: TaskAdapter) -> None:
    """TK-19: one run of a task that is pending, one more of a task that runs, as everywhere."""
    log = Log()

    async def main() -> None:
        queue = adapter.loop_queue("home", asyncio.get_running_loop())

        def run(task: Any) -> None:
            log.add("run")
            if len(log.entries) == 1:
                said.extend(queue.schedule(task) for _ in range(3))

        said: list[bool] = []
        task = adapter.task(run)
        first = [queue.schedule(task) for _ in range(100)]
        holds("TK-19", first == [True] + [False] * 99, f"of 100 schedules {sum(first)} said True")
        await reached(log, 2, "a task that was scheduled while it ran")
        holds("TK-19", said == [True, False, False], f"three schedules while it runs said {said}")
        await closed(adapter, queue)
        holds("TK-19", len(log.entries) == 2, f"two runs were due, there were {len(log.entries)}")

    in_loop("TK-19", "a queue in a loop", main)


@on_asyncio
def test_what_was_withdrawn_never_runs(adapter: TaskAdapter) -> None:
    """TK-19: a cancel before the loop has come round says True, exactly."""
    log = Log()

    async def main() -> None:
        queue = adapter.loop_queue("home", asyncio.get_running_loop())
        tasks = [adapter.task(lambda task, number=number: log.add(number)) for number in range(10)]
        for task in tasks:
            queue.schedule(task)
        for task in tasks[::2]:
            holds("TK-19", task.cancel() is True, "cancel() of a task that waits for the loop said False")
        holds("TK-19", tasks[1].pending and not tasks[0].pending, "pending is wrong for a queue in a loop")
        await closed(adapter, queue)
        holds("TK-19", log.entries == [1, 3, 5, 7, 9], f"of ten tasks every second was cancelled; run: {log.entries}")

    in_loop("TK-19", "a queue in a loop", main)


@on_asyncio
def test_a_task_that_schedules_itself_lets_the_loop_go_on(adapter: TaskAdapter) -> None:
    """TK-19: between two of its runs the loop does what else there is to do."""
    runs, rounds = 0, 10_000

    async def main() -> None:
        nonlocal runs
        loop = asyncio.get_running_loop()
        queue = adapter.loop_queue("home", loop)

        def again(task: Any) -> None:
            nonlocal runs
            runs += 1
            if runs < rounds and not stop:
                queue.schedule(task)

        stop: list[bool] = []
        queue.schedule(adapter.task(again))
        deadline = time.monotonic() + timing.limit
        while runs < 5 and time.monotonic() < deadline:
            await asyncio.sleep(0)
        stop.append(True)
        holds("TK-19", runs >= 5, f"a task that schedules itself ran {runs} times")
        holds("TK-19", runs < rounds, f"the loop did not come round before a task had run {rounds} times")
        await closed(adapter, queue)

    in_loop("TK-19", "a queue in a loop", main)


@on_asyncio
def test_an_exception_is_reported_and_the_loop_goes_on(adapter: TaskAdapter) -> None:
    """TK-19: as of every queue; it does not get to the loop."""
    log, error = Log(), ValueError("of a task")

    def fail(task: Any) -> None:
        raise error

    async def main() -> None:
        queue = adapter.loop_queue("home", asyncio.get_running_loop())
        queue.schedule(adapter.task(fail))
        queue.schedule(adapter.task(log.add))
        await reached(log, 1, "a task after one that raised")
        await closed(adapter, queue)

    with reported() as reports:
        in_loop("TK-19", "a queue in a loop", main)
        holds("TK-19", reports.entries == [error], f"a task raised; what was reported is {reports.entries}")


@on_asyncio
def test_a_loop_s_queue_owns_no_thread(adapter: TaskAdapter) -> None:
    """TK-19: no more Python threads with it and its tasks than without."""
    log = Log()

    async def main() -> None:
        adapter.settle()
        before = threading.active_count()
        queue = adapter.loop_queue("home", asyncio.get_running_loop())
        for _ in range(10):
            queue.schedule(adapter.task(log.add))
        await reached(log, 10, "tasks of a loop's queue")
        holds("TK-19", threading.active_count() <= before, "a queue in a loop has started a thread")
        await closed(adapter, queue)

    in_loop("TK-19", "a queue in a loop", main)


@on_asyncio
@pytest.mark.capability("delayed")
def test_delayed_tasks_run_in_the_loop_too(adapter: TaskAdapter) -> None:
    """TK-19: not early; what is armed when the queue is closed is cancelled, and named."""
    log = Log()

    async def main() -> None:
        queue = adapter.loop_queue("home", asyncio.get_running_loop())
        begun = time.monotonic()
        queue.schedule_delayed(
            adapter.delayed(lambda task: log.add((time.monotonic(), threading.get_ident()))), timing.moment
        )
        armed = adapter.delayed(lambda task: log.add("armed"))
        queue.schedule_delayed(armed, 1000)
        await reached(log, 1, "a delayed task")
        when, where = log.entries[0]
        holds("TK-19", when - begun >= timing.moment, "a delayed task of a loop's queue ran early")
        holds("TK-19", where == threading.get_ident(), "a delayed task ran elsewhere than in the loop's thread")
        holds("TK-19", armed.pending, "a task that is armed is not pending")
        await closed(adapter, queue)
        holds("TK-19", not armed.pending, "close() has left a task armed")

    in_loop("TK-19", "a queue in a loop", main)


@on_asyncio
@pytest.mark.capability("submit", "await")
def test_results_come_back_to_the_loop_and_to_threads(adapter: TaskAdapter, stage: Stage) -> None:
    """TK-19: of calls that run in the loop, awaited there, and waited for elsewhere."""

    async def main() -> None:
        queue = adapter.loop_queue("home", asyncio.get_running_loop())
        here = threading.get_ident()
        what = "an awaited call of this loop's queue"
        holds("TK-19", await soon("TK-19", what, queue.submit(threading.get_ident)) == here, "it ran elsewhere")
        thread = stage.thread(lambda: queue.submit(threading.get_ident).result(timing.limit))
        while thread.is_alive():
            await asyncio.sleep(0.001)
        holds("TK-19", thread.result == here, f"a call submitted by another thread gave {thread.result}")
        await closed(adapter, queue)

    in_loop("TK-19", "a queue in a loop", main)


# --- waiting for it


@on_asyncio
def test_another_thread_may_wait_for_the_loop(adapter: TaskAdapter, stage: Stage) -> None:
    """TK-19: drain() returns when all that was scheduled before has run."""
    log = Log()

    async def main() -> None:
        queue = adapter.loop_queue("home", asyncio.get_running_loop())

        def body() -> int:
            for _ in range(20):
                queue.schedule(adapter.task(log.add))
            queue.drain(timing.limit)
            return len(log.entries)

        for number in range(1, 6):
            thread = stage.thread(body)
            while thread.is_alive():
                await asyncio.sleep(0.0005)
            holds("TK-19", thread.result == 20 * number, f"drain() by a thread, and {thread.result} tasks had run")
        await closed(adapter, queue)

    in_loop("TK-19", "drain() by another thread", main)


@on_asyncio
def test_blocking_the_loop_for_its_own_queue_is_refused(adapter: TaskAdapter) -> None:
    """TK-19: it would never end; an error, and nothing was changed."""
    log = Log()

    async def main() -> None:
        queue = adapter.loop_queue("home", asyncio.get_running_loop())
        for _ in range(2):  # before its first task, and after
            queue.schedule(adapter.task(log.add))
            for name in ("drain", "close"):
                refuses(
                    "TK-19",
                    f"{name}() in the loop's own thread",
                    adapter.usage_error,
                    lambda name=name: getattr(queue, name)(),
                )
            await reached(log, 1, "a task after a drain() that was refused")
        await closed(adapter, queue)

    in_loop("TK-19", "blocking the loop", main)


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
