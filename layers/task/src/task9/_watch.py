"""This layer: its probes and tunables, and the tests that keep both off the hot path.

An executor asks `running.plain` once per task. It is True while no probe of a run has a listener and no time limit is
set; then the function is called directly. Otherwise the task takes the longer way through `run_watched`.
Whoever puts something on a lane asks `scheduling.plain` likewise.
"""

from __future__ import annotations

from threadpool9.lowlevel import Layer, TunableSet, boolean, number

from ._native import limiter
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

    native_threads: int
    """Threads that BLAS and OpenMP may use in each worker, through threadpoolctl; 0 (default) sets nothing.

    To be set in thread context, when the libraries are loaded and before their work begins: workers that are busy then
    keep what they have.
    """

    def __init__(self) -> None:
        super().__init__(
            "task9",
            {
                "limit_ms": (0.0, number(0)),
                "report_unretrieved": (True, boolean),
                "native_threads": (0, number(0, integer=True)),
            },
        )
        running.conditions.append(lambda: self.limit_ms > 0)
        running.update()

    def on_change(self) -> None:
        """As in the base class."""
        running.update()
        limiter.follow(self.native_threads)
        super().on_change()


tunables = Tunables()
limiter.follow(tunables.native_threads)
