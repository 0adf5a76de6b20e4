"""What attacks on the layers have broken once, program by program (see docs/regressions.rst, the second list)."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from pace import patience
from programs import run

import task9
import threadpool9
import workqueue9
from task9 import Task
from threadpool9 import Job
from threadpool9.hooks import hookimpl, register, unregister

LIMIT = patience(30.0)


def finish(action: Callable[[], object]) -> Job:
    """A job that does `action`, then done()."""

    def fn(job: Job) -> None:
        action()
        with job.interlock:
            job.done()

    return Job(fn)


FORK_CHILDREN = """
import gc, os, sys, threading, weakref
import task9, threadpool9, workqueue9

class Odd:
    @property
    def __class__(self):
        raise RuntimeError("do not ask")

odd, dead = Odd(), weakref.proxy(set())
halves = []
for _ in range(3):
    try:
        threadpool9.Job("not callable")
    except TypeError as error:
        halves.append(error.__traceback__.tb_next.tb_frame)  # keeps the job that was never finished
pool, queue = threadpool9.get(), task9.TaskQueue("q")
stop = threading.Event()
task, job = task9.Task(lambda task: None), threadpool9.Job(lambda job: finish(job))

def finish(job):
    with job.interlock:
        job.done()

def busy():
    while not stop.is_set():
        threadpool9.Job(finish)
        queue.schedule(task)
        with job.interlock:
            pool.schedule(job)

thread = threading.Thread(target=busy)
thread.start()
gc.collect()
gc.freeze()
dead_children = 0
for _ in range(40):
    child = os.fork()
    if not child:
        try:
            over = threading.Event()
            queue.call(over.set)
            with job.interlock:
                pass
            job.wait(20)
            with job.interlock:
                alive = over.wait(20) and pool.schedule(job) and queue.schedule(task)
            job.wait(20)
            queue.drain(20)
            os._exit(0 if alive else 1)
        except BaseException as error:
            os.write(2, repr(error).encode() + b"\\n")
            os._exit(2)
    dead_children += os.waitpid(child, 0)[1] != 0
stop.set()
thread.join()
queue.close()
print("dead", dead_children)
"""


def test_fork_children_live_whatever_objects_there_are() -> None:
    """A dead proxy, an object that must not be asked its class, half-made jobs, gc.freeze: the child looks at none."""
    if not getattr(sys, "_is_gil_enabled", lambda: True)():
        pytest.skip("a free-threaded CPython 3.13 does not stop other threads before it forks")
    done = run(FORK_CHILDREN)
    assert done.stdout == "dead 0\n", done.stderr[-2000:]


def test_a_timer_does_not_wait_behind_the_backlog_of_a_pool() -> None:
    """A delayed task of another priority fires while thousands of jobs wait on the default pool."""
    go = threading.Event()
    with threadpool9.get() as pool, task9.TaskQueue("ticks", 64) as queue:
        jobs = [finish(lambda: go.wait(0.0015)) for _ in range(4000)]
        for job in jobs:
            pool.post(job)
        fired = threading.Event()
        left: list[int] = []

        def tick(task: task9.DelayedTask) -> None:
            left.append(len(threadpool9.snapshot().queued))
            fired.set()

        queue.schedule_delayed(task9.DelayedTask(tick), 0.01)
        assert fired.wait(LIMIT)
        go.set()
        pool.drain(LIMIT)
    assert left[0] > 0, "it fired when everything else was over"


def test_a_private_queue_inside_a_job_survives_the_put_of_the_pool() -> None:
    """The queue holds the last reference to the pool whose job closes it: the job does not wait for itself."""
    inside, go, ended = threading.Event(), threading.Event(), []
    pool = threadpool9.get(47)

    def action() -> None:
        with task9.TaskQueue("inner", 47) as queue:
            queue.call(ended.append, "task")
            inside.set()
            assert go.wait(LIMIT)
        ended.append("closed")

    pool.post(finish(action))
    assert inside.wait(LIMIT)
    pool.release()
    go.set()
    for _ in range(1000):
        if "closed" in ended:
            break
        time.sleep(0.01)
    assert ended == ["task", "closed"]


class Awkward:
    """A payload that can't be shown."""

    def __repr__(self) -> str:
        raise ZeroDivisionError


def test_a_payload_whose_repr_raises_is_a_payload_like_any_other() -> None:
    """on_error is called with the function's own exception; Full is Full; a huge payload costs next to nothing."""
    seen: list[tuple[BaseException, Any]] = []
    held = threading.Event()

    def fail(work: workqueue9.Work[Any], arg: object) -> None:
        held.wait(LIMIT)
        raise LookupError

    with workqueue9.WorkQueue(
        "awkward", fail, max_pending=1, on_error=lambda error, work: seen.append((error, work))
    ) as wq:
        first, second = workqueue9.Work(Awkward()), workqueue9.Work(Awkward())
        wq.enqueue(first)
        for _ in range(1000):
            if wq.stats().running:
                break
            time.sleep(0.01)
        wq.enqueue(second)
        with pytest.raises(workqueue9.Full, match="Awkward"):
            wq.enqueue(workqueue9.Work(Awkward()), block=False)
        with pytest.raises(workqueue9.Full) as full:
            wq.enqueue(workqueue9.Work(list(range(10**6))), block=False)
        assert len(str(full.value)) < 300
        held.set()
        wq.drain(LIMIT)
    assert [(type(error), work) for error, work in seen] == [(LookupError, first), (LookupError, second)]


def test_an_exception_that_is_raised_again_and_again_does_not_grow() -> None:
    """The note of where it came from is replaced, not added."""
    shared = LookupError("the same object each time")
    seen: list[BaseException] = []

    def fail(work: workqueue9.Work[Any], arg: object) -> None:
        raise shared

    with workqueue9.WorkQueue("again", fail, on_error=lambda error, work: seen.append(error)) as wq:
        for number in range(50):
            wq.enqueue(workqueue9.Work(number))
        wq.drain(LIMIT)
    assert len(seen) == 50
    assert len(shared.__notes__) == 1


def test_what_takes_too_long_is_reported_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """By the watchdog or by the executor at the end of the run, whoever is first."""
    reports: list[object] = []
    monkeypatch.setattr(threading, "excepthook", lambda args: reports.append(args.exc_value))
    task9.tunables.limit_ms = 5.0
    try:
        queue = task9.get(46)
        tasks = [task9.Task(lambda task, n=n: time.sleep(0.006 + 0.0005 * n)) for n in range(12)]  # type: ignore[misc]
        for task in tasks:
            queue.schedule(task)
            queue.drain(LIMIT)
        queue.put(LIMIT)
        for _ in range(300):  # a report by the watchdog has a thread of its own
            if len(reports) >= len(tasks):
                break
            time.sleep(0.01)
    finally:
        task9.tunables.limit_ms = 0.0
    assert len(reports) == len(tasks), [str(report)[:80] for report in reports]


def test_a_drain_does_not_miss_the_run_that_timed_out_announces() -> None:
    """timed_out says True when the task is on its queue, and not before."""
    with task9.TaskQueue("announced") as queue:
        for _ in range(300):
            runs: list[None] = []
            task = task9.DelayedTask(lambda task, runs=runs: runs.append(None))  # type: ignore[misc]
            queue.schedule_delayed(task, 1e-4)
            while not task.timed_out:
                pass
            queue.drain(LIMIT)
            assert runs == [None]


def test_a_bound_costs_what_is_used_of_it() -> None:
    """max_pending and max_active of a hundred million cost no more than of one."""
    with workqueue9.WorkQueue("wide", lambda work, arg: None, max_pending=10**8) as wq:
        for _ in range(1000):
            wq.enqueue(workqueue9.Work())
    with workqueue9.WorkQueue("many", lambda work, arg: None, max_active=10**8) as wq:
        for _ in range(1000):
            wq.enqueue(workqueue9.Work())


def test_the_totals_are_right_after_the_last_put_beside_cancels() -> None:
    """TP-34: a cancel that is counted after the pool has gone is counted all the same."""
    before = threadpool9.snapshot().counters
    jobs = [finish(lambda: None) for _ in range(200)]
    for pri in range(20):
        pool = threadpool9.get(pri)
        mine = jobs[pri * 10 : pri * 10 + 10]

        def cancel(pool: threadpool9.Pool = pool, mine: list[Job] = mine) -> None:
            for job in mine:
                with job.interlock:
                    try:
                        pool.schedule(job)
                        pool.cancel_async(job)
                    except threadpool9.UsageError:
                        pass  # the last reference was put

        thread = threading.Thread(target=cancel)
        thread.start()
        pool.put(LIMIT)
        thread.join(LIMIT)
    threadpool9.retire_idle()
    after = threadpool9.snapshot().counters
    scheduled, completed = after.scheduled - before.scheduled, after.completed - before.completed
    assert scheduled == completed + after.cancelled - before.cancelled
    assert after.started == after.completed


@pytest.mark.filterwarnings("ignore:This process .*fork:DeprecationWarning")  # Python 3.12 and later
def test_a_fork_while_a_probe_of_a_schedule_is_fired_leaves_the_task_idle() -> None:
    """TP-31: the child finds a task that another thread was about to put on its queue, and makes it idle."""
    if not getattr(sys, "_is_gil_enabled", lambda: True)():
        pytest.skip("a free-threaded CPython 3.13 does not stop other threads before it forks")
    inside, go, ran = threading.Event(), threading.Event(), threading.Event()

    class Listener:
        @hookimpl
        def task9_schedule(self, lane: object, task: object) -> None:
            inside.set()
            go.wait(LIMIT)

    listener = Listener()
    register(listener)
    try:
        with task9.TaskQueue("forked") as queue:
            task = Task(lambda task: ran.set())
            thread = threading.Thread(target=queue.schedule, args=(task,))
            thread.start()
            assert inside.wait(LIMIT)
            child = os.fork()
            if child == 0:
                go.set()
                os._exit(0 if not task.pending and queue.schedule(task) and ran.wait(LIMIT) else 1)
            _, status = os.waitpid(child, 0)
            go.set()
            thread.join(LIMIT)
            assert status == 0, "the task is stuck in the child"
            assert ran.wait(LIMIT)
    finally:
        unregister(listener)
