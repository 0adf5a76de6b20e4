"""The pool: waiting jobs, idle workers, and the three things one does with a job there.

    schedule  publish the ticket on `_jobs`; then claim an idle worker and wake it, else ask the starter for one
    cancel    claim the ticket; failing that, wait for done()
    put       (in `_registry`) wait until jobs and workers are gone

No operation here takes a lock; that is what makes them safe in interrupt context. The order "publish the job,
then look for an idle worker" is one half of the protocol whose other half is in `_worker`.

Rules. A: atomic operations, any context. S: set at init. R: registry lock. T: written by the starter.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

from . import _hooks, _seam
from ._errors import Error, UsageError
from ._job import Job, interlock_released
from ._priority import Scheduling
from ._probes import probes

if TYPE_CHECKING:
    from types import TracebackType

    from ._starter import Starter
    from ._worker import Worker

__all__ = ["Pool"]


def check_job(job: object) -> None:
    """TypeError unless `job` is one."""
    if not isinstance(job, Job):
        raise TypeError(f"a pool takes jobs (threadpool9.Job), not {job!r}")


class Left:
    """What workers that are gone had counted: written whole, so that a reader sees each worker here or in the table."""

    __slots__ = ("errors", "last", "started")

    def __init__(self, started: int = 0, errors: int = 0, last: Worker | None = None) -> None:
        self.started = started  # S
        self.errors = errors  # S
        self.last = last  # S: counted here, and about to leave the table

    def with_worker(self, worker: Worker) -> Left:
        """This, and `worker`."""
        return Left(self.started + worker.started, self.errors + worker.errors, worker)


class Pool:
    """A pool of threads of one priority, unbound or bound to one CPU; got by `threadpool9.get` and `PerCPU.ref`.

    There is one per priority (and CPU) in the process, shared by all who ask; ``with`` puts the reference at
    the end. `schedule`, `post` and `cancel_async` may be called in any context.
    """

    def __init__(self, pri: int, cpu: int | None, wanted: Scheduling, starter: Starter) -> None:
        self.pri = pri  # S
        self.cpu = cpu  # S
        self.wanted = wanted  # S: what the priority map asks of the OS
        self.thread_name = "poolthread" + ("" if cpu is None else f"/{cpu}") + ("" if pri < 0 else f"@{pri}")  # S
        self.numbers = itertools.count(1)  # T
        self.references = 0  # R; of a member of a per-CPU set always 0, see `PerCPU.references`
        self._starter = starter  # S
        self._jobs: _seam.deque[list[Job]] = _seam.deque()  # A: tickets, oldest left
        self._idle: _seam.deque[Worker] = _seam.deque()  # A: parked workers, last in at the right
        self._workers: dict[Worker, None] = {}  # A: every worker until it is joined (idents are reused before)
        self._asked = _seam.token()  # A: taken from a request to the starter until it looks at us
        self._closing = False  # R: the last reference is being put; idle workers leave
        self._closed = False  # R: nothing may be scheduled any more
        self._cancelled = _seam.Tally()  # A
        self._left = [Left()]  # T: what workers that are gone had counted
        self._told = 0  # written by who takes a snapshot: the most that was told of `scheduled`
        self._refused: str | None = None  # A: what the OS refused, told once
        #: A: one object, in `_unbound` from when it was told that the CPU is gone until that it is back, and a new one
        #: each time: who tells the next thing takes out the one that it saw *before* it looked at the CPUs.
        self._bound, self._unbound = [object()], list[object]()
        self._start_failures = 0  # T
        self._threads_started = 0  # T
        self._threads_left = 0  # T
        self._workers_gone = _seam.Waiters()  # A

    def __repr__(self) -> str:
        where = "unbound" if self.cpu is None else f"cpu {self.cpu}"
        return f"<Pool pri {self.pri} {where}>"

    # --- scheduling

    def schedule(self, job: Job) -> bool:
        """Have `job` run as soon as possible; True if newly scheduled, False if it was queued or running (TP-21).

        Any context; never blocks. The job's interlock must be held (TP-20).

        Raises:
            UsageError: the interlock is not held, the job is destroyed, or the last reference to the pool is put.
            StartError: no thread could be started and none of ours is left to retry; nothing was scheduled (TP-12).
            FinalizingError: the interpreter is exiting (TP-32).
        """
        try:
            owned = job._owned
        except AttributeError:
            check_job(job)
            raise
        if owned is not None and not owned():
            job.check_held("schedule()")
        return self._enqueue(job)

    def post(self, job: Job) -> bool:
        """Schedule `job` without its interlock, as soon as possible (TP-28). Any context; never blocks.

        A post to a running job takes effect at its done(): one more run. True if newly scheduled now. Raises as
        `schedule`, the interlock apart.
        """
        try:
            if self._enqueue(job):
                return True
        except AttributeError:
            check_job(job)
            raise
        if job._ticket:
            return False  # queued: that run begins after now
        # Running, so far as we can see. Publish, then look; `Job._finish` does the same the other way round. Who takes
        # the note out again does what it asks for.
        again = job._again
        try:
            while True:
                again.append(self)
                if not job._free:
                    return False
                try:
                    again.pop()
                except IndexError:
                    return False
                if self._enqueue(job):
                    return True
        except BaseException:
            if job._free:
                again.clear()
            raise

    def _enqueue(self, job: Job) -> bool:
        if not job._free:
            return self._not_idle(job)
        ticket = [job]
        claimed = False
        try:
            del job._free[0]; claimed = True  # fmt: skip  # noqa: E702 nothing may come between, see _seam
            job._pool = self
            job._ticket = ticket
            if (probe := probes.schedule__job) is not None:
                probe(self, job)
            self._jobs.append(ticket)
            if not (self._idle and self._wake_one(job)):
                # No idle worker. One request at a time, so that a burst costs the starter one look at us.
                if self._asked:
                    self._ask(job)
                if (self._closed or self._starter.absent) and (self._closed or not self._starter.ensure_alive()):
                    raise self._why_not(job)
        except BaseException as error:
            if claimed:
                if self._undo(job, ticket) or not isinstance(error, Error):
                    raise
                return True  # we had no thread for it, but a worker of somebody else's has taken it
            if isinstance(error, IndexError):  # somebody else claimed it between our two looks
                return self._not_idle(job)
            raise
        return True

    def _not_idle(self, job: Job) -> bool:
        """The slow half of a schedule that found the job queued, running or destroyed."""
        job._refuse_dead()
        if (probe := probes.schedule__job__running) is not None:
            probe(self, job)
        return False

    def _wake_one(self, job: Job) -> bool:
        """Claim an idle worker and wake it; False if there is none any more. Any context."""
        taken: list[Worker] = []
        woken = False
        try:
            _seam.collect(self._idle.pop, taken)
            woken = True; taken[0].wake()  # fmt: skip  # noqa: E702 said, then done
        except IndexError:
            return False
        except BaseException:
            if taken and not woken:
                taken[0].wake()
            raise
        if (probe := probes.schedule__job__thread) is not None:
            probe(self, job, taken[0])
        return True

    def _ask(self, job: Job) -> None:
        """Ask the starter for a worker, unless somebody else has just done so. Any context."""
        claimed = False
        try:
            del self._asked[0]; claimed = True  # fmt: skip  # noqa: E702
            self._starter.requests.put(self)
        except IndexError:
            return
        except BaseException:
            if claimed:
                self._starter.requests.put(self)  # perhaps once more: that does no harm
            raise
        if (probe := probes.schedule__job__dispatcher) is not None:
            probe(self, job)

    def _undo(self, job: Job, ticket: list[Job]) -> bool:
        """After an exception in the middle of a schedule: True if the job is as it was, False if a worker has it."""
        try:
            ticket.pop()
        except IndexError:
            return False
        self._drop(ticket)
        self._cancelled.bump()
        if (probe := probes.cancel__job) is not None:
            probe(self, job)
        job._ticket = None
        job._free.append(None)
        job.look_for_posts()
        return True

    def _why_not(self, job: Job) -> Error:
        if self._closed and not self._starter.finalizing:
            return UsageError(f"cannot schedule {job!r}: the last reference to {self!r} was put; get() it again")
        return self._starter.why_not()

    def _drop(self, ticket: list[Job]) -> None:
        """Free the queue slot of a withdrawn ticket; if a worker has taken it, it throws it away."""
        _seam.discard(self._jobs, ticket)
        if self._closing:
            self._workers_gone.wake_all()  # it may have been the job that the last put waits for

    # --- cancelling

    def cancel_async(self, job: Job) -> bool:
        """Withdraw `job` if its function has not been entered: True exactly then, or if it was idle (TP-25).

        Any context; never waits. The interlock must be held. Also withdraws a `post` that waits for done().
        Raises UsageError if the job is scheduled on another pool (TP-27).
        """
        check_job(job)
        job.check_held("cancel_async()")
        if job._free:
            return True
        job._refuse_dead()
        ticket = job._ticket
        if ticket is None:  # being scheduled or finished at this moment: see the head of _job
            return True
        if job._pool is not self:
            raise UsageError(f"{job!r} was scheduled on {job._pool!r}, not on {self!r}; cancel it there")
        job._again.clear()
        taken: list[Job] = []
        given = False
        job._cancels[id(taken)] = taken
        try:
            _seam.collect(ticket.pop, taken)
            self._drop(ticket)
            # Told before the next schedule can be.
            if (probe := probes.cancel__job) is not None:
                probe(self, job)
            job._ticket = None
            given = True; job._free.append(None)  # fmt: skip  # noqa: E702
        except IndexError:
            # Somebody else has it: a canceller, perhaps the one that we interrupted, or a worker, unless it is over.
            return any(list(job._cancels.values())) or job._ticket is not ticket
        except BaseException:
            if taken and not given:
                self._drop(ticket)
                job._ticket = None
                job._free.append(None)
            raise
        finally:
            job._cancels.pop(id(taken), None)
        job.look_for_posts()
        self._cancelled.bump()
        return True

    def cancel(self, job: Job, timeout: float | None = None) -> bool:
        """Withdraw `job`, or wait until the run under way has called done() (TP-26). Thread context; may block.

        Args:
            job: a job scheduled on this pool, or idle.
            timeout: seconds to wait for a running job; None waits as long as it takes.

        Returns True if the function was not entered, False if it had to wait. The interlock must be held and is
        released only while waiting. On return, and until somebody schedules it again, the job is not running.

        Raises:
            UsageError: wrong pool, interlock not held, or a job that cancels itself before done().
            WaitTimeout: the job runs on.
        """
        deadline = _seam.deadline_after(timeout)
        check_job(job)
        if job._runner == _seam.get_ident():
            raise UsageError(f"{job!r} cannot wait for itself: call done() and return, or use cancel_async()")
        if self.cancel_async(job):
            return True
        ticket = job._ticket

        def running() -> bool:
            return job._ticket is ticket and not job._free

        def wait() -> None:
            _seam.wait_until(job._done_waiters, running, deadline, f"{job!r} is still running")

        if ticket is not None:
            interlock_released(job._interlock, wait)
        return False

    # --- references

    def put(self, timeout: float | None = None) -> None:
        """Give the reference back; the last one waits until all jobs have run and all workers have left (TP-9).

        Thread context; may block, at most `timeout` seconds: then WaitTimeout, and the pool goes when its jobs have.
        UsageError for one put too many, a member of a per-CPU set, or the last put from one of the pool's own jobs.
        """
        from ._registry import registry

        registry.put(self, _seam.deadline_after(timeout), [])

    def put_until(self, deadline: float | None, given: list[None]) -> None:
        """`put`, and `given` is not empty any more when the reference was given back, whatever is raised."""
        from ._registry import registry

        registry.put(self, deadline, given)

    def release(self) -> None:
        """Give the reference back without waiting: what is scheduled still runs, then the workers leave.

        Any context; for finalizers, which may not wait. Everybody else uses `put`.
        """
        from ._registry import registry

        registry.release((self,), self)

    def __enter__(self) -> Pool:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        self.put()

    def _dismiss_idle(self) -> list[Worker]:
        """Claim every idle worker and send it away; returns them. Any context."""
        taken: list[Worker] = []
        sent = 0
        try:
            while self._idle:
                try:
                    _seam.collect(self._idle.pop, taken)
                except IndexError:
                    break
                taken[-1].leaving = True
                sent += 1; taken[-1].wake()  # fmt: skip  # noqa: E702
        except BaseException:
            for worker in taken[sent:]:
                worker.leaving = True
                worker.wake()
            raise
        return taken

    def busy(self) -> bool:
        """True while there is a job or a worker. Any context."""
        # Not `self._jobs or ...`, which would be looked at twice.
        return bool(self._jobs) or bool(self._workers)

    def counts(self) -> list[int]:
        """The numbers of `Counters`, in their order. Any context; exact when nothing is going on (TP-34)."""
        while True:
            left = self._left[0]
            workers = [worker for worker in list(self._workers) if worker is not left.last]
            if left is self._left[0]:  # nobody was seen off in between
                break
        started = left.started + sum(worker.started for worker in workers)
        errors = left.errors + sum(worker.errors for worker in workers)
        # Of a worker one job at most is in flight, so what is completed needs no counter of its own.
        in_flight = sum(worker.job is not None for worker in workers)
        cancelled = self._cancelled.value()
        queued = sum(1 for ticket in _seam.contents(self._jobs) if ticket)
        # Each schedule ends as a start or a cancel or is queued: counting it where it happens would cost the hot
        # path. What a worker has just taken is in neither for a moment, and a counter must not go back.
        self._told = max(self._told, started + cancelled + queued)
        threads = [self._threads_started, self._threads_left, self._start_failures]
        return [self._told, started, max(0, started - in_flight), cancelled, errors, *threads]

    # --- told by workers

    def _gone(self, worker: Worker) -> None:
        """The last word of a worker's thread."""
        self._starter.requests.put(worker)
        self._starter.ensure_alive()  # it is, but in the child of a fork from inside a job

    def _note_refusal(self, refused: str) -> None:
        if self._refused is None:
            self._refused = f"{self!r}: {refused}"
            _hooks.tell(self._refused)

    def _note_unbound(self, seen: list[object], error: OSError) -> None:
        """The CPU was gone, some time after `_bound` was `seen`."""
        try:
            self._bound.remove(seen[0])
        except (IndexError, ValueError):
            return  # told already, by another worker; it may even be back by now
        self._unbound.append(object())
        if (probe := probes.bind__lost) is not None:
            probe(self, self.cpu)
        _hooks.tell(f"{self!r}: the CPU can't be used any more ({error.strerror}); its jobs run on those that remain")

    def _note_bound(self, seen: list[object]) -> None:
        """The CPU was there, some time after `_unbound` was `seen`."""
        try:
            self._unbound.remove(seen[0])
        except (IndexError, ValueError):
            return
        self._bound.append(object())
        if (probe := probes.bind__restored) is not None:
            probe(self, self.cpu)
