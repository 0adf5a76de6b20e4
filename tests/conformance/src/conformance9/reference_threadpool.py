"""The reference model of the threadpool layer: one lock, and a thread for each run. Slow, and obviously right.

Everything happens under one lock. Each schedule has a number; the thread that is made for it runs the function only
if the job is still queued under that number. Whoever waits, waits on the one condition until what it waits for is so.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

__all__ = ["Misuse", "OutOfTime", "Reference"]

changed = threading.Condition(threading.RLock())
pools: dict[int, Pool] = {}


class Misuse(RuntimeError):
    """A rule of the interface is broken; nothing was changed."""


class OutOfTime(TimeoutError):
    """The time limit ran out."""


def demand(condition: bool, rule: str) -> None:
    """Refuse misuse."""
    if not condition:
        raise Misuse(rule)


class Job:
    """A job; `state` is idle, queued, running or dead."""

    def __init__(self, fn: Callable[[Any], object], interlock: Any = None, name: str | None = None) -> None:
        self.fn, self.interlock, self.name = fn, interlock or threading.RLock(), name
        self.state, self.number, self.runner = "idle", 0, 0
        self.pool: Pool | None = None  # where it was scheduled last
        self.again: Pool | None = None  # posted while running

    def check_held(self) -> None:
        """As far as the lock lets us know (TP-20)."""
        held = getattr(self.interlock, "_is_owned", getattr(self.interlock, "locked", lambda: True))
        demand(held(), "the interlock must be held")

    def done(self) -> None:
        """TP-23."""
        with changed:
            demand(self.state == "running" and self.runner == threading.get_ident(), "done() is for the job, once")
            self.check_held()
            self.finish()

    def finish(self) -> None:
        """End the run; `changed` is held."""
        self.state, again, self.again = "idle", self.again, None
        changed.notify_all()
        if again is not None:
            again.post(self)

    def destroy(self) -> None:
        """TP-27."""
        with changed:
            demand(self.state == "idle", f"destroy() of a job that is {self.state}")
            self.state = "dead"


class Pool:
    """A pool: a count of references, and the threads that it has now."""

    def __init__(self) -> None:
        self.references = 0
        self.threads: set[threading.Thread] = set()
        self.leaving: set[threading.Thread] = set()

    def schedule(self, job: Job) -> bool:
        """TP-20, TP-21."""
        with changed:
            job.check_held()
            return self.enqueue(job)

    def enqueue(self, job: Job) -> bool:
        """Make a thread for the job unless it is on its way; `changed` is held."""
        demand(job.state != "dead", "the job is destroyed")
        if job.state != "idle":
            return False
        job.state, job.pool, job.number = "queued", self, job.number + 1
        thread = threading.Thread(target=self.run, args=(job, job.number), daemon=True)
        self.threads.add(thread)
        self.leaving = {each for each in self.leaving if each.is_alive()}
        thread.start()
        return True

    def run(self, job: Job, number: int) -> None:
        """The thread of one schedule."""
        mine = False
        try:
            with changed:
                mine = (job.state, job.number) == ("queued", number)
                if mine:
                    job.state, job.runner = "running", threading.get_ident()
            if mine:
                job.fn(job)
                demand((job.state, job.number) != ("running", number), "the function returned without done()")
        finally:
            with changed:
                if mine and (job.state, job.number) == ("running", number):
                    job.finish()
                self.threads.remove(threading.current_thread())
                self.leaving.add(threading.current_thread())
                changed.notify_all()

    def post(self, job: Job) -> bool:
        """TP-28: a post to a running job takes effect at its done()."""
        with changed:
            if job.state == "running":
                job.again = self
                return False
            return self.enqueue(job)

    def cancel_async(self, job: Job) -> bool:
        """TP-25: withdraw it if it is still queued."""
        with changed:
            job.check_held()
            if job.state != "idle":
                demand(job.pool is self, "it was scheduled on another pool")
            job.again = None
            if job.state == "queued":
                job.state = "idle"
            return job.state == "idle"

    def cancel(self, job: Job, timeout: float | None = None) -> bool:
        """TP-26: withdraw it, or wait for the end of this very run with the interlock given up."""
        if self.cancel_async(job):
            return True
        demand(job.runner != threading.get_ident(), "a job can't wait for itself")
        number, lock = job.number, job.interlock
        saved = lock._release_save() if hasattr(lock, "_release_save") else lock.__exit__(None, None, None)
        try:
            self.wait(lambda: (job.state, job.number) != ("running", number), timeout)
        finally:
            lock._acquire_restore(saved) if hasattr(lock, "_acquire_restore") else lock.__enter__()
        return False

    def put(self, timeout: float | None = None) -> None:
        """TP-9."""
        with changed:
            demand(self.references > 0, "one put() too many")
            last = self.references == 1
            demand(not last or threading.current_thread() not in self.threads, "a job can't put its own pool last")
            self.references -= 1
            if last:
                pools.pop(next(pri for pri, pool in pools.items() if pool is self))
                self.wait(lambda: not self.threads, timeout)
        for thread in self.leaving if last else ():
            thread.join()

    def wait(self, until: Callable[[], bool], timeout: float | None) -> None:
        """Wait until something is so."""
        with changed:
            if not changed.wait_for(until, timeout):
                raise OutOfTime("the time limit ran out")


class Reference:
    """The adapter."""

    implementation = "reference model"
    capabilities = frozenset(
        """shared|lazy|unlimited|put waits|interlock checks|coalesce|errors|reports|cancel|cancel waits|timeouts|post
        |free threading""".replace("\n        ", "").split("|")
    )
    usage_error, timeout_error, job = Misuse, OutOfTime, Job

    def get(self, pri: int = -1) -> Pool:
        """TP-1, TP-2."""
        if type(pri) is not int or not -1 <= pri <= 223:
            raise ValueError(f"a priority is -1..223, not {pri!r}")
        with changed:
            pool = pools.setdefault(pri, Pool())
            pool.references += 1
            return pool

    def settle(self) -> None:
        """No thread is ever idle."""
