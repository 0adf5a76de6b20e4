"""An event loop in a world: one thread, with an inbox for whatever reaches it from others.

It runs the steps of a task as asyncio does: a task that was woken, and is cancelled before it goes on, is cancelled.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable, Generator
from typing import Any

from explore9.primitives import Cell, SimpleQueue, Thread
from explore9.search import World


class Cancelled(BaseException):
    """What asyncio.CancelledError is."""


class Loop:
    """An event loop: a poster."""

    def __init__(self, w: World) -> None:
        self.inbox = SimpleQueue()
        self.closed = Cell(False, "the loop is closed")
        self.turns = 0
        self.tasks: list[Awaiter] = []
        self.kept: list[Any] = []  # else a turn would be collected, and end, wherever an execution is cut off
        Thread(self.run, "loop").start()
        w.run.settle()

    def post(self, fn: Callable[[], object]) -> None:
        """As `Poster.post`: what is posted while the loop is being closed may be lost."""
        self.kept.append(fn)
        if self.closed.get():
            raise RuntimeError("the loop is closed")
        self.inbox.put(fn)

    def call_soon(self, fn: Callable[..., object], *args: object, context: object = None) -> None:
        """As a loop of asyncio."""
        self.post(functools.partial(fn, *args))

    call_soon_threadsafe = call_soon

    def current_trio_token(self) -> Loop:
        """As of trio.lowlevel."""
        return self

    run_sync_soon = post

    def run(self) -> None:
        """The loop's thread, to the end of the loop."""
        while not self.closed.get():
            self.inbox.get()()
            self.turns += 1
        for task in self.tasks:  # they are collected
            task.steps.close()

    def collect(self) -> None:
        """In a check: what was posted and never called goes."""
        self.inbox = SimpleQueue()
        self.kept.clear()

    def close(self) -> None:
        """In the loop's thread."""
        self.closed.set(True)


class Awaiter:
    """A task of the loop, which runs steps; all of it in the loop's thread."""

    def __init__(self, w: World, loop: Loop, make: Callable[[Any], Generator[Any, Any, Any]]) -> None:
        self.loop = loop
        self.steps = make(_waiting(w, self))
        self.outcome: list[str] = []
        self.cancelling = self.due = False
        self.bell: Any = None
        loop.tasks.append(self)
        loop.post(self.step)
        w.run.settle()

    def step(self) -> None:
        """Go on until it waits again, or is over."""
        self.due, self.bell = False, None
        try:
            if self.cancelling:
                self.cancelling = False
                self.bell = self.steps.throw(Cancelled())
            else:
                self.bell = next(self.steps)
        except StopIteration:
            self.outcome.append("over")
        except (Cancelled, Exception) as error:
            self.outcome.append(type(error).__name__)
        else:
            if self.bell.rung:
                self.wake()

    def wake(self) -> None:
        """Have it go on."""
        if not self.due and not self.outcome:
            self.due = True
            self.loop.inbox.put(self.step)

    def cancel(self) -> None:
        """As asyncio.Task.cancel."""
        if not self.outcome:
            self.cancelling = True
            self.wake()


class AsyncioTask:
    """A task of the loop that runs what ``await`` runs, by what it yields: as those of asyncio, in C."""

    def __init__(self, loop: Loop, steps: Generator[Any, Any, Any]) -> None:
        self.loop = loop
        self.steps = steps
        self.outcome: list[object] = []
        self.bell: Any = None  # what it waits for
        self.waits = False

    def step(self, bell: Any = None) -> None:
        """Go on until it waits again, or is over."""
        asyncio._set_running_loop(self.loop)  # type: ignore[arg-type]  # a loop, as far as it is asked
        self.waits = False
        try:
            self.bell = self.steps.throw(asyncio.CancelledError()) if bell and bell.cancelled() else next(self.steps)
        except StopIteration as over:
            self.outcome.append(over.value)
        except asyncio.CancelledError:
            self.outcome.append("cancelled")
        else:
            assert self.bell._asyncio_future_blocking
            self.waits = True
            self.bell.add_done_callback(self.step)
        finally:
            asyncio._set_running_loop(None)

    def cancel(self) -> None:
        """As asyncio.Task.cancel, where that finds it waiting. In the loop's thread."""
        if self.waits:
            self.bell.cancel()


def _waiting(w: World, task: Awaiter) -> Any:
    """A `Wait` of the copies for that task."""
    base = w.copies.module("threadpool9._loops")._TrioBell

    class Bell(base):  # type: ignore[misc, valid-type]  # it is of the copies
        def __init__(self) -> None:
            super().__init__(task.loop)  # in place of trio.lowlevel
            self.rung = False

        def _ring(self) -> None:
            self.rung = True
            if task.bell is self:
                task.wake()

    class Turned(w.copies.module("threadpool9._waiting").Wait):  # type: ignore[misc, name-defined]  # likewise
        __slots__ = ()

        def bell(self) -> Any:
            return Bell()

        def listen(self, bell: Any, seconds: float) -> Generator[Any, Any, bool]:
            yield bell
            return True

    return Turned(None)
