"""Workloads: event loops: an answer that is awaited; a schedule on a queue that lives in a loop, and coalesces."""

from __future__ import annotations

import asyncio
import statistics
import threading
from collections.abc import Awaitable, Callable
from typing import Any

from bursts import nothing
from contest import CLOCK, contestant

import task9

TRIPS, SCHEDULES = 2_000, 50_000

# --- `await` of a no-op, one after the other, in a process that has one CPU: a round trip through a thread

Ask = Callable[[], Awaitable[Any]]


async def _trips(ask: Ask, number: int) -> float:
    times = []
    for _ in range(number + number // 10):
        began = CLOCK()
        await ask()
        times.append(CLOCK() - began)
    return statistics.median(times[number // 10 :])


async def _submits(number: int) -> float:
    async with task9.TaskQueue("bench") as queue:
        return await _trips(lambda: queue.submit(nothing), number)


@contestant("await", "asyncio, submit")
def await_on_asyncio(scale: float) -> float:
    """Ours."""
    return asyncio.run(_submits(int(TRIPS * scale)))


@contestant("await", "asyncio.to_thread")
def to_thread(scale: float) -> float:
    """What one would take instead."""
    return asyncio.run(_trips(lambda: asyncio.to_thread(nothing), int(TRIPS * scale)))


@contestant("await", "trio, submit", "trio")
def await_on_trio(scale: float) -> float:
    """Ours."""
    import trio

    return float(trio.run(_submits, int(TRIPS * scale)))


@contestant("await", "trio.to_thread.run_sync", "trio")
def run_sync(scale: float) -> float:
    """What one would take instead."""
    import trio

    return float(trio.run(_trips, lambda: trio.to_thread.run_sync(nothing), int(TRIPS * scale)))


# --- schedules from a thread while the loop is busy: all of them are one run, or one call each


def _from_a_thread(schedule: Callable[[Any], object], unit: object, number: int) -> float:
    """Seconds for each; called in the loop's thread, which does nothing else meanwhile."""
    took: list[float] = []

    def burst() -> None:
        began = CLOCK()
        for _ in range(number):
            schedule(unit)
        took.append(CLOCK() - began)

    thread = threading.Thread(target=burst)
    thread.start()
    thread.join()
    return took[0] / number


async def _schedules(loop: object, number: int) -> float:
    async with task9.TaskQueue("home", on=loop) as home:
        return _from_a_thread(home.schedule, task9.Task(nothing), number)


@contestant("home", "asyncio, schedule")
def schedule_on_asyncio(scale: float) -> float:
    """Ours."""

    async def main() -> float:
        return await _schedules(asyncio.get_running_loop(), int(SCHEDULES * scale))

    return asyncio.run(main())


@contestant("home", "call_soon_threadsafe")
def call_soon(scale: float) -> float:
    """What one would take instead."""

    async def main() -> float:
        loop = asyncio.get_running_loop()
        return _from_a_thread(loop.call_soon_threadsafe, nothing, int(SCHEDULES * scale))

    return asyncio.run(main())


@contestant("home", "trio, schedule", "trio")
def schedule_on_trio(scale: float) -> float:
    """Ours."""
    import trio

    async def main() -> float:
        return await _schedules(trio.lowlevel.current_trio_token(), int(SCHEDULES * scale))

    return float(trio.run(main))


@contestant("home", "run_sync_soon", "trio")
def sync_soon(scale: float) -> float:
    """What one would take instead."""
    import trio

    async def main() -> float:
        token = trio.lowlevel.current_trio_token()
        return _from_a_thread(token.run_sync_soon, nothing, int(SCHEDULES * scale))

    return float(trio.run(main))
