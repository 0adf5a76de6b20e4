"""What the clauses TK-1 to TK-16 say, one by one, bad input included."""

from __future__ import annotations

import gc
import os
import sys
import threading
import time
import warnings

import pytest

import task9
import threadpool9
from task9 import DelayedTask, PeriodicTask, QueueClosed, Task, TaskQueue, UsageError, WaitTimeout

LIMIT = 10.0


class Gate:
    """A task that has started and waits until it is let go."""

    def __init__(self) -> None:
        self.started = threading.Event()
        self.go = threading.Event()
        self.runs = 0
        self.task = Task(self.run)

    def run(self, task: Task) -> None:
        """Count, tell, wait."""
        self.runs += 1
        self.started.set()
        assert self.go.wait(LIMIT)


def test_tk2_schedules_before_the_start_are_one_run_and_later_ones_one_more() -> None:
    """TK-1, TK-2: True iff newly queued; k schedules before the start are one run, k during it one more."""
    with TaskQueue("coalesce") as queue:
        blocker, gate = Gate(), Gate()
        queue.schedule(blocker.task)
        assert blocker.started.wait(LIMIT)
        assert [queue.schedule(gate.task) for _ in range(5)] == [True, False, False, False, False]
        blocker.go.set()
        assert gate.started.wait(LIMIT)
        assert [queue.schedule(gate.task) for _ in range(5)] == [True, False, False, False, False]
        gate.go.set()
        queue.drain(LIMIT)
        assert gate.runs == 2


def test_tk4_the_system_queue_is_bound_and_ordered() -> None:
    """TK-4: Task.schedule runs on a CPU-bound thread, one at a time in order."""
    seen: list[object] = []
    over = threading.Event()
    home = os.sched_getaffinity(0)
    cpu = min(home)
    os.sched_setaffinity(0, {cpu})
    try:
        for number in range(50):
            Task(lambda task, number=number: seen.append((number, os.sched_getaffinity(0)))).schedule()
        Task(lambda task: over.set()).schedule()
    finally:
        os.sched_setaffinity(0, home)
    assert over.wait(LIMIT)
    assert seen == [(number, {cpu}) for number in range(50)]


def test_tk4_a_long_task_on_a_shared_queue_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    """TK-4: over the limit: reported with its queue's name, not stopped; 0 turns it off."""
    reports: list[str] = []
    monkeypatch.setattr(threading, "excepthook", lambda args: reports.append(str(args.exc_value)))
    wait = threading.Event()
    with task9.get(20) as queue:
        task9.tunables.limit_ms = 1
        try:
            queue.schedule(Task(lambda task: wait.wait(0.05)))
            queue.drain(LIMIT)
        finally:
            task9.tunables.limit_ms = 0
        queue.schedule(Task(lambda task: wait.wait(0.05)))
        queue.drain(LIMIT)
    assert len(reports) == 1
    assert "shared@20" in reports[0]


def test_tk4_get_is_shared_by_priority() -> None:
    """TK-4: the same object for the same priority; each get needs its put."""
    queue, again = task9.get(33), task9.get(33)
    assert queue is again
    again.put()
    queue.put(LIMIT)
    with pytest.raises(UsageError, match="one put"):
        queue.put()


def test_tk5_a_private_queue_delays_no_other_and_concurrency_is_exact() -> None:
    """TK-5: in order; sleeping delays nobody else; concurrency=n runs n at once and not n + 1."""
    with TaskQueue("sleeps") as sleeper, TaskQueue("other") as other, TaskQueue("three", concurrency=3) as three:
        gate = Gate()
        sleeper.schedule(gate.task)
        assert gate.started.wait(LIMIT)
        order: list[int] = []
        for number in range(100):
            other.schedule(Task(lambda task, number=number: order.append(number)))
        other.drain(LIMIT)
        assert order == list(range(100))
        gates = [Gate() for _ in range(4)]
        for each in gates:
            three.schedule(each.task)
        assert all(each.started.wait(LIMIT) for each in gates[:3])
        assert not gates[3].started.wait(0.05)
        for each in gates:
            each.go.set()
        gate.go.set()


def test_tk6_cancel_tells_and_releases_the_interlock_only_while_waiting() -> None:
    """TK-6: True for withdrawn or idle, False after waiting; the interlock is free for the task meanwhile."""
    lock = threading.RLock()
    with TaskQueue("cancel") as queue:
        blocker = Gate()
        queue.schedule(blocker.task)
        assert blocker.started.wait(LIMIT)
        never = Task(lambda task: pytest.fail("ran after cancel"))
        queue.schedule(never)
        assert never.cancel() is True
        assert never.cancel() is True
        with pytest.raises(UsageError, match="interlock"):
            never.cancel(lock)
        with pytest.raises(WaitTimeout):
            blocker.task.cancel(timeout=0.01)
        blocker.go.set()
        started = threading.Event()

        def needs_lock(task: Task) -> None:
            started.set()
            with lock:
                pass

        task = Task(needs_lock)
        with lock, lock:
            queue.schedule(task)
            assert started.wait(LIMIT)
            assert task.cancel(lock, LIMIT) is False
        queue.drain(LIMIT)


def test_tk6_cancel_from_inside_withdraws_the_rerun_and_returns_at_once() -> None:
    """TK-6: self-cancel returns False and the pending re-run is gone."""
    results: list[bool] = []

    def fn(task: Task) -> None:
        queue.schedule(task)
        results.append(task.cancel())

    with TaskQueue("self") as queue:
        queue.schedule(Task(fn))
        queue.drain(LIMIT)
        queue.drain(LIMIT)
    assert results == [False]


def test_tk8_a_task_that_reschedules_itself_starves_nobody() -> None:
    """TK-8: another task of the queue gets its turn."""
    stop = threading.Event()
    with TaskQueue("fair") as queue:
        queue.schedule(Task(lambda task: None if stop.is_set() else queue.schedule(task)))
        queue.schedule(Task(lambda task: stop.set()))
        assert stop.wait(LIMIT)
        queue.drain(LIMIT)


def test_tk9_an_idle_task_is_small_and_idle_queues_own_no_thread() -> None:
    """TK-9: at most 200 bytes with its token; a thousand idle queues add no thread."""
    task = Task(print)
    assert sys.getsizeof(task) + sys.getsizeof(task._free) <= 200
    before = threading.active_count()
    queues = [TaskQueue(f"idle {number}") for number in range(1000)]
    assert threading.active_count() <= before
    for queue in queues:
        queue.close()


def test_tk10_bad_input_is_refused_and_changes_nothing() -> None:
    """TK-10: two queues, destroyed, pending, running, closed, not a task."""
    with TaskQueue("one") as one, TaskQueue("two") as two:
        gate = Gate()
        one.schedule(gate.task)
        assert gate.started.wait(LIMIT)
        with pytest.raises(UsageError, match="running on queue 'one'"):
            two.schedule(gate.task)
        with pytest.raises(UsageError, match="running"):
            gate.task.destroy()
        pending = Task(lambda task: None)
        one.schedule(pending)
        with pytest.raises(UsageError, match="pending on queue 'one'"):
            two.schedule(pending)
        with pytest.raises(UsageError, match="pending"):
            pending.destroy()
        gate.go.set()
        one.drain(LIMIT)
        pending.destroy()
        for call in (lambda: one.schedule(pending), pending.destroy, pending.cancel):
            with pytest.raises(UsageError, match="destroyed"):
                call()
        with pytest.raises(TypeError):
            one.schedule(print)  # type: ignore[arg-type]  # the mistake under test
        with pytest.raises(UsageError, match="done"):
            Task(print).done()
    with pytest.raises(QueueClosed, match="'one'"):
        one.schedule(Task(print))
    assert one.close() == ()


@pytest.mark.parametrize(
    ("seconds", "error"),
    [(-1, ValueError), (float("nan"), ValueError), (float("inf"), ValueError), ("1", TypeError), (True, TypeError)],
)
def test_tk11_bad_delays(seconds: object, error: type[Exception]) -> None:
    """TK-11: negative, NaN, infinite: ValueError; no number: TypeError; nothing is armed."""
    task = DelayedTask(print)
    with TaskQueue("bad") as queue:
        for call in (queue.schedule_delayed, lambda task, seconds: task.reschedule(seconds, queue=queue)):
            with pytest.raises(error):
                call(task, seconds)
        with pytest.raises(error):
            queue.schedule_delayed(task, 1, jitter=seconds)  # type: ignore[arg-type]  # the mistake under test
        assert not task.pending


def test_tk11_never_early_and_moved_by_reschedule_only() -> None:
    """TK-11: schedule leaves a pending time alone, reschedule moves it; jitter and 0 as promised."""
    with TaskQueue("timers") as queue:
        fired: list[float] = []
        over = threading.Semaphore(0)

        def fn(task: DelayedTask) -> None:
            fired.append(time.monotonic())
            over.release()

        for seconds, jitter in [(0.02, 0.0), (0.02, 0.03), (0.0, 0.0), (0.001, 0.5)]:
            task = DelayedTask(fn)
            began = time.monotonic()
            assert queue.schedule_delayed(task, seconds, jitter)
            assert over.acquire(timeout=LIMIT)
            assert fired[-1] - began >= seconds
        task = DelayedTask(fn)
        began = time.monotonic()
        assert queue.schedule_delayed(task, 30)
        assert not queue.schedule_delayed(task, 0.01)
        assert not task.timed_out
        assert task.reschedule(0.03) is True
        assert over.acquire(timeout=LIMIT)
        assert fired[-1] - began >= 0.03
        assert task.timed_out
        assert task.reschedule(30, queue=queue) is False
        assert task.cancel() is True
        assert not task.pending


def test_tk13_a_period_keeps_its_phase_and_counts_what_it_missed() -> None:
    """TK-13: late runs do not shift later ones; skipped periods are counted; cancel from inside stops it."""
    times: list[float] = []
    missed: list[int] = []
    over = threading.Event()
    wait = threading.Event()

    def fn(task: PeriodicTask) -> None:
        times.append(time.monotonic())
        missed.append(task.missed)
        if len(times) == 2:
            wait.wait(0.105)  # longer than two periods
        if len(times) == 5:
            assert task.cancel() is False
            over.set()

    with TaskQueue("period") as queue:
        task = PeriodicTask(fn, 0.04)
        began = time.monotonic()
        assert task.start(queue=queue)
        assert not task.start(queue=queue)
        assert over.wait(LIMIT)
        queue.drain(LIMIT)
        assert not task.pending
    assert sum(missed) >= 1
    for number, moment in enumerate(times):
        periods = number + 1 + sum(missed[: number + 1])
        assert moment - began >= periods * 0.04, "early, or the phase was lost"


def test_tk14_an_exception_is_reported_and_the_queue_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """TK-14: as TP-30."""
    reports: list[object] = []
    monkeypatch.setattr(threading, "excepthook", lambda args: reports.append(args.exc_type))
    ran = threading.Event()
    with TaskQueue("errors") as queue:
        queue.schedule(Task(lambda task: 1 / 0))
        queue.schedule(Task(lambda task: ran.set()))
        assert ran.wait(LIMIT)
    assert reports == [ZeroDivisionError]


def test_tk7_and_tk16_refuse_to_wait_for_themselves() -> None:
    """TK-7, TK-16: drain and close from a task of the same queue are errors, not hangs."""
    errors: list[BaseException] = []

    def fn(task: Task) -> None:
        for call in (queue.drain, queue.close):
            try:
                call()
            except UsageError as error:
                errors.append(error)

    with TaskQueue("itself") as queue:
        queue.schedule(Task(fn))
        queue.drain(LIMIT)
    assert len(errors) == 2


def test_tk16_close_says_what_it_cancelled() -> None:
    """TK-16: completes what is scheduled, cancels and returns what is armed; a second close does nothing."""
    queue = TaskQueue("close")
    ran: list[int] = []
    queue.schedule(Task(lambda task: ran.append(1)))
    armed = DelayedTask(lambda task: ran.append(2))
    queue.schedule_delayed(armed, 30)
    assert queue.close(LIMIT) == (armed,)
    assert ran == [1]
    assert not armed.pending
    assert queue.close() == ()


def test_tk16_a_dropped_queue_finishes_and_says_so() -> None:
    """TK-16: ResourceWarning, and the tasks run."""
    ran = threading.Event()
    gate = Gate()
    queue = TaskQueue("dropped")
    queue.schedule(gate.task)
    assert gate.started.wait(LIMIT)
    queue.schedule(Task(lambda task: ran.set()))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        del queue
        gc.collect()
    assert any("dropped" in str(warning.message) for warning in caught if warning.category is ResourceWarning)
    gate.go.set()
    assert ran.wait(LIMIT)


def test_no_thread_is_left_after_the_idle_time() -> None:
    """TP-5, TK-9: everything is idle, everything leaves."""
    before = threadpool9.tunables.idle_ms
    threadpool9.tunables.idle_ms = 50
    try:
        threadpool9.retire_idle()
        over = threading.Event()
        Task(lambda task: over.set()).schedule()
        assert over.wait(LIMIT)
        deadline = time.monotonic() + LIMIT
        while threadpool9.snapshot().workers or threadpool9.snapshot().starter:
            assert time.monotonic() < deadline
    finally:
        threadpool9.tunables.idle_ms = before
