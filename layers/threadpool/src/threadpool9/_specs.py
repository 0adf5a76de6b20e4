"""The hook specifications of this layer, one by one: what a plugin may implement (HK-1 to HK-5).

Two kinds. *Questions* (`Questions`): the layer asks, the first answer that is not None counts, and where nobody
answers the layer's own default applies. *Probes* (`Tracing`): the layer tells that something happens; they carry
the names and arguments of NetBSD's SDT probes, and cost one pointer test while nobody listens (see `_probes`).

An implementation may leave out arguments that it does not need. Its exceptions are reported, counted and go no
further. It is called on the thread that is named, and where it says *any context* it may interrupt other code
of that thread: no lock that the thread may hold, nothing that blocks; the ends of a deque and dict items are fine.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType
from typing import TYPE_CHECKING

import attrs
import pluggy

from ._priority import Scheduling

if TYPE_CHECKING:
    from ._job import Job
    from ._pool import Pool
    from ._references import PerCPU
    from ._worker import Worker

hookspec = pluggy.HookspecMarker("threadpool9")
hookimpl = pluggy.HookimplMarker("threadpool9")


@attrs.frozen
class CPU:
    """One logical CPU as a topology hook describes it (HK-1); -1 where a field is unknown."""

    cpu: int
    core: int = -1
    package: int = -1
    cache: int = -1
    node: int = -1


@attrs.frozen
class ErrorReport:
    """An exception that left a job, task or work, or that a hook raised (HK-4, TP-30)."""

    exc_type: type[BaseException]
    exc_value: BaseException
    exc_traceback: TracebackType | None
    origin: object
    """The job, task or work that it came from; a text for hooks."""
    thread: object
    """The `threading.Thread` that it happened on."""


class Questions:
    """Hooks that answer; for each the first answer that is not None counts, except for errors."""

    @hookspec(firstresult=True)
    def threadpool9_topology(self) -> Sequence[CPU] | None:
        """The CPUs of the machine (HK-1). Thread context, when `threadpool9.topology` is called.

        At least one CPU, none twice; anything else is a PluginError that names the plugin.
        """

    @hookspec(firstresult=True)
    def threadpool9_current_cpu(self) -> int | None:
        """The CPU that the calling thread runs on (HK-1). Any context, whenever a per-CPU pool is chosen."""

    @hookspec(firstresult=True)
    def threadpool9_map_priority(self, pri: int) -> Scheduling | None:
        """What priority `pri` asks of the OS (HK-2). Thread context, once when a pool is made.

        An answer that no OS knows is a PluginError at get() that names the plugin.
        """

    @hookspec(firstresult=True)
    def threadpool9_apply_priority(self, scheduling: Scheduling, tid: int) -> str | None:
        """Give thread `tid`, the calling one, its class and priority by other means than the OS's calls (HK-2).

        On a new worker before its first job, and when a job has changed its thread. The answer is what was
        refused, ``""`` if nothing was; None leaves it to the default.
        """

    @hookspec(firstresult=True)
    def threadpool9_bind(self, cpu: int) -> bool | None:
        """Bind the calling thread to `cpu` and return True; raise OSError if that is impossible (HK-3).

        On a new worker before its first job, and on one whose binding was lost.
        """

    @hookspec
    def threadpool9_error(self, error: ErrorReport) -> bool | None:
        """An exception was caught (HK-4). If any listener returns True, `threading.excepthook` is not called.

        On the thread that caught it; for exceptions of probe listeners that is any context. Reports of the watchdog
        come on threads of their own.
        """


class Tracing:
    """The probes of threadpool(9), 29 of them NetBSD's; ``dispatcher`` is the starter, our one dispatcher."""

    @hookspec
    def threadpool9_get(self, pri: int) -> None:
        """`get` was called. Its caller's thread."""

    @hookspec
    def threadpool9_get__create(self, pri: int) -> None:
        """`get` found no pool of that priority and makes one. Its caller's thread."""

    @hookspec
    def threadpool9_get__race(self, pri: int) -> None:
        """Another thread's `get` made the pool first; ours is thrown away. Its caller's thread."""

    @hookspec
    def threadpool9_put(self, pool: Pool, pri: int) -> None:
        """`Pool.put` was called. Its caller's thread."""

    @hookspec
    def threadpool9_put__destroy(self, pool: Pool, pri: int) -> None:
        """It was the last reference; the pool ends with its last job. The thread of put's caller."""

    @hookspec
    def threadpool9_percpu__get(self, pri: int) -> None:
        """`percpu_get` was called. Its caller's thread."""

    @hookspec
    def threadpool9_percpu__get__create(self, pri: int) -> None:
        """`percpu_get` found no set of that priority and makes one. Its caller's thread."""

    @hookspec
    def threadpool9_percpu__get__race(self, pri: int) -> None:
        """Another thread's `percpu_get` made the set first. Its caller's thread."""

    @hookspec
    def threadpool9_percpu__put(self, pool: PerCPU, pri: int) -> None:
        """`PerCPU.put` was called. Its caller's thread."""

    @hookspec
    def threadpool9_percpu__put__destroy(self, pool: PerCPU, pri: int) -> None:
        """It was the last reference to the set. The thread of put's caller."""

    @hookspec
    def threadpool9_create(self, cpu: int | None, pri: int) -> None:
        """A pool is about to be made; `cpu` is None for an unbound one. The thread that asked for it."""

    @hookspec
    def threadpool9_create__success(self, cpu: int | None, pri: int, pool: Pool) -> None:
        """A pool was made. The thread that asked for it."""

    @hookspec
    def threadpool9_create__failure(self, cpu: int | None, pri: int, error: BaseException) -> None:
        """A pool could not be made (invalid priority map answer, strict priorities). The thread that asked for it."""

    @hookspec
    def threadpool9_destroy(self, pool: Pool) -> None:
        """The end of a pool begins: idle workers are sent away. The thread of the last put."""

    @hookspec
    def threadpool9_destroy__wait(self, pool: Pool, refcnt: int) -> None:
        """The last put waits for `refcnt` workers. Its caller's thread."""

    @hookspec
    def threadpool9_schedule__job(self, pool: Pool, job: Job) -> None:
        """`job` is newly scheduled, and not taken by anybody yet. Any context."""

    @hookspec
    def threadpool9_schedule__job__running(self, pool: Pool, job: Job) -> None:
        """A schedule did nothing: the job is queued or running. Any context."""

    @hookspec
    def threadpool9_schedule__job__dispatcher(self, pool: Pool, job: Job) -> None:
        """No worker was idle: the starter was asked for one. Any context; not for each job of a burst."""

    @hookspec
    def threadpool9_schedule__job__thread(self, pool: Pool, job: Job, thread: Worker) -> None:
        """An idle worker was claimed and woken; it takes what is first in the queue. Any context."""

    @hookspec
    def threadpool9_dispatcher__start(self, pool: Pool) -> None:
        """The starter begins to look after a pool that has jobs and no idle worker. The starter's thread."""

    @hookspec
    def threadpool9_dispatcher__dying(self, pool: Pool) -> None:
        """The last worker of a pool without references was seen off. The starter's thread."""

    @hookspec
    def threadpool9_dispatcher__spawn(self, pool: Pool) -> None:
        """A worker is about to be started. The starter's thread."""

    @hookspec
    def threadpool9_dispatcher__race(self, pool: Pool, job: Job | None) -> None:
        """The starter was asked for a worker, but one became idle first. The starter's thread."""

    @hookspec
    def threadpool9_dispatcher__assign(self, pool: Pool, job: Job | None, thread: Worker) -> None:
        """A worker was started for the job at the head of the queue. The starter's thread."""

    @hookspec
    def threadpool9_dispatcher__exit(self, pool: Pool) -> None:
        """The starter stops looking after a pool: its queue is empty. The starter's thread."""

    @hookspec
    def threadpool9_thread__start(self, pool: Pool) -> None:
        """A worker is in order and looks for its first job. Its thread."""

    @hookspec
    def threadpool9_thread__dying(self, pool: Pool) -> None:
        """A worker's idle time is over, or it was sent away. Its thread."""

    @hookspec
    def threadpool9_thread__job(self, pool: Pool, job: Job) -> None:
        """The job's function is about to be called. The worker's thread."""

    @hookspec
    def threadpool9_thread__exit(self, pool: Pool) -> None:
        """A worker's thread is about to end. That thread."""

    # Ours, for what NetBSD has no probe for.

    @hookspec
    def threadpool9_thread__job__done(self, pool: Pool, job: Job) -> None:
        """The job's function has returned or raised; the object may be in use again by now. The worker's thread."""

    @hookspec
    def threadpool9_thread__job__error(self, pool: Pool, job: Job, error: BaseException) -> None:
        """The job's function raised, or returned without done(). The worker's thread, before the error hook."""

    @hookspec
    def threadpool9_cancel__job(self, pool: Pool, job: Job) -> None:
        """A scheduled job was withdrawn. Any context."""

    @hookspec
    def threadpool9_bind__lost(self, pool: Pool, cpu: int) -> None:
        """The pool's CPU can't be used any more (TP-8). A worker's thread."""

    @hookspec
    def threadpool9_bind__restored(self, pool: Pool, cpu: int) -> None:
        """The pool's CPU is back, a worker is bound to it again (TP-8). That worker's thread, or the starter's."""
