"""Tunables and probe points of this layer, and the one test that keeps both off the hot path.

An executor asks `watch.plain` once per task. It is True while no probe has a listener and no time limit is set;
then the function is called directly. Otherwise the task takes the longer way through `Executor.run_watched`.
"""

from __future__ import annotations

from typing import Any

from threadpool9._probes import Probes
from threadpool9._tunables import TunableSet, number

#: Ours: NetBSD's drafts of task(9) had none. Same manner as ``sdt:linux:work``.
TASK_PROBES: dict[str, tuple[str, ...]] = {
    "schedule": ("lane", "task"),
    "coalesced": ("lane", "task"),
    "entry": ("lane", "task"),
    "return_": ("lane", "task"),
    "cancel": ("task",),
    "drain__start": ("queue",),
    "drain__done": ("queue",),
    "timer__arm": ("task", "due"),
    "timer__fire": ("task", "late"),
}


class _Watch:
    plain = True  # written whole by whoever attaches a listener or sets the limit; read by any thread


watch = _Watch()
probes = Probes(TASK_PROBES)


class Tunables(TunableSet):
    """task9's tunables; environment names are ``TASK9_`` and the name in capitals."""

    limit_ms: float
    """Report a task of a shared queue that took longer than this many milliseconds; 0 (default) is off (TK-4)."""

    def __init__(self) -> None:
        super().__init__("task9", {"limit_ms": (0.0, number(0))})
        update()

    def __setattr__(self, name: str, value: Any) -> None:
        super().__setattr__(name, value)
        update()


def update() -> None:
    """Recompute `watch.plain`. Called after every change of a tunable or a listener."""
    listening = any(getattr(probes, name) is not None for name in ("entry", "return_"))
    watch.plain = not listening and not tunables_limit()


def tunables_limit() -> float:
    """The time limit in milliseconds, 0 for none."""
    return tunables.limit_ms if "tunables" in globals() else 0.0


tunables = Tunables()
update()
