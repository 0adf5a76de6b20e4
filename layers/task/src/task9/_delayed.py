"""Delayed and periodic tasks (TK-11, TK-13).

A delayed task is a task that waits in the timer before it waits in a lane; it holds its pending lock all the
while, so everything said of pending tasks holds. Three ways lead out of the timer, and the ticket's pop decides
which is taken: expiry (into the lane), cancel (idle), reschedule (back into the timer).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from contextvars import Context
from typing import Any

from threadpool9 import _seam

from ._lane import Lane
from ._queue import TaskQueue, system_queue
from ._task import Task
from ._timer import Ticket, coalesce, timer
from ._watch import probes

__all__ = ["DelayedTask", "PeriodicTask"]


def check_seconds(what: str, value: float) -> float:
    """`value` if it is a delay; TypeError or ValueError naming `what`."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"{what} is a number of seconds >= 0, not {value!r}")
    if not (value >= 0 and math.isfinite(value)):
        raise ValueError(f"{what} is a finite number of seconds >= 0, not {value!r}")
    return value


class DelayedTask(Task):
    """A task that can be scheduled for later: never early, at most jitter and scheduling latency late (TK-11).

    `schedule`, `reschedule`, `cancel_async` may be called in any context. The clock is monotonic. Follows
    ``delayed_task`` of the task(9) drafts.
    """

    __slots__ = ("_queue", "_ticket", "_timed_out", "_when")

    def __init__(self, fn: Callable[[Any], object], context: Context | None = None) -> None:
        super().__init__(fn, context)
        self._ticket: Ticket | None = None  # written by the holder of _pend
        self._queue: TaskQueue | None = None  # written by the holder of _pend: where it is armed for
        self._when = 0.0  # written by the holder of _pend: when the ticket is due
        self._timed_out = False

    @property
    def timed_out(self) -> bool:
        """True if the timer has fired since the task was last armed. Any context."""
        return self._timed_out

    @property
    def armed(self) -> bool:
        """True while it waits for its time. Any context; a moment's truth."""
        return bool(self._ticket)

    def schedule(self, seconds: float = 0.0, jitter: float = 0.0, queue: TaskQueue | None = None) -> bool:
        """Run in `seconds` on `queue` (default: the system queue), at most `jitter` seconds later than that.

        True if newly armed or queued; False if it is pending already, whose time stays as it is. 0 means now,
        without the timer. Any context; never blocks. Negative, NaN or infinite: ValueError; else as `Task.schedule`.
        """
        check_seconds("a delay", seconds)
        check_seconds("jitter", jitter)
        queue = queue if queue is not None else system_queue()
        if seconds == 0:
            return queue.schedule(self)
        if queue._closed:
            queue._refuse_closed()
        if not self._pend.acquire(False):
            return self._coalesced(queue._group)
        self._arm(seconds, jitter, queue)
        return True

    def reschedule(self, seconds: float, jitter: float = 0.0, queue: TaskQueue | None = None) -> bool:
        """Move to `seconds` from now, or arm: True if it was pending, in the timer or already on its queue.

        Any context; never blocks. `queue` defaults to where it is pending, else to the system queue. Raises as
        `schedule`.
        """
        check_seconds("a delay", seconds)
        check_seconds("jitter", jitter)
        while True:
            if self._pend.acquire(False):
                queue = queue or system_queue()
                if queue._closed:
                    self._pend.release()
                    queue._refuse_closed()
                self._move(seconds, jitter, queue)
                return False
            where = self._locate()
            if where == "ours":
                queue = queue or self._queue
                self._move(seconds, jitter, queue if queue is not None else system_queue())
                return True
            self._coalesced(self._lane.group if self._lane is not None else None)  # raises if destroyed
            if where == "nowhere":
                # Somebody else moves, schedules or cancels it at this very moment, perhaps the code that we
                # interrupted: what happens at the same time may be taken to happen after us.
                return True
            if timer.moving is self or (
                self._lane is not None and any(e.ident == _seam.get_ident() for e in self._lane.executors)
            ):
                # Fired already; or we interrupt the executor itself between taking us and giving the pending lock
                # back, and can't wait for it: its run begins after this call and is the one that was asked for.
                return True

    def _arm(self, seconds: float, jitter: float, queue: TaskQueue) -> None:
        """Into the timer; the caller holds the pending lock, which is given back on error."""
        lane = queue._lane
        if lane is None:
            lane = queue._current_lane()
        self._enter(lane, queue, coalesce(_seam.monotonic() + seconds, jitter))

    def _enter(self, lane: Lane, queue: TaskQueue, due: float) -> None:
        if self._lane is not lane:
            self._adopt(lane)
        self._timed_out = False
        self._queue = queue
        queue._armed[self] = None
        if (probe := probes.timer__arm) is not None:
            probe(self, due)
        try:
            timer.arm(self, due)
        except BaseException:
            queue._armed.pop(self, None)
            self._pend.release()
            raise

    def _move(self, seconds: float, jitter: float, queue: TaskQueue) -> None:
        if seconds > 0:
            self._arm(seconds, jitter, queue)
            return
        self._pend.release()
        queue.schedule(self)

    def _expire(self) -> None:
        """The timer's job has claimed us: on to the lane."""
        self._timed_out = True
        queue, lane = self._queue, self._lane
        if queue is not None:
            queue._armed.pop(self, None)
            self._queue = None
        assert lane is not None
        self._tell_scheduled(lane)
        lane.items.append(self)
        if lane.idle:
            lane.kick_or_undo(self)

    def disarm(self) -> bool:
        """Cancel if it is still in the timer; True then. Any context; a run that has been queued goes on."""
        if self._claim():
            self._pend.release()
            if (probe := probes.cancel) is not None:
                probe(self)
            return True
        return False

    def _claim(self) -> bool:
        ticket, due = self._ticket, self._when
        if not ticket:
            return False
        try:
            ticket.pop()
        except IndexError:
            return False
        timer.cancelled(due)
        queue = self._queue
        if queue is not None:
            queue._armed.pop(self, None)
        return True

    def _withdraw(self) -> bool:
        return self._claim() or super()._withdraw()

    def _in_transit(self) -> bool:
        return timer.moving is self

    def _positions(self) -> tuple[object, ...]:
        return self._ticket, timer.moves, *super()._positions()


class PeriodicTask(DelayedTask):
    """A task that runs every `period` seconds and keeps its phase (TK-13).

    Args:
        fn: called with the task; `missed` tells how many periods were skipped before this run.
        period: seconds, > 0. The n-th run is due at start + n periods, however long the runs take.

    A run that comes too late for one or more periods is not made up for: they are skipped and counted.
    """

    __slots__ = ("_due", "_jitter", "_periodic", "missed", "period")

    def __init__(self, fn: Callable[[Any], object], period: float, context: Context | None = None) -> None:
        if check_seconds("a period", period) == 0:
            raise ValueError("a period is a number of seconds > 0, not 0")
        super().__init__(fn, context)
        self._periodic = self.fn  # S
        self.fn = self._tick
        self.period = period  # S
        self.missed = 0  # written by the executor
        self._due = 0.0  # written by the holder of _pend
        self._jitter = 0.0

    def start(self, first: float | None = None, queue: TaskQueue | None = None, jitter: float = 0.0) -> bool:
        """Begin: the first run in `first` seconds (default: one period). False if it is started already.

        Any context. `cancel` stops it, from inside its own function too. Raises as `DelayedTask.schedule`.
        """
        first = check_seconds("first", self.period if first is None else first)
        self._jitter = check_seconds("jitter", jitter)
        queue = queue if queue is not None else system_queue()
        if queue._closed:
            queue._refuse_closed()
        if not self._pend.acquire(False):
            return self._coalesced(queue._group)
        self._due = _seam.monotonic() + first
        lane = queue._lane if queue._lane is not None else queue._current_lane()
        self._enter(lane, queue, coalesce(self._due, jitter))
        return True

    def _expire(self) -> None:
        queue = self._queue
        super()._expire()
        self._queue = queue  # where the next period is armed for

    def _tick(self, task: PeriodicTask) -> None:
        now = _seam.monotonic()
        due, queue = self._due, self._queue
        self.missed = max(0, math.floor((now - due) / self.period))
        # Arm the next one first, so that a cancel from inside the function finds it. The pending lock held
        # means a cancel is under way, or somebody has scheduled us by hand: then there is no next one from here.
        if queue is not None and not queue._closed and not timer.stopped and self._pend.acquire(False):
            self._due = due + (self.missed + 1) * self.period
            assert self._lane is not None
            self._enter(self._lane, queue, coalesce(self._due, self._jitter))
        self._periodic(self)
