"""The work queue: one function, a FIFO of works for it (WQ-1 to WQ-13).

A work queue is a task queue (one lane, or one for each CPU) whose executors call the queue's function. What it
adds: every enqueue is a run (no coalescing: enqueuing what is pending is an error), waiting for one work,
drain and destroy, back-pressure, freezing, counters. It owns no thread while it is idle (WQ-8).

    open       enqueue from anywhere
    draining   enqueue from the queue's own function only (WQ-6)
    ending     none; destroy is under way or was cut short
    destroyed  none
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NoReturn

import attrs

from task9 import TaskQueue
from task9._delayed import check_seconds
from task9._lane import FREEZE, TAKING, TRANSIENT, Group, Lane
from task9._timer import coalesce
from threadpool9 import PRI_NONE, Error, UsageError, WaitTimeout, _seam
from threadpool9._lifecycle import after_fork
from threadpool9._priority import check_priority
from threadpool9._seam import monotonic_ns

from . import _group
from ._errors import WorkPending
from ._group import BUCKETS, WorkGroup
from ._probes import probes
from ._work import Work

if TYPE_CHECKING:
    from types import TracebackType

__all__ = ["WQ_FPU", "WQ_GIANT", "WQ_MPSAFE", "WQ_PERCPU", "QueueStats", "WorkQueue", "snapshot"]

WQ_MPSAFE = 0x01
"""Accepted, and what happens anyway: queues run in parallel (WQ-13)."""
WQ_PERCPU = 0x02
"""One ordered queue for each CPU, bound to it (WQ-2)."""
WQ_FPU = 0x04
"""Accepted; a user-space thread always may use the FPU."""
WQ_GIANT = 0x08
"""Functions of all queues with this flag exclude each other: NetBSD's case without WQ_MPSAFE (WQ-13)."""

_FLAGS = WQ_MPSAFE | WQ_PERCPU | WQ_FPU | WQ_GIANT


@attrs.frozen
class QueueStats:
    """Counters of one queue (WQ-12); `started` - `completed` is what is in flight."""

    enqueued: int
    started: int
    completed: int
    cancelled: int
    errors: int
    run_seconds: float
    """Time spent in the function, summed over all works."""
    wait_histogram: tuple[int, ...]
    """Bucket n counts works that waited less than 2**n nanoseconds (and at least half of that)."""
    pending: int
    running: int


class _Lanes(TaskQueue):
    """The task queue below a work queue."""

    def __init__(self, group: WorkGroup, pri: int, percpu: bool, concurrency: int) -> None:
        self._work_group = group
        super().__init__(group.name, pri, percpu, concurrency)

    def _make_group(self) -> Group:
        return self._work_group


class _Refused(Exception):
    """Out of the middle of an enqueue: the work is disabled, or is being cancelled."""


class WorkQueue:
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

    Thread context. ``with`` thaws, drains and destroys at its end. Follows ``workqueue_create``.
    """

    def __init__(
        self,
        name: str,
        func: Callable[[Any, Any], object],
        arg: Any = None,
        pri: int = PRI_NONE,
        flags: int = 0,
        max_active: int = 1,
        max_pending: int | None = None,
        on_error: Callable[[BaseException, Any], object] | None = None,
    ) -> None:
        self._state = "destroyed"  # A: until we are complete
        if not isinstance(name, str):
            raise TypeError(f"the name of a queue is a str, not {name!r}")
        if not callable(func):
            raise TypeError(f"func must be callable with a work and arg, not {func!r}")
        if on_error is not None and not callable(on_error):
            raise TypeError(f"on_error must be callable with an exception and a work, not {on_error!r}")
        if type(flags) is not int or flags & ~_FLAGS:
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
        self._group = group = WorkGroup(name, func, arg, bool(flags & WQ_GIANT), max_pending, on_error)  # S
        group.wq = weakref.ref(self)
        self._lanes = _Lanes(group, pri, percpu, max_active)  # S
        self._lane = self._lanes._lane  # S: None for WQ_PERCPU
        self._told = 0  # written by who asks for stats: the most that was told of `enqueued`
        self._drains = 0  # under the disable lock: drain() calls under way
        self._state = "open"
        queues.add(self)
        if (probe := probes.create) is not None:
            probe(self, name, func, arg, pri, 0, flags)

    def __repr__(self) -> str:
        return f"<WorkQueue {self.name!r} {self._state}>"

    # --- enqueuing

    def enqueue(self, work: Work, cpu: int | None = None, block: bool = True, timeout: float | None = None) -> bool:
        """Put `work` at the end; its function is called once for each enqueue (WQ-3).

        Args:
            work: not pending anywhere. It may be enqueued again once the function has been called with it.
            cpu: with WQ_PERCPU, the CPU whose queue takes it; None is the caller's.
            block: on a full queue wait (thread context) or raise Full at once (WQ-9).
            timeout: seconds to wait on a full queue.

        True if enqueued; False if the work is disabled, or is being cancelled right now. Any context and never
        blocks, but for a full queue with `block`. Raises WorkPending, Full, CPUError, StartError, and UsageError
        for a queue that drains or is destroyed, or a cpu without WQ_PERCPU. An error changes nothing.
        """
        try:
            free = work._free
        except AttributeError:
            raise TypeError(f"{self!r} takes works, not {work!r}") from None
        lane = self._lane
        if cpu is not None or lane is None:
            lane = self._choose(cpu)
        if self._state != "open":
            self._check_open()
        if not free:
            return self._not_free(work)
        group = self._group
        slot: list[None] = []
        claimed = published = False
        try:
            if group.slots is not None:
                if work._disabled or work._cancelling:
                    return False
                group.take_slot(work, block, timeout, slot)
                if self._state != "open":
                    self._check_open()  # it may have taken long
            del free[0]; claimed = True  # fmt: skip  # noqa: E702 nothing may come between, see threadpool9's _seam
            if slot:  # none is kept without a limit, so what an earlier queue left there does no harm
                work._slot = True
            work._turn += 1
            # Publish, then look; who disables or cancels does the same: it finds the lane here, and waits until we are
            # through, or we find that it has begun.
            work._lane = lane
            if work._disabled or work._cancelling:
                raise _Refused
            work._since = monotonic_ns()
            if probes.enqueue is not None:
                probes.enqueue(self, work, lane.pool.cpu)
            published = True; lane.items.append(work)  # fmt: skip  # noqa: E702 said, then done
            if lane.idle:
                lane.kick()
            if group.frozen:
                group.look_closed()  # destroyed between our two looks: `still_here` takes the work off again
        except BaseException as error:
            if published and not lane.still_here(error, work):
                return True
            if slot and (not published or isinstance(error, Error)):
                group.give_slot()
            if claimed and not published:
                free.append(None)
            if isinstance(error, _Refused):
                return False
            if isinstance(error, AttributeError):
                self._check_work(work)
            if not claimed and isinstance(error, IndexError):
                return self._not_free(work)
            raise
        return True

    def enqueue_delayed(self, work: Work, seconds: float, jitter: float = 0.0, cpu: int | None = None) -> bool:
        """Enqueue `work` `seconds` from now at the earliest (WQ-7); 0 is `enqueue` with ``block=False``. Any context.

        A delayed work takes no slot of `max_pending`, also when it is due. Returns and raises as `enqueue`; ValueError
        for a delay that is negative or not finite.
        """
        check_seconds("a delay", seconds)
        check_seconds("jitter", jitter)
        self._check_work(work)
        if seconds == 0:
            return self.enqueue(work, cpu, block=False)
        lane = self._choose(cpu)
        self._check_open()
        if not work._free:
            return self._not_free(work)
        held: list[object] = []
        claimed = False
        try:
            del work._free[0]; claimed = True; held.append(None)  # fmt: skip  # noqa: E702 see threadpool9's _seam
            work._turn += 1
            work._slot = False
            work._lane = lane
            if work._disabled or work._cancelling:  # publish, then look: as in `enqueue`
                raise _Refused
            self._place(work, lane, seconds, jitter, held)
        except BaseException as error:
            if held:
                work._free.append(None)
            if isinstance(error, _Refused):
                return False
            if not claimed and isinstance(error, IndexError):
                return self._not_free(work)
            raise
        return True

    def modify(self, work: Work, seconds: float, jitter: float = 0.0) -> bool:
        """Move a pending work to `seconds` from now, or enqueue it so: True if it was pending here (WQ-7).

        Any context. A work that is pending on another queue is WorkPending.
        """
        check_seconds("a delay", seconds)
        check_seconds("jitter", jitter)
        self._check_work(work)
        if not work.pending:
            try:
                self.enqueue_delayed(work, seconds, jitter)
                return False
            except WorkPending:
                pass  # somebody else was faster, so there is something to move
        lane = work._lane
        if lane is None:
            return True  # being enqueued for the first time at this very moment, which may be taken to come after us
        if lane.group is not self._group:
            self._refuse_pending(work)
        held: list[object] = []
        try:
            if work._locate(held) != "ours":
                return True  # its function is being called right now: too late to move, nothing to make up for
            slots = self._group.slots
            if work._slot and slots is not None:
                work._slot = False; slots.append(None)  # fmt: skip  # noqa: E702
                self._group.offer_space()
            self._place(work, lane, seconds, jitter, held)
        except BaseException:
            self._give_back(work, held)
            raise
        return True

    def _place(self, work: Work, lane: Lane, seconds: float, jitter: float, held: list[object]) -> None:
        """Onto the lane or into the timer; the token is in the caller's hand, and still is if this raises."""
        if seconds > 0:
            work._enter(lane, self._lanes, coalesce(_seam.monotonic() + seconds, jitter), held)
        else:
            work._since = monotonic_ns()
            lane.put_held(work, held)

    def _choose(self, cpu: int | None) -> Lane:
        lane = self._lane
        if lane is not None:
            if cpu is not None:
                raise UsageError(f"queue {self.name!r} was made without WQ_PERCPU: there is no CPU {cpu!r} to choose")
            return lane
        if cpu is None:
            return self._lanes._current_lane()
        return self._lanes._lane_of(cpu)

    def _check_open(self) -> None:
        if self._state in ("ending", "destroyed"):
            being = "being " if self._state == "ending" else ""
            raise UsageError(f"queue {self.name!r} is {being}destroyed")
        if self._state == "draining" and not self._group.is_own_thread():
            raise UsageError(f"queue {self.name!r} is draining and takes works from its own function only")

    def _check_work(self, work: object) -> None:
        if not isinstance(work, Work):
            raise TypeError(f"{self!r} takes works, not {work!r}")

    def _not_free(self, work: Work) -> bool:
        """The slow half of an enqueue that found the token taken: False if the work is disabled, else WorkPending."""
        self._check_work(work)
        if work._disabled or work._cancelling:
            return False
        self._refuse_pending(work)

    def _refuse_pending(self, work: Work) -> NoReturn:
        lane = work._lane
        where = "another queue" if lane is None else f"queue {lane.group.name!r}"
        raise WorkPending(f"{work!r} is pending on {where}; it may be enqueued again once its function was called")

    # --- waiting and cancelling

    def wait(self, work: Work, timeout: float | None = None) -> None:
        """Wait until `work` is neither pending on this queue nor in its function (WQ-4). Thread context.

        Bounded: runs that are enqueued later are not awaited. From the queue's own function: returns at once, as
        it would wait for itself (probe ``wait__self``). Raises WaitTimeout after `timeout` seconds.
        """
        deadline = _seam.deadline_after(timeout)
        self._check_work(work)
        if (probe := probes.wait__start) is not None:
            probe(self, work)
        try:
            if self._group.is_own_thread():
                if (probe := probes.wait__self) is not None:
                    probe(self, work)
            else:
                if self._group.pending_here(work) and (probe := probes.wait__hit) is not None:
                    probe(self, work)
                self._group.wait(work, deadline)
        finally:
            if (probe := probes.wait__done) is not None:
                probe(self, work)

    def cancel(self, work: Work, timeout: float | None = None) -> bool:
        """Withdraw `work`; True if it was withdrawn before running, False if it had run or was waited for (WQ-5).

        Thread context; waits for a run under way. Who enqueues meanwhile, the function itself too, gets False.
        From the queue's own function: withdraws, does not wait. Raises WaitTimeout.
        """
        deadline = _seam.deadline_after(timeout)
        self._check_work(work)
        counted = False
        try:
            with _disable_lock:
                work._cancelling += 1; counted = True  # fmt: skip  # noqa: E702
            withdrawn = self._cancel(work, deadline)
            with _disable_lock:
                work._cancelling -= 1; counted = False  # fmt: skip  # noqa: E702
        except BaseException:
            if counted:
                with _disable_lock:
                    work._cancelling -= 1
            raise
        return withdrawn

    def _cancel(self, work: Work, deadline: float | None) -> bool:
        withdrawn = waited = False
        while True:
            before = work._positions()
            where = self._withdraw(work)
            withdrawn = withdrawn or where == "ours"
            if self._group.is_own_thread():
                return withdrawn
            running = self._group.in_hand(work)
            for executor in running:
                waited = True
                if not executor.wait_end(work, deadline):
                    raise WaitTimeout(f"{work!r} is still running on queue {self.name!r}")
            if not running:
                # Enqueues are refused meanwhile, so what was seen to be nowhere at one moment stays away. But one that
                # had begun before may be about to put it here, or it may have been taken since we looked for it.
                taking = any(executor.current is TAKING for executor in self._group.executors())
                coming = self._group.pending_here(work)
                if where != "taken" and not taking and not coming and before == work._positions():
                    return withdrawn and not waited
                _seam.doze(TRANSIENT)  # an enqueuer, an executor or the timer is between two steps
                if deadline is not None and _seam.monotonic() > deadline:
                    raise WaitTimeout(f"{work!r} is still pending on queue {self.name!r}")

    def _withdraw(self, work: Work) -> str:
        """Withdraw `work` if it is pending here; where it was, as `Task._locate` tells."""
        if not self._group.pending_here(work):
            return "nowhere"
        held: list[object] = []
        try:
            where = work._locate(held)
            if held:
                self._group.cancelled.bump()
                work._tell_cancelled()  # before the next enqueue can be
                self._give_back(work, held)
        except BaseException:
            self._give_back(work, held)
            raise
        return where

    def _give_back(self, work: Work, held: list[object]) -> None:
        """A work that was withdrawn is idle again: its slot is free, and who waits is told. May be repeated."""
        slots = self._group.slots
        if held:
            if work._slot and slots is not None:
                work._slot = False; slots.append(None)  # fmt: skip  # noqa: E702
            del held[:]; work._free.append(None)  # fmt: skip  # noqa: E702
        self._group.offer_space()
        self._group.left_lane(work)

    def disable(self, work: Work, timeout: float | None = None) -> bool:
        """Cancel `work` and let every enqueue of it return False until `enable` (WQ-10). Counted. Thread context.

        Returns as `cancel`.
        """
        self._check_work(work)
        with _disable_lock:
            work._disabled += 1
        return self.cancel(work, timeout)

    def enable(self, work: Work) -> bool:
        """Undo one `disable`; True if the work may be enqueued again now. What was refused is not made up for."""
        self._check_work(work)
        with _disable_lock:
            if work._disabled == 0:
                raise UsageError(f"{work!r} is not disabled: one enable() too many")
            work._disabled -= 1
            return work._disabled == 0

    def flush(self, timeout: float | None = None) -> None:
        """Wait until everything that was enqueued before has completed (WQ-6); timers are not awaited (WQ-7).

        Thread context. On a frozen queue with works it waits for the thaw. From the queue's own function:
        UsageError. Raises WaitTimeout.
        """
        self._lanes.drain(timeout)

    def drain(self, timeout: float | None = None) -> None:
        """Wait until the queue is empty, works enqueued by its own function included (WQ-6). Thread context.

        Meanwhile everybody else's enqueue is a UsageError. Raises WaitTimeout; UsageError from its own function.
        """
        deadline = _seam.deadline_after(timeout)
        if self._group.is_own_thread():
            raise UsageError(f"the function of queue {self.name!r} can't wait for its own queue to drain")
        if self._state == "destroyed":
            raise UsageError(f"queue {self.name!r} is destroyed")
        counted = False
        try:
            with _disable_lock:
                self._drains += 1; counted = True  # fmt: skip  # noqa: E702 see threadpool9's _seam
                if self._state == "open":
                    self._state = "draining"
            self._lanes._drain_all(deadline)
            with _disable_lock:
                self._drains -= 1; counted = False  # fmt: skip  # noqa: E702
            self._reopen()
        except BaseException:
            with _disable_lock:
                self._drains -= counted
            self._reopen()
            raise

    def _reopen(self) -> None:
        with _disable_lock:
            if self._drains == 0 and self._state == "draining":
                self._state = "open"

    def destroy(self, timeout: float | None = None) -> tuple[Work, ...]:
        """End the queue (WQ-6, WQ-7): after a drain; a running function is waited for. Thread context.

        Cancels works that are armed for later and returns them. With a work pending, from its own function, or
        a second time: UsageError, and nothing was changed.
        """
        if self._state == "destroyed":
            raise UsageError(f"queue {self.name!r} is destroyed already")
        if self._group.is_own_thread():
            raise UsageError(f"the function of queue {self.name!r} can't destroy its own queue")
        waiting = sum(1 for lane in self._group.lanes for task in _seam.contents(lane.items) if not task._marker)
        if waiting and self._state != "ending":
            raise UsageError(f"queue {self.name!r} has {waiting} works pending; drain() it before destroy()")
        if (probe := probes.exit__start) is not None:
            probe(self)
        self._state = "ending"  # a destroy that was cut short may be called again
        self.thaw()  # nothing is pending, but an executor may be about to put back what it was taking
        cancelled = self._lanes.close(timeout)
        self._state = "destroyed"
        if (probe := probes.destroy) is not None:
            probe(self)
        if (probe := probes.exit__done) is not None:
            probe(self)
        return tuple(work for work in cancelled if isinstance(work, Work))

    def __enter__(self) -> WorkQueue:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        if self._state != "destroyed":
            self.thaw()  # the block is over, perhaps by an exception: what is held would keep us here for ever
            self.drain()
            self.destroy()

    # --- freezing

    def freeze(self) -> None:
        """Hold what is enqueued from now on and what waits; running works go on (WQ-10). Any context."""
        self._group.frozen[FREEZE] = None

    def thaw(self) -> None:
        """Run what was held, in order (WQ-10). Any context."""
        self._group.let_go(FREEZE)

    # --- looking

    def stats(self) -> QueueStats:
        """The counters now (WQ-12). Any context; exact when nothing is going on."""
        group = self._group
        executors = group.executors()
        measured = list(group.stats.values())
        running = group.running()
        started = sum(executor.started for executor in executors)
        cancelled = group.cancelled.value()
        pending = sum(1 for lane in group.lanes for task in _seam.contents(lane.items) if not task._marker)
        armed = len(self._lanes._armed)
        # What an executor has just taken is in none of them for a moment: a counter must not go back.
        self._told = max(self._told, started + cancelled + pending + armed)
        return QueueStats(
            enqueued=self._told,
            started=started,
            completed=max(0, started - running),
            cancelled=cancelled,
            errors=sum(executor.errors for executor in executors),
            run_seconds=sum(stats.run_ns for stats in measured) / 1e9,
            wait_histogram=tuple(sum(stats.waits[n] for stats in measured) for n in range(BUCKETS)),
            pending=pending + armed,
            running=running,
        )


#: Guards the counts of disable, cancel and drain; held for a few lines only, by thread context only.
_disable_lock = _seam.RLock()
queues: _seam.Flock[WorkQueue] = _seam.Flock()


def snapshot() -> dict[str, QueueStats]:
    """The counters of every queue of the process by name; of queues with the same name the newest. Thread context."""
    return {queue.name: queue.stats() for queue in queues.all()}


def _in_child() -> None:
    """Fork: in the child every queue is empty and open, as the layers below have made its lanes (TP-31)."""
    global _disable_lock
    _disable_lock = _seam.RLock()
    _group.giant = _seam.RLock()
    for queue in queues.all():
        queue._group.forget_threads()
        queue._drains = 0
        if queue._state == "draining":
            queue._state = "open"


after_fork.append(_in_child)
