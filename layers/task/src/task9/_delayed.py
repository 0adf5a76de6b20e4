"""Delayed and periodic tasks (TK-11, TK-13).

A delayed task is a task that waits in the timer before it waits in a lane; its token is taken all the
while, so everything said of pending tasks holds. Three ways lead out of the timer, and the ticket's pop decides
which is taken: expiry (into the lane), cancel (idle), reschedule (back into the timer).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from contextvars import Context
from typing import Any

from threadpool9 import _seam

from ._errors import QueueClosed
from ._lane import Lane
from ._queue import TaskQueue, system_queue
from ._task import Task
from ._timer import Ticket, coalesce, timer
from ._watch import probes

__all__ = ["DelayedTask", "PeriodicTask"]

_ROUNDS = 1000  # how often a reschedule looks for a task that another thread has in hand


def check_seconds(what: str, value: float) -> float:
    """`value` if it is a delay; TypeError or ValueError naming `what`."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"{what} is a number of seconds >= 0, not {value!r}")
    if not 0 <= value < 1e12:
        raise ValueError(f"{what} is a number of seconds from 0 to 1e12, not {value!r}")
    return value


class DelayedTask(Task):
    """A task that can be scheduled for later: never early, at most jitter and scheduling latency late (TK-11).

    `schedule`, `reschedule`, `cancel_async` may be called in any context. The clock is monotonic. Follows
    ``delayed_task`` of the task(9) drafts.
    """

    __slots__ = ("_queue", "_ticket", "_timed_out", "_when")

    def __init__(self, fn: Callable[[Any], object], context: Context | None = None) -> None:
        super().__init__(fn, context)
        self._ticket: Ticket | None = None  # written by who has the token
        self._queue: TaskQueue | None = None  # written by who has the token: where it is armed for
        self._when = 0.0  # written by who has the token: when the ticket is due
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
        return self._claim_and_arm(
            queue,
            lambda: (queue._lane or queue._current_lane(), queue, coalesce(_seam.monotonic() + seconds, jitter)),
        )

    def _claim_and_arm(self, queue: TaskQueue, place: Callable[[], tuple[Lane, TaskQueue, float]]) -> bool:
        """Take the token and enter the timer as `place` then says: True; False if the task is pending already."""
        if not self._free:
            return self._coalesced(queue._group)
        held: list[object] = []
        claimed = False
        try:
            del self._free[0]; claimed = True; held.append(None)  # fmt: skip  # noqa: E702 see _seam
            self._enter(*place(), held)
        except BaseException as error:
            if held:
                self._free.append(None)
            if not claimed and isinstance(error, IndexError):
                return self._coalesced(queue._group)
            raise
        return True

    def reschedule(self, seconds: float, jitter: float = 0.0, queue: TaskQueue | None = None) -> bool:
        """Move to `seconds` from now, or arm: True if it was pending, in the timer or already on its queue.

        Any context; never blocks. `queue` defaults to where it is pending, else to the system queue. Raises as
        `schedule`.
        """
        check_seconds("a delay", seconds)
        check_seconds("jitter", jitter)
        held: list[object] = []
        pending = True
        patience = _ROUNDS
        try:
            while not held:
                try:
                    del self._free[0]; held.append(None)  # fmt: skip  # noqa: E702 see _seam
                    pending = False
                    break
                except IndexError:
                    where = self._locate(held)
                if held:
                    break
                self._coalesced(self._lane.group if self._lane is not None else None)  # raises if destroyed
                if where == "nowhere":
                    # Somebody else moves, schedules or cancels it at this very moment, perhaps the code that we
                    # interrupted: what happens at the same time may be taken to happen after us.
                    return True
                me = _seam.get_ident()
                patience -= 1
                if not patience or timer.moving is self or self._in_hand(me):
                    # Fired already; or we interrupt the very executor that has it in hand, and can't wait for it: the
                    # run that begins after this call is the one that was asked for. Or it runs, and somebody who
                    # cancels it has the token and waits for the end: what happens at the same time may come after. Or
                    # another thread has it in hand and does not go on for long: we may be what keeps it from that.
                    return True
            queue = queue or (self._queue if pending else None) or system_queue()
            if queue._closed:
                queue._refuse_closed()
            lane = queue._lane or queue._current_lane()
            if seconds > 0:
                self._enter(lane, queue, coalesce(_seam.monotonic() + seconds, jitter), held)
            else:
                lane.put_held(self, held)
        except BaseException:
            if held:
                self._free.append(None)
            raise
        return pending

    def _in_hand(self, me: int) -> bool:
        """True if it runs, or if thread `me` is an executor that may have it in hand."""
        return any(executor.ident == me or executor.current is self for executor in self._executors())

    def _enter(self, lane: Lane, queue: TaskQueue, due: float, held: list[object]) -> None:
        """Into the timer; the token is in the caller's hand, and still is if this raises."""
        try:
            if self._lane is not lane:
                self._adopt(lane)
            self._timed_out = False
            self._queue = queue
            queue._armed[self] = None
            if (probe := probes.timer__arm) is not None:
                probe(self, due)
            timer.arm(self, due, held)
            if queue._closed and self.disarm():  # closed between our two looks
                queue._refuse_closed()
        except BaseException:
            if held:
                queue._armed.pop(self, None)
            raise

    def _expire(self) -> None:
        """The timer's job has claimed us: on to the lane."""
        self._timed_out = True
        queue, lane = self._queue, self._lane
        if queue is not None:
            queue._armed.pop(self, None)
            self._queue = None
        assert lane is not None
        held: list[object] = [None]
        try:
            lane.put_held(self, held)
        except BaseException:
            if held:
                self._free.append(None)
                lane.group.undone(self)
            raise

    def forget_threads(self) -> None:
        """As for any task; and it is not armed."""
        if self._queue is not None:
            self._queue._armed.pop(self, None)
        self._ticket = None
        self._queue = None
        super().forget_threads()

    def disarm(self) -> bool:
        """Cancel if it is still in the timer; True then. Any context; a run that has been queued goes on."""
        held: list[object] = []
        given = False
        try:
            if self._claim(held):
                self._tell_cancelled()  # before the next schedule can be
                given = True; self._free.append(None)  # fmt: skip  # noqa: E702 see _seam
        except BaseException:
            if held and not given:
                self._free.append(None)
            raise
        return given

    def _claim(self, held: list[object]) -> bool:
        """Take the task out of the timer; True puts the token into the caller's hand. Any context."""
        ticket, due, queue = self._ticket, self._when, self._queue
        if not ticket:
            return False
        try:
            _seam.collect(ticket.pop, held)
            timer.cancelled(due)
        except IndexError:
            return False
        except BaseException:
            if held:
                timer.cancelled(due)  # else a thread sleeps for nothing until then; once more does no harm
            raise
        finally:
            if held and queue is not None:
                queue._armed.pop(self, None)
        return True

    def _withdraw(self, held: list[object]) -> bool:
        return self._claim(held) or super()._withdraw(held)

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

    # How the next period comes: what the timer has fired leaves its due time in `_fired`, and whoever takes the token
    # next with `_fired` there arms the period after it and sets `_fired` to None. That is the run itself, before it
    # calls the function, so that a cancel from inside finds the next period armed; or a `start` that comes in between;
    # or, if the task was put on a queue by hand in between, that run. A canceller that has the token sets `_fired` to
    # None: then the period has ended.

    __slots__ = ("_due", "_fired", "_home", "_jitter", "_periodic", "_skipped", "missed", "period")

    def __init__(self, fn: Callable[[Any], object], period: float, context: Context | None = None) -> None:
        if check_seconds("a period", period) == 0:
            raise ValueError("a period is a number of seconds > 0, not 0")
        super().__init__(fn, context)
        self._periodic = self.fn  # S
        self.fn = self._tick
        self.period = period  # S
        self.missed = 0  # written by the executor
        self._fired: float | None = None  # written by who has the token, see above
        self._skipped = 0  # written by who arms the next period, read by the run of this one
        self._due = 0.0  # written by who has the token
        self._jitter = 0.0  # likewise
        self._home: TaskQueue | None = None  # likewise: where each next period is armed

    @property
    def task_name(self) -> str:
        """The function's name."""
        fn = getattr(self, "_periodic", None)
        return getattr(fn, "__qualname__", None) or super().task_name

    def start(self, first: float | None = None, queue: TaskQueue | None = None, jitter: float = 0.0) -> bool:
        """Begin: the first run in `first` seconds (default: one period). False if it is started already.

        Any context. `cancel` stops it, from inside its own function too, and so does a `cancel_async` that returns
        True. If that returns False a run has begun, and may arm the next period after it, as with a task that
        schedules itself. Raises as `DelayedTask.schedule`.
        """
        first = check_seconds("first", self.period if first is None else first)
        check_seconds("jitter", jitter)
        queue = queue if queue is not None else system_queue()
        if queue._closed:
            queue._refuse_closed()
        started = False

        def place() -> tuple[Lane, TaskQueue, float]:  # the token is ours
            nonlocal started
            if self._fired is not None and (next_one := self._next()) is not None:
                started = True  # and its run, which is on its way, finds the token taken
                return next_one
            self._jitter = jitter
            self._home = queue
            self._due = _seam.monotonic() + first
            return queue._lane or queue._current_lane(), queue, coalesce(self._due, jitter)

        return self._claim_and_arm(queue, place) and not started

    def schedule(self, *args: object, **kwargs: object) -> Any:
        """Not for periodic tasks: always TypeError."""
        raise TypeError(f"{self!r} has a period: start() it, cancel() it")

    reschedule = schedule

    def _expire(self) -> None:
        self._fired = self._due  # before it is on its lane, from where on it may run
        try:
            super()._expire()
        except BaseException:
            self._go_on()  # no thread for this run: that is reported, and the period does not end for it
            raise

    def _next(self) -> tuple[Lane, TaskQueue, float] | None:
        """Where and when the period after the one that has fired is due, None if there is none. The token is ours."""
        due, self._fired = self._fired, None
        lane, queue = self._lane, self._home
        if due is None or lane is None or queue is None or queue._closed or timer.stopped:
            return None
        self._skipped = max(0, math.floor((_seam.monotonic() - due) / self.period))
        self._due = due + (self._skipped + 1) * self.period
        return lane, queue, coalesce(self._due, self._jitter)

    def _go_on(self) -> None:
        """Arm the next period, unless somebody has the token, who sees to it: see above."""
        if self._fired is None:
            return
        held: list[object] = []
        try:
            del self._free[0]; held.append(None)  # fmt: skip  # noqa: E702 see _seam
            if (next_one := self._next()) is not None:
                self._enter(*next_one, held)
        except IndexError:
            if held:
                raise
        except QueueClosed:  # meanwhile: this run was the last
            pass
        finally:
            if held:
                self._free.append(None)

    def _tick(self, task: PeriodicTask) -> None:
        self._go_on()
        self.missed, self._skipped = self._skipped, 0
        self._periodic(self)

    def _withdraw(self, held: list[object]) -> bool:
        try:
            return super()._withdraw(held)
        finally:
            if held:
                self._fired = None

    def _cancel(self, held: list[object], interlock: Any, deadline: float | None) -> bool:
        try:
            return super()._cancel(held, interlock, deadline)
        finally:
            if held:
                self._fired = None

    def forget_threads(self) -> None:
        """As for any delayed task; and its period has ended."""
        self._fired = None
        super().forget_threads()
