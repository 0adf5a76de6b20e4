"""Fork and interpreter exit (TP-31, TP-32).

Exit: an atexit function, registered when the layer is imported and so run after everybody else's, applies
`tunables.exit_policy`; then scheduling is refused and the workers leave. Workers are daemon threads, so whatever
this gives up on cannot hold the process.

Fork: the child has none of our threads. Every pool is emptied, jobs become unscheduled, references stay valid.
"""

from __future__ import annotations

import atexit
import gc
import os
import sys
from collections.abc import Callable, Container
from typing import TypeVar

from . import _autoload, _hooks, _osthread, _seam
from ._job import Job
from ._pool import Pool
from ._probes import probes
from ._registry import registry
from ._starter import Starter
from ._topology import allowed
from ._tunables import tunables
from ._worker import Worker

#: Called first at exit, in order: the upper layers stop what would keep jobs running. Appended at import only.
before_exit: list[Callable[[], None]] = []
#: Called again and again at exit with the policy "cancel": withdraw what waits in queues. Appended at import only.
cancel_queued: list[Callable[[], None]] = []
#: Called last at exit, after the drain: what tells of the whole run (a trace is written). Appended at any time.
after_exit: list[Callable[[], None]] = []
#: Called in a fork child after this layer is usable again, in order. Appended at import only.
after_fork: list[Callable[[], None]] = []

#: These start no thread once the main thread has come to its end, long before our exit function.
_REFUSAL_IS_FINAL = (3, 12, 0) <= sys.version_info[:3] <= (3, 12, 2)
_SLICE = 0.05
T = TypeVar("T")
_FAREWELL = 1.0
_MOMENT = 0.0005


def _pools() -> list[Pool]:
    with registry.lock:
        return list(registry.pools)


def _unfinished(besides: Container[Pool] = ()) -> bool:
    """True while there are jobs, or workers that may have one, in other pools than `besides`."""
    me = _seam.get_ident()
    for pool in _pools():
        if pool in besides:
            continue
        # Not `worker.job`: it is not set yet when a job has just been taken. Who is not idle may have one.
        idle = set(_seam.contents(pool._idle))
        if pool._jobs or any(worker.ident != me and worker not in idle for worker in list(pool._workers)):
            return True
    return False


def _run_inline(pool: Pool) -> None:
    """No thread can be had any more: run what waits on this one, so that nothing is lost."""
    worker = Worker(pool, None)
    worker.ident = _seam.get_ident()
    worker.inline = True
    pool._workers[worker] = None
    try:
        while pool._jobs:
            try:
                ticket = pool._jobs.popleft()
                job = ticket.pop()
            except IndexError:
                continue
            worker._run(job, ticket)
    finally:
        pool._left[0] = pool._left[0].with_worker(worker)
        pool._workers.pop(worker, None)


def _cancel_queued() -> None:
    for pool in _pools():
        for ticket in _seam.contents(pool._jobs):
            try:
                job = ticket.pop()
            except IndexError:
                continue
            pool._drop(ticket)
            if (probe := probes.cancel__job) is not None:
                probe(pool, job)
            job._ticket = None
            job._free.append(None)
            pool._cancelled.bump()


def _at_exit() -> None:
    try:
        _notify(before_exit, "before exit")
        _wait_for_work(tunables.exit_policy)
    finally:  # Ctrl-C gets out of the wait, not around this
        _wind_down()
        _notify(after_exit, "after exit")


def _wait_for_work(policy: str | float) -> None:
    if policy == "abandon":
        return
    starter = registry.starter
    deadline = _seam.monotonic() + policy if isinstance(policy, (int, float)) else None
    # A worker tells nobody when it finishes a job; a slice is what an exit may take too long.
    pause_for = 0.001
    failures = {pool: pool._start_failures for pool in _pools()}
    while True:
        if policy == "cancel":  # each time round: what still runs may schedule more
            for cancel in (_cancel_queued, *cancel_queued):
                cancel()
        if not _unfinished() or (deadline is not None and _seam.monotonic() >= deadline):
            return
        refused = [
            pool
            for pool in _pools()
            if pool._jobs and not pool._workers and (pool._start_failures > failures.get(pool, 0) or starter.absent)
        ]
        if policy == "drain":
            for pool in refused:
                _run_inline(pool)
        elif _REFUSAL_IS_FINAL and not _unfinished(besides=refused):
            return  # what is left will have no thread, and on this one it could not be given up after a time limit
        _seam.doze(pause_for)
        pause_for = min(pause_for * 2, _SLICE)


def _wind_down() -> None:
    """Refuse what comes from now on; let those who are idle go in good order. Daemon threads that remain are frozen."""
    starter = registry.starter
    starter.finalizing = True
    for pool in _pools():
        pool._closed = pool._closing = True  # who is busy leaves instead of going idle
    farewell = _seam.monotonic() + _FAREWELL
    helper = starter.tid
    gone: list[int] = []
    while True:
        gone += [worker.tid for pool in _pools() for worker in pool._dismiss_idle()]
        # One without a job is leaving, or on its way to being idle; then the starter goes.
        jobs = [worker.job for pool in _pools() for worker in list(pool._workers)]
        if _seam.monotonic() > farewell or not (None in jobs or (not jobs and starter.busy())):
            break
        _seam.doze(_MOMENT)
    # A subinterpreter can't be ended while the OS still has a thread of it.
    _osthread.wait_gone(gone + [helper] * bool(helper and not starter.busy()), farewell)


def _notify(listeners: list[Callable[[], None]], occasion: str) -> None:
    for notify in listeners:
        try:
            notify()
        except Exception as error:
            _hooks.report_error(error, origin=occasion)


class _Fork:
    others = False  # written before a fork: somebody else may have had something of ours in hand


def _before_fork() -> None:
    # Parked workers have nothing in hand, and the starter never has a job.
    ours = sum(len(pool._idle) for pool in list(registry.pools)) + bool(registry.starter.tid)
    _Fork.others = len(_seam.current_frames()) - ours > 1


def strays(kind: type[T]) -> list[T]:
    """In a fork child: every object of a kind, if another thread may have had one in hand; else none.

    Others may have been between two steps of a schedule, a run or a cancel, with the object in no table. Nobody but us
    lives now, so to look at every object is exact, but for a schedule that a handler which forks interrupted.
    """
    return [thing for thing in gc.get_objects() if isinstance(thing, kind)] if _Fork.others else []


def _in_child() -> None:
    """The child's only thread makes everything anew that belonged to threads which it does not have (TP-31)."""
    me = _seam.get_ident()
    registry.lock = _seam.RLock()
    _hooks.forget_threads()
    _autoload.forget_threads()
    starter = registry.starter = Starter()
    allowed.witness = 0
    stranded: list[Job] = []
    for pool in list(registry.pools):
        stranded += [job for ticket in pool._jobs for job in ticket]
        stranded += [worker.job for worker in pool._workers if worker.job is not None]
        mine = {worker: None for worker in pool._workers if worker.ident == me}
        pool._starter = starter
        pool._jobs.clear()
        pool._idle.clear()
        pool._workers.clear()
        pool._workers.update(mine)
        pool._asked = _seam.token()
        pool._workers_gone = _seam.Waiters()
        starter.workers.update(mine)
    stranded += strays(Job)
    for job in stranded:
        if job._runner != me:
            job.forget_threads()
    _notify(after_fork, "after fork")


atexit.register(_at_exit)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_child=_in_child)
