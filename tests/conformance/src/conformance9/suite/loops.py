"""What the tests of awaiting share (AW-1 to AW-4): asyncio loops, each in a thread of its own.

So a loop that an implementation blocks costs one test, not the run.
"""

from __future__ import annotations

import asyncio
import dataclasses
import threading
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from conformance9.suite.tools import Gate, Stage, Started, holds, os_tids, reported, timing, within

__all__ = [
    "Waiting",
    "abandoned",
    "awaited",
    "begun",
    "cancelled",
    "ends_the_waiting_only",
    "every_waiter_is_woken",
    "in_loop",
    "lets_the_loop_go_on",
    "looks_again_after_a_closed_loop",
    "settles_once",
    "soon",
    "times_out",
]


@dataclasses.dataclass
class Waiting:
    """Something that can be waited for, and how."""

    what: str
    gate: Gate
    """What is waited for is at this gate."""
    call: Callable[[float | None], Awaitable[Any]]
    """Make the awaitable, with a time limit."""
    blocking: Callable[[], object]
    """The call that blocks."""
    result: object
    """What that one returns."""
    afterwards: Callable[[], object]
    """Once the gate is open: show that everything works as ever."""
    often: bool = True
    """Whether several may wait at once."""


def in_loop(clause: str, what: str, main: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
    """Run ``main()`` in a new loop; `clause` is broken if it hangs, AW-3 if anything was raised in the loop itself."""
    errors: list[str] = []
    failures: list[BaseException] = []

    async def guarded() -> Any:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda loop, context: errors.append(f"{context['message']} {context!r}"))
        try:
            return await main()
        except BaseException as error:
            failures.append(error)
            raise

    thread = Started(lambda: asyncio.run(guarded()))
    thread.join(1.5 * timing.limit)
    for failure in failures:  # which may keep the loop from ending
        raise failure
    holds(clause, not thread.is_alive(), f"{what} hangs, or blocks its loop")
    if thread.failure is not None:
        raise thread.failure
    holds("AW-3", not errors, f"{what}: in the loop was raised {errors[:1]}")
    return thread.result


async def awaited(call: Callable[[], Awaitable[Any]]) -> Any:
    """The result of ``await call()``, with the call made by the task that awaits."""
    return await call()


async def begun(clause: str, what: str, call: Callable[[], Awaitable[Any]]) -> asyncio.Task[Any]:
    """A task that awaits ``call()``, when it had a moment for it; it must still wait then."""
    task = asyncio.get_running_loop().create_task(awaited(call))
    done, _ = await asyncio.wait([task], timeout=timing.moment)
    if done:
        holds(clause, False, f"{what} did not wait, but returned {task.result()!r}")
    return task


async def soon(clause: str, what: str, awaitable: Awaitable[Any]) -> Any:
    """Its result; `clause` is broken if that does not come within the limit."""
    task = asyncio.ensure_future(awaitable)
    done, _ = await asyncio.wait([task], timeout=timing.limit)
    holds(clause, done, f"{what} hangs")
    return task.result()


async def cancelled(what: str, *tasks: asyncio.Task[Any]) -> None:
    """Cancel tasks that wait, and have it come to pass (AW-2)."""
    for task in tasks:
        task.cancel()
    done, _ = await asyncio.wait(tasks, timeout=timing.limit)
    holds("AW-2", len(done) == len(tasks), f"{what}, cancelled, hangs")
    holds("AW-2", all(task.cancelled() for task in tasks), f"{what}, cancelled, goes on as if it were not")


def abandoned(clause: str, what: str, call: Callable[[], Awaitable[Any]]) -> asyncio.Task[Any]:
    """A task that waits in a loop that is closed. Keep it: it ends when it is not kept."""
    loop = asyncio.new_event_loop()

    def body() -> asyncio.Task[Any]:
        task = loop.run_until_complete(begun(clause, what, call))
        loop.close()
        task._log_destroy_pending = False  # type: ignore[attr-defined]  # asyncio's: that it never ends is the point
        return task

    task: asyncio.Task[Any] = within(clause, what, body)
    return task


# --- what holds for everything that can be awaited


def lets_the_loop_go_on(waiting: Waiting) -> None:
    """AW-1: the loop goes on meanwhile, no thread waits, and the result is that of the call that blocks."""
    what, count = f"the awaited {waiting.what}", 8 if waiting.often else 1

    async def main() -> None:
        before = os_tids()
        tasks = [await begun("AW-1", what, lambda: waiting.call(None)) for _ in range(count)]
        threads = len(os_tids() - before)
        # One for all of them would not be a thread that a waiter holds.
        holds("AW-1", threads <= (count > 1), f"{threads} threads came for {count} tasks that await {waiting.what}")
        waiting.gate.go.set()
        for task in tasks:
            result = await soon("AW-1", what, task)
            holds("AW-1", waiting.gate.ended.is_set(), f"{what} ended before what it waits for")
            holds("AW-1", result == waiting.result, f"{what} gave {result!r}, not {waiting.result!r}")

    in_loop("AW-1", what, main)
    waiting.afterwards()


def times_out(waiting: Waiting, error: type[Exception]) -> None:
    """AW-1: the time limit is that of the call that blocks."""
    what = f"the awaited {waiting.what} with a time limit"

    async def main() -> None:
        for seconds in (0, timing.moment / 10):
            try:
                result = await soon("AW-1", what, waiting.call(seconds))
            except error:
                continue
            holds("AW-1", False, f"{what} that ran out returned {result!r}")

    in_loop("AW-1", what, main)
    waiting.gate.go.set()
    waiting.afterwards()


def ends_the_waiting_only(waiting: Waiting) -> None:
    """AW-2: what is waited for goes on, and what is called then works as ever."""
    what = f"the awaited {waiting.what}"

    async def main() -> None:
        await cancelled(what, await begun("AW-2", what, lambda: waiting.call(None)))
        holds("AW-2", not waiting.gate.ended.is_set(), f"{what}, cancelled, ended what it waited for")
        waiting.gate.go.set()

    in_loop("AW-2", what, main)
    holds("AW-2", waiting.gate.runs == 1, f"after {what} was cancelled, what runs was run {waiting.gate.runs} times")
    waiting.afterwards()


def settles_once(waiting: Waiting) -> None:
    """AW-3: it comes to pass and is cancelled at the same moment, in both orders; nothing is raised in the loop."""
    what = f"the awaited {waiting.what}"

    async def main() -> None:
        task = await begun("AW-3", what, lambda: waiting.call(None))
        # In the loop's thread, so that the hand-over is under way when it is cancelled.
        waiting.gate.go.set()
        waiting.blocking()
        task.cancel()
        await asyncio.wait([task], timeout=timing.limit)
        holds("AW-3", task.done(), f"{what}, settled and cancelled at once, hangs")
        for _ in range(5):
            await asyncio.sleep(0)

    in_loop("AW-3", what, main)


def looks_again_after_a_closed_loop(stage: Stage, waiting: Waiting) -> None:
    """AW-3: a loop is closed while a task of it waits; a thread that waits is woken, and nothing is reported."""
    what = f"the awaited {waiting.what}"
    with reported() as reports:
        kept = abandoned("AW-3", what, lambda: waiting.call(None))
        thread = stage.thread(waiting.blocking)
        thread.join(timing.moment)
        waiting.gate.go.set()
        thread.join(timing.limit)
        holds("AW-3", not thread.is_alive(), f"after a loop that waited was closed, {waiting.what} hangs in a thread")
        if thread.failure is not None:
            raise thread.failure
        waiting.afterwards()
        holds("AW-3", not reports.entries, f"a loop that waited was closed; that was reported: {reports.entries}")
    holds("AW-3", not kept.done(), "a task of a closed loop can't go on")


def every_waiter_is_woken(waiting: Waiting) -> None:
    """AW-4: two tasks in each of two loops, and two threads."""
    what, woken = f"the awaited {waiting.what}", threading.Semaphore(0)

    async def main() -> None:
        tasks = [await begun("AW-4", what, lambda: waiting.call(None)) for _ in range(2)]
        woken.release()
        for task in tasks:
            await soon("AW-4", what, task)

    threads = [Started(lambda: in_loop("AW-4", what, main)) for _ in range(2)]
    for _ in threads:
        holds("AW-4", woken.acquire(timeout=timing.limit), f"{what} by two loops hangs")
    threads += [Started(waiting.blocking) for _ in range(2)]
    threads[-1].join(timing.moment)
    waiting.gate.go.set()
    for thread in threads:
        thread.join(timing.limit)
        holds("AW-4", not thread.is_alive(), f"of two loops and two threads that wait for {waiting.what} one hangs")
        if thread.failure is not None:
            raise thread.failure
    waiting.afterwards()
