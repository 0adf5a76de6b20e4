"""How many workers a pool needs: Linux's rule for its workqueues (TP-3, TP-6).

Start the next worker while a job waits, none is idle, and fewer workers than CPUs are *runnable*. Workers that are
blocked don't count, so blocked jobs never keep the next one from running, and a burst of jobs, however short, keeps
every CPU busy without a thread for each. There is no cap, but a worker that was woken, or has just been made, comes for
a job, however long that takes on a busy machine: none is made for that job.

Who is blocked? The kernel knows: ``/proc/self/task/TID/syscall`` says in which call a thread sleeps, if it does. With a
GIL one kind of sleep says nothing: a futex with a limit of time, which is how threads wait for the GIL, but for other
things too. A worker that is seen there and has begun another job since the last look is not blocked; otherwise it is,
unless the starter has waited for the GIL as well: if it came late, it waits longer before it looks again.

A look takes some microseconds, so of those that were seen blocked only a few are looked at again each time, in turn:
should many have gone on, these few show it.

Where the OS does not say, NetBSD's own rule: one worker after another for as long as the job at the head of the
queue waits and none is idle.

All of this belongs to the starter's thread.
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Any

from . import _osthread
from ._topology import allowed

if TYPE_CHECKING:
    from ._pool import Pool
    from ._worker import Worker

_GRACE = 1e-4  # between two looks at a pool where jobs wait
_GRACE_SERVED = 2e-3  # the same for a pool that keeps all CPUs busy
_GRACE_LATE = 5e-2  # the same when the GIL is hard to get
_LATE = 1e-3  # a starter this much later than planned has waited for the GIL, or for a CPU
_AGAIN = 8  # how many workers that were seen blocked to look at again each time
_BATCH = 16


class Demand:
    """What the starter knows of one pool where a job may wait for a worker."""

    #: How many seconds later than planned the starter came to look; the same for all pools.
    lateness = 0.0

    __slots__ = ("_batch", "_blocked", "_last_head", "_pool", "_unsure", "back_off", "grace", "when")

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._last_head: object = None  # what was at the head of the queue at the last look
        # How many jobs each had begun at the last look: of those seen blocked, the one that was looked at longest ago
        # first, and of the others. Together they are the workers of the pool that were there then.
        self._blocked: dict[Worker, int] = {}
        self._unsure: dict[Worker, int] = {}
        self._batch = 1  # how many to start at once: grows while all that were started are blocked
        self.when = 0.0  # not to look again before
        self.back_off = 0.0
        self.grace = _GRACE

    def head(self) -> list[Any] | None:
        """The ticket that has waited longest, None if nothing waits."""
        jobs = self._pool._jobs
        while True:
            try:
                ticket = jobs[0]
            except IndexError:
                return None
            if ticket or self._pool._workers:
                return ticket  # one that was withdrawn is thrown away by a worker
            try:
                jobs.remove([])  # where there is none, by us
            except (ValueError, IndexError):
                pass

    def workers_wanted(self, head: list[Any]) -> int:
        """How many workers to start now; sets `grace`, the time until the next look."""
        pool = self._pool
        cpus = len(allowed.cpus) if _osthread.LINUX and pool.cpu is None else 1
        self._meet()
        waiting = len(pool._jobs) - self._coming()
        if waiting <= 0:
            self.grace = min(self.grace * 2, _GRACE_SERVED)
            return 0
        if not pool._workers:
            free = cpus
        elif _osthread.LINUX:
            free = cpus - self._count_runnable(cpus)
        else:
            free = int(head is self._last_head)
        self._last_head = head
        if self.lateness > _LATE and pool._workers:
            # Workers that only wait for the GIL look blocked: each further one has to be waited for longer.
            self._batch, self.grace = 1, min(self.grace * 2, _GRACE_LATE)
        elif free <= 0:
            self._batch, self.grace = 1, min(self.grace * 2, _GRACE_SERVED)
        else:
            self._batch = min(free if free < cpus else max(free, self._batch * 2), _BATCH)
            self.grace = _GRACE
        return min(self._batch, waiting) if free > 0 else 0

    def _coming(self) -> int:
        """How many workers will come for a job by themselves: they have none in hand, and are not idle."""
        workers = list(self._pool._workers)
        return [worker.job is None and not worker.away for worker in workers].count(True) - len(self._pool._idle)

    def _meet(self) -> None:
        """Note which workers came since the last look, and which have left."""
        unsure, blocked, workers = self._unsure, self._blocked, self._pool._workers
        for worker in reversed(list(workers)):  # the last ones are the youngest
            if worker in unsure or worker in blocked:
                break
            unsure[worker] = -1
        for worker in [worker for worker in unsure if worker not in workers]:
            del unsure[worker]

    def _count_runnable(self, enough: int) -> int:
        """How many workers of the pool could use a CPU now; those beyond `enough` are not looked at, but counted."""
        unsure, blocked, workers = self._unsure, self._blocked, self._pool._workers
        runnable = 0
        for worker, seen in [*unsure.items(), *islice(tuple(blocked.items()), _AGAIN)]:
            begun = worker.started
            if worker not in workers:  # it has left
                blocked.pop(worker, None)
                continue
            is_blocked = False if runnable >= enough or not worker.tid else _osthread.is_blocked(worker.tid)
            if is_blocked is None:
                is_blocked = begun == seen or (begun == 1 and seen < 1)  # it may be blocked in its first job already
            if is_blocked:
                if begun:
                    unsure.pop(worker, None)
                    blocked.pop(worker, None)
                    blocked[worker] = begun  # the last one now
                continue
            runnable += 1
            blocked.pop(worker, None)
            unsure[worker] = begun
        return runnable
