"""A work whose result somebody wants (WQ-16): the work waits on the lane, its future waits for nobody in advance.

The queue calls its function by way of `Work.enter`, since such a work always has a context; there the future steps in.

Rules. A: atomic, any context. B: written by who has taken it out of its ticket.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from contextvars import Context
from typing import Any, TypeVar

from task9 import Future
from task9.lanes import Item
from threadpool9.lowlevel import short_repr

from ._work import Work

P = TypeVar("P")


def _repeat(error: BaseException | None, value: object) -> object:
    if error is not None:
        raise error
    return value


class WorkFuture(Future[Any]):
    """The future of a submitted work. It is never on a lane itself."""

    __slots__ = ("work",)

    def __init__(self, work: Submitted[Any], context: Context) -> None:
        super().__init__(_repeat, (), {}, context)  # until the call comes with its function
        self.work: Submitted[Any] | None = work  # B: until it is called or withdrawn

    @property
    def carrier(self) -> Item | None:
        """What waits on the lane; None once it was called or withdrawn. Any context."""
        return self.work

    @property
    def task_name(self) -> str:
        """What it is the result of, for people. Any context."""
        work = self.work
        return self._name or "work" if work is None else f"work {short_repr(work.payload)}"

    def answer(self, error: BaseException | None, value: object) -> None:
        """Settle it, for a call that was made elsewhere. The thread of who settles it."""
        self.be_given(_repeat, error, value)
        self.run()

    def called(self, work: Submitted[Any], func: Callable[[Any, Any], object], arg: Any) -> None:
        """``func(work, arg)`` is what is to be run now. The worker's thread."""
        self.item_lane, self.item_executor = work.item_lane, work.item_executor
        self._name = self.task_name
        self.work = None
        self.be_given(func, work, arg)


class Submitted(Work[P]):
    """A work that `WorkQueue.submit` has made."""

    __slots__ = ("answering", "future")

    def __init__(self, payload: P, context: Context) -> None:
        super().__init__(payload, context)
        self.future: WorkFuture | None = WorkFuture(self, context)  # B: until it is called
        self.answering: weakref.ref[WorkFuture] | None = None  # B: after that, for fork children

    def enter(self, func: Callable[[Any, Any], object], arg: Any) -> object:
        """As for any work; the future keeps what comes of the first call, should the function enqueue it again."""
        if self.future is None:
            return super().enter(func, arg)
        # An exception keeps the frames of the function and of its callers, a frame its variables, so the work too. None
        # of them may hold the future, which holds the exception.
        self.give_up_future(func, arg).run()
        return None

    def part(self) -> None:
        """Nobody gets the future: it and the work hold each other no more."""
        if (future := self.future) is not None:
            future.work = None

    def give_up_future(self, func: Callable[[Any, Any], object], arg: Any) -> WorkFuture:
        """The future, which is to be settled now. By who has taken the work."""
        future = self.future
        assert future is not None
        self.answering, self.future = weakref.ref(future), None
        future.called(self, func, arg)
        return future

    def take_back(self, hand: list[None], ticket: Any = None) -> bool:
        """As for any item; and the future is cancelled."""
        ticket = self.item_ticket if ticket is None else ticket
        future = self.future  # after the ticket: that of its own schedule
        return super().take_back(hand, ticket) if future is None else future.take_back_from(self, hand, ticket)

    def was_withdrawn(self) -> None:
        """As for any item: inform those that wait for the future. Does nothing if it was not withdrawn."""
        if (future := self.future) is not None and future.cancelled():
            future.was_withdrawn()
            future.work = None

    def broken_off(self, error: BaseException) -> None:
        """As for any item: if it was not called, its future has failed."""
        if (future := self.future) is not None:
            self.future = future.work = None
            future.broken_off(error)

    def forget_threads(self) -> None:
        """In a fork child: as for any work, and for any future."""
        future = self.future
        if future is None and self.answering is not None:
            future = self.answering()
        if future is not None:
            future.forget_threads()
        super().forget_threads()
