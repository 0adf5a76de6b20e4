"""The work: what is put on a work queue (WQ-3).

A work is a delayed task without a function of its own: the queue has the function. It may be enqueued again as
soon as that function has been called with it, by the function too, here or on another queue: so unlike a task
it may be in two calls at once, and nobody looks at it between the call and the return.
"""

from __future__ import annotations

from typing import Any

from task9 import DelayedTask
from task9._lane import Lane
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

    __slots__ = ("_cancelling", "_disabled", "_since", "_slot", "_turn", "payload")

    _exclusive = False

    def __init__(self, payload: Any = None) -> None:
        super().__init__(_no_function)
        self.payload = payload
        self._disabled = 0  # under the disable lock, read by anyone: disable() calls not undone
        self._cancelling = 0  # under the disable lock, read by anyone: cancel() calls under way
        self._since = 0  # written by who has the token: when it came onto its lane, in nanoseconds
        self._turn = 0  # written by who has the token: how often it was enqueued
        self._slot = False  # written by who has the token: takes one of max_pending

    @property
    def task_name(self) -> str:
        """The name of its class: the function is the queue's."""
        return type(self).__name__

    def __repr__(self) -> str:
        payload = getattr(self, "payload", None)
        what = type(self).__name__ if payload is None else f"{type(self).__name__} {payload!r:.40}"
        return f"<{what} at {id(self):#x}>"

    def _not_for_works(self, *args: object, **kwargs: object) -> Any:
        """Not for works: always TypeError."""
        raise TypeError(f"{self!r} belongs to a work queue: use its enqueue, enqueue_delayed, modify, cancel and wait")

    # What a task can do and a work can't: it is the queue that has the function, counts and is waited for.
    schedule = reschedule = cancel = cancel_async = done = destroy = _not_for_works

    def disarm(self) -> bool:
        """Cancel if it is still in the timer; True then: as `WorkQueue.cancel` does. Any context."""
        lane = self._lane
        if not super().disarm():
            return False
        if lane is not None and isinstance(lane.group, WorkGroup):
            lane.group.cancelled.bump()
            lane.group.left_lane(self)
        return True

    def forget_threads(self) -> None:
        """In a fork child: as for any task; and nobody is cancelling it."""
        self._cancelling = 0
        self._slot = False
        super().forget_threads()

    def _tell_scheduled(self, lane: Lane) -> None:
        group = lane.group
        if (probe := probes.enqueue) is not None and isinstance(group, WorkGroup):
            probe(group.wq(), self, lane.cpu)

    def _expire(self) -> None:
        self._since = _seam.monotonic_ns()
        super()._expire()
