"""The probes of this layer, one by one (HK-5): ours, in the manner of NetBSD's ``sdt:linux:work``.

What holds for every probe is said in threadpool9's specifications. `Lane` is one FIFO of a queue: `name`, `cpu`,
`pri`, `shared`. Those of a run and of its end fire for works too, which are items of a work queue's lanes: around the
probes of that layer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from threadpool9.hooks import hookspec

if TYPE_CHECKING:
    from ._delayed import DelayedTask
    from ._lane import Lane
    from ._queue import TaskQueue
    from ._task import Task


class Tracing:
    """The probes of task9."""

    @hookspec
    def task9_schedule(self, lane: Lane, task: Task) -> None:
        """`task` is newly queued on `lane`, not taken yet. Any context, or the timer's thread. Not for works."""

    @hookspec
    def task9_coalesced(self, lane: Lane, task: Task) -> None:
        """A schedule did nothing: the task is pending. Any context; `lane` is where it was scheduled last."""

    @hookspec
    def task9_entry(self, lane: Lane, task: Task) -> None:
        """The function is about to be called. The worker's thread."""

    @hookspec
    def task9_return(self, lane: Lane, task: Task) -> None:
        """The function has returned or raised; the object may be in use again by now. The worker's thread."""

    @hookspec
    def task9_error(self, lane: Lane, task: Task, error: BaseException) -> None:
        """The function raised. The worker's thread, before the error hook or the queue's handler."""

    @hookspec
    def task9_cancel(self, task: Task) -> None:
        """The task was withdrawn; or `Task.cancel`, which may have waited, is about to return. Any context."""

    @hookspec
    def task9_drain__start(self, queue: TaskQueue) -> None:
        """A drain begins. Its caller's thread."""

    @hookspec
    def task9_drain__done(self, queue: TaskQueue) -> None:
        """A drain is over. Its caller's thread."""

    @hookspec
    def task9_timer__arm(self, task: DelayedTask, due: float) -> None:
        """`task` is to run at `due`, monotonic seconds. Any context."""

    @hookspec
    def task9_timer__fire(self, task: DelayedTask, late: float) -> None:
        """The timer hands `task` to its lane, `late` seconds after it was due. The timer's worker."""
