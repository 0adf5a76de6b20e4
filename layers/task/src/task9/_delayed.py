"""Delayed tasks (TK-11): a task that waits in the timer before it waits on a lane."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import Context
from typing import Any

from threadpool9.lowlevel import get_ident

from ._item import in_hands
from ._lane import Lane
from ._queue import TaskQueue
from ._shared import system_queue
from ._task import Task
from ._timed import TimedItem, check_seconds
from ._timer import Timing

_ROUNDS = 1000  # how often a reschedule looks for a task that another thread has in hand


def check_queue(queue: TaskQueue) -> TaskQueue:
    """`queue` if it is one; TypeError."""
    if not isinstance(queue, TaskQueue):
        raise TypeError(f"a task is scheduled on a TaskQueue, not {queue!r}")
    return queue


class DelayedTask(TimedItem, Task):
    """A task that can be scheduled for later: never early, at most jitter and scheduling latency late (TK-11).

    `schedule`, `reschedule`, `cancel_async` may be called in any context. The clock is monotonic. Follows
    ``delayed_task`` of the task(9) drafts.
    """

    __slots__ = ("item_timing",)

    def __init__(self, fn: Callable[[Any], object], context: Context | None = None, name: str | None = None) -> None:
        super().__init__(fn, context, name)
        self.item_timing: Timing | None = None

    def schedule(self, seconds: float = 0.0, jitter: float = 0.0, queue: TaskQueue | None = None) -> bool:
        """Run in `seconds` on `queue` (default: the system queue), at most `jitter` seconds later than that.

        True if newly armed or queued; False if it is pending already; its time then stays as it is. 0 means now,
        without the timer. Any context; never blocks. ValueError if negative, NaN or infinite; else as `Task.schedule`.
        """
        check_seconds("a delay", seconds)
        check_seconds("jitter", jitter)
        queue = system_queue() if queue is None else check_queue(queue)
        if seconds == 0:
            return queue.schedule(self)
        queue.check_open()
        lane = queue.lane_here()
        hand: list[None] = []
        try:
            if not self.claim(hand):
                return self.coalesce(lane.group)
            self.arm(lane, seconds, jitter, hand)
        except BaseException:
            self.give_back(hand)
            raise
        return True

    def reschedule(self, seconds: float, jitter: float = 0.0, queue: TaskQueue | None = None) -> bool:
        """Move to `seconds` from now, or arm: True if it was pending, in the timer or already on its queue.

        Any context; never blocks. `queue` defaults to where it is pending, else to the system queue. Raises as
        `schedule`.
        """
        check_seconds("a delay", seconds)
        check_seconds("jitter", jitter)
        lane: Lane | None = None
        if queue is not None:  # what can be refused is refused before anything is withdrawn
            check_queue(queue).check_open()
            lane = queue.lane_here()
            self.check_move(lane)
        hand: list[None] = []
        pending = False
        patience = _ROUNDS
        try:
            while not self.claim(hand):
                pending = True
                if self.take_back(hand):
                    break
                self.refuse_dead()
                patience -= 1
                if not patience or not self.in_hand() or self._runs_or_is_ours():
                    # Somebody else moves, schedules or cancels it at this very moment, perhaps the code that we
                    # interrupted; or an executor has it in hand: the run that begins after this call is the one that
                    # was asked for. A concurrent operation may be taken to come after this call.
                    return True
                pending = False
            if lane is None and pending:
                lane = self.item_lane
            if lane is None:
                lane = system_queue().lane_here()
            self._move_to(lane, seconds, jitter, hand)
        except BaseException:
            try:
                if hand and pending:  # withdrawn, and somebody counts on the run: so it is moved all the same
                    in_hands[self] = None  # there may have been no memory for it
                    self._move_to(lane or self.item_lane, seconds, jitter, hand)
            finally:
                self.give_back(hand)
            raise
        return pending

    def _move_to(self, lane: Any, seconds: float, jitter: float, hand: list[None]) -> None:
        if seconds > 0:
            self.arm(lane, seconds, jitter, hand)
        else:
            lane.put_taken(self, hand)

    def _runs_or_is_ours(self) -> bool:
        """True if it runs, or if this thread is an executor that may have it in hand."""
        me, lane = get_ident(), self.item_lane
        return self.item_running or (lane is not None and any(e.ident == me for e in lane.executors))
