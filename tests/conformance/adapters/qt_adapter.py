"""The adapter of Qt's QThreadPool (PySide6): functions on threads that are made on demand and expire."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from PySide6.QtCore import QRunnable, QThreadPool

# PySide6 (6.12, say) gives back one reference too many to the None that run() returns. Before Python 3.12, where
# None became immortal, that ends in "deallocating None"; so here are some to spare.
_spare = [None] * 2_000_000


class Runnable(QRunnable):
    """One schedule of a job."""

    def __init__(self, job: Job) -> None:
        super().__init__()
        self.setAutoDelete(False)  # Python owns it, and keeps it until the pool has ended
        self.job = job

    def run(self) -> None:
        """On a thread of the pool."""
        self.job.fn(self.job)


class Job:
    """A function."""

    def __init__(self, fn: Callable[[Any], object], interlock: Any = None, name: str | None = None) -> None:
        self.fn, self.interlock = fn, interlock or threading.RLock()

    def done(self) -> None:
        """Qt knows no other end than the function's return."""


class Pool:
    """A QThreadPool of its own."""

    def __init__(self) -> None:
        self.qt = QThreadPool()
        self.qt.setMaxThreadCount(10_000)
        self.kept: list[Runnable] = []

    def schedule(self, job: Job) -> bool:
        """Each start is a run."""
        self.kept.append(Runnable(job))
        self.qt.start(self.kept[-1])
        return True

    def put(self, timeout: float | None = None) -> None:
        """Waits for all jobs and threads."""
        self.qt.waitForDone()
        self.kept.clear()


class Qt:
    """Claims threads on demand, as many as need be (its limit is a setting); the end of a pool waits.

    Not the order: for a thread that it makes it takes the job that is being started, past those in the queue. One
    worker was seen to take jobs 48, 17, 18 of a burst, in this order.
    """

    implementation = "Qt QThreadPool"
    capabilities = frozenset({"lazy", "unlimited", "put waits"})
    job = Job

    def get(self, pri: int = -1) -> Pool:
        """A pool of its own."""
        return Pool()

    def settle(self) -> None:
        """Threads expire by themselves."""
