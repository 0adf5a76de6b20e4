"""What a fourth reviewer found, between two lines of one thread or of two: waits, puts and posts that meet."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable
from typing import Any

import pytest
from pace import patience
from struck import interrupt, struck

import threadpool9
from task9 import DelayedTask, Task, TaskQueue
from threadpool9 import Job, UsageError, hookimpl
from threadpool9._job import meetings
from threadpool9.lowlevel import Blocking, run
from workqueue9 import Work, WorkQueue

LIMIT = patience(30.0)
PRI = 53  # nobody else's
Plug = Callable[..., object]


def test_wait_does_not_wait_for_a_work_that_is_enqueued_after_it_began() -> None:
    """WQ-4: though it is enqueued with the very ticket that it was idle with."""

    class Withdrawing(Blocking):
        def bell(self) -> Any:
            assert queue.cancel_async(work)
            return super().bell()

    with WorkQueue[Any, Any]("w", lambda work, arg: None) as queue:
        work: Work[None] = Work()
        queue.freeze()
        assert queue.enqueue(work)
        with struck(
            "pending", lambda: queue.enqueue(work), line="return now is ticket and self.pending_here(work)"
        ) as on:
            run(queue.wait_steps(work, Withdrawing(LIMIT)))  # a WaitTimeout if it waits: nobody thaws the queue before
        assert on == [True]


def test_wait_does_not_wait_for_a_job_that_is_scheduled_after_it_began() -> None:
    """Nor does `Job.wait`. The look whether it is idle stands beside the reading of its ticket."""
    go = threading.Event()

    def fn(job: Job) -> None:
        go.wait(LIMIT)
        with job.interlock:
            job.done()

    with threadpool9.get(PRI) as pool:
        job = Job(fn)
        # An idle one is not looked at a second time: that is where a later schedule would be met.
        with pytest.raises(AssertionError, match="_wait_for was not reached"), struck("_wait_for", go.wait):
            job.wait(LIMIT)
        pool.post(job)
        go.set()
        job.wait(LIMIT)


def test_a_future_that_runs_is_no_task() -> None:
    """It was put a second time, and lost its result."""
    go, running = threading.Event(), threading.Event()

    def fn() -> str:
        running.set()
        assert go.wait(LIMIT)
        return "value"

    with TaskQueue("q") as queue:
        future: Any = queue.submit(fn)
        assert running.wait(LIMIT)
        with pytest.raises(TypeError, match="takes tasks"):
            queue.schedule(future)
        go.set()
        assert future.result(LIMIT) == "value"
        queue.drain(LIMIT)
        assert future.result(LIMIT) == "value"


@pytest.mark.alone
def test_ctrl_c_between_a_loop_s_taking_a_task_and_its_run_leaves_the_task_usable(plugged: Plug, reports: Any) -> None:
    """It was pending for ever, and could not be cancelled."""

    class Listener:
        @hookimpl
        def task9_return(self) -> None:
            """Listened to, so that the run goes the long way round."""

    def interrupt() -> None:
        raise KeyboardInterrupt

    plugged(Listener())
    runs: list[Task] = []
    loop = asyncio.new_event_loop()
    try:
        queue, task = TaskQueue("loop", on=loop), Task(runs.append)
        assert queue.schedule(task)
        with struck("run_watched", interrupt), pytest.raises(KeyboardInterrupt):
            loop.run_until_complete(asyncio.sleep(LIMIT))
        assert not task.pending
        assert queue.schedule(task)
        loop.run_until_complete(queue.aio.drain(LIMIT))
        assert runs == [task]
        loop.run_until_complete(queue.aio.close())
    finally:
        loop.close()


def test_a_delayed_schedule_that_interrupts_itself_coalesces() -> None:
    """It was refused: "is pending on queue 'second'", where the task had been before."""
    with TaskQueue("first") as first, TaskQueue("second") as second:
        task = DelayedTask(lambda task: None)
        assert task.schedule(0, queue=second)
        second.drain(LIMIT)
        with struck("arm", lambda: task.schedule(1000.0, queue=first)) as inside:
            assert task.schedule(1000.0, queue=first)
        assert inside == [False]
        assert task.cancel(timeout=LIMIT)


def test_a_post_beside_done_and_destroy_leaves_no_note() -> None:
    """Drains waited for it, and a job that was initialised again ran twice."""
    entered, go, over = threading.Event(), threading.Event(), threading.Event()

    def fn(job: Job) -> None:
        entered.set()
        assert go.wait(LIMIT)
        with job.interlock:
            job.done()
        job.destroy()
        over.set()

    def finish() -> bool:
        go.set()
        return over.wait(LIMIT)

    with threadpool9.get(PRI) as pool:
        job = Job(fn)
        pool.post(job)
        assert entered.wait(LIMIT)
        with (
            struck("post", finish, line="posts = meetings.posts") as finished,
            pytest.raises(UsageError, match="is destroyed"),
        ):
            pool.post(job)
        assert finished == [True]
        assert job not in meetings.posts
        pool.drain(LIMIT)


def test_ctrl_c_in_a_post_to_a_job_that_has_just_ended_leaves_no_note(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its next run would have been followed by one more, and `Pool.drain` waited for that."""
    entered, go, ended = threading.Event(), threading.Event(), threading.Event()
    runs: list[None] = []

    def fn(job: Job) -> None:
        runs.append(None)
        entered.set()
        assert go.wait(LIMIT)
        with job.interlock:
            job.done()
        ended.set()

    class Late(dict[Any, Any]):
        def setdefault(self, *args: Any) -> Any:
            go.set()
            assert ended.wait(LIMIT)
            return super().setdefault(*args)

    with threadpool9.get(PRI) as pool:
        job = Job(fn)
        pool.post(job)
        assert entered.wait(LIMIT)
        monkeypatch.setattr(meetings, "posts", Late())
        with struck("post", interrupt, line="if len(job._ticket) == 2:"), pytest.raises(KeyboardInterrupt):
            pool.post(job)
        assert job not in meetings.posts
        pool.drain(LIMIT)
        assert len(runs) == 2, "the post has happened"


FORK_BETWEEN_THE_HALVES = """
    import gc, os, sys, threading
    import task9
    from task9._item import in_hands

    queue, gate = task9.TaskQueue("q"), threading.Event()
    task = task9.Task(lambda task: None)
    queue.call(gate.wait)
    queue.schedule(task)
    wanted, over = threading.Event(), threading.Event()

    def fork():
        wanted.wait(20)
        child = os.fork()
        if not child:
            os._exit(not (not task.pending and queue.schedule(task)))
        os.environ["CHILD"] = str(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
        over.set()

    thread = threading.Thread(target=fork)
    thread.start()

    class Finalized:
        def __del__(self):
            caller = sys._getframe(0).f_back
            here = caller is not None and caller.f_code.co_name == "give_back"
            if here and task not in in_hands and not wanted.is_set():
                wanted.set()
                over.wait(20)
            elif going:
                make()

    def make():
        one = Finalized()
        one.me = one

    going = True
    gc.collect()
    kept = [[] for _ in range(200)]  # none is left to be used again
    make()
    make()
    gc.set_threshold(1)
    task.cancel_async()
    gc.set_threshold(700)
    going = False
    wanted.set()
    thread.join()
    gate.set()
    queue.close()
    sys.exit(int(os.environ["CHILD"]))
"""


@pytest.mark.skipif(sys.version_info >= (3, 12), reason="only CPython 3.11 collects garbage where a list is made")
def test_a_fork_where_a_list_is_made_finds_the_task_in_a_hand() -> None:
    """The collector ran a finalizer, another thread forked, and in the child the task was pending for ever."""
    code = textwrap.dedent(FORK_BETWEEN_THE_HALVES)
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=LIMIT, check=False)
    assert run.returncode == 0, run.stderr
