"""The job: a reusable unit of work that its owner embeds, and the states it goes through.

States, told by two fields (TP-21, TP-25):

    idle        _busy free
    queued      _busy held, _ticket is a list that holds the job
    running     _busy held, _ticket is an empty list, until done()
    dead        _busy held for ever, _fn is poisoned

A *ticket* stands for one schedule: a list with the job in it, which is also the queue slot. ``ticket.pop()``
is the claim: worker and cancellers all do it, exactly one gets the job, and it is one atomic operation. A slot
whose ticket was withdrawn is an empty list, which a worker throws away; a later schedule has a new ticket, so a
worker that holds an old one can never run the job for the new schedule.

While a schedule is under way ``_busy`` is held and ``_ticket`` is None. Who looks in that window (a handler
that interrupted the scheduler, another thread beside a `post`) may say "not scheduled": the schedule has not
returned, so it may be taken to come after.

Rules. A: atomic, any context. B: written by the holder of _busy. I: interlock. S: set at init.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from . import _hooks, _seam
from ._errors import Error, UsageError
from ._seam import get_ident

if TYPE_CHECKING:
    from ._pool import Pool

__all__ = ["Job"]


def forbid_equality(cls: type) -> None:
    """Refuse a subclass that redefines equality: queues find their entries by identity, in interrupt context."""
    if any("__eq__" in vars(base) for base in cls.__mro__[:-1]):
        raise TypeError(
            f"{cls.__qualname__} defines __eq__, but its instances are queued by identity; "
            "leave them out (attrs: eq=False, dataclasses: eq=False), or keep the data in an object of its own"
        )


def _dead(job: Job) -> None:
    raise UsageError(f"{job!r} ran after destruction")


class Job:
    """A job: ``fn(job)`` runs on a pool's thread each time it is scheduled (TP-20 to TP-30).

    Args:
        fn: called with the job itself, on a worker, without the interlock. It must call `done` once, holding
            the interlock, when it has found nothing more to do.
        interlock: the caller's lock that ties the job's state to the caller's data; any context-manager lock.
            Default: a new `threading.RLock`.
        name: for people: snapshots, error reports, and the thread's OS name if `tunables.job_names` is on.

    The caller owns the object and may subclass it (without ``__eq__``/``__hash__``) or keep a reference to its
    own state in it. Making one is allowed in any context. Follows ``threadpool_job_init`` of threadpool(9).
    """

    #: True for jobs that upper layers run many short things in: a lane's executor, the timer. Tracers and the
    #: watchdog look at what runs inside of them.
    plumbing = False

    __slots__ = (
        "__dict__",
        "__weakref__",
        "_again",
        "_busy",
        "_done_waiters",
        "_fn",
        "_interlock",
        "_owned",
        "_pool",
        "_runner",
        "_tas",
        "_ticket",
        "name",
    )

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        forbid_equality(cls)

    def __init__(self, fn: Callable[[Any], object], interlock: Any = None, name: str | None = None) -> None:
        if getattr(self, "_fn", _dead) is not _dead:
            raise UsageError(f"{self!r} is initialised already; destroy() it before giving it another function")
        if not callable(fn):
            raise TypeError(f"fn must be callable with the job, not {fn!r}")
        if interlock is None:
            interlock = _seam.RLock()
        elif not (hasattr(interlock, "__enter__") and hasattr(interlock, "__exit__")):
            raise TypeError(f"interlock must be a lock that works in a with statement, not {interlock!r}")
        self._interlock = interlock  # S
        self._owned = _owner_check(interlock)  # S
        self._busy = _seam.Lock()  # A: test-and-set "not idle"
        self._tas = self._busy.acquire  # S
        self._ticket: list[Job] | None = None  # B
        self._pool: Pool | None = None  # B: where scheduled last
        self._runner = 0  # B: thread ident of the worker that runs us, 0 if none
        self._again: Pool | None = None  # A: a post that came while running
        self._done_waiters = _seam.Waiters()  # A
        self.name = name if name is not None else getattr(fn, "__name__", type(self).__name__)
        self._fn: Callable[[Any], object] = fn  # S; poisoned by destroy

    @property
    def fn(self) -> Callable[[Any], object]:
        """The function; it can't be changed without `destroy` and a new ``__init__`` (TP-27)."""
        return self._fn

    @fn.setter
    def fn(self, value: object) -> None:
        raise UsageError(f"the function of {self!r} is fixed; destroy() it and initialise it again with another")

    @property
    def interlock(self) -> Any:
        """The lock that must be held to schedule, cancel and finish this job."""
        return self._interlock

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {getattr(self, 'name', '?')!r} at {id(self):#x}>"

    # --- what a job's own function does

    def done(self) -> None:
        """Say that this run is over (TP-23). Called once per run by the job's own function, interlock held.

        Afterwards the job may be scheduled, destroyed or dropped, though the function has not returned.
        Never blocks. Raises UsageError if called by anybody else, twice, or without the interlock.
        """
        if self._runner != get_ident():
            state = "runs on another thread" if self._runner else "is not running (done() was called already?)"
            raise UsageError(f"done() is for the job's own function, once per run, but {self!r} {state}")
        owned = self._owned
        if owned is not None and not owned():
            self.check_held("done()")
        self._finish()

    def _finish(self) -> None:
        """End the run: the worker's thread, which still owns _busy, or the fork child that has no other thread."""
        self._runner = 0
        self._ticket = None
        self._busy.release()
        # Publish, then look: a post that found us running has either been seen here, or sees _busy free.
        again = self._again
        if again is not None:
            self._again = None
            try:
                again.post(self)
            except Error as refused:  # not the fault of who calls done()
                _hooks.report_error(refused, origin=self)
        if self._done_waiters.locks:
            self._done_waiters.wake_all()

    # --- for the owner

    def destroy(self) -> None:
        """Give the job back: it must be idle; scheduling it afterwards is an error (TP-27). Never blocks.

        The interlock need not be held. ``__init__`` may be called again to reuse the object.
        """
        if self._fn is _dead:
            raise UsageError(f"{self!r} is destroyed already")
        if not self._tas(False):
            raise UsageError(f"{self!r} is {self._state()}; cancel() it before destroy()")
        self._fn = _dead

    def _state(self) -> str:
        if self._fn is _dead:
            return "destroyed"
        if not self._busy.locked():
            return "idle"
        return "scheduled" if self._ticket else "running"

    def check_held(self, what: str) -> None:
        """Raise UsageError unless the caller holds the interlock, as far as the lock lets us know (TP-20)."""
        if self._owned is not None and not self._owned():
            raise UsageError(f"{what} needs the interlock of {self!r}: call it inside 'with job.interlock:'")

    def _refuse_dead(self) -> None:
        if self._fn is _dead:
            raise UsageError(f"{self!r} is destroyed; make a new job, or initialise it again")


def _owner_check(interlock: Any) -> Callable[[], bool] | None:
    """How to ask `interlock` whether the caller holds it; None if that can't be asked.

    A plain Lock knows only that somebody holds it; that catches the common mistake.
    """
    owned = getattr(interlock, "_is_owned", None)  # RLock and Condition
    if owned is None and isinstance(interlock, _seam.LockType):
        owned = interlock.locked
    return owned


class interlock_released:
    """``with interlock_released(lock):`` gives the lock up, however deep it is held, and takes it back after.

    A `KeyboardInterrupt` that arrives in between leaves with the lock held again.
    """

    __slots__ = ("_lock", "_saved")

    def __init__(self, lock: Any) -> None:
        self._lock = lock
        self._saved: Any = None

    def __enter__(self) -> None:
        save = getattr(self._lock, "_release_save", None)
        if save is not None:
            self._saved = save()
        else:
            self._lock.__exit__(None, None, None)

    def __exit__(self, *exc: object) -> None:
        restore = getattr(self._lock, "_acquire_restore", None)
        if restore is not None:
            restore(self._saved)
        else:
            self._lock.__enter__()
