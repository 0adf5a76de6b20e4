"""What the tests of the task and the workqueue layer share: functions to be run that watch what happens to them.

None of these can raise a false alarm on a slow machine: what they watch for must not happen at any speed. A slow
machine can only make them miss.
"""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from types import FrameType
from typing import Any

import pytest

from conformance9.suite.tools import STEP, Stage, Started, holds, os_threads, timing, wait_until, want_steps

__all__ = [
    "Ending",
    "Interlock",
    "Lingering",
    "Overlaps",
    "Tally",
    "await_state",
    "idle_threads",
    "interrupted_workers",
    "never",
    "nothing_came_late",
    "some_cpus",
    "together",
]


class Lingering:
    """A function that lingers for a moment and then says so: who returns before, has not waited for it."""

    def __init__(self) -> None:
        self.began = threading.Event()
        self.ended = False
        self._never = threading.Event()

    def __call__(self, *args: object) -> None:
        """Tell, linger, tell."""
        self.began.set()
        self._never.wait(timing.moment)
        self.ended = True

    def entered(self) -> bool:
        """Wait for the beginning."""
        return self.began.wait(timing.limit)


class Overlaps:
    """A function that counts how often it ran, and how many ran at once at most."""

    def __init__(self, linger: float = 0.0) -> None:
        self._lock = threading.Lock()
        self._inside = 0
        self._linger = linger
        self._never = threading.Event()
        self.runs = 0
        self.most = 0

    def __call__(self, *args: object) -> None:
        """Count in, give the others a chance, count out."""
        with self._lock:
            self._inside += 1
            self.runs += 1
            self.most = max(self.most, self._inside)
        self._never.wait(self._linger)
        with self._lock:
            self._inside -= 1


class Tally:
    """A function that counts its runs and the threads' views of shared data, whoever runs it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.runs = 0

    def __call__(self, *args: object) -> None:
        """One more."""
        with self._lock:
            self.runs += 1


class Interlock:
    """A re-entrant lock of no known type that counts how often it was let go altogether."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._depth = 0
        self._owner = 0
        self.releases = 0

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        """As of any lock."""
        if not self._lock.acquire(blocking, timeout):
            return False
        self._owner = threading.get_ident()
        self._depth += 1
        return True

    def release(self) -> None:
        """As of any lock."""
        self._depth -= 1
        if self._depth == 0:
            self.releases += 1
            self._owner = 0
        self._lock.release()

    def mine(self) -> bool:
        """True if the caller holds it."""
        return self._owner == threading.get_ident()

    def __enter__(self) -> bool:
        return self.acquire()

    def __exit__(self, *exc: object) -> None:
        self.release()


def together(stage: Stage, *bodies: Callable[..., object]) -> list[Any]:
    """Run every body on a thread of its own, all let go at once; what they returned. The first failure is raised."""
    barrier = threading.Barrier(len(bodies))

    def guarded(body: Callable[..., object]) -> object:
        barrier.wait(timing.limit)
        return body()

    threads = [stage.thread(lambda body=body: guarded(body)) for body in bodies]
    results = []
    for thread in threads:
        thread.join(3 * timing.limit)
        assert not thread.is_alive(), "a thread of the test hangs in an operation that must return"
        assert isinstance(thread, Started)
        if thread.failure is not None:
            raise thread.failure
        results.append(thread.result)
    return results


def await_state(clause: str, what: str, state: Callable[..., object]) -> None:
    """Watch until `state()` is true; AssertionError naming `what` after the limit."""
    if not wait_until(state):
        raise AssertionError(f"{clause}: {what}: not within {timing.limit:g} s")


def idle_threads(adapter: Any) -> int:
    """How many threads the process has when those of the implementation have had a moment to leave."""
    tick, least = threading.Event(), sys.maxsize
    for _ in range(5):
        adapter.settle()
        least = min(least, os_threads())
        tick.wait(timing.moment / 5)
    return least


def never(event: threading.Event) -> bool:
    """True if `event` was not set for a moment."""
    return not event.wait(timing.moment)


def some_cpus(cpus: Sequence[int], count: int) -> Sequence[int]:
    """The first `count` CPUs, or no test."""
    if len(cpus) < count:
        pytest.skip(f"needs {count} CPUs; the process may use {len(cpus)}")
    return list(cpus)[:count]


@contextlib.contextmanager
def interrupted_workers(interrupt: Callable[[], object], budget: int = 4000) -> Iterator[Callable[[], int]]:
    """Call `interrupt` between any two bytecodes of the threads that are started inside, at most `budget` times.

    Gives a function that tells how often it was called: 0 for an implementation whose threads can't be traced. None of
    the calls is still going on when the context is left.
    """
    calls = ended = 0
    count = threading.Lock()

    def taken() -> bool:
        """Take one of the calls that are left."""
        nonlocal calls
        with count:
            if calls >= budget:
                return False
            calls += 1
            return True

    def trace(frame: FrameType, event: str, arg: object) -> Any:
        nonlocal ended
        if calls >= budget:
            if sys.version_info[:2] != (3, 12):  # early ones crash if a thread stops while others are traced
                sys.settrace(None)
            return None
        want_steps(frame)
        if event == STEP and taken():
            try:
                interrupt()
            finally:
                with count:
                    ended += 1
        return trace

    before = threading.gettrace()
    threading.settrace(trace)
    try:
        yield lambda: calls
    finally:
        threading.settrace(before)  # None is what it takes too
        with count:
            made, calls = calls, budget
        wait_until(lambda: ended >= made)


class Ending:
    """The end of a queue, by another thread while the caller is in the middle of something, and what had run."""

    def __init__(self, end: Callable[[], object], tally: Tally) -> None:
        self._end, self.tally = end, tally
        self._thread: Started | None = None
        self.began = threading.Event()
        self.runs = 0
        """How often `tally` had been called when `end` returned."""

    def __call__(self) -> None:
        """Begin; and wait for a moment, since it may have to wait for the caller."""
        self._thread = Started(self._body)
        self.began.set()
        self._thread.join(timing.moment / 10)

    def _body(self) -> object:
        try:
            return self._end()
        finally:
            self.runs = self.tally.runs

    def result(self, clause: str, what: str) -> object:
        """What `end` returned or raised."""
        assert self._thread is not None
        self._thread.join(timing.limit)
        holds(clause, not self._thread.is_alive(), f"{what} hangs")
        return self._thread.failure or self._thread.result


def nothing_came_late(clause: str, endings: Sequence[Ending]) -> None:
    """What had not run when its queue ended has not run since; the threads that could have are gone."""
    late = sum(ending.tally.runs - ending.runs for ending in endings)
    holds(clause, late == 0, f"of {len(endings)} queues that had ended, {late} ran something afterwards")


def verdict(call: Callable[[], object], refusal: type[Exception]) -> str:
    """What became of `call` where nothing may be raised: "refused" by a `refusal`, "accepted", or another error."""
    try:
        call()
    except refusal:
        return "refused"
    except Exception as error:
        return repr(error)
    return "accepted"
