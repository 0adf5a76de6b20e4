"""What the kernel tells about a process and its threads: read by the viewer, so that it costs the process nothing."""

from __future__ import annotations

import os
from pathlib import Path

import attrs

__all__ = ["Process", "Usage", "look", "look_whole", "since_boot"]

_TICKS = os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 100


@attrs.frozen
class Usage:
    """One thread or process at one moment."""

    state: str
    """``R`` on a CPU or ready, ``S`` asleep, ``D`` in the kernel, ``T`` stopped, as ``ps`` says."""
    cpu_seconds: float
    cpu: int
    """The CPU that it ran on last."""


@attrs.frozen
class Process:
    """A process and its threads at one moment."""

    whole: Usage | None
    started: float
    """Seconds after boot."""
    threads: dict[int, Usage]


def _parse(text: str) -> tuple[Usage, float]:
    # The name in parentheses may hold anything, spaces and parentheses too.
    fields = text.rpartition(")")[2].split()
    usage = Usage(fields[0], (int(fields[11]) + int(fields[12])) / _TICKS, int(fields[36]))
    return usage, int(fields[19]) / _TICKS


def look(pid: int) -> Process:
    """The process `pid` now; empty where there is no ``/proc`` or the process is gone."""
    base = Path(f"/proc/{pid}")
    try:
        whole, started = _parse((base / "stat").read_text(errors="replace"))
        tids = [int(name) for name in os.listdir(base / "task")]
    except (OSError, ValueError, IndexError):
        return Process(None, 0.0, {})
    threads = {}
    for tid in tids:
        try:
            threads[tid] = _parse((base / "task" / str(tid) / "stat").read_text(errors="replace"))[0]
        except (OSError, ValueError, IndexError):
            continue  # it left meanwhile
    return Process(whole, started, threads)


def look_whole(pid: int) -> Usage | None:
    """The process without its threads; None where that can't be known."""
    try:
        return _parse(Path(f"/proc/{pid}/stat").read_text(errors="replace"))[0]
    except (OSError, ValueError, IndexError):
        return None


def since_boot() -> float:
    """Seconds since the machine started, 0 where unknown."""
    try:
        return float(Path("/proc/uptime").read_text().split()[0])
    except (OSError, ValueError):
        return 0.0
