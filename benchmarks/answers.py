"""Results: a burst of submits followed by the results, ours beside `ThreadPoolExecutor`; then one that waits each time.

    python benchmarks/answers.py [ROUNDS]

Rounds in which every contestant has its turn, starting with another one each time; medians, and ratios to the standard
executor with as many workers. Prints the machine's load before and after: the figures mean little beside other work.
"""

from __future__ import annotations

import concurrent.futures
import gc
import os
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import task9
import task9.futures
import workqueue9

BURST, TRIPS = 20_000, 2_000


def nothing(*args: object) -> None:
    """What every call does."""


def burst(submit: Callable[[Any], Any]) -> float:
    """Microseconds for each: submit all of them, then ask for each result."""
    gc.collect()
    began = time.perf_counter()
    futures = [submit(nothing) for _ in range(BURST)]
    for future in futures:
        future.result()
    return (time.perf_counter() - began) / BURST * 1e6


def trips(submit: Callable[[Any], Any]) -> float:
    """Microseconds for each: submit one, and wait for it."""
    gc.collect()
    began = time.perf_counter()
    for _ in range(TRIPS):
        submit(nothing).result()
    return (time.perf_counter() - began) / TRIPS * 1e6


def main(rounds: int) -> None:
    """Print one line for each contestant and number of workers."""
    print(f"Python {sys.version.split()[0]}, {os.cpu_count()} CPUs, load {os.getloadavg()[0]:.1f}")
    for workers in (1, 2, 4):
        with (
            concurrent.futures.ThreadPoolExecutor(workers) as standard,
            task9.futures.ThreadPoolExecutor(workers) as ours,
            task9.TaskQueue("queue", concurrency=workers) as queue,
            workqueue9.WorkQueue("works", nothing, max_active=workers) as works,
        ):
            contestants: dict[str, Callable[[Any], Any]] = {
                "ThreadPoolExecutor": standard.submit,
                "task9.futures.ThreadPoolExecutor": ours.submit,
                "TaskQueue.submit": queue.submit,
                "WorkQueue.submit": works.submit,
            }
            for name, measure in (("submits, then results", burst), ("submit and wait", trips)):
                times: dict[str, list[float]] = {contestant: [] for contestant in contestants}
                order = list(contestants)
                for _ in range(rounds):
                    for contestant in order:
                        times[contestant].append(measure(contestants[contestant]))
                    order.append(order.pop(0))
                medians = {contestant: statistics.median(found) for contestant, found in times.items()}
                base = medians["ThreadPoolExecutor"]
                print(f"{name}, {workers} at once")
                for contestant, median in medians.items():
                    best = min(times[contestant])
                    print(f"  {contestant:34} {median:7.2f} us  best {best:7.2f}  x {base / median:5.2f}")
    print(f"load {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 7)
