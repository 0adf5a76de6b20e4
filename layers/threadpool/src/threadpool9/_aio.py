"""The calls of this layer that wait, for event loops (AW-1): ``await pool.aio.drain()``.

Each has the name, the arguments and the errors of the call that blocks, and holds no thread while it waits. Cancelling
it ends the waiting only (AW-2). For tasks of asyncio, uvloop and trio, so of anyio too; elsewhere it is a UsageError.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ._loops import Awaiting

if TYPE_CHECKING:
    from ._job import Job
    from ._pool import Pool
    from ._references import PerCPU


class JobAio:
    """A job, for event loops; from `Job.aio`."""

    __slots__ = ("_job",)

    def __init__(self, job: Job) -> None:
        self._job = job  # S

    async def wait(self, timeout: float | None = None) -> None:
        """`Job.wait`."""
        wait = Awaiting(timeout)
        await wait.run(self._job.wait_steps(wait))


class PoolAio:
    """A pool, for event loops; from `Pool.aio`."""

    __slots__ = ("_pool",)

    def __init__(self, pool: Pool) -> None:
        self._pool = pool  # S

    async def cancel(self, job: Job, timeout: float | None = None) -> bool:
        """`Pool.cancel`. The interlock must be held, and is released while this waits.

        Meanwhile the loop may run other tasks in this thread, which can take the interlock too; but nobody may await
        anything else while holding it. On trio this is not a checkpoint if there is nothing to wait for.
        """
        wait = Awaiting(timeout)
        return await wait.run(self._pool.cancel_steps(job, wait), locked=True)

    async def drain(self, timeout: float | None = None) -> None:
        """`Pool.drain`."""
        wait = Awaiting(timeout)
        await wait.run(self._pool.drain_steps(wait))

    async def put(self, timeout: float | None = None) -> None:
        """`Pool.put`. If this is cancelled, the reference has been given back anyway."""
        wait = Awaiting(timeout)
        await wait.run(self._pool.put_steps(wait), begin=True)


class PerCPUAio:
    """A set of per-CPU pools, for event loops; from `PerCPU.aio`."""

    __slots__ = ("_percpu",)

    def __init__(self, percpu: PerCPU) -> None:
        self._percpu = percpu  # S

    async def put(self, timeout: float | None = None) -> None:
        """`PerCPU.put`. If this is cancelled, the reference has been given back anyway."""
        wait = Awaiting(timeout)
        await wait.run(self._percpu.put_steps(wait), begin=True)
