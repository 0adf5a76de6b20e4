"""What the tests of the threadpool layer share: pools that are put at the end, jobs that finish, jobs that wait."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

from conformance9.suite.tools import Gate, Stage, holds, os_tids, timing, within

__all__ = ["PRI", "Crew", "finish"]

#: A priority that maps to nothing special and that nobody else in the process is likely to use.
PRI = 63


def finish(job: Any) -> None:
    """End the run as the contract says."""
    with job.interlock:
        job.done()


class Crew:
    """Makes references and jobs of one adapter; whatever it made is ended with the test's stage."""

    def __init__(self, adapter: Any, stage: Stage) -> None:
        self.adapter = adapter
        self.stage = stage
        adapter.settle()
        self.before = os_tids()
        """The threads that the process had before the test."""
        self.failures: list[BaseException] = []
        stage.at_end(self._no_failures)

    def _no_failures(self) -> None:
        if self.failures:
            raise self.failures[0]

    def fresh(self) -> set[int]:
        """The threads that have come since the test began."""
        return os_tids() - self.before - {thread.native_id for thread in self.stage.threads}

    def pool(self, pri: int = PRI) -> Any:
        """A reference to the pool of `pri`, put at the end."""
        pool = self.adapter.get(pri)
        self.stage.at_end(lambda: within("TP-9", "put()", pool.put))
        return pool

    def percpu(self, pri: int = PRI) -> Any:
        """A reference to the per-CPU pools of `pri`, put at the end."""
        percpu = self.adapter.percpu_get(pri)
        self.stage.at_end(lambda: within("TP-9", "put() of per-CPU pools", percpu.put))
        return percpu

    def job(
        self, body: Callable[..., object] = lambda job: None, interlock: Any = None, name: str | None = None
    ) -> Any:
        """A job that runs ``body(job)`` and then calls done(); what the body raises fails the test."""

        def fn(job: Any) -> None:
            try:
                body(job)
            except BaseException as error:
                self.failures.append(error)
            finish(job)

        return self.adapter.job(fn, interlock, name)

    def schedule(self, pool: Any, job: Any) -> Any:
        """Schedule with the interlock held, as the contract says."""
        with job.interlock:
            return pool.schedule(job)

    def again(self, pool: Any, job: Any) -> None:
        """Schedule a job that may not be quite over; without a pause, so that this comes right after its done()."""
        deadline = time.monotonic() + timing.limit
        while self.schedule(pool, job) is False:
            holds("TP-21", time.monotonic() < deadline, "schedule() says False though the run is over")
            time.sleep(0)

    def run(self, clause: str, pool: Any, body: Callable[..., Any]) -> Any:
        """Run `body` as a job of `pool`; what it returns or raises."""
        over = threading.Event()
        outcome: list[Any] = []

        def fn(job: Any) -> None:
            try:
                outcome.append(body())
            except BaseException as error:
                outcome.append(error)
            finish(job)
            over.set()

        self.schedule(pool, self.adapter.job(fn))
        holds(clause, over.wait(timing.limit), f"a scheduled job was not run within {timing.limit:g} s")
        if isinstance(outcome[0], BaseException):
            raise outcome[0]
        return outcome[0]

    def blocked(self, clause: str, pool: Any) -> tuple[Gate, Any]:
        """A job that runs and waits at a gate, and the gate."""
        gate = self.stage.gate()
        job = self.job(gate)
        self.schedule(pool, job)
        holds(clause, gate.entered(), f"a scheduled job was not run within {timing.limit:g} s")
        return gate, job

    def threads(self, clause: str, pool: Any, count: int) -> list[tuple[int, Gate]]:
        """Have `count` jobs wait on a thread each; the OS's thread ids and the gates."""
        found: list[tuple[int, Gate]] = []
        for _ in range(count):
            gate = self.stage.gate()
            tids: list[int] = []

            def body(job: Any, gate: Gate = gate, tids: list[int] = tids) -> None:
                tids.append(threading.get_native_id())
                gate()

            self.schedule(pool, self.job(body))
            holds(clause, gate.entered(), f"with {len(found)} jobs blocked, the next one was not run")
            found.append((tids[0], gate))
        return found
