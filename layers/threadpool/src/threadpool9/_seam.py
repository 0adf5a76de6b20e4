"""The one seam between the layers and the interpreter's concurrency.

What it is: the only module of the three layers that imports ``_thread``, ``threading`` or ``queue``. The
others say ``_seam.Lock()``, ``_seam.SimpleQueue()`` and so on, and look the name up *when an object is made*:
a test can put primitives here that stop at each operation, that lie, or that count, and objects made from
then on use them. Objects keep what they were made with, so this costs nothing on a hot path.

What may be used where: operations on `deque`, `SimpleQueue.put`, ``Lock.acquire(False)`` and ``Lock.release``
are safe in interrupt context; a blocking acquire, ``SimpleQueue.get`` and `join` are for thread context.

Exceptions from nowhere. In the main thread a signal handler may raise (KeyboardInterrupt does) between any two lines,
and, within a line, where the interpreter looks for signals: after calls and when a loop goes round. Whatever
must not be torn apart is therefore written in one of three ways, and an ``except`` undoes or completes the rest:

    del token[0]; mine = True      take a token and know it: no call, so nothing comes between
    collect(deque.pop, taken)      call, and keep the result: one call into C, nothing comes between
    sent = True; box.put(item)     say it, then do it: if it was said, it was done
"""

from __future__ import annotations

import functools
import itertools
import sys
import threading
import weakref
from _queue import Empty, SimpleQueue  # the module `queue` is pure Python around them
from _thread import allocate_lock as Lock
from _thread import get_ident, get_native_id, start_new_thread
from collections import deque
from collections.abc import Callable
from threading import RLock, current_thread
from time import monotonic, monotonic_ns
from types import FrameType
from typing import Any, Generic, TypeVar

from ._errors import WaitTimeout

__all__ = [
    "Empty",
    "Lock",
    "Mailbox",
    "Parking",
    "RLock",
    "SimpleQueue",
    "Tally",
    "Thread",
    "Waiters",
    "collect",
    "current_thread",
    "deque",
    "excepthook",
    "get_ident",
    "get_native_id",
    "monotonic",
    "monotonic_ns",
    "start_new_thread",
    "token",
]

T = TypeVar("T")
LockType = type(Lock())

try:
    threading.Thread(daemon=True)
except RuntimeError as refusal:
    raise ImportError(
        f"threadpool9 needs daemon threads, and this isolated subinterpreter does not allow them ({refusal}); "
        "import it in the main interpreter, or in a subinterpreter with the legacy configuration"
    ) from None


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


class _LockParking:
    """Where one thread sleeps until whoever has claimed it wakes it, once. Taken = asleep or about to be."""

    __slots__ = ("_lock", "wake")

    def __init__(self) -> None:
        self._lock = Lock()
        self._lock.acquire()
        #: ``wake()``, by who has claimed the sleeper. Any context; one call into C.
        self.wake: Callable[[], object] = self._lock.release

    def sleep(self, timeout: float) -> bool:
        """Until woken, or `timeout` seconds (at most 1e6) are over: False then. Thread context."""
        return self._lock.acquire(True, timeout)


class _QueueParking:
    """The same on a queue: on a free-threaded build a lock would first yield the CPU 40 times."""

    __slots__ = ("_queue", "wake")

    def __init__(self) -> None:
        self._queue: SimpleQueue[None] = SimpleQueue()
        self.wake: Callable[[], object] = functools.partial(self._queue.put, None)

    def sleep(self, timeout: float) -> bool:
        """As above."""
        try:
            self._queue.get(True, timeout)
        except Empty:
            return False
        return True


class _LockMailbox(Generic[T]):
    """A queue with one reader. For Pythons before 3.13, whose ``SimpleQueue.get`` with a timeout may wait for ever:
    it forgets to look whether the time is over before it goes round once more.
    """

    __slots__ = ("_items", "_nothing_new")

    def __init__(self) -> None:
        self._items: deque[T] = deque()
        self._nothing_new = Lock()  # taken unless something was put since the reader last looked

    def put(self, item: T) -> None:
        """Any context. An exception from nowhere may come before the reader is woken: then put once more."""
        self._items.append(item)
        try:
            self._nothing_new.release()
        except RuntimeError:
            pass  # the reader has yet to look

    def get(self, block: bool = True, timeout: float | None = None) -> T:
        """The oldest item; Empty if there is none (in time). The reader only, thread context."""
        deadline = None if timeout is None else monotonic() + timeout
        while True:
            try:
                return self._items.popleft()
            except IndexError:
                pass
            left = 1e6 if deadline is None else deadline - monotonic()
            if not block or left <= 0:
                raise Empty
            self._nothing_new.acquire(True, min(left, 1e6))

    def empty(self) -> bool:
        """True if there is nothing. Any context; a moment's truth."""
        return not self._items


#: How often who finds nothing to do looks once more before it goes to sleep. Without a GIL others go on meanwhile, and
#: some microseconds are less than what sleeping and being woken costs; with one, nobody else could have done anything.
SPINS = range(0 if getattr(sys, "_is_gil_enabled", lambda: True)() else 100)

if sys.version_info >= (3, 13):
    Parking = _QueueParking
    Mailbox = SimpleQueue
else:
    Parking = _LockParking
    Mailbox = _LockMailbox


def excepthook(exc: BaseException, thread: threading.Thread | None) -> None:
    """Hand `exc` to `threading.excepthook`, as an uncaught exception of `thread` (TP-30)."""
    threading.excepthook(threading.ExceptHookArgs((type(exc), exc, exc.__traceback__, thread)))


def current_frames() -> dict[int, FrameType]:
    """The frame that each thread is in now, by thread ident."""
    return sys._current_frames()


def thread_of(ident: int) -> threading.Thread | None:
    """The `threading.Thread` of a thread ident, if there is one."""
    return next((thread for thread in threading.enumerate() if thread.ident == ident), None)


def token() -> list[None]:
    """A free token: a test-and-set bit that any context may take and give back.

    It is a list with one element while it is free. ``del token[0]`` takes it: atomic on every build, an IndexError for
    who comes second. ``token.append(None)`` gives it back; only who has it may.
    """
    return [None]


_ONCE: tuple[tuple[()], ...] = ((),)


def collect(call: Callable[[], T], into: list[T]) -> None:
    """Append the result of ``call()``, a function in C, to `into`: whatever is raised meanwhile, it is not lost."""
    into.extend(itertools.starmap(call, _ONCE))


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
        try:
            self.locks.append(mine)
            in_time = True
            if must_wait():
                left = 1e6 if deadline is None else min(deadline - monotonic(), 1e6)
                in_time = left > 0 and (mine.acquire(True, left) or deadline is None)
            discard(self.locks, mine)
        except BaseException:
            discard(self.locks, mine)
            raise
        return in_time


def discard(items: deque[Any], item: object, taken: list[Any] | None = None) -> bool:
    """Take `item` out of `items` if it is there; True makes the caller its owner. Any context.

    `taken` is not empty any more when that has happened, whatever is raised meanwhile. On a free-threaded
    build ``deque.remove`` gives up with an IndexError when others change the deque beside it; nothing is removed
    then, and to try again is all there is to do.
    """
    if taken is None:
        taken = []
    while True:
        try:
            taken.extend(map(items.remove, (item,)))
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
    if not 0 <= timeout < 1e12:
        raise ValueError(f"timeout must be a number of seconds from 0 to 1e12, or None, not {timeout!r}")
    return monotonic() + timeout


def wait_until(waiters: Waiters, must_wait: Callable[[], object], deadline: float | None, what: str) -> None:
    """Sleep while `must_wait()` says so; `WaitTimeout` naming `what` after the deadline. Thread context."""
    while must_wait():
        if not waiters.wait(must_wait, deadline) and must_wait():
            raise WaitTimeout(f"{what}: the time limit ran out")


_NEVER = object()


class Flock(Generic[T]):
    """Objects that are known as long as they live. Any context may add and look."""

    def __init__(self) -> None:
        self._refs: dict[weakref.ref[T], None] = {}

    def add(self, thing: T) -> None:
        """Know `thing`, until it is gone."""
        # The callback is a function of C: where it is called, an exception from nowhere would be swallowed.
        self._refs[weakref.ref(thing, self._refs.pop)] = None

    def clear(self) -> None:
        """Know none any more."""
        self._refs.clear()

    def all(self) -> list[T]:
        """Those that live. The table is read in one call into C: others may come and go beside us."""
        return [thing for thing in [ref() for ref in list(self._refs)] if thing is not None]


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
            taken: list[object] = []
            try:
                # Look again: somebody may have folded between our two steps; from here on only we take.
                if len(events) > self._FOLD:
                    # In one call into C, then added: a reader in between sees too few for an instant, never too many.
                    taken.extend(itertools.islice(iter(events.popleft, _NEVER), self._FOLD))
                    self._base += self._FOLD; del taken[:]  # fmt: skip  # noqa: E702
            except BaseException:
                self._base += len(taken)
                raise
            finally:
                self._folding.release()

    def value(self) -> int:
        """The number of events so far; exact when nobody is bumping."""
        return self._base + len(self._events)
