"""Bugs of other systems' queues that could occur here, one test each; the table is in docs/regressions.rst."""

from __future__ import annotations

import gc
import os
import threading
import weakref
from collections.abc import Callable

import pytest
from pace import patience

import task9
import threadpool9
from task9 import DelayedTask, Task, TaskQueue
from threadpool9 import Job, UsageError
from workqueue9 import WQ_PERCPU, Work, WorkQueue

LIMIT = patience(60.0)
Until = Callable[[Callable[[], object]], None]


def in_threads(*bodies: Callable[[], object]) -> None:
    """Each body on a thread of its own; the first exception fails the test."""
    errors: list[BaseException] = []

    def guarded(body: Callable[[], object]) -> None:
        try:
            body()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=guarded, args=(body,)) for body in bodies]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(LIMIT)
        assert not thread.is_alive(), "a thread hangs"
    assert not errors, errors


def test_b06_and_b34_wait_does_not_touch_what_the_function_was_given(until: Until) -> None:
    """B6, B34: the function may take its work apart, while others wait for it: many waiters, and all return."""
    waiting = threading.Barrier(4)

    def take_apart(work: Work, arg: object) -> None:
        waiting.wait(LIMIT)
        work.payload = None
        work.__init__("another")  # type: ignore[misc]  # it is the function's now

    with WorkQueue("apart", take_apart) as wq:
        for _ in range(20):
            work = Work("one")
            wq.freeze()
            wq.enqueue(work)

            def wait(work: Work = work) -> None:
                waiting.wait(LIMIT)
                wq.wait(work, LIMIT)

            helper = threading.Thread(target=wq.thaw)
            helper.start()
            in_threads(wait, wait, wait)
            helper.join()


def test_b07_waiters_beside_each_other_and_beside_enqueues() -> None:
    """B7: several threads wait for one work while a fourth enqueues others: no assertion, everybody returns."""
    with WorkQueue("crowd", lambda work, arg: None) as wq:
        work, others = Work(), [Work() for _ in range(10)]
        stop = threading.Event()

        def again() -> None:
            for _ in range(100):
                wq.enqueue(work)
                wq.wait(work, LIMIT)
            stop.set()

        def wait() -> None:
            while not stop.is_set():
                wq.wait(work, LIMIT)

        def feed() -> None:
            while not stop.is_set():
                for other in others:
                    if not other.pending:
                        wq.enqueue(other)

        in_threads(again, wait, wait, feed)


def test_b08_and_b12_many_threads_cancel_what_requeues_itself() -> None:
    """B8, B12: a cancel waits for one run, not for its successors; n threads cancel the same one and all return."""
    with TaskQueue("requeue", concurrency=2) as queue:
        for _ in range(100):
            runs: list[None] = []

            def again(task: Task, runs: list[None] = runs) -> None:
                runs.append(None)
                queue.schedule(task)

            task = Task(again)
            queue.schedule(task)
            in_threads(*[lambda task=task: task.cancel(timeout=LIMIT)] * 4)
            assert not task.pending
            before = len(runs)
            queue.drain(LIMIT)
            assert len(runs) == before


def test_b08_a_barrier_on_a_percpu_queue() -> None:
    """B8: flush works on per-CPU queues and waits for all CPUs."""
    with WorkQueue("percpu", lambda work, arg: work.payload.append(work), flags=WQ_PERCPU) as wq:
        for _ in range(50):
            done: list[Work] = []
            for cpu in threadpool9.allowed_cpus():
                for _ in range(3):
                    wq.enqueue(Work(done), cpu=cpu)
            wq.flush(LIMIT)
            assert len(done) == 3 * len(threadpool9.allowed_cpus())


def test_b09_every_kind_of_queue_gives_all_its_pools_back() -> None:
    """B9: after close, put and destroy no pool of that priority is left."""
    for close in (
        lambda: TaskQueue("one", 35).close(LIMIT),
        lambda: TaskQueue("two", 35, percpu=True).close(LIMIT),
        lambda: TaskQueue("three", 35, concurrency=3).close(LIMIT),
        lambda: task9.get(35).put(LIMIT),
        lambda: WorkQueue("four", print, pri=35).destroy(LIMIT),
        lambda: WorkQueue("five", print, pri=35, flags=WQ_PERCPU).destroy(LIMIT),
    ):
        close()
        assert not [pool for pool in threadpool9.snapshot().pools if pool.pri == 35]


@pytest.mark.parametrize("make", [Task, DelayedTask])
def test_b10_cancel_schedule_cancel(make: type[Task]) -> None:
    """B10: a withdrawn task is as good as new."""
    runs: list[Task] = []
    with TaskQueue("again") as queue:
        go = threading.Event()
        queue.schedule(Task(lambda task: go.wait(LIMIT)))
        task = make(runs.append)
        for _ in range(3):
            assert queue.schedule(task)
            assert task.cancel()
        assert queue.schedule(task)
        go.set()
        queue.drain(LIMIT)
    assert runs == [task]


def test_b13_modify_against_cancel(until: Until) -> None:
    """B13: moving a delayed work and cancelling it from several threads: no deadlock; a cancel is final."""
    runs: list[Work] = []
    with WorkQueue("modify", lambda work, arg: runs.append(work)) as wq:
        work = Work()

        def move() -> None:
            for number in range(300):
                wq.modify(work, 0.0001 * (number % 4))

        def cancel() -> None:
            for _ in range(300):
                wq.cancel(work, LIMIT)

        in_threads(move, move, cancel, cancel)
        wq.cancel(work, LIMIT)
        assert not work.pending
        before = len(runs)
        wq.flush(LIMIT)
        assert len(runs) == before
        assert wq.enqueue(work), "the work is stuck"
        wq.flush(LIMIT)
        assert len(runs) == before + 1


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="needs CPU sets")
def test_b14_a_delayed_work_runs_on_the_cpu_it_was_armed_for() -> None:
    """B14: what a per-CPU queue promises holds for delayed works too."""
    where: dict[object, set[int]] = {}

    def note(work: Work, arg: object) -> None:
        where[work.payload] = os.sched_getaffinity(0)

    with WorkQueue("place", note, flags=WQ_PERCPU) as wq:
        works = {cpu: Work(cpu) for cpu in threadpool9.allowed_cpus()}
        for cpu, work in works.items():
            wq.enqueue_delayed(work, 0.001, cpu=cpu)
        for work in works.values():
            wq.wait(work, LIMIT)
    assert where == {cpu: {cpu} for cpu in works}


def test_b15_a_recycled_object_is_not_taken_for_its_former_self() -> None:
    """B15: a job that was initialised again within its function, and a work that was put on another queue by it: who
    cancels or waits for the new one does not wait for the old one's function.
    """
    go, swapped = threading.Event(), threading.Event()
    runs: list[str] = []

    def second(job: Job) -> None:
        runs.append("second")
        with job.interlock:
            job.done()

    def first(job: Job) -> None:
        with job.interlock:
            job.done()
        job.destroy()
        job.__init__(second)  # type: ignore[misc]
        swapped.set()
        go.wait(LIMIT)

    with threadpool9.get(36) as pool:
        job = Job(first)
        pool.post(job)
        assert swapped.wait(LIMIT)
        pool.post(job)
        with job.interlock:
            pool.cancel(job, LIMIT)  # raises WaitTimeout if it waits for `first`
        go.set()

    go.clear()
    swapped.clear()
    other = WorkQueue("other", lambda work, arg: runs.append("other"))

    def hand_over(work: Work, arg: object) -> None:
        other.enqueue(work)
        swapped.set()
        go.wait(LIMIT)

    with WorkQueue("first", hand_over) as wq, other:
        work = Work()
        wq.enqueue(work)
        assert swapped.wait(LIMIT)
        other.wait(work, LIMIT)
        assert runs[-1] == "other"
        go.set()


@pytest.mark.parametrize("kind", ["private", "percpu", "concurrent"])
def test_b19_and_b28_destroy_under_load(kind: str) -> None:
    """B19, B28: closing a queue with work pending and running: everything has run, close returns, no false alarm."""
    for _ in range(60):
        runs: list[Task] = []
        queue = TaskQueue("load", 37, percpu=kind == "percpu", concurrency=3 if kind == "concurrent" else 1)
        tasks = [Task(runs.append) for _ in range(20)]
        for task in tasks:
            queue.schedule(task)
        queue.close(LIMIT)
        assert len(runs) == 20


def test_b20_an_ordered_queue_stays_ordered_whoever_enqueues() -> None:
    """B20: max_active=1: one at a time and in order for each enqueuer, from threads on every CPU."""
    order: list[tuple[int, int]] = []
    inside = threading.Lock()

    def func(work: Work, arg: object) -> None:
        assert inside.acquire(False), "two at once"
        order.append(work.payload)
        inside.release()

    def feed(me: int) -> Callable[[], None]:
        return lambda: [wq.enqueue(Work((me, number))) for number in range(1500)] and None

    with WorkQueue("ordered", func) as wq:
        in_threads(feed(0), feed(1), feed(2))
        wq.flush(LIMIT)
        assert wq.stats().errors == 0
    for me in range(3):
        assert [number for who, number in order if who == me] == list(range(1500))


@pytest.mark.parametrize("max_active", [1, 3])
def test_b21_and_b40_a_frozen_queue_holds_what_waits_and_forgets_none(max_active: int) -> None:
    """B21, B40: freeze holds what was enqueued before too; thaw starts all of the several that were held, in order."""
    order: list[int] = []
    with WorkQueue("freeze", lambda work, arg: order.append(work.payload), max_active=max_active) as wq:
        for _ in range(100):
            order.clear()
            wq.freeze()
            for number in range(10):
                wq.enqueue(Work(number))
            assert not order
            wq.thaw()
            wq.flush(LIMIT)
            assert order == list(range(10)) if max_active == 1 else sorted(order) == list(range(10))


def test_b23_a_limit_of_zero_reports_nothing() -> None:
    """B23: 0 turns the detectors off, it does not make everything late."""
    assert threadpool9.tunables.stall_ms == task9.tunables.limit_ms == 0
    before = threadpool9.snapshot().counters.errors
    queue = task9.get()
    for _ in range(50):
        queue.schedule(Task(lambda task: None))
    queue.drain(LIMIT)
    queue.put(LIMIT)
    assert threadpool9.snapshot().counters.errors == before


def test_b24_and_b33_waiting_for_oneself_is_an_error_not_a_deadlock() -> None:
    """B24, B33: drain, flush, close and destroy from the queue's own function are refused clearly."""
    refused: list[str] = []

    def attempt(*operations: Callable[[], object]) -> None:
        for operation in operations:
            with pytest.raises(UsageError):
                operation()
            refused.append("refused")

    with TaskQueue("self") as queue:
        queue.schedule(Task(lambda task: attempt(queue.drain, queue.close)))
        queue.drain(LIMIT)
    with WorkQueue("self", lambda work, arg: attempt(wq.flush, wq.drain, wq.destroy)) as wq:
        wq.enqueue(Work())
        wq.flush(LIMIT)
    assert refused == ["refused"] * 5


def test_b25_and_b34_nobody_touches_the_item_after_its_function(until: Until) -> None:
    """B25, B34: the last reference may be dropped within the function; an idle queue keeps nothing alive."""
    held: list[object] = []
    with TaskQueue("drop") as queue, WorkQueue("drop", lambda work, arg: held.clear()) as wq:
        task = Task(lambda task: held.clear())
        work = Work()
        for unit, launch in ((task, queue.schedule), (work, wq.enqueue)):
            held.append(unit)
            launch(unit)  # type: ignore[operator]
        references = [weakref.ref(task), weakref.ref(work)]
        del task, work, unit, launch
        queue.drain(LIMIT)
        wq.flush(LIMIT)
        until(lambda: gc.collect() is not None and not any(reference() for reference in references))


def test_b27_and_b33_drain_waits_for_what_all_threads_run_and_for_what_waits() -> None:
    """B27, B33: with several executors: running ones on every thread, and pending ones."""
    with TaskQueue("wide", concurrency=4) as queue:
        for _ in range(100):
            done: list[Task] = []
            barrier = threading.Barrier(4)

            def body(task: Task, barrier: threading.Barrier = barrier, done: list[Task] = done) -> None:
                barrier.wait(LIMIT)
                done.append(task)

            for _ in range(8):
                queue.schedule(Task(body))
            queue.drain(LIMIT)
            assert len(done) == 8


def test_b29_and_b30_drains_beside_a_task_that_arms_itself_again() -> None:
    """B29, B30: several drains return beside a timer that is always armed; after the cancel nothing fires."""
    fired: list[None] = []
    with TaskQueue("rearm") as queue:

        def again(task: DelayedTask) -> None:
            fired.append(None)
            task.schedule(0.0001, queue=queue)

        task = DelayedTask(again)
        task.schedule(0.0001, queue=queue)
        in_threads(*[lambda: [queue.drain(LIMIT) for _ in range(100)]] * 3)
        task.cancel(timeout=LIMIT)
        before = len(fired)
        assert not task.pending
        queue.drain(LIMIT)
        assert len(fired) == before


def test_b31_any_number_of_schedules_is_one_run() -> None:
    """B31: nothing counts schedules that could overflow: 70 000 while it is pending are one run, and no more."""
    runs: list[Task] = []
    with TaskQueue("count") as queue:
        go = threading.Event()
        queue.schedule(Task(lambda task: go.wait(LIMIT)))
        task = Task(runs.append)
        assert queue.schedule(task)
        assert not any(queue.schedule(task) for _ in range(70_000))
        go.set()
        queue.drain(LIMIT)
    assert runs == [task]
