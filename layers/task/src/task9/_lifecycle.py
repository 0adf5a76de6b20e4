"""Fork and exit (TK-14): in a fork child every lane is empty, every task unscheduled, every timer disarmed."""

from __future__ import annotations

from threadpool9 import _seam
from threadpool9._lifecycle import after_fork, cancel_queued, strays

from ._lane import groups
from ._queue import _registry
from ._task import Task
from ._timer import timer


def _in_child() -> None:
    _registry.lock = _seam.RLock()
    me = _seam.get_ident()
    stranded: list[Task] = strays(Task)
    timer.forget_all()
    for group in groups.all():
        for lane in group.lanes:
            stranded += lane.items
            lane.items.clear()
            for executor in lane.executors:
                stranded += executor.deferred
                executor.deferred.clear()
                executor.waiters.locks.clear()
                if executor.ident != me:
                    if isinstance(executor.current, Task):
                        stranded.append(executor.current)
                    executor.current = None
                    executor.ident = 0
                    executor.job.forget_threads()
            if lane.guard is not None:
                lane.guard = _seam.Lock()
            lane.idle.clear()
            lane.idle.extend(executor for executor in lane.executors if not executor.ident)
    for task in stranded:
        task.forget_threads()


def _cancel_queued() -> None:
    """At exit with the policy "cancel": what waits in lanes never runs."""
    for group in groups.all():
        for lane in list(group.lanes):
            for task in _seam.contents(lane.items):
                if not task._marker:
                    group.withdraw(task)


after_fork.append(_in_child)
cancel_queued.append(_cancel_queued)
