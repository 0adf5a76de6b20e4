"""The adapter of trio's thread cache: a function on a cached thread, as many as need be, last in first out."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from trio.lowlevel import start_thread_soon


class Job:
    """A function."""

    def __init__(self, fn: Callable[[Any], object], interlock: Any = None, name: str | None = None) -> None:
        self.fn, self.interlock, self.name = fn, interlock or threading.RLock(), name

    def done(self) -> None:
        """The cache has no notion of it."""


class Pool:
    """The cache of the process."""

    def schedule(self, job: Job) -> bool:
        """What comes of the function goes to the second argument, which must not raise."""
        start_thread_soon(lambda: job.fn(job), lambda outcome: None, job.name)
        return True

    def put(self, timeout: float | None = None) -> None:
        """There is nothing to give back."""


class Trio:
    """Claims what its head comment promises: no limit, no thread before the first job, the last idle one first."""

    implementation = "trio thread cache"
    capabilities = frozenset({"lazy", "lifo", "unlimited", "free threading"})
    job = Job

    def get(self, pri: int = -1) -> Pool:
        """The one cache."""
        return Pool()

    def settle(self) -> None:
        """Idle threads leave after ten seconds; that can't be hurried."""
