"""What stood under "known and open" in docs/regressions, and what a first user met: each fails on the code before."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from pace import patience
from programs import output, run
from stormkit.benches import interrupted_at
from struck import interrupt, struck

import threadpool9
from conformance9.suite.tools import wait_until
from task9 import PeriodicTask, QueueClosed, Task, TaskQueue
from threadpool9 import Job, PluginError, Pool, TunableError, UsageError, WaitTimeout, hookimpl
from threadpool9._demand import Demand
from threadpool9._job import meetings
from threadpool9._starter import Starter
from threadpool9.lowlevel import FREE_THREADED
from workqueue9 import Work, WorkQueue

LIMIT = patience(30.0)
PRI = 56  # nobody else's


# --- who has coalesced with a schedule that Ctrl-C breaks off


@pytest.mark.parametrize(
    "line",
    [
        "if item.barred and self.group.withdraw(item, ticket):  # publish, then look; who bars it does the same",
        "self.items.append(ticket)",
        "if self.idle and not self.promise:",
        "if self.group.halts:",
    ],
)
@pytest.mark.parametrize("busy", [False, True])
def test_tk1_a_schedule_that_has_coalesced_with_one_that_is_interrupted_is_not_lost(line: str, busy: bool) -> None:
    """It said that a run would come, and the other one took that back."""
    go, ran = threading.Event(), list[None]()
    said: list[bool] = []

    def handler() -> None:
        said.append(queue.schedule(task))
        interrupt()

    with TaskQueue("q") as queue:
        if busy:
            queue.call(go.wait, LIMIT)
        task = Task(lambda task: ran.append(None))
        with struck("put", handler, line=line), pytest.raises(KeyboardInterrupt):
            queue.schedule(task)
        go.set()
        queue.drain(LIMIT)
    assert (said, ran) == ([False], [None])


@pytest.mark.parametrize(
    "line",
    [
        "if probes.schedule__job is not None:",
        "self._jobs.append(ticket)",
        "if not (self._idle and self._wake_one(job)) and not self._request:",
        "if self._gate is not None or self._starter.absent:",
    ],
)
@pytest.mark.parametrize("way", ["post", "schedule"])
def test_tp21_a_schedule_that_has_coalesced_with_one_that_is_interrupted_is_not_lost(line: str, way: str) -> None:
    """The same for jobs."""
    ran, said = threading.Event(), list[bool]()

    def fn(job: Job) -> None:
        with job.interlock:
            job.done()
        ran.set()

    with threadpool9.get(PRI) as pool:
        job = Job(fn)
        schedule: Callable[[Job], bool] = getattr(pool, way)

        def handler() -> None:
            said.append(schedule(job))
            interrupt()

        with struck("_enqueue", handler, line=line), pytest.raises(KeyboardInterrupt), job.interlock:
            schedule(job)
        assert ran.wait(LIMIT)
        pool.drain(LIMIT)
    assert said == [False]


# --- what somebody who used this for the first time did wrong: each message names the way out


def generator(*args: object) -> Iterator[None]:
    """What calling it makes runs only if it is iterated."""
    yield


class Reporter:
    """A plugin."""

    @hookimpl
    def threadpool9_error(self, error: object) -> bool:
        """Take them all."""
        return True


class Misspelt:
    """Another one."""

    @hookimpl
    def threadpool9_eror(self, error: object) -> None:
        """There is no such hook."""


def enter(pool: Pool) -> None:
    """It was refused at the end of the with statement only."""
    with pool:
        raise AssertionError


def put() -> Pool:
    """A pool that nobody holds."""
    pool = threadpool9.get(57)
    pool.put(LIMIT)
    return pool


#: What was written, and what comes of it.
MISTAKES: dict[str, tuple[type[Exception], str]] = {
    "queue.schedule(Task)": (TypeError, r"takes tasks, not <class .*: make one, Task\(fn\)"),
    "queue.schedule(print)": (TypeError, r"schedule\(Task\(fn\)\), or call\(fn\)"),
    "pool.post(Job)": (TypeError, r"takes jobs .* make one, Job\(fn\)"),
    "pool.schedule(Job)": (TypeError, r"takes jobs .* make one, Job\(fn\)"),
    "works.enqueue('a')": (TypeError, r"enqueue\(Work\(it\)\), or submit\(it\)"),
    "works.enqueue(Work)": (TypeError, r"make one, Work\(payload\)"),
    "Task(generator)": (TypeError, "fn is a generator function"),
    "Job(generator)": (TypeError, "fn is a generator function"),
    "queue.call(generator)": (TypeError, "fn is a generator function"),
    "WorkQueue('q', generator)": (TypeError, "func is a generator function"),
    "Task(print).cancel(5.0)": (TypeError, "a time limit is an argument by name, timeout="),
    "PeriodicTask(print, '1')": (TypeError, "a period is a number of seconds from 1e-09 to"),
    "pool.cancel(Job(print))": (UsageError, r"^cancel\(\) needs the interlock"),
    "enter(put())": (UsageError, r"the last reference to .* was put; get\(\) it again"),
    "threadpool9.register(Reporter)": (PluginError, "is a class; register an instance"),
    "threadpool9.register(Misspelt())": (PluginError, "Misspelt.*mean 'threadpool9_error'"),
    "setattr(threadpool9.tunables, 'idle_ms', '5')": (TunableError, "takes a number"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_answered_by_what_to_do(mistake: str) -> None:
    """And nothing was changed."""
    error, message = MISTAKES[mistake]
    with (
        threadpool9.get(PRI) as pool,
        TaskQueue("q") as queue,
        WorkQueue[Any, Any]("w", lambda work, arg: None) as works,
        pytest.raises(error, match=message),
    ):
        eval(mistake, globals(), {"pool": pool, "queue": queue, "works": works, "PeriodicTask": PeriodicTask})


def test_what_submit_calls_may_be_a_generator_function() -> None:
    """The generator is the result."""
    with TaskQueue("q") as queue:
        assert list(queue.submit(generator).result(LIMIT)) == [None]


def test_a_time_limit_says_what_was_left() -> None:
    """A queue that was frozen looked like one that was slow."""
    with WorkQueue[Any, Any]("w", lambda work, arg: None) as works:
        works.freeze()
        works.enqueue(Work())
        with pytest.raises(WaitTimeout, match="with 1 waiting and 0 running; the queue is frozen, thaw"):
            works.flush(0.01)


def test_the_function_of_a_full_queue_is_told_why_it_can_not_wait() -> None:
    """It was refused at once, in spite of ``block=True``."""
    errors: list[BaseException] = []

    def function(work: Work[Any], arg: None) -> None:
        if work.payload:
            for _ in range(2):
                works.enqueue(Work())

    with WorkQueue("w", function, max_pending=1, on_error=lambda error, work: errors.append(error)) as works:
        works.enqueue(Work("first"))
        works.drain(LIMIT)
    assert [str(error).partition(";")[0] for error in errors] == [
        "queue 'w' is full (max_pending=1), and its own function can't wait for room"
    ]


def test_a_close_that_is_not_in_time_leaves_a_work_queue_closed() -> None:
    """As it does a task queue; its own function may still enqueue."""
    go, ran = threading.Event(), list[object]()

    def function(work: Work[Any], arg: None) -> None:
        assert go.wait(LIMIT)
        ran.append(work.payload)
        if work.payload == 1:
            works.enqueue(Work(2))

    works = WorkQueue("w", function)
    works.enqueue(Work(1))
    with pytest.raises(WaitTimeout):
        works.close(0.01)
    with pytest.raises(QueueClosed, match="queue 'w' is closed"):
        works.enqueue(Work(3))
    go.set()
    works.close(LIMIT)
    assert ran == [1, 2]
    for _ in range(2):
        with pytest.raises(QueueClosed, match="queue 'w' is closed"):
            works.drain()


def test_ctrl_c_in_a_cancel_wakes_those_who_wait_for_the_job(monkeypatch: pytest.MonkeyPatch) -> None:
    """TP-36: at every line after the withdrawal; who waited for the job slept on."""

    def nobody_comes(self: Starter, pool: Pool, demand: Demand, head: list[Any]) -> bool:
        demand.when = time.monotonic() + 0.05
        return False

    monkeypatch.setattr(Starter, "_start", nobody_comes)
    woken, number, where = 0, 0, ""
    with threadpool9.get(PRI) as pool:
        while where is not None:
            number += 1
            job = Job(print)
            pool.post(job)
            waiter = threading.Thread(target=job.wait, args=(LIMIT,))
            waiter.start()
            assert wait_until(lambda job=job: job in meetings.sleepers)  # type: ignore[misc]  # bound now
            with job.interlock:
                where = interrupted_at(number, lambda job=job: pool.cancel_async(job))  # type: ignore[misc]  # bound now
                if len(job._ticket) == 2:
                    woken += 1
                else:
                    assert pool.cancel_async(job)
            waiter.join(LIMIT / 2)
            assert not waiter.is_alive(), where
    assert woken > 10


FORK_BESIDE_AN_AWAIT = """
    import asyncio, os, threading
    import workqueue9

    go, began = threading.Event(), threading.Event()

    def function(work, arg):
        began.set()
        go.wait(60)

    async def main():
        queue, work, idle = workqueue9.WorkQueue("q", function), workqueue9.Work(), workqueue9.Work()
        queue.enqueue(work)
        await asyncio.to_thread(began.wait)
        waiting = [asyncio.create_task(queue.aio.cancel(work)), asyncio.create_task(queue.aio.drain())]
        await asyncio.sleep(0)
        while queue.state != "draining":
            await asyncio.sleep(0.001)
        child = os.fork()
        if not child:
            go.set()
            for task in waiting:
                task.cancel()
            print(*(type(error).__name__ for error in await asyncio.gather(*waiting, return_exceptions=True)))
            for _ in range(2):
                print(queue.enqueue(work), flush=True)
                queue.drain(20)
            os._exit(0)
        go.set()
        os.waitpid(child, 0)
        await asyncio.gather(*waiting)
        queue.close()

    asyncio.run(main())
"""


@pytest.mark.skipif(not hasattr(os, "fork") or FREE_THREADED, reason="needs fork with a GIL")
@pytest.mark.skipif(sys.version_info >= (3, 14), reason="asyncio's loop does not go on in a fork child any more")
def test_a_fork_beside_what_a_loop_awaits_leaves_the_queue_usable_in_the_child() -> None:
    """TP-31: the loop goes on there. What was counted in the parent was taken back in the child."""
    assert output(FORK_BESIDE_AN_AWAIT) == "CancelledError CancelledError\nTrue\nTrue\n"


# --- what somebody found who broke what had just been mended


class Observed:
    """A unit whose attributes are watched, by code in which Ctrl-C comes when `strike_at` is first written."""

    strike_at = ""

    def __setattr__(self, name: str, value: object) -> None:
        if name == self.strike_at:
            type(self).strike_at = ""
            interrupt()
        super().__setattr__(name, value)


class ObservedTask(Observed, Task):
    """A task that is watched."""


class ObservedJob(Observed, Job):
    """A job that is watched."""


def test_a_ticket_that_was_never_filled_in_is_not_put_on_a_lane() -> None:
    """The executor, or the worker, died of it."""
    ran: list[str] = []
    with TaskQueue("q") as queue:
        task = ObservedTask(lambda task: ran.append("task"))
        ObservedTask.strike_at = "item_lane"
        with pytest.raises(KeyboardInterrupt):
            queue.schedule(task)
        queue.call(ran.append, "call")
        queue.drain(LIMIT)
        assert queue.schedule(task)
    assert ran == ["call", "task"]

    def fn(job: Job) -> None:
        ran.append("job")
        with job.interlock:
            job.done()

    with threadpool9.get(PRI) as pool:
        job = ObservedJob(fn)
        ObservedJob.strike_at = "_pool"
        with pytest.raises(KeyboardInterrupt):
            pool.post(job)
        assert pool.post(job)
        pool.drain(LIMIT)
    assert ran == ["call", "task", "job"]


FORK_INSIDE_A_CALL = """
    import os, threading, time
    import threadpool9
    from task9 import TaskQueue

    threadpool9.tunables.idle_ms = 10
    children = []

    def look():
        for _ in range(500):  # until the worker that forked has left, which it may not be seen to do
            if not threadpool9.snapshot().workers:
                break
            time.sleep(0.01)
        ran = threading.Event()
        TaskQueue("other", pri=20).call(ran.set)
        os._exit(7 if ran.wait(30) else 3)

    def forks():
        child = os.fork()
        if child:
            children.append(child)
        else:
            threading.Thread(target=look).start()

    queue = TaskQueue("q")
    queue.call(forks)
    queue.drain(60)
    print(os.waitstatus_to_exitcode(os.waitpid(children[0], 0)[1]), flush=True)
    os._exit(0)
"""


@pytest.mark.skipif(not hasattr(os, "fork") or FREE_THREADED, reason="needs fork with a GIL")
def test_a_fork_inside_of_a_call_leaves_a_starter_in_the_child() -> None:
    """TP-31: it joined the thread that had forked, which for some C libraries (glibc 2.43) never ends."""
    assert output(FORK_INSIDE_A_CALL) == "7\n"


CANCELLED_AT_EXIT = """
    import threading
    import threadpool9
    from task9 import TaskQueue

    threadpool9.tunables.exit_policy = "cancel"
    queue, began = TaskQueue("q"), threading.Event()

    def slow():
        began.set()
        threading.Event().wait(0.2)
        print("over", flush=True)

    queue.call(slow)
    began.wait(60)
    queue.submit(int).add_done_callback(lambda future: exit(3))
"""


def test_a_callback_that_raises_system_exit_does_not_end_the_drain_at_exit() -> None:
    """TP-32: what ran was not waited for."""
    assert run(CANCELLED_AT_EXIT).stdout == "over\n"
