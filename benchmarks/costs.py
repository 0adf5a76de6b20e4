"""Workloads: what one operation or one object costs: cancelling, a schedule that coalesces, bytes, an import."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import threading
import tracemalloc
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from queue import SimpleQueue
from typing import Any

from bursts import FAST, finish, nothing
from contest import CLOCK, contestant

import task9
import threadpool9
import workqueue9

# --- cancelling


def _shuffled(units: list[Any]) -> list[Any]:
    random.Random(9).shuffle(units)
    return units


def _cancel_tasks(number: int) -> float:
    gate: SimpleQueue[None] = SimpleQueue()
    with task9.TaskQueue("cancel") as queue:
        queue.call(gate.get)
        units = [task9.Task(nothing) for _ in range(number)]
        for task in units:
            queue.schedule(task)
        _shuffled(units)
        began = CLOCK()
        for task in units:
            task.cancel_async()
        took = CLOCK() - began
        gate.put(None)
    return took / number


@contestant("cancel", "of 40 000 tasks")
def cancel_tasks(scale: float) -> float:
    """All that wait, in random order."""
    return _cancel_tasks(int(40_000 * scale))


@contestant("cancel", "of 4 000 tasks")
def cancel_few_tasks(scale: float) -> float:
    """What each costs in a short queue."""
    return _cancel_tasks(int(4_000 * scale))


@contestant("cancel", "of 40 000 works")
def cancel_works(scale: float) -> float:
    """The same for works."""
    return _cancel_works(int(40_000 * scale))


@contestant("cancel", "of 4 000 works")
def cancel_few_works(scale: float) -> float:
    """What each costs in a short queue."""
    return _cancel_works(int(4_000 * scale))


def _cancel_works(number: int) -> float:
    with workqueue9.WorkQueue[Any, Any]("cancel", nothing) as queue:
        queue.freeze()
        units = [workqueue9.Work[Any]() for _ in range(number)]
        for work in units:
            queue.enqueue(work)
        _shuffled(units)
        began = CLOCK()
        for work in units:
            queue.cancel_async(work)
        return (CLOCK() - began) / number


@contestant("cancel", "of 40 000 futures")
def cancel_futures(scale: float) -> float:
    """The executor's."""
    number = int(40_000 * scale)
    gate: SimpleQueue[None] = SimpleQueue()
    with ThreadPoolExecutor(1) as pool:
        pool.submit(gate.get)
        units = _shuffled([pool.submit(nothing) for _ in range(number)])
        began = CLOCK()
        for future in units:
            future.cancel()
        took = CLOCK() - began
        gate.put(None)
    return took / number


# --- a schedule that coalesces


@contestant("coalesce", "schedule of a pending Task")
def coalesced(scale: float) -> float:
    """One that is pending already."""
    number = int(FAST * scale)
    gate: SimpleQueue[None] = SimpleQueue()
    with task9.TaskQueue("coalesce") as queue:
        queue.call(gate.get)
        task = task9.Task(nothing)
        queue.schedule(task)
        schedule = queue.schedule
        began = CLOCK()
        for _ in range(number):
            schedule(task)
        took = CLOCK() - began
        gate.put(None)
    return took / number


@contestant("coalesce", "failing try-lock")
def try_lock(scale: float) -> float:
    """What a test-and-set costs."""
    number = int(FAST * scale)
    lock = threading.Lock()
    lock.acquire()
    acquire = lock.acquire
    began = CLOCK()
    for _ in range(number):
        acquire(False)
    return (CLOCK() - began) / number


# --- bytes of what is idle, all in


def _register_bytes() -> None:
    def register(name: str, make: Callable[[], Any], end: Callable[[Any], object]) -> None:
        @contestant("bytes", name)
        def size(_scale: float) -> float:
            kept: list[Any] = [make() for _ in range(10)] + [None] * 1000
            tracemalloc.start()
            before = tracemalloc.get_traced_memory()[0]
            for place in range(10, 1010):
                kept[place] = make()
            took = tracemalloc.get_traced_memory()[0] - before
            tracemalloc.stop()
            for unit in kept:
                end(unit)
            return took / 1000

    close = task9.TaskQueue.close
    register("idle Task", lambda: task9.Task(nothing), nothing)
    register("idle Work", lambda: workqueue9.Work(), nothing)
    register("idle Job", lambda: threadpool9.Job(finish), nothing)
    register("idle TaskQueue", lambda: task9.TaskQueue("size"), close)
    register("idle WorkQueue", lambda: workqueue9.WorkQueue("size", nothing), workqueue9.WorkQueue.close)
    register("idle per-CPU TaskQueue", lambda: task9.TaskQueue("size", percpu=True), close)
    register(
        "idle per-CPU WorkQueue",
        lambda: workqueue9.WorkQueue("size", nothing, flags=workqueue9.WQ_PERCPU),
        workqueue9.WorkQueue.close,
    )


_register_bytes()

# --- import times, less the bare interpreter's


def _wall(statement: str) -> float:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    began = CLOCK()
    subprocess.run([sys.executable, "-c", statement], check=True, env=environment)
    return CLOCK() - began


@contestant("import", "import threadpool9")
def import_ours(_scale: float) -> float:
    """What it adds to the start of an interpreter."""
    return _wall("import threadpool9") - _wall("pass")


@contestant("import", "import attrs, pluggy")
def import_needs(_scale: float) -> float:
    """What two libraries of the usual size add."""
    return _wall("import attrs, pluggy") - _wall("pass")
