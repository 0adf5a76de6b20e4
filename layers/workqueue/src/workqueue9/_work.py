"""The work: what is put on a work queue (WQ-3).

A work is an item without a function of its own: the queue has the function. It may be enqueued again as soon as that
function has been called with it, by the function too, here or on another queue: so unlike a task it may be in two calls
at once, and nobody looks at it between the call and the return.
"""

from __future__ import annotations

from collections.abc import Callable
from contextvars import Context
from typing import TYPE_CHECKING, Any, Generic, NoReturn, TypeVar

from task9.lanes import Item, TimedItem, Timing
from threadpool9.lowlevel import check_unit_class, monotonic_ns, short_repr

from ._errors import WorkPending
from ._probes import probes

if TYPE_CHECKING:
    from task9.lanes import Group

P = TypeVar("P")


class Work(TimedItem, Generic[P]):
    """One piece of work: subclass it, or give it a `payload`.

    Args:
        payload: whatever the queue's function needs.
        context: a `contextvars.Context` to call the queue's function in; default: the worker's, which started empty.
        name: for people; default: the name of the class.

    Making one is allowed in any context. Subclasses call ``super().__init__()`` and must not define ``__eq__`` or
    ``__hash__``. Follows ``struct work``.
    """

    __slots__ = ("_name", "barred", "context", "item_timing", "payload", "since", "slot")

    exclusive = False

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        check_unit_class(cls)

    def __init__(self, payload: P = None, context: Context | None = None, name: str | None = None) -> None:  # type: ignore[assignment]  # no payload
        if context is not None and not isinstance(context, Context):
            raise TypeError(f"context must be a contextvars.Context, not {context!r}")
        if name is not None and not isinstance(name, str):
            raise TypeError(f"the name of a work is a str, not {name!r}")
        self.payload = payload
        self.context = context  # type: ignore[misc]  # S, where an item has a property
        self._name = name  # S
        self.barred = 0  # under the disable lock, read by anyone: disable() calls not undone, cancel() calls under way
        self.since = 0  # when it came onto its lane, in nanoseconds
        self.slot = False  # B: takes one of max_pending
        self.item_timing: Timing | None = None
        self.item_ticket = [None, None]
        self.item_lane = self.item_executor = None

    @property
    def task_name(self) -> str:
        """Its name, or that of its class: the function is the queue's."""
        return getattr(self, "_name", None) or type(self).__name__

    @property
    def pending(self) -> bool:
        """True if it waits on a queue, or in the timer. Any context; may already be stale."""
        return len(self.item_ticket) < 2

    @property
    def running(self) -> bool:
        """True while the function of its last queue is running with it. Any context; may already be stale."""
        return self.item_running

    def __repr__(self) -> str:
        payload = getattr(self, "payload", None)
        what = self.task_name if payload is None else f"{self.task_name} {short_repr(payload)}"
        return f"<{what} at {id(self):#x}>"

    def run(self) -> NoReturn:
        """Not outside of a work queue."""
        raise TypeError(f"{self!r} belongs to a work queue, which has the function")

    def enter(self, func: Callable[[Any, Any], object], arg: Any) -> object:
        """Call the queue's function in the work's context. For queues, and only if there is a context."""
        context = self.context
        assert context is not None
        return context.run(func, self, arg)

    def coalesce(self, group: Group | None) -> bool:
        """An enqueue found it pending: False if it is disabled or being cancelled, else WorkPending."""
        if self.barred:
            return False
        self.refuse_pending()

    def refuse_pending(self) -> NoReturn:
        """Raise WorkPending."""
        lane = self.item_lane
        where = "another queue" if lane is None else f"queue {lane.group.name!r}"
        raise WorkPending(f"{self!r} is pending on {where}; it may be enqueued again once its function has been called")

    def expire(self, ticket: list[Item]) -> None:
        """As for any timed item; what it waits on the queue is measured from now on."""
        self.since = monotonic_ns()
        super().expire(ticket)

    def fire_scheduled(self, lane: Any) -> None:
        """As for any item: this layer's own probe."""
        if (probe := probes.enqueue) is not None:
            probe(lane.group.wq(), self, lane.cpu)

    def forget_threads(self) -> None:
        """In a fork child: as for any item."""
        self.slot = False
        super().forget_threads()
