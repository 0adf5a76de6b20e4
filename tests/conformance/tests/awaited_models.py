"""Awaiting as a stranger may do it: the reference models, looked at again and again by a task; and faults of that."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

from conformance9 import reference_task as tasks
from conformance9 import reference_workqueue as works


async def until(condition: Callable[[], object], lock: Any, late: Exception, timeout: float | None) -> None:
    """Look until it is so."""
    deadline = None if timeout is None else time.monotonic() + timeout
    while True:
        with lock:
            if condition():
                return
        if deadline is not None and time.monotonic() >= deadline:
            raise late
        await asyncio.sleep(0.001)


class TaskTwin:
    """What waits for a task or a queue."""

    until = staticmethod(until)

    def __init__(self, thing: Any) -> None:
        self.thing = thing

    async def wait(self, condition: Callable[[], object], timeout: float | None) -> None:
        """Until it is so."""
        await self.until(condition, tasks.LOCK, tasks.GaveUp(), timeout)

    async def cancel(self, interlock: Any = None, timeout: float | None = None) -> bool:
        """TK-6."""
        task = self.thing
        with tasks.LOCK:
            task.withdraw()
            if not task.running:
                return True
            task.cancelling += 1
        try:
            await self.wait(lambda: not task.running, timeout)
            return False
        finally:
            with tasks.LOCK:
                task.cancelling -= 1

    async def drain(self, timeout: float | None = None) -> None:
        """TK-7."""
        queue, now = self.thing, next(tasks.NUMBERS)
        await self.wait(
            lambda: all(n > now for n in [*queue.busy.values(), *(task.number for task in queue.items)]), timeout
        )

    async def close(self, timeout: float | None = None) -> tuple[Any, ...]:
        """TK-16."""
        with tasks.LOCK:
            self.thing.closed = True
        await self.drain(timeout)
        result: tuple[Any, ...] = self.thing.close(timeout)
        return result


class WorkTwin:
    """What waits for a work queue."""

    until = staticmethod(until)

    def __init__(self, queue: Any) -> None:
        self.queue = queue

    async def pause(self, condition: Callable[[], object], timeout: float | None) -> None:
        """Until it is so."""
        await self.until(condition, works.LOCK, works.GaveUp(), timeout)

    async def enqueue(self, work: Any, cpu: int | None = None, timeout: float | None = None) -> bool:
        """WQ-9."""
        said: list[bool] = []

        def room() -> bool:
            try:
                said.append(self.queue.enqueue(work, cpu, block=False))
            except works.Full:
                return False
            return True

        await self.until(room, works.LOCK, works.Full(), timeout)
        return said[0]

    async def wait(self, work: Any, timeout: float | None = None) -> None:
        """WQ-4."""
        now = next(works.NUMBERS)
        await self.pause(lambda: not any(w is work and n < now for w, n in self.queue._left()), timeout)

    async def cancel(self, work: Any, timeout: float | None = None) -> bool:
        """WQ-5."""
        queue = self.queue

        def running() -> bool:
            return any(each is work for each, _ in queue.calls.values())

        with works.LOCK:
            withdrawn, waits = queue._withdraw(work), running()
            work.disabled += 1
        try:
            await self.pause(lambda: not running(), timeout)
        finally:
            with works.LOCK:
                work.disabled -= 1
        return withdrawn and not waits

    async def disable(self, work: Any, timeout: float | None = None) -> bool:
        """WQ-10."""
        with works.LOCK:
            work.disabled += 1
        return await self.cancel(work, timeout)

    async def flush(self, timeout: float | None = None) -> None:
        """WQ-6."""
        now = next(works.NUMBERS)
        await self.pause(lambda: all(number > now for _, number in self.queue._left()), timeout)

    async def drain(self, timeout: float | None = None) -> None:
        """WQ-6."""
        with works.LOCK:
            self.queue.draining += 1
        try:
            await self.pause(lambda: not self.queue._left(), timeout)
        finally:
            with works.LOCK:
                self.queue.draining -= 1


class AwaitedTasks(tasks.ReferenceTasks):
    """The reference model, awaited."""

    capabilities = tasks.ReferenceTasks.capabilities | {"await"}
    awaiting: Any = TaskTwin


class AwaitedWorks(works.ReferenceWorkQueues):
    """The reference model, awaited."""

    capabilities = works.ReferenceWorkQueues.capabilities | {"await"}
    awaiting: Any = WorkTwin


# --- faults


class InThreads:
    """AW-1: a thread waits for each task that does."""

    def __init__(self, thing: Any) -> None:
        self.thing = thing

    def __getattr__(self, name: str) -> Any:
        return lambda *args, **kwargs: asyncio.to_thread(getattr(self.thing, name), *args, **kwargs)


async def deaf(condition: Callable[[], object], lock: Any, late: Exception, timeout: float | None) -> None:
    """AW-2: who is cancelled waits on."""
    while True:
        try:
            return await until(condition, lock, late, timeout)
        except asyncio.CancelledError:
            pass


class ThreadedTasks(AwaitedTasks):
    """AW-1."""

    awaiting = InThreads


class DeafWorks(AwaitedWorks):
    """AW-2."""

    @staticmethod
    def awaiting(queue: Any) -> Any:
        """Twins that can't be cancelled."""
        twin: Any = WorkTwin(queue)
        twin.until = deaf
        return twin
