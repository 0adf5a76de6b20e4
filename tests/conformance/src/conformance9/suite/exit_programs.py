"""Programs about the end of an exit that need a process of their own; see `threadpool_programs`."""

from __future__ import annotations

import threading
import time
from typing import Any

from conformance9._adapters import Implementation
from conformance9.suite import tools
from conformance9.suite.crew import PRI, finish
from conformance9.suite.threadpool_programs import say, schedule
from conformance9.suite.tools import timing


def outcome(clause: str, implementation: Implementation, program: str) -> list[str]:
    """The lines that a program of this module said, which must end well."""
    return tools.outcome(clause, implementation, f"{__name__}:{program}")


def for_ever(adapter: Any) -> None:
    """TP-32: a job schedules itself each time that it has run."""
    pool = adapter.get(PRI)

    def fn(job: Any) -> None:
        with job.interlock:
            job.done()
            try:
                pool.schedule(job)
            except adapter.usage_error:
                say("refused")

    schedule(pool, adapter.job(fn))
    say("exiting")


def beside_a_daemon(adapter: Any) -> None:
    """TP-32: a daemon thread goes on scheduling; a job keeps the exit waiting until that thread was refused."""
    pool = adapter.get(PRI)
    over = threading.Event()

    def keep_waiting(job: Any) -> None:
        over.wait(2 * timing.limit)
        finish(job)

    def go_on() -> None:
        deadline = time.monotonic() + timing.limit
        while time.monotonic() < deadline:
            try:
                schedule(pool, adapter.job(finish))
            except adapter.usage_error:
                say("refused")
                break
            time.sleep(0.001)
        else:
            say("let in all the time")
        over.set()

    schedule(pool, adapter.job(keep_waiting))
    say("exiting")
    threading.Thread(target=go_on, daemon=True).start()
