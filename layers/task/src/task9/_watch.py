"""Tunables and probe points of this layer, and the one test that keeps both off the hot path.

An executor asks `watch.plain` once per task. It is True while no probe has a listener and no time limit is set;
then the function is called directly. Otherwise the task takes the longer way through `Executor._run_watched`.
"""

from __future__ import annotations

from threadpool9._hooks import add_layer
from threadpool9._probes import Watch, make_probes
from threadpool9._tunables import TunableSet, changed, number

from ._specs import Tracing

probes = make_probes("task9", Tracing)
add_layer("task9", probes, Tracing)
watch = Watch(probes, ("entry", "return_", "error"))


class Tunables(TunableSet):
    """task9's tunables; environment names are ``TASK9_`` and the name in capitals."""

    limit_ms: float
    """Report a task of a shared queue that took longer than this many milliseconds; 0 (default) is off (TK-4)."""

    def __init__(self) -> None:
        super().__init__("task9", {"limit_ms": (0.0, number(0))})
        watch.conditions.append(lambda: self.limit_ms > 0)
        watch.update()

    def _changed(self) -> None:
        watch.update()
        for notify in changed:  # the watchdog may have something to watch now
            notify()


tunables = Tunables()
