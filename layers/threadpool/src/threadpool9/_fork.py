"""Fork: the child has none of our threads; pools are emptied, jobs become unscheduled, references stay valid (TP-31).

What was under way is found in the pools themselves: tickets in the queues, and what each worker shows (see `_worker`).
Whenever another thread can fork, everything is in some table: with a GIL threads take turns only where `_atomic`
says, and without one CPython stops the others before it forks (from 3.14 on). So the time that the child takes depends
on what was under way, and on nothing else; foreign objects are not looked at.
"""

from __future__ import annotations

import os

from . import _autoload, _hooks, _seam
from ._exit import call_guarded, forget_exit
from ._job import Job, begin_era, meetings
from ._layer import after_fork, layers
from ._registry import registry
from ._starter import Starter
from ._topology import allowed
from ._waiting import Waiters


def _in_child() -> None:
    """The child's only thread makes everything anew that belonged to threads which it does not have."""
    me = _seam.get_ident()
    registry.lock, _hooks._lock, _autoload._state.lock = _seam.RLock(), _seam.RLock(), _seam.RLock()
    _autoload._state.loading = False
    starter = registry.starter = Starter()
    allowed.witness = 0
    stranded: list[Job] = [job for hand in meetings.cancels.values() for job in hand]
    begin_era(me)
    for pool in list(registry.pools):
        stranded += [job for ticket in pool._jobs for job in ticket]
        for worker in pool._workers:
            stranded += [job for job in (*worker.ticket, worker.job) if job is not None]
        mine = {worker: None for worker in pool._workers if worker.ident == me}
        pool._forget_workers(mine)
        pool._starter = starter
        pool._jobs.clear()
        pool._idle.clear()
        pool._workers = mine
        pool._request = []
        pool._workers_gone = Waiters()
        for worker in mine:
            worker.forked = True
            starter.adopt(worker)
    for job in stranded:
        if job._runner != me:
            job._forget_threads()
    forget_exit()
    for notify in (*(layer.after_fork for layer in layers), *after_fork):
        call_guarded(notify, "after fork")


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_in_child)
