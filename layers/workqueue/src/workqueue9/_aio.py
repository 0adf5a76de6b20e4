"""The calls of this layer that wait, for event loops (AW-1): ``await queue.aio.drain()``. As in threadpool9."""

from __future__ import annotations

from contextvars import Context
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from task9 import Future
from threadpool9.lowlevel import Awaiting

if TYPE_CHECKING:
    from ._flags import AnyCPU
    from ._work import Work
    from ._workqueue import WorkQueue

W = TypeVar("W", bound="Work[Any]")


class WorkQueueAio(Generic[W]):
    """A work queue, for event loops; from `WorkQueue.aio`."""

    __slots__ = ("_queue",)

    def __init__(self, queue: WorkQueue[W, Any]) -> None:
        self._queue = queue  # S

    async def enqueue(self, work: W, cpu: int | AnyCPU | None = None, timeout: float | None = None) -> bool:
        """`WorkQueue.enqueue`; on a full queue the task waits. If that is cancelled, the work was not enqueued."""
        wait = Awaiting(timeout)
        return await wait.run(self._queue.enqueue_steps(work, cpu, wait))

    async def submit(
        self,
        payload: Any,
        cpu: int | AnyCPU | None = None,
        timeout: float | None = None,
        *,
        context: Context | None = None,
    ) -> Future[Any]:
        """`WorkQueue.submit`; on a full queue the task waits for a place. Await the future that comes, too."""
        wait = Awaiting(timeout)
        return await wait.run(self._queue.submit_steps(payload, cpu, wait, context))

    async def wait(self, work: W, timeout: float | None = None) -> None:
        """`WorkQueue.wait`."""
        wait = Awaiting(timeout)
        await wait.run(self._queue.wait_steps(work, wait))

    async def cancel(self, work: W, timeout: float | None = None) -> bool:
        """`WorkQueue.cancel`. If this is cancelled the work stays withdrawn, and a run under way goes on (AW-2)."""
        wait = Awaiting(timeout)
        return await wait.run(self._queue.cancel_steps(work, wait))

    async def disable(self, work: W, timeout: float | None = None) -> bool:
        """`WorkQueue.disable`. If this is cancelled the work stays disabled."""
        wait = Awaiting(timeout)
        return await wait.run(self._queue.disable_steps(work, wait))

    async def flush(self, timeout: float | None = None) -> None:
        """`WorkQueue.flush`."""
        wait = Awaiting(timeout)
        await wait.run(self._queue.flush_steps(wait))

    async def drain(self, timeout: float | None = None) -> None:
        """`WorkQueue.drain`. If this is cancelled the queue takes works again (AW-2)."""
        wait = Awaiting(timeout)
        await wait.run(self._queue.drain_steps(wait))

    async def close(self, timeout: float | None = None) -> tuple[W, ...]:
        """`WorkQueue.close`. If this is cancelled, call it again to wait on."""
        wait = Awaiting(timeout)
        return await wait.run(self._queue.close_steps(wait), begin=True)

    async def destroy(self, timeout: float | None = None) -> tuple[W, ...]:
        """`WorkQueue.destroy`. If this is cancelled, call it again to wait on."""
        wait = Awaiting(timeout)
        return await wait.run(self._queue.destroy_steps(wait), begin=True)
