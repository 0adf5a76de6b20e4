"""Periodic tasks (TK-13): a delayed task that arms its next period itself, and keeps its phase.

Whoever claims the task next after the timer has fired arms the period after it. That is the run itself, before it calls
the function, so that a cancel from inside finds the next period armed; or a `start` that comes in between. A cancel
that has it in hand drops the timing: then the period has ended.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from contextvars import Context
from typing import Any

from threadpool9 import UsageError
from threadpool9.lowlevel import Steps, Wait, monotonic

from ._delayed import DelayedTask, check_queue
from ._errors import LoopClosed, QueueClosed
from ._item import Item
from ._queue import TaskQueue
from ._shared import system_queue
from ._timed import check_seconds
from ._timer import Timing, coalesce, timer


class PeriodicTask(DelayedTask):
    """A task that runs every `period` seconds and keeps its phase (TK-13).

    Args:
        fn: called with the task; `missed` tells how many periods were skipped before this run.
        period: seconds, at least 1e-9. The n-th run is due at start + n periods, however long the runs take.
        context: as for `Task`.
        name: as for `Task`.

    A run that comes too late for one or more periods is not made up for: they are skipped and counted.
    """

    __slots__ = ("_due", "_home", "_jitter", "_skipped", "missed", "period")

    schedulable = False

    def __init__(
        self, fn: Callable[[Any], object], period: float, context: Context | None = None, name: str | None = None
    ) -> None:
        check_seconds("a period", period, positive=True)
        super().__init__(fn, context, name)
        self.period = period  # S
        self.missed = 0  # written by the executor
        self._skipped = 0  # written by whoever arms the next period, read by the run of this one
        self._due = 0.0  # B: of the period that was armed last
        self._jitter = 0.0  # B
        self._home: TaskQueue | None = None  # B: where each next period is armed

    def start(self, first: float | None = None, queue: TaskQueue | None = None, jitter: float = 0.0) -> bool:
        """Begin: the first run in `first` seconds (default: one period). False if it is started already.

        Any context. `cancel` stops it, from inside its own function too, and so does a `cancel_async` that returns
        True. If that returns False a run has begun, and may arm the next period after it, as with a task that
        schedules itself. Raises as `DelayedTask.schedule`.
        """
        first = check_seconds("first", self.period if first is None else first)
        check_seconds("jitter", jitter)
        queue = system_queue() if queue is None else check_queue(queue)
        queue.check_open()
        lane = queue.lane_here()
        hand: list[None] = []
        try:
            if not self.claim(hand):
                return self.coalesce(lane.group)
            if self._arm_next(hand):  # a run is on its way, and finds the task claimed
                return False
            self._jitter, self._home, self._due = jitter, queue, monotonic() + first
            self.arm_at(lane, coalesce(self._due, jitter), hand)
        except BaseException:
            self.give_back(hand)
            raise
        return True

    def schedule(self, *args: object, **kwargs: object) -> Any:
        """Not for periodic tasks: always TypeError."""
        raise TypeError(f"{self!r} has a period: start() it, cancel() it")

    reschedule = schedule

    def expire(self, ticket: list[Item]) -> None:
        """As for any delayed task. If there is no thread for this run the period does not end for that."""
        timing = self.item_timing
        try:
            super().expire(ticket)
        except LoopClosed:
            self.item_timing = None  # nor will there be one for the next
            raise
        except BaseException:
            self._go_on(timing)
            raise

    def _arm_next(self, hand: list[None]) -> bool:
        """Arm the period after the one that has fired: True; False if there is none. The task is in `hand`."""
        timing, lane, queue = self.item_timing, self.item_lane, self._home
        if timing is None or lane is None or queue is None or queue.closed or timer.stopped:
            return False
        self._skipped = max(0, math.floor((monotonic() - self._due) / self.period))
        self._due += (self._skipped + 1) * self.period
        self.arm_at(lane, coalesce(self._due, self._jitter), hand)
        return True

    def _go_on(self, timing: Timing | None = None) -> None:
        """Arm the next period, unless somebody has the task in hand, who sees to it: see above."""
        hand: list[None] = []
        try:
            if self.claim(hand):
                if timing is not None and self.item_timing is None:
                    self.item_timing = timing
                if not self._arm_next(hand):
                    self.item_timing = None
            self.give_back(hand)
        except QueueClosed:  # meanwhile: this run was the last
            self.give_back(hand)
        except BaseException:
            self.give_back(hand)
            raise

    def run(self) -> object:
        """As for any task; the next period is armed before the function is called."""
        self._go_on()
        self.missed, self._skipped = self._skipped, 0
        return self.fn(self)

    def take_back(self, hand: list[None], ticket: Any = None) -> bool:
        """As for any delayed task; and the period ends."""
        try:
            return super().take_back(hand, ticket)
        finally:
            if hand:
                self.item_timing = None

    def destroy(self) -> None:
        """As for any task; and it must not be started."""
        if self.item_timing is not None:  # else we might claim it just when its run wants to arm the next period
            raise UsageError(f"{self!r} is started; cancel() it before destroy()")
        super().destroy()

    def _cancel(self, hand: list[None], interlock: Any, wait: Wait) -> Steps[bool]:
        try:
            return (yield from super()._cancel(hand, interlock, wait))
        finally:
            if hand:
                self.item_timing = None
