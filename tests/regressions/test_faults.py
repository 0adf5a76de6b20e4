"""What broke queues for good: no frame left, no memory left (TP-36). Each was seen on the layers before tickets."""

from __future__ import annotations

import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable
from typing import Any

import pytest

import task9
import threadpool9
import workqueue9

LIMIT = 30.0
AROUND_THE_LIMIT = 60  # frames


def at_depth(left: int, call: Callable[[], object]) -> BaseException | None:
    """Make `call` with about `left` frames left before the recursion limit; what it raised."""

    def descend(frames: int) -> object:
        return call() if frames <= 0 else descend(frames - 1)

    depth = 0
    frame = sys._getframe()
    while frame is not None:
        depth, frame = depth + 1, frame.f_back  # type: ignore[assignment]  # it ends with None
    try:
        descend(sys.getrecursionlimit() - depth - left)
    except RecursionError as error:
        return error
    return None


def job_unit() -> tuple[Callable[[Any], object], Callable[[Any, list[int]], Any], Callable[[], object]]:
    """How to launch a job, make one, and end."""
    pool = threadpool9.get(33)

    def make(log: list[int]) -> threadpool9.Job:
        def fn(job: threadpool9.Job) -> None:
            log.append(1)
            with job.interlock:
                job.done()

        return threadpool9.Job(fn)

    return pool.post, lambda _, log: make(log), lambda: pool.put(LIMIT)


def task_unit() -> Any:
    """The same for a task."""
    queue = task9.TaskQueue("deep", 33)
    return queue.schedule, lambda _, log: task9.Task(lambda task: log.append(1)), lambda: queue.close(LIMIT)


def delayed_unit() -> Any:
    """The same for a delayed task."""
    queue = task9.TaskQueue("deep", 33)
    return (
        lambda unit: queue.schedule_delayed(unit, 1e-4),
        lambda _, log: task9.DelayedTask(lambda task: log.append(1)),
        lambda: queue.close(LIMIT),
    )


def work_unit(**options: Any) -> Any:
    """The same for a work."""
    wq = workqueue9.WorkQueue("deep", lambda work, arg: work.payload.append(1), pri=33, **options)
    return wq.enqueue, lambda _, log: workqueue9.Work(log), lambda: wq.close(LIMIT)


@pytest.mark.parametrize("cold", [True, False], ids=["cold", "warm"])
@pytest.mark.parametrize(
    "kind", [job_unit, task_unit, delayed_unit, work_unit, lambda: work_unit(max_pending=2)],
    ids=["job", "task", "delayed", "work", "bounded"],
)  # fmt: skip
def test_a_schedule_at_every_depth_near_the_recursion_limit_happens_or_does_not(kind: Any, cold: bool) -> None:
    """A schedule that ends in RecursionError has changed nothing: the unit is idle, and later ones run."""
    launch, make, end = kind()
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(1000)
    try:
        raised = 0
        for left in range(AROUND_THE_LIMIT):
            log: list[int] = []
            unit = make(None, log)
            if cold and left % 3 == 0:
                threadpool9.retire_idle(LIMIT)
            error = at_depth(left, lambda unit=unit: launch(unit))  # type: ignore[misc]  # bound now
            raised += error is not None
            done = threading.Event()
            probe_log: list[int] = []
            probe = make(None, probe_log)
            launch(probe)
            limit = threading.Event()
            for _ in range(3000):
                if probe_log and (log or error is not None):
                    break
                limit.wait(0.01)
            assert probe_log == [1], f"with {left} frames left: the next one does not run ({error!r})"
            assert log == ([1] if error is None else []), f"with {left} frames left: {len(log)} runs after {error!r}"
            if error is not None:
                launch(unit)
                for _ in range(3000):
                    if log:
                        break
                    limit.wait(0.01)
                assert log == [1], f"with {left} frames left: the unit can't be launched again"
            del done
        assert raised > 2, "the limit was never met inside of the layers"
    finally:
        sys.setrecursionlimit(before)
        end()


NO_MEMORY = """
import sys, threading, _testcapi
import task9, threadpool9, workqueue9

out = []
pool = threadpool9.get()
queue = task9.TaskQueue("q")
wq = workqueue9.WorkQueue("w", lambda work, arg: out.append(work.payload))


def finish(job):
    out.append(job)
    with job.interlock:
        job.done()


def units():
    yield "job", pool.post, threadpool9.Job(finish)
    yield "task", queue.schedule, task9.Task(out.append)
    yield "delayed", lambda unit: queue.schedule_delayed(unit, 1e-5), task9.DelayedTask(out.append)
    yield "work", wq.enqueue, workqueue9.Work("w")


for launch in [unit[1:] for unit in units()]:  # warm
    launch[0](launch[1])
queue.drain(30); wq.drain(30); pool.drain(30)
failed = 0
for number in range(60):
    for name, launch, unit in units():
        error = None
        try:
            _testcapi.set_nomemory(number, number + 1)
            try:
                launch(unit)
            finally:
                _testcapi.remove_mem_hooks()
        except MemoryError as raised:
            error = raised
            failed += 1
        pool.drain(30); queue.drain(30); wq.drain(30)
        try:
            launch(unit)
        except workqueue9.WorkPending:
            raise SystemExit(f"{name}, allocation {number}: pending for ever after {error!r}")
        if name == "job":
            unit.wait(30)
        elif name == "task":
            queue.drain(30)
            assert not unit.pending, (name, number)
        elif name == "work":
            wq.wait(unit, 30)
queue.close(30)
wq.close(30)
pool.put(30)
print("failed", failed > 0)
"""


def test_with_each_allocation_of_a_schedule_failing_in_turn_it_happens_or_does_not() -> None:
    """MemoryError out of the middle of a schedule loses no task, no worker and no queue."""
    if not getattr(sys, "_is_gil_enabled", lambda: True)():
        pytest.skip("a free-threaded CPython 3.13 crashes when memory is refused to it")
    pytest.importorskip("_testcapi", reason="this interpreter has no way to refuse memory")
    program = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(NO_MEMORY)],
        capture_output=True,
        text=True,
        timeout=300,
        env={"PYTHONPATH": ":".join(sys.path)},
    )
    assert program.returncode == 0, program.stderr[-3000:] + program.stdout
    assert program.stdout.split() == ["failed", "True"]


NO_MEMORY_FOR_A_TOKEN = """
import sys, threading, time, _testcapi, task9
from threadpool9._registry import registry

def let_threads_start():
    # Where the refusal meets a thread in `threading`'s own first lines, CPython's Thread.start waits for it for ever.
    while registry.starter._demands or not registry.starter.requests.empty():
        time.sleep(0.001)

queue = task9.TaskQueue("q")
asleep = threading.Event()
first = task9.DelayedTask(lambda task: asleep.set())
first.schedule(0.001, queue=queue)  # all threads and imports are there
assert asleep.wait(30)
for number in range(40):
    for operation in ("schedule", "cancel_async", "reschedule") * 3:  # so that the table of hands grows
        task = task9.DelayedTask(lambda task: None)
        if operation != "schedule":
            task.schedule(1000, queue=queue)
        let_threads_start()
        sys.setswitchinterval(1000)  # nobody else meets the refusal
        arguments = () if operation == "cancel_async" else (1000, 0.0, queue)
        try:
            _testcapi.set_nomemory(number, number + 1)
            try:
                getattr(task, operation)(*arguments)
            finally:
                _testcapi.remove_mem_hooks()
        except (MemoryError, SystemError):  # before 3.13 CPython forgets to say why, where a frame can't be had
            pass
        sys.setswitchinterval(0.005)
        assert task.schedule(1000, queue=queue) or task.armed, f"{operation}, allocation {number}: stuck"
        assert task.cancel_async() and not task.armed
        assert task.schedule(1000, queue=queue) and not task.schedule(1000, queue=queue), "it is there twice"
        task.cancel_async()
        assert not queue.group.armed, f"{operation}, allocation {number}: an entry stays"
queue.close(30)
print("ended")
"""


def test_with_each_allocation_refused_a_task_is_never_lost() -> None:
    """What takes a task in hand for longer than a line, and what withdraws: the task can be used again."""
    if not getattr(sys, "_is_gil_enabled", lambda: True)():
        pytest.skip("a free-threaded CPython 3.13 crashes when memory is refused to it")
    pytest.importorskip("_testcapi", reason="this interpreter has no way to refuse memory")
    done = subprocess.run(
        [sys.executable, "-c", NO_MEMORY_FOR_A_TOKEN],
        capture_output=True,
        text=True,
        timeout=300,
        env={"PYTHONPATH": ":".join(sys.path)},
    )
    assert (done.returncode, done.stdout) == (0, "ended\n"), done.stderr[-3000:]


def test_a_recursion_that_enqueues_at_every_level_leaves_a_queue_that_drains() -> None:
    """The program that found it: visit a node, enqueue it, visit the next, until the recursion limit."""
    seen: list[int] = []
    with workqueue9.WorkQueue("visits", lambda work, arg: seen.append(work.payload)) as wq:

        def visit(number: int) -> None:
            wq.enqueue(workqueue9.Work(number))
            visit(number + 1)

        for _ in range(12):
            with pytest.raises(RecursionError):
                visit(0)
            wq.drain(LIMIT)
    assert seen.count(0) == 12


@pytest.mark.parametrize("operation", ["modify", "cancel_async", "enqueue"])
@pytest.mark.parametrize("bound", [None, 1])
def test_a_work_is_never_stuck_for_what_had_no_frame_left(operation: str, bound: int | None) -> None:
    """What takes a work back near the recursion limit: it is idle or pending afterwards, and its slot is free."""
    called: list[object] = []
    with workqueue9.WorkQueue("deep", lambda work, arg: called.append(work), max_pending=bound) as wq:
        for left in range(AROUND_THE_LIMIT):
            work = workqueue9.Work()
            actions: dict[str, Callable[[], object]] = {
                "modify": lambda work=work: wq.modify(work, 500.0),  # type: ignore[misc]  # bound now
                "cancel_async": lambda work=work: wq.cancel_async(work),  # type: ignore[misc]
                "enqueue": lambda work=work: wq.enqueue(work, block=False),  # type: ignore[misc]
            }
            if operation != "enqueue":
                wq.enqueue_delayed(work, 1000.0)
            at_depth(left, actions[operation])
            wq.cancel(work, LIMIT)
            assert not work.pending, f"with {left} frames left"
            wq.enqueue(work, timeout=LIMIT)
            wq.wait(work, LIMIT)
            assert called.pop() is work
            del called[:]
