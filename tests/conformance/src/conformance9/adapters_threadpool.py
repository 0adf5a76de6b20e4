"""What the suite asks of an implementation of the threadpool layer: factories, error types and capabilities.

The objects that the factories return are used through the protocols below and through nothing else. An
implementation that has other names for the operations wraps its objects; one that has these hands them out.

The core, which every adapter must have: `ThreadpoolAdapter.job` and `ThreadpoolAdapter.get`, ``schedule`` and
``put`` of the pool, ``interlock`` and ``done`` of the job, and `ThreadpoolAdapter.settle`. Everything else is used
only by tests that need a capability which the adapter claims; an adapter leaves out what goes with the others.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

__all__ = [
    "THREADPOOL_CAPABILITIES",
    "CountersLike",
    "JobLike",
    "PerCPULike",
    "PoolLike",
    "SnapshotLike",
    "ThreadpoolAdapter",
    "WorkerLike",
]

#: Capabilities that an adapter may claim; a test that needs one is skipped, and says so, where it is not claimed.
#: Methods and errors that are there for a capability may be left out with it. Arguments with a default are to be taken
#: in any case, and may be ignored without their capability: tests pass time limits to whatever has one.
THREADPOOL_CAPABILITIES: dict[str, str] = {
    "shared": "get() gives THE pool of a priority, counted; wrong priorities and puts are refused (TP-1, TP-2, TP-9)",
    "lazy": "a pool has no thread before its first job (TP-3)",
    "idle out": "set_idle(); idle threads leave, all of them, helpers too (TP-4, TP-5)",
    "lifo": "of idle threads the last one is used first (TP-4)",
    "unlimited": "any number of jobs may block at once (TP-6)",
    "percpu": "percpu_get(), cpus(); threads bound to one CPU (TP-7, TP-8)",
    "cpu changes": "CPUs that go and come back are followed (TP-8)",
    "put waits": "put() of the last reference returns after all jobs and workers (TP-9)",
    "priorities": "priorities become nice values and SCHED_RR where the OS lets us (TP-10)",
    "strict": "set_strict(); a priority that the OS refuses is an error (TP-10)",
    "thread names": "poolthread, /cpu, @pri as the thread's OS name (TP-11)",
    "job names": "set_job_names(); the job's name is the thread's OS name while it runs (TP-11)",
    "refusals": "threads that the OS refuses are tried again, or schedule raises start_error (TP-12)",
    "clean threads": "CPU set, nice, mask, context of a worker are not those of who scheduled or ran before (TP-13)",
    "retire": "settle() says how many left (TP-14)",
    "interlock checks": "schedule and cancel without the interlock are refused (TP-20)",
    "coalesce": "scheduling a queued or running job does nothing; done() ends the run (TP-21, TP-22, TP-23)",
    "errors": "misuse of a job is refused and changes nothing (TP-23, TP-27)",
    "reports": "exceptions and a missing done() reach threading.excepthook (TP-24, TP-30)",
    "cancel": "cancel_async() (TP-25)",
    "cancel waits": "cancel() (TP-26)",
    "timeouts": "time limits of cancel() and put() (TP-9, TP-26)",
    "waits": "wait() of a job, drain() of a pool: they wait and withdraw nothing (TP-9, TP-26, TP-27)",
    "post": "post() (TP-28)",
    "any context": "schedule, post and cancel_async may interrupt themselves between any two bytecodes (TP-20, TP-28)",
    "order": "jobs that wait start in the order scheduled (TP-29)",
    "fork": "usable in a fork child (TP-31)",
    "exit": "what is scheduled runs at exit, also from atexit functions and late threads (TP-32)",
    "exit ends": "what schedules itself for ever, and daemon threads, are refused at exit (TP-32)",
    "exit policies": "set_exit_policy() (TP-32)",
    "free threading": "never switches the GIL on (TP-33)",
    "snapshot": "snapshot() (TP-34)",
    "stall watchdog": "set_stall() (TP-35)",
    "await": "awaiting(): all that waits can be awaited; cancelled, only the waiting ends (AW-1 to AW-4)",
}


class JobLike(Protocol):
    """A job; made idle."""

    @property
    def interlock(self) -> Any:
        """The lock that is held to schedule, cancel and finish the job (TP-20)."""

    def done(self) -> None:
        """By the job's own function, once per run, interlock held (TP-23)."""

    def destroy(self) -> None:
        """Poison the idle job (TP-27); needed for "errors"."""

    def wait(self, timeout: float | None = None) -> None:
        """Wait until the run that is queued or under way is over (TP-26); needed for "waits"."""


class PoolLike(Protocol):
    """A pool, and one reference to it."""

    def schedule(self, job: Any) -> bool:
        """Run it on a thread; True if newly scheduled; interlock held (TP-20, TP-21)."""

    def post(self, job: Any) -> bool:
        """As `schedule`, without the interlock (TP-28)."""

    def cancel_async(self, job: Any) -> bool:
        """Withdraw it, never wait; True exactly if it never runs for that schedule; interlock held (TP-25)."""

    def cancel(self, job: Any, timeout: float | None = None) -> bool:
        """Withdraw it, or wait for done(); True if it had not begun; interlock held (TP-26)."""

    def drain(self, timeout: float | None = None) -> None:
        """Wait until what was scheduled before has run; others go on (TP-9); needed for "waits"."""

    def put(self, timeout: float | None = None) -> None:
        """Give the reference back (TP-9)."""


class PerCPULike(Protocol):
    """The pools of one priority that are bound to a CPU each, and one reference to them."""

    def ref(self) -> PoolLike:
        """The pool of the caller's CPU (TP-7)."""

    def ref_remote(self, cpu: int) -> PoolLike:
        """The pool of a CPU (TP-8)."""

    def put(self, timeout: float | None = None) -> None:
        """Give the reference back (TP-9)."""


class WorkerLike(Protocol):
    """A worker in a snapshot (TP-34)."""

    @property
    def tid(self) -> int:
        """The OS's thread id."""

    @property
    def cpu(self) -> int | None:
        """The CPU that it is bound to."""

    @property
    def state(self) -> str:
        """``"running"`` or ``"idle"``."""

    @property
    def job(self) -> str | None:
        """The name of the job that it runs."""


class CountersLike(Protocol):
    """Counters of the process in a snapshot (TP-34)."""

    @property
    def scheduled(self) -> int:
        """Schedules that took effect."""

    @property
    def started(self) -> int:
        """Functions entered."""

    @property
    def completed(self) -> int:
        """Functions that are over."""

    @property
    def cancelled(self) -> int:
        """Schedules withdrawn."""

    @property
    def errors(self) -> int:
        """Functions that raised or forgot done()."""


class SnapshotLike(Protocol):
    """Everything at one moment (TP-34)."""

    @property
    def workers(self) -> Sequence[WorkerLike]:
        """All workers of the process."""

    @property
    def queued(self) -> Sequence[str]:
        """Names of the jobs that wait."""

    @property
    def counters(self) -> CountersLike:
        """Of the process."""


class ThreadpoolAdapter(Protocol):
    """One implementation. Made without arguments, once for each test."""

    @property
    def capabilities(self) -> frozenset[str]:
        """Keys of `THREADPOOL_CAPABILITIES`."""

    @property
    def usage_error(self) -> type[Exception]:
        """Raised for misuse ("shared", "errors", "interlock checks")."""

    @property
    def timeout_error(self) -> type[Exception]:
        """Raised when a time limit ran out ("timeouts")."""

    @property
    def cpu_error(self) -> type[Exception]:
        """Raised for a CPU that the process may not use ("percpu")."""

    @property
    def start_error(self) -> type[Exception]:
        """Raised by schedule when no thread can be had ("refusals")."""

    @property
    def refused_error(self) -> type[Exception]:
        """Raised by get for a priority that the OS refuses ("strict")."""

    def job(self, fn: Callable[[Any], object], interlock: Any = None, name: str | None = None) -> JobLike:
        """A job for ``fn(job)``; without an interlock it gets a re-entrant one of its own."""

    def get(self, pri: int = -1) -> PoolLike:
        """A reference to THE pool of the priority; without "shared", a pool of its own (TP-1)."""

    def percpu_get(self, pri: int = -1) -> PerCPULike:
        """A reference to THE per-CPU pools of the priority (TP-1, TP-7)."""

    def awaiting(self, thing: Any) -> Any:
        """The twin of a job or a pool, needed for "await" (AW-1).

        It has those of `JobLike.wait`, `PoolLike.cancel`, `PoolLike.drain` and `PoolLike.put` that are claimed, with
        the same arguments; each returns an awaitable, for a task of asyncio.
        """

    def cpus(self) -> tuple[int, ...]:
        """The CPUs that have pools (TP-8)."""

    def settle(self) -> int | None:
        """Have idle threads leave now; how many left, for "retire" (TP-14). Does nothing where that can't be asked."""

    def set_idle(self, seconds: float) -> None:
        """Set the idle time (TP-4)."""

    def set_strict(self, on: bool) -> None:
        """Make a refused priority an error (TP-10)."""

    def set_job_names(self, on: bool) -> None:
        """Show job names (TP-11)."""

    def set_exit_policy(self, policy: str | float) -> None:
        """``"drain"``, ``"cancel"``, ``"abandon"`` or seconds (TP-32)."""

    def set_stall(self, seconds: float) -> None:
        """Report jobs that run longer; 0 is off (TP-35)."""

    def snapshot(self) -> SnapshotLike:
        """Look at everything (TP-34)."""

    def reset(self) -> None:
        """Undo what the ``set_`` methods set; called after each test if the adapter has it."""
