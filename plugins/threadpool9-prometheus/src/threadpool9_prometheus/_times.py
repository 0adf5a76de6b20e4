"""Waiting and run times, measured by probes while a collector is registered.

    schedule   any context: note the time, one dict item and no lock
    entry      worker: the time since then is the waiting time; note the time again, on a stack of the thread
    return     worker: the time since then is the run time

The histograms are prometheus_client's. They take a lock for each observation, so they are touched on the worker only.
A note is kept under the item's ``id``: it goes with the run, with a cancel, or when the next item at that
address is scheduled, so there are never more of them than there were items at a time.

Plumbing (the jobs in which queues run their tasks, and the timer's) is nobody's job and is not measured; the tasks and
works that it runs are, by their queue. A queue's histograms go with the queue, see `Times.collect`.
"""

from __future__ import annotations

import os
import weakref
from collections.abc import Collection, Iterator
from threading import get_ident
from time import monotonic
from typing import Any, NamedTuple

from prometheus_client import Histogram
from prometheus_client.metrics_core import Metric

from threadpool9 import Job, Pool, hookimpl

#: Seconds, from what a wake-up takes to what somebody should look into.
BUCKETS = (1e-5, 5e-5, 1e-4, 5e-4, 1e-3, 5e-3, 1e-2, 5e-2, 0.1, 0.5, 1.0, 5.0, 10.0, 60.0)

#: Which pair of histograms: the first of the two.
JOBS, TASKS = 0, 2

_optional = hookimpl(optionalhook=True)  # hooks of layers that may be absent


#: Which pair of histograms, and its labels: a pool's priority or a queue's name, and a CPU.
_Key = tuple[int, object, int | None]


class _Run(NamedTuple):
    """A run that is under way."""

    item: int
    start: float
    key: _Key


class Times:
    """The histograms, and the listener that fills them."""

    def __init__(self, buckets: tuple[float, ...]) -> None:
        def histogram(name: str, text: str, *labels: str) -> Histogram:
            return Histogram(name, text, labels, registry=None, buckets=buckets)

        # One collector for all four, so none of them is registered by itself.
        self._histograms = (
            histogram("threadpool9_job_wait_seconds", "Time from a job's schedule to its start", "pri", "cpu"),
            histogram("threadpool9_job_run_seconds", "Time in a job's function", "pri", "cpu"),
            histogram("task9_task_wait_seconds", "Time that tasks and works waited in their queue", "queue", "cpu"),
            histogram("task9_task_run_seconds", "Time in the function of tasks and works", "queue", "cpu"),
        )
        #: The pair of children of each set of labels; dict operations are atomic, and one made twice is the same.
        self._children: dict[_Key, tuple[Histogram, Histogram]] = {}
        self._scheduled: dict[int, float] = {}  # A: by item
        self._running: dict[int, list[_Run]] = {}  # by thread, innermost last
        forked = weakref.WeakMethod(self._forked)
        os.register_at_fork(after_in_child=lambda: (call := forked()) and call())

    def _forked(self) -> None:
        """In a fork child nothing is scheduled, and of the runs there is at most the one that forked."""
        mine = self._running.get(get_ident())
        self._scheduled.clear()
        self._running = {} if mine is None else {get_ident(): mine}

    def queues(self) -> set[tuple[str, str]]:
        """The labels of all queues that have histograms."""
        return {(label(name), cpu_label(cpu)) for first, name, cpu in list(self._children) if first == TASKS}

    def collect(self, gone: Collection[tuple[str, str]]) -> Iterator[Metric]:
        """What was measured so far, without the queues that are `gone`: theirs is thrown away.

        Should one of that name have been made this very moment, its first run may be lost with it.
        """
        if gone:
            for key in list(self._children):
                first, name, cpu = key
                labels = (label(name), cpu_label(cpu))
                if first == TASKS and labels in gone:
                    self._children.pop(key, None)
                    for histogram in self._histograms[TASKS : TASKS + 2]:
                        try:
                            histogram.remove(*labels)
                        except KeyError:
                            pass  # another label that reads the same
        for histogram in self._histograms:
            yield from histogram.collect()

    def longest(self, first: int) -> Iterator[tuple[str, str, float]]:
        """Labels and age of each run that is under way."""
        now = monotonic()
        for runs in list(self._running.values()):
            for run in list(runs):
                if run.key[0] == first:
                    yield label(run.key[1]), cpu_label(run.key[2]), max(0.0, now - run.start)

    def _pair(self, key: _Key) -> tuple[Histogram, Histogram]:
        pair = self._children.get(key)
        if pair is None:
            first, name, cpu = key
            labels = (label(name), cpu_label(cpu))
            wait, run = self._histograms[first : first + 2]
            pair = self._children[key] = (wait.labels(*labels), run.labels(*labels))
        return pair

    def _enter(self, item: object, key: _Key) -> None:
        wait, _ = self._pair(key)
        scheduled = self._scheduled.pop(id(item), None)
        now = monotonic()
        if scheduled is not None:
            wait.observe(now - scheduled)
        self._running.setdefault(get_ident(), []).append(_Run(id(item), now, key))

    def _leave(self, item: object) -> None:
        ident = get_ident()
        running = self._running.get(ident)
        if not running or running[-1].item != id(item):
            return  # began before we listened
        run = running.pop()
        if not running:
            del self._running[ident]
        self._pair(run.key)[1].observe(monotonic() - run.start)

    # --- probes; any context

    @hookimpl
    def threadpool9_schedule__job(self, job: Job) -> None:
        """Any context."""
        if not job.plumbing:
            self._scheduled[id(job)] = monotonic()

    @hookimpl
    def threadpool9_cancel__job(self, job: Job) -> None:
        """Any context."""
        self._scheduled.pop(id(job), None)

    @_optional
    def task9_schedule(self, task: Any) -> None:
        """Any context."""
        self._scheduled[id(task)] = monotonic()

    @_optional
    def workqueue9_enqueue(self, wk: Any) -> None:
        """Any context."""
        self._scheduled[id(wk)] = monotonic()

    @_optional
    def task9_cancel(self, task: Any) -> None:
        """Any context; for works too. Told before the next schedule can be."""
        self._scheduled.pop(id(task), None)

    # --- probes; the worker's thread

    @hookimpl
    def threadpool9_thread__job(self, pool: Pool, job: Job) -> None:
        """The worker's thread."""
        if not job.plumbing:
            self._enter(job, (JOBS, pool.pri, pool.cpu))

    @hookimpl
    def threadpool9_thread__job__done(self, job: Job) -> None:
        """The worker's thread."""
        self._leave(job)

    @_optional
    def task9_entry(self, lane: Any, task: Any) -> None:
        """The worker's thread; for works too."""
        self._enter(task, (TASKS, lane.name, lane.cpu))

    @_optional
    def task9_return(self, task: Any) -> None:
        """The worker's thread; for works too."""
        self._leave(task)


def label(value: object) -> str:
    """A label's value as it can be exposed; a name may be what `os.fsdecode` gives, which is not always UTF-8."""
    return str(value).encode("utf-8", "backslashreplace").decode()


def cpu_label(cpu: int | None) -> str:
    """The label of a CPU; an empty one would be no label at all to Prometheus."""
    return "unbound" if cpu is None else str(cpu)
