"""The work: what is put on a work queue (WQ-3).

A work is a delayed task without a function of its own: the queue has the function. It may be enqueued again as
soon as that function has been called with it, by the function too, here or on another queue: so unlike a task
it may be in two calls at once, and nobody looks at it between the call and the return.
"""

from __future__ import annotations

from typing import Any

from task9 import DelayedTask
from task9._lane import Lane
from task9._watch import probes as task_probes
from threadpool9 import _seam

from ._group import WorkGroup
from ._probes import probes

__all__ = ["Work"]


def _no_function(work: Work) -> None:
    raise AssertionError(f"{work!r} was run outside of a work queue")  # the queue calls its own function


class Work(DelayedTask):
    """One piece of work: subclass it, or give it a `payload`.

    Making one is allowed in any context. Subclasses must not define ``__eq__``. Follows ``struct work``.
    """

    __slots__ = ("_disabled", "_since", "_slot", "payload")

    _exclusive = False

    def __init__(self, payload: Any = None) -> None:
        super().__init__(_no_function)
        self.payload = payload
        self._disabled = 0  # written under the disable lock, read by anyone
        self._since = 0  # written by the holder of _pend: when it came onto its lane, in nanoseconds
        self._slot = False  # written by the holder of _pend: takes one of max_pending

    def __repr__(self) -> str:
        payload = getattr(self, "payload", None)
        what = type(self).__name__ if payload is None else f"{type(self).__name__} {payload!r:.40}"
        return f"<{what} at {id(self):#x}>"

    def schedule(self, *args: object, **kwargs: object) -> bool:
        """Not for works: a queue has the function. Always TypeError."""
        raise TypeError(f"{self!r} is enqueued with WorkQueue.enqueue or enqueue_delayed, not scheduled")

    def _tell_cancelled(self) -> None:
        if (probe := task_probes.cancel) is not None:
            probe(self)

    def _tell_scheduled(self, lane: Lane) -> None:
        group = lane.group
        if (probe := probes.enqueue) is not None and isinstance(group, WorkGroup):
            probe(group.wq(), self, lane.cpu)

    def _expire(self) -> None:
        self._since = _seam.monotonic_ns()
        super()._expire()
