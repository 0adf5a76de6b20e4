"""The primitives: the one seam between the layers and the interpreter's concurrency.

The only module of the three layers that imports ``_thread``, ``threading`` or ``queue``. The others say
``_seam.Lock()``, ``_seam.SimpleQueue()`` and so on, and look the name up *when an object is made*: a test can put
primitives here that stop at each operation, that lie, or that count, and objects made from then on use them. Objects
keep what they were made with, so this costs nothing on a hot path. What is made of these primitives is in `_atomic`.

What may be used where: operations on `deque`, `SimpleQueue.put`, ``Lock.acquire(False)`` and ``Lock.release``
are safe in interrupt context; a blocking acquire, ``SimpleQueue.get`` and `join` are for thread context.
"""

from __future__ import annotations

import functools
import sys
import threading
from _queue import Empty, SimpleQueue  # the module `queue` is pure Python around them
from _thread import allocate_lock as Lock
from _thread import get_ident, get_native_id, start_new_thread
from collections import deque
from collections.abc import Callable
from threading import RLock, current_thread
from threading import local as Local
from time import monotonic, monotonic_ns
from typing import Any, Generic, TypeVar

__all__ = [
    "Empty",
    "Local",
    "Lock",
    "Mailbox",
    "Parking",
    "RLock",
    "SimpleQueue",
    "Thread",
    "current_thread",
    "deque",
    "doze",
    "excepthook",
    "get_ident",
    "get_native_id",
    "monotonic",
    "monotonic_ns",
    "start_new_thread",
]

if sys.version_info >= (3, 14):
    # Not when a thread is made: that may be in a process that has lost the right to read the library, or at exit.
    from contextvars import Context

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
            super().__init__(target=target, name=name, daemon=True, context=Context())
        else:
            super().__init__(target=target, name=name, daemon=True)


class Compared(list[Any]):
    """Is equal to nothing, and holds what it was compared with; in C, so that no thread takes turns meanwhile.

    A list, so that it is asked before the lists that it is compared with: theirs would wait for the lock of that list,
    and let go of the deque's meanwhile.
    """

    __eq__ = list.append  # type: ignore[assignment]
    __hash__ = None


class _LockParking:
    """Where one thread sleeps until whoever has claimed it wakes it, once. The lock is taken unless it was woken.

    To wake is one call into C that needs no memory: it can't fail where the call before it did not.
    """

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
    """The same on a queue, for free-threaded builds, where a lock would first yield the CPU 40 times."""

    __slots__ = ("_queue", "wake")

    def __init__(self) -> None:
        self._queue: SimpleQueue[None] = SimpleQueue()
        self.wake: Callable[[], object] = functools.partial(self._queue.put, None)

    def sleep(self, timeout: float) -> bool:
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
        """Any context. After an exception it is not certain that the reader was woken: put once more."""
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
        """True if there is nothing. Any context; may already be stale."""
        return not self._items


#: True on a build without a GIL, where threads run Python at the same time.
FREE_THREADED = not getattr(sys, "_is_gil_enabled", lambda: True)()
#: How often a thread that finds nothing to do looks once more before it sleeps. Without a GIL others go on meanwhile,
#: and some microseconds are less than what sleeping and being woken costs; with one, nobody could have done anything.
SPINS = range(100 if FREE_THREADED else 0)

Parking = _QueueParking if FREE_THREADED else _LockParking
if sys.version_info >= (3, 13):
    Mailbox = SimpleQueue
else:
    Mailbox = _LockMailbox


def excepthook(exc: BaseException, thread: threading.Thread | None) -> None:
    """Hand `exc` to `threading.excepthook`, as an uncaught exception of `thread` (TP-30)."""
    threading.excepthook(threading.ExceptHookArgs((type(exc), exc, exc.__traceback__, thread)))


def at_threads_end(function: Callable[[], object]) -> None:
    """Have `function` called where `threading` runs its exit functions: before it joins the threads, before atexit.

    `concurrent.futures` does the same. A module that is imported later than that has to do with its atexit function,
    which is not called if it was an atexit function that imported the module.
    """
    try:
        threading._register_atexit(function)  # type: ignore[attr-defined]
    except RuntimeError:
        pass


def start_exit_thread(target: Callable[[], object]) -> None:
    """Call `target` on a thread that the exit of the interpreter waits for."""
    threading.Thread(target=target, name="threadpool9-exit", daemon=False).start()


def living_threads() -> list[threading.Thread]:
    """The threads that the exit of the interpreter waits for, but for the main thread and the calling one."""
    besides = (threading.main_thread(), threading.current_thread())
    return [thread for thread in threading.enumerate() if not thread.daemon and thread not in besides]


def is_foreign_daemon() -> bool:
    """True if the calling thread is a daemon and not one of ours. Any context."""
    thread = threading._active.get(get_ident())  # type: ignore[attr-defined]  # current_thread() would make a dummy
    return thread is None or (thread.daemon and not isinstance(thread, Thread))


def is_multiprocessing_child() -> bool:
    """True in a process that multiprocessing has started, which may end without calling atexit functions."""
    process = sys.modules.get("multiprocessing.process")
    return process is not None and process.parent_process() is not None


def thread_of(ident: int) -> threading.Thread | None:
    """The `threading.Thread` of a thread ident, if there is one."""
    return next((thread for thread in threading.enumerate() if thread.ident == ident), None)


def forget_dummy() -> None:
    """The calling thread was not made by `threading`, and ends: see that it is in no list any more. Thread context.

    Whoever calls `current_thread` there, a logger for example, has an object made for it. Before 3.13 nobody takes that
    out of ``threading.enumerate()`` when the thread has gone.
    """
    if sys.version_info < (3, 13):
        names: Any = threading  # the stubs leave out what is private
        if isinstance(names._active.get(get_ident()), names._DummyThread):
            with names._active_limbo_lock:
                names._active.pop(get_ident(), None)


def doze(seconds: float) -> None:
    """Sleep: only where nobody can tell us what we wait for. Thread context."""
    lock = Lock()
    lock.acquire()
    lock.acquire(True, seconds)
