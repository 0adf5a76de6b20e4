"""What the hot paths cost in bytecodes: unlike times these are the same on a loud machine, and one call too many shows.

Counted is what one thread executes in Python, its calls into C apart: the scheduler's thread while it makes a unit and
while it schedules one, with the worker busy; the worker's from taking one unit to taking the next. The function that
is run is empty, and its own bytecodes and those of the loop that schedules are in the figures.
"""

from __future__ import annotations

import asyncio
import gc
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from queue import SimpleQueue
from threading import get_ident
from types import FrameType
from typing import Any

import pytest

import task9
import threadpool9
import workqueue9
from threadpool9 import _seam

FEW, MANY = 50, 150  # what comes once for all is in both counts
SLACK = 2  # bytecodes over what was measured, some percent: what a change may cost that nobody looks at

#: Bytecodes of (make, schedule, run), measured; a version that is not here is held to the last one before it.
MEASURED: dict[str, dict[tuple[int, int], tuple[int, int, int]]] = {
    "job": {
        (3, 11): (78, 69, 141),
        (3, 12): (72, 62, 129),
        (3, 13): (78, 64, 132),
        (3, 14): (82, 68, 144),
        (3, 15): (71, 68, 145),
    },
    "task": {
        (3, 11): (50, 92, 90),
        (3, 12): (46, 85, 87),
        (3, 13): (45, 87, 89),
        (3, 14): (47, 89, 96),
        (3, 15): (47, 89, 97),
    },
    "call": {
        (3, 11): (10, 71, 74),
        (3, 12): (8, 64, 74),
        (3, 13): (7, 68, 77),
        (3, 14): (8, 71, 84),
        (3, 15): (8, 71, 85),
    },
    "work": {
        (3, 11): (46, 117, 152),
        (3, 12): (44, 109, 146),
        (3, 13): (40, 112, 148),
        (3, 14): (41, 117, 156),
        (3, 15): (41, 117, 157),
    },
}

#: Bytecodes from the beginning of an ``await future`` until the event loop is told to wait for it.
AWAIT = {(3, 11): 136, (3, 12): 129, (3, 13): 129, (3, 14): 140, (3, 15): 140}
AWAIT_ON_TRIO = {(3, 11): 228, (3, 12): 207, (3, 13): 208, (3, 14): 222, (3, 15): 223}
TRIO_S_OWN = 25  # bytecodes that another version of trio may take more of those

pytestmark = pytest.mark.alone  # a probe that somebody listens to costs more


class Counter:
    """Counts the bytecodes of those threads that have called `begin` and not yet `end`."""

    def __init__(self) -> None:
        self.counts: dict[int, int] = {}

    def begin(self) -> None:
        """From now on, for the calling thread."""
        self.counts[get_ident()] = 0

    def end(self) -> int:
        """The number, for the calling thread."""
        return self.counts.pop(get_ident())

    def one(self, *event: object) -> None:
        """A bytecode is about to be executed."""
        me = get_ident()
        if me in self.counts:
            self.counts[me] += 1


class TracingCounter(Counter):
    """For Python 3.11: a trace function for each thread, and for the frames that it has already."""

    def begin(self) -> None:
        """As above."""
        frame: FrameType | None = sys._getframe(1)
        while frame is not None:
            self.trace(frame, "call")
            frame.f_trace = self.trace
            frame = frame.f_back
        super().begin()
        sys.settrace(self.trace)

    def end(self) -> int:
        """As above."""
        sys.settrace(None)
        return super().end()

    def trace(self, frame: FrameType, event: str, arg: object = None) -> Callable[..., Any]:
        """A trace function."""
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        if event == "opcode":
            self.one()
        return self.trace


@contextmanager
def counting() -> Iterator[Counter]:
    """A counter that works; and no garbage collection meanwhile, which calls finalizers in any thread."""
    gc.collect()
    gc.disable()
    try:
        yield from _counting()
    finally:
        gc.enable()


def _counting() -> Iterator[Counter]:
    if sys.version_info < (3, 12):
        before = sys.gettrace()
        try:
            yield TracingCounter()
        finally:
            sys.settrace(before)
        return
    counter = Counter()
    monitoring, tool = sys.monitoring, sys.monitoring.PROFILER_ID
    monitoring.use_tool_id(tool, "bytecodes")
    try:
        monitoring.register_callback(tool, monitoring.events.INSTRUCTION, counter.one)
        monitoring.set_events(tool, monitoring.events.INSTRUCTION)
        yield counter
    finally:
        monitoring.set_events(tool, 0)
        monitoring.free_tool_id(tool)


def nothing(unit: object) -> None:
    """What most units do."""


def finish(job: threadpool9.Job) -> None:
    """What most jobs do."""
    with job.interlock:
        job.done()


@contextmanager
def jobs() -> Iterator[tuple[Callable[..., Any], Callable[..., Any], Callable[..., Any]]]:
    """How to make and to schedule a job, and to have something called in its place."""

    def call(function: Callable[[], object]) -> None:
        def run(job: threadpool9.Job) -> None:
            function()
            finish(job)

        pool.post(threadpool9.Job(run))

    with threadpool9.get() as pool:
        yield lambda: threadpool9.Job(finish), pool.post, call


@contextmanager
def tasks() -> Iterator[tuple[Callable[..., Any], Callable[..., Any], Callable[..., Any]]]:
    """The same for tasks."""
    with task9.TaskQueue("bytecodes") as queue:
        yield lambda: task9.Task(nothing), queue.schedule, queue.call


@contextmanager
def calls() -> Iterator[tuple[Callable[..., Any], Callable[..., Any], Callable[..., Any]]]:
    """The same for calls: the unit is what the function is called with."""
    with task9.TaskQueue("bytecodes") as queue:
        call = queue.call
        yield lambda: None, lambda unit: call(nothing, unit), call


@contextmanager
def works() -> Iterator[tuple[Callable[..., Any], Callable[..., Any], Callable[..., Any]]]:
    """The same for works."""

    def function(work: workqueue9.Work[Callable[[], object] | None], arg: object) -> None:
        if work.payload is not None:
            work.payload()

    with workqueue9.WorkQueue[Any, Any]("bytecodes", function) as queue:
        yield workqueue9.Work, queue.enqueue, lambda function: queue.enqueue(workqueue9.Work(function))


@contextmanager
def one_worker(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], None]]:
    """Lets one thread of ours start; yields a function that returns when another one is wanted. It starts at the end.

    The starter waits meanwhile, so who schedules finds it asked already, as in a burst.
    """
    while threadpool9.snapshot().workers or threadpool9.snapshot().starter is not None:
        threadpool9.retire_idle()
    wanted, gate = threading.Event(), threading.Event()
    first = [None]

    class Held(_seam.Thread):
        def start(self) -> None:
            if not first:
                wanted.set()
                gate.wait(60)
            first.clear()
            super().start()

    monkeypatch.setattr(_seam, "Thread", Held)

    def wait_until_wanted() -> None:
        assert wanted.wait(60)

    try:
        yield wait_until_wanted
    finally:
        gate.set()
        monkeypatch.undo()


def count(way: Any, number: int, monkeypatch: pytest.MonkeyPatch) -> tuple[int, int, int]:
    """Bytecodes of making, scheduling and running `number` units."""
    ready: SimpleQueue[None] = SimpleQueue()
    go: SimpleQueue[None] = SimpleQueue()
    ran: SimpleQueue[int] = SimpleQueue()
    with counting() as counter, way() as (make, schedule, call), one_worker(monkeypatch) as wait_until_wanted:

        def hold() -> None:
            ready.put(None)
            go.get()
            counter.begin()

        call(hold)
        ready.get()
        if way is jobs:  # the first one that waits has the starter want another worker, the next one asks it again
            schedule(make())
            wait_until_wanted()
        schedule(make())
        counter.begin()
        units = [make() for _ in range(number)]
        made = counter.end()
        counter.begin()
        for unit in units:
            schedule(unit)
        scheduled = counter.end()
        call(lambda: ran.put(counter.end()))
        go.put(None)
        return made, scheduled, ran.get()


def of_this_python(table: dict[tuple[int, int], Any]) -> Any:
    """The entry of this version, or of the last one before it."""
    return table[max(version for version in table if version <= sys.version_info[:2])]


@pytest.mark.parametrize(("name", "way"), [("job", jobs), ("task", tasks), ("call", calls), ("work", works)])
def test_a_hot_path_has_no_more_bytecodes_than_it_had(name: str, way: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each of make, schedule and run; raise the table only with a reason."""
    few, many = count(way, FEW, monkeypatch), count(way, MANY, monkeypatch)
    each = tuple(round((more - less) / (MANY - FEW)) for less, more in zip(few, many, strict=True))

    limits = tuple(measured + SLACK for measured in of_this_python(MEASURED[name]))

    assert all(found <= limit for found, limit in zip(each, limits, strict=True)), (
        f"{name}: make, schedule and run take {each} bytecodes, at most {limits} are allowed on "
        f"{sys.version_info[0]}.{sys.version_info[1]}"
    )
    # A table that allows much more than there is would not see the next call too many.
    assert all(found >= limit - 4 * SLACK for found, limit in zip(each, limits, strict=True)), (
        f"{name}: make, schedule and run take only {each} bytecodes, {limits} are allowed: lower the table"
    )


async def first_steps() -> int:
    """Bytecodes of an await until the loop may sleep. A worker that was just woken waits for the GIL until then."""
    with task9.TaskQueue("bytecodes") as queue:
        gate = threading.Event()
        futures = [queue.submit(gate.wait, 60) for _ in range(3)]
        taken = []
        with counting() as counter:
            for future in futures:
                steps = future.__await__()
                counter.begin()
                next(steps)
                taken.append(counter.end())
                steps.close()
        gate.set()
    return taken[-1]


def test_an_await_sleeps_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is on the way of each answer."""
    monkeypatch.delitem(sys.modules, "trio", raising=False)  # where it is imported it has to be asked first
    found = asyncio.run(first_steps())
    limit = of_this_python(AWAIT) + SLACK
    assert limit - 4 * SLACK <= found <= limit, f"{found} bytecodes, {limit} are allowed"


def test_an_await_on_trio_sleeps_soon() -> None:
    """Likewise."""
    trio = pytest.importorskip("trio")
    found = trio.run(first_steps)
    limit = of_this_python(AWAIT_ON_TRIO) + TRIO_S_OWN
    assert found <= limit, f"{found} bytecodes, {limit} are allowed"
