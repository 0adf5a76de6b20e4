"""A small implementation of the pool layer, as a stranger might write it, and single faults of it.

A few workers at most, in order, which leave after a moment without work: what the reference model, with a thread for
each run, has no occasion for. `Honest` keeps what it claims; each other adapter breaks one clause.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from typing import Any

IDLE, WORKERS = 0.05, 4


class Job:
    """A job; each schedule has a number."""

    def __init__(self, fn: Callable[[Any], object], interlock: Any = None, name: str | None = None) -> None:
        self.fn, self.interlock, self.name = fn, interlock or threading.RLock(), name
        self.state, self.number = "idle", 0
        self.assigned = False

    def done(self) -> None:
        """A run is over when the function returns."""


class Pool:
    """A queue under a lock, and up to `WORKERS` threads."""

    def __init__(self) -> None:
        self.changed = threading.Condition()
        self.queue: deque[tuple[Job, int]] = deque()
        self.threads: set[threading.Thread] = set()
        self.waiting = 0

    def schedule(self, job: Job) -> bool:
        """To the end of the queue."""
        with self.changed:
            if job.state != "idle":
                return False
            job.state, job.number, job.assigned = "queued", job.number + 1, self.waiting > len(self.queue)
            self.queue.append((job, job.number))
            if job.assigned:
                self.changed.notify()
            elif len(self.threads) < WORKERS:
                self.start()
            return True

    def start(self) -> None:
        """One more worker."""
        thread = threading.Thread(target=self.work, daemon=True)
        self.threads.add(thread)
        thread.start()

    def current(self, job: Job, number: int) -> bool:
        """Whether a place in the queue is that of the job's last schedule."""
        return (job.state, job.number) == ("queued", number)

    def work(self) -> None:
        """A worker."""
        while (job := self.take()) is not None:
            job.fn(job)
            with self.changed:
                job.state = "idle"
                self.changed.notify_all()

    def take(self) -> Job | None:
        """The next job, or None after a moment without."""
        with self.changed:
            while True:
                while self.queue:
                    job, number = self.queue.popleft()
                    if self.current(job, number):
                        job.state = "running"
                        return job
                self.waiting += 1
                self.changed.wait(IDLE)
                self.waiting -= 1
                if not self.queue:
                    self.threads.discard(threading.current_thread())
                    self.changed.notify_all()
                    return None

    def cancel_async(self, job: Job) -> bool:
        """Withdrawn unless it runs."""
        with self.changed:
            if job.state == "queued":
                job.state = "idle"
            return job.state == "idle"

    def put(self, timeout: float | None = None) -> None:
        """Waits for all threads: they leave soon."""
        while self.threads:
            threads = list(self.threads)
            for thread in threads:
                thread.join()


class Honest:
    """What it claims it keeps."""

    implementation = "small pool"
    capabilities = frozenset({"lazy", "order", "cancel", "put waits"})
    job = Job
    pool = Pool

    def get(self, pri: int = -1) -> Pool:
        """A pool of its own."""
        return self.pool()

    def settle(self) -> None:
        """They leave soon."""


class StalePool(Pool):
    """TP-29: what is taken from the queue is any job that is queued, if only somewhere else in it."""

    def current(self, job: Job, number: int) -> bool:
        """Does not look at the number."""
        return job.state == "queued"


class Stale(Honest):
    """A place that was withdrawn serves the next schedule."""

    pool = StalePool


class AssignedPool(Pool):
    """TP-25: a job for which a waiting worker was woken is out of reach."""

    def cancel_async(self, job: Job) -> bool:
        """False though the function has not been entered."""
        with self.changed:
            if job.state == "queued" and job.assigned:
                return False
            return super().cancel_async(job)


class Assigned(Honest):
    """The man page's promise that the original does not keep."""

    pool = AssignedPool


class LostPool(Pool):
    """TP-3: a worker whose time is over leaves without another look at the queue."""

    def take(self) -> Job | None:
        """It counts as waiting until it has left."""
        with self.changed:
            while self.queue:
                job, number = self.queue.popleft()
                if self.current(job, number):
                    job.state = "running"
                    return job
            self.waiting += 1
            woken = self.changed.wait(IDLE)
            if woken:
                self.waiting -= 1
        if woken:
            return self.take()
        with self.changed:
            self.waiting -= 1
            self.threads.discard(threading.current_thread())
            return None


class Lost(Honest):
    """Loses a wake-up once in a while."""

    pool = LostPool


def _start_some() -> None:
    for _ in range(2):
        threading.Thread(target=threading.Event().wait, daemon=True).start()


class EagerAdapter(Honest):
    """TP-3: threads that are there before any job, started where the adapter is made."""

    def __init__(self) -> None:
        _start_some()


class EagerPool(Honest):
    """TP-3: threads for all pools, started by the first of them."""

    started = False

    def get(self, pri: int = -1) -> Pool:
        """The first one in the process starts them."""
        if not EagerPool.started:
            EagerPool.started = True
            _start_some()
        return Pool()
