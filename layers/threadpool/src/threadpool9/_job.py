"""The job: a reusable unit of work that its owner embeds, and the states it goes through.

States, told by two fields (TP-21, TP-25):

    idle        _free holds its token
    queued      _free is empty, _ticket is a list that holds the job
    running     _free is empty, _ticket is an empty list, until done()
    dead        _free is empty for ever, _fn is poisoned

A *ticket* stands for one schedule: a list with the job in it, which is also the queue slot. ``ticket.pop()``
is the claim: worker and cancellers all do it, exactly one gets the job, and it is one atomic operation. A slot
whose ticket was withdrawn is an empty list, which a worker throws away; a later schedule has a new ticket, so a
worker that holds an old one can never run the job for the new schedule.

While a schedule is under way ``_free`` is empty and ``_ticket`` is None. Who looks in that window (a handler
that interrupted the scheduler, another thread beside a `post`) may say "not scheduled": the schedule has not
returned, so it may be taken to come after.

Rules. A: atomic, any context. B: written by who has the token of _free. I: interlock. S: set at init.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from . import _hooks, _seam
from ._errors import Error, UsageError
from ._seam import get_ident

if TYPE_CHECKING:
    from ._pool import Pool

__all__ = ["Job"]

T = TypeVar("T")


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
        "_cancels",
        "_done_waiters",
        "_fn",
        "_free",
        "_interlock",
        "_owned",
        "_pool",
        "_runner",
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
        if name is not None and not isinstance(name, str):
            raise TypeError(f"the name of a job is a str, not {name!r}")
        self._interlock = interlock  # S
        self._owned = _owner_check(interlock)  # S
        self._free = _seam.token()  # A: taken unless idle
        self._ticket: list[Job] | None = None  # B
        self._pool: Pool | None = None  # B: where scheduled last
        self._runner = 0  # B: thread ident of the worker that runs us, 0 if none
        self._cancels: dict[int, list[Job]] = {}  # A: what cancellers at work have in hand, by identity
        self._again: list[Pool] = []  # A: posts that came while running
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
        """End the run: the worker's thread, which has the token."""
        self._runner = 0
        self._ticket = None
        self._free.append(None)
        # Publish, then look: a post that found us running has either been seen here, or sees the token.
        self.look_for_posts()
        if self._done_waiters.locks:
            self._done_waiters.wake_all()

    def look_for_posts(self) -> None:
        """After the token was given back: do what was posted while we had it, taken for a run. Any context."""
        pool = None
        # As many as there are now: who comes later sees the token, or a run that will look when it ends.
        for _ in range(len(self._again)):
            try:
                pool = self._again.pop()
            except IndexError:
                break
        if pool is not None:
            try:
                pool.post(self)
            except Error as refused:  # not the fault of who calls done()
                _hooks.report_error(refused, origin=self)

    def forget_threads(self) -> None:
        """In a fork child: whoever scheduled, ran or waited for this job is not there; it is idle (TP-31)."""
        self._runner = 0
        self._ticket = None
        self._again = []
        self._cancels = {}
        self._done_waiters = _seam.Waiters()
        reinit = getattr(self._interlock, "_at_fork_reinit", None)
        if reinit is not None and not (self._owned is not None and self._owned()):
            reinit()  # its holder may be a thread that is not there
        if self._fn is not _dead and not self._free:
            self._free.append(None)

    # --- for the owner

    def destroy(self) -> None:
        """Give the job back: it must be idle; scheduling it afterwards is an error (TP-27). Never blocks.

        The interlock need not be held. ``__init__`` may be called again to reuse the object.
        """
        if self._fn is _dead:
            raise UsageError(f"{self!r} is destroyed already")
        try:
            # One line, so that nothing comes between: a job with neither its token nor a ticket is lost.
            del self._free[0]; self._fn = _dead  # fmt: skip  # noqa: E702
        except IndexError:
            raise UsageError(f"{self!r} is {self._state()}; cancel() it before destroy()") from None

    def _state(self) -> str:
        if self._fn is _dead:
            return "destroyed"
        if self._free:
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


def interlock_released(lock: Any, wait: Callable[[], T]) -> T:
    """Give `lock` up, however deep it is held, call ``wait()``, take it back; what `wait` returned.

    Whatever is raised, and wherever, the lock is held again when this is left. Thread context.
    """
    saved: list[Any] = []
    restored: list[Any] = []
    release, restore = getattr(lock, "_release_save", None), getattr(lock, "_acquire_restore", None)

    def take_back() -> None:
        if restore is not None:
            restored.extend(map(restore, saved))
        else:
            _seam.collect(lock.__enter__, restored)

    try:
        _seam.collect(release or functools.partial(lock.__exit__, None, None, None), saved)
        result = wait()
        take_back()
    except BaseException:
        while saved and not restored:
            try:
                take_back()
            except BaseException:
                continue  # one more Ctrl-C: the caller's with statement needs the lock all the same
        raise
    return result
