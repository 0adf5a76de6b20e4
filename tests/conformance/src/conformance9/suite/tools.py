"""What the tests of all layers share: time limits, gates, threads as the OS sees them, interruption.

Nothing here sleeps to synchronise. Who waits, waits for an event and no longer than `timing.limit`; who must see
that nothing happens watches an event for `timing.moment`.
"""

from __future__ import annotations

import contextlib
import os
import random
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from types import FrameType, TracebackType
from typing import Any

from conformance9._adapters import Implementation, NotClaimed

__all__ = [
    "Broken",
    "Gate",
    "Log",
    "Stage",
    "Started",
    "Steps",
    "holds",
    "in_process",
    "interrupted_at",
    "interrupted_everywhere",
    "jitter",
    "need",
    "os_threads",
    "os_tids",
    "pinned",
    "refuses",
    "reported",
    "retire_threads",
    "stepped",
    "swallow_reports",
    "timing",
    "wait_asleep",
    "wait_until",
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
    """A function that tells that it has begun and returns when it is let go.

    Or after twice the limit, so that nobody who waits for something else for as long as the limit is helped by it.
    """

    def __init__(self) -> None:
        self.began = threading.Event()
        self.go = threading.Event()
        self.ended = threading.Event()
        self.runs = 0
        self.thread = 0

    def __call__(self, *args: object) -> None:
        """Count, tell, wait."""
        self.runs += 1
        self.thread = threading.get_ident()
        self.began.set()
        self.go.wait(2 * timing.limit)
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
        self._ends: list[Callable[..., object]] = []
        self.threads: list[Started] = []

    def gate(self) -> Gate:
        """A gate that is opened at the end at the latest."""
        gate = Gate()
        self._gates.append(gate)
        return gate

    def at_end(self, end: Callable[..., object]) -> None:
        """Call `end` at the end; last come, first called."""
        self._ends.append(end)

    def thread(self, body: Callable[..., object]) -> Started:
        """Run `body` on a thread, which is joined at the end; what it raised fails the test then."""
        thread = Started(body)
        self.threads.append(thread)
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
            for thread in self.threads:
                thread.join(timing.limit)
                assert not thread.is_alive(), f"a thread of the test hangs in {thread}"
                if thread.failure is not None:
                    raise thread.failure
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

    def __init__(self, body: Callable[..., object]) -> None:
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


def within(clause: str, what: str, call: Callable[..., Any], seconds: float | None = None) -> Any:
    """Run `call` on a thread and return what it returns; if it takes longer than the limit, `clause` is broken."""
    thread = Started(call)
    thread.join(seconds or timing.limit)
    holds(clause, not thread.is_alive(), f"{what} hangs")
    if thread.failure is not None:
        raise thread.failure
    return thread.result


def refuses(
    clause: str, what: str, errors: type[Exception] | tuple[type[Exception], ...], call: Callable[..., object]
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


def os_tids() -> set[int]:
    """The threads of the process, as the OS says. A set, so that what leaves meanwhile hides nothing that comes."""
    try:
        return {int(name) for name in os.listdir("/proc/self/task")}
    except OSError:
        return {thread.native_id or 0 for thread in threading.enumerate()}


def retire_threads(adapter: Any, at_most: int) -> int:
    """Let idle threads go until there are `at_most` in the process, or the limit is over; how many there are."""
    deadline = time.monotonic() + timing.limit
    while True:
        adapter.settle()
        count = os_threads()
        if count <= at_most or time.monotonic() > deadline:
            return count
        os.sched_yield()


def wait_until(condition: Callable[..., object], seconds: float | None = None) -> bool:
    """Look until `condition()` is true or the limit is over; whether it is."""
    deadline = time.monotonic() + (seconds or timing.limit)
    pause = 0.0005
    while not condition():
        if time.monotonic() > deadline:
            return bool(condition())
        time.sleep(pause)
        pause = min(pause * 1.5, 0.02)
    return True


def wait_asleep(tids: Iterable[int], seconds: float = 2.0) -> None:
    """Wait until the OS says that these threads sleep and have not run between two looks.

    That is how an idle worker looks from outside. One that wakes up again and again never does; then the time
    limit ends the wait, and the test goes on all the same.
    """
    paths = [f"/proc/self/task/{tid}/status" for tid in tids]
    wanted = ("State:", "voluntary_ctxt_switches:", "nonvoluntary_ctxt_switches:")

    def look() -> list[list[str]]:
        found = []
        for path in paths:
            try:
                with open(path) as file:
                    found.append([line.split()[1] for line in file if line.startswith(wanted)])
            except OSError:
                found.append(["gone"])
        return found

    deadline = time.monotonic() + seconds * timing.scale
    if not os.path.exists("/proc/self/task"):
        time.sleep(timing.moment)  # another OS: no way to know
        return
    before: list[list[str]] = []
    while time.monotonic() < deadline:
        time.sleep(0.002)  # without the GIL, so that who can run does
        now = look()
        if now == before and all(each[0] in ("S", "gone") for each in now):
            return
        before = now


#: What a trace function takes for a step of a thread: a bytecode. On Python 3.12 a line: early ones crash where
#: bytecodes are traced beside other threads.
STEP = "line" if sys.version_info[:2] == (3, 12) else "opcode"


def want_steps(frame: FrameType) -> None:
    """In a trace function: have it called for each step of `frame`."""
    if STEP == "opcode":
        frame.f_trace_opcodes = True


@contextlib.contextmanager
def jitter(seed: int, probability: float = 0.02) -> Iterator[None]:
    """Have threads that are started meanwhile, and the caller, step aside at random between two bytecodes.

    That makes windows of a few bytecodes, which a storm would meet once in a million, wide. Not on Python 3.12: early
    ones crash when a thread stops tracing while others are being traced; there threads are switched as often as can be.
    """
    if sys.version_info[:2] == (3, 12):
        interval = sys.getswitchinterval()
        sys.setswitchinterval(1e-6)
        try:
            yield
        finally:
            sys.setswitchinterval(interval)
        return
    draw = random.Random(seed).random

    def trace(frame: FrameType, event: str, arg: object) -> Any:
        want_steps(frame)
        if event == STEP and (drawn := draw()) < probability:
            time.sleep(0 if drawn < probability * 0.9 else 5e-5)
        return trace

    before, before_threads = sys.gettrace(), threading.gettrace()
    threading.settrace(trace)
    sys.settrace(trace)
    try:
        yield
    finally:
        sys.settrace(before)
        threading.settrace(before_threads)  # None is what it takes too


def in_process(
    implementation: Implementation, program: str, *words: str, environment: dict[str, str] | None = None
) -> subprocess.Popen[str]:
    """Run ``program`` (MODULE:FUNCTION) with a fresh adapter and `words` as arguments in a process of its own."""
    path = os.pathsep.join(word for word in sys.path if word)
    return subprocess.Popen(
        [
            *(sys.executable, "-m", "conformance9._child", program),
            *(implementation.layer, implementation.spec, str(implementation.directory), *words),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": path, **(environment or {})},
    )


def finished(clause: str, implementation: Implementation, program: str, *words: str) -> tuple[list[str], str, int]:
    """Run `program` as `in_process` does, to its end: its lines, what it wrote to standard error, and its status."""
    process = in_process(implementation, program, *words)
    try:
        out, err = process.communicate(timeout=3 * timing.limit)
    except subprocess.TimeoutExpired:
        process.kill()
        out, err = process.communicate()
        raise Broken(clause, f"a process ({program}) hangs; it said {out.split()} {err[-2000:]}") from None
    return out.splitlines(), err, process.returncode


def outcome(clause: str, implementation: Implementation, program: str, *words: str) -> list[str]:
    """As `finished`, for a program that must end well; its lines."""
    lines, err, status = finished(clause, implementation, program, *words)
    holds(clause, status == 0, f"a process ({program}) ended with status {status}; it said {lines} {err[-2000:]}")
    return lines


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


def interrupted_everywhere(operation: Callable[..., object], interrupt: Callable[..., object]) -> int:
    """Run `operation` on a thread of its own with `interrupt` called between any two bytecodes of it.

    How often it was called; AssertionError if the thread hangs or `operation` raised.
    """
    calls = 0

    def trace(frame: FrameType, event: str, arg: object) -> Any:
        nonlocal calls
        want_steps(frame)
        if event == STEP:
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
    if thread.is_alive():
        raise AssertionError(f"an operation that interrupted itself hangs after {calls} interruptions")
    if thread.failure is not None:
        raise AssertionError(f"an operation that interrupted itself raised {thread.failure!r}")
    return calls


def interrupted_at(number: int, operation: Callable[..., object], interrupt: Callable[..., object]) -> bool:
    """Run `operation` on a thread of its own with `interrupt` called before bytecode `number` of it, and only there.

    False if it has fewer bytecodes: who counts up from 0 until then has met them all.
    """
    calls = 0
    met = False

    def only_there() -> None:
        nonlocal calls, met
        calls += 1
        if calls == number + 1:
            met = True
            interrupt()

    interrupted_everywhere(operation, only_there)
    return met


class Steps:
    """Counts the bytecodes of the threads that were started under `stepped`, and calls a function between two."""

    def __init__(self) -> None:
        self._armed: list[tuple[Callable[[], object], ...]] = []
        self._left = 0
        self._ident: int | None = None
        self.met = threading.Event()
        """The last function was called, and has returned."""
        self.errors: list[BaseException] = []
        """What the functions raised: not into the thread that they interrupted."""

    def arm(self, number: int, *interrupts: Callable[[], object], ident: int | None = None) -> None:
        """Call each of `interrupts` before one bytecode, from `number` on; of thread `ident`, or of any of them."""
        self.disarm()
        self.met.clear()
        self._left, self._ident = number, ident
        self._armed.append(interrupts)

    def was_met(self) -> bool:
        """Wait for a moment until the last function has returned; if it has been called, as long as it takes."""
        return self.met.wait(timing.moment) or (not self._armed and self.met.wait(timing.limit))

    def disarm(self) -> None:
        """From now on nothing is called."""
        self._armed.clear()

    def trace(self, frame: FrameType, event: str, arg: object) -> Any:
        """For `threading.settrace`."""
        want_steps(frame)
        if event == STEP and self._armed and self._ident in (None, threading.get_ident()):
            self._left -= 1
            if self._left < 0:
                self._step()
        return self.trace

    def _step(self) -> None:
        try:
            interrupt, *others = self._armed.pop()
        except IndexError:  # another thread was faster
            return
        try:
            interrupt()
        except BaseException as error:
            self.errors.append(error)
        if others:
            self._armed.append(tuple(others))
        else:
            self.met.set()


@contextlib.contextmanager
def stepped() -> Iterator[Steps]:
    """`Steps` for the threads that are started inside; it meets nothing in threads that can't be traced.

    Nor on Python 3.12, for the reason that `jitter` has.
    """
    steps = Steps()
    if sys.version_info[:2] == (3, 12):
        yield steps
        return
    before = threading.gettrace()
    threading.settrace(steps.trace)
    try:
        yield steps
    finally:
        threading.settrace(before)  # None is what it takes too
        steps.disarm()
