"""The item: what waits on a lane. A task, a work, a call and a drain's marker are items.

    idle       its ticket is blank, and no executor has the item in hand
    pending    its ticket is full, and on a lane, set aside by an executor, or armed in the timer
    running    it is an executor's `current`; it got a blank ticket before the call, so it may be pending too
    dead       its ticket is claimed for ever

The ticket is all there is to know of a schedule (see threadpool9's `_atomic`). Who has claimed the item, or taken it
out of its ticket, owns it: an executor, to run it, or whoever withdraws it, wherever the ticket is at that moment. So
withdrawing does not search, and nothing can be between two places. The owner lets go of it by a blank ticket.

Whoever owns it for longer than a line (a cancel that waits, a reschedule) has a *hand*, a list that is not empty
meanwhile, and enters the item in `in_hands`, so that a fork child finds it.

Rules. A: atomic, any context. B: written by the owner.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from threadpool9.lowlevel import FREE, function_name, refuse_copy

from ._watch import probes

if TYPE_CHECKING:
    from contextvars import Context

    from ._executor import Executor
    from ._group import Group
    from ._lane import Lane

#: What an executor shows while it takes something, or has something in hand that it puts down elsewhere.
TAKING: Any = type("Taking", (), {"__repr__": lambda self: "TAKING"})()


#: A: items that somebody has in hand. Written on one line with the hand.
in_hands: dict[Item, None] = {}


class Item:
    """What waits on a lane; see the module's text. The attributes are for layers, not for users of tasks.

    A subclass defines `run` and, for people, ``__repr__``. There is no ``__init__`` to call: its own one sets
    ``item_ticket`` to a `threadpool9.lowlevel.blank_ticket`, and ``item_lane`` and ``item_executor`` to None. An item
    that may be barred has a slot ``barred``, which is 0 at first.
    """

    __slots__ = ("__weakref__", "item_executor", "item_lane", "item_ticket")

    __reduce_ex__ = refuse_copy

    item_ticket: Any
    """A: blank while the item is idle, full while it is pending."""
    item_lane: Lane | None
    """B: where it was scheduled last."""
    item_executor: Executor | None
    """Written by the executor that has taken the item: who ran it last."""

    #: A drain's marker, which nobody cancels or counts.
    marker = False
    #: Never runs concurrently with itself (TK-3). A work may, if its function reused it.
    exclusive = True
    #: `TaskQueue.schedule` takes it.
    schedulable = False
    #: Nonzero while puts are barred; checked after a put has become visible.
    barred = 0

    def run(self) -> object:
        """Call the function. The worker's thread."""
        raise NotImplementedError

    # --- for people, and for plugins

    @property
    def task_name(self) -> str:
        """Its name. Any context."""
        return type(self).__name__

    @property
    def context(self) -> Context | None:
        """The `contextvars.Context` that it runs in, None for the worker's own. Any context."""
        return None

    # --- what a lane asks

    def coalesce(self, group: Group) -> bool:
        """A put found that the item is not idle: False, or raise the reason why not. Any context."""
        return False

    def check_move(self, lane: Lane) -> None:
        """Raise if the item, which was on another lane, can't be put on `lane` now. Any context."""

    def fire_scheduled(self, lane: Lane) -> None:
        """Fire the probe of a schedule; only while somebody listens. Any context."""
        if not self.marker and (probe := probes.schedule) is not None:
            probe(lane, self)

    def fire_cancelled(self) -> None:
        """Fire the probe of a cancel. Any context."""
        if (probe := probes.cancel) is not None:
            probe(self)

    def broken_off(self, error: BaseException) -> None:
        """`error` has come out of `run`: of the function, or between its lines. The thread of the run."""

    def was_withdrawn(self) -> None:
        """It was withdrawn, by itself or with its queue, and is idle. Any context. May be called more than once."""

    # --- where it is

    @property
    def item_running(self) -> bool:
        """True while its function runs. Any context; may already be stale."""
        executor = self.item_executor
        return executor is not None and executor.current is self

    @property
    def item_pending(self) -> bool:
        """True while it is pending. Any context; may already be stale."""
        return len(self.item_ticket) == 1

    def claim(self, hand: list[None]) -> bool:
        """Take an idle item into `hand`; False if it is not idle. Any context."""
        ticket, taken = self.item_ticket, False
        try:
            del ticket[1]; taken = True; hand += FREE; in_hands[self] = None  # fmt: skip  # see `_atomic`
        except IndexError:
            return False
        except MemoryError:  # one of the tables had to grow; an IndexError needs memory too
            if taken:
                del hand[:]; ticket += FREE  # fmt: skip  # there is room, where the other one was
            raise
        return True

    def take_back(self, hand: list[None], ticket: Any = None) -> bool:
        """Withdraw it from wherever it is pending; True takes it into `hand`. Any context, O(1).

        With `ticket` from that schedule only: whoever asks where it is pending reads the ticket before.
        """
        ticket = self.item_ticket if ticket is None else ticket
        if None in ticket:
            return False
        taken = False
        try:
            del ticket[0]; taken = True; hand += FREE; in_hands[self] = None  # fmt: skip
        except IndexError:
            return False  # an executor, or somebody else who withdraws it, was faster
        except MemoryError:
            if taken:  # it is withdrawn
                hand[:] = FREE
            raise
        if (lane := self.item_lane) is not None:
            lane.withdrawn(ticket)
        return True

    def give_back(self, hand: list[None]) -> None:
        """If it is in `hand`, it is idle again. Any context."""
        if hand:
            blank = [None, None]
            if self in in_hands:  # there was memory to enter it
                del in_hands[self]  # noqa: RUF051 not by a call
            self.item_ticket = blank; del hand[0]  # fmt: skip

    def in_hand(self) -> bool:
        """True if an executor runs it, or may be about to show that it does. Any context."""
        lane, last = self.item_lane, self.item_executor
        executors = () if lane is None else lane.executors
        # One look at each: between two, without a GIL, the run may end and the next item be about to be taken.
        return any(
            (now := executor.current) is TAKING or now is self
            for executor in (executors if last is None or last in executors else (*executors, last))
        )

    def forget_threads(self) -> None:
        """In a fork child: whoever scheduled or ran it is not there; it is idle (TP-31)."""
        self.item_ticket = [None, None]


class Call(Item):
    """What stands for the tuple of a call (TK-17) where somebody wants to know its name: probes, reports, snapshots."""

    __slots__ = ("args", "fn", "kwargs")

    def __init__(self, fn: Callable[..., object], args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self.fn, self.args, self.kwargs = fn, args, kwargs  # S
        self.item_ticket, self.item_lane, self.item_executor = (), None, None

    def run(self) -> object:
        """Call the function."""
        return self.fn(*self.args, **self.kwargs)

    @property
    def task_name(self) -> str:
        """The function's name."""
        return function_name(self.fn)

    def __repr__(self) -> str:
        return f"<call of {self.task_name}>"
