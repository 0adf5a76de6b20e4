"""Who waits for whom: timers, starts and withdrawals do not wait behind the work of others (second list, 6 to 9)."""

from __future__ import annotations

import math
import random
import statistics
import threading
import time
from collections.abc import Callable, Iterator

import pytest
from pace import patience

import task9
import threadpool9
import workqueue9
from threadpool9 import Job, hookimpl
from threadpool9.lowlevel import FREE_THREADED

LIMIT = patience(60.0)
# So many that there are not workers for all of them within the test. Without a GIL more may end up in a queue for the
# lock of CPython's deque, and the thread that posts them among them: docs/promises.rst, Not promised.
JOBS = 2000 if FREE_THREADED else 6000
LOW = 3  # a priority whose workers are hindered

Clock = Callable[[], float]


def ordinary(action: Callable[[], object]) -> Job:
    """A job that does `action`, then done()."""

    def fn(job: Job) -> None:
        action()
        with job.interlock:
            job.done()

    return Job(fn)


# --- 6: timers


def fires_after(arm: Callable[[Callable[[], object]], object]) -> float:
    """Seconds from `arm(callback)` to the callback."""
    fired = threading.Event()
    began = time.monotonic()
    ended: list[float] = []
    arm(lambda: (ended.append(time.monotonic()), fired.set()))
    assert fired.wait(LIMIT)
    return ended[0] - began


def test_a_timer_beside_a_backlog_is_about_as_punctual_as_threadings() -> None:
    """6: beside thousands of jobs on the default pool a delay of 10 ms takes little longer than `threading.Timer`."""
    delay = 0.01
    with threadpool9.get() as pool, task9.TaskQueue("ticks", 64) as queue:

        def ours(callback: Callable[[], object]) -> None:
            queue.schedule_delayed(task9.DelayedTask(lambda task: callback()), delay)

        def theirs(callback: Callable[[], object]) -> None:
            timer = threading.Timer(delay, callback)
            timer.daemon = True
            timer.start()

        over = threading.Event()

        def again(job: Job) -> None:
            """Take a moment, then to the end of the backlog: it stays as long as there are more jobs than workers."""
            time.sleep(0.0015)
            with job.interlock:
                job.done()
            if not over.is_set():
                pool.post(job)

        for _ in range(JOBS):
            pool.post(Job(again))
        try:
            taken = [(fires_after(ours), fires_after(theirs)) for _ in range(25)]
            assert threadpool9.snapshot().queued, "there is no backlog to wait behind"
            workers = threadpool9.snapshot().workers
            made = sum((worker.pool_pri, worker.pool_cpu) == (pool.pri, None) for worker in workers)
            assert made <= JOBS, f"{made} workers for {JOBS} jobs"
        finally:
            over.set()
        pool.drain(LIMIT)
    mine, other = (statistics.median(times) for times in zip(*taken, strict=True))
    assert mine < other * 5, f"{mine * 1000:.1f} ms beside {other * 1000:.1f} ms of threading.Timer"


# --- 8: one pool's births and another's


def test_workers_that_are_slow_to_be_born_delay_no_other_pool() -> None:
    """8: forty workers of a low priority that get no CPU to be born on; an ordinary job starts meanwhile."""
    go, born = threading.Event(), threading.Event()

    class Hindered:
        """Stands in for a busy machine: who has the low priority gets no further until `go`."""

        @hookimpl
        def threadpool9_apply_priority(self, scheduling: threadpool9.Scheduling, tid: int) -> str | None:
            if scheduling != low.wanted:
                return None
            born.set()
            assert go.wait(LIMIT)
            return ""

    with threadpool9.get(LOW) as low:
        plugin = Hindered()
        threadpool9.register(plugin)
        try:
            for _ in range(40):
                low.post(ordinary(lambda: None))
            assert born.wait(LIMIT), "no worker of the low priority is being born"
            # Each starts a worker. To wait for one of the forty as long as the starter once did takes a second or two.
            end = time.monotonic() + patience(5.0)
            for pri in range(70, 80):
                started = threading.Event()
                with threadpool9.get(pri) as pool:
                    pool.post(ordinary(started.set))
                    assert started.wait(max(0.0, end - time.monotonic())), "it waits for the births of others"
        finally:
            go.set()
            low.drain(LIMIT)
            threadpool9.unregister(plugin)


def test_a_task_begins_though_hundreds_of_queues_have_one_that_sleeps() -> None:
    """7: 600 private queues whose tasks are all blocked; the next queue's task begins."""
    go, began = threading.Event(), threading.Semaphore(0)

    def block(task: task9.Task) -> None:
        began.release()
        go.wait(LIMIT)

    queues = [task9.TaskQueue(f"sleeper {number}") for number in range(600)]
    try:
        for queue in queues:
            queue.schedule(task9.Task(block))
        with task9.TaskQueue("other") as other:
            inside = threading.Event()
            other.call(inside.set)
            assert inside.wait(LIMIT)
        for _ in queues:
            assert began.acquire(timeout=LIMIT), "a sleeping task keeps another queue's from its thread"
    finally:
        go.set()
        for queue in queues:
            queue.close(LIMIT)


# --- 9: withdrawing


def tasks(count: int) -> Iterator[Callable[[], object]]:
    """`count` tasks that wait on one queue; how to withdraw each."""
    go = threading.Event()
    with task9.TaskQueue("long") as queue:
        queue.call(go.wait, LIMIT)
        units = [task9.Task(lambda task: None) for _ in range(count)]
        for unit in units:
            queue.schedule(unit)
        yield from (unit.cancel_async for unit in units)
        go.set()


def delayed(count: int) -> Iterator[Callable[[], object]]:
    """The same for tasks in the timer."""
    with task9.TaskQueue("long") as queue:
        units = [task9.DelayedTask(lambda task: None) for _ in range(count)]
        for number, unit in enumerate(units):
            queue.schedule_delayed(unit, 1000 + number)
        yield from (unit.cancel_async for unit in units)


def works(count: int) -> Iterator[Callable[[], object]]:
    """The same for works, moved to the timer instead of withdrawn."""
    go = threading.Event()
    with workqueue9.WorkQueue("long", lambda work, arg: go.wait(LIMIT)) as wq:
        units = [workqueue9.Work() for _ in range(count)]
        for unit in units:
            wq.enqueue(unit)
        yield from (lambda unit=unit: wq.modify(unit, 1000.0) for unit in units[1:])
        go.set()
        wq.cancel_pending()


def jobs(count: int) -> Iterator[Callable[[], object]]:
    """The same for jobs, behind workers that can't be born."""
    go = threading.Event()

    class Hindered:
        @hookimpl
        def threadpool9_apply_priority(self, scheduling: threadpool9.Scheduling, tid: int) -> str | None:
            go.wait(LIMIT)
            return ""

    plugin = Hindered()
    threadpool9.retire_idle()
    with threadpool9.get(LOW) as pool:
        threadpool9.register(plugin)
        try:
            units = [ordinary(lambda: None) for _ in range(count)]
            for unit in units:
                pool.post(unit)

            def withdraw(unit: Job) -> None:
                with unit.interlock:
                    pool.cancel_async(unit)

            yield from (lambda unit=unit: withdraw(unit) for unit in units)
        finally:
            go.set()
            threadpool9.unregister(plugin)


@pytest.mark.parametrize("kind", [jobs, tasks, delayed, works])
def test_to_withdraw_one_of_many_costs_what_it_costs_among_few(
    kind: Callable[[int], Iterator[Callable[[], object]]],
) -> None:
    """9: cancel and modify in random order; eight times as many cost about eight times as much, not sixty-four."""

    def each(count: int) -> float:
        making = kind(count)
        withdrawals = [next(making) for _ in range(count - (kind is works))]
        random.Random(9).shuffle(withdrawals)
        began = time.thread_time()
        for withdraw in withdrawals:
            withdraw()
        took = time.thread_time() - began
        assert next(making, None) is None
        return took / count

    few = min(each(2_000) for _ in range(3))
    many = math.inf
    for _ in range(6):  # others on the machine make one measurement slow, or several; quadratic costs make all slow
        many = min(many, each(16_000))
        if many < few * 4:
            break
    assert many < few * 4, f"{many * 1e6:.1f} us each of 16000, {few * 1e6:.1f} us each of 2000"
