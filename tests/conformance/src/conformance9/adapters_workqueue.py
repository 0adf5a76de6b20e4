"""What the suite asks of an implementation of the work queue layer: factories, error types and capabilities."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

__all__ = ["WORKQUEUE_CAPABILITIES", "StatsLike", "WorkLike", "WorkQueueAdapter", "WorkQueueLike"]

#: Capabilities that an adapter may claim; a test that needs one is skipped, and says so, where it is not claimed.
#: Methods and errors that are there for a capability may be left out with it. Arguments with a default are to be taken
#: in any case, and may be ignored without their capability: tests pass time limits to whatever has one.
#: Who does not claim "local" has functions run somewhere else, where a function that enqueues is anybody. The suite's
#: own share locks and lists with their test all the same: such an adapter sees to it that they are called with the very
#: work and argument (plugins/workqueue9-dask/tests/dask_adapter.py does).
WORKQUEUE_CAPABILITIES: dict[str, str] = {
    "any context": "enqueue may interrupt itself between any two bytecodes (WQ-3)",
    "local": "functions run in this process, and may use their own queue and the caller's context (WQ-4, WQ-6, WQ-16)",
    "percpu": "queues with one ordered queue for each CPU (WQ-2)",
    "max_active": "several works at once (WQ-1)",
    "close": "close(): a drain and a destroy in one (WQ-6)",
    "delayed": "enqueue_delayed and modify (WQ-7)",
    "jitter": "enqueue_delayed takes a jitter (WQ-7)",
    "max_pending": "back-pressure (WQ-9)",
    "freeze": "freeze, thaw, disable, enable (WQ-10)",
    "on_error": "an error handler for each queue (WQ-11)",
    "stats": "counters (WQ-12)",
    "giant": "queues whose functions exclude each other (WQ-13)",
    "submit": "submit(): futures of what the function returned (WQ-16)",
    "await": "awaiting(): all that waits can be awaited; cancelled, only the waiting ends (AW-1 to AW-4, WQ-14)",
    "timeouts": "time limits of enqueue(), wait(), cancel(), flush() and drain() (WQ-4, WQ-5, WQ-6, WQ-9)",
}


class WorkLike(Protocol):
    """A work; made idle."""

    @property
    def payload(self) -> Any:
        """What it was made with."""

    @property
    def pending(self) -> bool:
        """True while enqueued, or armed, and not yet called."""


class StatsLike(Protocol):
    """Counters of one queue."""

    @property
    def enqueued(self) -> int:
        """Works enqueued so far."""

    @property
    def started(self) -> int:
        """Calls begun."""

    @property
    def completed(self) -> int:
        """Calls that are over."""

    @property
    def cancelled(self) -> int:
        """Works withdrawn."""

    @property
    def errors(self) -> int:
        """Calls that raised."""

    @property
    def run_seconds(self) -> float:
        """Time spent in the function."""

    @property
    def wait_histogram(self) -> Sequence[int]:
        """How many works waited how long."""

    @property
    def pending(self) -> int:
        """Works that wait."""

    @property
    def running(self) -> int:
        """Works in the function."""


class WorkQueueLike(Protocol):
    """A work queue."""

    def enqueue(self, work: Any, cpu: int | None = None, block: bool = True, timeout: float | None = None) -> bool:
        """True; False if the work is disabled, or somebody's cancel of it waits (WQ-3, WQ-5, WQ-9)."""

    def submit(self, payload: Any, *, context: Any = None) -> Any:
        """Enqueue a new work with the payload; a `concurrent.futures.Future` (WQ-16); needed for "submit"."""

    def enqueue_delayed(self, work: Any, seconds: float, jitter: float = 0.0, cpu: int | None = None) -> bool:
        """Enqueue later (WQ-7)."""

    def modify(self, work: Any, seconds: float) -> bool:
        """Move to `seconds` from now; True if it was pending (WQ-7)."""

    def wait(self, work: Any, timeout: float | None = None) -> None:
        """Until it is neither pending nor in its function (WQ-4)."""

    def cancel(self, work: Any, timeout: float | None = None) -> bool:
        """True if it was withdrawn before running (WQ-5)."""

    def flush(self, timeout: float | None = None) -> None:
        """Everything enqueued before has completed (WQ-6)."""

    def drain(self, timeout: float | None = None) -> None:
        """Until empty (WQ-6)."""

    def destroy(self) -> tuple[Any, ...]:
        """The end; which delayed works were cancelled (WQ-6, WQ-7)."""

    def close(self, timeout: float | None = None) -> tuple[Any, ...]:
        """Complete what is pending, end the queue, say what was cancelled (WQ-6); needed for "close"."""

    def freeze(self) -> None:
        """Hold (WQ-10)."""

    def thaw(self) -> None:
        """Run all held (WQ-10)."""

    def disable(self, work: Any, timeout: float | None = None) -> bool:
        """Cancel, and refuse until enabled (WQ-10)."""

    def enable(self, work: Any) -> bool:
        """Undo one disable (WQ-10)."""

    def stats(self) -> StatsLike:
        """Counters (WQ-12)."""


class WorkQueueAdapter(Protocol):
    """One implementation. Made without arguments, once for each test."""

    @property
    def capabilities(self) -> frozenset[str]:
        """Keys of `WORKQUEUE_CAPABILITIES`."""

    @property
    def usage_error(self) -> type[Exception]:
        """Raised for misuse."""

    @property
    def pending_error(self) -> type[Exception]:
        """Raised for an enqueue of a pending work."""

    @property
    def full_error(self) -> type[Exception]:
        """Raised when there is no room (in time)."""

    @property
    def timeout_error(self) -> type[Exception]:
        """Raised when a time limit ran out ("timeouts")."""

    @property
    def cpu_error(self) -> type[Exception]:
        """Raised for a CPU that the process may not use."""

    @property
    def softnet(self) -> int | None:
        """PRI_SOFTNET, if this process may have it; else None."""

    def work(self, payload: Any = None) -> WorkLike:
        """A work."""

    def queue(
        self,
        name: str,
        func: Callable[[Any, Any], object],
        arg: Any = None,
        *,
        pri: int | None = None,
        percpu: bool = False,
        giant: bool = False,
        max_active: int = 1,
        max_pending: int | None = None,
        on_error: Callable[[BaseException, Any], object] | None = None,
    ) -> WorkQueueLike:
        """A queue for ``func(work, arg)``, called with the very work and arg, also without "local"."""

    def awaiting(self, queue: Any) -> Any:
        """The twin of a queue, needed for "await" (AW-1).

        It has those of `WorkQueueLike.enqueue` (which always waits for room: no ``block``), ``wait``, ``cancel``,
        ``flush``, ``drain``, ``close`` and ``disable`` that are claimed, with the same arguments; each returns an
        awaitable, for a task of asyncio. With "submit" the futures can be awaited, too.
        """

    def wait_bounds(self) -> Sequence[float]:
        """For each bucket of `StatsLike.wait_histogram` the seconds that the waits in it are shorter than (WQ-12)."""

    def cpus(self) -> tuple[int, ...]:
        """The CPUs that per-CPU queues serve."""

    def settle(self) -> None:
        """Have idle threads leave now, where the implementation keeps some for a while."""
