"""What was left open when the fifth list was closed, and what a crowded free-threaded build has shown."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import nullcontext
from types import FrameType
from typing import Any

import pytest
from pace import patience
from struck import interrupt, refusing, struck

import threadpool9
from conformance9.suite.tools import wait_until
from task9 import Task, TaskQueue
from task9._slots import Slots
from threadpool9 import Job
from threadpool9.lowlevel import FREE_THREADED, Blocking, Sleepers, Steps, contents, deque, run
from workqueue9 import Work, WorkQueue

LIMIT = patience(30.0)
PRI = 55  # nobody else's


def test_a_deque_is_read_beside_hundreds_of_threads_that_use_it() -> None:
    """Without a GIL an iteration of a deque failed each time, and a drain or a snapshot was never over."""
    items: deque[int] = deque(range(1000))
    over = threading.Event()

    def rotate() -> None:
        while not over.is_set():
            items.append(items.popleft())

    threads = [threading.Thread(target=rotate) for _ in range(300 if FREE_THREADED else 3)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(20):
            seen = contents(items)
            assert len(set(seen)) == len(seen) >= 1000 - len(threads)
    finally:
        over.set()
        for thread in threads:
            thread.join(LIMIT)
    assert sorted(contents(items)) == list(range(1000))


def test_a_drain_counts_as_no_run_at_any_moment() -> None:
    """WQ-12: the look at a marker counted as a run for the time of two bytecodes; a high-water mark kept that."""
    seen: list[int] = []
    scheduled: list[None] = []

    def trace(frame: FrameType, event: str, arg: object) -> Any:
        if frame.f_code.co_filename.endswith("_executor.py"):
            frame.f_trace_opcodes = True
            seen.extend(executor.started - len(scheduled) for executor in executors)
        return trace

    with TaskQueue("q") as queue:
        executors = [executor for lane in queue.group.lanes for executor in lane.executors]
        threadpool9.retire_idle(LIMIT)
        threading.settrace(trace)
        try:
            for _ in range(10):
                scheduled.append(None)
                queue.call(int)
                queue.drain(LIMIT)
        finally:
            threading.settrace(None)  # type: ignore[arg-type]
            threadpool9.retire_idle(LIMIT)
    assert seen
    assert set(seen) <= {-1, 0}


def test_the_time_of_a_delayed_work_comes_while_it_is_counted() -> None:
    """WQ-12: it was on its lane and in the timer, and counted twice for good."""
    with WorkQueue[Any, Any]("q", lambda work, arg: None) as queue:
        queue.freeze()
        looks = []

        class Armed(dict[Any, Any]):
            def pop(self, *args: Any) -> Any:
                looks.append(queue.stats())
                return super().pop(*args)

        queue.group.armed = Armed()
        assert queue.enqueue_delayed(Work(), 0.001)
        while not looks:
            threading.Event().wait(0.001)
        assert [(each.enqueued, each.pending) for each in looks] == [(1, 1)]
        queue.thaw()
        queue.flush(LIMIT)
        assert queue.stats().enqueued == 1


def test_a_disable_from_the_queue_s_own_function_meets_an_enqueue_in_its_middle() -> None:
    """WQ-10: it can't wait for that, so the enqueue looks again when the work can be found."""
    runs: list[Any] = []

    def function(work: Work[Any], arg: object) -> None:
        runs.append(work.payload)
        if isinstance(work.payload, Work):
            assert queue.disable(work.payload) in (True, False)

    steps: list[tuple[str, Callable[[], bool]]] = []
    with WorkQueue[Any, Any]("q", function, max_pending=10) as queue:
        steps = [
            ("put_taken", lambda: queue.enqueue(other)),
            ("arm_at", lambda: queue.enqueue_delayed(other, 1000.0)),
        ]
        for place, enqueue in steps:
            other: Work[str] = Work("other")

            def disable(other: Work[str] = other) -> None:
                assert queue.enqueue(Work(other))
                queue.flush(LIMIT)

            with struck(place, disable):
                assert not enqueue()
            queue.flush(LIMIT)
            assert not other.pending
            assert "other" not in runs
            assert queue.enable(other)
            assert queue.enqueue(other)
            queue.flush(LIMIT)
            assert runs.pop() == "other"


def test_a_modify_between_the_first_look_of_a_wait_and_its_sleep() -> None:
    """WQ-4: the wait was over at once, as if what was moved had been enqueued later."""
    over = threading.Event()
    with WorkQueue[Any, Any]("q", lambda work, arg: over.set()) as queue:
        queue.freeze()
        work: Work[None] = Work()
        assert queue.enqueue(work)
        with struck("bell", lambda: queue.modify(work, 0.001)) as moved:
            opener = threading.Timer(0.05, queue.thaw)
            opener.start()
            queue.wait(work, LIMIT)
        assert moved == [True]
        assert over.is_set()
        opener.join()


def test_a_drain_beside_a_job_that_posts_itself() -> None:
    """TP-38: it waited for each further post, of which there is one at any moment."""
    begun, go = ([threading.Event() for _ in range(3)] for _ in range(2))
    runs: list[None] = []
    sleeps: list[None] = []

    def fn(job: Job) -> None:
        number = len(runs)
        runs.append(None)
        if number < 2:
            pool.post(job)
        begun[number].set()
        assert go[number].wait(LIMIT)
        with job.interlock:
            job.done()

    class Late(Blocking):
        """Comes to look when the next run has begun, and has posted."""

        def listen(self, bell: Any, seconds: float) -> Steps[bool]:
            number = len(sleeps)
            sleeps.append(None)
            assert number < 2, "it waits for a third run"
            go[number].set()
            rung = yield from super().listen(bell, seconds)
            assert begun[number + 1].wait(LIMIT)
            return rung

    with threadpool9.get(PRI) as pool:
        pool.post(Job(fn))
        assert begun[0].wait(LIMIT)
        try:
            run(pool.drain_steps(Late(LIMIT)))
        finally:
            for event in go:
                event.set()
        assert len(sleeps) == 2, "it did not wait for the run that was posted before"


def test_a_drain_does_not_wait_for_a_run_that_was_posted_after_it_began() -> None:
    """The run that it had met was over, and the job had a new ticket when it was asked for it."""
    go = [threading.Event() for _ in range(2)]
    begun = [threading.Event() for _ in range(2)]
    runs: list[None] = []

    def fn(job: Job) -> None:
        number = len(runs)
        runs.append(None)
        begun[number].set()
        assert go[number].wait(LIMIT)
        with job.interlock:
            job.done()

    with threadpool9.get(PRI) as pool:
        job = Job(fn)
        pool.post(job)
        assert begun[0].wait(LIMIT)

        def end_and_post() -> bool:
            go[0].set()
            job.wait(LIMIT)
            pool.post(job)
            return begun[1].wait(LIMIT)

        with struck("under_way", end_and_post, line="for job in (*tuple(ticket), worker.job):") as ended:
            pool.drain(LIMIT / 4)
        assert ended == [True]
        go[1].set()


LINES = ["if holder.references > 1:", "elif holder.references == 1:", "if holder._closing:", "for pool in pools:"]


@pytest.mark.parametrize("line", LINES)
@pytest.mark.parametrize("percpu", [False, True])
def test_ctrl_c_in_the_last_put_of_a_pool(line: str, percpu: bool) -> None:
    """TP-1, TP-9: it was closing before the put had counted, and a further reference made a second one."""

    def pools() -> list[Any]:
        return [pool for pool in threadpool9.snapshot().pools if pool.pri == PRI]

    holder = threadpool9.percpu_get(PRI) if percpu else threadpool9.get(PRI)
    known = len(pools())
    place = {LINES[2]: "put", LINES[3]: "_dismiss"}.get(line, "_give_back")
    with struck(place, interrupt, line=line) as struck_there, pytest.raises(KeyboardInterrupt):
        holder.put(LIMIT)
    assert struck_there == [None]
    if any(pool.references for pool in pools()):
        holder.put(LIMIT)
    with threadpool9.percpu_get(PRI) if percpu else threadpool9.get(PRI) as again:
        assert len(pools()) == known
        pool = again.ref() if isinstance(again, threadpool9.PerCPU) else again
        pool.post(Job(Job.done, interlock=nullcontext()))
        pool.drain(LIMIT)
    assert not pools()


def test_memory_refused_while_those_that_wait_for_a_run_are_woken(monkeypatch: pytest.MonkeyPatch) -> None:
    """They slept on, and the executor was gone for good."""
    entered, go = threading.Event(), threading.Event()

    def hold(task: Task) -> None:
        entered.set()
        assert go.wait(LIMIT)

    with TaskQueue("q") as queue:
        task = Task(hold)
        queue.schedule(task)
        assert entered.wait(LIMIT)
        waiter = threading.Thread(target=task.cancel, kwargs={"timeout": LIMIT})
        waiter.start()
        assert wait_until(lambda: bool(queue.group.sleepers))
        left = refusing(monkeypatch, Sleepers, "wake")
        go.set()
        waiter.join(LIMIT / 2)
        assert not waiter.is_alive()
        assert not left
        calls: list[int] = []
        queue.call(calls.append, 1)
        queue.drain(LIMIT)
    assert calls == [1]


def test_memory_refused_while_slots_are_made() -> None:
    """The portion was gone: the queue was full for good."""

    class Full(list[None]):
        def extend(self, portion: Any) -> None:
            nonlocal left
            super().append(next(portion))
            if left:
                left = False
                raise MemoryError
            super().extend(portion)

    left = True
    slots = Slots(10)
    slots.free = Full()
    hands: list[list[None]] = [[] for _ in range(11)]
    with pytest.raises(MemoryError):
        run(slots.take(hands[0], None, KeyError))
    for hand in hands[:10]:
        run(slots.take(hand, None, KeyError))
    with pytest.raises(KeyError):
        run(slots.take(hands[10], None, KeyError))
