"""What the suite asks of an implementation of the task layer: factories, error types and capabilities.

The objects that the factories return are used through the protocols below and through nothing else. An
implementation that has other names for the operations wraps its objects; one that has these hands them out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Protocol

__all__ = ["TASK_CAPABILITIES", "DelayedLike", "PeriodicLike", "QueueLike", "SharedLike", "TaskAdapter", "TaskLike"]

#: Capabilities that an adapter may claim; a test that needs one is skipped, and says so, where it is not claimed.
#: Methods and errors that are there for a capability may be left out with it. Arguments with a default are to be taken
#: in any case, and may be ignored without their capability: tests pass time limits to whatever has one.
TASK_CAPABILITIES: dict[str, str] = {
    "any context": "schedule and arm may interrupt themselves between any two bytecodes (TK-1, TK-11)",
    "shared": "shared per-CPU queues and the system queue, bound to their CPUs (TK-4)",
    "percpu": "private per-CPU queues (TK-7)",
    "concurrency": "private queues that run several tasks at once (TK-5)",
    "call": "call() of private queues (TK-17)",
    "limit": "long tasks of shared queues are reported (TK-4)",
    "delayed": "delayed tasks (TK-11, TK-12)",
    "jitter": "jitter coalesces wake-ups (TK-11)",
    "periodic": "periodic tasks (TK-13)",
    "context": "tasks with a contextvars.Context (TK-15)",
    "fork": "usable in a fork child, where everything is unscheduled (TK-14)",
    "exit": "what is scheduled runs at exit, armed timers do not fire (TK-14)",
    "drop": "a queue dropped without close finishes its tasks with a ResourceWarning (TK-16)",
    "submit": "submit() and map() of private queues: futures of results (TK-18)",
    "await": "awaiting(): all that waits can be awaited; cancelled, only the waiting ends (AW-1 to AW-4)",
    "loop": "loop_queue() on an asyncio loop: its tasks run in the loop's thread (TK-19)",
    "poster": "loop_queue() on any object with post(fn); schedules before it comes round are one hand-over (TK-19)",
    "timeouts": "time limits of cancel(), drain() and close() (TK-6, TK-7, TK-16)",
}


class TaskLike(Protocol):
    """A task; made idle."""

    @property
    def pending(self) -> bool:
        """True if a run will begin for a schedule made so far."""

    @property
    def running(self) -> bool:
        """True while the function runs and has not called done()."""

    def cancel(self, interlock: Any = None, timeout: float | None = None) -> bool:
        """Withdraw and wait (TK-6)."""

    def cancel_async(self) -> bool:
        """Withdraw, never wait (TK-6)."""

    def done(self) -> None:
        """By the task's own function: this run is over (TK-2)."""

    def destroy(self) -> None:
        """Poison the idle task (TK-10)."""


class PlainLike(TaskLike, Protocol):
    """A task that runs as soon as possible."""

    def schedule(self) -> bool:
        """Run on the system queue (TK-4)."""


class DelayedLike(TaskLike, Protocol):
    """A task that may be scheduled for later."""

    @property
    def timed_out(self) -> bool:
        """True if the timer has fired since the task was last armed."""

    def schedule(self, seconds: float, jitter: float = 0.0, queue: Any = None) -> bool:
        """Run in `seconds`; False and unchanged if pending (TK-11)."""

    def reschedule(self, seconds: float, jitter: float = 0.0, queue: Any = None) -> bool:
        """Move to `seconds` from now; True if it was pending (TK-11)."""


class PeriodicLike(TaskLike, Protocol):
    """A task that runs every so often."""

    @property
    def missed(self) -> int:
        """Periods skipped before this run (TK-13)."""

    def start(self, first: float | None = None, queue: Any = None) -> bool:
        """Begin; False if it is started already (TK-13)."""


class QueueLike(Protocol):
    """A private queue."""

    def schedule(self, task: Any) -> bool:
        """True if newly queued (TK-1)."""

    def schedule_delayed(self, task: Any, seconds: float, jitter: float = 0.0) -> bool:
        """Arm a delayed task for this queue (TK-11)."""

    def call(self, fn: Callable[..., object], /, *args: Any, **kwargs: Any) -> None:
        """Call ``fn(*args, **kwargs)``, in the queue's order (TK-17); needed for "call"."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, context: Any = None, **kwargs: Any) -> Any:
        """As `call`, in a copy of the caller's context, or in `context` (TK-18); needed for "submit".

        What comes is a `concurrent.futures.Future`.
        """

    def map(
        self, fn: Callable[..., Any], *iterables: Any, timeout: float | None = None, buffersize: int | None = None
    ) -> Iterator[Any]:
        """Results in order, with at most `buffersize` calls ahead of the one that is taken (TK-18)."""

    def drain(self, timeout: float | None = None) -> None:
        """Wait for all that was scheduled before (TK-7)."""

    def close(self, timeout: float | None = None) -> tuple[Any, ...]:
        """Refuse, complete, cancel what is armed and say which (TK-16)."""


class SharedLike(Protocol):
    """A reference to a shared queue."""

    def schedule(self, task: Any) -> bool:
        """True if newly queued (TK-1)."""

    def drain(self, timeout: float | None = None) -> None:
        """Wait for all that was scheduled before (TK-7)."""

    def put(self, timeout: float | None = None) -> None:
        """Give the reference back (TK-4)."""


class TaskAdapter(Protocol):
    """One implementation. Made without arguments, once for each test."""

    @property
    def capabilities(self) -> frozenset[str]:
        """Keys of `TASK_CAPABILITIES`."""

    @property
    def usage_error(self) -> type[Exception]:
        """Raised for misuse."""

    @property
    def closed_error(self) -> type[Exception]:
        """Raised for schedule on a closed queue."""

    @property
    def timeout_error(self) -> type[Exception]:
        """Raised when a time limit ran out ("timeouts")."""

    def task(self, fn: Callable[..., object], context: Any = None) -> PlainLike:
        """A task for ``fn(task)``."""

    def delayed(self, fn: Callable[..., object]) -> DelayedLike:
        """A delayed task."""

    def periodic(self, fn: Callable[..., object], period: float) -> PeriodicLike:
        """A periodic task."""

    def queue(self, name: str, percpu: bool = False, concurrency: int = 1) -> QueueLike:
        """A private queue."""

    def shared(self, pri: int) -> SharedLike:
        """A reference to the shared queue of the priority."""

    def awaiting(self, thing: Any) -> Any:
        """The twin of a task or a queue, needed for "await" (AW-1).

        It has those of `TaskLike.cancel`, `QueueLike.drain`, `QueueLike.close` and `SharedLike.put` that are claimed,
        with the same arguments; each returns an awaitable, for a task of asyncio. With "submit" the futures can be
        awaited, too.
        """

    def loop_queue(self, name: str, loop: Any) -> QueueLike:
        """A private queue whose tasks run in the thread of `loop` (TK-19), needed for "loop" and "poster".

        That is an asyncio loop; for "poster" any object whose ``post(fn)`` has ``fn()`` called in the loop's thread
        soon, or raises RuntimeError if the loop is closed.
        """

    @property
    def loop_error(self) -> type[Exception]:
        """Raised where the loop of a queue is closed ("loop", "poster")."""

    def cpus(self) -> tuple[int, ...]:
        """The CPUs that per-CPU queues serve."""

    def set_limit(self, seconds: float) -> None:
        """Report tasks of shared queues that take longer; 0 is off."""

    def settle(self) -> None:
        """Have idle threads leave now, where the implementation keeps some for a while."""
