"""TK-6: cancel tells the truth, waits for what must be waited for, lets go of the interlock then only, and is final."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from conformance9.adapters_task import TaskAdapter
from conformance9.suite.kit import Interlock, Lingering, Tally, together
from conformance9.suite.tasks import KINDS, a_queue, a_queue_of
from conformance9.suite.tools import Gate, Log, Stage, Started, holds, refuses, timing

pytestmark = pytest.mark.clause("TK-6")


def test_cancel_of_an_idle_task_is_true(adapter: TaskAdapter, stage: Stage) -> None:
    """Never scheduled, and long finished: True, at once, and the task works on."""
    queue, tally, lock = a_queue(adapter, stage), Tally(), Interlock()
    task = adapter.task(tally)
    for runs in (0, 1, 2):
        holds("TK-6", tally.runs == runs, f"{runs} schedules, {tally.runs} runs")
        with lock:
            holds("TK-6", task.cancel(lock) is True, "cancel of an idle task must say True")
        holds("TK-6", task.cancel() is True, "cancel of an idle task must say True")
        holds("TK-6", task.cancel_async() is True, "cancel_async of an idle task must say True")
        holds("TK-6", queue.schedule(task) is True, "an idle task that was cancelled can't be scheduled")
        queue.drain(timing.limit)
    holds("TK-6", lock.releases == 3, "cancel let go of the interlock though there was nothing to wait for")


@pytest.mark.parametrize("how", ["cancel", "cancel with interlock", "cancel_async"])
def test_cancel_withdraws_what_has_not_begun(adapter: TaskAdapter, stage: Stage, how: str) -> None:
    """Pending behind another task: True, at once, no run; the interlock stays held; the others are not touched."""
    queue, gate, seen, lock = a_queue(adapter, stage), stage.gate(), Log(), Interlock()
    tasks = [adapter.task(lambda task, number=number: seen.add(number)) for number in range(5)]
    queue.schedule(adapter.task(gate))
    holds("TK-5", gate.entered(), "a scheduled task did not run")
    for task in tasks:
        queue.schedule(task)
    with lock:
        result = {
            "cancel": lambda: tasks[2].cancel(timeout=timing.limit),
            "cancel with interlock": lambda: tasks[2].cancel(lock, timing.limit),
            "cancel_async": tasks[2].cancel_async,
        }[how]()
        holds("TK-6", result is True, f"{how} of a pending task said {result}, not True")
        holds("TK-6", lock.releases == 0, "cancel let go of the interlock though there was nothing to wait for")
        holds("TK-6", lock.mine(), "the interlock is not held after cancel")
    holds("TK-6", not tasks[2].pending, "cancelled, and yet pending")
    holds("TK-6", queue.schedule(tasks[0]) is False, "cancel of one task has withdrawn another")
    gate.go.set()
    queue.drain(timing.limit)
    holds("TK-6", seen.entries == [0, 1, 3, 4], f"of 0 to 4, 2 was cancelled; ran {seen.entries}")
    holds("TK-6", queue.schedule(tasks[2]) is True, "a task that was cancelled can't be scheduled again")
    queue.drain(timing.limit)
    holds("TK-6", seen.entries == [0, 1, 3, 4, 2], f"scheduled again after a cancel; ran {seen.entries}")


def test_cancel_waits_for_the_run(adapter: TaskAdapter, stage: Stage) -> None:
    """Of a running task: returns False, after the function has returned and not before."""
    queue = a_queue(adapter, stage)
    for _ in range(3):
        function = Lingering()
        task = adapter.task(function)
        queue.schedule(task)
        holds("TK-5", function.entered(), "a scheduled task did not run")
        result = task.cancel(timeout=timing.limit)
        ended, running = function.ended, task.running
        holds("TK-6", ended, "cancel returned before the run was over")
        holds("TK-6", not running, "cancel returned, and the task is running")
        holds("TK-6", result is False, f"cancel that waited for a run said {result}, not False")


def test_cancel_waits_and_withdraws_the_run_after(adapter: TaskAdapter, stage: Stage) -> None:
    """Running and scheduled again: cancel waits for the run and withdraws the other."""
    queue, runs = a_queue(adapter, stage), Log()
    function = Lingering()

    def fn(task: Any) -> None:
        runs.add(1)
        function()

    task = adapter.task(fn)
    queue.schedule(task)
    holds("TK-5", function.entered(), "a scheduled task did not run")
    queue.schedule(task)
    result = task.cancel(timeout=timing.limit)
    holds("TK-6", function.ended, "cancel returned before the run was over")
    holds("TK-6", result is False, f"cancel that waited for a run said {result}, not False")
    holds("TK-6", not task.pending, "cancelled, and yet pending")
    queue.drain(timing.limit)
    holds("TK-6", len(runs.entries) == 1, "it ran after cancel had returned")


def test_cancel_async_never_waits(adapter: TaskAdapter, stage: Stage) -> None:
    """Of a running task: False at once; what was scheduled since is withdrawn."""
    queue, gate = a_queue(adapter, stage), stage.gate()
    task = adapter.task(gate)
    queue.schedule(task)
    holds("TK-5", gate.entered(), "a scheduled task did not run")
    holds("TK-6", together(stage, task.cancel_async) == [False], "cancel_async of a running task must say False")
    queue.schedule(task)
    holds("TK-6", together(stage, task.cancel_async) == [False], "cancel_async of a running task must say False")
    holds("TK-6", not task.pending, "cancel_async left the run after pending")
    gate.go.set()
    queue.drain(timing.limit)
    holds("TK-6", gate.runs == 1, f"the second of {gate.runs} runs had been withdrawn")


def test_the_interlock_is_free_while_cancel_waits_and_held_again_after(adapter: TaskAdapter, stage: Stage) -> None:
    """The task needs the lock that the canceller holds, twice over: it gets it, and so does the canceller again."""
    queue, lock, began = a_queue(adapter, stage), Interlock(), threading.Event()

    def needs_lock(task: Any) -> None:
        began.set()
        with lock:
            pass

    task = adapter.task(needs_lock)
    with lock:
        queue.schedule(task)
        holds("TK-5", began.wait(timing.limit), "a scheduled task did not run")
        result = task.cancel(lock, timing.limit)
        holds("TK-6", result is False, f"cancel that waited for a run said {result}, not False")
        holds("TK-6", lock.mine(), "the interlock is not held after cancel")
    known = threading.Lock()  # of a type that an implementation may know
    began.clear()

    def needs_known(task: Any) -> None:
        began.set()
        with known:
            pass

    task = adapter.task(needs_known)
    with known:
        queue.schedule(task)
        holds("TK-5", began.wait(timing.limit), "a scheduled task did not run")
        holds("TK-6", task.cancel(known, timing.limit) is False, "cancel that waited for a run must say False")
        holds("TK-6", known.locked(), "the interlock is not held after cancel")


@pytest.mark.capability("timeouts")
def test_cancel_may_give_up_waiting(adapter: TaskAdapter, stage: Stage) -> None:
    """With a timeout: the error says so, the interlock is held, the run goes on, and a later cancel works."""
    queue, gate, lock = a_queue(adapter, stage), stage.gate(), Interlock()
    task = adapter.task(gate)
    queue.schedule(task)
    holds("TK-5", gate.entered(), "a scheduled task did not run")
    refuses(
        "TK-6", "cancel with a timeout of a task that runs on", adapter.timeout_error, lambda: task.cancel(timeout=0.01)
    )
    with lock:
        refuses("TK-6", "cancel with a timeout", adapter.timeout_error, lambda: task.cancel(lock, 0.01))
        holds("TK-6", lock.mine(), "the interlock is not held after a cancel that gave up")
    holds("TK-6", task.running, "a cancel that gave up has changed the run")
    holds("TK-6", queue.schedule(task) is True, "after a cancel that gave up the task can't be scheduled")
    gate.go.set()
    queue.drain(timing.limit)
    queue.drain(timing.limit)
    holds("TK-6", gate.runs == 2, f"after a cancel that gave up, 2 schedules are {gate.runs} runs")
    holds("TK-6", task.cancel(timeout=timing.limit) is True, "cancel of an idle task must say True")


@pytest.mark.parametrize("kind", KINDS)
def test_cancel_from_inside(adapter: TaskAdapter, stage: Stage, kind: str) -> None:
    """By the task itself: False at once, and the run after is withdrawn."""
    queue, results, runs = a_queue_of(kind, adapter, stage), Log(), Log()

    def fn(task: Any) -> None:
        runs.add(1)
        queue.schedule(task)
        results.add((task.pending, task.cancel(), task.pending))

    queue.schedule(adapter.task(fn))
    for _ in range(3):
        queue.drain(timing.limit)
    holds("TK-6", results.reached(1), "cancel from inside did not return")
    holds("TK-6", results.entries[0] == (True, False, False), f"pending, cancel(), pending: {results.entries[0]}")
    holds(
        "TK-6", len(runs.entries) == 1, f"the run after was withdrawn from inside, but there were {len(runs.entries)}"
    )


@pytest.mark.parametrize("kind", KINDS)
def test_a_task_that_reschedules_itself_cannot_outrun_cancels(adapter: TaskAdapter, stage: Stage, kind: str) -> None:
    """Several threads cancel a task that schedules itself for ever: all return, and it never runs again."""
    queue = a_queue_of(kind, adapter, stage)
    for number in range(60):
        tally, inside = Tally(), threading.Lock()

        def fn(task: Any, tally: Tally = tally, inside: threading.Lock = inside) -> None:
            with inside:
                tally()
                queue.schedule(task)

        task = adapter.task(fn)
        queue.schedule(task)
        if number % 3:
            together(stage, *[lambda task=task: task.cancel(timeout=timing.limit)] * (1 + number % 4))
        else:
            task.cancel(timeout=timing.limit)
        runs = tally.runs
        holds("TK-6", not inside.locked(), "cancel returned, and the function runs")
        holds("TK-6", not task.pending and not task.running, "cancel returned, and the task is pending or running")
        queue.drain(timing.limit)
        holds("TK-6", tally.runs == runs, "it ran after cancel had returned")


def _waits_in_cancel(stage: Stage, task: Any) -> Started:
    """A thread that waits in a cancel of the running task: it has let go of the interlock, which it does then only."""
    lock, held = threading.Lock(), threading.Event()

    def cancel() -> object:
        with lock:
            held.set()
            return task.cancel(lock, 3 * timing.limit)

    waiter = stage.thread(cancel)
    held.wait(timing.limit)
    with lock:
        return waiter


@pytest.mark.parametrize("kind", KINDS)
def test_a_run_that_is_waited_for_is_the_last(adapter: TaskAdapter, stage: Stage, kind: str) -> None:
    """While cancel waits for its run, a task schedules itself: it never runs again."""
    queue = a_queue_of(kind, adapter, stage)
    for _ in range(10):
        gate = stage.gate()

        def fn(task: Any, gate: Gate = gate) -> None:
            gate()
            if gate.runs < 100:
                queue.schedule(task)

        task = adapter.task(fn)
        queue.schedule(task)
        holds("TK-5", gate.entered(), "a scheduled task did not run")
        waiter = _waits_in_cancel(stage, task)
        gate.go.set()
        waiter.join(timing.limit)
        holds("TK-6", not waiter.is_alive(), "cancel of a task that schedules itself does not return")
        queue.drain(timing.limit)
        holds("TK-6", gate.runs == 1, f"after the run that cancel waited for, it ran {gate.runs - 1} times more")
        holds("TK-6", not task.pending, "cancel returned, and the task is pending")


@pytest.mark.capability("concurrency")
@pytest.mark.parametrize("how", ["cancel_async", "cancel", "cancel from inside"])
def test_cancel_withdraws_a_rerun_that_has_to_wait_for_the_run(adapter: TaskAdapter, stage: Stage, how: str) -> None:
    """On a queue for two at once, scheduled again while it runs, its turn come and put off: it is withdrawn."""
    queue, gate, passed, told = a_queue(adapter, stage, concurrency=2), stage.gate(), threading.Event(), Log()

    def fn(task: Any) -> None:
        gate()
        if how == "cancel from inside":
            told.add(task.cancel())

    task = adapter.task(fn)
    queue.schedule(task)
    holds("TK-5", gate.entered(), "a scheduled task did not run")
    queue.schedule(task)
    # Started in order: where this one has begun, the one before it has been dealt with.
    queue.schedule(adapter.task(lambda task: passed.set()))
    holds("TK-5", passed.wait(timing.limit), "one task that blocks held up a queue for two at once")
    holds("TK-2", task.pending, "scheduled during its run, and not pending")
    waiter = None
    if how == "cancel":
        waiter = _waits_in_cancel(stage, task)
    elif how == "cancel_async":
        told.add(task.cancel_async())
        holds("TK-6", not task.pending, "cancel_async left the run after pending")
    gate.go.set()
    if waiter is not None:
        waiter.join(timing.limit)
        told.add(waiter.result)
    holds("TK-6", told.reached(1), f"{how} does not return")
    holds("TK-6", told.entries == [False], f"{how} of a running task said {told.entries}")
    queue.drain(timing.limit)
    queue.drain(timing.limit)
    holds("TK-6", gate.runs == 1, f"a run that was put off and withdrawn by {how} was made")
    holds("TK-6", not task.pending, "cancelled, and yet pending")


def _thrash(adapter: TaskAdapter, stage: Stage, kind: str, rounds: int) -> None:
    queue, lock, runs = a_queue_of(kind, adapter, stage), threading.RLock(), [0]

    def fn(task: Any) -> None:
        with lock:  # held by who cancels, but while cancel waits: a run that began before is over after it
            runs[0] += 1

    task = adapter.task(fn)
    with lock:
        for number in range(rounds):
            before = runs[0]
            queue.schedule(task)
            if number % 3 == 0:
                lock.release()
                lock.acquire()
            loose = runs[0] - before
            result = task.cancel(lock, timing.limit)
            made = runs[0] - before
            holds("TK-2", made <= 1, f"one schedule was {made} runs (round {number})")
            if loose:
                continue
            holds(
                "TK-6",
                made == (result is False),
                f"cancel said {result}, and the schedule before it was {made} runs (round {number})",
            )
    total = runs[0]
    queue.drain(timing.limit)
    holds("TK-6", runs[0] == total, "it ran after cancel had returned")


@pytest.mark.parametrize("kind", KINDS)
def test_thrash_of_schedule_and_cancel(adapter: TaskAdapter, stage: Stage, kind: str) -> None:
    """NetBSD's cancelthrash, for tasks: every schedule is a run or a cancel that says True, never both, never none."""
    _thrash(adapter, stage, kind, 3_000)


@pytest.mark.thorough
@pytest.mark.parametrize("kind", KINDS)
def test_thrash_10000(adapter: TaskAdapter, stage: Stage, kind: str) -> None:
    """The same with upstream's number of rounds, ten times."""
    for _ in range(10):
        _thrash(adapter, stage, kind, 10_000)


@pytest.mark.clause("TK-2")
@pytest.mark.parametrize("kind", KINDS)
def test_storm_of_schedules_and_cancels_accounts_for_each(adapter: TaskAdapter, stage: Stage, kind: str) -> None:
    """Schedulers beside cancel_async: there are no more runs than schedules that said True, and the end is clean."""
    queue, tally = a_queue_of(kind, adapter, stage), Tally()
    tasks = [adapter.task(tally) for _ in range(3)]

    def schedule() -> int:
        return sum(queue.schedule(task) for _ in range(1000) for task in tasks)

    def cancel() -> int:
        for _ in range(1000):
            for task in tasks:
                task.cancel_async()
        return 0

    told = together(stage, schedule, cancel, schedule, cancel)
    queue.drain(timing.limit)
    new = sum(told)
    holds("TK-2", tally.runs <= new, f"schedule said True {new} times, but there were {tally.runs} runs")
    for task in tasks:
        holds("TK-6", task.cancel(timeout=timing.limit) is True, "cancel of an idle task must say True")
        before = tally.runs
        holds("TK-1", queue.schedule(task) is True, "after the storm a task can't be scheduled")
        queue.drain(timing.limit)
        holds("TK-2", tally.runs == before + 1, f"after the storm one schedule was {tally.runs - before} runs")
