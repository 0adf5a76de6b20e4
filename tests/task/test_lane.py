"""What only we can see of lanes, executors and the timer (TK-3, TK-6, TK-13)."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest
from pace import patience

import threadpool9
from conformance9.suite.tools import wait_until
from task9 import PeriodicTask, Task, TaskQueue
from task9._timer import _INTAKE_LIMIT, Timer, coalesce, timer
from threadpool9 import UsageError

LIMIT = patience(10.0)


def test_tk6_the_number_of_a_run_only_goes_up() -> None:
    """Who looks twice and finds the same number has looked at one moment: also across a done() that undefers."""
    with TaskQueue("numbers", percpu=True) as queue:
        lanes = queue.group.lanes
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
        assert wait_until(lambda: first.deferred), "the task was not set aside"
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
            if timer._job._runner == threading.get_ident():
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

    def run(task: PeriodicTask) -> None:
        begun.release()  # always: the timer's thread waits for it, which other tests need too
        if len(held) >= 5:
            over.set()

    task = PeriodicTask(run, 0.001)
    threadpool9.register(slow)
    try:
        with TaskQueue("periodic") as queue:
            assert task.start(queue=queue)
            assert over.wait(LIMIT), f"it stopped after {len(held)} runs"
            task.cancel(timeout=LIMIT)
    finally:
        threadpool9.unregister(slow)
    assert held[:5] == [True] * 5


class HeldPeriod:
    """A periodic task whose first run is held between the start of the run and the arming of the next period."""

    def __init__(self, period: float, queue: TaskQueue) -> None:
        self.entered, self.go = threading.Event(), threading.Event()
        self.runs = threading.Semaphore(0)
        self.missed: list[int] = []
        self.queue = queue
        entered, go = self.entered, self.go

        class Held(PeriodicTask):
            def run(self) -> object:
                """First look, then run."""
                entered.set()
                assert go.wait(LIMIT)
                return super().run()

        self.task = Held(self.run, period)

    def run(self, task: PeriodicTask) -> None:
        """The function of the task."""
        self.missed.append(task.missed)
        self.runs.release()

    def let_go(self, runs: int) -> None:
        """Let the held run go on, and wait for that many, itself included."""
        self.go.set()
        for _ in range(runs):
            assert self.runs.acquire(timeout=LIMIT), f"it stopped after {len(self.missed)} runs"


@pytest.fixture
def held() -> Iterator[HeldPeriod]:
    """A period of 10 ms on a queue of its own, in its first run."""
    with TaskQueue("periodic") as queue:
        held = HeldPeriod(0.01, queue)
        assert held.task.start(queue=queue)
        assert held.entered.wait(LIMIT)
        yield held
        held.go.set()
        held.task.cancel(timeout=LIMIT)


def test_tk13_a_start_beside_a_run_that_begins_is_told_that_it_is_started(held: HeldPeriod) -> None:
    """Nobody has the task in hand then, but the period goes on: in its phase, and with what was missed counted."""
    task = held.task
    phase = task._due
    time.sleep(0.025)  # at least two periods are missed, whatever the machine does
    assert not task.start(first=1000.0, queue=held.queue)
    assert task.armed
    late = task._due
    held.let_go(3)
    task.cancel(timeout=LIMIT)
    assert held.missed[0] >= 2
    for due in (late, task._due):
        periods = (due - phase) / 0.01
        assert periods == pytest.approx(round(periods), abs=1e-3), "another phase"


def test_tk13_a_task_with_a_period_is_started_not_scheduled(held: HeldPeriod) -> None:
    """On the queue where it runs, too."""
    with pytest.raises(TypeError, match="has a period"):
        held.queue.schedule(held.task)
    held.task.cancel_async()
    with pytest.raises(TypeError, match="has a period"):
        held.queue.schedule(held.task)


def test_tk13_a_cancel_beside_a_run_that_begins_ends_the_period(held: HeldPeriod) -> None:
    """The canceller has the task in hand when the run wants to arm the next period, and there is none, later either."""
    task, queue = held.task, held.queue
    canceller = threading.Thread(target=task.cancel, kwargs={"timeout": LIMIT})
    canceller.start()
    assert wait_until(lambda: task.pending), "it does not claim the task"
    held.let_go(1)
    canceller.join(LIMIT)
    assert not task.pending
    queue.drain(LIMIT)
    assert len(held.missed) == 1
    assert task.start(first=1000.0, queue=queue)
    assert task.cancel(timeout=LIMIT)


def test_tk13_a_destroy_that_is_refused_does_not_end_the_period(held: HeldPeriod) -> None:
    """It does not even claim the task, which the run wants to arm; beside that: a world."""
    with pytest.raises(UsageError, match="is started"):
        held.task.destroy()
    held.let_go(4)


def test_tk13_what_was_withdrawn_from_its_queue_has_no_period_any_more() -> None:
    """Fired, not begun, cancelled."""
    runs: list[int] = []
    go = threading.Event()
    task = PeriodicTask(lambda task: runs.append(1), 1000.0)
    with TaskQueue("periodic") as queue:
        queue.schedule(Task(lambda task: go.wait(LIMIT)))
        assert task.start(first=0.001, queue=queue)
        assert wait_until(lambda: task in queue.group.lanes[0].pending()), "it did not fire"
        assert task.cancel_async()
        go.set()
        queue.drain(LIMIT)
        assert not runs
        assert not task.armed


def test_tk12_after_a_peak_dead_entries_are_thrown_away_as_before_it() -> None:
    """Sixteen thousand that were alive and have fired do not make as many dead ones stay."""
    mine = Timer()

    def arm(due: float, number: int, task: object) -> list[object]:
        ticket = [task]
        mine._intake.append((due, number, number, ticket))  # type: ignore[arg-type]  # nobody looks at the task
        return ticket

    for number in range(4 * _INTAKE_LIMIT):
        arm(1.0, number, number)
    mine._take_in()
    assert mine._expected == 4 * _INTAKE_LIMIT
    mine._heap.clear()  # they have fired
    for number in range(4 * _INTAKE_LIMIT):
        arm(1e9, number, number).pop()  # cancelled at once: never in the heap
        living = arm(1e9, number, number)
        mine._take_in()
        living.pop()
        assert len(mine._heap) <= 2 * _INTAKE_LIMIT


@pytest.mark.parametrize(("jitter", "step"), [(0.1, 0.0625), (0.25, 0.25), (1.0, 1.0), (3.0, 2.0)])
def test_tk12_jitter_is_used_to_fire_together(jitter: float, step: float) -> None:
    """On multiples of the largest power of two that fits, so that timers with any jitter share their wake-ups."""
    for due in (1000.01, 1000.5, 1234.567):
        when = coalesce(due, jitter)
        assert due <= when <= due + jitter
        assert when % step == 0 or when == due + jitter
    assert coalesce(1000.01, 0.0) == 1000.01
