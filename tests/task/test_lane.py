"""What only we can see of lanes and executors (TK-3, TK-6)."""

from __future__ import annotations

import threading
import time

import pytest

from task9 import Task, TaskQueue

LIMIT = 10.0


def test_tk6_the_number_of_a_run_only_goes_up() -> None:
    """Who looks twice and finds the same number has looked at one moment: also across a done() that undefers."""
    with TaskQueue("numbers", percpu=True) as queue:
        lanes = queue._group.lanes
        if len(lanes) < 2:
            pytest.skip("needs two CPUs: a task is set aside when it runs on another one")
        (first,), (second,) = lanes[0].executors, lanes[1].executors
        entered, go = threading.Event(), threading.Event()
        numbers: list[int] = []

        def fn(task: Task) -> None:
            if not entered.is_set():
                entered.set()
                assert go.wait(LIMIT)
                task.done()
                numbers.append(first.runs)

        task = Task(fn)
        queue.schedule_on(lanes[0].cpu, task)  # type: ignore[arg-type]  # lanes of a per-CPU queue have one
        assert entered.wait(LIMIT)
        queue.schedule_on(lanes[1].cpu, task)  # type: ignore[arg-type]
        deadline = time.monotonic() + LIMIT
        while not first.deferred:
            assert time.monotonic() < deadline, "the task was not set aside"
            time.sleep(0.001)
        queue.schedule_on(lanes[0].cpu, Task(lambda task: numbers.append(first.runs)))  # type: ignore[arg-type]
        go.set()
        queue.drain(LIMIT)

    assert numbers[1] > numbers[0]
    assert second.started == 1
