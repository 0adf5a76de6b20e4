"""The shared per-CPU queues, one for each priority (TK-4): got and put like pools."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

from threadpool9 import PRI_NONE, UsageError
from threadpool9.lowlevel import Blocking, RLock, Steps, Wait, check_priority, run

from ._aio import SharedQueueAio
from ._group import Group
from ._queue import TaskQueue

if TYPE_CHECKING:
    from ._delayed import DelayedTask


class SharedQueue(TaskQueue):
    """THE shared per-CPU queue of a priority (TK-4); from `get`. Its tasks are to be short."""

    def __init__(self, name: str, pri: int) -> None:
        super().__init__(name, pri, percpu=True, group=Group(name, shared=True))
        self.references = 0  # under the registry's lock

    def put(self, timeout: float | None = None) -> None:
        """Give the reference back; the last one completes what is scheduled and cancels what is armed.

        Thread context; may block, at most `timeout` seconds: then WaitTimeout, and the queue goes when its tasks have
        run. One put too many is a UsageError.
        """
        run(self.put_steps(Blocking(timeout)))

    def put_steps(self, wait: Wait) -> Steps[None]:
        """`put`, for layers: by a thread or by a task of an event loop."""
        last, own, pri = False, self.group.is_own_thread(), self.pri
        try:
            with registry.lock:
                # No call unless it is refused: a handler on this thread might take a reference, or need a system queue.
                if self.references == 0:
                    raise UsageError(f"one put() too many: nobody holds a reference to {self!r}")
                if self.references > 1:
                    self.references -= 1
                elif self is registry.system:
                    raise UsageError(f"one put() too many: {self!r} itself is kept by Task.schedule()")
                elif own:
                    raise UsageError(f"a task of queue {self.name!r} can't put the last reference to its own queue")
                else:
                    last = True; self.references = 0; registry.queues.pop(pri, None)  # fmt: skip
            if last:
                yield from super().close_steps(wait)
        except BaseException:
            if last:
                self.references = 0
                self._abandon()
            raise

    def close_steps(self, wait: Wait, leave_workers: bool = False) -> Steps[tuple[DelayedTask, ...]]:
        """A shared queue belongs to everybody: `put` the reference instead. Always UsageError."""
        raise UsageError(f"{self!r} is shared; put() the reference that get() gave")

    def __exit__(self, *exc: object) -> None:
        self.put()

    async def __aexit__(self, *exc: object) -> None:
        await self.aio.put()

    @property
    def aio(self) -> SharedQueueAio:
        """`drain` and `put` for event loops: ``await queue.aio.put()`` (AW-1)."""
        return SharedQueueAio(self)

    def __del__(self, finalizing: Callable[[], bool] = sys.is_finalizing) -> None:
        if not finalizing() and self is not registry.system:  # which lives as long as the process
            super().__del__()


class Registry:
    """The shared queues of the process; written under `lock`, which is never held while waiting."""

    def __init__(self) -> None:
        self.lock = RLock()
        self.queues: dict[int, SharedQueue] = {}
        self.system: SharedQueue | None = None  # written once; its reference is never put


registry = Registry()


def get(pri: int = PRI_NONE) -> SharedQueue:
    """Take a reference to THE shared per-CPU queue of priority `pri` (TK-4). Thread context; `put` it back.

    Raises TypeError or PriorityError for a bad priority. Follows ``taskqueue_get``.
    """
    check_priority(pri)
    with registry.lock:
        queue = registry.queues.get(pri)
        if queue is not None:
            queue.references += 1
            return queue
    # Made without the lock, since making it asks hooks. The loser of a race throws its queue away.
    fresh = SharedQueue("system" if pri == PRI_NONE else f"shared@{pri}", pri)
    with registry.lock:
        queue = registry.queues.setdefault(pri, fresh)
        queue.references += 1
    if queue is not fresh:
        run(TaskQueue.close_steps(fresh, Blocking(None)))  # its own refuses; nobody has seen it
    return queue


def system_queue() -> SharedQueue:
    """The queue of `Task.schedule`: the shared one of PRI_NONE. Any context."""
    queue = registry.system
    if queue is None:
        queue = get(PRI_NONE)
        with registry.lock:
            if registry.system is None:
                registry.system = queue
            else:  # a handler that interrupted us, or another thread, was faster
                queue.references -= 1
                queue = registry.system
    return queue
