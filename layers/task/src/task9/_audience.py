"""What stands around a future: who is to be informed of it, and what it holds if its function raised.

The condition of a standard future, its waiters and its callbacks come into being when somebody asks for them: all of it
is the *audience*. Publish, then look, on both sides: who settles writes the state, *then* looks whether there is an
audience; whoever wants to be informed makes the audience and enters himself, *then* looks at the state. So a result
that is there before somebody asks costs no lock. The first task that awaits the future has a place of its own, since
mostly nobody else comes.

Functions of the standard library that wait for several futures (`wait`, `as_completed`) hold the conditions of all of
them, look at ``_state``, and enter a waiter where it is not final. What they see must not change while they hold the
condition: so once there is one, ``_state`` is final only after the waiters were informed under it. That is done by who
settles, or by whoever asks for the condition, if that comes after the state was written: the first one does it.

Rules. A: atomic, any context. B: written by who settles.
"""

from __future__ import annotations

import concurrent.futures
import sys
from collections.abc import Callable
from typing import Any, NoReturn, TypeVar

from threadpool9.lowlevel import Waiters, contents, deque, note_origin, report_error

from ._watch import tunables

T = TypeVar("T")

# The words of the standard library, which its functions compare.
PENDING, RUNNING, CANCELLED, NOTIFIED, FINISHED = (
    "PENDING",
    "RUNNING",
    "CANCELLED",
    "CANCELLED_AND_NOTIFIED",
    "FINISHED",
)


class Audience(dict[str, Any]):
    """Who is to be informed when one future is settled; each part is made when it is first asked for. A."""

    __slots__ = ()

    @property
    def sleepers(self) -> Waiters:
        """Those who wait in `result`, `exception` and ``await``."""
        sleepers: Waiters = self.get("sleepers") or self.setdefault("sleepers", Waiters())
        return sleepers

    @property
    def calls(self) -> Any:
        """Callbacks, each in a list: who takes it out calls it."""
        return self.get("calls") or self.setdefault("calls", deque())

    @property
    def crowd(self) -> Any:
        """A standard future, of which we use the condition, the list of waiters, and the state that they have seen."""
        return self.get("crowd") or self.setdefault("crowd", concurrent.futures.Future())


class Failure:
    """An exception that a future holds; reported if nobody has asked for it by the time the future goes."""

    __slots__ = ("asked", "error", "origin")

    def __init__(self, error: BaseException) -> None:
        self.error = error
        self.origin = ""
        self.asked = True  # until it is known where it comes from

    def __del__(self, finalizing: Callable[[], bool] = sys.is_finalizing) -> None:
        if not getattr(self, "asked", True) and tunables.report_unretrieved and not finalizing():
            note_origin(self.error, f"{self.origin}; nobody asked for the result")
            report_error(self.error, origin=self.origin)


class StandardFuture(concurrent.futures.Future[T]):
    """The half of a future that others look at; `Future` is the other one."""

    _settled: str  # B
    _value: Any  # B: before the state
    _failure: Failure | None  # B: before the state
    #: In the instance's dictionary once there is one, as the next.
    _audience: Audience | None = None
    #: The bell of the first task that awaits, and mostly that is all there is. Bells may be rung more than once.
    _first: Any = None

    def done(self) -> bool:
        """True if it was cancelled or is finished. Any context."""
        return self._settled is not PENDING

    def cancelled(self) -> bool:
        """True if it was cancelled. Any context."""
        return self._settled is NOTIFIED

    def add_done_callback(self, fn: Callable[[concurrent.futures.Future[T]], object]) -> None:
        """Call ``fn(future)`` when it is settled: by who settles it, or here and now if it is. Any context.

        In the order added. An exception is reported.
        """
        call = [fn]
        self._attended().calls.append(call)
        if self._settled is not PENDING:
            self._call_back(call)

    def _attended(self) -> Audience:
        audience = self._audience
        if audience is None:
            audience = self.__dict__.setdefault("_audience", Audience())
        return audience

    # --- informing

    def announce(self) -> None:
        """It is settled: inform everybody who is there to hear it. May be repeated."""
        if (first := self._first) is not None:
            first.release()
        # No part of the audience is kept in a variable: whoever is woken lets go of it, and without a GIL to give back
        # what another thread holds costs as much as a whole await.
        audience = self._audience
        if audience is None:
            return
        if "sleepers" in audience:
            audience.sleepers.wake_all()
        if "crowd" in audience:
            self._inform(audience.crowd)
        if "calls" in audience:
            interrupts: list[BaseException] = []
            for call in contents(audience.calls):
                try:
                    self._call_back(call)
                except BaseException as error:  # for the thread; the others are called all the same
                    interrupts.append(error)
            for further in interrupts[1:]:
                report_error(further, origin=self)
            for first in interrupts:
                raise first
            audience.calls.clear()  # who has entered a call since then makes it

    def _call_back(self, call: list[Any]) -> None:
        taken = False
        try:
            for fn in tuple(call):
                del call[0]; taken = True; fn(self)  # fmt: skip  # IndexError: whoever was faster calls it
        except Exception as error:
            if taken:
                report_error(error, origin=self)

    def _inform(self, crowd: Any) -> None:
        """Inform the waiters of the standard library, once."""
        with crowd._condition:
            if crowd._state == PENDING:
                crowd._state = self._settled
                for waiter in tuple(crowd._waiters):
                    if self._settled is NOTIFIED:
                        waiter.add_cancelled(self)
                    elif self._failure is None:
                        waiter.add_result(self)
                    else:
                        waiter.add_exception(self)

    def _refuse(self, *args: object) -> NoReturn:
        """Only its queue settles it."""
        raise concurrent.futures.InvalidStateError(f"{self!r} is settled by its queue, by nobody else")

    set_result = set_exception = set_running_or_notify_cancel = _refuse  # type: ignore[assignment]

    # --- what the functions of the standard library look at

    @property
    def _condition(self) -> Any:  # type: ignore[override]
        crowd = self._attended().crowd
        if self._settled is not PENDING:
            self._inform(crowd)
        return crowd._condition

    @property
    def _waiters(self) -> Any:  # type: ignore[override]
        return self._attended().crowd._waiters

    @property
    def _state(self) -> str:  # type: ignore[override]
        settled = self._settled
        if settled is PENDING:
            return RUNNING if self.running() else PENDING
        audience = self._audience
        if audience is None or "crowd" not in audience or audience.crowd._state == settled:
            return settled
        return CANCELLED if settled is NOTIFIED else RUNNING

    @property
    def _result(self) -> Any:  # type: ignore[override]
        return self._value

    @property
    def _exception(self) -> BaseException | None:  # type: ignore[override]
        if self._failure is None:
            return None
        self._failure.asked = True
        return self._failure.error
