"""Interpreter exit (TP-32): what was scheduled is run, as `tunables.exit_policy` says, and it ends.

    1  where `threading` runs its own exit functions: once the other threads that are not daemons have ended, everything
       is drained. Atexit functions, log handlers and temporary directories are still there.
    2  the last of the atexit functions: what these have scheduled is drained; from then on scheduling is refused,
       idle workers leave, `after_exit` is called. Workers are daemon threads: nothing that is given up on holds the
       process.

Children of multiprocessing end by ``os._exit`` after step 1, so for them that is all.

The drain goes by *generations*: what waits or runs when one begins is over when it ends. What units schedule while they
run is the next generation. After `GENERATIONS` of them, a unit that schedules itself (or another one) for ever is
refused with FinalizingError, which is reported like any error; daemon threads are refused from the beginning.

Rules. M: written by the exiting thread, which is the main one but for step 1 beside threads that are not daemons.
"""

from __future__ import annotations

import atexit
import math
import sys
from collections.abc import Callable, Container, Iterator
from typing import TYPE_CHECKING

from . import _atomic, _hooks, _osthread, _seam
from ._drain import under_way
from ._errors import Error, FinalizingError
from ._job import meetings
from ._layer import after_exit, layers
from ._registry import registry
from ._texts import safe_repr
from ._tunables import tunables
from ._worker import Worker

if TYPE_CHECKING:
    from ._job import Job
    from ._pool import Pool


GENERATIONS = 1000
#: These start no thread once the main thread has come to its end, long before our exit function.
_REFUSAL_IS_FINAL = (3, 12, 0) <= sys.version_info[:3] <= (3, 12, 2)
_FIRST_SLICE, _LAST_SLICE = 0.0005, 0.05  # nobody announces the end of a job to us
_FAREWELL = 1.0
_REPORT_AFTER = 5.0
_NAMED = 10


class Exiting:
    """What is known of the exit that is under way."""

    def __init__(self) -> None:
        self.begun = False  # M
        self.refusing = False  # M: the generations are used up, or the drain is over
        self.deadline: float | None = None  # M
        self.report_at = math.inf  # M
        self.draining = False  # M: stays True if Ctrl-C breaks the drain off: nothing is waited for any more
        self.inline: int | None = None  # M: its ident while it runs jobs itself
        self.looks: Iterator[float] | None = None  # M: see `_looks`
        self.next_look = 0.0  # M: while inline
        self.ended = False  # M: `after_exit` was called

    def why_not(self) -> Error | None:
        """Why the calling thread may not schedule, None if it may. Any context."""
        if not self.begun:
            return None
        if self.inline == _seam.get_ident():
            self._look_inline()
        if self.refusing:
            return FinalizingError("the interpreter is exiting; nothing can be scheduled any more")
        if _seam.is_foreign_daemon():
            return FinalizingError(
                "the interpreter is exiting and waits for what is scheduled; a daemon thread can't add to that"
            )
        return None

    def _look_inline(self) -> None:
        """The exiting thread runs jobs itself, and may be kept inside one for ever: it looks where they schedule."""
        looks, self.looks = self.looks, None  # a signal handler that schedules finds None
        if looks is not None:
            if _seam.monotonic() >= self.next_look:
                self.next_look = _seam.monotonic() + next(looks, math.inf)
            self.looks = looks


exiting = Exiting()


def forget_exit() -> None:
    """In a fork child: its exit is still to come."""
    exiting.__init__()  # type: ignore[misc]  # everything anew is the point
    registry.gate = None
    for pool in registry.pools:
        if pool._gate is _gate:
            pool._gate = None


def _gate(pool: Pool, job: Job) -> Error | None:
    if job.plumbing and not exiting.refusing:
        return None  # what runs inside has been let in, or is refused by its own layer
    return exiting.why_not()


# --- the two steps


def _at_threads_end() -> None:
    """Step 1. The main thread, or that of a child of multiprocessing."""
    if tunables.exit_policy == "abandon":
        return
    if _seam.living_threads():
        # They may go on for long, and what they schedule is run as ever. Not waited for here: some of them end only
        # when the exit functions of others were called, after us.
        try:
            _seam.start_exit_thread(_after_the_others)
        except (RuntimeError, MemoryError):
            pass  # step 2 has to do
        return
    _drain()
    if _seam.is_multiprocessing_child():
        _end()


def _after_the_others() -> None:
    while threads := _seam.living_threads():
        for thread in threads:
            thread.join()
    _drain()
    if _seam.is_multiprocessing_child():
        _end()


def _at_exit() -> None:
    """Step 2."""
    try:
        if tunables.exit_policy != "abandon":
            _drain()
    finally:  # Ctrl-C gets out of the wait, not around this
        try:
            _wind_down()
        finally:
            _end()


def _end() -> None:
    if not exiting.ended:
        exiting.ended = True
        for layer in layers:
            call_guarded(layer.after_exit, f"{layer.name} after exit")
        for listener in after_exit:
            call_guarded(listener, "after exit")


def call_guarded(function: Callable[[], object], occasion: str) -> None:
    """Call what a layer or a plugin has to do on `occasion`; report what it raises."""
    try:
        function()
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # a SystemExit of somebody's callback
        _hooks.report_error(error, origin=occasion)


# --- the drain


def _drain() -> None:
    if exiting.draining:
        return  # Ctrl-C in step 1: the main thread has gone on
    exiting.draining = True
    _begin()
    _run_generations(tunables.exit_policy)
    exiting.draining = False


def _begin() -> None:
    first = not exiting.begun
    if first:
        policy, now = tunables.exit_policy, _seam.monotonic()
        exiting.report_at = now + _REPORT_AFTER
        exiting.deadline = now + policy if isinstance(policy, (int, float)) else None
        exiting.begun = True
    registry.gate = _gate
    for pool in registry.all_pools():
        if pool._gate is None:
            pool._gate = _gate
    if first:  # whoever learns of the exit by this is refused already
        for layer in layers:
            call_guarded(layer.before_exit, f"{layer.name} before exit")


def _run_generations(policy: str | float) -> None:
    failures = {pool: pool._start_failures for pool in registry.all_pools()}
    exiting.looks = looks = _looks(policy)
    for pause in looks:
        if not _serve_refused(policy, failures):
            return
        _seam.doze(pause)


def _looks(policy: str | float) -> Iterator[float]:
    """Look at what is unfinished, again and again until nothing is; yields the seconds until the next look."""
    generations = 0
    while _unfinished():
        over = [_generation(), *(layer.generation() for layer in layers if layer.generation is not None)]
        # What is left may be plumbing alone, which is nobody's generation: that too is waited for, not spun for.
        empty = all(ask() for ask in over)
        generations += not empty
        if generations > GENERATIONS:
            exiting.refusing = True
        pause = _FIRST_SLICE
        while empty or (_unfinished() and not all(ask() for ask in over)):
            empty = False
            if policy == "cancel":  # each time round: what still runs may schedule more
                _cancel_queued()
                for layer in layers:
                    call_guarded(layer.cancel_queued, f"{layer.name} cancel at exit")
            if exiting.deadline is not None and _seam.monotonic() >= exiting.deadline:
                return  # also from a second drain: what is left then is not waited for
            if _seam.monotonic() >= exiting.report_at:
                exiting.report_at = math.inf
                _hooks.tell(f"at exit, after {_REPORT_AFTER:g} s, waiting for {_names()}")
            yield pause
            pause = min(pause * 2, _LAST_SLICE)


def _generation() -> Callable[[], bool]:
    """Has every job ended that waits or runs now? Plumbing apart: what runs inside of that is another layer's."""
    jobs = [(job, ticket) for pool in registry.all_pools() for job, ticket in under_way(pool) if not job.plumbing]
    return lambda: not any(job._ticket is ticket for job, ticket in jobs)


def _unfinished(besides: Container[Pool] = ()) -> bool:
    """True while there are jobs, or workers that may have one, in other pools than `besides`; or a layer says so."""
    me = _seam.get_ident()
    if exiting.inline == me:
        return True
    for pool in registry.all_pools():
        if pool in besides:
            continue
        # Not `worker.job`: it is not set yet when a job has just been taken. A worker that is not idle may have one.
        idle = set(_atomic.contents(pool._idle))
        if any(_atomic.contents(pool._jobs)) or any(
            worker.ident != me and worker not in idle for worker in list(pool._workers)
        ):
            return True
    return any(layer.unfinished() for layer in layers)


def _serve_refused(policy: str | float, failures: dict[Pool, int]) -> bool:
    """Run here what can have no thread any more, so that nothing is lost; False if there is nothing to wait for."""
    refused = [
        pool
        for pool in registry.all_pools()
        if pool._jobs
        and not pool._workers
        and (pool._start_failures > failures.get(pool, 0) or not registry.starter.is_alive())
    ]
    if policy == "drain":
        for pool in refused:
            _run_inline(pool)
    elif _REFUSAL_IS_FINAL and not _unfinished(besides=refused):
        return False  # what is left will have no thread, and on this one it could not be given up after a time limit
    return True


def _run_inline(pool: Pool) -> None:
    worker = Worker(pool)
    worker.ident = _seam.get_ident()
    worker.inline = True
    pool._workers[worker] = None
    exiting.inline = worker.ident
    try:
        while pool._jobs:
            try:
                ticket = pool._jobs.popleft()
                job = ticket.pop()
            except IndexError:
                continue
            worker.ticket, worker.job = ticket, job
            worker._run(job, ticket)
    finally:
        exiting.inline = None
        pool._see_off(worker)


def _cancel_queued() -> None:
    for job in list(meetings.posts):  # posted while it runs: that waits too
        if not job.plumbing:
            meetings.posts.pop(job, None)
    for pool in registry.all_pools():
        for ticket in _atomic.contents(pool._jobs):
            for job in tuple(ticket):
                if not job.plumbing:
                    pool._withdraw(job, ticket)


def _names() -> str:
    jobs = [safe_repr(job) for pool in registry.all_pools() for job, _ in under_way(pool) if not job.plumbing]
    names: list[str] = [*jobs, *(name for layer in layers for name in layer.waiting())]
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more or "workers that are busy"


def _wind_down() -> None:
    """Refuse what comes from now on; let those who are idle go in good order. Daemon threads that remain are frozen."""
    exiting.begun = exiting.refusing = True
    starter = registry.starter
    starter.finalizing = True
    registry.gate = _gate
    for pool in registry.all_pools():
        pool._gate = _gate
        pool._closing = True  # a busy worker leaves instead of going idle
    farewell = _seam.monotonic() + _FAREWELL
    helper = starter.tid
    gone: list[int] = []
    while True:
        gone += [worker.tid for pool in registry.all_pools() for worker in pool._dismiss_idle()]
        # One without a job is leaving, or on its way to being idle; then the starter goes.
        jobs = [worker.job for pool in registry.all_pools() for worker in list(pool._workers)]
        if _seam.monotonic() > farewell or not (None in jobs or (not jobs and starter.busy())):
            break
        _seam.doze(_FIRST_SLICE)
    # A subinterpreter can't be ended while the OS still has a thread of it.
    _osthread.wait_gone(gone + [helper] * bool(helper and not starter.busy()), farewell)


_seam.at_threads_end(_at_threads_end)
atexit.register(_at_exit)
