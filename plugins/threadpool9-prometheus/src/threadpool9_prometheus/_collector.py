"""The collector: the layers' snapshots as metric families, taken when somebody scrapes (TP-34, WQ-12).

Two pools or queues may carry the same labels (a pool that closes and its successor, queues of one name); a series may
be there once only, so their numbers are added. What belongs to a pool or queue goes with it, and a successor begins at
0, which Prometheus takes for a restart; ``threadpool9_process_*`` keep counting.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from itertools import accumulate
from typing import Any

import prometheus_client.registry
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric

import threadpool9

from ._times import BUCKETS, JOBS, TASKS, Times, cpu_label, label

_POOL = ("pri", "cpu")
_LANE = ("queue", "cpu")
_QUEUE = ("queue",)
#: Which powers of two (nanoseconds) of a work queue's own histogram become buckets: 1 microsecond to 69 seconds.
_EXPONENTS = range(10, 37, 2)
#: By the counter's field: what the metric is called, and its text.
_COUNTERS = {
    "scheduled": ("jobs_scheduled", "Jobs scheduled"),
    "started": ("jobs_started", "Runs of jobs begun"),
    "completed": ("jobs_completed", "Runs of jobs that are over"),
    "cancelled": ("jobs_cancelled", "Jobs withdrawn before they ran"),
    "errors": ("jobs_failed", "Runs of jobs that raised"),
    "threads_started": ("threads_started", "Threads started"),
    "threads_left": ("threads_left", "Threads that have left"),
    "start_failures": ("threads_refused", "Threads that the operating system refused"),
}
_WORK_COUNTERS = {
    "enqueued": ("works_enqueued", "Works enqueued"),
    "started": ("works_started", "Runs of works begun"),
    "completed": ("works_completed", "Runs of works that are over"),
    "cancelled": ("works_cancelled", "Works withdrawn before they ran"),
    "errors": ("works_failed", "Runs of works that raised"),
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
        key = tuple(map(label, labels))
        samples[key] = samples.get(key, 0.0) + value

    def at_least(self, name: str, value: float, *labels: object) -> None:
        """One more number of which the largest counts."""
        samples = self._made[name][3]
        key = tuple(map(label, labels))
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
        self.buckets = tuple(buckets)
        self._times = Times(self.buckets)

    def start(self) -> None:
        """Begin to measure times. Thread context."""
        threadpool9.register(self._times, f"threadpool9-prometheus-{id(self):x}")

    def stop(self) -> None:
        """Measure no more; what was measured stays. Thread context."""
        threadpool9.unregister(self._times)

    def describe(self) -> Iterator[Metric]:
        """All families without samples, so that a registry can tell clashes."""
        yield from self._declared()
        yield _waits(())
        yield from self._times.collect(())

    def collect(self) -> Iterator[Metric]:
        """All families, from snapshots taken now. Thread context."""
        families = self._declared()
        _pools(families)
        # Before the snapshot: what is noted now and not in it belongs to a queue that is gone.
        noted = self._times.queues()
        task9, workqueue9 = sys.modules.get("task9"), sys.modules.get("workqueue9")
        if task9 is not None:  # what is not imported has no queues
            noted -= _lanes(families, task9.snapshot())
        works = workqueue9.snapshot() if workqueue9 is not None else ()
        for stats in works:
            _works(families, stats)
        for pri, cpu, seconds in self._times.longest(JOBS):
            families.at_least("threadpool9_longest_run_seconds", seconds, pri, cpu)
        for queue, cpu, seconds in self._times.longest(TASKS):
            families.at_least("task9_longest_run_seconds", seconds, queue, cpu)
        yield from families
        yield _waits(works)
        yield from self._times.collect(noted)

    @staticmethod
    def _declared() -> _Families:
        families = _Families()
        gauge, counter = GaugeMetricFamily, CounterMetricFamily
        families.declare(gauge, "threadpool9_threads", "Threads by state", (*_POOL, "state"))
        families.declare(gauge, "threadpool9_jobs_queued", "Jobs that wait for a thread", _POOL)
        families.declare(gauge, "threadpool9_references", "References held to the pool", _POOL)
        families.declare(gauge, "threadpool9_cpu_lost", "1 while the pool's CPU can't be used", _POOL)
        families.declare(gauge, "threadpool9_longest_run_seconds", "Age of the oldest run of a job under way", _POOL)
        families.declare(counter, "threadpool9_hook_errors", "Exceptions that left hooks")
        for name, text in _COUNTERS.values():
            families.declare(counter, f"threadpool9_{name}", f"{text}, of a pool that there is now", _POOL)
            families.declare(counter, f"threadpool9_process_{name}", f"{text}, since the process began")
        families.declare(gauge, "task9_tasks_queued", "Tasks and works that wait in a queue", _LANE)
        families.declare(gauge, "task9_tasks_running", "Tasks and works that run now", _LANE)
        families.declare(gauge, "task9_longest_run_seconds", "Age of the oldest run of a task or work under way", _LANE)
        families.declare(counter, "task9_tasks_started", "Runs of tasks and works begun", _LANE)
        families.declare(counter, "task9_tasks_failed", "Runs of tasks and works that raised", _LANE)
        families.declare(gauge, "task9_tasks_armed", "Delayed tasks in the timer")
        families.declare(gauge, "workqueue9_works_queued", "Works that wait, delayed ones included", _QUEUE)
        families.declare(gauge, "workqueue9_works_running", "Works that run now", _QUEUE)
        for name, text in _WORK_COUNTERS.values():
            families.declare(counter, f"workqueue9_{name}", text, _QUEUE)
        families.declare(counter, "workqueue9_work_run_seconds", "Time spent in the queue's function", _QUEUE)
        return families


def _pools(families: _Families) -> None:
    snapshot = threadpool9.snapshot()
    families.add("threadpool9_hook_errors", snapshot.hook_errors)
    for field, (name, _) in _COUNTERS.items():
        families.add(f"threadpool9_process_{name}", getattr(snapshot.counters, field))
    for pool in snapshot.pools:
        labels = (pool.pri, cpu_label(pool.cpu))
        families.add("threadpool9_threads", pool.idle, *labels, "idle")
        families.add("threadpool9_threads", max(0, pool.workers - pool.idle), *labels, "running")
        families.add("threadpool9_jobs_queued", len(pool.queued), *labels)
        families.add("threadpool9_references", pool.references, *labels)
        families.at_least("threadpool9_cpu_lost", pool.cpu_lost, *labels)
        families.at_least("threadpool9_longest_run_seconds", 0.0, *labels)
        for field, (name, _) in _COUNTERS.items():
            families.add(f"threadpool9_{name}", getattr(pool.counters, field), *labels)


def _lanes(families: _Families, snapshot: Any) -> set[tuple[str, str]]:
    """The labels of all queues that there are."""
    there = set()
    families.add("task9_tasks_armed", snapshot.armed)
    for queue in snapshot.queues:
        for lane in queue.lanes:
            labels = (label(queue.name), cpu_label(lane.cpu))
            there.add(labels)
            families.add("task9_tasks_queued", lane.pending, *labels)
            families.add("task9_tasks_running", len(lane.running), *labels)
            families.at_least("task9_longest_run_seconds", 0.0, *labels)
            families.add("task9_tasks_started", lane.started, *labels)
            families.add("task9_tasks_failed", lane.errors, *labels)
    return there


def _works(families: _Families, stats: Any) -> None:
    families.add("workqueue9_works_queued", stats.pending, stats.name)
    families.add("workqueue9_works_running", stats.running, stats.name)
    families.add("workqueue9_work_run_seconds", stats.run_seconds, stats.name)
    for field, (metric, _) in _WORK_COUNTERS.items():
        families.add(f"workqueue9_{metric}", getattr(stats, field), stats.name)


def _waits(queues: Iterable[Any]) -> Metric:
    """The work queues' own histograms, which are there from the first work on."""
    family = HistogramMetricFamily("workqueue9_work_wait_seconds", "Time that works waited", labels=_QUEUE)
    namesakes: dict[str, list[Any]] = {}
    for stats in queues:
        namesakes.setdefault(label(stats.name), []).append(stats)
    for name, of_this_name in namesakes.items():
        counts = [sum(same) for same in zip(*(stats.wait_histogram for stats in of_this_name), strict=True)]
        below = [0, *accumulate(counts)]  # below[n + 1] waited less than 2**n nanoseconds
        buckets = [(f"{2**n / 1e9!r}", float(below[n + 1])) for n in _EXPONENTS]
        waited = sum(stats.wait_seconds for stats in of_this_name)
        family.add_metric([name], [*buckets, ("+Inf", float(below[-1]))], waited)
    return family
