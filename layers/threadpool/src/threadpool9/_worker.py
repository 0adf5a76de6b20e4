"""The worker: one thread of one pool, from birth to idling out.

    born      put the thread in order (CPU, class, nice, mask, name), before the first job's first bytecode
    work      pop tickets until there are none; claim each; run it; see that done() was called
    idle      put right what jobs left on the thread; publish itself on the idle stack; *look again*; park
    leave     take itself off the stack; failing that, somebody is handing it work, so work

Publish-then-look here meets publish-then-look in `Pool._enqueue`: either the scheduler sees the idle worker and
claims it, or the worker sees the job. Only the claim (the pop from the idle stack) entitles anybody to wake a
worker, and a worker that was claimed waits for its wake-up: that decides every race of idle-out.

Rules. O: written by the worker's own thread, read by anybody (a snapshot may be a moment old). S: set at init.
"""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Any

from . import _hooks, _osthread, _seam
from ._errors import UsageError
from ._priority import Scheduling
from ._probes import probes, watch
from ._topology import refresh
from ._tunables import tunables

if TYPE_CHECKING:
    from ._job import Job
    from ._pool import Pool


UNDONE = "{!r} returned without done(): call it, interlock held, when there is no more to do"


def apply_priority(wanted: Scheduling) -> str | None:
    """Give the calling thread its class and priority, by the hook or by the OS's calls; what was refused (TP-10)."""
    answer = _hooks.ask("threadpool9_apply_priority", scheduling=wanted, tid=_seam.get_native_id())
    if isinstance(answer, str):
        return answer or None
    return _osthread.apply_scheduling(wanted)


class Worker:
    """One thread that runs the jobs of `pool`. Made and started by the starter only."""

    def __init__(self, pool: Pool, ready: Any) -> None:
        self.pool = pool  # S
        self.parking = _seam.Parking()  # A: where we sleep
        self.wake = self.parking.wake  # S: by who has claimed us, only
        #: Written by who has claimed us before the wake-up: go, if there is nothing to do. By us, if there is.
        self.leaving = False
        self.ready = ready  # S: released once, when the worker has looked for its first job
        self.tid = 0  # O
        self.ident = 0  # O
        self.job: Job | None = None  # O: what runs now
        self.since = _seam.monotonic()  # O: start of the present state
        self.started = 0  # O
        self.errors = 0  # O
        self.inline = False  # S: True for the exiting thread, which runs what no worker can be had for
        self.scheduling = ""  # O: what the OS says
        self.bound = pool.cpu is None  # written by our thread and by the starter: False while the CPU can't be had
        self.name = pool.thread_name  # S
        self.thread = _seam.Thread(self._main, f"{self.name}-{next(pool.numbers)}")  # S
        self._fingerprint = _osthread.fingerprint_call()  # O
        self._clean: object = None  # O: the fingerprint of the clean thread

    # --- the thread

    def _main(self) -> None:
        pool = self.pool
        self.tid = _seam.get_native_id()
        self.ident = _seam.get_ident()
        try:
            self._settle()
        except BaseException as error:  # an odd OS or hook: jobs still run
            _hooks.report_error(error, origin=pool)
        if (probe := probes.thread__start) is not None:
            probe(pool)
        try:
            self._live()
        finally:
            if (probe := probes.thread__exit) is not None:
                probe(pool)
            self.ident = 0  # another thread may soon have it
            if pool._jobs:
                pool._starter.requests.put(pool)  # we leave though there are jobs: somebody else is needed
            # The last step of our own; the starter joins the thread and tells who waits for it.
            pool._gone(self)

    def _live(self) -> None:
        jobs, idle, bound_to = self.pool._jobs, self.pool._idle, self.pool.cpu
        popleft = jobs.popleft
        run = self._run
        ready = self.ready
        sleep = self.parking.sleep
        while True:
            while jobs:
                try:
                    ticket = popleft()
                    job = ticket.pop()
                except IndexError:  # another worker was faster, or the ticket was withdrawn
                    continue
                if ready is not None:
                    ready = ready.release()
                run(job, ticket)
                del job, ticket
            if ready is not None:
                ready = ready.release()
            for _ in _seam.SPINS:
                if jobs:
                    break
            if jobs:
                continue
            if self._fingerprint() != self._clean and not self._put_right():
                return
            self.since = parked = _seam.monotonic()
            idle.append(self)
            # Look again: what was scheduled before the line above saw no idle worker.
            if (jobs or self.pool._closing) and self._unpublish():
                if self.pool._closing and not jobs:
                    if (probe := probes.thread__dying) is not None:
                        probe(self.pool)
                    return
                continue
            left = tunables.idle_ms / 1000
            while not sleep(left if left < 1e6 else 1e6):
                # A longer idle time may have been set meanwhile: the wait goes on.
                left = parked + tunables.idle_ms / 1000 - _seam.monotonic()
                if left > 0:
                    continue
                if self._unpublish():
                    if (probe := probes.thread__dying) is not None:
                        probe(self.pool)
                    return
                left = 1e6  # claimed: the wake-up is on its way
            if self.leaving:
                if not jobs:
                    if (probe := probes.thread__dying) is not None:
                        probe(self.pool)
                    return
                self.leaving = False
                self.pool._workers_gone.wake_all()  # who sent us away need not wait for it
            if bound_to is not None and not self._bound_still():
                self._rebind()

    def _unpublish(self) -> bool:
        """Leave the idle stack; False if somebody has claimed us and will wake us."""
        return _seam.discard(self.pool._idle, self)

    def _run(self, job: Job, ticket: list[Job]) -> None:
        self.job = job
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
            _hooks.report_error(error, origin=job)
        self.job = None

    def _run_watched(self, job: Job, ticket: list[Job]) -> None:
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

    # --- the OS's view of the thread

    def _settle(self) -> None:
        """Be born clean: nothing of whoever caused this thread stays on it (TP-7, TP-10, TP-13)."""
        pool = self.pool
        try:
            _osthread.clean_signal_mask()
            self._rebind()
            refused = apply_priority(pool.wanted)
            self.scheduling = _osthread.describe()
            if refused is not None:
                pool._note_refusal(refused)
            _osthread.set_name(self.name)
        finally:
            self._clean = self._fingerprint()  # also after an error, which is not to be repeated for each job

    def _put_right(self) -> bool:
        """A job changed the CPU set, nice value, class or name of its thread, or the OS did: undo it (TP-13).

        False if the thread can't be had back as it was born, which takes privilege: then it is of no more use.
        """
        born = self.scheduling
        try:
            self._settle()
        except Exception as error:
            _hooks.report_error(error, origin=self.pool)
        return self.scheduling == born

    def bind_from_outside(self) -> None:
        """The starter's call: the CPU is back, and this worker may be busy for long."""
        pool, tid = self.pool, self.tid
        if not self.ident:
            return  # it binds itself, or it has left
        lost = list(pool._unbound)
        try:
            _osthread.set_affinity(frozenset((pool.cpu,)), tid)  # type: ignore[arg-type]  # pools that lost a CPU have one
            # Look again: who takes CPUs from our threads, one after the other, has passed this one or will come yet.
            if pool.cpu not in (allowed := refresh()):
                _osthread.set_affinity(allowed, tid)
                return
        except OSError:
            return  # gone again, or the thread is
        self.bound = True
        pool._note_bound(lost)

    def _bound_still(self) -> bool:
        return self.bound and _osthread.get_affinity(0) == {self.pool.cpu}

    def _rebind(self) -> None:
        """Bind to the pool's CPU, or, if it is gone, to what is allowed; say so once and try again (TP-8)."""
        pool = self.pool
        if pool.cpu is None:
            allowed = refresh()
            if _osthread.LINUX and _osthread.get_affinity(0) != allowed:
                try:
                    _osthread.set_affinity(allowed)
                except OSError:
                    pass  # it is being changed at this moment; any CPU will do
            return
        while not self._bind_or_tell(pool, pool.cpu):
            pass
        self._clean = self._fingerprint()

    def _bind_or_tell(self, pool: Pool, cpu: int) -> bool:
        """Try once; False if the allowed CPUs have changed meanwhile, so that it has to be tried again."""
        bound, lost = list(pool._bound), list(pool._unbound)
        allowed = refresh()
        try:
            if cpu not in allowed:
                raise OSError(errno.EINVAL, "it was taken from this process")
            if _hooks.ask("threadpool9_bind", answers=(OSError,), cpu=cpu) is not True:
                _osthread.set_affinity(frozenset((cpu,)))
        except OSError as error:
            self.bound = False
            pool._note_unbound(bound, error)
            try:
                _osthread.set_affinity(allowed)
            except OSError:
                pass  # the kernel has moved us to what remains
        else:
            self.bound = True
            if lost and self._bound_still():
                pool._note_bound(lost)
        # Look again: what we have just told may be past, and who saw the change before we told it has told nothing.
        return (cpu in refresh()) == (cpu in allowed)
