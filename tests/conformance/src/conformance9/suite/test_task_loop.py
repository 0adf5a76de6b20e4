"""Queues that live in an event loop (TK-19)."""

from __future__ import annotations

import asyncio
import threading
import time
from typing import Any

import pytest

from conformance9.adapters_task import TaskAdapter
from conformance9.suite.loops import in_loop, soon
from conformance9.suite.tools import Log, Stage, Started, holds, refuses, reported, timing

pytestmark = pytest.mark.clause("TK-19")

on_asyncio = pytest.mark.capability("loop")


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
def test_a_loop_that_sleeps_is_woken(adapter: TaskAdapter, stage: Stage) -> None:
    """TK-19: by a schedule in another thread, though nothing else has it come round."""

    async def main() -> None:
        queue = adapter.loop_queue("home", asyncio.get_running_loop())
        scheduled, ran = Log(), asyncio.Event()

        def schedule() -> None:
            time.sleep(timing.moment)  # the loop sleeps by then
            scheduled.add(time.monotonic())
            queue.schedule(adapter.task(lambda task: ran.set()))

        stage.thread(schedule)
        await soon("TK-19", "a task that another thread schedules while the loop sleeps", ran.wait())
        late = time.monotonic() - scheduled.entries[0]
        holds("TK-19", late < timing.limit / 2, f"a loop that sleeps came round {late:.1f} s after a schedule")
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
