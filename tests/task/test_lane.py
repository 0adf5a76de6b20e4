"""What only we can see of lanes, executors and the timer (TK-3, TK-6, TK-13)."""

from __future__ import annotations

import threading
import time

import pytest

import task9
import threadpool9
from task9 import Task, TaskQueue
from task9._timer import timer

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


def test_tk13_a_period_goes_on_though_its_run_overtakes_the_timer() -> None:
    """The timer's thread is held up where it has woken the worker: the run that it has asked for comes first."""
    begun = threading.Semaphore(0)

    class Slow:
        def hold(self) -> None:
            if timer.moving is not None:
                held.append(begun.acquire(timeout=LIMIT))

        @threadpool9.hookimpl
        def threadpool9_schedule__job__thread(self) -> None:
            self.hold()

        @threadpool9.hookimpl
        def threadpool9_schedule__job__dispatcher(self) -> None:
            self.hold()

    held: list[bool] = []
    slow = Slow()
    over = threading.Event()
    task = task9.PeriodicTask(lambda task: begun.release() if len(held) < 5 else over.set(), 0.001)
    threadpool9.register(slow)
    try:
        with TaskQueue("periodic") as queue:
            assert task.start(queue=queue)
            assert over.wait(LIMIT), f"it stopped after {len(held)} runs"
            task.cancel(timeout=LIMIT)
    finally:
        threadpool9.unregister(slow)
    assert held[:5] == [True] * 5
