"""Time limits that mean the same on a quiet machine and on a loud one.

A limit in a test ends a hang, or says what "at once" is; either was chosen on a quiet machine. `patience` stretches it
by how much longer than there things take now. A wait that succeeds is no longer for it.
"""

from __future__ import annotations

import os
import time

#: What `_work` takes on a quiet core of the machine on which the limits were chosen.
NOMINAL = 0.012
#: For so long a measurement is good.
FRESH = 2.0

_measured: tuple[float, float] | None = None  # when, and how slow


def _work() -> None:
    sum(range(400_000))


def slowness() -> float:
    """How many times as long as on a quiet machine things take: 1 or more.

    The larger of two answers. A short piece of work, timed, knows about a slow CPU and about the last milliseconds;
    the load average, divided by the CPUs, about the last minute.
    """
    global _measured
    now = time.monotonic()
    if _measured is None or now - _measured[0] > FRESH:
        _work()
        took = time.monotonic() - now
        load = os.getloadavg()[0] / (os.cpu_count() or 1) if hasattr(os, "getloadavg") else 0.0
        _measured = now, max(1.0, took / NOMINAL, load)
    return _measured[1]


def patience(seconds: float) -> float:
    """`seconds` of a quiet machine as seconds of this one, now."""
    return seconds * slowness()
