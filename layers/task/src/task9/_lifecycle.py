"""Fork: in the child every lane is empty, every task unscheduled, every timer disarmed (TK-14, TP-31)."""

from __future__ import annotations

from threadpool9 import _seam
from threadpool9._lifecycle import after_fork

from ._lane import TAKING, groups
from ._queue import _registry
from ._timer import timer


def _in_child() -> None:
    _registry.lock = _seam.RLock()
    me = _seam.get_ident()
    timer.forget_all()
    for group in list(groups):
        for lane in group.lanes:
            tasks = list(lane.items)
            lane.items.clear()
            for executor in lane.executors:
                tasks += executor.deferred
                executor.deferred.clear()
                executor.waiters.locks.clear()
                if executor.ident != me:
                    if executor.current is not TAKING and executor.current is not None:
                        tasks.append(executor.current)
                    executor.current = None
                    executor.ident = 0
            if lane.guard is not None:
                lane.guard = _seam.Lock()
            lane.idle.clear()
            lane.idle.extend(executor for executor in lane.executors if not executor.ident)
            for task in tasks:
                if task._pend.locked():
                    task._pend.release()


after_fork.append(_in_child)
