"""The worker: one thread of one pool, from birth to idling out.

    born      put the thread in order, before the first job's first bytecode
    work      take tickets until there are none; take the job out of each; run it; see that done() was called
    idle      publish itself on the idle stack; *look again*; park
    put right after a millisecond or four of idleness: what jobs left behind on the thread
    leave     take itself off the stack; failing that, somebody is handing it work, so work

Publish-then-look here meets publish-then-look in `Pool._enqueue`: either the scheduler sees the idle worker and
claims it, or the worker sees the job. Only the claim (the pop from the idle stack) entitles anybody to wake a
worker, and a worker that was claimed waits for its wake-up: that decides every race of idle-out.

Rules. O: written by the worker's own thread, read by anybody (a snapshot may be a moment old). S: set at init.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from . import _atomic, _hooks, _osthread, _seam
from ._errors import UsageError
from ._probes import probes, watch
from ._settle import Settled
from ._texts import note_origin, safe_repr
from ._tunables import tunables

if TYPE_CHECKING:
    from ._job import Job
    from ._pool import Pool


UNDONE = "{!r} returned without calling done(); call it with the interlock held when there is nothing more to do"
# How many seconds a worker is idle before it looks what jobs left behind on its thread (TP-13). One that went idle less
# than the first ago takes the second: to set a timer that is due before the kernel's next tick, and to take it back,
# can cost more than all else that a worker does between two jobs.
_SOON, _BUSY = 0.001, 0.004


class Worker:
    """One thread that runs the jobs of `pool`. Made and started by the starter only."""

    def __init__(self, pool: Pool) -> None:
        self.pool = pool  # S
        self.parking = _seam.Parking()  # A: where we sleep
        self.wake = self.parking.wake  # S: only for whoever has claimed us
        #: Set by whoever has claimed us, before the wake-up: leave if there is nothing to do. We clear it if there is.
        self.leaving = False
        self.tid = 0  # O
        self.ident = 0  # O
        self.ticket: list[Any] = []  # O: the ticket taken last; full while its job is not yet in `job`
        self.job: Job | None = None  # O: what runs now
        self.since = _seam.monotonic()  # O: start of the present state
        self.started = 0  # O
        self.errors = 0  # O
        self.away = False  # O: will not come for a job: it puts its thread right, or leaves
        #: Written in a fork child by the thread that came along. It is the first of its process, which can't be joined
        #: with every C library.
        self.forked = False
        self.inline = False  # S: True for the exiting thread, which runs what no worker can be had for
        self.settled = Settled(pool)  # S
        self.thread = _seam.Thread(self._main, f"{pool.thread_name}-{next(pool.numbers)}")  # S

    # --- the thread

    def _main(self) -> None:
        pool = self.pool
        self.tid = _seam.get_native_id()
        self.ident = _seam.get_ident()
        try:
            self.settled.be_born()
        except BaseException as error:  # an odd OS or hook: jobs still run
            _hooks.report_error(error, origin=pool)
        try:
            if (probe := probes.thread__start) is not None:
                probe(pool)
            self._live()
            if (probe := probes.thread__exit) is not None:
                probe(pool)
        finally:
            self.ident = 0  # another thread may soon have it
            # The last step of our own; the starter joins the thread, and looks whether jobs need somebody else.
            pool._starter.requests.put(self)
            pool._starter.ensure_alive()  # it is, but in the child of a fork from inside a job

    def _live(self) -> None:
        jobs, idle = self.pool._jobs, self.pool._idle
        tickets = iter(jobs.popleft, None)
        run, parked = self._run, 0.0
        sleep, bound = self.parking.sleep, self.pool.cpu is not None
        while True:
            while jobs:
                try:
                    # Kept in one step, see `_atomic`: a fork child finds the job in `ticket`, then in `job`.
                    for ticket in tickets: self.ticket = ticket; break  # fmt: skip
                    job = ticket[0]
                    del ticket[0]; self.job = job  # fmt: skip
                except IndexError:  # another worker was faster, or the ticket was withdrawn
                    continue
                run(job, ticket)
                del job, ticket
            for _ in _seam.SPINS:
                if jobs:
                    break
            if jobs:
                continue
            before, parked = parked, _seam.monotonic()
            self.since = parked
            idle.append(self)
            # Look again: what was scheduled before the line above saw no idle worker.
            if (jobs or self.pool._closing) and self._unpublish():
                if self.pool._closing and not jobs:
                    return self._die()
                continue
            if not sleep(_SOON if parked - before > _SOON else _BUSY) and not self._rest(parked):
                return None
            if self.leaving:
                if not jobs:
                    return self._die()
                self.leaving = False
                self.pool._workers_gone.wake_all()  # whoever sent us away need not wait for it
            if bound:
                self.settled.check_binding()

    def _rest(self, parked: float) -> bool:
        """On the idle stack for a while: put the thread right, then sleep. False if we leave."""
        pool, sleep = self.pool, self.parking.sleep
        if not self.settled.in_order():
            # Off the stack meanwhile, as nobody should have to wait for this.
            if not self._unpublish():
                return self._wait_for_claim()
            self.away = True
            if not self.settled.put_right():
                return False  # that would take privilege, so the thread is of no more use
            self.away = False
            pool._idle.append(self)
            if (pool._jobs or pool._closing) and self._unpublish():  # look again
                return True
        while True:
            # A longer idle time may have been set meanwhile: then the wait goes on.
            left = parked + tunables.idle_ms / 1000 - _seam.monotonic()
            if left > 0:
                if sleep(min(left, 1e6)):
                    return True
            elif self._unpublish():
                self._die()
                return False
            else:
                return self._wait_for_claim()

    def _wait_for_claim(self) -> bool:
        """Somebody has claimed us: the wake-up is on its way."""
        while not self.parking.sleep(1e6):
            pass
        return True

    def _unpublish(self) -> bool:
        """Leave the idle stack; False if somebody has claimed us and will wake us."""
        return _atomic.discard(self.pool._idle, self)

    def _die(self) -> None:
        self.away = True
        if (probe := probes.thread__dying) is not None:
            probe(self.pool)

    def _run(self, job: Job, ticket: list[Any]) -> None:
        job._runner = self.ident
        self.started += 1
        self.since = _seam.monotonic()
        try:
            if watch.plain:
                job._fn(job)
            else:
                self._run_watched(job, ticket)
            if job._ticket is ticket:
                raise UsageError(UNDONE.format(job))
        except BaseException as error:
            self.errors += 1
            # First release those who wait for the job, then report: the report may take its time.
            if job._ticket is ticket:
                job._finish()
            if self.inline and isinstance(error, KeyboardInterrupt):
                raise
            note_origin(error, f"in {safe_repr(job)} of {self.pool!r}")
            _hooks.report_error(error, origin=job)
        self.job = None

    def _run_watched(self, job: Job, ticket: list[Any]) -> None:
        if (probe := probes.thread__job) is not None:
            probe(self.pool, job)
        if tunables.job_names:
            _osthread.set_name(str(job.name))
        try:
            job._fn(job)
            if job._ticket is ticket:
                raise UsageError(UNDONE.format(job))
        except BaseException as error:
            if (probe := probes.thread__job__error) is not None:
                probe(self.pool, job, error)
            raise
        finally:
            if (probe := probes.thread__job__done) is not None:
                probe(self.pool, job)
