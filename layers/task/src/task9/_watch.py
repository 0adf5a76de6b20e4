"""This layer: its probes and tunables, and the tests that keep both off the hot path.

An executor asks `running.plain` once per task. It is True while no probe of a run has a listener and no time limit is
set; then the function is called directly. Otherwise the task takes the longer way through `Executor._run_watched`.
Whoever puts something on a lane asks `scheduling.plain` likewise.
"""

from __future__ import annotations

from threadpool9.lowlevel import Layer, TunableSet, boolean, changed, number

from ._specs import Tracing

layer = Layer("task9", Tracing)
probes = layer.probes
running = layer.watch("entry", "return_", "error")
scheduling = layer.watch("schedule")


class Tunables(TunableSet):
    """task9's tunables; environment names are ``TASK9_`` and the name in capitals."""

    limit_ms: float
    """Report a task of a shared queue that took longer than this many milliseconds; 0 (default) is off (TK-4)."""

    report_unretrieved: bool
    """Report an exception of a submitted call that nobody had asked for when its future went, default True (TK-18)."""

    def __init__(self) -> None:
        super().__init__("task9", {"limit_ms": (0.0, number(0)), "report_unretrieved": (True, boolean)})
        running.conditions.append(lambda: self.limit_ms > 0)
        running.update()

    def on_change(self) -> None:
        """As in the base class."""
        running.update()
        for notify in changed:  # the watchdog may have something to watch now
            notify()


tunables = Tunables()
