"""What the operating system says about this process. Reads ``/proc``, where there is one."""

from __future__ import annotations

import os
import resource
import threading


def threads() -> int:
    """How many threads there are now, helpers of libraries included."""
    try:
        return len(os.listdir("/proc/self/task"))
    except OSError:
        return threading.active_count()


def peak_memory() -> int:
    """The most memory that this program has had at once, in bytes."""
    try:
        with open("/proc/self/status", encoding="ascii", errors="replace") as file:
            return next(int(line.split()[1]) << 10 for line in file if line.startswith("VmHWM:"))
    except (OSError, StopIteration):
        # Less exact on Linux, where a new program inherits the peak of the process that started it.
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10
