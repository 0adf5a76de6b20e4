"""KeyboardInterrupt between any two lines of an operation (TP-12, TP-25 to TP-28, TK-1, TK-6, TK-7, WQ-3 to WQ-6).

A trace function raises it at the n-th line event inside of the layers, for every n until the operation gets through
without. Afterwards, each time: the unit is either scheduled and runs exactly once, or it is idle; then it can be
scheduled, cancelled and destroyed; queues drain; pools can be put; locks of the user are as they were.
"""

from __future__ import annotations

import functools
import gc
import itertools
import os
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from typing import Any

import pytest
from stormkit.benches import (
    BENCHES,
    LIMIT,
    Bench,
    DelayedBench,
    Gate,
    JobBench,
    TaskBench,
    WorkBench,
    interrupted_at,
    poll,
)
from stormkit.watchdog import Hang, Watchdog, stacks

import task9
import threadpool9
from task9 import DelayedTask, Task, TaskQueue
from task9._timer import timer
from threadpool9 import Job, UsageError
from workqueue9 import Work, WorkQueue

LISTED = int(os.environ.get("KEYBOARD_INTERRUPT_LISTED", "3"))  # failing lines after which a test gives up
PRIORITIES = itertools.cycle(range(1, 120))  # for tests that see pools go: one each
MOST = 1500  # line events of an operation (the put of a shared queue has 583 to 627); more would be a loop


@pytest.fixture
def bench(request: pytest.FixtureRequest) -> Iterator[Bench]:
    """A bench, closed afterwards within its limit."""
    made = BENCHES[request.param]()
    with Watchdog(100, lambda: None):
        yield made
        made.close()


def at_every_line(attempt: Callable[[int], str | None]) -> int:
    """Call `attempt(n)` for n = 1, 2, ... until it says None; all failures together; how many lines there were.

    In the light form every third line, others on other Pythons.
    """
    failures = []
    step = 3 if os.environ.get("SECTION9_LIGHT") else 1
    for number in range(1 + sys.version_info.minor % step, MOST, step):
        try:
            where = attempt(number)
            # Sleeping for what was withdrawn would cost a thread until then (TK-12).
            poll(lambda: timer.armed() or timer._absent, "nothing is armed, and yet the timer has a thread")
        except Hang:
            raise
        except Exception as error:
            failures.append(f"line event {number}: {type(error).__name__}: {str(error).partition(chr(10))[0]}")
            if len(failures) >= LISTED:
                break
            continue
        if where is None:
            assert number > 1, "the operation has no line in the layers"
            break
    else:
        failures.append(f"no end after {MOST} lines")
    # Locks that the main thread still held would not keep it out, but everybody else.
    other = threading.Thread(target=use_from_elsewhere, daemon=True)
    other.start()
    other.join(LIMIT)
    assert not other.is_alive(), f"a lock was left taken:\n{stacks()}"
    assert not failures, "\n".join(failures)
    return number - 1


def use_from_elsewhere() -> None:
    """Takes every lock of the layers once."""
    threadpool9.get(121).put(LIMIT)
    task9.get(121).put(LIMIT)
    with WorkQueue("elsewhere", lambda work, arg: None, pri=121) as wq:
        wq.cancel(Work(), LIMIT)


def each(*names: str) -> pytest.MarkDecorator:
    """The test runs on these benches."""
    return pytest.mark.parametrize("bench", names, indirect=True)


ALL = tuple(BENCHES)


@each(*ALL)
@pytest.mark.parametrize("cold", [False, True], ids=["warm", "cold"])
def test_while_launching(bench: Bench, cold: bool) -> None:
    """schedule, enqueue: the unit runs once or is idle; `cold` with no worker and no starter there."""

    def attempt(number: int) -> str | None:
        if cold:
            threadpool9.retire_idle()
        unit = bench.fresh()
        where = interrupted_at(number, lambda: bench.launch(unit))
        bench.settle(unit, 1, str(where))
        return where

    at_every_line(attempt)


@each("job")
def test_while_posting(bench: JobBench) -> None:
    """post: as schedule; and to a running job: the run under way and at most one more."""

    def attempt(number: int) -> str | None:
        unit = bench.fresh()
        where = interrupted_at(number, lambda: bench.pool.post(unit))
        bench.settle(unit, 1, str(where))
        return where

    at_every_line(attempt)

    def attempt_running(number: int) -> str | None:
        unit, gate = bench.block()
        where = interrupted_at(number, lambda: bench.pool.post(unit))
        gate.open.set()
        bench.settle(unit, 2, str(where))
        return where

    at_every_line(attempt_running)


@each("task", "task-percpu", "work", "work-percpu", "delayed")
def test_while_launching_what_runs(bench: Bench) -> None:
    """schedule and enqueue of what runs at the moment: one more run or none."""

    def attempt(number: int) -> str | None:
        unit, gate = bench.block()
        where = interrupted_at(number, lambda: bench.launch(unit))
        gate.open.set()
        bench.settle(unit, 2, str(where))
        return where

    at_every_line(attempt)


@each("job", "task", "task-percpu", "delayed")
@pytest.mark.parametrize("state", ["idle", "pending", "running"])
def test_while_cancelling_without_waiting(bench: Bench, state: str) -> None:
    """cancel_async."""

    def cancel_async(unit: Any) -> None:
        if isinstance(bench, JobBench):
            with unit.interlock:
                bench.pool.cancel_async(unit)
        else:
            unit.cancel_async()

    def attempt(number: int) -> str | None:
        unit, others = in_state(bench, state)
        where = interrupted_at(number, lambda: cancel_async(unit))
        for gate in others:
            gate.open.set()
        bench.settle(unit, 1, str(where))
        return where

    at_every_line(attempt)


def in_state(bench: Bench, state: str) -> tuple[Any, list[Gate]]:
    """A unit in that state, and the gates that keep it there."""
    if state == "running":
        unit, gate = bench.block()
        return unit, [gate]
    unit = bench.fresh()
    if state == "idle":
        return unit, []
    gates = [bench.block()[1]] if not isinstance(bench, JobBench) else []
    assert bench.launch(unit)
    return unit, gates


@each(*ALL)
@pytest.mark.parametrize("state", ["idle", "pending", "running"])
def test_while_cancelling(bench: Bench, state: str) -> None:
    """cancel: of a running unit the interrupt ends the wait; the interlock is held again, as deep as before."""

    def attempt(number: int) -> str | None:
        unit, gates = in_state(bench, state)
        lock = unit.interlock if isinstance(bench, JobBench) else None
        helper = threading.Thread(target=lambda: [gate.open.set() for gate in gates])

        def cancel() -> None:
            if lock is None:
                bench.cancel(unit)
            else:
                bench.pool.cancel(unit, LIMIT)  # type: ignore[attr-defined]

        with lock or nullcontext():
            with lock or nullcontext():
                if state == "running":
                    helper.start()
                where = interrupted_at(number, cancel)
                assert lock is None or lock._is_owned(), f"{where}: the interlock was lost"
        assert lock is None or not lock._is_owned(), f"{where}: the interlock is held too deep"
        for gate in gates:
            gate.open.set()
        if state == "running":
            helper.join()
        bench.settle(unit, 1, str(where))
        return where

    at_every_line(attempt)


@each("task")
def test_while_cancelling_a_task_with_an_interlock(bench: TaskBench) -> None:
    """cancel(interlock): held again, as deep as before."""
    lock = threading.RLock()

    def attempt(number: int) -> str | None:
        unit, gate = bench.block()
        with lock:
            helper = threading.Thread(target=gate.open.set)
            helper.start()
            where = interrupted_at(number, lambda: unit.cancel(lock, timeout=LIMIT))
            assert lock._is_owned(), f"{where}: the interlock was lost"  # type: ignore[attr-defined]
        assert not lock._is_owned(), f"{where}: the interlock is held too deep"  # type: ignore[attr-defined]
        gate.open.set()
        helper.join()
        bench.settle(unit, 1, str(where))
        return where

    at_every_line(attempt)


@each("task", "task-percpu", "delayed", "work", "work-percpu")
def test_while_draining(bench: Bench) -> None:
    """drain and flush: broken off, they leave nothing behind; another drain returns and everything has run."""

    def attempt(number: int) -> str | None:
        blocker, gate = bench.block()
        unit = bench.fresh()
        assert bench.launch(unit)
        helper = threading.Thread(target=gate.open.set)
        helper.start()
        where = interrupted_at(number, bench.drain)
        helper.join()
        bench.drain()
        poll(lambda: bench.count(unit) == 1, f"{where}: a task was lost")
        bench.settle(unit, 1, str(where))
        bench.settle(blocker, 1, str(where))
        return where

    at_every_line(attempt)


@each("work", "work-percpu")
def test_while_draining_and_waiting_for_works(bench: WorkBench) -> None:
    """WorkQueue.drain gives the queue back open; WorkQueue.wait leaves no watch behind."""

    def attempt_drain(number: int) -> str | None:
        unit = bench.fresh()
        assert bench.launch(unit)
        where = interrupted_at(number, lambda: bench.wq.drain(LIMIT))
        poll(lambda: bench.count(unit) == 1, f"{where}: a work was lost")
        bench.settle(unit, 1, str(where))
        return where

    at_every_line(attempt_drain)

    def attempt_wait(number: int) -> str | None:
        _, gate = bench.block()
        unit = bench.fresh()
        assert bench.launch(unit)
        helper = threading.Thread(target=gate.open.set)
        helper.start()
        where = interrupted_at(number, lambda: bench.wq.wait(unit, LIMIT))
        helper.join()
        bench.wq.wait(unit, LIMIT)
        assert bench.count(unit) == 1
        assert not bench.wq.group.sleepers, where
        bench.settle(unit, 1, str(where))
        return where

    at_every_line(attempt_wait)


@each("work")
def test_while_waiting_for_space(bench: WorkBench) -> None:
    """enqueue on a full queue: broken off, no slot is lost; see `WorkBench.close`."""

    def attempt(number: int) -> str | None:
        _, gate = bench.block()
        for _ in range(50):
            bench.wq.enqueue(Counted(bench), block=False)
        unit = bench.fresh()
        helper = threading.Thread(target=gate.open.set)
        helper.start()
        where = interrupted_at(number, lambda: bench.wq.enqueue(unit, timeout=LIMIT))
        helper.join()
        bench.drain()
        bench.settle(unit, 1, str(where))
        return where

    at_every_line(attempt)


class Counted(Work):
    """A work that its bench counts, too many to settle."""

    def __init__(self, bench: Bench) -> None:
        super().__init__()
        bench.runs[id(self)] = []


@each("delayed")
def test_while_rescheduling(bench: DelayedBench) -> None:
    """reschedule, to later, to now, of idle, armed and queued ones; schedule(0)."""
    for seconds in (0.0, 0.0005):
        for state in ("idle", "pending"):

            def attempt(number: int, seconds: float = seconds, state: str = state) -> str | None:
                unit, gates = in_state(bench, state)
                where = interrupted_at(number, lambda: unit.reschedule(seconds, queue=bench.queue))
                for gate in gates:
                    gate.open.set()
                # What was pending before is moved or is not, and runs.
                bench.settle(unit, 1, str(where), least=int(state == "pending"))
                return where

            at_every_line(attempt)


@each("work", "work-percpu")
def test_while_modifying(bench: WorkBench) -> None:
    """enqueue_delayed and modify."""
    for seconds in (0.0, 0.0005):
        for state in ("idle", "pending"):

            def attempt(number: int, seconds: float = seconds, state: str = state) -> str | None:
                unit, gates = in_state(bench, state)
                where = interrupted_at(number, lambda: bench.wq.modify(unit, seconds))
                for gate in gates:
                    gate.open.set()
                # What was pending before is moved or is not, and runs.
                bench.settle(unit, 1, str(where), least=int(state == "pending"))
                return where

            at_every_line(attempt)


@pytest.mark.parametrize("percpu", [False, True])
@pytest.mark.parametrize("state", ["unused", "idle", "running"])
def test_while_putting_a_pool(percpu: bool, state: str) -> None:
    """put of the last reference: it was given back or it was not; the workers leave; the next get is usable."""
    threadpool9.tunables.idle_ms = 20  # an interrupted put may leave it to the idle time to send them away

    def attempt(number: int) -> str | None:
        pri = next(PRIORITIES)
        pool = threadpool9.percpu_get(pri) if percpu else threadpool9.get(pri)
        gate = Gate()
        runs: list[None] = []

        def fn(job: Job) -> None:
            if state == "running":
                gate(job)
            runs.append(None)
            with job.interlock:
                job.done()

        member = pool.ref_remote(pool.cpus[0]) if percpu else pool  # type: ignore[union-attr]
        helper = threading.Thread(target=gate.open.set)
        if state != "unused":
            member.post(Job(fn))  # type: ignore[union-attr]
            if state == "running":
                assert gate.inside.wait(LIMIT)
            else:
                poll(lambda: runs, "the job did not run")
        helper.start()
        where = interrupted_at(number, lambda: pool.put(LIMIT))
        helper.join()
        try:
            pool.put(LIMIT)
        except UsageError:
            pass  # it had been given back
        poll(lambda: runs or state == "unused", f"{where}: the job was lost")
        poll(lambda: not workers_of(pri), f"{where}: workers stay")
        with threadpool9.get(pri) as again:
            over = threading.Event()
            job = Job(lambda job: (job.interlock.acquire(), job.done(), job.interlock.release(), over.set()))
            assert again.post(job)
            assert over.wait(LIMIT), f"{where}: the next pool does not run anything"
        stay = [pool for pool in threadpool9.snapshot().pools if pool.pri == pri and pool.references]
        assert not stay, f"{where}: a pool stays"
        return where

    with Watchdog(100, lambda: None):
        at_every_line(attempt)


def workers_of(pri: int) -> list[object]:
    """Workers of that priority."""
    return [worker for worker in threadpool9.snapshot().workers if worker.pool_pri == pri]


@pytest.mark.parametrize("kind", ["private", "percpu", "shared", "work"])
@pytest.mark.long
def test_while_closing_a_queue(kind: str) -> None:
    """close, put and destroy of queues: again, or done already; all has run and the pool's workers leave."""
    threadpool9.tunables.idle_ms = 20

    def attempt(number: int) -> str | None:
        pri = next(PRIORITIES)
        runs: list[None] = []
        queue: Any
        if kind == "work":
            queue = WorkQueue("closing", lambda work, arg: runs.append(None), pri=pri)
            queue.enqueue(Work())
            queue.enqueue_delayed(Work(), 1000)
            queue.flush(LIMIT)
            close = queue.destroy
        else:
            queue = task9.get(pri) if kind == "shared" else TaskQueue("closing", pri, percpu=kind == "percpu")
            queue.schedule(Task(lambda task: runs.append(None)))
            queue.schedule_delayed(DelayedTask(lambda task: runs.append(None)), 1000)
            close = queue.put if kind == "shared" else queue.close
        where = interrupted_at(number, functools.partial(close, LIMIT))
        try:
            close(LIMIT)
        except UsageError:
            pass  # it was done already
        poll(lambda: len(runs) == 1, f"{where}: {len(runs)} runs instead of one")
        if where is None:
            assert task9.snapshot().armed == 0
        with warnings.catch_warnings():
            # A put that was broken off leaves a queue that nobody can close any more; dropped, it closes itself.
            warnings.simplefilter("ignore", ResourceWarning)
            del queue, close
            gc.collect()
        poll(lambda: not workers_of(pri), f"{where}: workers stay")
        held = [pool for pool in threadpool9.snapshot().pools if pool.pri == pri and pool.references]
        assert not held, f"{where}: the reference to the pool was lost"
        return where

    gc.collect()
    gc.freeze()  # what was there before makes a collection slow, and is not our garbage
    try:
        with Watchdog(100, lambda: None):
            at_every_line(attempt)
    finally:
        gc.unfreeze()


def test_while_destroying() -> None:
    """destroy of a job and of a task: destroyed, or as it was."""
    for unit_type in (Job, Task, DelayedTask):

        def attempt(number: int, unit_type: Any = unit_type) -> str | None:
            unit = unit_type(lambda unit: None)
            where = interrupted_at(number, unit.destroy)
            if where is not None:
                try:
                    unit.destroy()
                except UsageError as refused:
                    if "destroyed already" not in str(refused):
                        raise
            with pytest.raises(UsageError, match="destroyed"):
                unit.destroy()
            return where

        at_every_line(attempt)
