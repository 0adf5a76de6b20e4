"""The calls of this layer that wait, for event loops (AW-1): ``await queue.aio.drain()``. As in threadpool9.

Futures need none of this: ``await queue.submit(fn)``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from threadpool9.lowlevel import Awaiting

if TYPE_CHECKING:
    from ._delayed import DelayedTask
    from ._queue import TaskQueue
    from ._shared import SharedQueue
    from ._task import Task


class TaskAio:
    """A task, for event loops; from `Task.aio`."""

    __slots__ = ("_task",)

    def __init__(self, task: Task) -> None:
        self._task = task  # S

    async def cancel(self, interlock: Any = None, timeout: float | None = None) -> bool:
        """`Task.cancel`. If this is cancelled, the task may be scheduled again, and a run under way goes on (AW-2)."""
        wait = Awaiting(timeout)
        return await wait.run(self._task.cancel_steps(interlock, wait), locked=interlock is not None)


class QueueAio:
    """A queue, for event loops; from `TaskQueue.aio`."""

    __slots__ = ("_queue",)

    def __init__(self, queue: TaskQueue) -> None:
        self._queue = queue  # S

    async def drain(self, timeout: float | None = None) -> None:
        """`TaskQueue.drain`."""
        wait = Awaiting(timeout)
        await wait.run(self._queue.drain_steps(wait))

    async def close(self, timeout: float | None = None) -> tuple[DelayedTask, ...]:
        """`TaskQueue.close`. If this is cancelled, the queue is closed to new tasks: call it again to wait on."""
        wait = Awaiting(timeout)
        return await wait.run(self._queue.close_steps(wait), begin=True)


class SharedQueueAio(QueueAio):
    """A shared queue, for event loops; from `SharedQueue.aio`."""

    __slots__ = ()
    _queue: SharedQueue

    async def put(self, timeout: float | None = None) -> None:
        """`SharedQueue.put`. If this is cancelled, the reference has been given back anyway."""
        wait = Awaiting(timeout)
        await wait.run(self._queue.put_steps(wait), begin=True)
