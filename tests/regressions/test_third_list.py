"""What a third pair of reviewers found: cancelled awaits, locks that stay away, plugins that do not fit, names."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import textwrap
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import trio
from pace import patience

import task9
import threadpool9
import workqueue9
from task9.futures import ThreadPoolExecutor
from threadpool9 import Job, PluginError, TunableError, UsageError, hookimpl

LIMIT = patience(30.0)
PRI = 52  # nobody else's
Plug = Callable[..., object]


def finish(job: Job) -> None:
    """The function of a job that does nothing."""
    with job.interlock:
        job.done()


def program(text: str, *options: str) -> subprocess.CompletedProcess[str]:
    """Run `text` in a process of its own."""
    return subprocess.run(
        [sys.executable, *options, "-c", textwrap.dedent(text)],
        capture_output=True, text=True, timeout=LIMIT, check=False,
    )  # fmt: skip


@pytest.fixture
def pool() -> Iterator[threadpool9.Pool]:
    """Of a priority that nobody else uses."""
    with threadpool9.get(PRI) as pool:
        yield pool


@pytest.fixture
def errors(plugged: Plug) -> list[threadpool9.ErrorReport]:
    """What is reported, and of what."""
    seen: list[threadpool9.ErrorReport] = []

    class Plugin:
        @hookimpl
        def threadpool9_error(self, error: threadpool9.ErrorReport) -> bool:
            seen.append(error)
            return True

    plugged(Plugin())
    return seen


# --- awaits


def test_no_other_task_runs_while_a_cancel_that_need_not_wait_holds_the_interlock(pool: threadpool9.Pool) -> None:
    """It would be the same thread, for which an RLock is open: on trio such a cancel is no checkpoint."""
    job, task = Job(finish), task9.Task(lambda task: None)

    async def main() -> list[str]:
        order: list[str] = []

        async def other() -> None:
            order.append("other")

        async with trio.open_nursery() as nursery:
            nursery.start_soon(other)
            with job.interlock:
                await pool.aio.cancel(job)
                await task.aio.cancel(job.interlock)
                order.append("cancelled")
        return order

    assert trio.run(main) == ["cancelled", "other"]


def test_what_is_put_or_closed_in_a_cancelled_scope_of_trio_is_given_back() -> None:
    """As the docstrings have it, and as on asyncio, where the cancellation comes with the first wait."""
    queues: list[Any] = []

    async def main() -> None:
        pool, percpu, shared = threadpool9.get(PRI), threadpool9.percpu_get(PRI), task9.get(PRI)
        queues[:] = task9.TaskQueue("q"), workqueue9.WorkQueue("w", lambda work, arg: None)
        for end in (pool.aio.put, percpu.aio.put, shared.aio.put, queues[0].aio.close, queues[1].aio.close):
            with trio.CancelScope() as scope:
                scope.cancel()
                await end()
        assert (pool.references, percpu.references, shared.references) == (0, 0, 0)

    trio.run(main)
    for queue, unit in zip(queues, (task9.Task(lambda task: None), workqueue9.Work[Any]()), strict=True):
        with pytest.raises((task9.QueueClosed, UsageError)):
            (queue.schedule if unit.__class__ is task9.Task else queue.enqueue)(unit)
        queue.close(LIMIT)


# --- interlocks


def test_a_lock_of_somebodys_own_near_the_recursion_limit_is_taken_back_or_not_given_up() -> None:
    """It took one call more to take it back than to give it up: at that depth cancel tried for ever."""
    done = program(
        """
        import sys, threading, time, threadpool9

        class Own:
            def __init__(self): self.lock = threading.RLock()
            def __enter__(self): self.lock.acquire()
            def __exit__(self, *exc): self.lock.release()

        lock, go = Own(), threading.Event()

        def work(job):
            go.wait(60)
            with lock: job.done()

        pool, job = threadpool9.get(), threadpool9.Job(work, lock)
        with lock: pool.schedule(job)
        while threadpool9.snapshot().queued: time.sleep(0.001)

        def at(depth):
            if depth: return at(depth - 1)
            with lock: pool.cancel(job, 0.001)

        sys.setrecursionlimit(250)
        outcomes = set()
        for depth in range(180, 250):
            try: at(depth)
            except (threadpool9.WaitTimeout, RecursionError) as error: outcomes.add(type(error).__name__)
        go.set()
        sys.setrecursionlimit(1000)
        pool.put()
        print(sorted(outcomes))
        """
    )
    assert done.stdout.strip() == "['RecursionError', 'WaitTimeout']", done.stderr


def test_a_lock_that_does_not_work_any_more_ends_the_wait(pool: threadpool9.Pool) -> None:
    """With the error of the lock; Ctrl-C in the meantime is another matter, and tried again."""

    class Broken:
        lock, broken = threading.RLock(), False

        def __enter__(self) -> None:
            if self.broken:
                raise ZeroDivisionError("no more")
            self.lock.acquire()

        def __exit__(self, *exc: object) -> None:
            self.lock.release()

    interlock, begun, go = Broken(), threading.Event(), threading.Event()

    def work(job: Job) -> None:
        begun.set()
        go.wait(LIMIT)
        with interlock.lock:
            job.done()

    job = Job(work, interlock)
    with interlock.lock:
        pool.schedule(job)
    assert begun.wait(LIMIT)
    interlock.lock.acquire()
    interlock.broken = True
    with pytest.raises(ZeroDivisionError, match="no more"):
        pool.cancel(job, 0.001)
    go.set()
    interlock.broken = False
    job.wait(LIMIT)


def test_a_signal_while_something_is_not_found_in_a_deque_is_not_lost() -> None:
    """The ValueError of ``deque.remove`` replaced what the handler raised: half of 400 on 3.11.2, none on 3.11.7."""
    done = program(
        """
        import signal, time
        from collections import deque
        from threadpool9.lowlevel import discard

        raised = caught = 0
        here = False

        def handler(number, frame):
            global raised, here
            if here:
                here = False
                raised += 1
                raise KeyboardInterrupt

        def look():
            end = time.monotonic() + 0.001
            while time.monotonic() < end:
                discard(items, ticket)

        signal.signal(signal.SIGALRM, handler)
        items, ticket = deque([[1]] * 60), []
        for _ in range(300):
            try:
                here = True
                signal.setitimer(signal.ITIMER_REAL, 50e-6)
                look()
                here = False
            except KeyboardInterrupt:
                caught += 1
        print(raised - caught, raised > 100)
        """
    )
    assert done.stdout == "0 True\n", done.stderr


# --- plugins


def test_a_hook_may_have_arguments_with_defaults_of_its_own(pool: threadpool9.Pool, plugged: Plug) -> None:
    """Pluggy takes them for the plugin's own, and passes nothing."""
    seen: list[object] = []

    class Plugin:
        @hookimpl
        def threadpool9_schedule__job(self, job: Job, kept: list[object] = seen, pool: object = "default") -> None:
            kept.append((job, pool))

    plugged(Plugin())
    job = Job(finish)
    pool.post(job)
    job.wait(LIMIT)
    assert seen == [(job, pool)]


def test_two_implementations_of_one_hook_in_one_plugin_are_both_called(pool: threadpool9.Pool, plugged: Plug) -> None:
    """With ``specname=``, as pluggy has it."""
    seen: list[int] = []

    class Plugin:
        @hookimpl(specname="threadpool9_schedule__job")
        def first(self) -> None:
            seen.append(1)

        @hookimpl(specname="threadpool9_schedule__job")
        def second(self) -> None:
            seen.append(2)

    plugged(Plugin())
    job = Job(finish)
    pool.post(job)
    job.wait(LIMIT)
    assert sorted(seen) == [1, 2]


def test_a_plugin_that_came_before_its_layer_and_does_not_fit_does_not_take_the_layer_down() -> None:
    """It is unregistered, and that is said."""
    done = program(
        """
        import threadpool9

        class Plugin:
            @threadpool9.hookimpl
            def task9_schedule(self, bogus): pass

        class Wrapper:
            @threadpool9.hookimpl(wrapper=True)
            def task9_cancel(self): yield

        class Good:
            @threadpool9.hookimpl
            def task9_schedule(self, task): print("scheduled")

        for plugin, name in ((Plugin(), "bad"), (Wrapper(), "worse"), (Good(), "good")):
            threadpool9.register(plugin, name)
        import task9
        with task9.TaskQueue("q") as queue:
            queue.schedule(task9.Task(lambda task: None))
        """
    )
    assert done.stdout == "scheduled\n", done.stderr
    assert "plugin 'bad' was unregistered: its hook task9_schedule takes bogus, which it does not have" in done.stderr
    assert "plugin 'worse' was unregistered: its hook task9_cancel is a wrapper" in done.stderr


@pytest.mark.parametrize("cpus", [[threadpool9.CPU("zero")], [threadpool9.CPU([1])], [threadpool9.CPU(-1)]])  # type: ignore[arg-type, list-item]
def test_a_topology_of_nonsense_names_the_plugin(cpus: list[threadpool9.CPU], plugged: Plug) -> None:
    """Also where what is wrong is in the records."""

    class Plugin:
        @hookimpl
        def threadpool9_topology(self) -> list[threadpool9.CPU]:
            return cpus

    plugged(Plugin(), "odd")
    with pytest.raises(PluginError, match="'odd' must answer with CPUs that are numbered"):
        threadpool9.topology()


@pytest.mark.parametrize("answer", [threadpool9.Scheduling("other", nice=5.0), SystemExit("odd")])  # type: ignore[arg-type]
def test_a_priority_map_of_nonsense_does_no_harm(answer: object, plugged: Plug) -> None:
    """A float is no nice value; and what a hook raises stays with the hook."""

    class Plugin:
        @hookimpl
        def threadpool9_map_priority(self, pri: int) -> object:
            if isinstance(answer, BaseException):
                raise answer
            return answer

        @hookimpl
        def threadpool9_error(self) -> bool:
            return True

    plugged(Plugin(), "odd")
    if isinstance(answer, BaseException):
        threadpool9.get(PRI + 1).put()
    else:
        with pytest.raises(PluginError, match="odd"):
            threadpool9.get(PRI + 1)


# --- imports


@pytest.mark.skipif(sys.version_info < (3, 15), reason="imports can be lazy from 3.15 on")
def test_with_lazy_imports_exit_and_fork_are_seen_to() -> None:
    """What a module does when it is imported must not wait for somebody to use a name of it."""
    done = program(
        """
        import os, threadpool9, task9, time, workqueue9

        def work(job):
            time.sleep(0.1)
            print("ran", flush=True)
            with job.interlock: job.done()

        pool, job = threadpool9.get(), threadpool9.Job(work)
        pool.post(job)
        if not (child := os.fork()):
            pool.drain(20)
            os._exit(7)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
        queue = task9.TaskQueue("q")
        queue.call(print, "called")
        """,
        "-X", "lazy_imports=all",
    )  # fmt: skip
    assert sorted(done.stdout.split()) == ["7", "called", "ran"], done.stderr


@pytest.mark.parametrize("name", ["job_names", "exit_policy"])
def test_without_docstrings_a_tunable_still_says_what_it_takes(name: str) -> None:
    """``python -OO``."""
    with pytest.raises(TunableError) as error:
        setattr(threadpool9.tunables, name, object)
    done = program(f"import threadpool9; threadpool9.tunables.{name} = object", "-OO")
    assert str(error.value) in done.stderr


# --- threads


def test_a_real_time_priority_that_a_job_has_changed_is_put_right() -> None:
    """TP-13, TP-34: it has a number of its own, besides the class."""
    seen: list[int] = []
    with threadpool9.get(threadpool9.PRI_USER_RT + 2) as pool:

        def work(job: Job) -> None:
            seen.append(os.sched_getparam(0).sched_priority)
            os.sched_setparam(0, os.sched_param(1))
            finish(job)

        job = Job(work)
        pool.post(job)
        job.wait(LIMIT)
        if any(record.refused for record in threadpool9.snapshot().pools):
            pytest.skip("real-time priorities are refused here")
        deadline = time.monotonic() + LIMIT
        while seen[-1] != 3 or len(seen) == 1:
            assert time.monotonic() < deadline
            time.sleep(0.02)  # the thread is put right after some milliseconds of idleness
            pool.post(job)
            job.wait(LIMIT)
    assert seen[0] == 3


# --- queues


def test_a_periodic_task_ends_with_its_event_loop(reports: list[BaseException]) -> None:
    """One report, not one each period for ever."""
    periodic = task9.PeriodicTask(lambda task: None, 0.001)

    async def main() -> task9.TaskQueue:
        return task9.TaskQueue("home", on=asyncio.get_running_loop())

    queue = asyncio.run(main())
    periodic.start(queue=queue)
    deadline = time.monotonic() + LIMIT
    while periodic.pending and time.monotonic() < deadline:
        time.sleep(0.001)
    assert not periodic.pending
    assert not periodic.armed
    time.sleep(0.02)  # some periods more
    assert [type(error) for error in reports] == [task9.LoopClosed]
    assert queue.close(LIMIT) == ()


def test_a_queue_that_is_dropped_after_its_loop_says_what_became_of_its_calls() -> None:
    """Not that they still run."""
    loop = asyncio.new_event_loop()

    async def make() -> task9.TaskQueue:
        return task9.TaskQueue("home", on=asyncio.get_running_loop())

    queue = loop.run_until_complete(make())
    queue.call(print, "never")
    future = queue.submit(int)
    loop.close()
    with pytest.warns(ResourceWarning, match="its event loop is closed, and 2 that waited were withdrawn"):
        del queue
    assert future.cancelled()


def test_the_collector_may_take_an_executors_queue_first() -> None:
    """As with the standard one, to forget the shutdown is no mistake."""
    executor = ThreadPoolExecutor(1)
    executor.submit(int).result(LIMIT)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        executor.queue.__del__()
    del executor


@pytest.mark.parametrize("queue", ["system", workqueue9.WorkQueue])
def test_a_delayed_task_wants_a_task_queue(queue: Any) -> None:
    """Said in these words, not by an attribute that is missing."""
    if queue is workqueue9.WorkQueue:
        queue = workqueue9.WorkQueue("w", lambda work, arg: None)
    delayed, periodic = task9.DelayedTask(lambda task: None), task9.PeriodicTask(lambda task: None, 1)
    for call in (
        lambda: delayed.schedule(0, queue=queue),
        lambda: delayed.schedule(1, queue=queue),
        lambda: delayed.reschedule(1, queue=queue),
        lambda: periodic.start(queue=queue),
    ):
        with pytest.raises(TypeError, match="is scheduled on a TaskQueue, not"):
            call()
    if isinstance(queue, workqueue9.WorkQueue):
        queue.close(LIMIT)


def test_an_error_handler_that_raises_is_reported_with_queue_and_work(errors: list[Any]) -> None:
    """WQ-11."""

    def handler(error: BaseException, work: object) -> None:
        raise KeyError("handler") from None

    work = workqueue9.Work("twelve")
    with workqueue9.WorkQueue("parse", lambda work, arg: int(work.payload), on_error=handler) as queue:
        queue.enqueue(work)
        queue.flush(LIMIT)
    (report,) = errors
    assert report.origin is work
    assert any("in work queue 'parse'" in note for note in report.exc_value.__notes__)


def test_what_is_destroyed_is_still_called_by_its_name(pool: threadpool9.Pool) -> None:
    """In each message."""
    job, task = Job(finish), task9.Task(finish)
    job.destroy()
    task.destroy()
    with pytest.raises(UsageError, match=r"<Job 'finish' at .*is destroyed"):
        pool.post(job)
    with pytest.raises(UsageError, match=r"<Task finish at .*is destroyed"):
        task.schedule()


def test_a_function_whose_name_raises_has_a_job_all_the_same(pool: threadpool9.Pool) -> None:
    """Snapshots and messages go on."""

    class Odd:
        @property
        def __name__(self) -> str:
            raise ValueError("no name")

        def __call__(self, job: Job) -> None:
            finish(job)

    job = Job(Odd())
    assert job.name == "Job"
    assert "'Job'" in repr(job)
    with pytest.raises(TypeError, match="the name of a job is a str"):
        job.name = 7  # type: ignore[assignment]


def test_reports_of_a_failure_nobody_asked_for_say_that_it_was_raised(errors: list[Any]) -> None:
    """Not that the future is running."""
    with task9.TaskQueue("q") as queue:
        queue.submit(lambda: 1 / 0)
        queue.drain(LIMIT)
    (report,) = errors
    assert "raised ZeroDivisionError>" in str(report.origin)


def test_a_pool_that_was_put_can_be_told_from_its_successor() -> None:
    """Two pools of one priority, in one message."""
    pool = threadpool9.get(PRI)
    pool.put()
    assert repr(pool) == f"<Pool pri {PRI} unbound closing>"
