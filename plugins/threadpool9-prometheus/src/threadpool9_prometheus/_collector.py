"""The collector: the layers' snapshots as metric families, taken when somebody scrapes (TP-34, WQ-12).

Two pools or queues may carry the same labels for a moment (one that closes and its successor, two private queues of
one name); a series may be there once only, so their numbers are added. The counters of a pool or queue go with
it, and a successor begins at 0, which Prometheus takes for a restart; ``threadpool9_process_*`` keep counting.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from itertools import accumulate
from typing import Any

import prometheus_client.registry
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric

import threadpool9

from ._times import BUCKETS, Times, cpu_label

_POOL = ("pri", "cpu")
_LANE = ("queue", "cpu")
_QUEUE = ("queue",)
#: Which powers of two (nanoseconds) of a work queue's own histogram become buckets: 1 microsecond to 69 seconds.
_EXPONENTS = range(10, 37, 2)
_COUNTERS = {
    "scheduled": "Jobs scheduled",
    "started": "Runs of jobs begun",
    "completed": "Runs of jobs that are over",
    "cancelled": "Jobs withdrawn before they ran",
    "errors": "Runs of jobs that raised",
    "threads_started": "Threads started",
    "threads_left": "Threads that have left",
    "start_failures": "Threads that the operating system refused",
}
_WORK_COUNTERS = {
    "enqueued": "Works enqueued",
    "started": "Runs of works begun",
    "completed": "Runs of works that are over",
    "cancelled": "Works withdrawn before they ran",
    "errors": "Runs of works that raised",
}


class _Families:
    """Metric families in the making: numbers with the same labels are added up."""

    def __init__(self) -> None:
        self._made: dict[str, tuple[type[Metric], str, tuple[str, ...], dict[tuple[str, ...], float]]] = {}

    def declare(self, kind: type[Metric], name: str, text: str, labels: tuple[str, ...] = ()) -> None:
        """There is a family of that name, perhaps without samples."""
        self._made[name] = (kind, text, labels, {})

    def add(self, name: str, value: float, *labels: object) -> None:
        """One more number."""
        samples = self._made[name][3]
        key = tuple(map(str, labels))
        samples[key] = samples.get(key, 0.0) + value

    def at_least(self, name: str, value: float, *labels: object) -> None:
        """One more number of which the largest counts."""
        samples = self._made[name][3]
        key = tuple(map(str, labels))
        samples[key] = max(samples.get(key, 0.0), value)

    def __iter__(self) -> Iterator[Metric]:
        for name, (kind, text, labels, samples) in self._made.items():
            family: Any = kind(name, text, labels=labels)  # type: ignore[call-arg]  # the families' constructors
            for key, value in samples.items():
                family.add_metric(key, value)
            yield family


class Collector(prometheus_client.registry.Collector):
    """What `threadpool9_prometheus.register` puts into a registry."""

    def __init__(self, buckets: tuple[float, ...] = BUCKETS) -> None:
        self._times = Times(buckets)

    def start(self) -> None:
        """Begin to measure times. Thread context."""
        threadpool9.register(self._times, f"threadpool9-prometheus-{id(self):x}")

    def stop(self) -> None:
        """Measure no more; what was measured stays. Thread context."""
        threadpool9.unregister(self._times)

    def describe(self) -> Iterator[Metric]:
        """All families without samples, so that a registry can tell clashes."""
        yield from self._declared()
        yield _wait_histogram({})
        yield from self._times.collect()

    def collect(self) -> Iterator[Metric]:
        """All families, from snapshots taken now. Thread context."""
        families = self._declared()
        _pools(families)
        task9, workqueue9 = sys.modules.get("task9"), sys.modules.get("workqueue9")
        if task9 is not None:  # what is not imported has no queues
            _lanes(families, task9.snapshot())
        works = {} if workqueue9 is None else workqueue9.snapshot()
        for name, stats in works.items():
            _works(families, name, stats)
        yield from families
        yield _wait_histogram({name: stats.wait_histogram for name, stats in works.items()})
        yield from self._times.collect()

    @staticmethod
    def _declared() -> _Families:
        families = _Families()
        gauge, counter = GaugeMetricFamily, CounterMetricFamily
        families.declare(gauge, "threadpool9_threads", "Threads by state", (*_POOL, "state"))
        families.declare(gauge, "threadpool9_queue_length", "Jobs that wait for a thread", _POOL)
        families.declare(gauge, "threadpool9_references", "References held to the pool", _POOL)
        families.declare(gauge, "threadpool9_cpu_lost", "1 while the pool's CPU can't be used", _POOL)
        families.declare(gauge, "threadpool9_longest_run_seconds", "Age of the oldest run under way", _POOL)
        families.declare(counter, "threadpool9_hook_errors", "Exceptions that left hooks")
        for field, text in _COUNTERS.items():
            families.declare(counter, f"threadpool9_{field}", f"{text}, of a pool that there is now", _POOL)
            families.declare(counter, f"threadpool9_process_{field}", f"{text}, since the process began")
        families.declare(gauge, "task9_queue_length", "Tasks and works that wait in a queue", _LANE)
        families.declare(gauge, "task9_running", "Tasks and works that run now", _LANE)
        families.declare(counter, "task9_started", "Runs of tasks and works begun", _LANE)
        families.declare(counter, "task9_errors", "Runs of tasks and works that raised", _LANE)
        families.declare(gauge, "task9_armed", "Delayed tasks in the timer")
        families.declare(gauge, "workqueue9_queue_length", "Works that wait, delayed ones included", _QUEUE)
        families.declare(gauge, "workqueue9_running", "Works that run now", _QUEUE)
        for field, text in _WORK_COUNTERS.items():
            families.declare(counter, f"workqueue9_{field}", text, _QUEUE)
        families.declare(counter, "workqueue9_run_seconds", "Time spent in the queue's function", _QUEUE)
        return families


def _pools(families: _Families) -> None:
    snapshot = threadpool9.snapshot()
    families.add("threadpool9_hook_errors", snapshot.hook_errors)
    for field in _COUNTERS:
        families.add(f"threadpool9_process_{field}", getattr(snapshot.counters, field))
    for pool in snapshot.pools:
        labels = (pool.pri, cpu_label(pool.cpu))
        families.add("threadpool9_threads", pool.idle, *labels, "idle")
        families.add("threadpool9_threads", max(0, pool.workers - pool.idle), *labels, "running")
        families.add("threadpool9_queue_length", len(pool.queued), *labels)
        families.add("threadpool9_references", pool.references, *labels)
        families.at_least("threadpool9_cpu_lost", pool.cpu_lost, *labels)
        families.at_least("threadpool9_longest_run_seconds", 0.0, *labels)
        for field in _COUNTERS:
            families.add(f"threadpool9_{field}", getattr(pool.counters, field), *labels)
    for worker in snapshot.workers:
        if worker.state == "running":
            labels = (worker.pool_pri, cpu_label(worker.pool_cpu))
            families.at_least("threadpool9_longest_run_seconds", worker.since, *labels)


def _lanes(families: _Families, snapshot: Any) -> None:
    families.add("task9_armed", snapshot.armed)
    for queue in snapshot.queues:
        for lane in queue.lanes:
            labels = (queue.name, cpu_label(lane.cpu))
            families.add("task9_queue_length", lane.pending, *labels)
            families.add("task9_running", len(lane.running), *labels)
            families.add("task9_started", lane.started, *labels)
            families.add("task9_errors", lane.errors, *labels)


def _works(families: _Families, name: str, stats: Any) -> None:
    families.add("workqueue9_queue_length", stats.pending, name)
    families.add("workqueue9_running", stats.running, name)
    families.add("workqueue9_run_seconds", stats.run_seconds, name)
    for field in _WORK_COUNTERS:
        families.add(f"workqueue9_{field}", getattr(stats, field), name)


def _wait_histogram(queues: dict[str, tuple[int, ...]]) -> Metric:
    """The work queues' own histograms, which are there from the first work on; they know no sum."""
    family = HistogramMetricFamily("workqueue9_wait_seconds", "Time that works waited", labels=_QUEUE)
    for name, counts in queues.items():
        below = [0, *accumulate(counts)]  # below[n + 1] waited less than 2**n nanoseconds
        buckets = [(f"{2**n / 1e9!r}", float(below[n + 1])) for n in _EXPONENTS]
        family.add_metric([name], [*buckets, ("+Inf", float(below[-1]))], None)
    return family
