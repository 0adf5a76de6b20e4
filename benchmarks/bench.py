"""How fast the three layers are, beside what a user would take instead, in one run.

The peers take turns in rounds, so that a loud moment of the machine hits all of them, and medians are compared.
Workloads: W1 a burst of no-ops, schedule to last run; W1c a schedule that coalesces, beside a failing try-lock; W3 a
round trip to an idle worker with everything on one CPU; W4 10 000 no-ops on a cold queue; sizes and import times.
See README.md in this directory for the method. The exit status says nothing about speed.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from queue import Queue, SimpleQueue
from typing import Any

import rich.console
import rich.table

import task9
import threadpool9
import workqueue9

FREE_THREADED = not getattr(sys, "_is_gil_enabled", lambda: True)()
CLOCK = time.perf_counter


class NoLock:
    """An interlock for jobs that share nothing."""

    def __enter__(self) -> None:
        pass

    def __exit__(self, *exc: object) -> None:
        pass


def nothing(*args: object) -> None:
    """The work of every burst."""


# --- W1: bursts. Each function returns seconds per item.


def burst_executor(number: int) -> float:
    """ThreadPoolExecutor(2), warm."""
    with ThreadPoolExecutor(2) as executor:
        executor.submit(nothing).result()
        began = CLOCK()
        for _ in range(number):
            future = executor.submit(nothing)
        future.result()
        return (CLOCK() - began) / number


def _queue_loop(queue: Any, number: int) -> float:
    over = threading.Event()

    def loop() -> None:
        while (item := queue.get()) is not None:
            item()

    thread = threading.Thread(target=loop)
    thread.start()
    began = CLOCK()
    for _ in range(number):
        queue.put(nothing)
    queue.put(over.set)
    over.wait()
    took = CLOCK() - began
    queue.put(None)
    thread.join()
    return took / number


def burst_queue(number: int) -> float:
    """queue.Queue and a thread."""
    return _queue_loop(Queue(), number)


def burst_simplequeue(number: int) -> float:
    """SimpleQueue and a thread: the limit of pure Python."""
    return _queue_loop(SimpleQueue(), number)


def burst_trio(number: int) -> float:
    """trio's thread cache: a thread for whatever finds none idle, so in portions of 20."""
    from trio.lowlevel import start_thread_soon

    left = threading.Semaphore(0)
    began = CLOCK()
    for _ in range(number // 20):
        for _ in range(20):
            start_thread_soon(nothing, lambda outcome: left.release())
        for _ in range(20):
            left.acquire()
    return (CLOCK() - began) / (number // 20 * 20)


def burst_task(number: int, tasks: list[task9.Task]) -> float:
    """Tasks on a private queue."""
    with task9.TaskQueue("bench") as queue:
        schedule = queue.schedule
        began = CLOCK()
        for task in tasks:
            schedule(task)
        queue.drain()
        return (CLOCK() - began) / number


def burst_work(number: int, works: list[workqueue9.Work]) -> float:
    """Works on an ordered queue."""
    with workqueue9.WorkQueue("bench", nothing) as queue:
        enqueue = queue.enqueue
        began = CLOCK()
        for work in works:
            enqueue(work)
        queue.flush()
        return (CLOCK() - began) / number


def burst_job(number: int, jobs: list[threadpool9.Job]) -> float:
    """Jobs on a warm pool."""
    over = threading.Event()

    def last(job: threadpool9.Job) -> None:
        job.done()
        over.set()

    with threadpool9.get() as pool:
        schedule = pool.schedule
        pool.post(threadpool9.Job(last, NoLock()))
        over.wait()
        over.clear()
        began = CLOCK()
        for job in jobs:
            schedule(job)
        schedule(threadpool9.Job(last, NoLock()))
        over.wait()
        return (CLOCK() - began) / number


# --- W3: round trips, in a process that has one CPU


def round_trip_ours(number: int) -> list[float]:
    """A job and its reply."""
    reply: SimpleQueue[None] = SimpleQueue()

    def fn(job: threadpool9.Job) -> None:
        with job.interlock:
            job.done()
        reply.put(None)

    job = threadpool9.Job(fn)
    times = []
    with threadpool9.get() as pool:
        for _ in range(number):
            began = CLOCK()
            with job.interlock:
                pool.schedule(job)
            reply.get()
            times.append(CLOCK() - began)
    return times


def round_trip_executor(number: int) -> list[float]:
    """A callable and its reply."""
    reply: SimpleQueue[None] = SimpleQueue()
    times = []
    with ThreadPoolExecutor(2) as executor:
        for _ in range(number):
            began = CLOCK()
            executor.submit(reply.put, None)
            reply.get()
            times.append(CLOCK() - began)
    return times


def round_trip_floor(number: int) -> list[float]:
    """Two SimpleQueues: what waking a thread costs."""
    there: SimpleQueue[int] = SimpleQueue()
    back: SimpleQueue[int] = SimpleQueue()

    def loop() -> None:
        while there.get():
            back.put(1)

    thread = threading.Thread(target=loop)
    thread.start()
    times = []
    for _ in range(number):
        began = CLOCK()
        there.put(1)
        back.get()
        times.append(CLOCK() - began)
    there.put(0)
    thread.join()
    return times


def on_one_cpu(number: int) -> None:
    """What the child process does: print medians as JSON."""
    result: dict[str, list[float]] = {}
    for _ in range(5):
        for call in (round_trip_ours, round_trip_executor, round_trip_floor):
            times = sorted(call(number)[number // 10 :])
            result.setdefault(call.__name__, []).append(times[len(times) // 2])
    print(json.dumps({name: statistics.median(values) for name, values in result.items()}))


def in_one_cpu(command: list[str]) -> str:
    """What `command` prints, in a process that has had one CPU from its start: threads are born with what that has."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    try:
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout
    finally:
        os.sched_setaffinity(0, before)


# --- the rest


def cold_tasks(tasks: list[task9.Task]) -> float:
    """10 000 tasks on a queue that has no thread yet."""
    threadpool9.retire_idle()
    began = CLOCK()
    with task9.TaskQueue("cold") as queue:
        for task in tasks:
            queue.schedule(task)
        queue.drain()
        return CLOCK() - began


def cold_executor(number: int) -> float:
    """The same for a fresh ThreadPoolExecutor(8)."""
    began = CLOCK()
    with ThreadPoolExecutor(8) as executor:
        for _ in range(number):
            executor.submit(nothing)
    return CLOCK() - began


def coalesced(number: int) -> tuple[float, float]:
    """Seconds of a schedule that coalesces, and of a failing try-lock."""
    lock = threading.Lock()
    lock.acquire()
    with task9.TaskQueue("coalesce") as queue:
        started, go = threading.Event(), threading.Event()

        def hold(task: task9.Task) -> None:
            started.set()
            go.wait()

        queue.schedule(task9.Task(hold))
        started.wait()
        task = task9.Task(nothing)
        queue.schedule(task)
        schedule, acquire = queue.schedule, lock.acquire
        began = CLOCK()
        for _ in range(number):
            schedule(task)
        ours = CLOCK() - began
        began = CLOCK()
        for _ in range(number):
            acquire(False)
        theirs = CLOCK() - began
        go.set()
    return ours / number, theirs / number


def import_time(statement: str) -> float:
    """Wall seconds of an interpreter that runs `statement`, which it has compiled before."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    began = CLOCK()
    subprocess.run([sys.executable, "-c", statement], check=True, env=environment)
    return CLOCK() - began


def rounds(count: int, calls: dict[str, Callable[[], float]]) -> dict[str, list[float]]:
    """Call each in turn, `count` times, starting with another each time."""
    names = list(calls)
    values: dict[str, list[float]] = {name: [] for name in names}
    for turn in range(count):
        for name in names[turn % len(names) :] + names[: turn % len(names)]:
            values[name].append(calls[name]())
    return values


def measure(quick: bool) -> dict[str, Any]:
    """Everything, as plain data."""
    number = 20_000 if quick else 200_000
    few = number // 10
    tasks = [task9.Task(nothing) for _ in range(number)]
    works = [workqueue9.Work() for _ in range(number)]
    jobs = [threadpool9.Job(lambda job: job.done(), NoLock()) for _ in range(number)]
    # Half a million objects that live on would make each full collection cost more than what is measured.
    gc.collect()
    gc.freeze()
    calls: dict[str, Callable[[], float]] = {
        "ThreadPoolExecutor": lambda: burst_executor(few),
        "queue.Queue loop": lambda: burst_queue(few),
        "SimpleQueue loop": lambda: burst_simplequeue(number),
        "task9 task": lambda: burst_task(number, tasks),
        "workqueue9 work": lambda: burst_work(number, works),
        "threadpool9 job": lambda: burst_job(number, jobs),
    }
    try:
        import trio  # noqa: F401
    except ImportError:
        print("trio is not installed: its thread cache is left out")
    else:
        calls["trio thread cache"] = lambda: burst_trio(few // 4)
    repeat = 3 if quick else 9
    burst = rounds(repeat, calls)
    cold = rounds(repeat, {"ours": lambda: cold_tasks(tasks[:10_000]), "executor": lambda: cold_executor(10_000)})
    pairs = [coalesced(number) for _ in range(repeat)]
    child = in_one_cpu([sys.executable, __file__, "--one-cpu", str(500 if quick else 5000)])
    imports = rounds(
        3 if quick else 15,
        {
            "bare": lambda: import_time("pass"),
            "threadpool9": lambda: import_time("import threadpool9"),
            "attrs and pluggy": lambda: import_time("import attrs, pluggy"),
        },
    )
    task = task9.Task(nothing)
    return {
        "burst": burst,
        "cold": cold,
        "coalesced": pairs,
        "round trip": json.loads(child.splitlines()[-1]),
        "imports": imports,
        "bytes": sys.getsizeof(task) + sys.getsizeof(task._free),
    }


def report(data: dict[str, Any]) -> None:
    """Tables that fit a terminal."""
    console = rich.console.Console(width=79)
    burst = {name: statistics.median(values) for name, values in data["burst"].items()}
    reference = burst["ThreadPoolExecutor"]
    goals = {"task9 task": 12 if FREE_THREADED else 15, "workqueue9 work": 9 if FREE_THREADED else 12}
    goals["threadpool9 job"] = 6 if FREE_THREADED else 8
    table = rich.table.Table(title="W1: a burst of no-ops, schedule to last run")
    for heading in ("", "ns each", "min..max", "x TPE", "goal"):
        table.add_column(heading, justify="left" if not heading else "right")
    for name, median in sorted(burst.items(), key=lambda item: item[1]):
        values = data["burst"][name]
        ratio, goal = reference / median, goals.get(name)
        verdict = "" if goal is None else f">= {goal} {'met' if ratio >= goal else 'NOT met'}"
        spread = f"{min(values) * 1e9:.0f}..{max(values) * 1e9:.0f}"
        table.add_row(name, f"{median * 1e9:.0f}", spread, f"{ratio:.1f}", verdict)
    console.print(table)

    table = rich.table.Table(title="The rest, as ratios")
    for heading in ("", "ratio", "goal"):
        table.add_column(heading, justify="left" if not heading else "right")

    def row(name: str, ratio: float, goal: float | None) -> None:
        verdict = "" if goal is None else f"<= {goal} {'met' if ratio <= goal else 'NOT met'}"
        table.add_row(name, f"{ratio:.2f}", verdict)

    ours, theirs = (statistics.median(column) for column in zip(*data["coalesced"], strict=True))
    row("coalesced schedule / failing try-lock", ours / theirs, 2)
    trip = data["round trip"]
    row("round trip on one CPU / ThreadPoolExecutor", trip["round_trip_ours"] / trip["round_trip_executor"], 0.65)
    row("two SimpleQueues / ThreadPoolExecutor", trip["round_trip_floor"] / trip["round_trip_executor"], None)
    row("round trip on one CPU / two SimpleQueues", trip["round_trip_ours"] / trip["round_trip_floor"], 1.25)
    cold = {name: statistics.median(values) for name, values in data["cold"].items()}
    row("10 000 tasks on a cold queue / ThreadPoolExecutor", cold["ours"] / cold["executor"], 0.06)
    took = {name: statistics.median(values) for name, values in data["imports"].items()}
    ratio = (took["threadpool9"] - took["bare"]) / (took["attrs and pluggy"] - took["bare"])
    row("import threadpool9 / import attrs and pluggy", ratio, 1.3)
    table.add_row("bytes of an idle task with its lock", str(data["bytes"]), "<= 200")
    console.print(table)


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(description="compare the layers with other ways of deferring work")
    parser.add_argument("--quick", action="store_true", help="a smoke test of about 15 seconds")
    parser.add_argument("--json", metavar="FILE", help="write all numbers here")
    parser.add_argument("--one-cpu", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one_cpu:
        on_one_cpu(options.one_cpu)
        return
    build = "free-threaded" if FREE_THREADED else "with the GIL"
    print(f"Python {sys.version.split()[0]} {build}, {os.cpu_count()} CPUs, load {os.getloadavg()[0]:.2f}", flush=True)
    data = measure(options.quick)
    report(data)
    if options.json:
        with open(options.json, "w") as file:
            json.dump(data, file)


if __name__ == "__main__":
    main()
