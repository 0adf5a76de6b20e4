"""The pool: waiting jobs, idle workers, and what one does with a job there.

    MACHINE
     +-- unbound, one pool per priority             +-- per CPU, one set per priority, one pool for each CPU
         _jobs    [t] [t] [ ] [t]   tickets, oldest left; an empty one was withdrawn
         _idle    w3 w1             parked workers, the last one in is the first one out
         _workers w1 w2 w3          all of them                      the starter, one for the process:
         _request ----------------------------------------------->   makes workers, sees them off

    schedule   publish the ticket on `_jobs`; then claim an idle worker and wake it, else ask the starter for one
    cancel     take the job out of its ticket; failing that, wait for done()
    drain      wait for the tickets that are there now
    put        (in `_registry`) wait until jobs and workers are gone

No operation here takes a lock; that is what makes them safe in interrupt context. The order "publish the job,
then look for an idle worker" is one half of the protocol whose other half is in `_worker`. How a schedule that is cut
short by an exception leaves the job as it was is said in `_atomic`.

Rules. A: atomic operations, any context. S: set at init. R: registry lock. T: written by the starter.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

from . import _atomic, _seam
from ._aio import PoolAio
from ._drain import drain_steps
from ._errors import Error, UsageError
from ._interlock import RLOCK, interlock_released
from ._job import Job, meetings, refuse_copy
from ._priority import Scheduling
from ._probes import probes
from ._stats import PoolStats
from ._waiting import Blocking, Steps, Wait, Waiters, run

if TYPE_CHECKING:
    from collections.abc import Callable

    from ._registry import Registry
    from ._starter import Starter
    from ._worker import Worker


_SHORT = 64  # a withdrawn ticket is taken out of a queue that is not longer; elsewhere a worker throws it away


class Pool(PoolStats):
    """A pool of threads of one priority, unbound or bound to one CPU; got by `threadpool9.get` and `PerCPU.ref`.

    There is one per priority (and CPU) in the process, shared by all who ask; ``with`` puts the reference at
    the end. `schedule`, `post` and `cancel_async` may be called in any context.
    """

    __reduce_ex__ = refuse_copy

    def __init__(self, pri: int, cpu: int | None, wanted: Scheduling, registry: Registry, name: str) -> None:
        super().__init__()
        self.pri = pri  # S
        self.cpu = cpu  # S
        self.wanted = wanted  # S: what the priority map asks of the OS
        self.thread_name = name + ("" if cpu is None else f"/{cpu}") + ("" if pri < 0 else f"@{pri}")  # S
        self.numbers = itertools.count(1)  # T
        self.references = 0  # R; of a member of a per-CPU set always 0, see `PerCPU.references`
        self._registry = registry  # S
        self._starter: Starter = registry.starter  # S
        self._jobs: _seam.deque[list[Any]] = _seam.deque()  # A: tickets, oldest left
        self._idle: _seam.deque[Worker] = _seam.deque()  # A: parked workers, last in at the right
        self._workers: dict[Worker, None] = {}  # A: every worker until it is joined (idents are reused before)
        self._request: list[Pool] = []  # A: a promise, see `_atomic`: full from a request to the starter until it looks
        self._closing = False  # A: set when the last reference is put, or soon after; idle workers leave
        #: A: None while everybody may schedule; else called after a schedule, returns why not, or None.
        self._gate: Callable[[Pool, Job], Error | None] | None = registry.gate
        self._workers_gone = Waiters()  # A

    def __repr__(self) -> str:
        where = "unbound" if self.cpu is None else f"cpu {self.cpu}"
        return f"<Pool pri {self.pri} {where}{' closing' if self._closing else ''}>"

    # --- scheduling

    def schedule(self, job: Job) -> bool:
        """Have `job` run as soon as possible; True if newly scheduled, False if it was queued or running (TP-21).

        Any context; never blocks. The job's interlock must be held (TP-20).

        Raises:
            UsageError: the interlock is not held, the job is destroyed, or the pool's last reference was put.
            StartError: no thread could be started and none of ours is left to retry; nothing was scheduled (TP-12).
            FinalizingError: the interpreter is exiting (TP-32).
        """
        try:
            lock = job._interlock
            if lock.__class__ is not RLOCK or not lock._is_owned():
                job._check_held("schedule()")
        except (AttributeError, TypeError):
            _check_job(job)
            raise
        return self._enqueue(job)

    def post(self, job: Job) -> bool:
        """Schedule `job` without its interlock, as soon as possible (TP-28). Any context; never blocks.

        A post to a running job takes effect at its done(): one more run. True if newly scheduled now. Raises as
        `schedule`, the interlock apart. (If the job runs on another pool, keep a reference to this one until then:
        if the last is put before, the post is refused at done(), and that is reported.)
        """
        try:
            if self._enqueue(job):
                return True
        except (AttributeError, TypeError):
            _check_job(job)
            raise
        if len(job._ticket) == 1:
            return False  # queued: that run begins after now
        # Running, so far as we can see. 1. leave a note; 2. look whether the job is idle. `Job._finish` does
        # 1. make it idle; 2. look for a note. Whoever takes the note out again performs the post.
        posts = meetings.posts
        try:
            if posts.setdefault(job, [self])[0] is not self:
                posts[job] = [self]  # its next run is here
            if len(job._ticket) == 2:
                return job._perform_post()
            job._refuse_dead()
        except UsageError:  # destroyed since then: nobody performs the post
            posts.pop(job, None)
            raise
        except BaseException:
            if job in posts and len(job._ticket) == 2:  # nobody else sees to the note
                job._perform_post()
            raise
        return False

    def _enqueue(self, job: Job) -> bool:
        ticket = job._ticket
        if len(ticket) < 2:
            return self._not_idle(job)
        claimed = False
        try:
            del ticket[1]; claimed = True; job._pool = self; ticket[0] = job  # fmt: skip  # ours to undo
            if probes.schedule__job is not None:
                probes.schedule__job(self, job)
            self._jobs.append(ticket)
            if not (self._idle and self._wake_one(job)) and not self._request:
                self._ask(job)
            if self._gate is not None or self._starter.absent:
                self._let_in(job)
        except BaseException as error:
            if not claimed:
                if isinstance(error, IndexError):  # somebody else did between our two looks
                    return self._not_idle(job)
                raise
            stays = undone = False
            try:  # there may be no frame, not even for this call
                stays = self._goes_on(job, ticket, error)
            except BaseException:
                pass
            if stays:
                raise
            blank = [None, None]
            try:
                del ticket[0]; undone = True; job._ticket = blank  # fmt: skip
            except IndexError:
                pass  # a worker has it: it has happened
            if undone:
                if (probe := probes.cancel__job) is not None:
                    probe(self, job)
                self._withdrawn(job)
            elif isinstance(error, Error):
                return True  # a worker of somebody else's has it
            raise
        return True

    def _goes_on(self, job: Job, ticket: list[Any], error: BaseException) -> bool:
        """`error` was raised in a schedule after the ticket was filled in: True if it was completed all the same.

        Others may have coalesced with it since (TP-21). So what has nothing to do with the schedule (KeyboardInterrupt)
        does not undo it.
        """
        if None in ticket or isinstance(error, (Error, MemoryError, RecursionError)):
            return False
        if ticket and not any(other is ticket for other in _atomic.contents(self._jobs)):
            self._jobs.append(ticket)  # twice would do no harm
        if not self._wake_one(job):
            self._ask(job)
        self._let_in(job)
        return True

    def _not_idle(self, job: Job) -> bool:
        """The slow half of a schedule that found the job queued, running or destroyed."""
        job._refuse_dead()
        if (probe := probes.schedule__job__running) is not None:
            probe(self, job)
        return False

    def _wake_one(self, job: Job) -> bool:
        """Claim an idle worker and wake it; False if there is none any more. Any context."""
        try:
            for worker in iter(self._idle.pop, None): worker.wake(); break  # fmt: skip  # see _atomic
        except IndexError:
            return False
        if (probe := probes.schedule__job__thread) is not None:
            probe(self, job, worker)
        return True

    def _ask(self, job: Job) -> None:
        """Ask the starter for a worker. Any context. Once too often does no harm."""
        request = [self]
        self._starter.requests.put(request)
        self._request = request
        if (probe := probes.schedule__job__dispatcher) is not None:
            probe(self, job)

    def _let_in(self, job: Job) -> None:
        """The rare half of a schedule: raise why nobody may, or can, run the job, if so."""
        gate = self._gate
        refused = None if gate is None else gate(self, job)
        if refused is None and self._starter.absent and not self._starter.ensure_alive():
            refused = self._starter.why_not()
        if refused is not None:
            raise refused

    # --- cancelling

    def cancel_async(self, job: Job) -> bool:
        """Withdraw `job` if its function has not been entered: True exactly then, or if it was idle (TP-25).

        Any context; never waits. The interlock must be held. Also withdraws a `post` that waits for done().
        Raises UsageError if the job is scheduled on another pool (TP-27).
        """
        return self._still_running(job, "cancel_async()") is None

    def _still_running(self, job: Job, what: str) -> list[Any] | None:
        """`cancel_async`, called by `what`: None if it is not running; else the ticket of its run."""
        _check_job(job)
        job._check_held(what)
        ticket = job._ticket
        if len(ticket) == 2:
            meetings.posts.pop(job, None)  # of a run that is over, but has not looked for one yet
            return None
        job._refuse_dead()
        if None in ticket:  # another thread is scheduling it at this moment: see the head of _job
            return None
        if job._pool is not self:
            raise UsageError(f"{job!r} was scheduled on {job._pool!r}, not on {self!r}; cancel it there")
        meetings.posts.pop(job, None)
        return None if self._withdraw(job, ticket) else ticket

    def _withdraw(self, job: Job, ticket: list[Any]) -> bool:
        """Take `job` out of its ticket and make it idle; True if nobody runs it for that ticket. Any context."""
        hand: list[Job] = []
        cancels, withdrawn = meetings.cancels, False
        try:
            cancels[id(hand)] = hand
            _atomic.collect(ticket.pop, hand)
            if probes.cancel__job is not None:  # before the next schedule can be
                probes.cancel__job(self, job)
            job._ticket = [None, None]; del hand[:]; withdrawn = True  # fmt: skip
            cancels.pop(id(hand), None)
            if len(self._jobs) <= _SHORT:
                _atomic.discard(self._jobs, ticket)
            self._withdrawn(job)
        except BaseException as error:
            if hand:
                job._ticket = [None, None]; del hand[:]; withdrawn = True  # fmt: skip
            cancels.pop(id(hand), None)
            if withdrawn:
                self._inform(job)
            if withdrawn or not isinstance(error, IndexError):
                raise
            # Somebody else got it first: another canceller, or a worker, unless that is over by now.
            others = [other for hands in list(cancels.values()) for other in tuple(hands)]
            return any(other is job for other in others) or job._ticket is not ticket
        return True

    def _withdrawn(self, job: Job) -> None:
        """`job` is idle again without a run: count that, and see to those who wait for it. Any context."""
        self._cancelled.bump()
        self._inform(job)

    def _inform(self, job: Job) -> None:
        """See to those who wait for `job`, which was withdrawn. Any context. May be repeated."""
        if meetings.posts:
            job._perform_post()
        if self._closing:
            self._workers_gone.wake_all()  # it may have been the job that the last put waits for
        if meetings.sleepers:
            meetings.sleepers.wake(job)

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
        return run(self.cancel_steps(job, Blocking(timeout)))

    def cancel_steps(self, job: Job, wait: Wait) -> Steps[bool]:
        """`cancel`, for layers: by a thread or by a task of an event loop."""
        _check_job(job)
        if job._runner == _seam.get_ident():
            raise UsageError(f"{job!r} cannot wait for itself: call done() and return, or use cancel_async()")
        ticket = self._still_running(job, "cancel()")
        if ticket is None:
            return True
        yield from interlock_released(job._interlock, lambda: job._wait_for(ticket, wait))
        return False

    # --- waiting

    def drain(self, timeout: float | None = None) -> None:
        """Wait until every job that was scheduled here before this call has run. Thread context; may block.

        What is scheduled later is not awaited; nothing is refused meanwhile, and other holders of the pool go on.
        Raises WaitTimeout after `timeout` seconds; UsageError from one of the pool's own jobs.
        """
        run(self.drain_steps(Blocking(timeout)))

    def drain_steps(self, wait: Wait) -> Steps[None]:
        """`drain`, for layers: by a thread or by a task of an event loop."""
        yield from drain_steps(self, wait)

    # --- references

    def put(self, timeout: float | None = None) -> None:
        """Give the reference back; the last one waits until all jobs have run and all workers have left (TP-9).

        Thread context; may block, at most `timeout` seconds: then WaitTimeout, and the pool ends with its last job.
        While others hold references to the pool nothing is awaited: use `drain`, or `Job.wait`, for that.
        UsageError for one put too many, a member of a per-CPU set, or the last put from one of the pool's own jobs.
        """
        run(self.put_steps(Blocking(timeout)))

    def put_steps(self, wait: Wait) -> Steps[None]:
        """`put`, for layers: by a thread or by a task of an event loop."""
        yield from self._registry.put(self, wait, [])

    @property
    def aio(self) -> PoolAio:
        """`cancel`, `drain` and `put` for event loops: ``await pool.aio.drain()`` (AW-1)."""
        return PoolAio(self)

    def release(self) -> None:
        """Give the reference back without waiting: what is scheduled still runs, then the workers leave.

        Any context; for finalizers, which may not wait. Everybody else uses `put`.
        """
        self._registry.release(self, [])

    def __enter__(self) -> Pool:
        if self._closing and not self.references:
            raise UsageError(f"the last reference to {self!r} was put; get() it again")
        return self

    def __exit__(self, *exc: object) -> None:
        self.put()

    def _dismiss_idle(self) -> list[Worker]:
        """Claim every worker that is idle now and have it leave; those that were claimed. Any context."""
        sent: list[Worker] = []
        try:
            while True:
                for worker in iter(self._idle.pop, None): worker.leaving = True; worker.wake(); break  # fmt: skip
                sent.append(worker)
        except IndexError:
            return sent

    def busy(self) -> bool:
        """True while there is a job or a worker. Any context."""
        return any(_atomic.contents(self._jobs)) or bool(self._workers)


def _check_job(job: object) -> None:
    """TypeError unless `job` is one."""
    if not isinstance(job, Job):
        hint = ": make one, Job(fn)" if isinstance(job, type) or callable(job) else ""
        raise TypeError(f"a pool takes jobs (threadpool9.Job), not {job!r}{hint}")
    if not hasattr(job, "_ticket"):
        raise TypeError(f"{type(job).__name__}.__init__ did not call super().__init__(): it is no job yet")
