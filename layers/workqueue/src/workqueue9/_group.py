"""What the lanes of a work queue share: the one function, the counters, back-pressure, and who waits for a work.

Rules. A: atomic, any context. E: written by one executor's thread, summed by readers. S: set at init.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NoReturn

from task9 import QueueClosed
from task9._lane import TAKING, Executor, Group, Lane
from threadpool9 import WaitTimeout, _seam

from ._errors import Full
from ._probes import probes

if TYPE_CHECKING:
    from task9._task import Task

    from ._work import Work
    from ._workqueue import WorkQueue

BUCKETS = 64  # of the histogram of waiting times: bucket n counts waits of less than 2**n nanoseconds

#: What a queue with WQ_GIANT holds while its function runs (WQ-13): all such queues exclude each other.
giant = _seam.RLock()


def _excluding(func: Callable[[Any, Any], object]) -> Callable[[Any, Any], object]:
    """`func` under the giant lock (WQ-13)."""

    def call(work: Any, arg: Any) -> object:
        with giant:
            return func(work, arg)

    return call


class Stats:
    """What one executor has measured. E."""

    __slots__ = ("run_ns", "waits")

    def __init__(self) -> None:
        self.run_ns = 0
        self.waits = [0] * BUCKETS


class Watch(_seam.Waiters):
    """Those who wait for one work to be called or withdrawn."""

    __slots__ = ("users",)

    def __init__(self) -> None:
        super().__init__()
        self.users = 0  # under the group's watch_lock


class WorkGroup(Group):
    """The group of one work queue."""

    def __init__(
        self,
        name: str,
        func: Callable[[Any, Any], object],
        arg: Any,
        exclusive: bool,
        max_pending: int | None,
        on_error: Callable[[BaseException, Any], object] | None,
    ) -> None:
        super().__init__(name, shared=False)
        self.func = _excluding(func) if exclusive else func  # S
        self.arg = arg  # S
        self.on_error = on_error  # S
        self.wq: Callable[[], WorkQueue | None] = lambda: None  # S: weak, for probes
        self.stats: dict[Executor, Stats] = {}  # A: an executor adds its own once
        self.cancelled = _seam.Tally()  # A
        self.max_pending = max_pending  # S
        #: One entry for each work that may still come; taken by enqueue, put back when a work is called.
        self.slots: _seam.deque[None] | None = None if max_pending is None else _seam.deque([None] * max_pending)  # A
        self.space = _seam.Waiters()  # A: enqueuers that wait for a slot
        self.watch_lock = _seam.RLock()  # held for a few lines, in thread context
        self.watches: dict[Work, Watch] = {}  # under watch_lock, read by anyone: who waits for a work to be called

    # --- running

    def make_call(self, executor: Executor) -> Callable[[Any], object]:
        """The call for one batch of works: the queue's function, and what is measured around it.

        Works that follow each other share a clock reading: the end of one is the start of the next. What the call
        needs is bound as defaults, since locals are what any interpreter reads fastest.
        """
        stats = self.stats.setdefault(executor, Stats())
        last = _seam.monotonic_ns()

        def call(
            work: Any,
            func: Callable[[Any, Any], object] = self.func,
            arg: Any = self.arg,
            slots: Any = self.slots,
            watches: Any = self.watches,
            waits: list[int] = stats.waits,
            now: Callable[[], int] = _seam.monotonic_ns,
        ) -> None:
            nonlocal last
            slot, since = work._slot, work._since
            work._slot = False
            work._free.append(None)  # from here on the work is the function's: only its identity is used
            if slot and slots is not None:
                self.give_slot()
            start = last
            waits[max(0, start - since).bit_length()] += 1
            if watches:
                self.left_lane(work)
            try:
                func(work, arg)
            finally:
                last = now()
                stats.run_ns += last - start

        return call

    def undone(self, task: Any) -> None:
        """Who waits for it is told."""
        self.left_lane(task)

    def refuse_closed(self) -> NoReturn:
        """As in the layer below, in this layer's words."""
        raise QueueClosed(f"queue {self.name!r} is destroyed")

    def withdraw(self, task: Any) -> None:
        """As a cancel of the queue does, with all that is counted."""
        queue = self.wq()
        if queue is not None:
            queue._withdraw(task)

    def entering(self, lane: Lane, task: Any) -> None:
        """As in the layer below, and this layer's own probe."""
        super().entering(lane, task)
        if probes.entry is not None:
            probes.entry(self.wq(), task, self.func, self.arg)

    def returned(self, lane: Lane, task: Any) -> None:
        """As in the layer below, and this layer's own probe."""
        super().returned(lane, task)
        if probes.return_ is not None:
            probes.return_(self.wq(), task, self.func, self.arg)

    def left_lane(self, work: Work) -> None:
        """`work` is not pending any more: tell who waits for that. Any context."""
        waiters = self.watches.get(work)
        if waiters is not None:
            waiters.wake_all()

    def report(self, error: BaseException, task: Task) -> None:
        """An exception left the function: `on_error`, or the error hook, told queue and work (WQ-11)."""
        error.add_note(f"in work queue {self.name!r}, work {task!r}")
        if self.on_error is not None:
            self.on_error(error, task)
        else:
            super().report(error, task)

    # --- back-pressure

    def take_slot(self, work: Work, block: bool, timeout: float | None, slot: list[None]) -> None:
        """Take a slot into `slot`, waiting for one if `block`; Full if there is none (in time)."""
        slots = self.slots
        assert slots is not None
        deadline = _seam.deadline_after(timeout) if block else None
        while not slot:
            try:
                _seam.collect(slots.pop, slot)
                return
            except IndexError:
                pass
            if not block or self.is_own_thread():  # the function would wait for itself
                raise Full(f"queue {self.name!r} holds {self.max_pending} works; {work!r} was not enqueued")
            try:
                in_time = self.space.wait(lambda: not slots, deadline)
            except BaseException:
                self.offer_space()  # we may have been woken for a slot that we do not take: let another have it
                raise
            if not in_time and not slots:
                self.offer_space()
                raise Full(
                    f"queue {self.name!r} held {self.max_pending} works for {timeout} s; {work!r} was not enqueued"
                )

    def give_slot(self) -> None:
        """Put a slot back and wake one enqueuer. Any context."""
        if self.slots is not None:
            self.slots.append(None)
            self.offer_space()

    def offer_space(self) -> None:
        """Wake one enqueuer if there is a slot for it. Any context; once too often does no harm."""
        if self.slots and self.space.locks:
            self.space.wake_one()

    def forget_threads(self) -> None:
        """In a fork child: nothing is pending, nobody waits."""
        if self.max_pending is not None and self.slots is not None:
            self.slots.clear()
            self.slots.extend([None] * self.max_pending)
        self.space.locks.clear()
        self.watches.clear()
        self.watch_lock = _seam.RLock()

    # --- waiting for one work

    def pending_here(self, work: Work) -> bool:
        """True if `work` waits on a lane of this queue or is armed for it. Any context."""
        lane = work._lane
        return lane is not None and lane.group is self and not work._free

    def running(self) -> int:
        """How many works are in the function now. Any context."""
        in_hand = [executor.current for executor in self.executors()]
        return sum(task is not None and task is not TAKING and not task._marker for task in in_hand)

    def in_hand(self, work: Work) -> list[Executor]:
        """The executors that are in the function with `work`. Any context."""
        return [executor for executor in self.executors() if executor.current is work]

    def _watch(self, work: Work, mine: list[Watch]) -> None:
        """Have `left_lane` tell us of `work`; thread context."""
        with self.watch_lock:
            watch = self.watches.get(work)
            if watch is None:
                watch = self.watches[work] = Watch()
            watch.users += 1; mine.append(watch)  # fmt: skip  # noqa: E702 see threadpool9's _seam

    def _unwatch(self, work: Work, mine: list[Watch]) -> None:
        """Undo `_watch`. May be repeated."""
        with self.watch_lock:
            if mine:
                mine[0].users -= 1; del mine[0]  # fmt: skip  # noqa: E702
            watch = self.watches.get(work)
            if watch is not None and not watch.users:
                del self.watches[work]

    def wait(self, work: Work, deadline: float | None) -> None:
        """Until the runs of `work` that are under way or pending now are over. Thread context; WaitTimeout.

        First until what is pending now (told by the number of the enqueue) has been called or withdrawn, then until
        the runs that are under way are over. Whoever enqueues it again meanwhile is not waited for, but for a run
        that has begun by then.
        """
        turn = work._turn

        def pending() -> bool:
            return self.pending_here(work) and work._turn == turn

        in_time = True
        if pending():
            mine: list[Watch] = []
            try:
                self._watch(work, mine)
                while in_time and pending():
                    in_time = mine[0].wait(pending, deadline)
                self._unwatch(work, mine)
            except BaseException:
                self._unwatch(work, mine)
                raise
        # An executor shows the work before it gives the token back, so none escapes this look.
        for executor in self.in_hand(work):
            in_time = in_time and executor.wait_end(work, deadline)
        if not in_time and (pending() or self.in_hand(work)):
            raise WaitTimeout(f"{work!r} is still pending or running on queue {self.name!r}")
