"""Queues where many tasks wait and many are withdrawn (TK-5, TK-6)."""

from __future__ import annotations

import random
from typing import Any

import pytest

from conformance9.adapters_task import TaskAdapter
from conformance9.suite.tasks import a_queue
from conformance9.suite.tools import Stage, holds, interrupted_at, timing, wait_until


@pytest.mark.clause("TK-5", "TK-6")
def test_what_was_withdrawn_from_a_long_queue_never_runs(adapter: TaskAdapter, stage: Stage, seed: int) -> None:
    """TK-6: of 300 tasks that wait 200 are withdrawn: the others run in order, then those that are scheduled again."""
    draw = random.Random(seed)
    for _ in range(5):
        queue, gate, ran = a_queue(adapter, stage), stage.gate(), list[int]()
        queue.schedule(adapter.task(gate))
        assert gate.entered(), "TK-1: a scheduled task did not run"
        tasks = [adapter.task(lambda task, number=number, ran=ran: ran.append(number)) for number in range(300)]
        for task in tasks:
            queue.schedule(task)
        withdrawn = draw.sample(range(300), 200)
        for number in withdrawn:
            holds("TK-6", tasks[number].cancel_async(), "cancel_async() of a task that waits said False")
        again = withdrawn[:20]
        for number in again:
            holds("TK-6", queue.schedule(tasks[number]), "schedule of a task that was withdrawn said False")
        gate.go.set()
        queue.drain(timing.limit)
        due = [*sorted(set(range(300)) - set(withdrawn)), *again]
        lost, late = sorted(set(due) - set(ran)), sorted(set(ran) - set(due))
        holds("TK-6", not late, f"tasks {late[:5]} ran though they had been withdrawn")
        holds("TK-6", not lost, f"tasks {lost[:5]} did not run though they had not been withdrawn")
        holds("TK-5", ran == due, f"among tasks that were withdrawn, the others ran in the order {ran[:10]} ...")


#: Where a queue clears away what was withdrawn when that is the larger part, the last of so many cancels does it.
WAITING, WITHDRAWN = 130, 66


@pytest.mark.clause("TK-6")
@pytest.mark.capability("any context")
def test_a_queue_goes_on_at_any_step_of_a_cancel(adapter: TaskAdapter, stage: Stage) -> None:
    """TK-6: the task before those that wait ends between two bytecodes of a cancel; what is left runs all the same."""
    for number in range(2000):
        queue, gate, ran = a_queue(adapter, stage), stage.gate(), list[int]()
        queue.schedule(adapter.task(gate))
        assert gate.entered(), "TK-1: a scheduled task did not run"
        tasks = [adapter.task(lambda task, number=number, ran=ran: ran.append(number)) for number in range(WAITING)]
        for task in tasks:
            queue.schedule(task)
        for task in tasks[: WITHDRAWN - 1]:
            task.cancel_async()

        def go_on(gate: Any = gate, ran: list[int] = ran) -> None:
            gate.go.set()
            # Until it can't go on for now, or has come to its end: no matter which.
            wait_until(lambda: len(ran) >= WAITING - WITHDRAWN, timing.moment / 20)

        last = tasks[WITHDRAWN - 1]
        met = interrupted_at(number, last.cancel_async, go_on)
        gate.go.set()
        over = wait_until(lambda ran=ran: len(ran) >= WAITING - WITHDRAWN, timing.limit)
        holds("TK-6", over, f"step {number}: of {WAITING - WITHDRAWN} tasks that were not withdrawn {len(ran)} ran")
        if not met:
            break
