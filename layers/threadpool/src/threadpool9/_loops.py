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
from ._waiting import Steps, Wait

if TYPE_CHECKING:
    import asyncio

__all__ = ["AsyncioPoster", "Awaiting", "Poster", "TrioPoster", "poster_here", "poster_of"]

T = TypeVar("T")


@runtime_checkable
class Poster(Protocol):
    """An event loop, as far as it is known here. Write one for any loop that has a thread-safe "call this soon"."""

    def post(self, fn: Callable[[], object]) -> object:
        """Have ``fn()`` called in the loop's thread, soon; it never raises. Any context.

        Calls that were posted by one thread come in their order. Raises RuntimeError if the loop is closed.
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
    trio = sys.modules.get("trio")
    return trio if trio is not None and trio.lowlevel.in_trio_task() else None


def poster_here() -> Poster:
    """The loop that the caller is a task of. UsageError if there is none."""
    if (trio := _trio()) is not None:
        return TrioPoster(trio.lowlevel.current_trio_token())
    asyncio = sys.modules.get("asyncio")  # without the module there is no loop of it
    loop = asyncio._get_running_loop() if asyncio is not None else None
    if loop is None:
        raise UsageError(
            "no event loop runs here: await this in a task of asyncio or trio, or use the call of the same name that "
            "blocks, without .aio"
        )
    return AsyncioPoster(loop)


def poster_of(loop: object) -> Poster:
    """The poster of `loop`: an asyncio loop, a `trio.lowlevel.TrioToken`, or a poster itself. TypeError otherwise."""
    if (asyncio := sys.modules.get("asyncio")) is not None and isinstance(loop, asyncio.AbstractEventLoop):
        return AsyncioPoster(loop)
    if (trio := sys.modules.get("trio")) is not None and isinstance(loop, trio.lowlevel.TrioToken):
        return TrioPoster(loop)
    if isinstance(loop, Poster):
        return loop
    raise TypeError(f"an event loop is an asyncio loop, a trio token, or an object with post(fn), not {loop!r}")


class _Bell:
    """What a waiting task is entered as; see `Wait.bell`."""

    __slots__ = ("_poster",)

    def __init__(self, poster: Any) -> None:
        self._poster = poster  # S

    def release(self) -> bool:
        """Wake the task. Any context. False if its loop is closed: there is nobody to wake."""
        try:
            self._poster.post(self.ring)
        except RuntimeError:
            return False
        return True

    def ring(self) -> None:
        """In the loop's thread."""
        raise NotImplementedError


class _AsyncioBell(_Bell):
    __slots__ = ("future",)

    def __init__(self, poster: AsyncioPoster) -> None:
        super().__init__(poster)
        self.future: asyncio.Future[bool] = poster.loop.create_future()

    def ring(self) -> None:
        self._end(True)

    def _end(self, rung: bool) -> None:
        if not self.future.done():
            self.future.set_result(rung)

    def listen(self, seconds: float) -> Steps[bool]:
        """Until it rings, at most so many seconds."""
        timer = self._poster.loop.call_later(seconds, self._end, False)
        try:
            rung = yield from self.future.__await__()
        finally:
            timer.cancel()
        if not rung:
            self.future = self._poster.loop.create_future()  # it may still ring
        return rung


class _TrioBell(_Bell):
    __slots__ = ("rung", "task")

    def __init__(self, poster: Poster) -> None:
        super().__init__(poster)
        self.rung = False
        self.task: Any = None

    def ring(self) -> None:
        self.rung = True
        task, self.task = self.task, None
        if task is not None:
            sys.modules["trio"].lowlevel.reschedule(task)

    def listen(self, seconds: float) -> Steps[bool]:
        """Until it rings, at most so many seconds."""
        trio: Any = sys.modules["trio"]

        def abort(raise_cancel: object) -> object:
            self.task = None
            return trio.lowlevel.Abort.SUCCEEDED

        with trio.move_on_after(seconds):
            if not self.rung:
                self.task = trio.lowlevel.current_task()
                yield from trio.lowlevel.wait_task_rescheduled(abort).__await__()
        return self.rung


class Awaiting(Wait):
    """A task of an event loop waits. For the thread of that loop.

    Args:
        timeout: seconds, 0 or more; None for no limit.

    `Wait`'s errors, and UsageError where no event loop runs.
    """

    __slots__ = ("_poster", "_slept", "_trio")

    def __init__(self, timeout: float | None) -> None:
        super().__init__(timeout)
        self._poster: Any = poster_here()
        self._trio = _trio()
        self._slept = False

    async def run(self, steps: Steps[T]) -> T:
        """What `steps` return; on trio this is always a checkpoint."""
        if self._trio is None:
            return await _awaitable(steps)
        await self._trio.lowlevel.checkpoint_if_cancelled()
        result = await _awaitable(steps)
        if not self._slept:
            await self._trio.lowlevel.cancel_shielded_checkpoint()
        return result

    def bell(self) -> Any:
        """As for any `Wait`."""
        return _AsyncioBell(self._poster) if self._trio is None else _TrioBell(self._poster)

    def listen(self, bell: Any, seconds: float) -> Steps[bool]:
        """As for any `Wait`; the loop goes on meanwhile."""
        self._slept = True
        rung: bool = yield from bell.listen(seconds)
        return rung

    def doze(self, seconds: float) -> Steps[None]:
        """As for any `Wait`; the loop goes on meanwhile."""
        self._slept = True
        sleep: Any = (self._trio or sys.modules["asyncio"]).sleep
        yield from sleep(seconds).__await__()


@types.coroutine
def _awaitable(steps: Steps[T]) -> Steps[T]:
    return (yield from steps)
