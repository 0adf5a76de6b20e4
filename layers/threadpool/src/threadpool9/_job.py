"""The job: a reusable unit of work that its owner embeds, and the states it goes through.

States, told by its ticket (TP-21, TP-25; see `_atomic`):

    idle        blank
    queued      full, and in the queue of a pool
    running     spent, until done() gives the job a blank one
    dead        claimed for ever, and _fn is poisoned

Worker and cancellers all take the job out of its ticket, exactly one gets it. A ticket serves for one schedule, so a
worker that holds an old one can never run the job for a later schedule.

Between claiming and filling in a ticket shows neither. Code that looks in that window (another thread, without a GIL)
may say "not scheduled": the schedule has not returned, so it may be taken to come after.

Rules. A: atomic, any context. B: written by who has claimed the job, or taken it out. S: set at init.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

from . import _atomic, _hooks, _seam
from ._aio import JobAio
from ._errors import Error, UsageError
from ._interlock import RLOCK, owner_check
from ._seam import get_ident
from ._texts import safe_repr
from ._waiting import Blocking, Sleepers, Steps, Wait, run

if TYPE_CHECKING:
    from ._pool import Pool


T = TypeVar("T")


class Meetings:
    """Where threads that use one job concurrently meet: one table for all jobs, as it hardly ever happens. A."""

    def __init__(self) -> None:
        #: A post to a running job leaves a note, the pool it was made on in a list; whoever takes the note out performs
        #: the post. Several posts on one pool have one note.
        self.posts: dict[Job, list[Pool]] = {}
        #: A post whose note was taken out, and that has no ticket yet.
        self.performing: dict[object, Job] = {}
        #: What cancellers have just withdrawn and not given back yet, by the identity of the list.
        self.cancels: dict[int, list[Job]] = {}
        #: Who waits for the end of a run.
        self.sleepers = Sleepers()


meetings = Meetings()


def check_unit_class(cls: Any) -> None:
    """Refuse a subclass that redefines equality or hash: units are found by identity, in interrupt context."""
    for name in ("__eq__", "__hash__"):
        if getattr(cls, name) is not getattr(object, name):
            raise TypeError(
                f"{cls.__qualname__} defines {name}, but its instances are queued by identity; "
                "leave it out (attrs: eq=False, dataclasses: eq=False), or keep the data in an object of its own"
            )
    # A decorator comes later. dataclass leaves alone what it finds in the class, or says that it can't.
    cls.__eq__, cls.__hash__ = object.__eq__, object.__hash__


def refuse_copy(self: Any, protocol: Any) -> NoReturn:
    """For ``__reduce_ex__``: two objects would share what one owner must have alone. Raises TypeError."""
    raise TypeError(f"{safe_repr(self)} can't be copied or pickled: make another one")


def check_function(what: str, fn: object, called_with: str, generators: bool = False) -> None:
    """TypeError unless `fn` can be called, and really runs when it is called; it may make a generator if you say so."""
    if not callable(fn):
        raise TypeError(f"{what} must be callable{called_with}, not {fn!r}")
    while isinstance(fn, functools.partial):
        fn = fn.func
    plain = getattr(fn, "__func__", fn)  # a method's
    if not hasattr(plain, "__code__"):
        plain = type(fn).__call__
    code = getattr(plain, "__code__", None)
    flags = 0 if code is None else code.co_flags
    if flags & COROUTINE:
        raise TypeError(
            f"{what} is an async function, {fn!r}: calling it would only make a coroutine that nobody awaits; "
            "give a plain function, which may call asyncio.run or loop.call_soon_threadsafe"
        )
    if flags & GENERATOR and not generators:
        raise TypeError(
            f"{what} is a generator function, {fn!r}: calling it would only make a generator that nobody iterates; "
            "give a plain function that does"
        )


COROUTINE = 0x80 | 0x200  # inspect.CO_COROUTINE, CO_ASYNC_GENERATOR; the module takes long to import
GENERATOR = 0x20  # inspect.CO_GENERATOR
_NOT_PLAIN = COROUTINE | GENERATOR


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

    #: True for jobs that upper layers run many short things in: a lane's executor. Tracers and the watchdog look at
    #: what runs inside of them.
    plumbing = False

    __slots__ = (
        "__dict__", "__weakref__", "_era", "_fn", "_interlock", "_name", "_pool", "_runner", "_ticket",
    )  # fmt: skip

    __reduce_ex__ = refuse_copy

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        check_unit_class(cls)

    def __init__(self, fn: Callable[[Any], object], interlock: Any = None, name: str | None = None) -> None:
        if hasattr(self, "_fn") and self._fn is not _dead:
            raise UsageError(f"{self!r} is initialised already; destroy() it before giving it another function")
        if type(fn) is not _FUNCTION or fn.__code__.co_flags & _NOT_PLAIN:
            check_function("fn", fn, " with the job")
        if interlock is None:
            interlock = _seam.RLock()
        else:
            owner_check(interlock)
        if name is not None and not isinstance(name, str):
            raise TypeError(f"the name of a job is a str, not {name!r}")
        self._interlock = interlock  # S
        self._era = _era  # written by who finds it out of date after a fork
        self._pool: Pool | None = None  # B: where scheduled last
        self._runner = 0  # B: thread ident of the worker that runs us, 0 if none
        self._name = name  # S
        self._fn: Callable[[Any], object] = fn  # S; poisoned by destroy
        self._ticket: list[Any] = [None, None]  # A: blank while idle; see `_atomic`

    @property
    def fn(self) -> Callable[[Any], object]:
        """The function; it can't be changed without `destroy` and a new ``__init__`` (TP-27)."""
        return self._fn

    @fn.setter
    def fn(self, value: object) -> None:
        raise UsageError(f"the function of {self!r} is fixed; destroy() it and initialise it again with another")

    @property
    def name(self) -> str:
        """For people: the name that it was given, else the function's."""
        if self._name is not None:
            return self._name
        try:
            name = getattr(self._fn, "__name__", None)
        except Exception:
            name = None
        return name if isinstance(name, str) else type(self).__name__

    @name.setter
    def name(self, value: str) -> None:
        if not isinstance(value, str):
            raise TypeError(f"the name of a job is a str, not {value!r}")
        self._name = value

    @property
    def interlock(self) -> Any:
        """The lock that must be held to schedule, cancel and finish this job. In a fork child take it from here."""
        if self._era is not _era:
            self._renew_interlock()
        return self._interlock

    def __repr__(self) -> str:
        name = self.name if hasattr(self, "_fn") else "?"
        return f"<{type(self).__name__} {name!r} at {id(self):#x}>"

    # --- what a job's own function does

    def done(self) -> None:
        """Say that this run is over (TP-23). Called once per run by the job's own function, interlock held.

        Afterwards the job may be scheduled, destroyed or dropped, though the function has not returned.
        Never blocks. Raises UsageError if called by anybody else, twice, or without the interlock.
        """
        if self._runner != get_ident():
            state = "runs on another thread" if self._runner else "is not running (done() was called already?)"
            raise UsageError(f"done() is for the job's own function, once per run, but {self!r} {state}")
        lock = self._interlock
        if lock.__class__ is not RLOCK or not lock._is_owned():
            self._check_held("done()")
        self._finish()

    def _finish(self) -> None:
        """End the run: the worker's thread, which has taken us out of our ticket."""
        try:
            self._runner = 0; self._ticket = [None, None]  # fmt: skip  # see _atomic
        except MemoryError:
            self._ticket = _atomic.insist(_atomic.blank_ticket)
        # Publish, then look: a post that found us running is either seen here, or sees that we are idle.
        if meetings.posts:
            self._perform_post()
        if meetings.sleepers:
            _atomic.insist(meetings.sleepers.wake, self)

    def _perform_post(self) -> bool:
        """We are idle again: make the post of which there is a note; True if that has scheduled us. Any context."""
        mark = object()
        meetings.performing[mark] = self  # before: a drain that finds no note finds this, or the ticket
        try:
            note = meetings.posts.pop(self, None)
            return note is not None and note[0].post(self)
        except Error as refused:  # not the fault of who calls done()
            _hooks.report_error(refused, origin=self)
            return False
        finally:
            del meetings.performing[mark]

    def _forget_threads(self) -> None:
        """In a fork child: whoever scheduled, ran or waited for this job is not there; it is idle (TP-31)."""
        self._runner = 0
        if self._fn is not _dead:
            self._ticket = [None, None]

    def _renew_interlock(self) -> None:
        """The first look at the interlock after a fork: its holder may be a thread that is not there (TP-31)."""
        self._era = _era
        lock, survivor = self._interlock, _survivor
        reinit, owned = getattr(lock, "_at_fork_reinit", None), getattr(lock, "_is_owned", None)
        # Only one thread came along, and what that holds it goes on holding. An RLock names its owner to people only.
        mine = owned is not None and owned() if survivor == get_ident() else f" owner={survivor} " in repr(lock)
        if reinit is not None and not mine:
            reinit()

    # --- for the owner

    def wait(self, timeout: float | None = None) -> None:
        """Wait until the run that is queued or under way now, if any, is over. Thread context; withdraws nothing.

        Runs that are scheduled later are not awaited. The interlock need not be held; holding it keeps the job from
        calling done(). Raises WaitTimeout after `timeout` seconds; UsageError from the job's own function.
        """
        run(self.wait_steps(Blocking(timeout)))

    def wait_steps(self, wait: Wait) -> Steps[None]:
        """`wait`, for layers: by a thread or by a task of an event loop."""
        if self._runner == get_ident():
            raise UsageError(f"{self!r} cannot wait for itself: call done() and return")
        ticket = self._ticket
        if len(ticket) < 2:
            yield from self._wait_for(ticket, wait)

    def _wait_for(self, ticket: list[Any], wait: Wait) -> Steps[None]:
        """Wait until the run of `ticket`, which was not blank when it was read, is over, or it was withdrawn."""
        yield from meetings.sleepers.wait_until_not(
            self,
            lambda: self._ticket is ticket and self._fn is not _dead,
            wait,
            f"{safe_repr(self)} is still {self._state()}",
        )

    @property
    def aio(self) -> JobAio:
        """`wait` for event loops: ``await job.aio.wait()`` (AW-1)."""
        return JobAio(self)

    def destroy(self) -> None:
        """Retire the job: it must be idle; scheduling it afterwards is an error (TP-27). Never blocks.

        The interlock need not be held. ``__init__`` may be called again to reuse the object.
        """
        if self._fn is _dead:
            raise UsageError(f"{self!r} is destroyed already")
        try:
            name = self.name  # messages go on naming it
            del self._ticket[1]; self._fn = _dead; self._name = name  # fmt: skip  # see _atomic
        except IndexError:
            raise UsageError(f"{self!r} is {self._state()}; cancel() it before destroy()") from None
        meetings.posts.pop(self, None)  # of a post that took it for running
        if meetings.sleepers:
            meetings.sleepers.wake(self)  # whoever has seen it claimed, and takes that for a schedule

    def _state(self) -> str:
        if self._fn is _dead:
            return "destroyed"
        return ("running", "scheduled", "idle")[len(self._ticket)]

    def _check_held(self, what: str) -> None:
        """UsageError unless the interlock is held, if it can be asked. Hot paths ask the usual kind themselves."""
        owned = owner_check(self._interlock)
        if owned is not None and not owned():
            raise UsageError(f"{what} needs the interlock of {self!r}: call it inside 'with job.interlock:'")

    def _refuse_dead(self) -> None:
        if self._fn is _dead:
            raise UsageError(f"{self!r} is destroyed; make a new job, or initialise it again")


class Plumbing(Job):
    """A job of a layer above, in which many short units run (TP-37).

    It has no interlock: ``pool.post(job)`` starts it, its function ends with ``job.done()``. Tracers, the watchdog and
    the exit look at what runs inside of it, and leave it alone.
    """

    plumbing = True
    __slots__ = ()

    def __init__(self, fn: Callable[[Any], object], name: str | None = None) -> None:
        super().__init__(fn, _NO_LOCK, name)

    def _check_held(self, what: str) -> None:
        """There is none."""

    @property
    def promise(self) -> list[Any] | None:
        """After a post: full until a worker takes the job; see `_atomic`. Any context."""
        ticket = self._ticket
        return ticket if len(ticket) < 2 else None


_NO_LOCK = contextlib.nullcontext()  # the interlock of plumbing: the protocol of what runs inside needs none
_FUNCTION = type(_dead)


_era: object = object()  # what tells a process from its parent: replaced in a fork child
_survivor = 0  # ident of the thread that forked


def begin_era(survivor: int) -> None:
    """In a fork child: interlocks may be held by threads that are not there."""
    global _era, _survivor
    meetings.__init__()  # type: ignore[misc]  # nobody is meeting any more
    _era, _survivor = object(), survivor
