"""What three more reviewers found: who reads stderr, who waits for whom, what is compared, and what is kept."""

from __future__ import annotations

import asyncio
import gc
import threading
import time
import weakref
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
from pace import patience
from programs import run
from struck import interrupt, struck

import task9
import task9.futures
import threadpool9
from conformance9.suite.tools import wait_until
from task9 import DelayedTask, LoopClosed, Task, TaskQueue, _loop
from threadpool9 import Job
from threadpool9._atomic import Tally
from threadpool9._registry import registry
from threadpool9.lowlevel import Blocking, Sleepers
from threadpool9.lowlevel import run as run_steps
from workqueue9 import BackendDown, Work, WorkQueue

LIMIT = patience(30.0)
PRI = 56  # nobody else's


def finish(job: Job) -> None:
    """What most jobs do."""
    job.done()


# --- reports that nobody can read


@pytest.mark.parametrize("kind", ["os.dup2(os.open('/dev/full', os.O_WRONLY), 2)", "sys.stderr.close()"])
def test_a_report_that_can_not_be_written_takes_no_worker_down(kind: str) -> None:
    """TP-24, TP-30, TK-14: ``prog 2>&1 | head``, a full disk: each failing job cost its worker, a task its queue."""
    done = run(
        f"""
        import os, sys, threadpool9, task9
        {kind}
        def bad(*args): raise ValueError
        pool, ran = threadpool9.get(), []
        job = threadpool9.Job(bad)
        pool.post(job); job.wait({LIMIT})
        with task9.TaskQueue("q") as queue:
            queue.call(bad); queue.call(ran.append, 1)
            queue.drain({LIMIT})
        print(ran, threadpool9.snapshot().counters.threads_left, flush=True)
        os._exit(0)
        """
    )
    assert done.stdout.split() == ["[1]", "0"], done


def test_an_exit_whose_progress_can_not_be_told_ends_all_the_same() -> None:
    """TP-32: after five seconds it says what it waits for; where stderr is closed the job was lost."""
    done = run(
        """
        import sys, threadpool9, time
        from threadpool9 import _exit
        _exit._REPORT_AFTER = 0.01
        def fn(job):
            time.sleep(0.5)
            print("ran to its end", flush=True)
            with job.interlock: job.done()
        threadpool9.get().post(threadpool9.Job(fn))
        sys.stderr.close()
        """
    )
    assert done.stdout == "ran to its end\n", done


# --- the starter


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="needs /proc")
def test_out_of_file_descriptors_the_next_job_still_starts() -> None:
    """TP-6: who is blocked can't be read then; blocked workers were taken for runnable ones."""
    done = run(
        f"""
        import os, resource, threadpool9, threading
        pool, gate, count = threadpool9.get(), threading.Event(), len(os.sched_getaffinity(0)) + 2
        begun = threading.Semaphore(0)
        def fn(job):
            begun.release(); gate.wait({LIMIT})
            with job.interlock: job.done()
        first = threadpool9.Job(lambda job: job.done(), __import__("contextlib").nullcontext())
        pool.post(first); first.wait()
        resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
        held = []
        try:
            while True: held.append(os.dup(1))
        except OSError: pass
        for _ in range(count): pool.post(threadpool9.Job(fn))
        print(all([begun.acquire(timeout={LIMIT / 2}) for _ in range(count)]), flush=True)
        gate.set()
        os._exit(0)
        """
    )
    assert done.stdout == "True\n", done


def test_a_worker_that_is_slow_to_go_keeps_no_other_pool_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """TP-6: the starter joined it, for up to a second, and started nobody meanwhile."""
    monkeypatch.setattr("threadpool9._starter._JOIN_LIMIT", 1e6)
    local, going, go = threading.local(), threading.Event(), threading.Event()

    class Connection:
        def __del__(self) -> None:
            going.set()
            go.wait(LIMIT)

    def work(job: Job) -> None:
        local.connection = Connection()
        job.done()

    with threadpool9.get(PRI) as pool, threadpool9.get(PRI + 1) as other:
        job = Job(work, nullcontext())
        pool.post(job)
        job.wait(LIMIT)

        def leaves() -> bool:  # it may not be idle yet
            threadpool9.retire_idle(0)
            return going.is_set()

        assert wait_until(leaves, LIMIT)
        try:
            job = Job(finish, nullcontext())
            other.post(job)
            job.wait(LIMIT)
        finally:
            go.set()


def test_refused_threads_are_tried_again_less_and_less_often(monkeypatch: pytest.MonkeyPatch) -> None:
    """TP-12: each post began anew."""
    tries: list[None] = []
    start = threading.Thread.start

    def refuse(self: threading.Thread) -> None:
        if f"@{PRI}" in self.name:
            tries.append(None)
            raise RuntimeError("can't start new thread")
        start(self)

    with threadpool9.get(PRI) as pool:
        monkeypatch.setattr(threading.Thread, "start", refuse)
        began = time.monotonic()
        for _ in range(100):
            pool.post(Job(finish, nullcontext()))
            time.sleep(0.001)
        took = time.monotonic() - began
        assert len(tries) <= 2 + took / 0.01, tries
        monkeypatch.undo()
        pool.drain(LIMIT)


@pytest.mark.parametrize("operation", ["put", "release"])
def test_the_last_put_beside_a_handler_that_takes_the_system_queue(operation: str) -> None:
    """TP-9, TK-1: its pools were closed for ever."""
    place = {"put": "own_pool", "release": "_give_back"}[operation]
    done = run(
        f"""
        import task9, threadpool9, threading
        from struck import struck
        percpu, ran = threadpool9.percpu_get(), []
        with struck({place!r}, lambda: task9.Task(ran.append).schedule()):
            percpu.{operation}()
        task = task9.Task(ran.append)
        task.schedule(); task9.get().drain({LIMIT})
        print(len(ran))
        """
    )
    assert done.stdout == "2\n", done


def test_a_stall_that_was_reported_keeps_nobody_alive(reports: list[Any]) -> None:
    """TP-35: the runner of each was kept once the limit was taken back."""
    threadpool9.tunables.stall_ms = 20
    try:
        queue = TaskQueue("q")
        queue.call(time.sleep, 0.2)
        queue.drain(LIMIT)
        group = weakref.ref(queue.group)
        queue.close(LIMIT)
        del queue
        assert reports
        reports.clear()
    finally:
        threadpool9.tunables.stall_ms = 0

    def gone() -> bool:
        with threadpool9.get(PRI) as pool:
            pool.post(Job(finish, nullcontext()))
        gc.collect()
        return group() is None

    assert wait_until(gone, LIMIT)


def test_the_policy_cancel_withdraws_a_post_to_a_running_job() -> None:
    """TP-32: a job that posted itself went on for a thousand generations."""
    done = run(
        """
        import threading, threadpool9, time
        threadpool9.tunables.exit_policy = "cancel"
        pool, begun = threadpool9.get(), threading.Event()
        def fn(job):
            pool.post(job)
            print("ran", flush=True)
            begun.set()
            time.sleep(0.2)
            with job.interlock: job.done()
        pool.post(threadpool9.Job(fn))
        begun.wait()
        """
    )
    assert done.stdout == "ran\n", done


def test_a_job_that_schedules_itself_on_the_exiting_thread() -> None:
    """TP-32: the look whether it makes progress waited for the worker that looks."""
    done = run(
        """
        import threading, threadpool9, time
        pool, start, runs = threadpool9.get(), threading.Thread.start, []
        def refuse(self):
            if self.name.startswith("poolthread"): raise RuntimeError("can't start new thread")
            start(self)
        threading.Thread.start = refuse
        def fn(job):
            runs.append(1)
            print("run", flush=True)
            with job.interlock:
                job.done()
                if len(runs) < 3: pool.schedule(job)
        pool.post(threadpool9.Job(fn))
        """
    )
    assert done.stdout == "run\n" * 3, done


def test_counters_never_go_back_beside_a_fold() -> None:
    """TP-34: without a GIL a reader saw a thousand too few for an instant."""
    tally = Tally()
    for _ in range(10):
        tally.bump()
    assert tally.value() == 10
    del tally._events[:5]  # as in the middle of a fold
    assert tally.value() == 10


def test_ctrl_c_while_a_pool_is_forgotten() -> None:
    """TP-34: all that it had counted was lost."""
    pool = threadpool9.get(PRI)
    for _ in range(100):  # more than others may do meanwhile
        pool.post(Job(finish, nullcontext()))
    pool.drain(LIMIT)
    threadpool9.retire_idle(LIMIT)
    before = threadpool9.snapshot().counters.completed

    with struck("forget", interrupt, line="counts[3] = 0"), pytest.raises(KeyboardInterrupt):
        pool.put(LIMIT)
    assert threadpool9.snapshot().counters.completed >= before
    registry.prune()
    assert threadpool9.snapshot().counters.completed >= before


# --- who waits


def test_who_waits_for_many_things_is_found_at_once() -> None:
    """Each end of a run looked at all who waited in the process."""
    looked: list[object] = []

    class Watched(Sleepers):
        def get(self, *args: Any) -> Any:
            looked.append(None)
            return super().get(*args)

    sleepers = Watched()
    things = [object() for _ in range(100)]
    threads = [
        threading.Thread(target=lambda thing=thing: _sleep(sleepers, thing))  # type: ignore[misc]
        for thing in things
    ]
    for thread in threads:
        thread.start()
    assert wait_until(lambda: len(sleepers) == 100, LIMIT)
    looked.clear()
    for thing in things:
        sleepers.wake(thing)
    assert len(looked) < 1000
    for thread in threads:
        thread.join(LIMIT)
        assert not thread.is_alive()
    assert not sleepers


def _sleep(sleepers: Sleepers, thing: object) -> None:
    run_steps(sleepers.wait(thing, lambda: True, Blocking(LIMIT)))


# --- futures and loops


@pytest.mark.parametrize("error", [asyncio.CancelledError, SystemExit])
def test_callbacks_that_raise_take_no_executor_down(error: type[BaseException], reports: list[Any]) -> None:
    """TK-18: two of one future did; and the third was not called."""
    gate = threading.Event()
    told: list[Any] = []

    def stop(future: Any) -> None:
        raise error

    with TaskQueue("q") as queue:
        future = queue.submit(gate.wait, LIMIT)
        for callback in (stop, stop, told.append):
            future.add_done_callback(callback)
        gate.set()
        assert future.result(LIMIT)
        assert queue.submit(int).result(LIMIT) == 0
    assert told == [future]


class Array:
    """Can't be compared, like one of numpy's."""

    def __eq__(self, other: object) -> bool:
        raise ValueError("the truth value of an array is ambiguous")

    __hash__ = None  # type: ignore[assignment]


@pytest.mark.parametrize("argument", [1, Array()], ids=["equal", "not to be compared"])
def test_ctrl_c_in_a_loop_loses_no_call_that_is_equal_to_another(argument: object) -> None:
    """TK-17: it was looked for by ``==`` on the lane, which compares what the users have passed."""
    ran: list[object] = []
    loop = asyncio.new_event_loop()

    with TaskQueue("ui", on=loop) as queue:
        for _ in range(2):
            queue.call(ran.append, argument)
        with struck("_call", interrupt), pytest.raises(KeyboardInterrupt):
            loop.run_until_complete(asyncio.sleep(LIMIT))
        loop.run_until_complete(queue.aio.drain(LIMIT))
        assert len(ran) == 2
        loop.run_until_complete(queue.aio.close())
    loop.close()


def test_a_loop_that_moved_to_another_thread() -> None:
    """TK-19: the thread of its last turn was taken for its own."""
    loop = asyncio.new_event_loop()
    with TaskQueue("ui", on=loop) as queue:
        loop.run_until_complete(_await(queue))
        thread = threading.Thread(target=loop.run_forever)
        thread.start()
        assert wait_until(loop.is_running, LIMIT)
        hold = threading.Event()
        loop.call_soon_threadsafe(hold.wait, 0.2)
        assert queue.submit(int).result(LIMIT) == 0

        async def wrong() -> str:
            with pytest.raises(threadpool9.UsageError, match="this thread"):
                queue.submit(int).result(LIMIT)
            return "refused"

        assert asyncio.run_coroutine_threadsafe(wrong(), loop).result(LIMIT) == "refused"
        loop.call_soon_threadsafe(loop.stop)
        thread.join(LIMIT)
        loop.run_until_complete(queue.aio.close())
    loop.close()


async def _await(queue: TaskQueue) -> None:
    await queue.submit(int)


def test_refused_schedules_on_a_closed_loop_leave_nothing() -> None:
    """TK-19: an empty ticket each, for ever."""
    loop = asyncio.new_event_loop()
    queue = TaskQueue("ui", on=loop)
    task = Task(lambda task: None)
    loop.close()
    for _ in range(300):
        for refused in (lambda: queue.call(print), lambda: queue.submit(print), lambda: queue.schedule(task)):
            with pytest.raises(LoopClosed):
                refused()
    lane: Any = queue._lane
    assert len(lane.items) < 200
    queue.close()


def test_a_close_on_a_closed_loop_names_what_it_has_cancelled() -> None:
    """TK-16: what was armed was withdrawn, and nobody heard of it."""
    loop = asyncio.new_event_loop()
    queue = TaskQueue("ui", on=loop)
    task = DelayedTask(lambda task: None)
    queue.schedule_delayed(task, 1000.0)
    queue.call(print)
    loop.close()
    with pytest.raises(LoopClosed, match="2 that waited"):
        queue.close()
    assert queue.close() == (task,)


def test_those_who_wait_for_a_busy_loop_do_not_flood_it() -> None:
    """AW-1: each asked it four times a second whether it was still there."""
    posted: list[Any] = []

    class Poster:
        def post(self, fn: Any) -> None:
            posted.append(fn)

    queue = TaskQueue("ui", on=Poster())
    futures = [queue.submit(int) for _ in range(50)]
    threads = [threading.Thread(target=future.result, args=(0.5,)) for future in futures]
    hook, threading.excepthook = threading.excepthook, lambda args: None
    began = time.monotonic()
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(LIMIT)
    finally:
        threading.excepthook = hook
    assert posted.count(tuple) <= 2 + (time.monotonic() - began) / _loop._ASKED
    queue.cancel_pending()
    for fn in posted:
        fn()
    queue.close()


def test_a_wait_for_a_loop_leaves_no_cycle() -> None:
    """AW-1: each left some objects for the collector."""

    async def main() -> int:
        with TaskQueue("ui", on=asyncio.get_running_loop()) as queue:
            await queue.submit(int)
            gc.collect()
            gc.disable()
            try:
                for _ in range(100):
                    await queue.submit(int)
                found = gc.collect()
            finally:
                gc.enable()
            await queue.aio.close()
        return found

    assert asyncio.run(main()) < 100


def test_map_reports_only_the_exception_that_it_raises(reports: list[Any]) -> None:
    """TK-20: nobody could have asked for the others."""

    def fail(number: int) -> None:
        raise ValueError(number)

    with task9.futures.ThreadPoolExecutor(1) as executor:
        results = executor.map(fail, range(20))
        executor.submit(int).result(LIMIT)  # all have failed by now
        with pytest.raises(ValueError, match="0"):
            list(results)
    gc.collect()
    assert not reports


@pytest.mark.parametrize("make", [lambda: task9.futures.ThreadPoolExecutor(1, max_pending=10), None])
def test_a_bounded_queue_with_room_asks_nobody(make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """WQ-9, TK-20: each submit and enqueue looked at all executors, whether it was called by one of them."""
    asked: list[None] = []
    if make is not None:
        with make() as executor:
            with monkeypatch.context() as patch:
                patch.setattr(type(executor._crew), "is_own_thread", lambda crew: asked.append(None))
                future = executor.submit(int)
            future.result(LIMIT)
    else:
        with WorkQueue[Any, Any]("q", lambda work, arg: None, max_pending=10) as queue:
            with monkeypatch.context() as patch:
                patch.setattr(type(queue.group), "is_own_thread", lambda group: asked.append(None))
                assert queue.enqueue(Work())
    assert not asked


# --- back ends


class Down:
    """A back end that is down, can't be hashed, and whose `ready` raises."""

    __hash__ = None  # type: ignore[assignment]

    def __eq__(self, other: object) -> bool:
        return True

    def __init__(self) -> None:
        self.down = True
        self.queue: Any = None

    def open(self, queue: Any) -> None:
        """Remember it."""
        self.queue = queue

    def pack(self, queue: Any, work: Work[Any]) -> Any:
        """As it is."""
        return work.payload

    def start(self, call: Any) -> None:
        """If it can."""
        if self.down:
            raise BackendDown("nobody there")
        call.leaving()
        call.ended((call.parcel, call.key))

    def ready(self) -> bool:
        """Not even that."""
        if self.down:
            raise OSError("no answer")
        return True

    def close(self, queue: Any) -> None:
        """Nothing to give back."""


def test_a_back_end_that_can_not_be_hashed_is_down(reports: list[Any]) -> None:
    """WQ-15: the executor died of it."""
    backend = Down()
    with WorkQueue[Any, Any]("q", print, backend=backend) as queue:
        future = queue.submit(7)
        assert wait_until(lambda: len(reports) == 2, LIMIT)  # that it is down, and what `ready` raises
        backend.down = False
        backend.queue.resume()
        assert future.result(LIMIT) == (7, None)


def test_a_work_with_an_attribute_key_of_its_own_is_no_keyed_work() -> None:
    """WQ-15: the second one with that key was left out."""
    seen: list[Any] = []

    class Upload(Work[str]):
        def __init__(self, key: str) -> None:
            super().__init__("body")
            self.key = key

    class Watching(Down):
        def start(self, call: Any) -> None:
            seen.append(call.key)
            super().start(call)

    backend = Watching()
    backend.down = False
    with WorkQueue[Any, Any]("q", print, backend=backend) as queue:
        queue.enqueue(Upload("bucket"))
        queue.flush(LIMIT)
    assert seen == [None]
