"""What two more reviewers found in the same way: what moves between a look and the step that follows it."""

from __future__ import annotations

import contextlib
import os
import threading
from typing import Any

import pytest
from pace import patience
from struck import interrupt, refusing, struck

import task9
import threadpool9
from conformance9.suite.tools import wait_until
from task9 import DelayedTask, Task, TaskQueue
from threadpool9 import Job
from threadpool9.lowlevel import FREE_THREADED
from workqueue9 import Full, Work, WorkQueue

LIMIT = patience(30.0)
PRI = 54  # nobody else's


def nothing(*args: object) -> None:
    """What most units do."""


def bounded(name: str) -> WorkQueue[Any, Any]:
    """A frozen queue for one work."""
    queue = WorkQueue[Any, Any](name, nothing, max_pending=1)
    queue.freeze()
    return queue


def test_a_cancel_does_not_withdraw_from_another_queue() -> None:
    """A handler had moved the work in between. Its slot was given back to the wrong queue, for good."""
    with bounded("a") as a, bounded("b") as b:
        work: Work[None] = Work()
        assert a.enqueue(work)

        def move() -> bool:
            return a.cancel_async(work) and b.enqueue(work, block=False)

        with struck("withdraw", move) as moved:
            assert a.cancel_async(work)
        assert moved == [True]
        assert work.pending
        with pytest.raises(Full):
            b.enqueue(Work(), block=False)
        assert a.enqueue(Work(), block=False)
        with pytest.raises(Full):
            a.enqueue(Work(), block=False)
        assert (a.stats().cancelled, b.stats().cancelled) == (1, 0)


def test_a_close_does_not_cancel_what_has_moved_to_another_queue() -> None:
    """It was armed here when the close began."""
    runs: list[DelayedTask] = []
    with TaskQueue("a") as a, TaskQueue("b") as b:
        task = DelayedTask(runs.append)
        assert task.schedule(1000.0, queue=a)
        with struck("withdraw", lambda: task.cancel_async() and b.schedule(task)) as moved:
            assert a.close(LIMIT) == ()
        assert moved == [True]
        b.drain(LIMIT)
        assert runs == [task]


def test_a_cancel_of_a_future_does_not_withdraw_what_its_function_has_enqueued() -> None:
    """TP-25: it said True though the function had been entered."""
    over = threading.Event()
    runs: list[Any] = []

    def function(work: Work[Any], arg: object) -> str:
        runs.append(work.payload)
        if len(runs) == 1:
            queue.freeze()
            assert queue.enqueue(work)
        return "returned"

    with WorkQueue[Any, Any]("q", function) as queue:
        queue.freeze()
        future = queue.submit("payload")
        future.add_done_callback(lambda future: over.set())

        def run() -> bool:
            queue.thaw()
            return over.wait(LIMIT)

        with struck("withdraw", run) as ran:
            assert not future.cancel()
        assert ran == [True]
        assert future.result(LIMIT) == "returned"
    assert runs == ["payload", "payload"]


class Engine:
    """A back end that runs nothing until it is told to."""

    def __init__(self) -> None:
        self.calls: list[Any] = []
        self.came = threading.Semaphore(0)

    def open(self, queue: object) -> None:
        """Nothing to prepare."""

    def pack(self, queue: object, work: Work[Any]) -> object:
        """Something that can be told from another."""
        return ("parcel", work.payload)

    def start(self, call: Any) -> None:
        """Keep it."""
        self.calls.append(call)
        call.leaving()
        self.came.release()

    def ready(self) -> bool:
        """Always."""
        return True

    def close(self, queue: object) -> None:
        """Nothing to give back."""


def test_a_work_that_is_enqueued_again_while_it_is_withdrawn_keeps_its_parcel() -> None:
    """The parcel was thrown away after the work was idle."""
    engine = Engine()
    with WorkQueue[Any, Any]("q", nothing, backend=engine) as queue:
        queue.freeze()
        work = Work(7)
        assert queue.enqueue(work)
        with struck("undone", lambda: queue.enqueue(work)) as again:
            queue.cancel_async(work)
        assert again == [True]
        queue.thaw()
        assert engine.came.acquire(timeout=LIMIT)
        assert engine.calls[0].parcel == ("parcel", 7)
        engine.calls[0].ended(None)


def test_an_end_that_was_interrupted_may_be_reported_again() -> None:
    """The second report was ignored, and the place stayed taken."""
    engine = Engine()
    with WorkQueue[Any, Any]("q", nothing, backend=engine) as queue:
        future = queue.submit(7)
        assert engine.came.acquire(timeout=LIMIT)
        with struck("_end", interrupt, line="executor = self._executor"), pytest.raises(KeyboardInterrupt):
            engine.calls[0].ended(42)
        engine.calls[0].ended(42)
        assert future.result(LIMIT) == 42


def test_a_put_of_a_shared_queue_beside_the_first_schedule_of_all() -> None:
    """The queue became the system queue in the middle of its last put, and was closed for ever."""
    runs: list[Task] = []
    task = Task(runs.append)
    queue = task9.get()
    with struck("is_own_thread", task.schedule):
        try:
            queue.put(LIMIT)
        except threadpool9.UsageError:
            pass  # it is kept by now
    assert wait_until(lambda: not task.pending)
    task.schedule()
    assert wait_until(lambda: not task.pending and not task.running)
    assert runs


WAKING = "for lock in iter(locks.popleft, None): lock.release(); break  # fmt: skip  # see _atomic"


def test_ctrl_c_between_finding_a_waiter_and_waking_it() -> None:
    """It was out of the table, and asleep."""
    with WorkQueue[Any, Any]("q", nothing) as queue:
        queue.freeze()
        work: Work[None] = Work()
        assert queue.enqueue(work)
        waiter = threading.Thread(target=queue.wait, args=(work, LIMIT))
        waiter.start()
        assert wait_until(lambda: bool(queue.group.sleepers))
        (waiters,) = queue.group.sleepers.values()
        with struck("wake_all", interrupt, line=WAKING), pytest.raises(KeyboardInterrupt):
            queue.cancel_async(work)
        assert not waiters.locks
        waiter.join(LIMIT / 2)
        assert not waiter.is_alive()


@pytest.mark.skipif(not hasattr(os, "fork") or FREE_THREADED, reason="needs fork with a GIL")
@pytest.mark.filterwarnings("ignore:This process .*fork:DeprecationWarning")  # Python 3.12 and later
def test_a_fork_beside_a_cancel_leaves_the_work_usable_in_the_child() -> None:
    """TP-31: it was refused there for ever."""
    codes: list[int] = []

    def fork() -> None:
        child = os.fork()
        if not child:
            os._exit(0 if queue.enqueue(work) else 1)
        codes.append(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))

    def beside() -> None:
        thread = threading.Thread(target=fork)
        thread.start()
        thread.join(LIMIT)

    with WorkQueue[Any, Any]("q", nothing) as queue:
        work: Work[None] = Work()
        with struck("_cancel", beside):
            queue.cancel(work, LIMIT)
    assert codes == [0]


def test_memory_refused_before_a_work_is_called(monkeypatch: pytest.MonkeyPatch, reports: list[Any]) -> None:
    """The slot was lost, and whoever waited for the work slept on."""
    with bounded("q") as queue:
        work: Work[None] = Work()
        assert queue.enqueue(work)
        waiter = threading.Thread(target=queue.wait, args=(work, LIMIT))
        waiter.start()
        assert wait_until(lambda: bool(queue.group.sleepers))
        left = refusing(monkeypatch, type(queue.group), "release")
        queue.thaw()
        waiter.join(LIMIT)
        assert not waiter.is_alive()
        assert not left
        assert queue.enqueue(Work(), timeout=LIMIT)
        queue.flush(LIMIT)
    assert [type(report) for report in reports] == [MemoryError]


def test_memory_refused_before_a_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    """The executor was gone for good."""
    calls: list[int] = []
    with TaskQueue("q") as queue:
        left = refusing(monkeypatch, type(queue.group), "make_call")
        queue.call(calls.append, 1)
        queue.drain(LIMIT)
    assert calls == [1]
    assert not left


def test_memory_refused_for_another_executor(monkeypatch: pytest.MonkeyPatch) -> None:
    """So was this one."""
    calls: list[int] = []
    with TaskQueue("q", concurrency=2) as queue:
        left = refusing(monkeypatch, type(queue._lane), "make_executor")
        for number in range(3):
            queue.call(calls.append, number)
            queue.drain(LIMIT)
    assert calls == [0, 1, 2]
    assert not left


@pytest.mark.parametrize("where", ["let_go", "_end_sweep"])
def test_ctrl_c_in_a_sweep_does_not_halt_the_queue(where: str) -> None:
    """It was halted for ever, and what waited was lost."""
    entered, go = threading.Event(), threading.Event()
    runs: list[Task] = []
    with TaskQueue("q") as queue:
        queue.call(lambda: (entered.set(), go.wait(LIMIT)))
        assert entered.wait(LIMIT)
        tasks = [Task(runs.append) for _ in range(200)]
        for task in tasks:
            assert queue.schedule(task)
        interrupts = 0
        with struck(where, interrupt):
            for task in tasks[:150]:
                try:
                    task.cancel_async()
                except KeyboardInterrupt:
                    interrupts += 1
        assert interrupts == 1
        for task in tasks[:150]:
            task.cancel_async()
        go.set()
        queue.drain(LIMIT)
    assert runs == tasks[150:]


def test_a_task_that_raises_after_done_keeps_its_pending_run(reports: list[Any]) -> None:
    """TK-6: a run that was set aside for it was taken for nothing, and began after a cancel had returned True."""
    running, go, set_aside, unblock = (threading.Event() for _ in range(4))
    runs: list[int] = []

    def fn(task: Task) -> None:
        runs.append(1)
        if len(runs) == 1:
            running.set()
            assert go.wait(LIMIT)
            task.done()
            raise ValueError("after done()")

    def block(task: Task) -> None:
        set_aside.set()
        assert unblock.wait(LIMIT)

    with TaskQueue("q", percpu=True) as queue:
        if len(queue._lanes) < 2:
            pytest.skip("needs two CPUs")
        first, second = sorted(queue._lanes)[:2]
        task = Task(fn)
        queue.schedule_on(first, task)
        assert running.wait(LIMIT)
        assert queue.schedule_on(second, task)
        queue.schedule_on(second, Task(block))
        assert set_aside.wait(LIMIT)
        go.set()
        assert wait_until(lambda: bool(reports))
        assert wait_until(lambda: not task.running)
        assert task.pending
        assert task.cancel(timeout=LIMIT)
        unblock.set()
        queue.drain(LIMIT)
    assert runs == [1]


def test_a_pool_s_cancel_waits_for_the_run_that_it_has_met() -> None:
    """It waited for one that was posted after that had ended."""
    started = [threading.Event() for _ in range(2)]
    ends = [threading.Event() for _ in range(2)]
    runs: list[int] = []

    def fn(job: Job) -> None:
        number = len(runs)
        runs.append(number)
        started[number].set()
        assert ends[number].wait(LIMIT)
        job.done()

    with threadpool9.get(PRI) as pool:
        job = Job(fn, interlock=contextlib.nullcontext())  # a lock that can't be asked
        pool.post(job)
        assert started[0].wait(LIMIT)

        def end_and_post() -> bool:
            ends[0].set()
            job.wait(LIMIT)
            pool.post(job)
            return started[1].wait(LIMIT)

        with struck("cancel_steps", end_and_post, line="if ticket is None:") as ended, job.interlock:
            assert not pool.cancel(job, LIMIT / 4)
        assert ended == [True]
        ends[1].set()
