"""What the tests of all layers share: time limits, gates, threads as the OS sees them, interruption.

Nothing here sleeps to synchronise. Who waits, waits for an event and no longer than `timing.limit`; who must see
that nothing happens watches an event for `timing.moment`.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from types import FrameType, TracebackType
from typing import Any

from conformance9._adapters import NotClaimed

__all__ = [
    "Broken",
    "Gate",
    "Log",
    "Stage",
    "holds",
    "interrupted_everywhere",
    "need",
    "os_threads",
    "pinned",
    "refuses",
    "reported",
    "retire_threads",
    "swallow_reports",
    "timing",
    "within",
]


class Timing:
    """Time limits, in seconds, multiplied by $CONFORMANCE9_TIME_SCALE for slow machines."""

    def __init__(self) -> None:
        self.scale = float(os.environ.get("CONFORMANCE9_TIME_SCALE", "1"))
        self.limit = 20.0 * self.scale
        """What must happen has happened by then."""
        self.moment = 0.05 * self.scale
        """How long to watch for what must not happen."""


timing = Timing()


class Broken(AssertionError):
    """A clause does not hold: the report counts this clause as failed, not all that the test is marked with."""

    def __init__(self, clause: str, observed: str) -> None:
        super().__init__(f"{clause}: {observed}")
        self.clauses = [clause]


def holds(clause: str, condition: object, observed: str) -> None:
    """Assert `condition`; if it is false, `clause` is broken and `observed` says what was seen."""
    if not condition:
        raise Broken(clause, observed)


class Log:
    """A list that several threads append to and one reads, with a count that can be waited for."""

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self.entries: list[Any] = []

    def add(self, entry: Any) -> None:
        """Append."""
        with self._condition:
            self.entries.append(entry)
            self._condition.notify_all()

    def reached(self, count: int, seconds: float | None = None) -> bool:
        """Wait until there are `count` entries; False if there are not in time."""
        with self._condition:
            return self._condition.wait_for(lambda: len(self.entries) >= count, seconds or timing.limit)


class Gate:
    """A function that tells that it has begun and returns when it is let go, or after the limit."""

    def __init__(self) -> None:
        self.began = threading.Event()
        self.go = threading.Event()
        self.ended = threading.Event()
        self.runs = 0

    def __call__(self, *args: object) -> None:
        """Count, tell, wait."""
        self.runs += 1
        self.began.set()
        self.go.wait(timing.limit)
        self.ended.set()

    def entered(self) -> bool:
        """Wait for the beginning."""
        return self.began.wait(timing.limit)


class Stage:
    """The gates and queues of one test; at its end gates are opened first, then queues are ended.

    After a failure the end must not hide it: then it is tried on a thread that may be left behind.
    """

    def __init__(self) -> None:
        self._gates: list[Gate] = []
        self._ends: list[Callable[[], object]] = []
        self._threads: list[threading.Thread] = []

    def gate(self) -> Gate:
        """A gate that is opened at the end at the latest."""
        gate = Gate()
        self._gates.append(gate)
        return gate

    def at_end(self, end: Callable[[], object]) -> None:
        """Call `end` at the end; last come, first called."""
        self._ends.append(end)

    def thread(self, body: Callable[[], object]) -> threading.Thread:
        """Run `body` on a thread; an exception of it is kept in `Thread.failure` by `Started`."""
        thread = Started(body)
        self._threads.append(thread)
        return thread

    def __enter__(self) -> Stage:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        self.end(failed=exc_type is not None)

    def end(self, failed: bool = False) -> None:
        """Open the gates, join the threads, end the queues."""
        for gate in self._gates:
            gate.go.set()
        if not failed:
            for thread in self._threads:
                thread.join(timing.limit)
                assert not thread.is_alive(), f"a thread of the test hangs in {thread}"
            for end in reversed(self._ends):
                end()
        else:
            rescue = Started(self._end_quietly)
            rescue.join(min(2.0, timing.limit))

    def _end_quietly(self) -> None:
        for end in reversed(self._ends):
            with contextlib.suppress(Exception):
                end()


class Started(threading.Thread):
    """A daemon thread that is started when made and keeps what its body raised or returned."""

    def __init__(self, body: Callable[[], object]) -> None:
        super().__init__(daemon=True)
        self._body = body
        self.failure: BaseException | None = None
        self.result: object = None
        self.start()

    def run(self) -> None:
        """Run the body."""
        try:
            self.result = self._body()
        except BaseException as error:
            self.failure = error


def need(adapter: Any, *capabilities: str) -> None:
    """End the test as "not claimed" if the adapter lacks one of the capabilities."""
    lacks = [name for name in capabilities if name not in adapter.capabilities]
    if lacks:
        raise NotClaimed(lacks)


def within(clause: str, what: str, call: Callable[[], Any], seconds: float | None = None) -> Any:
    """Run `call` on a thread and return what it returns; if it takes longer than the limit, `clause` is broken."""
    thread = Started(call)
    thread.join(seconds or timing.limit)
    holds(clause, not thread.is_alive(), f"{what} hangs")
    if thread.failure is not None:
        raise thread.failure
    return thread.result


def refuses(
    clause: str, what: str, errors: type[Exception] | tuple[type[Exception], ...], call: Callable[[], object]
) -> None:
    """Assert that `call` raises one of `errors`."""
    try:
        result = call()
    except errors:
        return
    except Exception as error:
        raise Broken(clause, f"{what} raised {error!r}, which is none of {errors}") from error
    raise Broken(clause, f"{what} must be an error {errors}, but returned {result!r}")


def os_threads() -> int:
    """How many threads the process has, as the OS says."""
    try:
        return len(os.listdir("/proc/self/task"))
    except OSError:
        return threading.active_count()


def retire_threads(adapter: Any, at_most: int) -> int:
    """Let idle threads go until there are `at_most` in the process, or the limit is over; how many there are."""
    deadline = time.monotonic() + timing.limit
    while True:
        adapter.settle()
        count = os_threads()
        if count <= at_most or time.monotonic() > deadline:
            return count
        os.sched_yield()


@contextlib.contextmanager
def pinned(cpu: int) -> Iterator[None]:
    """Bind the calling thread to a CPU."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {cpu})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


@contextlib.contextmanager
def reported() -> Iterator[Log]:
    """Collect what reaches `threading.excepthook`."""
    log = Log()
    before = threading.excepthook

    def hook(args: threading.ExceptHookArgs) -> None:
        log.add(args.exc_value)

    threading.excepthook = hook
    try:
        yield log
    finally:
        threading.excepthook = before


def swallow_reports() -> contextlib.AbstractContextManager[Log]:
    """`reported`, for tests in which functions raise and the reports do not matter."""
    return reported()


def interrupted_everywhere(operation: Callable[[], object], interrupt: Callable[[], object]) -> int:
    """Run `operation` on a thread of its own with `interrupt` called between any two bytecodes of it.

    How often it was called; AssertionError if the thread hangs or `operation` raised.
    """
    calls = 0

    def trace(frame: FrameType, event: str, arg: object) -> Any:
        nonlocal calls
        frame.f_trace_opcodes = True
        if event == "opcode":
            calls += 1
            interrupt()
        return trace

    def body() -> None:
        sys.settrace(trace)
        try:
            operation()
        finally:
            sys.settrace(None)

    thread = Started(body)
    thread.join(timing.limit)
    assert not thread.is_alive(), f"an operation that interrupted itself hangs after {calls} interruptions"
    assert thread.failure is None, f"an operation that interrupted itself raised {thread.failure!r}"
    return calls
