"""A plugin to copy: `Recorder` remembers the last events; `plugin` is what the entry point registers.

What it is not: useful. What it shows: a listener that is safe in any context, hooks of a layer that may be absent,
and an entry point that costs nothing until it is asked for.
"""

from __future__ import annotations

import atexit
import os
import sys
from collections import Counter, deque

from threadpool9 import Job, Pool, hookimpl

__all__ = ["Recorder", "plugin"]

ENVIRONMENT = "THREADPOOL9_TEMPLATE"


class Recorder:
    """Remembers the last events: what happened, and to what."""

    def __init__(self, most: int = 10_000) -> None:
        # Appending to a deque is one call into C, so it is safe in any context, and bounded by `most`.
        self.events: deque[tuple[str, str]] = deque(maxlen=most)

    def counts(self) -> dict[str, int]:
        """How many of the remembered events there are of each kind. Any thread."""
        return dict(Counter(kind for kind, _ in self.events.copy()))

    @hookimpl
    def threadpool9_schedule__job(self, pool: Pool, job: Job) -> None:
        """Any context: no locks, nothing that blocks."""
        self.events.append(("scheduled", job.name))

    @hookimpl
    def threadpool9_thread__job(self, job: Job) -> None:
        """On the worker; arguments that are not needed may be left out."""
        self.events.append(("began", job.name))

    @hookimpl(optionalhook=True)
    def task9_entry(self, task: object) -> None:
        """On the worker; optional, since task9 may not be installed."""
        self.events.append(("task", repr(task)))


class _EntryPoint:
    """Registered in every program that has this distribution; no listener."""


def _chosen() -> object:
    if os.environ.get(ENVIRONMENT) != "1":
        return _EntryPoint()
    recorder = Recorder()
    atexit.register(lambda: print(f"threadpool9-template: {recorder.counts()}", file=sys.stderr))
    return recorder


plugin = _chosen()
