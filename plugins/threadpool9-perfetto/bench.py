#!/usr/bin/env python3
"""What tracing costs: the same work untraced and traced, taking turns in one process.

    python plugins/threadpool9-perfetto/bench.py [ROUNDS] [DIR]

For each workload the fastest untraced round, the fastest traced one, and their ratio: once by the clock, once by the
CPU time of the process, which other programs on the machine disturb less. The rounds take turns, so that what does
disturb hits both alike. Writing the file is timed by itself: it happens afterwards.
"""

from __future__ import annotations

import hashlib
import platform
import sys
import sysconfig
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from time import perf_counter, process_time

import task9
import threadpool9
import workqueue9
from threadpool9_perfetto import start, stop

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "examples" / "archive"))

BLOCK = bytes(100_000)


def jobs(count: int = 3000) -> None:
    """Empty jobs, each scheduled after the one before has run."""
    over = threading.Semaphore(0)

    def fn(job: threadpool9.Job) -> None:
        with job.interlock:
            job.done()
        over.release()

    job = threadpool9.Job(fn)
    for _ in range(count):
        pool.post(job)
        over.acquire()


def tasks(count: int = 10_000) -> None:
    """Empty tasks, in bursts on a private queue."""
    mine = [task9.Task(lambda task: None) for _ in range(100)]
    for _ in range(count // 100):
        for task in mine:
            queue.schedule(task)
        queue.drain()


def works(count: int = 10_000) -> None:
    """Empty works, in bursts on an ordered queue."""
    burst(empty, count // 100)


def hashing(count: int = 2000) -> None:
    """Works of some 50 microseconds: SHA-256 of 100 kB."""
    burst(hashed, count // 100)


def burst(wq: workqueue9.WorkQueue, times: int) -> None:
    """A hundred works at once, so many times."""
    mine = [workqueue9.Work() for _ in range(100)]
    for _ in range(times):
        for work in mine:
            wq.enqueue(work)
        wq.flush()


def demo() -> None:
    """The example's packing of a directory, into an archive that is thrown away."""
    from pack import Pack
    from stopping import Stop
    from store import Archive

    with tempfile.TemporaryDirectory() as place, Archive(Path(place) / "archive", write=True) as archive:
        Pack(directory, archive, Stop(), exclude=["site-packages", "test"]).run()


def timed(workload: Callable[[], None]) -> tuple[float, float]:
    """Seconds that it takes, and seconds of CPU time."""
    begun = perf_counter(), process_time()
    workload()
    return perf_counter() - begun[0], process_time() - begun[1]


def main(rounds: int) -> None:
    """Measure and print."""
    print(f"Python {platform.python_version()}, {len(threadpool9.allowed_cpus())} CPUs, {rounds} rounds each")
    print(f"{'':8} {'untraced':>10} {'traced':>10} {'ratio':>6} {'CPU':>10} {'traced':>10} {'ratio':>6} ", end="")
    print(f"{'records':>8} {'writing':>9}")
    with tempfile.TemporaryDirectory() as place:
        for workload in (jobs, tasks, works, hashing, demo):
            workload()
            plain, traced, writing = [], [], []
            for _ in range(rounds):
                plain.append(timed(workload))
                start(Path(place) / "trace.json", capacity=10_000_000, quiet=True)
                traced.append(timed(workload))
                begun = perf_counter()
                summary = stop()
                writing.append(perf_counter() - begun)
            line = f"{workload.__name__:8}"
            for clock in (0, 1):
                before, after = min(times[clock] for times in plain), min(times[clock] for times in traced)
                line += f" {before * 1e3:7.1f} ms {after * 1e3:7.1f} ms {after / before:6.2f}"
            print(f"{line} {summary.records:8} {min(writing) * 1e3:6.0f} ms", flush=True)


if __name__ == "__main__":
    directory = sys.argv[2] if len(sys.argv) > 2 else sysconfig.get_path("stdlib")
    pool = threadpool9.get()
    queue = task9.TaskQueue("tasks")
    empty = workqueue9.WorkQueue("empty", lambda work, arg: None)
    hashed = workqueue9.WorkQueue("hashed", lambda work, arg: hashlib.sha256(BLOCK).digest())
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 11)
