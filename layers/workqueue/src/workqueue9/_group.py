"""What the lanes of a work queue share: the one function, the counters, and who waits for a work.

Rules. A: atomic, any context. E: written by one executor's thread, summed by readers. S: set at init.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NoReturn

from task9 import QueueClosed
from task9.lanes import Executor, Group, Item, Lane, Slots, in_hands
from threadpool9 import WaitTimeout
from threadpool9.lowlevel import (
    FREE,
    RLock,
    Steps,
    Tally,
    Wait,
    blank_ticket,
    insist,
    monotonic_ns,
    note_origin,
    safe_repr,
)

from ._probes import probes

if TYPE_CHECKING:
    from ._work import Work
    from ._workqueue import WorkQueue

BUCKETS = 64  # of the histogram of waiting times: bucket n counts waits of less than 2**n nanoseconds

#: What a queue with WQ_GIANT holds while its function runs (WQ-13): all such queues exclude each other.
giant = RLock()


def _excluding(func: Callable[[Any, Any], object]) -> Callable[[Any, Any], object]:
    """`func` under the giant lock (WQ-13)."""

    def call(work: Any, arg: Any) -> object:
        with giant:
            return func(work, arg)

    return call


class Stats:
    """What one executor has measured. E."""

    __slots__ = ("run_ns", "wait_ns", "waits")

    def __init__(self) -> None:
        self.run_ns = self.wait_ns = 0
        self.waits = [0] * BUCKETS


class WorkGroup(Group):
    """The group of one work queue."""

    __slots__ = ("arg", "called_func", "cancelled", "func", "on_error", "plain", "slots", "stats", "wq")

    def __init__(
        self,
        name: str,
        func: Callable[[Any, Any], object],
        arg: Any,
        exclusive: bool,
        max_pending: int | None,
        on_error: Callable[[BaseException, Any], object] | None,
    ) -> None:
        super().__init__(name)
        self.func = func  # S
        self.called_func = _excluding(func) if exclusive else func  # S
        self.arg = arg  # S
        self.on_error = on_error  # S
        self.wq: Callable[[], WorkQueue[Any, Any] | None] = lambda: None  # S: weak, for probes
        self.stats: dict[Executor, Stats] = {}  # A: an executor adds its own once
        self.cancelled = Tally()  # A
        self.slots = None if max_pending is None else Slots(max_pending)  # S
        self.plain = self.slots is None  # S: an enqueue is no more than a put on a lane

    # --- running

    def make_call(self, executor: Executor) -> Callable[[Any], object]:
        """The call for one batch of works: the queue's function, and what is measured around it.

        Works that follow each other share a clock reading: the end of one is the start of the next. What the call
        needs is bound as defaults, since locals are what any interpreter reads fastest.
        """
        stats = self.stats_of(executor)
        last = monotonic_ns()

        def call(
            work: Any,
            func: Callable[[Any, Any], object] = self.called_func,
            arg: Any = self.arg,
            waiting: Any = self.sleepers,
            waits: list[int] = stats.waits,
            bounded: bool = self.slots is not None,
            now: Callable[[], int] = monotonic_ns,
        ) -> None:
            nonlocal last
            start = last
            waited = start - work.since
            context = work.context
            if bounded:
                self.release(work)
            else:
                try:
                    work.item_ticket = [None, None]  # from here on it is the function's: only its identity is used
                except MemoryError:
                    work.item_ticket = insist(blank_ticket)
            if waited < 0:  # `start` was read before this work was enqueued
                waited = 0
            stats.wait_ns += waited
            waits[waited.bit_length()] += 1
            if waiting:
                insist(self.sleepers.wake, work)
            try:
                if context is None:
                    func(work, arg)
                else:
                    work.enter(func, arg)
            finally:
                last = now()
                stats.run_ns += last - start

        return call

    def release(self, work: Work[Any]) -> None:
        """`work` is called: it may be enqueued again, and its slot is free. The worker's thread."""
        insist(self.free_slot, work)
        work.item_ticket = insist(blank_ticket)

    def stats_of(self, executor: Executor) -> Stats:
        """What `executor` has measured; for its own thread."""
        return self.stats.get(executor) or self.stats.setdefault(executor, Stats())

    def pack(self, work: Work[Any]) -> Any:
        """What an enqueue is to `keep`; raises what keeps the work out. Any context."""

    def keep(self, work: Work[Any], parcel: Any) -> None:
        """Keep what `pack` has made until the work is taken or undone. By its owner. Any context."""

    def give_slot(self, slot: list[None]) -> None:
        """Give back the slot that is in `slot`, if any; without one another waiter looks all the same. Any context."""
        if self.slots is not None:
            self.slots.give(slot)

    def ended(self) -> None:
        """The queue was destroyed. May be repeated."""

    def refuse_closed(self) -> NoReturn:
        """As in the layer below, in this layer's words."""
        raise QueueClosed(f"queue {self.name!r} is closed and takes no new works")

    def entering(self, lane: Lane, item: Any) -> None:
        """As in the layer below, and this layer's own probe."""
        super().entering(lane, item)
        if (probe := probes.entry) is not None:
            probe(self.wq(), item, self.func, self.arg)

    def returned(self, lane: Lane, item: Any) -> None:
        """As in the layer below, and this layer's own probe."""
        if (probe := probes.return_) is not None:
            probe(self.wq(), item, self.func, self.arg)
        super().returned(lane, item)

    def report(self, error: BaseException, item: Item) -> None:
        """An exception left the function: `on_error`, or the error hook, with queue and work noted on it (WQ-11)."""
        if self.on_error is None:
            super().report(error, item)
            return
        note_origin(error, self.origin(item))
        self.on_error(error, item)

    def origin(self, item: Item) -> str:
        """As in the layer below, in this layer's words."""
        return f"in work queue {self.name!r}, work {safe_repr(item)}"

    # --- leaving a lane without a run

    def undone(self, item: Any) -> None:
        """As in the layer below: whoever waits for it need not wait any longer."""
        if self.sleepers:
            self.sleepers.wake(item)

    def count_withdrawn(self, item: Item) -> None:
        """As in the layer below, and this layer's counter."""
        self.cancelled.bump()
        super().count_withdrawn(item)

    def free(self, item: Any, hand: list[None]) -> None:
        """As in the layer below; and its slot is free."""
        if hand:
            if item.slot and self.slots is not None:
                free = self.slots.free
                free += FREE; item.slot = False  # fmt: skip
            blank = [None, None]
            if item in in_hands:
                del in_hands[item]
            item.item_ticket = blank; del hand[0]  # fmt: skip
            if self.slots is not None:
                self.slots.offer()
        self.undone(item)

    def free_slot(self, work: Work[Any]) -> None:
        """Give back the slot that `work` has, if any. Only for its owner. Any context."""
        if self.slots is not None:
            if work.slot:
                free = self.slots.free
                free += FREE; work.slot = False  # fmt: skip  # see threadpool9's _atomic
            self.slots.offer()

    # --- where a work is

    def pending_here(self, work: Work[Any]) -> bool:
        """True if `work` waits on a lane of this queue, is armed for it, or is being put here. Any context."""
        lane = work.item_lane
        return lane is not None and lane.group is self and len(work.item_ticket) < 2

    def running(self) -> int:
        """How many works are in the function now. Any context."""
        return sum(isinstance(executor.current, Item) for executor in self.executors())

    def in_function(self, work: Work[Any]) -> list[Executor]:
        """The executors that are in the function with `work`. Any context."""
        return [executor for executor in self.executors() if executor.current is work]

    def wait(self, work: Work[Any], wait: Wait) -> Steps[None]:
        """Until the runs of `work` that are under way or pending now are over. WaitTimeout.

        First until what is pending now has been called or withdrawn, then until the runs that are under way are over.
        Whoever enqueues it again meanwhile is not waited for, but for a run that has begun by then.
        """
        ticket: Any = None

        def pending() -> bool:
            # Looked at for the first time when we are in the table: a modify gives it another ticket and wakes nobody.
            nonlocal ticket
            now = work.item_ticket
            if ticket is None:
                ticket = now if len(now) < 2 else ()
            return now is ticket and self.pending_here(work)

        in_time = True
        if self.pending_here(work):
            in_time = yield from self.sleepers.wait(work, pending, wait)
            while in_time and pending():
                in_time = yield from self.sleepers.wait(work, pending, wait)
        # An executor shows the work before it makes it idle, so none escapes this look.
        for executor in self.in_function(work):
            in_time = in_time and (yield from executor.wait_end(work, wait))
        if not in_time and (pending() or self.in_function(work)):
            raise WaitTimeout(f"{work!r} is still pending or running on queue {self.name!r}")
