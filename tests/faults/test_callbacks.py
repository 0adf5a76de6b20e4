"""What a callback may do to us: raise anything, stay for ever, use every operation on itself (TP-24 to TP-35)."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from pace import patience

import task9
import threadpool9
import workqueue9
from task9 import DelayedTask, PeriodicTask, Task, TaskQueue
from threadpool9 import Job, UsageError, hookimpl
from workqueue9 import Work, WorkQueue

if TYPE_CHECKING:
    from conftest import Reports

LIMIT = patience(20.0)
RAISED = [MemoryError, RecursionError, KeyboardInterrupt, SystemExit, GeneratorExit, StopIteration, BaseException]


@pytest.mark.parametrize("error", RAISED)
def test_tp30_whatever_a_callback_raises_is_reported_and_the_next_one_runs(
    error: type[BaseException], reports: Reports
) -> None:
    """TP-24, TP-30, TK-14, WQ-11: jobs, tasks, delayed tasks and works; waiters are released, workers live on."""

    def fail(unit: object, arg: object = None) -> None:
        raise error("on purpose")

    with threadpool9.get(44) as pool, TaskQueue("raise") as queue, WorkQueue("raise", fail) as wq:
        job, task, late, work = Job(fail), Task(fail), DelayedTask(fail), Work()
        for _ in range(3):
            pool.post(job)
            with job.interlock:
                pool.cancel(job, LIMIT)
            queue.schedule(task)
            late.schedule(0.0005, queue=queue)
            wq.enqueue(work)
            wq.wait(work, LIMIT)
            while late.pending or task.pending:
                queue.drain(LIMIT)
            queue.drain(LIMIT)
        ran = threading.Event()
        queue.schedule(Task(lambda task: ran.set()))
        assert ran.wait(LIMIT)
    ours = [report for report in reports if report.exc_type is error]
    assert 9 <= len(ours) <= 12, reports.types()  # a job that was cancelled before it began raised nothing


def test_tp35_a_callback_that_stays_is_reported_once_with_its_stack(reports: Reports) -> None:
    """TP-35: a job, a task and a work over `stall_ms` are reported, each once, with where they are."""
    go = threading.Event()

    def stays_here(unit: object, arg: object = None) -> None:
        go.wait(LIMIT)

    def stays_in_a_job(job: Job) -> None:
        stays_here(job)
        with job.interlock:
            job.done()

    threadpool9.tunables.stall_ms = 20
    with threadpool9.get(45) as pool, TaskQueue("stall") as queue, WorkQueue("stall", stays_here) as wq:
        pool.post(Job(stays_in_a_job))
        queue.schedule(Task(stays_here))
        wq.enqueue(Work())
        end = time.monotonic() + LIMIT
        while len(reports) < 3 and time.monotonic() < end:
            time.sleep(0.005)
        time.sleep(0.1)  # five limits more: nothing is told twice
        go.set()
    assert len(reports) == 3, reports.types()
    for report in reports:
        assert "stays_here" in str(report.exc_value) + "".join(getattr(report.exc_value, "__notes__", [])), report


def test_tp27_a_job_that_uses_every_operation_on_itself() -> None:
    """TP-21, TP-23, TP-25 to TP-27: each answers at once, as documented, or refuses; the job runs as often as asked."""
    said: dict[str, object] = {}

    def attempt(name: str, operation: Callable[[], object]) -> None:
        try:
            said[name] = operation()
        except UsageError:
            said[name] = "refused"

    def fn(job: Job) -> None:
        said["runs"] = int(str(said.get("runs", 0))) + 1
        if said["runs"] != 1:
            with job.interlock:
                job.done()
            return
        with job.interlock:
            attempt("schedule", lambda: pool.schedule(job))
            attempt("cancel_async", lambda: pool.cancel_async(job))
            attempt("cancel", lambda: pool.cancel(job, 1))
            attempt("destroy", job.destroy)
            attempt("init", lambda: job.__init__(fn))  # type: ignore[misc]
            attempt("put", lambda: pool.put(1))
            attempt("post", lambda: pool.post(job))
            attempt("done", job.done)
            attempt("done again", job.done)
            attempt("schedule after", lambda: pool.schedule(job))
        repr(job), threadpool9.snapshot(), threadpool9.retire_idle(0)
        over.set()

    over = threading.Event()
    with threadpool9.get(46) as pool:
        job = Job(fn)
        pool.post(job)
        assert over.wait(LIMIT)
        with job.interlock:
            pool.cancel(job, LIMIT)
        assert said["runs"] in (1, 2)
        del said["runs"]
        assert said == {
            "schedule": False,
            "cancel_async": False,
            "cancel": "refused",
            "destroy": "refused",
            "init": "refused",
            "put": "refused",
            "post": False,
            "done": None,
            "done again": "refused",
            "schedule after": False,  # the post has done that already
        }


def test_tk6_a_task_that_uses_every_operation_on_itself() -> None:
    """TK-2, TK-6, TK-7, TK-10, TK-16: as for jobs."""
    said: list[object] = []

    def attempt(operation: Callable[[], object]) -> None:
        try:
            said.append(operation())
        except UsageError:
            said.append("refused")

    def fn(task: DelayedTask) -> None:
        if said:
            said.append("ran again")
            return
        attempt(lambda: queue.schedule(task))  # True: one more run
        attempt(lambda: queue.schedule(task))  # False: coalesced
        attempt(task.destroy)
        attempt(queue.drain)
        attempt(queue.close)
        attempt(task.cancel_async)  # False: it is running
        attempt(lambda: task.cancel(timeout=1))  # False, at once
        attempt(lambda: task.pending)
        attempt(lambda: task.reschedule(0.0, queue=queue))  # False: it was not pending
        attempt(lambda: other.schedule(task))  # it is pending on the first queue
        attempt(task.cancel)
        attempt(lambda: task.reschedule(1000.0, queue=queue))
        attempt(task.disarm)
        attempt(task.done)
        attempt(task.done)

    with TaskQueue("self") as queue, TaskQueue("other") as other:
        task = DelayedTask(fn)
        queue.schedule(task)
        queue.drain(LIMIT)
        queue.drain(LIMIT)
        assert said == [
            *(True, False, "refused", "refused", "refused", False, False, False),
            *(False, "refused", False, False, True, None, "refused"),
        ]
        task.destroy()


def test_tk13_a_periodic_task_that_stops_itself() -> None:
    """TK-6, TK-13: cancel from inside ends it."""
    runs: list[int] = []

    def fn(task: PeriodicTask) -> None:
        runs.append(1)
        if len(runs) == 3:
            task.cancel()

    with TaskQueue("period") as queue:
        task = PeriodicTask(fn, 0.001)
        task.start(queue=queue)
        end = time.monotonic() + LIMIT
        while (len(runs) < 3 or task.pending or task.running) and time.monotonic() < end:
            time.sleep(0.001)
        queue.drain(LIMIT)
    assert len(runs) == 3


def test_wq4_a_work_that_uses_every_operation_on_itself() -> None:
    """WQ-3 to WQ-6, WQ-10: as for jobs."""
    said: list[object] = []

    def attempt(operation: Callable[[], object]) -> None:
        try:
            said.append(operation())
        except UsageError:
            said.append("refused")

    def func(work: Work, arg: object) -> None:
        if said:
            said.append("ran again")
            return
        attempt(lambda: wq.enqueue(work))  # True: it may be enqueued again
        attempt(lambda: wq.enqueue(work))  # pending now
        attempt(lambda: wq.wait(work, 1))
        attempt(wq.flush)
        attempt(wq.drain)
        attempt(wq.destroy)
        attempt(lambda: wq.cancel(work, 1))  # withdraws the next run, does not wait for this one
        attempt(lambda: wq.disable(work, 1))
        attempt(lambda: wq.enqueue(work))
        attempt(lambda: wq.enable(work))
        attempt(lambda: wq.modify(work, 1000.0))
        attempt(lambda: wq.cancel(work, 1))

    with WorkQueue("self", func) as wq:
        wq.enqueue(Work())
        wq.flush(LIMIT)
        wq.flush(LIMIT)
        assert said[:8] == [True, "refused", None, "refused", "refused", "refused", True, False], said
        assert said[8:] == [False, True, False, True], said


HOOKS = ["threadpool9_topology", "threadpool9_current_cpu", "threadpool9_map_priority", "threadpool9_bind"]


@pytest.mark.parametrize("hook", HOOKS)
@pytest.mark.parametrize("answer", ["raises", "nonsense"])
def test_hk_a_broken_hook_takes_nothing_down(hook: str, answer: str, reports: Reports) -> None:
    """HK-1 to HK-4: every kind of unit still runs, exactly once, and nothing is stuck; or get() refuses clearly."""

    def broken(*arguments: object) -> object:
        if answer == "raises":
            raise ZeroDivisionError("a plugin's bug")
        return -7 if hook == "threadpool9_current_cpu" else object()

    def listen(self: object) -> object:
        return broken()

    def listen_pri(self: object, pri: int) -> object:
        return broken(pri)

    def listen_cpu(self: object, cpu: int) -> object:
        return broken(cpu)

    function: Any = {"threadpool9_map_priority": listen_pri, "threadpool9_bind": listen_cpu}.get(hook, listen)
    plugin = type("Broken", (), {hook: hookimpl(function)})()
    threadpool9.register(plugin)
    runs: list[object] = []
    try:
        queue = TaskQueue("hooks", 47, percpu=True)
        wq = WorkQueue("hooks", lambda work, arg: runs.append(work), pri=47, flags=workqueue9.WQ_PERCPU)
    except (TypeError, ValueError):
        threadpool9.unregister(plugin)
        if answer == "raises":
            raise
        return
    try:
        task, late, work = Task(runs.append), DelayedTask(runs.append), Work()
        for _ in range(3):
            runs.clear()
            assert queue.schedule(task)
            assert late.schedule(0.0005, queue=queue)
            assert wq.enqueue(work)
            while late.pending:
                queue.drain(LIMIT)
            queue.drain(LIMIT)
            wq.flush(LIMIT)
            assert {id(unit) for unit in runs} == {id(task), id(late), id(work)}
            assert len(runs) == 3
    finally:
        threadpool9.unregister(plugin)
        queue.close(LIMIT)
        wq.drain(LIMIT)
        wq.destroy(LIMIT)


def test_tp30_a_reporter_that_raises_loses_neither_error_nor_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    """TP-30, HK-4: both exceptions go to `threading.excepthook`; if that raises too, the worker still lives."""
    seen: list[type[BaseException]] = []

    class Reporter:
        @hookimpl
        def threadpool9_error(self, error: object) -> bool:
            raise ZeroDivisionError("a reporter's bug")

    def hook(args: Any) -> None:
        seen.append(args.exc_type)
        raise OSError("stderr is closed")

    monkeypatch.setattr(threading, "excepthook", hook)
    reporter = Reporter()
    threadpool9.register(reporter)
    try:
        with TaskQueue("reporter") as queue:
            ran = threading.Event()

            def fail(task: Task) -> None:
                raise ValueError("on purpose")

            queue.schedule(Task(fail))
            queue.schedule(Task(lambda task: ran.set()))
            assert ran.wait(LIMIT)
    finally:
        threadpool9.unregister(reporter)
    assert seen[0] is ZeroDivisionError or ValueError in seen, seen


def test_tk11_the_wall_clock_jumps(monkeypatch: pytest.MonkeyPatch) -> None:
    """TK-11: `time.time` jumping by hours changes nothing for timers and time limits; no module of ours asks it."""
    jumps = iter(range(10**9))
    monkeypatch.setattr(time, "time", lambda: (-1) ** next(jumps) * 3600.0 * next(jumps))
    fired: list[float] = []
    with TaskQueue("clock") as queue:
        task = DelayedTask(lambda task: fired.append(time.monotonic()))
        for _ in range(5):
            began = time.monotonic()
            task.schedule(0.01, queue=queue)
            while task.pending:
                queue.drain(LIMIT)
            queue.drain(LIMIT)
            assert fired[-1] - began >= 0.01
        gate = threading.Event()
        blocked = Task(lambda task: gate.wait(LIMIT))
        queue.schedule(blocked)
        began = time.monotonic()
        with pytest.raises(threadpool9.WaitTimeout):
            queue.drain(0.05)
        assert time.monotonic() - began >= 0.05
        gate.set()
    for layer in (threadpool9, task9, workqueue9):
        assert layer.__file__ is not None
        for module in Path(layer.__file__).parent.glob("*.py"):
            text = module.read_text()
            assert "time.time" not in text, module
            assert "import time\n" not in text, module
            assert "datetime" not in text, module
