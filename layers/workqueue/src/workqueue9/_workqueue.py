"""The work queue: one function, a FIFO of works for it (WQ-1 to WQ-13).

A work queue is a task queue (one lane, or one for each CPU) whose executors call the queue's function. What it
adds: every enqueue is a run (no coalescing: enqueuing what is pending is an error), waiting for one work,
drain and destroy, back-pressure, freezing, counters. It owns no thread while it is idle (WQ-8).

    open       enqueue from anywhere
    draining   enqueue from the queue's own function only (WQ-6)
    closing    likewise, and for good: a close is under way or was cut short
    ending     none; destroy is under way or was cut short
    destroyed  none
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from contextvars import Context, copy_context
from typing import Any, Generic, TypeVar

from task9 import Future, TaskQueue
from task9.lanes import Lane, check_seconds, in_hands
from threadpool9 import PRI_NONE, UsageError
from threadpool9.lowlevel import (
    Blocking,
    Steps,
    Wait,
    check_function,
    check_priority,
    monotonic_ns,
    refuse_copy,
    run,
)

from ._aio import WorkQueueAio
from ._backend import Backend, as_backend
from ._errors import Full, WorkPending
from ._flags import FLAGS, WQ_GIANT, WQ_PERCPU, AnyCPU
from ._group import WorkGroup
from ._probes import probes
from ._remote import RemoteGroup
from ._stats import QueueStats, queues, take
from ._submitted import Submitted
from ._waits import Waits
from ._work import Work

W = TypeVar("W", bound="Work[Any]")
A = TypeVar("A")


class WorkQueue(Waits[W], Generic[W, A]):
    """A named queue of works for one function: ``func(work, arg)``.

    Args:
        name: for people.
        func: called with each work; its exceptions go to `on_error` or the error hook, and the queue goes on.
        arg: handed to `func` each time.
        pri: priority of the threads.
        flags: `WQ_PERCPU`, `WQ_GIANT`, `WQ_MPSAFE`, `WQ_FPU`.
        max_active: how many works run at once, started in order; 1 makes an ordered queue. Not with WQ_PERCPU.
        max_pending: how many works may wait (delayed ones apart); None for no limit (WQ-9).
        on_error: ``on_error(exception, work)`` instead of the error hook (WQ-11).
        backend: runs the works elsewhere (WQ-15): a `Backend`, or the name of one that a plugin knows. Not with
            WQ_PERCPU and WQ_GIANT.

    Thread context. ``with`` thaws, drains and destroys at its end. Follows ``workqueue_create``.
    """

    __reduce_ex__ = refuse_copy

    def __init__(
        self,
        name: str,
        func: Callable[[W, A], object],
        arg: A = None,  # type: ignore[assignment]  # no argument
        pri: int = PRI_NONE,
        flags: int = 0,
        max_active: int = 1,
        max_pending: int | None = None,
        on_error: Callable[[BaseException, W], object] | None = None,
        *,
        backend: Backend | str | None = None,
    ) -> None:
        self.state = "destroyed"  # A: until we are complete
        if not isinstance(name, str):
            raise TypeError(f"the name of a queue is a str, not {name!r}")
        check_function("func", func, " with a work and arg")
        if on_error is not None:
            check_function("on_error", on_error, " with an exception and a work")
        if type(flags) is not int or flags & ~FLAGS:
            raise ValueError(f"flags are WQ_PERCPU, WQ_GIANT, WQ_MPSAFE and WQ_FPU or'ed together, not {flags!r}")
        for what, value in (("max_active", max_active), ("max_pending", 1 if max_pending is None else max_pending)):
            if type(value) is not int:
                raise TypeError(f"{what} is an int >= 1, not {value!r}")
            if value < 1:
                raise ValueError(f"{what} is an int >= 1, not {value!r}")
        percpu = bool(flags & WQ_PERCPU)
        if percpu and max_active != 1:
            raise ValueError("max_active is 1 for a queue with WQ_PERCPU: each CPU's queue is ordered")
        self.name = name  # S
        self.pri = check_priority(pri)  # S
        self.flags = flags  # S
        self.max_active = max_active  # S
        about = (name, func, arg, bool(flags & WQ_GIANT), max_pending, on_error)
        if backend is not None and flags & (WQ_PERCPU | WQ_GIANT):
            raise ValueError("WQ_PERCPU and WQ_GIANT are about local threads: a queue with a back end has neither")
        group = None
        try:
            group = WorkGroup(*about) if backend is None else RemoteGroup(*about, backend=as_backend(backend), pri=pri)
            self.group = group  # S
            group.wq = weakref.ref(self)
            self._queue = TaskQueue(name, pri, percpu, max_active, group=group)  # S
        except BaseException:
            if group is not None:
                group.ended()
            raise
        self._lane = None if percpu else self._queue.lane_here()  # S
        self.reported = 0  # written by who asks for stats: high-water mark of `enqueued`, as no counter may go back
        self.reported_completed = 0  # likewise: what runs is read after what has started
        self.state = "open"
        queues.add(self)
        if (probe := probes.create) is not None:
            probe(self, name, func, arg, pri, 0, flags)

    def __repr__(self) -> str:
        return f"<WorkQueue {self.name!r} {self.state}>"

    # --- enqueuing

    def enqueue(
        self, work: W, cpu: int | AnyCPU | None = None, block: bool = True, timeout: float | None = None
    ) -> bool:
        """Put `work` at the end; its function is called once for each enqueue (WQ-3).

        Args:
            work: not pending anywhere. It may be enqueued again once the function has been called with it.
            cpu: with WQ_PERCPU, the CPU whose queue takes it; None is the caller's, `ANY` the one with the least to do.
            block: on a full queue wait (thread context) or raise Full at once (WQ-9).
            timeout: seconds to wait on a full queue.

        True if enqueued; False if the work is disabled, or is being cancelled right now. Any context; never
        blocks, except on a full queue with `block`. Raises WorkPending, Full, CPUError, StartError, and UsageError
        for a queue that is draining or destroyed, or a cpu without WQ_PERCPU. An error changes nothing.
        """
        lane = self._lane
        if cpu is not None or lane is None:
            lane = self._choose(cpu)
        if self.state != "open":
            self._check_open()
        group = self.group
        try:
            if work.item_lane is not lane and work.__class__ is not Work:
                self._check_work(work)
            if not group.plain:
                return run(self._enqueue_prepared(work, lane, Blocking(timeout) if block else None))
            if work.barred:
                return False
            if len(work.item_ticket) == 2:
                work.since = monotonic_ns()
            return lane.put(work)
        except AttributeError:
            self._check_work(work)
            raise

    def submit(
        self,
        payload: Any,
        cpu: int | AnyCPU | None = None,
        block: bool = True,
        timeout: float | None = None,
        *,
        context: Context | None = None,
    ) -> Future[Any]:
        """Enqueue a new work with `payload`, and return a future of what the queue's function returns (WQ-16).

        The function is called in a copy of the caller's context variables, or in `context`; with a back end in neither,
        and passing one is a TypeError. What it raises goes to the future, not to `on_error`. Cancelling the future
        withdraws the work. Otherwise as `enqueue`.
        """
        work: Any = self._to_submit(payload, context)
        future: Future[Any] = work.future  # the work gives it up when it is called
        try:
            self.enqueue(work, cpu, block, timeout)
        except BaseException:
            work.part()
            raise
        return future

    def submit_steps(
        self, payload: Any, cpu: int | AnyCPU | None, wait: Wait, context: Context | None
    ) -> Steps[Future[Any]]:
        """`submit`, by a thread or by a task of an event loop."""
        work: Any = self._to_submit(payload, context)
        future: Future[Any] = work.future
        try:
            yield from self.enqueue_steps(work, cpu, wait)
        except BaseException:
            work.part()
            raise
        return future

    def _to_submit(self, payload: Any, context: Context | None) -> Submitted[Any]:
        """A work with a future. A copy of the caller's context is left behind by a back end; one that is given, not."""
        if context is not None and isinstance(self.group, RemoteGroup):
            raise TypeError(f"queue {self.name!r} has a back end: a context can't run elsewhere")
        return Submitted(payload, copy_context() if context is None else context)

    def enqueue_steps(self, work: W, cpu: int | AnyCPU | None, wait: Wait) -> Steps[bool]:
        """`enqueue`, by a thread or by a task of an event loop."""
        if self.group.plain:
            return self.enqueue(work, cpu)
        lane = self._choose(cpu)
        self._check_open()
        self._check_work(work)
        return (yield from self._enqueue_prepared(work, lane, wait))

    def _enqueue_prepared(self, work: W, lane: Lane, wait: Wait | None) -> Steps[bool]:
        """`enqueue` on a queue that is not plain. None: does not wait."""
        group, slots = self.group, self.group.slots
        if len(work.item_ticket) < 2:
            return work.coalesce(group)
        if work.barred:
            return False
        parcel = group.pack(work)
        slot: list[None] = []
        hand: list[None] = []
        # First a slot, then the work, then the lane.
        try:
            if slots is not None and not slots.take_now(slot):
                # The queue's own function would wait for itself.
                waits = None if group.is_own_thread() else wait
                yield from slots.take(slot, waits, lambda: self._full(work, waits))
                if self.state != "open":
                    self._check_open()  # it may have taken long
            if not work.claim(hand):
                group.give_slot(slot)
                return work.coalesce(group)
            group.keep(work, parcel)
            work.since = monotonic_ns()
            work.slot = bool(slot); del slot[:]  # fmt: skip  # see threadpool9's _atomic
            return lane.put_taken(work, hand)
        except BaseException:
            try:
                if hand:  # it is not there
                    group.free(work, hand)
            finally:
                group.give_slot(slot)
            raise

    def _full(self, work: W, wait: Wait | None) -> Full:
        bound = self.group.slots.bound if self.group.slots is not None else 0
        timeout = wait and wait.timeout
        if self.group.is_own_thread():
            what = f"is full (max_pending={bound}), and its own function can't wait for room"
        elif timeout is None:
            what = f"is full (max_pending={bound})"
        else:
            what = f"was full for {timeout} s (max_pending={bound})"
        return Full(f"queue {self.name!r} {what}; {work!r} was not enqueued")

    def enqueue_delayed(self, work: W, seconds: float, jitter: float = 0.0, cpu: int | AnyCPU | None = None) -> bool:
        """Enqueue `work` `seconds` from now at the earliest (WQ-7); 0 is `enqueue` with ``block=False``. Any context.

        A delayed work takes no slot of `max_pending`, even when it is due. Returns and raises as `enqueue`; ValueError
        for a delay that is negative or not finite.
        """
        check_seconds("a delay", seconds)
        check_seconds("jitter", jitter)
        self._check_work(work)
        if seconds == 0:
            return self.enqueue(work, cpu, block=False)
        lane = self._choose(cpu)
        self._check_open()
        if work.barred:
            return False
        hand: list[None] = []
        try:
            if not work.claim(hand):
                return work.coalesce(self.group)
            self.group.keep(work, self.group.pack(work))
            return work.arm(lane, seconds, jitter, hand)
        except BaseException:
            if hand:
                self.group.free(work, hand)
            raise

    def modify(self, work: W, seconds: float, jitter: float = 0.0) -> bool:
        """Move a pending work to `seconds` from now, or enqueue it so: True if it was pending here (WQ-7).

        Any context. Raises WorkPending for a work that is pending on another queue.
        """
        check_seconds("a delay", seconds)
        check_seconds("jitter", jitter)
        self._check_work(work)
        if not work.pending:
            try:
                self.enqueue_delayed(work, seconds, jitter)
                return False
            except WorkPending:
                pass  # somebody else enqueued it first, so there is something to move
        ticket, lane = work.item_ticket, work.item_lane  # in this order: if that ticket is full, it is full there
        if lane is None:
            return True  # being enqueued for the first time at this very moment, which may be taken to come after us
        if lane.group is not self.group:
            work.refuse_pending()
        hand: list[None] = []
        try:
            if not work.take_back(hand, ticket):
                return True  # its function is being called right now: too late to move, nothing to make up for
            self._move_to(lane, work, seconds, jitter, hand)
        except BaseException:
            try:
                if hand:  # withdrawn, and somebody counts on the run: so it is moved all the same
                    in_hands[work] = None  # there may have been no memory for it
                    self._move_to(lane, work, seconds, jitter, hand)
            finally:
                if hand:
                    self.group.free(work, hand)
            raise
        return True

    def _move_to(self, lane: Lane, work: W, seconds: float, jitter: float, hand: list[None]) -> None:
        if seconds > 0:
            self.group.free_slot(work)
            work.arm(lane, seconds, jitter, hand)
        else:
            work.since = monotonic_ns()
            lane.put_taken(work, hand)

    def _choose(self, cpu: int | AnyCPU | None) -> Lane:
        if cpu is None:
            return self._queue.lane_here()
        if isinstance(cpu, AnyCPU):
            own = self._queue.lane_here()
            # The caller's own CPU first: waking a thread on another one costs tens of microseconds.
            return min((own, *self.group.lanes), key=Lane.load)
        return self._queue.lane_of(cpu)

    def _check_open(self) -> None:
        state = self.state  # once: a drain may end meanwhile
        if state == "open" or (state in ("draining", "closing") and self.group.is_own_thread()):
            return
        if state == "draining":
            raise UsageError(f"queue {self.name!r} is being drained: only its own function may enqueue now")
        self.group.refuse_closed()

    def __enter__(self) -> WorkQueue[W, A]:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    async def __aenter__(self) -> WorkQueue[W, A]:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.aio.close()

    @property
    def aio(self) -> WorkQueueAio[W]:
        """The calls that wait, for event loops: ``await queue.aio.drain()`` (AW-1)."""
        return WorkQueueAio(self)

    def stats(self) -> QueueStats:
        """The counters now (WQ-12). Any context; exact when nothing is going on."""
        return take(self)
