"""TK-14, TK-15: exceptions are reported and the queue goes on; contexts."""

from __future__ import annotations

import contextvars
import threading
from typing import Any

import pytest

from ..adapters_task import TaskAdapter
from .tasks import KINDS, a_queue, a_queue_of, a_shared
from .tools import Log, Stage, reported, timing


class Unusual(BaseException):
    """Not an Exception, like those that end programs."""


@pytest.mark.clause("TK-14")
@pytest.mark.parametrize("kind", [*KINDS, "shared"])
def test_exceptions_are_reported_and_the_queue_goes_on(adapter: TaskAdapter, stage: Stage, kind: str) -> None:
    """Of ten tasks every other one raises: each exception reaches threading.excepthook, and all ten run."""
    from .tools import need

    if kind == "shared":
        need(adapter, "shared")
    queue: Any = a_shared(adapter, stage, 27) if kind == "shared" else a_queue_of(kind, adapter, stage)
    ran = Log()

    def fn(number: int) -> None:
        ran.add(number)
        if number % 2:
            raise (LookupError if number % 4 == 1 else Unusual)(number)

    with reported() as reports:
        tasks = [adapter.task(lambda task, number=number: fn(number)) for number in range(10)]
        for task in tasks:
            queue.schedule(task)
        queue.drain(timing.limit)
        assert sorted(ran.entries) == list(range(10)), f"TK-14: of ten tasks, half of which raise, ran {ran.entries}"
        assert reports.reached(5), f"TK-14: 5 tasks raised, {len(reports.entries)} exceptions were reported"
        assert len(reports.entries) == 5, f"TK-14: 5 tasks raised, {len(reports.entries)} exceptions were reported"
        told = sorted(error.args[0] for error in reports.entries)
        assert told == [1, 3, 5, 7, 9], f"TK-14: tasks 1 3 5 7 9 raised, reported were {told}"
        assert not tasks[1].running and not tasks[1].pending, "TK-14: a task that raised does not end"  # noqa: PT018
        assert queue.schedule(tasks[1]) is True, "TK-14: a task that raised can't be scheduled again"
        queue.drain(timing.limit)
        assert len(ran.entries) == 11, "TK-14: a task that raised did not run again"
        assert reports.reached(6), "TK-14: the second exception of a task was not reported"


@pytest.mark.clause("TK-14", "TK-6")
def test_who_waits_for_a_task_that_raises_gets_on(adapter: TaskAdapter, stage: Stage) -> None:
    """cancel and drain return when the run they wait for raises."""
    queue, gate = a_queue(adapter, stage), stage.gate()

    def fn(task: Any) -> None:
        gate()
        raise LookupError("on purpose")

    task = adapter.task(fn)
    with reported() as reports:
        queue.schedule(task)
        assert gate.entered(), "TK-5: a scheduled task did not run"
        waiting = [stage.thread(lambda: task.cancel(timeout=timing.limit)), stage.thread(lambda: queue.drain(timing.limit))]
        gate.go.set()
        for thread in waiting:
            thread.join(timing.limit)
            assert not thread.is_alive(), "TK-14: who waits for a run that raises waits for ever"
            assert thread.failure is None, f"TK-14: who waits for a run that raises got {thread.failure!r}"  # type: ignore[attr-defined]
        assert reports.reached(1), "TK-14: the exception was not reported"


@pytest.mark.clause("TK-14", "TK-11")
@pytest.mark.capability("delayed")
def test_a_delayed_task_that_raises_disturbs_no_other(adapter: TaskAdapter, stage: Stage) -> None:
    """Reported, and later timers fire."""
    queue, log = a_queue(adapter, stage), Log()

    def fn(task: Any) -> None:
        raise LookupError("on purpose")

    with reported() as reports:
        queue.schedule_delayed(adapter.delayed(fn), 0.001)
        queue.schedule_delayed(adapter.delayed(log.add), 0.002)
        assert log.reached(1), "TK-14: after a delayed task that raised, the timer stands still"
        assert reports.reached(1), "TK-14: an exception of a delayed task was not reported"


variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="default")


@pytest.mark.clause("TK-15")
@pytest.mark.capability("context")
def test_a_task_runs_in_its_context(adapter: TaskAdapter, stage: Stage) -> None:
    """Made with a context: it sees and keeps what is in there, at each run; others are not touched."""
    queue, seen = a_queue(adapter, stage), Log()
    contexts = [contextvars.copy_context() for _ in range(2)]
    for number, context in enumerate(contexts):
        context.run(variable.set, f"context {number}")

    def fn(task: Any) -> None:
        seen.add(variable.get())
        variable.set(variable.get() + "+")

    with_context = [adapter.task(fn, context) for context in contexts]
    without = adapter.task(fn)
    variable_token = variable.set("of the scheduler")
    try:
        for _ in range(2):
            for task in (*with_context, without):
                queue.schedule(task)
                queue.drain(timing.limit)
    finally:
        variable.reset(variable_token)
    ours = [value for value in seen.entries if value.startswith("context")]
    expected = ["context 0", "context 1", "context 0+", "context 1+"]
    assert ours == expected, f"TK-15: runs in two contexts saw {ours}, not {expected}"
    assert contexts[0][variable] == "context 0++", "TK-15: what a run set is not in its context"
    others = [value for value in seen.entries if not value.startswith("context")]
    assert others[:1] == ["default"], f"TK-15: a task without a context saw {others[:1]}: that of who scheduled"


@pytest.mark.clause("TK-15")
@pytest.mark.capability("context")
def test_a_context_does_not_get_in_the_way_of_another_task(adapter: TaskAdapter, stage: Stage) -> None:
    """Tasks in contexts of their own block beside each other on two queues."""
    both, met = threading.Barrier(2), Log()

    def meet(task: Any) -> None:
        both.wait(timing.limit)
        met.add(variable.get())

    for number in range(2):
        context = contextvars.copy_context()
        context.run(variable.set, f"context {number}")
        a_queue(adapter, stage, f"queue {number}").schedule(adapter.task(meet, context))
    assert met.reached(2), "TK-15: tasks in two contexts hold up each other"
    assert sorted(met.entries) == ["context 0", "context 1"], f"TK-15: tasks in two contexts saw {met.entries}"
