"""TK-14, TK-15: exceptions are reported and the queue goes on; contexts."""

from __future__ import annotations

import contextvars
import threading
from typing import Any

import pytest

from conformance9.adapters_task import TaskAdapter
from conformance9.suite.tasks import KINDS, a_queue, a_queue_of, a_shared
from conformance9.suite.tools import Log, Stage, holds, reported, timing, wait_asleep


class Unusual(BaseException):
    """Not an Exception, like those that end programs."""


@pytest.mark.clause("TK-14")
@pytest.mark.parametrize("kind", [*KINDS, "shared"])
def test_exceptions_are_reported_and_the_queue_goes_on(adapter: TaskAdapter, stage: Stage, kind: str) -> None:
    """Of ten tasks every other one raises: each exception reaches threading.excepthook, and all ten run."""
    from conformance9.suite.tools import need

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
        holds("TK-14", sorted(ran.entries) == list(range(10)), f"of ten tasks, half of which raise, ran {ran.entries}")
        holds("TK-14", reports.reached(5), f"5 tasks raised, {len(reports.entries)} exceptions were reported")
        holds("TK-14", len(reports.entries) == 5, f"5 tasks raised, {len(reports.entries)} exceptions were reported")
        told = sorted(error.args[0] for error in reports.entries)
        holds("TK-14", told == [1, 3, 5, 7, 9], f"tasks 1 3 5 7 9 raised, reported were {told}")
        holds("TK-14", not tasks[1].running and not tasks[1].pending, "a task that raised does not end")
        holds("TK-14", queue.schedule(tasks[1]) is True, "a task that raised can't be scheduled again")
        queue.drain(timing.limit)
        holds("TK-14", len(ran.entries) == 11, "a task that raised did not run again")
        holds("TK-14", reports.reached(6), "the second exception of a task was not reported")


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
        holds("TK-5", gate.entered(), "a scheduled task did not run")
        waiting = [
            stage.thread(lambda: task.cancel(timeout=3 * timing.limit)),
            stage.thread(lambda: queue.drain(3 * timing.limit)),
        ]
        wait_asleep(thread.native_id or 0 for thread in waiting)  # if they are not there by then, the test only misses
        gate.go.set()
        for thread in waiting:
            thread.join(timing.limit)
            holds("TK-14", not thread.is_alive(), "who waits for a run that raises waits for ever")
            holds("TK-14", thread.failure is None, f"who waits for a run that raises got {thread.failure!r}")
        holds("TK-14", reports.reached(1), "the exception was not reported")


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
        holds("TK-14", log.reached(1), "after a delayed task that raised, the timer stands still")
        holds("TK-14", reports.reached(1), "an exception of a delayed task was not reported")


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
    holds("TK-15", ours == expected, f"runs in two contexts saw {ours}, not {expected}")
    holds("TK-15", contexts[0][variable] == "context 0++", "what a run set is not in its context")
    others = [value for value in seen.entries if not value.startswith("context")]
    holds("TK-15", others[:1] == ["default"], f"a task without a context saw {others[:1]}: that of who scheduled")


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
    holds("TK-15", met.reached(2), "tasks in two contexts hold up each other")
    holds("TK-15", sorted(met.entries) == ["context 0", "context 1"], f"tasks in two contexts saw {met.entries}")
