"""What a pool has to do now, and waiting until that is over (TP-9, TP-32)."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

from . import _atomic, _seam
from ._errors import UsageError
from ._job import Job, meetings
from ._texts import safe_repr
from ._waiting import Steps, Wait

if TYPE_CHECKING:
    from ._pool import Pool

_TRANSIENT = 1e-4  # how long to doze while a worker is between two steps


def drain_steps(pool: Pool, wait: Wait) -> Steps[None]:
    """See `Pool.drain`."""
    me = _seam.get_ident()
    if any(worker.ident == me and worker.job is not None for worker in list(pool._workers)):
        raise UsageError(f"a job of {pool!r} can't wait for its own pool to drain")
    noted = [(job, note) for job, note in list(meetings.posts.items()) if note[0] is pool]
    if any(job._runner == me for job, _ in noted):
        raise UsageError(f"a job that was posted to {pool!r} while it runs can't wait for that run")
    for job, ticket in under_way(pool):
        yield from job._wait_for(ticket, wait)
    for job, note in noted:  # posted while they ran: one run more
        must_wait = functools.partial(_is_noted, job, note)
        what = f"{safe_repr(job)} has not begun its next run"
        yield from meetings.sleepers.wait_until_not(job, must_wait, wait, what)
        if job._pool is pool and len(ticket := job._ticket) < 2:
            yield from job._wait_for(ticket, wait)


def under_way(pool: Pool) -> list[tuple[Job, list[Any]]]:
    """Every job that is queued on `pool`, or runs there now, with its ticket. Thread context."""
    found = [(job, ticket) for ticket in _atomic.contents(pool._jobs) for job in tuple(ticket)]
    for worker in list(pool._workers):
        # Without a GIL one that is neither idle nor shows a job may be about to show what it has taken.
        begun = worker.started
        while _seam.FREE_THREADED and worker.ident and worker.job is None:
            if worker.started != begun or worker in pool._idle:
                break
            _seam.doze(_TRANSIENT)
        ticket = worker.ticket
        for job in (*tuple(ticket), worker.job):
            if job is not None and job._ticket is ticket:  # else that run is over, and there may be another one
                found.append((job, ticket))
    return found


def _is_noted(job: Job, note: list[Pool]) -> bool:
    """True if the post of `note` has not given `job` its ticket yet. Any context."""
    return meetings.posts.get(job) is note or any(job is other for other in list(meetings.performing.values()))
