"""The watchdog: a test that does not end is ended, and its process with it.

Nothing less does: a thread that hangs in somebody's lock can't be stopped, and what it holds would make the tests after
it hang too. So the interpreter's own timer (`faulthandler`, which needs neither the GIL nor a thread that still runs
Python) writes all stacks to a file and ends the process. pytest-xdist starts another one for the tests that are left,
and the run's controller finds the stacks and counts the test's clauses as failed.

The limit is in seconds of a quick and quiet machine: it is multiplied by how much longer a fixed piece of work takes.
"""

from __future__ import annotations

import faulthandler
import os
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["Watchdog"]

#: Additions of the fixed piece of work, and the seconds that they take on the machine that the limits were made on.
_WORK = 200_000
_USUAL = 0.010
#: A measurement is good for so many seconds; the slowest of the last few counts, because load comes and goes.
_FRESH = 5.0
_KEPT = 6
#: So slow a machine is not waited for any longer.
_SLOWEST = 20.0


class Watchdog:
    """Watches one test at a time; `path` takes the stacks, standard error where there is none."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._out = -1
        self._measured = -_FRESH
        self._slow: deque[float] = deque(maxlen=_KEPT)

    def slowness(self) -> float:
        """How many times slower than usual the machine is at present, as far as this process can see; at least 1."""
        began = time.perf_counter()
        if began - self._measured >= _FRESH:
            count = 0
            while count < _WORK:
                count += 1
            self._measured = time.perf_counter()
            self._slow.append((self._measured - began) / _USUAL)
        return min(max(1.0, *self._slow), _SLOWEST)

    @contextmanager
    def over(self, seconds: float) -> Iterator[None]:
        """End this process if what is inside takes longer than `seconds`, times `slowness`."""
        if self._out < 0:  # a descriptor of its own: what the tests do to standard error does not matter
            flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
            self._out = os.dup(2) if self._path is None else os.open(self._path, flags)
        faulthandler.dump_traceback_later(seconds * self.slowness(), exit=True, file=self._out)
        try:
            yield
        finally:
            faulthandler.cancel_dump_traceback_later()
