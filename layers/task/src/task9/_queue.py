"""A queue of tasks: a thin face over lanes (TK-4, TK-5, TK-7, TK-16, TK-17).

It holds one reference to the pools that its lanes run on, and gives it back when it is closed or dropped. An idle queue
owns no thread (TK-9).
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextvars import Context, copy_context
from typing import TYPE_CHECKING, Any, TypeVar

from threadpool9 import PRI_NONE, PerCPU, UsageError, current_cpu
from threadpool9.lowlevel import (
    Blocking,
    Reference,
    Steps,
    Wait,
    check_function,
    check_priority,
    poster_of,
    refuse_copy,
    run,
)

from ._aio import QueueAio
from ._drain import disarm_all, drain_once, end
from ._errors import LoopClosed
from ._future import Future
from ._group import FREEZE, Group
from ._lane import Lane
from ._loop import LoopLane, LoopReference
from ._map import map_lazily
from ._task import _COROUTINE, _FUNCTION, _NOT_PLAIN, Task, check_task
from ._watch import probes

if TYPE_CHECKING:
    from ._delayed import DelayedTask
    from ._item import Item

T = TypeVar("T")


class TaskQueue:
    """A private queue: its tasks run in order and may sleep without delaying any other queue (TK-5).

    Args:
        name: for people: snapshots, reports, thread names.
        pri: a priority; the queue runs on threads of that priority.
        percpu: one lane for each CPU, each in order, bound to its CPU; a task runs on the CPU it was scheduled on.
        concurrency: how many tasks run at once (started in order); not together with `percpu`.
        group: what a layer above shares among the lanes; see `task9.lanes`.
        on: an event loop whose thread runs the tasks (TK-19): an asyncio loop, a `trio.lowlevel.TrioToken`, or any
            `threadpool9.lowlevel.Poster`. Not together with `pri`, `percpu` and `concurrency`.

    Thread context. Close it, or use it in a ``with`` statement. Follows ``taskqueue_create``.
    """

    __reduce_ex__ = refuse_copy

    def __init__(
        self,
        name: str,
        pri: int = PRI_NONE,
        percpu: bool = False,
        concurrency: int = 1,
        *,
        group: Group | None = None,
        on: object = None,
    ) -> None:
        self.closed = True  # A: False from when we are complete until close
        if not isinstance(name, str):
            raise TypeError(f"the name of a queue is a str, not {name!r}")
        if type(concurrency) is not int:
            raise TypeError(f"concurrency is an int >= 1, not {concurrency!r}")
        if concurrency < 1 or (percpu and concurrency != 1):
            raise ValueError(f"concurrency is >= 1, and 1 for a per-CPU queue, not {concurrency}")
        poster = None if on is None else poster_of(on)
        if poster is not None and (percpu or concurrency != 1 or pri != PRI_NONE):
            raise ValueError("a queue in an event loop has one thread, the loop's: no pri, percpu or concurrency")
        check_priority(pri)
        self.group = Group(name) if group is None else group  # S: for layers
        self._lane: Lane | None = None  # S: the lane of a queue that is not per-CPU
        self._reference: Any = Reference(pri, percpu) if poster is None else LoopReference(poster)  # S
        pool = self._reference.pool
        lane_class = Lane if poster is None else LoopLane
        if isinstance(pool, PerCPU):
            #: CPU to lane, of a per-CPU queue only. An entry is never replaced.
            self._lanes: dict[int, Lane] = {cpu: lane_class(self.group, pool.ref_remote(cpu)) for cpu in pool.cpus}
        else:
            self._lane = lane_class(self.group, pool, concurrency)
        self.closed = False

    @property
    def name(self) -> str:
        """For people. Any context."""
        return self.group.name

    @property
    def pri(self) -> int:
        """The priority of its threads. Any context."""
        return self._reference.pool.pri  # type: ignore[no-any-return]

    def __repr__(self) -> str:
        return f"<TaskQueue {self.name!r}{' closed' if self.closed else ''}>"

    # --- scheduling

    def schedule(self, task: Task) -> bool:
        """Run `task` here as soon as possible: True if newly queued, False if coalesced (TK-1, TK-2).

        Any context; never blocks. On a per-CPU queue the task runs on the caller's CPU. Raises TypeError;
        UsageError if the task is destroyed or on another queue; QueueClosed; StartError as `Pool.schedule`.
        """
        if self.closed:
            self.group.refuse_closed()
        lane = self._lane
        if lane is None:
            lane = self.lane_here()
        try:
            if task.__class__ is not Task and not task.schedulable:
                check_task(task, self)
            # The short way to what `put` finds: a burst is mostly this.
            if (
                task.item_lane is lane
                and task.item_ticket[0] is task
                and task.item_lane is lane
                and probes.coalesced is None
                and not lane.group.halts
            ):
                return False
        except IndexError:
            pass  # a run is beginning
        except AttributeError:
            check_task(task, self)
            raise
        try:
            return lane.put(task)
        except TypeError:
            check_task(task, self)
            raise

    def schedule_on(self, cpu: int, task: Task) -> bool:
        """`schedule` on the lane of CPU `cpu` of a per-CPU queue. Any context. Raises CPUError for a bad CPU."""
        check_task(task, self)
        self.check_open()
        return self.lane_of(cpu).put(task)

    def schedule_delayed(self, task: DelayedTask, seconds: float, jitter: float = 0.0) -> bool:
        """Run `task` here, `seconds` from now at the earliest; see `DelayedTask.schedule`. Any context."""
        if not hasattr(task, "reschedule"):
            raise TypeError(f"{self!r} can delay a DelayedTask, not {task!r}")
        return task.schedule(seconds, jitter, self)

    def call(self, fn: Callable[..., object], /, *args: Any, **kwargs: Any) -> None:
        """Call ``fn(*args, **kwargs)`` here, in the queue's order: fire and forget (TK-17).

        There is no unit to make, keep, coalesce or cancel; drain, close, freeze, reports, snapshots and probes hold for
        a call as for a task. Any context; never blocks. On a per-CPU queue it is called on the caller's CPU. Raises
        TypeError, QueueClosed, and StartError as `Pool.schedule`.
        """
        if type(fn) is not _FUNCTION or fn.__code__.co_flags & _NOT_PLAIN:
            check_function("fn", fn, "")
        if self.closed:
            self.group.refuse_closed()
        lane = self._lane
        if lane is None:
            lane = self.lane_here()
        lane.call((fn, args, kwargs))

    def submit(self, fn: Callable[..., T], /, *args: Any, context: Context | None = None, **kwargs: Any) -> Future[T]:
        """Call ``fn(*args, **kwargs)`` here, in the queue's order, and return a `Future` of the result (TK-18).

        The function runs in a copy of the caller's context variables, or in `context`. Otherwise as `call`, in any
        context too.
        """
        if type(fn) is not _FUNCTION or fn.__code__.co_flags & _COROUTINE:
            check_function("fn", fn, "", generators=True)
        if context is None:
            context = copy_context()
        elif not isinstance(context, Context):
            raise TypeError(f"context must be a contextvars.Context, not {context!r}")
        if self.closed:
            self.group.refuse_closed()
        lane = self._lane
        if lane is None:
            lane = self.lane_here()
        future = Future(fn, args, kwargs, context)
        future.start(lane)
        return future

    def map(
        self,
        fn: Callable[..., T],
        *iterables: Iterable[Any],
        timeout: float | None = None,
        buffersize: int | None = None,
    ) -> Iterator[T]:
        """The results of `fn`, called here with one element of each of `iterables`, in order and lazily (TK-18).

        The first `buffersize` calls are submitted at once, one more whenever a result is taken; by default twice as
        many as may run at once. So `iterables` may be endless. When the iteration ends early, or `fn` raises, the calls
        that have not begun are cancelled. All run in copies of the caller's context. Thread context.

        Raises TimeoutError if a result is not available `timeout` seconds after this call; otherwise as `submit`.
        """
        return map_lazily(self, fn, iterables, timeout, buffersize)

    # --- for layers

    def check_open(self) -> None:
        """QueueClosed if the queue was closed. Any context."""
        if self.closed:
            self.group.refuse_closed()

    def lane_here(self) -> Lane:
        """The lane that takes what is scheduled here now: the only one, or the caller's CPU's. Any context."""
        if self._lane is not None:
            return self._lane
        lane = self._lanes.get(current_cpu())
        return lane if lane is not None else self.lane_of(self._reference.pool.ref().cpu)

    def lane_of(self, cpu: int) -> Lane:
        """The lane of CPU `cpu`. Any context. UsageError if the queue is not per-CPU, CPUError for a bad CPU."""
        pools = self._reference.pool
        if not isinstance(pools, PerCPU):
            raise UsageError(f"queue {self.name!r} is not per-CPU: there is no CPU to choose")
        lane = self._lanes.get(cpu) if type(cpu) is int else None
        if lane is not None:
            return lane
        pool = pools.ref_remote(cpu)  # raises for a CPU that we may not use
        # A CPU that came after the queue was made.
        fresh = Lane(self.group, pool)
        lane = self._lanes.setdefault(cpu, fresh)
        if lane is not fresh:
            self.group.lanes.remove(fresh)
        return lane

    @property
    def _cancelled(self) -> list[Item]:
        """A: what a close has cancelled, until one returns it. Made when it is first needed."""
        cancelled: list[Item] = self.__dict__.setdefault("_cancelled", [])
        return cancelled

    # --- waiting

    def _is_own_call(self) -> bool:
        """True in a call of this queue, which would wait for itself. In a loop `_may_wait` knows: an await may do."""
        return self.group.is_own_thread() and not any(lane.in_loop for lane in list(self.group.lanes))

    def _may_wait(self, wait: Wait) -> None:
        for lane in list(self.group.lanes):
            lane.may_wait(wait)

    def drain(self, timeout: float | None = None) -> None:
        """Wait until all that was scheduled before this call has completed, on every CPU (TK-7).

        Thread context; may block, at most `timeout` seconds (WaitTimeout). What is scheduled later, and what is
        armed in the timer, is not awaited. From a task of the same queue: UsageError.
        """
        run(self.drain_steps(Blocking(timeout)))

    def drain_steps(self, wait: Wait) -> Steps[None]:
        """`drain`, for layers: by a thread or by a task of an event loop."""
        if self._is_own_call():
            raise UsageError(f"a task of queue {self.name!r} can't wait for its own queue to drain")
        self._may_wait(wait)
        if (probe := probes.drain__start) is not None:
            probe(self)
        try:
            yield from drain_once(self.group, wait, f"draining queue {self.name!r}")
        finally:
            if (probe := probes.drain__done) is not None:
                probe(self)

    def cancel_pending(self) -> int:
        """Withdraw everything that waits here or is armed, calls included; returns how many. Any context.

        What runs goes on. Each item is treated as if cancelled individually, without waiting.
        """
        withdrawn: list[Item] = []
        disarm_all(self.group, withdrawn)
        count = len(withdrawn)
        for lane in list(self.group.lanes):
            count += lane.withdraw_all()
        return count

    def close(self, timeout: float | None = None) -> tuple[DelayedTask, ...]:
        """Refuse new tasks, complete what is scheduled, cancel what is armed; returns the latter (TK-16).

        Thread context; may block, at most `timeout` seconds (WaitTimeout: closed to new tasks, call again to
        wait on). A second close does nothing. From a task of the same queue: UsageError. Nothing runs here after
        it has returned: a concurrent schedule has either run by then or raises QueueClosed.
        """
        return run(self.close_steps(Blocking(timeout)))

    def close_steps(self, wait: Wait, leave_workers: bool = False) -> Steps[tuple[DelayedTask, ...]]:
        """`close`, for layers: by a thread or by a task of an event loop.

        With `leave_workers` it does not wait until workers have left that nobody else needs, nor for what they run for
        queues that were dropped.
        """
        if not leave_workers and self._is_own_call():
            raise UsageError(f"a task of queue {self.name!r} can't close its own queue")
        try:
            self._may_wait(wait)
            self.closed = True
            yield from end(self.group, self._cancelled, wait)
        except LoopClosed as error:
            self.closed = True
            disarm_all(self.group, self._cancelled)  # the next close returns them
            count = len(self._cancelled) + self.cancel_pending()
            raise LoopClosed(f"closing queue {self.name!r}: {error}; {count} that waited were withdrawn") from None
        if leave_workers:
            self._reference.release()
        else:
            yield from self._reference.put_steps(wait)
        returned: list[Any] = []
        cancelled = self._cancelled
        # Each is returned by one of several closes at once.
        returned += cancelled; del cancelled[: len(returned)]  # fmt: skip
        return tuple(returned)

    @property
    def aio(self) -> QueueAio:
        """`drain` and `close` for event loops: ``await queue.aio.drain()`` (AW-1)."""
        return QueueAio(self)

    def _abandon(self) -> str:
        """Close without waiting: what is scheduled still runs, then the workers leave; says so. Any context."""
        self.closed = True
        disarm_all(self.group, self._cancelled)
        outcome = "its tasks still run"
        try:
            self.group.let_go(FREEZE)  # nobody is left to thaw it
        except LoopClosed:
            outcome = f"its event loop is closed, and {self.cancel_pending()} that waited were withdrawn"
        self._reference.release()
        self.group.abandoned()
        return outcome

    def __enter__(self) -> TaskQueue:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    async def __aenter__(self) -> TaskQueue:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.aio.close()

    def __del__(self, finalizing: Callable[[], bool] = sys.is_finalizing) -> None:
        reference = getattr(self, "_reference", None)
        if reference is None or not reference.held or finalizing():  # at exit the exit policy has had its say
            return
        closed, armed = self.closed, len(self.group.armed)
        outcome = self._abandon()
        if not (closed or self.group.drop_silently):
            cancelled = f", but {armed} that were delayed are cancelled" if armed else ""
            warnings.warn(
                f"queue {self.name!r} was dropped without close(); {outcome}{cancelled}",
                ResourceWarning,
                stacklevel=2,
                source=self,
            )
