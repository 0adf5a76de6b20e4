"""The adapter of `concurrent.futures.ThreadPoolExecutor`: runs functions, withdraws them, and waits at shutdown."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any


class Job:
    """A function and the future of its last schedule."""

    def __init__(self, fn: Callable[[Any], object], interlock: Any = None, name: str | None = None) -> None:
        self.fn, self.interlock = fn, interlock or threading.RLock()
        self.future: Future[object] | None = None

    def done(self) -> None:
        """A future is done when the function returns; nothing is to be said."""


class Pool:
    """One executor."""

    def __init__(self, threads: int) -> None:
        self.executor = ThreadPoolExecutor(threads)

    def schedule(self, job: Job) -> bool:
        """Each submit is a run."""
        job.future = self.executor.submit(job.fn, job)
        return True

    def put(self, timeout: float | None = None) -> None:
        """Waits for all jobs and threads."""
        self.executor.shutdown()


class Futures:
    """Claims threads on demand (no "idle out", no limitless growth), order, and a shutdown that waits."""

    implementation = "concurrent.futures.ThreadPoolExecutor"
    capabilities = frozenset({"lazy", "order", "put waits", "free threading"})
    job = Job

    def get(self, pri: int = -1) -> Pool:
        """An executor of its own."""
        return Pool(16)

    def settle(self) -> None:
        """Its threads stay until shutdown."""
