"""One face for the kinds of units: what a storm launches, cancels and waits for.

A unit is the library's own object with three fields more: `runs`, one entry for each call of its function;
`produced`, one entry for each launch; `seen`, how many of these the last run found.
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import task9
import threadpool9
from task9 import DelayedTask, Task, TaskQueue
from threadpool9 import Job, UsageError
from workqueue9 import WQ_PERCPU, Full, Work, WorkPending, WorkQueue

LIMIT = 30.0
JOB_PRI = 31  # pools of their own, so that the end of a storm sees the last put


class Fields:
    """What a storm keeps of a unit."""

    __slots__ = ()

    def fresh_fields(self, place: Any) -> None:
        """Nothing has happened yet; `place` is the pool or queue it is for."""
        self.runs: deque[None] = deque()
        self.produced: deque[None] = deque()
        self.seen = 0
        self.place = place


class StormJob(Fields, Job):
    """A job of a storm."""


class StormTask(Fields, Task):
    """A task of a storm."""


class StormDelayed(Fields, DelayedTask):
    """A delayed task of a storm."""


class StormWork(Fields, Work):
    """A work of a storm."""


class Kind:
    """The face. Operations marked *any* are called in interrupt context too."""

    #: What was produced before a launch that said False is seen by a run nevertheless.
    sees = True
    #: A launch that said False may mean a run of its own (a post to a running job).
    exact = True
    has_cancel_async = True

    def __init__(self, provoke: Callable[[], None]) -> None:
        self.provoke = provoke
        self.numbers = itertools.count()

    def body(self, unit: Any) -> None:
        """The function of every unit; on a worker."""
        unit.seen = len(unit.produced)
        unit.runs.append(None)
        self.provoke()

    def fresh(self) -> Any:
        """Any: a new unit."""
        raise NotImplementedError

    def launch(self, unit: Any, wait: bool = True) -> bool | None:
        """Any: schedule; True if that means a run, False if it coalesced, None if it was refused (or, without
        `wait`, would have had to wait for a lock of the user).
        """
        raise NotImplementedError

    def cancel_async(self, unit: Any, wait: bool = True) -> bool | None:
        """Any: cancel without waiting for a run; None if that could not be tried."""
        raise NotImplementedError

    def cancel(self, unit: Any) -> bool:
        """Cancel, wait if need be."""
        raise NotImplementedError

    def drain(self) -> None:
        """Wait until what was launched before has run."""

    def idle(self, unit: Any) -> bool:
        """Whether nothing is pending or running of `unit`."""
        raise NotImplementedError

    def close(self) -> None:
        """Give everything back; waits."""


class Jobs(Kind):
    """`Pool.schedule` with the interlock held, on an unbound pool and on bound ones."""

    sees = False

    def __init__(self, provoke: Callable[[], None]) -> None:
        super().__init__(provoke)
        self.unbound = threadpool9.get(JOB_PRI)
        self.percpu = threadpool9.percpu_get(JOB_PRI)
        self.pools = [self.unbound, *map(self.percpu.ref_remote, self.percpu.cpus)]

    def run(self, job: Any) -> None:
        """The job's function."""
        self.body(job)
        with job.interlock:
            job.done()

    def fresh(self) -> Any:
        """As in the base class."""
        job = StormJob(self.run)
        job.fresh_fields(self.pools[next(self.numbers) % len(self.pools)])
        return job

    def launch(self, unit: Any, wait: bool = True) -> bool | None:
        """As in the base class."""
        if wait:
            with unit.interlock:
                return unit.place.schedule(unit)
        if not unit.interlock.acquire(False):
            return None
        try:
            return unit.place.schedule(unit)
        finally:
            unit.interlock.release()

    def cancel_async(self, unit: Any, wait: bool = True) -> bool | None:
        """As in the base class."""
        if wait:
            with unit.interlock:
                return unit.place.cancel_async(unit)
        if not unit.interlock.acquire(False):
            return None
        try:
            return unit.place.cancel_async(unit)
        finally:
            unit.interlock.release()

    def cancel(self, unit: Any) -> bool:
        """As in the base class."""
        with unit.interlock:
            return unit.place.cancel(unit, LIMIT)

    def idle(self, unit: Any) -> bool:
        """As in the base class."""
        return unit._state() == "idle"

    def close(self) -> None:
        """As in the base class."""
        self.unbound.put(LIMIT)
        self.percpu.put(LIMIT)


class Posts(Jobs):
    """`Pool.post`: no interlock."""

    sees = True
    exact = False

    def launch(self, unit: Any, wait: bool = True) -> bool | None:
        """As in the base class."""
        return unit.place.post(unit)

    def idle(self, unit: Any) -> bool:
        """As in the base class. A worker that ends a run may be about to schedule for a post that came meanwhile."""
        if not super().idle(unit) or any(w.job is unit for pool in self.pools for w in list(pool._workers)):
            return False
        return super().idle(unit)


class Tasks(Kind):
    """Tasks on a private queue, a concurrent one, a per-CPU one and the system queue."""

    def __init__(self, provoke: Callable[[], None]) -> None:
        super().__init__(provoke)
        self.queues = self.make_queues()

    def make_queues(self) -> list[TaskQueue]:
        """The queues that units are spread over."""
        return [
            TaskQueue("storm"),
            TaskQueue("storm concurrent", concurrency=3),
            TaskQueue("storm percpu", percpu=True),
            task9.get(JOB_PRI),
        ]

    def fresh(self) -> Any:
        """As in the base class."""
        task = StormTask(self.body)
        task.fresh_fields(self.queues[next(self.numbers) % len(self.queues)])
        return task

    def launch(self, unit: Any, wait: bool = True) -> bool | None:
        """As in the base class."""
        return unit.place.schedule(unit)

    def cancel_async(self, unit: Any, wait: bool = True) -> bool | None:
        """As in the base class."""
        return unit.cancel_async()

    def cancel(self, unit: Any) -> bool:
        """As in the base class."""
        return unit.cancel(timeout=LIMIT)

    def drain(self) -> None:
        """As in the base class."""
        for queue in self.queues:
            queue.drain(LIMIT)

    def idle(self, unit: Any) -> bool:
        """As in the base class."""
        return not unit.pending and not unit.running

    def close(self) -> None:
        """As in the base class."""
        for queue in self.queues:
            if hasattr(queue, "references"):
                queue.put(LIMIT)
            else:
                queue.close(LIMIT)


class Delayed(Tasks):
    """Delayed tasks: `schedule` with delays from 0 to 1 ms, and `reschedule`."""

    delays = (0.0, 0.0001, 0.0003, 0.001)

    def fresh(self) -> Any:
        """As in the base class."""
        task = StormDelayed(self.body)
        task.fresh_fields(self.queues[next(self.numbers) % len(self.queues)])
        return task

    def launch(self, unit: Any, wait: bool = True) -> bool | None:
        """As in the base class."""
        number = next(self.numbers)
        delay = self.delays[number // 3 % len(self.delays)]
        if number % 3:
            return unit.schedule(delay, queue=unit.place)
        return not unit.reschedule(delay, queue=unit.place)


class Works(Kind):
    """Works on an ordered queue, a concurrent one, a per-CPU one and a bounded one."""

    def __init__(self, provoke: Callable[[], None]) -> None:
        super().__init__(provoke)

        def func(work: Any, arg: object) -> None:
            self.body(work)

        self.queues = [
            WorkQueue("storm", func),
            WorkQueue("storm concurrent", func, max_active=3),
            WorkQueue("storm percpu", func, flags=WQ_PERCPU),
            WorkQueue("storm bounded", func, max_pending=20),
        ]
        self.drains = 0

    def fresh(self) -> Any:
        """As in the base class."""
        work = StormWork()
        work.fresh_fields(self.queues[next(self.numbers) % len(self.queues)])
        return work

    def launch(self, unit: Any, wait: bool = True) -> bool | None:
        """As in the base class."""
        number = next(self.numbers)
        try:
            if number % 4:
                return unit.place.enqueue(unit, block=False) or None  # False: it is being cancelled right now
            return not unit.place.modify(unit, Delayed.delays[number // 4 % 4])
        except WorkPending:
            return False
        except Full:
            return None
        except UsageError as refused:
            if "is being drained" in str(refused):
                return None
            raise

    def cancel_async(self, unit: Any, wait: bool = True) -> bool | None:
        """As in the base class."""
        return unit.place.cancel_async(unit)

    def cancel(self, unit: Any) -> bool:
        """As in the base class."""
        return unit.place.cancel(unit, LIMIT)

    def drain(self) -> None:
        """As in the base class."""
        self.drains += 1
        for queue in self.queues:
            if self.drains % 4:
                queue.flush(LIMIT)
            else:
                queue.drain(LIMIT)

    def idle(self, unit: Any) -> bool:
        """As in the base class."""
        return not unit.pending and not unit.running

    def close(self) -> None:
        """As in the base class."""
        for queue in self.queues:
            queue.drain(LIMIT)
            stats = queue.stats()
            assert stats.enqueued == stats.started + stats.cancelled, stats
            assert stats.pending == stats.running == stats.errors == 0, stats
            queue.destroy(LIMIT)


class _Plain(Fields):
    """A unit of `Executors`."""


class Executors(Kind):
    """`ThreadPoolExecutor.submit`, to show what the same storm does to it."""

    has_cancel_async = False

    def __init__(self, provoke: Callable[[], None]) -> None:
        super().__init__(provoke)
        self.executor = ThreadPoolExecutor(2)

    def fresh(self) -> Any:
        """As in the base class."""
        unit = _Plain()
        unit.fresh_fields(self.executor)
        return unit

    def launch(self, unit: Any, wait: bool = True) -> bool | None:
        """As in the base class."""
        unit.future = self.executor.submit(self.body, unit)
        return True

    def cancel(self, unit: Any) -> bool:
        """As in the base class."""
        return unit.future.cancel() or not unit.runs

    def idle(self, unit: Any) -> bool:
        """As in the base class."""
        return unit.future.done()

    def close(self) -> None:
        """As in the base class."""
        self.executor.shutdown()


KINDS: dict[str, type[Kind]] = {
    "job": Jobs,
    "post": Posts,
    "task": Tasks,
    "delayed": Delayed,
    "work": Works,
    "executor": Executors,
}
