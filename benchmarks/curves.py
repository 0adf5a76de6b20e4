"""Workloads for the curves of the manual's page, and the peers that few would take: `bench.py --page` has them too.

A figure is one point: seconds per item, for so many items, so much work in each, so many threads.
"""

from __future__ import annotations

import asyncio
import functools
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from queue import SimpleQueue

from bursts import SLOW, loop, nothing
from contest import CLOCK, contestant
from waits import CPUS, Countdown, blob, hashing, throw_futures, throw_jobs

import task9

# --- further peers of the burst, in bulk form where they have one


@contestant("peers", "asyncio.to_thread")
def to_thread(scale: float) -> float:
    """One await after the other would be a round trip, so all at once: through the loop's executor."""
    number = int(SLOW * scale / 10)

    async def burst() -> float:
        asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(2))
        await asyncio.to_thread(nothing)
        began = CLOCK()
        await asyncio.gather(*(asyncio.to_thread(nothing) for _ in range(number)))
        return (CLOCK() - began) / number

    return asyncio.run(burst())


@contestant("peers", "anyio.to_thread", needs="anyio")
def anyio_to_thread(scale: float) -> float:
    """The same in a task group with a limiter of 2."""
    import anyio
    import anyio.to_thread

    number = int(SLOW * scale / 20)

    async def burst() -> float:
        limiter = anyio.CapacityLimiter(2)
        run = functools.partial(anyio.to_thread.run_sync, nothing, limiter=limiter)
        await run()
        began = CLOCK()
        async with anyio.create_task_group() as group:
            for _ in range(number):
                group.start_soon(run)
        return (CLOCK() - began) / number

    return anyio.run(burst)


@contestant("peers", "pebble ThreadPool", needs="pebble")
def pebble_pool(scale: float) -> float:
    """With two workers."""
    import pebble

    number = int(SLOW * scale / 10)
    with pebble.ThreadPool(max_workers=2) as pool:
        pool.schedule(nothing).result()
        began = CLOCK()
        futures = [pool.schedule(nothing) for _ in range(number)]
        for future in futures:
            future.result()
        return (CLOCK() - began) / number


@contestant("peers", "joblib, threads", needs="joblib")
def joblib_threads(scale: float) -> float:
    """Parallel with two threads."""
    import joblib  # type: ignore[import-untyped]

    number = int(SLOW * scale / 10)
    with joblib.Parallel(n_jobs=2, backend="threading") as parallel:
        parallel([joblib.delayed(nothing)()])
        began = CLOCK()
        parallel(joblib.delayed(nothing)() for _ in range(number))
        return (CLOCK() - began) / number


# --- growth: does an item cost the same when there are many?

MANY = {"1e3": 1_000, "1e4": 10_000, "1e5": 100_000, "1e6": 1_000_000, "1e7": 10_000_000}


def _grow_calls(number: int) -> float:
    with task9.TaskQueue("growth") as queue:
        call = queue.call
        began = CLOCK()
        for _ in range(number):
            call(nothing)
        queue.drain()
        return (CLOCK() - began) / number


def _grow_tasks(number: int) -> float:
    with task9.TaskQueue("growth") as queue:
        schedule, make = queue.schedule, task9.Task
        began = CLOCK()
        for _ in range(number):
            schedule(make(nothing))
        queue.drain()
        return (CLOCK() - began) / number


def _grow_executor(number: int) -> float:
    with ThreadPoolExecutor(2) as pool:
        began = CLOCK()
        for _ in range(number):
            future = pool.submit(nothing)
        future.result()
        return (CLOCK() - began) / number


def _register_growth() -> None:
    def register(name: str, grow: Callable[[int], float], number: int) -> None:
        @contestant("growth", name)
        def point(scale: float) -> float:
            return grow(max(100, int(number * scale)))

    for name, grow, most in (
        ("call", _grow_calls, 10**7),
        ("new Task", _grow_tasks, 10**6),
        ("ThreadPoolExecutor", _grow_executor, 10**5),
        ("SimpleQueue loop", lambda number: loop(SimpleQueue(), number), 10**7),
    ):
        for words, number in MANY.items():
            if number <= most:
                register(f"{name}, {words}", grow, number)


_register_growth()

# --- how much work an item must have for the hand-over not to matter: sha256 on all CPUs

SIZES = (0.01, 0.03, 0.1, 0.3, 1, 3)  # milliseconds


def _throw_calls(act: Callable[[], object], number: int, concurrency: int) -> float:
    count = Countdown(number)

    def run() -> None:
        act()
        count.one()

    with task9.TaskQueue("curve", concurrency=concurrency) as queue:
        began = CLOCK()
        for _ in range(number):
            queue.call(run)
        count.wait()
        return CLOCK() - began


def _alone(act: Callable[[], object], number: int) -> float:
    began = CLOCK()
    for _ in range(number):
        act()
    return CLOCK() - began


def _register_sizes() -> None:
    def register(way: str, milliseconds: float, call: Callable[[Callable[[], object], int], float]) -> None:
        @contestant("work size", f"{way}, {milliseconds} ms")
        def point(scale: float) -> float:
            number = max(50, int(100 / milliseconds * scale))
            assert blob(milliseconds)
            return call(hashing(milliseconds), number) / number

    for milliseconds in SIZES:
        register("job", milliseconds, functools.partial(throw_jobs, "curve"))
        register("call", milliseconds, functools.partial(_throw_calls, concurrency=CPUS))
        register("ThreadPoolExecutor", milliseconds, functools.partial(throw_futures, threads=CPUS))
        register("one thread", milliseconds, _alone)


_register_sizes()

# --- how many threads: items that wait for a millisecond

THREADS = (1, 2, 4, 8, 16, 32, 64)


def _register_threads() -> None:
    def register(way: str, threads: int, call: Callable[[Callable[[], object], int, int], float]) -> None:
        @contestant("threads", f"{way}, {threads}")
        def point(scale: float) -> float:
            number = max(20, int(50 * min(threads, 16) * scale))
            return call(functools.partial(time.sleep, 0.001), number, threads) / number

    for threads in THREADS:
        register("call", threads, _throw_calls)
        register("ThreadPoolExecutor", threads, throw_futures)


_register_threads()
