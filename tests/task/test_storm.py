"""Storms on tasks: many threads at once, with exact accounts of what ran."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import pytest

import task9
from task9 import DelayedTask, Task, TaskQueue

LIMIT = 20.0


def run_threads(*bodies: Callable[[], None]) -> None:
    """Run every body on a thread of its own; an exception in one fails the test."""
    errors: list[BaseException] = []

    def guarded(body: Callable[[], None]) -> None:
        try:
            body()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=guarded, args=(body,)) for body in bodies]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(LIMIT)
        assert not thread.is_alive(), "a storm thread hangs"
    assert not errors, errors


class Watched(Task):
    """A task that knows whether it ever ran beside itself and what it has seen."""

    __slots__ = ("beside_itself", "inside", "produced", "runs", "seen")

    def __init__(self) -> None:
        super().__init__(Watched.run)
        self.inside = threading.Lock()
        self.beside_itself = 0
        self.produced = 0
        self.seen = 0
        self.runs = 0

    def run(self) -> None:
        """The body: take the private lock by try-lock, look at what was produced."""
        if not self.inside.acquire(False):
            self.beside_itself += 1
            return
        self.seen = self.produced
        self.runs += 1
        self.inside.release()


@pytest.mark.parametrize("kind", ["serial", "percpu", "concurrent"])
def test_tk3_no_task_runs_beside_itself_and_none_misses_what_was_written(kind: str) -> None:
    """TK-1, TK-2, TK-3: data written before a schedule is seen by a run, and runs of one task never overlap."""
    queue = TaskQueue("storm", percpu=kind == "percpu", concurrency=4 if kind == "concurrent" else 1)
    with queue:
        tasks = [Watched() for _ in range(4)]
        lock = threading.Lock()

        def produce() -> None:
            for _ in range(3000):
                for task in tasks:
                    with lock:
                        task.produced += 1
                    queue.schedule(task)

        run_threads(produce, produce, produce)
        queue.drain(LIMIT)
        for task in tasks:
            assert task.beside_itself == 0
            assert task.seen == task.produced == 9000
            assert 1 <= task.runs <= 9000


@pytest.mark.parametrize("kind", ["serial", "percpu", "concurrent"])
def test_tk6_cancel_is_final_under_a_storm_of_schedules_that_stops(kind: str) -> None:
    """TK-6: once cancel returned and nobody schedules, nothing runs; cancel never reports what it did not do."""
    queue = TaskQueue("cancel", percpu=kind == "percpu", concurrency=3 if kind == "concurrent" else 1)
    with queue:
        for round_number in range(200):
            running = threading.Lock()
            runs: list[int] = []

            def body(task: Task, running: threading.Lock = running, runs: list[int] = runs) -> None:
                with running:
                    runs.append(1)
                    queue.schedule(task)  # for ever, but for the cancel

            task = Task(body)
            queue.schedule(task)
            if round_number % 3:
                run_threads(lambda task=task: task.cancel(timeout=LIMIT), lambda task=task: task.cancel(timeout=LIMIT))
            else:
                task.cancel(timeout=LIMIT)
            before = len(runs)
            assert not task.pending
            assert not task.running
            assert not running.locked()
            queue.drain(LIMIT)
            assert len(runs) == before, "it ran after cancel had returned"


def test_tk7_several_drains_beside_tasks_that_reschedule_themselves() -> None:
    """TK-7: every drain returns, and what was scheduled before it has run."""
    stop = threading.Event()
    with TaskQueue("drains", concurrency=2) as queue:

        def again(task: Task) -> None:
            if not stop.is_set():
                queue.schedule(task)

        for _ in range(3):
            queue.schedule(Task(again))

        def drain() -> None:
            for _ in range(30):
                done: list[int] = []
                for _ in range(3):
                    queue.schedule(Task(lambda task, done=done: done.append(1)))
                queue.drain(LIMIT)
                assert len(done) == 3

        run_threads(drain, drain, drain)
        stop.set()
        queue.drain(LIMIT)  # what reschedules itself has seen the stop before the queue closes


def test_tk11_expiry_cancel_and_reschedule_race_without_losing_or_doubling() -> None:
    """TK-11: each armed task ends in exactly one of ran and cancelled, and a cancel is final."""

    class Counted(DelayedTask):
        __slots__ = ("allowed", "runs")

        def __init__(self) -> None:
            super().__init__(Counted.count)
            self.runs = 0
            self.allowed = 1

        def count(self) -> None:
            self.runs += 1

    with TaskQueue("timers") as queue:
        tasks = [Counted() for _ in range(2000)]
        for task in tasks:
            assert queue.schedule_delayed(task, 0.001)
        for task in tasks[::3]:
            task.allowed += not task.reschedule(0.002, queue=queue)
        final = [(task, task.runs) for task in tasks[::2] if task.cancel_async()]
        while any(task.pending for task in tasks):
            queue.drain(LIMIT)
        queue.drain(LIMIT)
        cancelled = {task for task, runs in final}
        assert all(task.runs == runs for task, runs in final), "ran after cancel_async() had returned True"
        assert all(task.runs <= task.allowed for task in tasks), "one arming ran twice"
        assert all(task.runs == task.allowed for task in tasks if task not in cancelled), "an arming was lost"
    assert task9.snapshot().armed == 0


def test_tk12_a_hundred_thousand_armed_and_cancelled_leave_nothing_behind() -> None:
    """TK-12: cancelled entries do not pile up in the timer."""
    from task9._timer import timer

    with TaskQueue("armed") as queue:
        task = DelayedTask(lambda task: None)
        for _ in range(100_000):
            assert queue.schedule_delayed(task, 1000)
            assert task.cancel_async()
        # The timer throws them away as it comes to them.
        deadline = time.monotonic() + LIMIT
        while timer._heap or timer._intake:
            assert time.monotonic() < deadline, "cancelled entries pile up"
        assert task9.snapshot().armed == 0
