"""Of the clauses TK-1 to TK-16 what the conformance suite can't see: types, texts of errors, sizes, idle time."""

from __future__ import annotations

import sys
import threading

import pytest
from pace import patience

import task9
import threadpool9
from conformance9.suite.tools import wait_until
from task9 import DelayedTask, QueueClosed, Task, TaskQueue, UsageError, WaitTimeout

LIMIT = patience(10.0)


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


@pytest.mark.parallel
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


def test_tk9_an_idle_task_is_small_and_idle_queues_own_no_thread() -> None:
    """TK-9: at most 200 bytes with its ticket; a thousand idle queues add no thread."""
    task = Task(print)
    assert sys.getsizeof(task) + sys.getsizeof(task.item_ticket) <= 200
    before = threading.active_count()
    queues = [TaskQueue(f"idle {number}") for number in range(1000)]
    assert threading.active_count() <= before
    for queue in queues:
        queue.close()


@pytest.mark.parallel
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


@pytest.mark.parallel
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


def test_no_thread_is_left_after_the_idle_time() -> None:
    """TP-5, TK-9: everything is idle, everything leaves."""
    before = threadpool9.tunables.idle_ms
    threadpool9.tunables.idle_ms = 50
    try:
        threadpool9.retire_idle()
        over = threading.Event()
        Task(lambda task: over.set()).schedule()
        assert over.wait(LIMIT)
        assert wait_until(lambda: not (threadpool9.snapshot().workers or threadpool9.snapshot().starter))
    finally:
        threadpool9.tunables.idle_ms = before


def test_hk2_a_lane_tells_a_listener_what_it_belongs_to() -> None:
    """Name, priority, CPU and whether its queue is a shared one, of a private queue and of a shared one."""
    shared = task9.get(20)
    try:
        with task9.TaskQueue("mine", 21) as queue:
            (lane,) = queue.group.lanes
            assert (lane.name, lane.pri, lane.cpu, lane.shared) == ("mine", 21, None, False)
        (lane, *_) = shared.group.lanes
        assert (lane.pri, lane.cpu, lane.shared) == (20, min(threadpool9.allowed_cpus()), True)
    finally:
        shared.put(LIMIT)
