"""Benches: one kind of unit on a place of its own, for tests that interrupt one operation at every line.

Also what raises KeyboardInterrupt at the n-th line of the layers' code, and what polls without waking anybody.
"""

from __future__ import annotations

import dis
import gc
import linecache
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

import threadpool9
from task9 import DelayedTask, Task, TaskQueue
from threadpool9 import Job, UsageError
from workqueue9 import WQ_PERCPU, Work, WorkQueue

from .contexts import is_ours
from .watchdog import stacks

#: A lost run costs this long for each line where it happens: lower it to list all the lines of a broken operation.
LIMIT = float(os.environ.get("KEYBOARD_INTERRUPT_LIMIT", "10"))
PRI = 40  # a pool of the benches' own


def leaves_with(frame: FrameType) -> bool:
    """Whether this line event is that of a ``with`` statement at its end, before ``__exit__``.

    A trace function that raises there leaves the lock taken. No signal can: there is nothing between the end of the
    block and the call of ``__exit__`` where the interpreter looks for one.
    """
    begins = dis.opname[frame.f_code.co_code[frame.f_lasti]]
    if begins.startswith(("LOAD_FAST", "LOAD_GLOBAL", "LOAD_DEREF")):  # the lock: this is where it is entered
        return False
    return linecache.getline(frame.f_code.co_filename, frame.f_lineno).lstrip().startswith("with ")


def interrupted_at(number: int, operation: Callable[[], object]) -> str | None:
    """Run `operation`, raising KeyboardInterrupt at line event `number` inside the layers; where, or None."""
    seen = 0
    where: str | None = None

    def line(frame: FrameType, event: str, argument: object) -> Any:
        nonlocal seen, where
        if event == "line" and not leaves_with(frame):
            seen += 1
            if seen == number:
                name = frame.f_code.co_filename.rpartition("/")[2]
                where = f"{name}:{frame.f_lineno} {frame.f_code.co_qualname}"
                raise KeyboardInterrupt
        return line

    def call(frame: FrameType, event: str, argument: object) -> Any:
        return line if is_ours(frame.f_code) else None

    def confined() -> Iterator[object]:
        # What a trace function raises at the first instruction of a `return` inside of `except` leaves the exception
        # handled there "current" for good (a signal's handler is never called at that place). In a generator, whose
        # stack of handled exceptions ends with it, no later test sees that.
        yield operation()

    old = sys.gettrace()
    # Finalizers of what earlier tests have dropped are not part of the operation, and swallow what is raised in them.
    gc.disable()
    sys.settrace(call)
    try:
        next(confined())
    except KeyboardInterrupt:
        if where is None:
            raise
    except UsageError:
        # A helper that swallowed the interrupt and reports what it broke off.
        if where is None:
            raise
    finally:
        sys.settrace(old)
        gc.enable()
    return where


def poll(condition: Callable[[], object], what: str) -> None:
    """Until `condition()`; nobody is woken by looking."""
    end = time.monotonic() + LIMIT
    while not condition():
        if time.monotonic() > end:
            raise AssertionError(f"{what}\n{stacks()}")
        time.sleep(0.0002)


class Gate:
    """A function that stays in until it is let out, and says that it is in."""

    def __init__(self) -> None:
        self.inside = threading.Event()
        self.open = threading.Event()

    def __call__(self, unit: object) -> None:
        """As in the base class."""
        self.inside.set()
        assert self.open.wait(LIMIT)


class Bench:
    """One kind of unit on a place of its own: what a test of an operation needs."""

    def __init__(self) -> None:
        self.runs: dict[int, list[None]] = {}
        self.gates: dict[int, Gate] = {}

    def body(self, unit: Any) -> None:
        """The function: counts, and stays in if there is a gate."""
        self.runs[id(unit)].append(None)
        gate = self.gates.get(id(unit))
        if gate is not None:
            gate(unit)

    def fresh(self) -> Any:
        """A new unit, kept alive so that ids stay unique."""
        unit = self.make()
        self.runs[id(unit)] = []
        self.keep = [*getattr(self, "keep", []), unit]
        return unit

    def count(self, unit: Any) -> int:
        """Runs so far."""
        return len(self.runs[id(unit)])

    def block(self) -> tuple[Any, Gate]:
        """Occupy the place: what is launched from now on stays pending until the gate opens."""
        blocker = self.fresh()
        gate = self.gates[id(blocker)] = Gate()
        assert self.launch(blocker)
        assert gate.inside.wait(LIMIT)
        return blocker, gate

    def settle(self, unit: Any, asked: int, what: str, least: int = 0) -> None:
        """After an interrupt: from `least` to `asked` runs, by itself; then idle and usable again in every way."""
        poll(lambda: self.idle(unit), f"{what}: {unit!r} is neither idle nor does it run")
        runs = self.count(unit)
        assert least <= runs <= asked, f"{what}: {runs} runs"
        assert self.launch(unit) is True, f"{what}: idle, but a launch does not say True"
        poll(lambda: self.count(unit) > runs and self.idle(unit), f"{what}: launched again, but does not run")
        assert self.count(unit) == runs + 1, f"{what}: a launch was doubled"
        assert self.cancel(unit) in (True, False)
        assert self.count(unit) == runs + 1
        self.destroy(unit)
        self.keep.remove(unit)
        self.runs.pop(id(unit))

    # What differs:
    def make(self) -> Any:
        """A unit."""
        raise NotImplementedError

    def launch(self, unit: Any) -> bool:
        """Schedule it."""
        raise NotImplementedError

    def cancel(self, unit: Any) -> bool:
        """Cancel it."""
        raise NotImplementedError

    def idle(self, unit: Any) -> bool:
        """Neither pending nor running."""
        return not unit.pending and not unit.running

    def destroy(self, unit: Any) -> None:
        """Destroy it; it is idle."""
        unit.destroy()

    def drain(self) -> None:
        """Wait for all that was launched."""

    def close(self) -> None:
        """Give the place back."""


class JobBench(Bench):
    """Jobs of an unbound pool; every one has a worker of its own, so nothing can be kept waiting."""

    def __init__(self) -> None:
        super().__init__()
        self.pool = threadpool9.get(PRI)

    def make(self) -> Any:
        """As in the base class."""
        return Job(self.run)

    def run(self, job: Any) -> None:
        """The job's function."""
        self.body(job)
        with job.interlock:
            job.done()

    def launch(self, unit: Any) -> bool:
        """As in the base class."""
        with unit.interlock:
            return self.pool.schedule(unit)

    def cancel(self, unit: Any) -> bool:
        """As in the base class."""
        with unit.interlock:
            return self.pool.cancel(unit, LIMIT)

    def idle(self, unit: Any) -> bool:
        """As in the base class; not in the middle of a done() that is about to do what was posted."""
        with unit.interlock:
            return unit._state() == "idle"

    def close(self) -> None:
        """As in the base class."""
        self.pool.put(LIMIT)


class TaskBench(Bench):
    """Tasks of a private queue."""

    percpu = False

    def __init__(self) -> None:
        super().__init__()
        self.queue = TaskQueue("bench", PRI, percpu=self.percpu)

    def make(self) -> Any:
        """As in the base class."""
        return Task(self.body)

    def launch(self, unit: Any) -> bool:
        """As in the base class."""
        return self.queue.schedule(unit)

    def cancel(self, unit: Any) -> bool:
        """As in the base class."""
        return unit.cancel(timeout=LIMIT)

    def drain(self) -> None:
        """As in the base class."""
        self.queue.drain(LIMIT)

    def close(self) -> None:
        """As in the base class."""
        self.queue.close(LIMIT)


class PerCPUTaskBench(TaskBench):
    """Tasks of a per-CPU queue."""

    percpu = True


class DelayedBench(TaskBench):
    """Delayed tasks of a private queue."""

    def make(self) -> Any:
        """As in the base class."""
        return DelayedTask(self.body)

    def launch(self, unit: Any) -> bool:
        """As in the base class."""
        return unit.schedule(0.0005, queue=self.queue)

    def block(self) -> tuple[Any, Gate]:
        """As in the base class."""
        blocker = self.fresh()
        gate = self.gates[id(blocker)] = Gate()
        assert blocker.schedule(0, queue=self.queue)
        assert gate.inside.wait(LIMIT)
        return blocker, gate


class WorkBench(Bench):
    """Works of an ordered queue."""

    flags = 0

    def __init__(self) -> None:
        super().__init__()
        self.wq = WorkQueue("bench", lambda work, arg: self.body(work), pri=PRI, flags=self.flags, max_pending=50)

    def make(self) -> Any:
        """As in the base class."""
        return Work()

    def launch(self, unit: Any) -> bool:
        """As in the base class."""
        return self.wq.enqueue(unit, block=False)

    def cancel(self, unit: Any) -> bool:
        """As in the base class."""
        return self.wq.cancel(unit, LIMIT)

    def destroy(self, unit: Any) -> None:
        """Works are not destroyed; they are dropped."""

    def drain(self) -> None:
        """As in the base class."""
        self.wq.flush(LIMIT)

    def close(self) -> None:
        """As in the base class."""
        self.wq.drain(LIMIT)
        stats = self.wq.stats()
        assert stats.enqueued == stats.started + stats.cancelled, stats
        slots = self.wq.group.slots
        assert slots is not None
        free = len(slots.free) + sum(portion.__length_hint__() for portion in slots._portions)
        assert free == 50, f"{50 - free} slots of max_pending were lost"
        self.wq.destroy(LIMIT)


class PerCPUWorkBench(WorkBench):
    """Works of a per-CPU queue."""

    flags = WQ_PERCPU


BENCHES: dict[str, type[Bench]] = {
    "job": JobBench,
    "task": TaskBench,
    "task-percpu": PerCPUTaskBench,
    "delayed": DelayedBench,
    "work": WorkBench,
    "work-percpu": PerCPUWorkBench,
}
