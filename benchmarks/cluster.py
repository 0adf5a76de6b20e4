"""Works on a Dask cluster: a queue with `workqueue9_dask.Cluster` beside `client.submit`, in one run.

    python benchmarks/cluster.py [ROUNDS]

A cluster of two processes with a thread each on this machine. First works of 1, 10 and 100 ms: all are submitted, then
all results are asked for; contestants take turns. The ratio of a round is ours to Dask's. Then works that do nothing,
at several `max_active`: how many a second, and the threads of this process at their most.
"""

from __future__ import annotations

import os
import statistics
import sys
import threading
import time
from typing import Any

import distributed

import workqueue9
import workqueue9_dask

WORKS = {0.001: 400, 0.01: 200, 0.1: 40}


def rest(work: Any, seconds: float) -> Any:
    """Some milliseconds."""
    if seconds:
        time.sleep(seconds)
    return work.payload


def rest_plain(payload: Any, seconds: float) -> Any:
    """The same, as Dask calls it."""
    if seconds:
        time.sleep(seconds)
    return payload


def ours(cluster: Any, seconds: float, count: int, max_active: int) -> float:
    """Seconds for all, and the queue's own end."""
    began = time.perf_counter()
    with workqueue9.WorkQueue[Any, Any]("works", rest, seconds, max_active=max_active, backend=cluster) as queue:
        futures = [queue.submit(number) for number in range(count)]
        for future in futures:
            future.result()
    return time.perf_counter() - began


def theirs(client: Any, seconds: float, count: int) -> float:
    """The same by Dask's client."""
    began = time.perf_counter()
    client.gather([client.submit(rest_plain, number, seconds, pure=False) for number in range(count)])
    return time.perf_counter() - began


def main(rounds: int) -> None:
    """Print a line for each length of works, and for each max_active."""
    print(f"Python {sys.version.split()[0]}, distributed {distributed.__version__}, {os.cpu_count()} CPUs")
    with (
        distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=":0") as machines,
        distributed.Client(machines, set_as_default=False) as client,
    ):
        cluster = workqueue9_dask.Cluster(client)
        print(f"load {os.getloadavg()[0]:.1f}")
        ours(cluster, 0, 100, 64)
        theirs(client, 0, 100)
        for seconds, count in WORKS.items():
            ratios, times = [], []
            for number in range(rounds):
                if number % 2:
                    here, there = ours(cluster, seconds, count, 64), theirs(client, seconds, count)
                else:
                    there, here = theirs(client, seconds, count), ours(cluster, seconds, count, 64)
                ratios.append(here / there)
                times.append(here / count * 1000)
            print(
                f"works of {seconds * 1000:3.0f} ms: {statistics.median(ratios):.2f} ({min(ratios):.2f} to "
                f"{max(ratios):.2f}) x client.submit, {statistics.median(times):.2f} ms each"
            )
        for max_active in (1, 8, 64, 1000):
            count = 200 if max_active == 1 else 1000
            most = 0
            over = threading.Event()

            def watch(over: threading.Event = over) -> None:
                nonlocal most
                while not over.wait(0.01):
                    most = max(most, threading.active_count() - 1)

            watcher = threading.Thread(target=watch)
            watcher.start()
            took = ours(cluster, 0, count, max_active)
            over.set()
            watcher.join()
            print(f"max_active {max_active:4}: {count / took:6.0f} works a second, {most} threads")
    print(f"load {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 5)
