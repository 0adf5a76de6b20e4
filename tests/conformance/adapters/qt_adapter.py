"""The adapter of Qt's QThreadPool (PySide6): runnables that can be taken back, idle threads that expire."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from PySide6.QtCore import QRunnable, QThreadPool


class Runnable(QRunnable):
    """One schedule of a job."""

    def __init__(self, job: Job) -> None:
        super().__init__()
        self.setAutoDelete(False)  # Python owns it
        self.job = job

    def run(self) -> None:
        """On a thread of the pool; the runnable is of no use any more when the function has begun."""
        self.job.fn(self.job)
        self.job.runnables.discard(self)


class Job:
    """A function, and the runnables of its schedules."""

    def __init__(self, fn: Callable[[Any], object], interlock: Any = None, name: str | None = None) -> None:
        self.fn, self.interlock = fn, interlock or threading.RLock()
        self.runnables: set[Runnable] = set()

    def done(self) -> None:
        """A runnable is done when it returns."""


class Pool:
    """A QThreadPool of its own."""

    def __init__(self, expiry: float) -> None:
        self.qt = QThreadPool()
        self.qt.setMaxThreadCount(10_000)
        self.set_expiry(expiry)

    def set_expiry(self, seconds: float) -> None:
        """The idle time of its threads."""
        self.qt.setExpiryTimeout(max(1, round(seconds * 1000)))

    def schedule(self, job: Job) -> bool:
        """Each start is a run."""
        runnable = Runnable(job)
        job.runnables.add(runnable)
        self.qt.start(runnable)
        return True

    def put(self, timeout: float | None = None) -> None:
        """Waits for all jobs and threads."""
        self.qt.waitForDone()


class Qt:
    """Claims threads on demand, as many as are asked for, that expire when idle; the end of a pool waits."""

    implementation = "Qt QThreadPool"
    capabilities = frozenset({"lazy", "unlimited", "put waits", "order"})
    job = Job

    def get(self, pri: int = -1) -> Pool:
        """A pool of its own."""
        return Pool(30)

    def settle(self) -> None:
        """Threads expire by themselves."""
