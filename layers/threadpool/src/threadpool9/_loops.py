"""Event loops: how something is handed over to one, and how a task of one waits (AW-1 to AW-4).

    Poster      what a loop is to us: ``post(fn)`` has `fn` called in its thread, soon
    Awaiting    a `Wait` for tasks of asyncio (uvloop) and trio, so of anyio, too

Three rules, each a bug that others had. A hand-over is always by the loop's thread-safe call, on its own thread too:
who wakes may be a signal handler there. What is posted settles once and raises nothing. That a loop is closed is seen
by the RuntimeError of the call, not by a question before it.

Whoever is awaited may be woken and cancelled at the same moment: the cancellation then comes out where the steps wait,
and they pass on what they were woken for.
"""

from __future__ import annotations

import sys
import types
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, runtime_checkable

from ._errors import UsageError
from ._waiting import LONG, Bell, Steps, Wait

if TYPE_CHECKING:
    import asyncio


T = TypeVar("T")


@runtime_checkable
class Poster(Protocol):
    """An event loop, as the layers see it. Write one for any loop that has a thread-safe "call this soon"."""

    def post(self, fn: Callable[[], object]) -> object:
        """Have ``fn()`` called in the loop's thread, soon; it never raises. Any context.

        Calls posted by one thread are made in order. Raises RuntimeError if the loop is closed.
        """
        ...


class AsyncioPoster:
    """An asyncio loop, uvloop included.

    Args:
        loop: an `asyncio.AbstractEventLoop`.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop  # S

    def __repr__(self) -> str:
        return f"<asyncio loop at {id(self.loop):#x}>"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, AsyncioPoster) and other.loop is self.loop

    def __hash__(self) -> int:
        return hash(self.loop)

    def post(self, fn: Callable[[], object]) -> None:
        """As `Poster.post`."""
        self.loop.call_soon_threadsafe(fn)


class TrioPoster:
    """A run of trio.

    Args:
        token: its `trio.lowlevel.TrioToken`.
    """

    def __init__(self, token: Any) -> None:
        self.token = token  # S

    def __repr__(self) -> str:
        return f"<trio run at {id(self.token):#x}>"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, TrioPoster) and other.token is self.token

    def __hash__(self) -> int:
        return hash(self.token)

    def post(self, fn: Callable[[], object]) -> None:
        """As `Poster.post`."""
        self.token.run_sync_soon(fn)  # its RunFinishedError is a RuntimeError


def _trio() -> Any:
    """trio, if the caller is one of its tasks."""
    trio: Any = sys.modules.get("trio")
    try:
        return trio if trio.lowlevel.in_trio_task() else None
    except AttributeError:
        return None  # it is not imported; or it is just being, by another thread


def poster_here() -> Poster:
    """The loop that the caller is a task of. UsageError if there is none."""
    trio = _trio()
    return AsyncioPoster(_asyncio_loop()) if trio is None else TrioPoster(trio.lowlevel.current_trio_token())


def _asyncio_loop() -> asyncio.AbstractEventLoop:
    """The loop of asyncio that runs here. UsageError if there is none."""
    asyncio = sys.modules.get("asyncio")  # without the module there is no loop of it
    loop: Any = asyncio._get_running_loop() if asyncio is not None else None
    if loop is None:
        raise _no_loop()
    return loop  # type: ignore[no-any-return]


def _no_loop() -> UsageError:
    return UsageError(
        "no event loop runs here: await this in a task of asyncio or trio, or use the call of the same name that "
        "blocks, without .aio"
    )


def bell_here() -> Any:
    """A bell (see `Wait.bell`) of the calling task, for an await whose every step counts: `Awaiting` is for all others.

    To sleep until it is released, at most once, the task yields the bell itself if it ``is_future``, and if not, what
    its ``sleep()`` yields. UsageError where no event loop runs.
    """
    modules: Any = sys.modules
    if "trio" in modules and (trio := _trio()) is not None:
        return _TrioBell(trio.lowlevel)
    if "asyncio" not in modules or (loop := modules["asyncio"]._get_running_loop()) is None:
        raise _no_loop()
    return _AsyncioBell(loop)


def poster_of(loop: object) -> Poster:
    """The poster of `loop`: an asyncio loop, a `trio.lowlevel.TrioToken`, or a poster itself. TypeError otherwise."""
    if (asyncio := sys.modules.get("asyncio")) is not None and isinstance(loop, asyncio.AbstractEventLoop):
        return AsyncioPoster(loop)
    token = getattr(getattr(sys.modules.get("trio"), "lowlevel", None), "TrioToken", None)
    if token is not None and isinstance(loop, token):
        return TrioPoster(loop)
    if isinstance(loop, Poster):
        return loop
    raise TypeError(f"an event loop is an asyncio loop, a trio token, or an object with post(fn), not {loop!r}")


class _AsyncioBell(Bell):
    """What a waiting task of asyncio is entered as, see `Wait.bell`; and the future that it awaits.

    asyncio takes any object with these methods for a future. So what wakes the task is posted by whoever rings, without
    a future of asyncio's in between, which would cost another turn of the loop.

    Rules. A: atomic, any context. L: the loop's thread.
    """

    __slots__ = ("_asyncio_future_blocking", "_calls", "_cancelled", "_loop", "_rung")

    is_future = True  # a task may yield it

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop  # S
        self._calls: list[Any] = []  # A: what wakes the task; whoever takes it out does it
        self._rung = False  # A
        self._cancelled: tuple[object, ...] | None = None  # L: what the CancelledError is made of
        self._asyncio_future_blocking = True  # L: asyncio's mark of a future that is yielded

    def release(self) -> bool:
        """Wake the task. Any context. False if its loop is closed: there is nobody to wake."""
        self._rung = True
        try:
            return self._wake(self._loop.call_soon_threadsafe)
        except RuntimeError as error:
            if isinstance(error, RecursionError):
                raise
            return False

    def _wake(self, call_soon: Callable[..., object]) -> bool:
        calls = self._calls
        try:
            for call in iter(calls.pop, None):
                try:
                    call_soon(call[0], self, context=call[1])
                except BaseException:
                    calls.append(call)  # whoever rings again finds it
                    raise
                break
        except IndexError:
            pass  # it does not wait yet, or was woken
        return True

    def listen(self, seconds: float) -> Steps[bool]:
        """Until it rings, at most so many seconds."""
        if self._rung:
            return True
        self._asyncio_future_blocking = True
        if seconds >= LONG:
            yield self
            return self._rung
        timer = self._loop.call_later(seconds, self._wake, self._loop.call_soon)
        try:
            yield self
        finally:
            timer.cancel()
        return self._rung

    # --- what asyncio calls

    def add_done_callback(self, fn: Callable[[Any], object], *, context: Any = None) -> None:
        """By the task: publish it, then look."""
        self._calls.append((fn, context))
        if self._rung:
            self._wake(self._loop.call_soon)

    def cancel(self, msg: object = None) -> bool:
        """By the task's cancel; False if it is woken already, and is to be cancelled then."""
        if not self._calls:
            return False
        self._cancelled = () if msg is None else (msg,)  # by the message, anyio knows the scope that has cancelled it
        return self._wake(self._loop.call_soon)

    def cancelled(self) -> bool:
        """As a future's."""
        return self._cancelled is not None

    def done(self) -> bool:
        """As a future's."""
        return self._rung or self._cancelled is not None

    def result(self) -> None:
        """By the task, when it is woken."""
        if self._cancelled is not None:
            raise sys.modules["asyncio"].CancelledError(*self._cancelled)

    def get_loop(self) -> asyncio.AbstractEventLoop:
        return self._loop


class _TrioBell(Bell):
    """What a waiting task of trio is entered as; see `Wait.bell`."""

    __slots__ = ("_lowlevel", "_rung", "_task", "_token")

    is_future = False

    def __init__(self, lowlevel: Any) -> None:
        self._lowlevel = lowlevel  # S: of trio
        self._token = lowlevel.current_trio_token()  # S
        self._rung = False  # L, as the next
        self._task: Any = None

    def release(self) -> bool:
        """Wake the task. Any context. False if its run is over: there is nobody to wake."""
        try:
            self._token.run_sync_soon(self._ring)
        except RuntimeError as error:  # trio's RunFinishedError
            if isinstance(error, RecursionError):
                raise
            return False
        return True

    def _ring(self) -> None:
        self._rung = True
        task, self._task = self._task, None
        if task is not None:
            self._lowlevel.reschedule(task)

    def listen(self, seconds: float) -> Steps[bool]:
        """Until it rings, at most so many seconds."""
        if seconds >= LONG:
            yield from self.sleep()
            return self._rung
        with sys.modules["trio"].move_on_after(seconds):
            yield from self.sleep()
        return self._rung

    def sleep(self) -> Steps[None]:
        """Until it rings."""
        if not self._rung:
            try:
                self._task = self._lowlevel.current_task()
                yield from self._lowlevel.wait_task_rescheduled(self._abort).__await__()
            finally:
                self._task = None  # a KeyboardInterrupt may have come before it slept: it must not be woken then

    def _abort(self, raise_cancel: object) -> object:
        self._task = None
        return self._lowlevel.Abort.SUCCEEDED


class Awaiting(Wait):
    """A task of an event loop waits. For the thread of that loop.

    Args:
        timeout: seconds, 0 or more; None for no limit.

    `Wait`'s errors, and UsageError where no event loop runs.
    """

    __slots__ = ("_loop", "_slept", "_trio")

    def __init__(self, timeout: float | None) -> None:
        super().__init__(timeout)
        self._trio = _trio()
        self._loop: Any = None if self._trio is not None else _asyncio_loop()
        self._slept = False

    @types.coroutine
    def run(self, steps: Steps[T], begin: bool = False, locked: bool = False) -> Steps[T]:
        """What `steps` return, for an await or a ``yield from``; on trio this is always a checkpoint.

        Args:
            steps: what may wait.
            begin: run up to the first wait even if trio has already cancelled the task: for calls that end something
                or give it back.
            locked: the caller holds a lock, so other tasks run only where `steps` wait, having released it. If they
                need not wait, this is not a checkpoint.
        """
        if self._trio is None or locked:
            return (yield from steps)
        if not begin:
            yield from self._trio.lowlevel.checkpoint_if_cancelled().__await__()
        result = yield from steps
        if not self._slept:
            yield from self._trio.lowlevel.cancel_shielded_checkpoint().__await__()
        return result

    def bell(self) -> Any:
        """As for any `Wait`."""
        return _AsyncioBell(self._loop) if self._trio is None else _TrioBell(self._trio.lowlevel)

    def sleep(self, bell: Any, limit: float | None = None) -> Steps[bool]:
        """As for any `Wait`; without the steps between where there is nothing to look at."""
        if self.deadline is None and limit is None and self.check is None:
            return self.listen(bell, LONG)
        return super().sleep(bell, limit)

    def listen(self, bell: Any, seconds: float) -> Steps[bool]:
        """As for any `Wait`; the loop goes on meanwhile."""
        self._slept = True
        steps: Steps[bool] = bell.listen(seconds)
        return steps

    def doze(self, seconds: float) -> Steps[None]:
        """As for any `Wait`; the loop goes on meanwhile."""
        self._slept = True
        sleep: Any = (self._trio or sys.modules["asyncio"]).sleep
        yield from sleep(seconds).__await__()
