"""What the operating system says about our threads, as opposed to what the library says.

Reads ``/proc``; where there is none (anything but Linux) the answers are "unknown" or `threading`'s own.
"""

from __future__ import annotations

import os
import threading
from dataclasses import dataclass

_TASKS = "/proc/self/task"
_PROCESSOR = 39  # field of /proc/<pid>/stat, counted from 1 as proc(5) does
_FIRST_AFTER_NAME = 3

OURS = "pool"
"""How the names of all threads of threadpool9 begin: poolthread/0, poolstarter."""


@dataclass(frozen=True, slots=True)
class Look:
    """One look at the calling thread."""

    processor: str
    """The CPU that it runs on at this moment; ``?`` if nobody can tell."""
    allowed: str
    """The CPUs that it may run on, as the kernel writes the list: ``0``, ``0-3,8``."""


def look() -> Look:
    """Look at the calling thread."""
    here = f"{_TASKS}/{threading.get_native_id()}"
    try:
        with open(f"{here}/stat", encoding="ascii", errors="replace") as file:
            # The name stands in parentheses and may hold anything, blanks and parentheses included.
            fields = file.read().rpartition(")")[2].split()
        with open(f"{here}/status", encoding="ascii", errors="replace") as file:
            allowed = next((line.split()[1] for line in file if line.startswith("Cpus_allowed_list:")), "?")
    except OSError:
        return Look("?", "?")
    return Look(fields[_PROCESSOR - _FIRST_AFTER_NAME], allowed)


def thread_names() -> list[str]:
    """The names of this process's threads as ``ps -L`` and ``top -H`` show them, sorted."""
    names = []
    try:
        for tid in os.listdir(_TASKS):
            try:
                with open(f"{_TASKS}/{tid}/comm", encoding="utf-8", errors="replace") as file:
                    names.append(file.read().rstrip("\n"))
            except OSError:  # it left just now
                pass
    except OSError:
        names = [thread.name for thread in threading.enumerate()]
    return sorted(names)
