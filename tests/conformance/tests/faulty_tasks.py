"""Single faults of tasks and work queues, put on the reference models; and the shared queues that the model has not."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from typing import Any

from conformance9 import reference_task as tasks
from conformance9 import reference_workqueue as works


def current_cpu() -> int:
    """Any of those that the caller may use."""
    return min(os.sched_getaffinity(0))


class Shared:
    """A queue for each CPU; as many references to one as anybody likes, for tests that do not count them."""

    bound = True

    def __init__(self) -> None:
        self.queues: dict[int, tasks.Queue] = {}
        self.lock = threading.Lock()

    def schedule(self, task: Any) -> bool:
        """On the caller's CPU."""
        cpu = current_cpu()
        with self.lock:
            queue = self.queues.setdefault(cpu, BoundQueue(f"cpu {cpu}", 1) if self.bound else tasks.Queue("any", 1))
        if isinstance(queue, BoundQueue):
            queue.cpu = cpu
        return queue.schedule(task)

    def put(self, timeout: float | None = None) -> None:
        """The end of all of them."""
        for queue in self.queues.values():
            queue.close(timeout)


class BoundQueue(tasks.Queue):
    """A queue whose threads are bound."""

    cpu = 0

    def _run(self) -> None:
        os.sched_setaffinity(0, {self.cpu})
        super()._run()


class InheritingShared(Shared):
    """TK-4: threads have the CPU set of whoever made them need be."""

    bound = False


class SystemTask(tasks.Task):
    """A task that may be scheduled without a queue."""

    system: Shared

    def schedule(self) -> bool:
        """On the system queue."""
        return self.system.schedule(self)


class Honest(tasks.ReferenceTasks):
    """The model with shared queues that are bound."""

    capabilities = tasks.ReferenceTasks.capabilities | {"shared"}
    shared_queue: type[Shared] = Shared

    def __init__(self) -> None:
        self.system = self.shared_queue()

    def task(self, fn: Callable[..., object], context: Any = None) -> SystemTask:  # type: ignore[override]
        """A task that knows the system queue."""
        task = SystemTask(fn, context)
        task.system = self.system
        return task

    def shared(self, pri: int) -> Shared:
        """One for each caller."""
        return self.shared_queue()

    def cpus(self) -> tuple[int, ...]:
        """Those that the process may use."""
        return tuple(sorted(os.sched_getaffinity(0)))


class Inheriting(Honest):
    """TK-4."""

    shared_queue = InheritingShared


class StaleTask(tasks.Task):
    """TK-5: what is withdrawn keeps its place in the queue, for the next schedule."""

    withdrawn_from: Any = None

    def withdraw(self) -> bool:
        """Leaves a hole that remembers."""
        if self.pending and self in self.queue.items:
            self.withdrawn_from = self.queue, self.queue.items.index(self)
        return super().withdraw()

    def put_on(self, queue: Any, add: Callable[[], object]) -> bool:
        """Into the hole."""
        said = super().put_on(queue, add)
        if said and self.withdrawn_from is not None and self in queue.items:
            queue.items.remove(self)
            queue.items.insert(self.withdrawn_from[1], self)
        return said


class StaleTasks(tasks.ReferenceTasks):
    """TK-5."""

    task = StaleTask


class StaleQueue(works.WorkQueue):
    """WQ-1: what is withdrawn keeps its place in the queue, for the next enqueue."""

    def _withdraw(self, work: Any) -> bool:
        if work in self.items:
            work.place = self.items.index(work)
        return super()._withdraw(work)

    def add(self, work: Any) -> None:
        """Into the hole."""
        super().add(work)
        if getattr(work, "place", None) is not None and work in self.items:
            self.items.remove(work)
            self.items.insert(work.place, work)


HonestWorks = works.ReferenceWorkQueues


class StaleWorks(works.ReferenceWorkQueues):
    """WQ-1."""

    def queue(self, name: str, func: Callable[[Any, Any], object], arg: Any = None, **options: Any) -> Any:  # type: ignore[override]
        """A queue with the fault."""
        options = {"giant": False, "max_active": 1, "max_pending": None, "on_error": None} | options
        return StaleQueue(name, func, arg, options)


class DeafTask(tasks.Task):
    """TK-6: cancel of a running task does not look at its time limit, nor at anything else: it never returns."""

    def cancel(self, interlock: Any = None, timeout: float | None = None) -> bool:
        """Hangs where it would have to wait."""
        if self.running:
            threading.Lock().acquire()
            threading.Event().wait()
        return super().cancel(interlock, timeout)


class Deaf(tasks.ReferenceTasks):
    """TK-6."""

    task = DeafTask


class DeadlyTask(tasks.Task):
    """TK-6: cancel of a running task ends the process, and says that all is well."""

    def cancel(self, interlock: Any = None, timeout: float | None = None) -> bool:
        """Ends it all."""
        if self.running:
            os._exit(0)
        return super().cancel(interlock, timeout)


class Deadly(tasks.ReferenceTasks):
    """TK-6."""

    task = DeadlyTask
