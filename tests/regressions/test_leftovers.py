"""What an operation, a thread or an exit once left behind: references, threads, wrong totals (the second list)."""

from __future__ import annotations

import gc
import sys
import threading
import warnings
from collections.abc import Callable
from types import FrameType
from typing import Any

import pytest
from pace import patience
from programs import run
from stormkit.benches import interrupted_at

import task9
import threadpool9
import workqueue9
from threadpool9 import Job, hookimpl

LIMIT = patience(30.0)
PRI = 51  # nobody else's


def finish(job: Job) -> None:
    """The function of a job that does nothing."""
    with job.interlock:
        job.done()


# --- 15: an interrupted constructor

MAKERS: dict[str, Callable[[], Any]] = {
    "private": lambda: task9.TaskQueue("made", PRI),
    "concurrent": lambda: task9.TaskQueue("made", PRI, concurrency=2),
    "percpu": lambda: task9.TaskQueue("made", PRI, percpu=True),
    "work": lambda: workqueue9.WorkQueue("made", lambda work, arg: None, pri=PRI, max_pending=2),
}


@pytest.mark.parametrize("kind", MAKERS)
def test_a_queue_whose_making_is_interrupted_gives_its_reference_back(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """15: KeyboardInterrupt at each line of the constructor: no error in a finalizer, nothing is left."""
    unraisable: list[object] = []
    monkeypatch.setattr(sys, "unraisablehook", lambda args: unraisable.append(args.exc_value))
    warnings.simplefilter("ignore", ResourceWarning)  # a queue that was complete is dropped, and rightly says so
    gc.collect()
    gc.freeze()  # what was there before makes each collection slow
    number = 0
    while True:
        number += 1
        made: list[Any] = []
        where = interrupted_at(number, lambda made=made: made.append(MAKERS[kind]()))  # type: ignore[misc]
        for queue in made:
            queue.close(LIMIT)
        del made[:]
        gc.collect()
        threadpool9.get(PRI + 1).put(LIMIT)  # pools that were given up are forgotten when one is made
        left = [pool for pool in threadpool9.snapshot().pools if pool.pri == PRI]
        assert not left, f"{where}: {left}"
        assert not unraisable, f"{where}: {unraisable}"
        if where is None:
            break
    gc.unfreeze()
    assert number > 10, "the constructor was never interrupted"


# --- 14: totals


def test_a_worker_that_is_gone_is_counted_before_the_last_put_can_tell() -> None:
    """14: the starter is stopped at each line of seeing a worker off, until the put is back or is known to wait."""
    put = threading.Event()

    def line(frame: FrameType, event: str, argument: object) -> Any:
        if event == "line":
            put.wait(0.05)
        return line

    def call(frame: FrameType, event: str, argument: object) -> Any:
        return line if frame.f_code.co_name == "_see_off" else None

    threadpool9.retire_idle()
    before = threadpool9.snapshot().counters
    threading.settrace(call)
    try:
        with threadpool9.get() as other:  # its worker's starter is traced, if threads that `threading` did not make are
            other.post(Job(finish))
            other.drain(LIMIT)
    finally:
        threading.settrace(None)  # type: ignore[arg-type]  # as documented
    for pri in range(40, 60):
        put.clear()
        pool = threadpool9.get(pri)
        pool.post(Job(finish))
        pool.put(LIMIT)
        put.set()
        now = threadpool9.snapshot()
        here = [worker for worker in now.workers if worker.pool_pri == pri]
        assert not here
    threadpool9.retire_idle()
    after = threadpool9.snapshot().counters
    assert after.threads_started - before.threads_started == after.threads_left - before.threads_left


# --- threads that `threading` knows


def test_no_thread_that_is_gone_stays_in_threadings_list() -> None:
    """A listener asks for the current thread on the starter, as each logger does; the starter leaves; nobody stays."""

    class Curious:
        """Asks on every thread of ours."""

        def __init__(self) -> None:
            self.seen: list[threading.Thread] = []

        @hookimpl
        def threadpool9_dispatcher__start(self, pool: threadpool9.Pool) -> None:
            self.seen.append(threading.current_thread())

        @hookimpl
        def threadpool9_thread__exit(self, pool: threadpool9.Pool) -> None:
            self.seen.append(threading.current_thread())

    before = set(threading.enumerate())
    plugin = Curious()
    threadpool9.register(plugin)
    try:
        with threadpool9.get(PRI) as pool:
            pool.post(Job(finish))
        threadpool9.retire_idle(LIMIT)
    finally:
        threadpool9.unregister(plugin)
    limit = threading.Event()
    for _ in range(500):
        if threadpool9.snapshot().starter is None and set(threading.enumerate()) <= before:
            break
        limit.wait(0.01)
    assert len(plugin.seen) >= 2
    assert [thread for thread in threading.enumerate() if thread not in before] == []


# --- 4 and 5: exits


IMPORTS = "import sys, threading\nimport task9, threadpool9, workqueue9\n"
SELF = {
    "job": """
        pool = threadpool9.get()
        def fn(job):
            with job.interlock:
                job.done()
                pool.schedule(job)
        pool.post(threadpool9.Job(fn))
        """,
    "task": """
        queue = task9.TaskQueue("q")
        task = task9.Task(queue.schedule)
        queue.schedule(task)
        """,
    "work": """
        wq = workqueue9.WorkQueue("w", lambda work, arg: wq.enqueue(work))
        wq.enqueue(workqueue9.Work())
        """,
    "periodic": """
        queue = task9.TaskQueue("q")
        task = task9.PeriodicTask(lambda task: None, 1e-4)
        task.start(queue=queue)
        """,
}  # fmt: skip


@pytest.mark.parametrize("kind", SELF)
def test_the_same_unit_that_schedules_itself_for_ever_does_not_keep_the_exit(kind: str) -> None:
    """4: it is refused at last, and that is reported; a period just ends."""
    # A thousand take long where two workers are busy; the conformance suite waits for them.
    done = run(SELF[kind], f"{IMPORTS}threadpool9._exit.GENERATIONS = 50\n")
    assert done.returncode == 0, done.stderr
    assert ("FinalizingError" in done.stderr) == (kind != "periodic"), done.stderr


def test_what_a_frozen_queue_holds_at_exit_is_reported() -> None:
    """5: it can't run, and is not lost without a word."""
    done = run(
        """
        wq = workqueue9.WorkQueue("ice", lambda work, arg: None)
        wq.freeze()
        for _ in range(3): wq.enqueue(workqueue9.Work())
        """,
        IMPORTS,
    )
    assert done.returncode == 0
    assert "'ice' is frozen: 3 were not run" in done.stderr
