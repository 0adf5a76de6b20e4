"""The one seam between the layers and the interpreter's concurrency.

What it is: the only module of the three layers that imports ``_thread``, ``threading`` or ``queue``. The
others say ``_seam.Lock()``, ``_seam.SimpleQueue()`` and so on, and look the name up *when an object is made*:
a test can put primitives here that stop at each operation, that lie, or that count, and objects made from
then on use them. Objects keep what they were made with, so this costs nothing on a hot path.

What may be used where: operations on `deque`, `SimpleQueue.put`, ``Lock.acquire(False)`` and ``Lock.release``
are safe in interrupt context; a blocking acquire, ``SimpleQueue.get`` and `join` are for thread context.
"""

from __future__ import annotations

import sys
import threading
from _thread import allocate_lock as Lock
from _thread import get_ident, get_native_id, start_new_thread
from collections import deque
from collections.abc import Callable
from queue import Empty, SimpleQueue
from threading import RLock, current_thread
from time import monotonic, monotonic_ns
from types import FrameType
from typing import Any

from ._errors import WaitTimeout

__all__ = [
    "Empty",
    "Lock",
    "RLock",
    "SimpleQueue",
    "Tally",
    "Thread",
    "Waiters",
    "current_thread",
    "deque",
    "excepthook",
    "get_ident",
    "get_native_id",
    "monotonic",
    "monotonic_ns",
    "start_new_thread",
]

LockType = type(Lock())
RLockType = type(RLock())


class Thread(threading.Thread):
    """A daemon thread that starts with an empty context, whoever starts it (TP-13).

    Daemon, because the exit policy decides what is waited for, not `threading`'s own join at exit.
    """

    def __init__(self, target: Callable[[], object], name: str) -> None:
        if sys.version_info >= (3, 14):
            from contextvars import Context

            super().__init__(target=target, name=name, daemon=True, context=Context())
        else:
            super().__init__(target=target, name=name, daemon=True)


def excepthook(exc: BaseException, thread: threading.Thread | None) -> None:
    """Hand `exc` to `threading.excepthook`, as an uncaught exception of `thread` (TP-30)."""
    threading.excepthook(threading.ExceptHookArgs((type(exc), exc, exc.__traceback__, thread)))


def current_frames() -> dict[int, FrameType]:
    """The frame that each thread is in now, by thread ident."""
    return sys._current_frames()


def thread_of(ident: int) -> threading.Thread | None:
    """The `threading.Thread` of a thread ident, if there is one."""
    return next((thread for thread in threading.enumerate() if thread.ident == ident), None)


class Waiters:
    """Threads that wait for an event which others announce with `wake_all`, from any context.

    Each waiter sleeps on a lock of its own: ``acquire`` interrupted by ``release`` on the same thread loses
    no wake-up, which `threading.Event` does. The protocol is publish-then-look on both sides: a waiter
    enters itself, *then* looks whether it must still wait; an announcer changes the state, *then* calls
    `wake_all`. An announcement may come early (spurious), never too late, so waiters look again.
    """

    __slots__ = ("locks",)

    def __init__(self) -> None:
        #: Those who wait. A hot path tests this deque itself before it calls `wake_all`.
        self.locks: deque[Any] = deque()

    def __bool__(self) -> bool:
        return bool(self.locks)

    def wake_all(self) -> None:
        """Release everybody who waits now. Any context."""
        locks = self.locks
        # As many as there are now: a waiter that looks again and re-enters is not for this round.
        for _ in range(len(locks)):
            try:
                locks.popleft().release()
            except IndexError:
                return

    def wake_one(self) -> bool:
        """Release the one who has waited longest, if any. Any context."""
        try:
            self.locks.popleft().release()
        except IndexError:
            return False
        return True

    def wait(self, must_wait: Callable[[], object], deadline: float | None) -> bool:
        """Enter, look, and sleep until woken once or `deadline` (monotonic seconds) has passed. Thread context.

        Returns False when the deadline has passed, True otherwise; in both cases look again.
        """
        mine = Lock()
        mine.acquire()
        self.locks.append(mine)
        try:
            if not must_wait():
                return True
            if deadline is None:
                return bool(mine.acquire())
            left = deadline - monotonic()
            return bool(mine.acquire(True, min(left, 1e6))) if left > 0 else False
        finally:
            discard(self.locks, mine)


def discard(items: deque[Any], item: object) -> bool:
    """Take `item` out of `items` if it is there; True makes the caller its owner. Any context.

    On a free-threaded build ``deque.remove`` gives up with an IndexError when others change the deque beside
    it; nothing is removed then, and to try again is all there is to do.
    """
    while True:
        try:
            items.remove(item)
        except ValueError:
            return False
        except IndexError:
            continue
        return True


def contents(items: deque[Any]) -> list[Any]:
    """What is in `items` at some moment of this call. Any context; tries again where others change it beside us."""
    while True:
        try:
            return list(items)
        except RuntimeError:
            continue


def doze(seconds: float) -> None:
    """Sleep: only where nobody can tell us what we wait for. Thread context."""
    lock = Lock()
    lock.acquire()
    lock.acquire(True, seconds)


def deadline_after(timeout: float | None) -> float | None:
    """The monotonic time `timeout` seconds from now; None for no limit. Refuses negative and NaN."""
    if timeout is None:
        return None
    if isinstance(timeout, bool) or not isinstance(timeout, (int, float)):
        raise TypeError(f"timeout must be a number of seconds or None, not {timeout!r}")
    if not timeout >= 0:
        raise ValueError(f"timeout must be >= 0 seconds or None, not {timeout!r}")
    return monotonic() + timeout


def wait_until(waiters: Waiters, must_wait: Callable[[], object], deadline: float | None, what: str) -> None:
    """Sleep while `must_wait()` says so; `WaitTimeout` naming `what` after the deadline. Thread context."""
    while must_wait():
        if not waiters.wait(must_wait, deadline) and must_wait():
            raise WaitTimeout(f"{what}: the time limit ran out")


class Tally:
    """An exact event counter that any context may bump and any thread may read.

    An event is one atomic `deque.append`; whoever finds the deque long folds it into the base, guarded by
    a try-lock, so that memory stays bounded and nobody waits.
    """

    __slots__ = ("_base", "_events", "_folding")

    _FOLD = 1024

    def __init__(self) -> None:
        self._events: deque[None] = deque()
        self._base = 0  # written by the holder of _folding only
        self._folding = Lock()

    def bump(self) -> None:
        """Count one event. Any context."""
        events = self._events
        events.append(None)
        if len(events) > self._FOLD and self._folding.acquire(False):
            try:
                # Base first: a reader in between sees too many for an instant, never too few.
                self._base += self._FOLD
                for _ in range(self._FOLD):
                    events.popleft()
            finally:
                self._folding.release()

    def value(self) -> int:
        """The number of events so far; exact when nobody is bumping."""
        return self._base + len(self._events)
