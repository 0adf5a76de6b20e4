"""The instruments: two histograms that runs are recorded in, and the rest read from the snapshots when asked.

The metrics API takes locks, so nothing is recorded where a schedule happens (any context): what was scheduled, queued
and started is read by callbacks when a reader collects, which costs the runs nothing.

The API knows no way to remove an instrument. There is one set for each meter provider, and `live` says whether its
callbacks have anything to say.
"""

from __future__ import annotations

import sys
import weakref
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, ClassVar

from opentelemetry.metrics import CallbackOptions, Meter, MeterProvider, Observation

import threadpool9

#: Seconds, from what a wake-up takes to what somebody should look into.
BOUNDARIES = (1e-5, 5e-5, 1e-4, 5e-4, 1e-3, 5e-3, 1e-2, 5e-2, 0.1, 0.5, 1.0, 5.0, 10.0, 60.0)

Labels = tuple[tuple[str, str | int], ...]
Sample = tuple[Labels, float]
#: Kind, name, unit, description and how to read it: a counter only grows, an amount goes up and down.
_Spec = tuple[str, str, str, str, Callable[[], Iterable[Sample]]]


class Instruments:
    """The instruments of one meter provider."""

    _known: ClassVar[weakref.WeakKeyDictionary[MeterProvider, Instruments]] = weakref.WeakKeyDictionary()

    @classmethod
    def of(cls, provider: MeterProvider, scope: str, version: str) -> Instruments:
        """The set of `provider`, made at the first call."""
        known = cls._known.get(provider)
        if known is None:
            known = cls._known[provider] = cls(provider.get_meter(scope, version))
        return known

    def __init__(self, meter: Meter) -> None:
        self.live = False
        self._wait = meter.create_histogram(
            "threadpool9.run.wait_time",
            "s",
            "Time from a schedule (or the time it was set for) to the start of its run",
            explicit_bucket_boundaries_advisory=BOUNDARIES,
        )
        self._duration = meter.create_histogram(
            "threadpool9.run.duration",
            "s",
            "Time in the function of a job, task or work",
            explicit_bucket_boundaries_advisory=BOUNDARIES,
        )
        for kind, name, unit, description, read in SPECS:
            create = meter.create_observable_counter if kind == "counter" else meter.create_observable_up_down_counter
            create(name, [self._callback(read)], unit, description)

    def _callback(self, read: Callable[[], Iterable[Sample]]) -> Callable[[CallbackOptions], Iterable[Observation]]:
        reference = weakref.ref(self)

        def observe(options: CallbackOptions) -> Iterator[Observation]:
            instruments = reference()
            if instruments is None or not instruments.live:
                return
            # Two pools or queues may carry the same labels for a moment: one number for both.
            summed: Counter[Labels] = Counter()
            for labels, value in read():
                summed[labels] += value  # type: ignore[assignment]  # a Counter of floats
            for labels, value in summed.items():
                yield Observation(value, dict(labels))

        return observe

    def record(
        self, waited: float | None, took: float, attributes: Mapping[str, Any], error: BaseException | None
    ) -> None:
        """One run is over. The worker's thread, with the run's context current (for exemplars)."""
        if waited is not None:
            self._wait.record(waited, attributes)
        if error is not None:
            attributes = {**attributes, "error.type": type(error).__qualname__}
        self._duration.record(took, attributes)


# --- what the callbacks read


def _pool_labels(pri: int, cpu: int | None, **more: str) -> Labels:
    labels: dict[str, str | int] = {"threadpool9.pool.priority": pri, **more}
    if cpu is not None:
        labels["threadpool9.pool.cpu"] = cpu
    return tuple(labels.items())


def _of_pools(field: str) -> Callable[[], Iterable[Sample]]:
    def read() -> Iterator[Sample]:
        for pool in threadpool9.snapshot().pools:
            yield _pool_labels(pool.pri, pool.cpu), getattr(pool.counters, field)

    return read


def _queued() -> Iterator[Sample]:
    for pool in threadpool9.snapshot().pools:
        yield _pool_labels(pool.pri, pool.cpu), len(pool.queued)


def _threads() -> Iterator[Sample]:
    for pool in threadpool9.snapshot().pools:
        yield _pool_labels(pool.pri, pool.cpu, **{"threadpool9.thread.state": "idle"}), pool.idle
        running = max(0, pool.workers - pool.idle)
        yield _pool_labels(pool.pri, pool.cpu, **{"threadpool9.thread.state": "running"}), running


def _of_lanes(read_lane: Callable[[Any], float]) -> Callable[[], Iterable[Sample]]:
    def read() -> Iterator[Sample]:
        task9 = sys.modules.get("task9")  # what is not imported has no queues
        for queue in task9.snapshot().queues if task9 is not None else ():
            for lane in queue.lanes:
                labels: dict[str, str | int] = {"threadpool9.queue": queue.name}
                if lane.cpu is not None:
                    labels["threadpool9.pool.cpu"] = lane.cpu
                yield tuple(labels.items()), read_lane(lane)

    return read


def _of_works(field: str) -> Callable[[], Iterable[Sample]]:
    def read() -> Iterator[Sample]:
        workqueue9 = sys.modules.get("workqueue9")
        for stats in workqueue9.snapshot() if workqueue9 is not None else ():
            yield (("threadpool9.queue", stats.name),), getattr(stats, field)

    return read


SPECS: tuple[_Spec, ...] = (
    ("counter", "threadpool9.jobs.scheduled", "{job}", "Jobs scheduled on a pool", _of_pools("scheduled")),
    ("counter", "threadpool9.jobs.completed", "{job}", "Runs of jobs that are over", _of_pools("completed")),
    ("counter", "threadpool9.jobs.cancelled", "{job}", "Jobs withdrawn before they ran", _of_pools("cancelled")),
    ("counter", "threadpool9.jobs.errors", "{job}", "Runs of jobs that raised", _of_pools("errors")),
    ("amount", "threadpool9.jobs.queued", "{job}", "Jobs that wait for a worker", _queued),
    ("counter", "threadpool9.threads.started", "{thread}", "Threads started", _of_pools("threads_started")),
    ("counter", "threadpool9.threads.refused", "{thread}", "Threads the OS refused", _of_pools("start_failures")),
    ("amount", "threadpool9.threads", "{thread}", "Threads alive, idle and running", _threads),
    ("counter", "task9.tasks.started", "{task}", "Runs of tasks begun", _of_lanes(lambda lane: lane.started)),
    ("counter", "task9.tasks.errors", "{task}", "Runs of tasks that raised", _of_lanes(lambda lane: lane.errors)),
    ("amount", "task9.tasks.queued", "{task}", "Tasks that wait in a queue", _of_lanes(lambda lane: lane.pending)),
    (
        "amount",
        "task9.tasks.running",
        "{task}",
        "Tasks that run now",
        _of_lanes(lambda lane: len(lane.running)),
    ),
    ("counter", "workqueue9.works.enqueued", "{work}", "Works enqueued", _of_works("enqueued")),
    ("counter", "workqueue9.works.completed", "{work}", "Runs of works that are over", _of_works("completed")),
    ("counter", "workqueue9.works.cancelled", "{work}", "Works withdrawn before they ran", _of_works("cancelled")),
    ("counter", "workqueue9.works.errors", "{work}", "Runs of works that raised", _of_works("errors")),
    ("amount", "workqueue9.works.queued", "{work}", "Works that wait, delayed ones included", _of_works("pending")),
)
