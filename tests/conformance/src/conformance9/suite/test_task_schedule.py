"""TK-1, TK-2, TK-3: what schedule tells, how many runs follow, and that no run begins beside another."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest

from conformance9.adapters_task import QueueLike, TaskAdapter
from conformance9.suite.kit import Overlaps, Tally, interrupted_workers, some_cpus, together, verdict
from conformance9.suite.tasks import KINDS, a_queue, a_queue_of
from conformance9.suite.tools import (
    Gate,
    Log,
    Stage,
    holds,
    interrupted_everywhere,
    pinned,
    refuses,
    stepped,
    timing,
    wait_asleep,
    wait_until,
)


@pytest.mark.clause("TK-1", "TK-2")
def test_schedules_before_the_start_are_one_run_and_later_ones_one_more(adapter: TaskAdapter, stage: Stage) -> None:
    """k schedules before a run begins are one run, k during it are exactly one more; True iff newly queued."""
    queue, blocker, gate = a_queue(adapter, stage), stage.gate(), stage.gate()
    task = adapter.task(gate)
    holds("TK-1", queue.schedule(adapter.task(blocker)) is True, "schedule of an idle task must say True")
    holds("TK-1", blocker.entered(), "a scheduled task did not run")
    told = [queue.schedule(task) for _ in range(5)]
    holds("TK-1", told == [True, False, False, False, False], f"5 schedules before the start told {told}")
    holds("TK-2", task.pending, "a task that waits for its run must be pending")
    blocker.go.set()
    holds("TK-2", gate.entered(), "the task did not run")
    holds("TK-2", task.running, "a task whose function runs must be running")
    holds("TK-2", not task.pending, "nothing was scheduled since the start, but the task is pending")
    told = [queue.schedule(task) for _ in range(5)]
    holds("TK-1", told == [True, False, False, False, False], f"5 schedules during a run told {told}")
    gate.go.set()
    queue.drain(timing.limit)
    holds("TK-2", gate.runs == 2, f"5 schedules before the start and 5 after it must be 2 runs, were {gate.runs}")
    holds("TK-2", not task.pending and not task.running, "all runs are over, but the task is pending or running")
    holds("TK-1", queue.schedule(task) is True, "schedule after all runs must say True again")
    queue.drain(timing.limit)
    holds("TK-2", gate.runs == 3, f"one schedule more must be one run more, were {gate.runs - 2}")


@pytest.mark.clause("TK-1")
def test_a_coalesced_schedule_publishes_what_was_written_before(adapter: TaskAdapter, stage: Stage) -> None:
    """What is written before a schedule that says False is seen by the run."""
    queue, blocker, seen, box = a_queue(adapter, stage), stage.gate(), Log(), [0]
    task = adapter.task(lambda task: seen.add(box[0]))
    queue.schedule(adapter.task(blocker))
    holds("TK-1", blocker.entered(), "a scheduled task did not run")
    for value in (1, 2, 3):
        box[0] = value
        queue.schedule(task)
    blocker.go.set()
    queue.drain(timing.limit)
    holds("TK-1", seen.entries == [3], f"written 1, 2, 3 with a schedule after each, the one run saw {seen.entries}")


@pytest.mark.clause("TK-1")
def test_schedule_does_not_block_while_the_queue_is_busy(adapter: TaskAdapter, stage: Stage) -> None:
    """With a task that blocks in its function, schedules of it and of others return at once."""
    queue, blocker, tally = a_queue(adapter, stage), stage.gate(), Tally()
    task = adapter.task(blocker)
    queue.schedule(task)
    holds("TK-1", blocker.entered(), "a scheduled task did not run")
    others = [adapter.task(tally) for _ in range(500)]

    def body() -> list[bool]:
        return [queue.schedule(each) for each in (task, *others, task, *others)]

    (told,) = together(stage, body)
    holds(
        "TK-1", told == [True] * 501 + [False] * 501, "schedules on a busy queue told otherwise than True, then False"
    )
    blocker.go.set()
    queue.drain(timing.limit)
    holds("TK-2", tally.runs == 500, f"500 tasks scheduled twice each before their start ran {tally.runs} times")


@pytest.mark.clause("TK-1", "TK-2", "TK-3")
@pytest.mark.parametrize("kind", KINDS)
def test_storm_of_schedules_loses_nothing_and_overlaps_nothing(adapter: TaskAdapter, stage: Stage, kind: str) -> None:
    """Threads that produce and schedule: the last run sees all that was produced, and no run is beside another."""
    queue, threads, rounds = a_queue_of(kind, adapter, stage), 3, 1500

    class Watched:
        def __init__(self) -> None:
            self.lock, self.inside = threading.Lock(), threading.Lock()
            self.produced = self.seen = self.runs = self.beside = 0
            self.task = adapter.task(self.run)

        def run(self, task: Any) -> None:
            if not self.inside.acquire(False):
                self.beside += 1
                return
            self.seen = self.produced
            self.runs += 1
            self.inside.release()

    watched = [Watched() for _ in range(4)]

    def produce() -> int:
        new = 0
        for _ in range(rounds):
            for each in watched:
                with each.lock:
                    each.produced += 1
                new += queue.schedule(each.task)
        return new

    told = together(stage, *[produce] * threads)
    queue.drain(timing.limit)
    holds("TK-3", not (beside := [each.beside for each in watched if each.beside]), f"ran beside themselves: {beside}")
    for each in watched:
        holds("TK-1", each.seen == each.produced, f"{each.produced} were produced, the last run saw {each.seen}")
        holds("TK-2", not each.task.pending, "drained, and yet the task is pending")
    runs, new = sum(each.runs for each in watched), sum(told)
    holds("TK-1", runs == new, f"schedule said True {new} times, but there were {runs} runs")


@pytest.mark.clause("TK-2", "TK-3")
@pytest.mark.capability("concurrency")
def test_a_rerun_waits_for_the_run_where_another_executor_is_free(adapter: TaskAdapter, stage: Stage) -> None:
    """On a queue for two at once, what was scheduled during its run does not begin before the function returned."""
    queue, gate, passed = a_queue(adapter, stage, concurrency=2), stage.gate(), threading.Event()
    task = adapter.task(gate)
    queue.schedule(task)
    holds("TK-5", gate.entered(), "a scheduled task did not run")
    holds("TK-2", queue.schedule(task) is True, "a schedule during the run must be another run")
    # Started in order: where this one has begun, the one before it has been dealt with.
    queue.schedule(adapter.task(lambda task: passed.set()))
    holds("TK-5", passed.wait(timing.limit), "one task that blocks held up a queue for two at once")
    holds("TK-3", gate.runs == 1, "the task ran beside itself")
    gate.go.set()
    queue.drain(timing.limit)
    holds("TK-2", gate.runs == 2, f"a schedule during the run must be exactly one more run, were {gate.runs - 1}")


@pytest.mark.clause("TK-2", "TK-3")
@pytest.mark.capability("percpu")
def test_a_rerun_on_another_cpu_waits_for_the_run(adapter: TaskAdapter, stage: Stage) -> None:
    """Scheduled on one CPU while it runs on another: the second run begins after the first, and none is lost."""
    here, there = some_cpus(adapter.cpus(), 2)
    queue, gate, passed, second = a_queue(adapter, stage, percpu=True), stage.gate(), threading.Event(), Log()

    def fn(task: Any) -> None:
        if gate.runs:
            second.add(1)
        gate()

    task = adapter.task(fn)
    with pinned(here):
        queue.schedule(task)
    holds("TK-7", gate.entered(), "a scheduled task did not run")
    with pinned(there):
        holds("TK-2", queue.schedule(task) is True, "a schedule during the run must be another run")
        queue.schedule(adapter.task(lambda task: passed.set()))
    holds("TK-4", passed.wait(timing.limit), "a task that blocks on one CPU held up another CPU")
    holds("TK-3", gate.runs == 1, "the task ran beside itself on two CPUs")
    gate.go.set()
    holds("TK-2", second.reached(1), "what was scheduled on another CPU during the run never ran")
    queue.drain(timing.limit)
    holds("TK-2", gate.runs == 2, f"a schedule during the run must be exactly one more run, were {gate.runs - 1}")


@pytest.mark.clause("TK-2", "TK-6")
def test_done_ends_the_run_for_who_cancels(adapter: TaskAdapter, stage: Stage) -> None:
    """After done() the task is not running: cancel does not wait for the function, and the task may be destroyed."""
    queue, over, gate, destroyed = a_queue(adapter, stage), threading.Event(), stage.gate(), threading.Event()

    def fn(task: Any) -> None:
        task.done()
        over.set()
        gate()

    def self_destroying(task: Any) -> None:
        task.done()
        task.destroy()
        destroyed.set()

    task = adapter.task(fn)
    queue.schedule(task)
    holds("TK-2", over.wait(timing.limit), "done() did not return")
    holds("TK-2", not task.running, "after done() the task must not be running")
    together(stage, lambda: task.cancel(timeout=timing.limit))
    holds("TK-6", not gate.ended.is_set(), "the test's own gate opened too early")
    gate.go.set()
    queue.drain(timing.limit)
    queue.schedule(adapter.task(self_destroying))
    holds("TK-2", destroyed.wait(timing.limit), "after done() the task may be destroyed")


@pytest.mark.clause("TK-2", "TK-6")
def test_done_wakes_who_waits_for_the_run(adapter: TaskAdapter, stage: Stage) -> None:
    """Who waits in cancel when done() is called goes on, though the function does not return."""
    queue, first, lingers = a_queue(adapter, stage), stage.gate(), stage.gate()

    def fn(task: Any) -> None:
        first()
        task.done()
        lingers()

    task = adapter.task(fn)
    queue.schedule(task)
    holds("TK-5", first.entered(), "a scheduled task did not run")
    waiter = stage.thread(lambda: task.cancel(timeout=timing.limit))
    waiter.join(timing.moment)  # time to get there; if that is not enough, the test only misses
    first.go.set()
    waiter.join(timing.limit / 2)
    holds("TK-6", not waiter.is_alive(), "cancel waits on after done(), for the function to return")
    lingers.go.set()


@pytest.mark.clause("TK-2")
@pytest.mark.capability("concurrency")
def test_after_done_the_next_run_may_begin_before_the_function_returned(adapter: TaskAdapter, stage: Stage) -> None:
    """Scheduled after done(), with another executor free: the new run begins though the old function lingers."""
    queue, over, gate, second = (
        a_queue(adapter, stage, concurrency=2),
        threading.Event(),
        stage.gate(),
        threading.Event(),
    )
    runs: list[int] = []

    def fn(task: Any) -> None:
        runs.append(1)
        if len(runs) > 1:
            second.set()
            return
        task.done()
        over.set()
        gate()

    task = adapter.task(fn)
    queue.schedule(task)
    holds("TK-2", over.wait(timing.limit), "done() did not return")
    holds("TK-2", queue.schedule(task) is True, "a schedule after done() must be another run")
    holds("TK-2", second.wait(timing.limit), "the run after done() waits for the function to return")
    gate.go.set()
    queue.drain(timing.limit)
    holds("TK-2", len(runs) == 2, f"two schedules, {len(runs)} runs")


@pytest.mark.clause("TK-2")
@pytest.mark.capability("concurrency")
def test_done_lets_go_of_what_was_scheduled_before_it(adapter: TaskAdapter, stage: Stage) -> None:
    """Scheduled during the run, before done(): the new run begins at done(), not at the return."""
    queue, gate, second = a_queue(adapter, stage, concurrency=2), stage.gate(), threading.Event()
    first, set_aside = stage.gate(), threading.Event()
    runs: list[int] = []

    def fn(task: Any) -> None:
        runs.append(1)
        if len(runs) > 1:
            second.set()
            return
        first()
        task.done()
        gate()

    task = adapter.task(fn)
    queue.schedule(task)
    holds("TK-5", first.entered(), "a scheduled task did not run")
    queue.schedule(task)
    queue.schedule(adapter.task(lambda task: set_aside.set()))
    holds("TK-5", set_aside.wait(timing.limit), "one task that blocks held up a queue for two at once")
    holds("TK-3", len(runs) == 1, "the task ran beside itself")
    first.go.set()
    holds("TK-2", second.wait(timing.limit), "the run that was waiting for done() did not begin")
    gate.go.set()
    queue.drain(timing.limit)
    holds("TK-2", len(runs) == 2, f"two schedules, {len(runs)} runs")


@pytest.mark.clause("TK-2")
def test_done_is_for_the_function_once(adapter: TaskAdapter, stage: Stage) -> None:
    """done() from outside, on an idle task, by another task, or a second time is an error that changes nothing."""
    queue, gate, verdicts = a_queue(adapter, stage), stage.gate(), Log()
    refuses("TK-2", "done() of a task that never ran", adapter.usage_error, adapter.task(print).done)
    task = adapter.task(gate)
    queue.schedule(task)
    holds("TK-2", gate.entered(), "a scheduled task did not run")
    refuses("TK-2", "done() from another thread", adapter.usage_error, task.done)
    holds("TK-2", task.running, "a refused done() has ended the run")
    gate.go.set()
    queue.drain(timing.limit)
    refuses("TK-2", "done() after the run", adapter.usage_error, task.done)

    def twice(task: Any) -> None:
        task.done()
        verdicts.add(verdict(task.done, adapter.usage_error))

    queue.schedule(adapter.task(twice))
    queue.drain(timing.limit)
    verdicts.reached(1)  # the run is over with the first done(), so that the drain may be back before
    holds("TK-2", verdicts.entries == ["refused"], f"a second done() in one run was {verdicts.entries}")


def _settled(adapter: TaskAdapter, queue: QueueLike, task: Any, tally: Tally) -> None:
    """After a storm: nothing is pending, and the task still works."""
    queue.drain(timing.limit)
    queue.drain(timing.limit)
    holds("TK-1", not task.pending, "drained, and yet the task is pending")
    before = tally.runs
    holds("TK-1", queue.schedule(task) is True, "the task can't be scheduled any more")
    queue.drain(timing.limit)
    holds("TK-1", tally.runs == before + 1, f"one schedule was {tally.runs - before} runs")


@pytest.mark.clause("TK-1", "TK-6")
@pytest.mark.capability("any context")
@pytest.mark.parametrize("inner", ["schedule", "cancel_async", "schedule other"])
@pytest.mark.parametrize("outer", ["schedule", "cancel_async"])
@pytest.mark.parametrize("kind", KINDS)
def test_operations_may_interrupt_themselves(
    adapter: TaskAdapter, stage: Stage, kind: str, outer: str, inner: str
) -> None:
    """schedule and cancel_async, interrupted between any two bytecodes by either: no hang, no error, nothing lost."""
    queue = a_queue_of(kind, adapter, stage)
    tallies = [Tally(), Tally()]
    task, other = adapter.task(tallies[0]), adapter.task(tallies[1])
    operations: dict[str, Callable[[], object]] = {
        "schedule": lambda: queue.schedule(task),
        "cancel_async": task.cancel_async,
        "schedule other": lambda: queue.schedule(other),
    }

    def operation() -> None:
        for _ in range(3):
            operations["schedule"]()
            operations[outer]()

    calls = interrupted_everywhere(operation, operations[inner])
    holds("TK-1", calls, "the operations could not be interrupted")
    _settled(adapter, queue, task, tallies[0])
    _settled(adapter, queue, other, tallies[1])
    if inner == "schedule other":
        holds("TK-1", tallies[1].runs >= 2, "what the interruption scheduled did not run")


@pytest.mark.clause("TK-1")
@pytest.mark.capability("any context", "shared")
def test_schedule_on_the_system_queue_may_interrupt_itself(adapter: TaskAdapter, stage: Stage) -> None:
    """Task.schedule interrupted by Task.schedule at every bytecode: the last one of each is followed by a run."""
    wanted, seen = [0, 0], [0, 0]
    over = threading.Event()

    def run(which: int) -> None:
        seen[which] = wanted[which]
        if wanted == seen:
            over.set()

    tasks = [adapter.task(lambda task: run(0)), adapter.task(lambda task: run(1))]

    def schedule(which: int) -> None:
        wanted[which] += 1
        tasks[which].schedule()

    def four() -> None:
        for _ in range(4):
            schedule(0)

    calls = interrupted_everywhere(four, lambda: schedule(1))
    holds("TK-1", calls, "the operation could not be interrupted")
    over.clear()
    schedule(0)
    schedule(1)
    holds("TK-1", over.wait(timing.limit), f"scheduled {wanted} times, the last runs saw {seen}")


@pytest.mark.clause("TK-1")
@pytest.mark.capability("any context")
@pytest.mark.parametrize("kind", KINDS)
def test_schedule_may_interrupt_the_queue_s_own_threads(adapter: TaskAdapter, stage: Stage, kind: str) -> None:
    """schedule between any two bytecodes of the thread that runs the queue's tasks: no hang, nothing lost."""
    queue = a_queue_of(kind, adapter, stage)
    wanted, seen = [0], [0]

    def run(task: Any) -> None:
        seen[0] = wanted[0]

    task, errors = adapter.task(run), Log()

    def interrupt() -> None:
        wanted[0] += 1
        try:
            queue.schedule(task)
        except BaseException as error:
            errors.add(error)

    adapter.settle()
    with interrupted_workers(interrupt) as calls:
        for _ in range(50):
            interrupt()
            queue.drain(timing.limit)
            if calls() >= 4000:
                break
    for _ in range(2):
        interrupt()
        queue.drain(timing.limit)
    holds("TK-1", not errors.entries, f"schedule in an interrupted thread of the queue raised {errors.entries[:1]}")
    holds("TK-1", seen == wanted, f"scheduled {wanted[0]} times, the last run saw {seen[0]}")
    holds("TK-1", not task.pending, "drained, and yet the task is pending")
    adapter.settle()


@pytest.mark.clause("TK-1")
@pytest.mark.capability("any context")
@pytest.mark.parametrize("kind", KINDS)
def test_a_schedule_at_any_step_of_a_queue_that_goes_idle_is_a_run(
    adapter: TaskAdapter, stage: Stage, kind: str
) -> None:
    """One schedule, no other after it, between any two bytecodes of the thread that has just ended the last task."""
    queue, log = a_queue_of(kind, adapter, stage), Log()
    late = adapter.task(log.add)
    adapter.settle()
    with stepped() as steps:
        for number in range(400):
            began = threading.Event()

            def last(task: Any, number: int = number, began: threading.Event = began) -> None:
                steps.arm(number, lambda: queue.schedule(late), ident=threading.get_ident())
                began.set()

            queue.schedule(adapter.task(last))
            holds("TK-1", began.wait(timing.limit), "a scheduled task did not run")
            if not steps.was_met():
                steps.disarm()
                break  # it sleeps, after fewer bytecodes
            ran = log.reached(number + 1)
            holds("TK-1", ran, f"scheduled at step {number} of a thread that goes idle, a task did not run")
    holds("TK-1", not steps.errors, f"schedule in a thread of the queue raised {steps.errors[:1]}")
    adapter.settle()


@pytest.mark.clause("TK-2", "TK-3")
@pytest.mark.capability("any context", "concurrency")
def test_a_run_that_ends_at_any_step_of_taking_the_next_one_is_followed_by_it(
    adapter: TaskAdapter, stage: Stage
) -> None:
    """On a queue for two at once, one thread takes what the other one runs: that run ends between any two bytecodes."""
    queue = a_queue(adapter, stage, concurrency=2)
    adapter.settle()
    with stepped() as steps:
        for number in range(250):
            gate, hold, runs, tids = stage.gate(), stage.gate(), Log(), Log()

            def running(task: Any, gate: Gate = gate, runs: Log = runs, tids: Log = tids) -> None:
                tids.add(threading.get_native_id())
                runs.add(1)
                gate()

            task = adapter.task(running)

            def end(gate: Gate = gate, tids: Log = tids, task: Any = task) -> None:
                gate.go.set()
                wait_until(lambda: not task.running, timing.limit / 4)
                wait_asleep(tids.entries[:1])

            def before(task: Any, number: int = number, hold: Gate = hold, end: Callable[[], None] = end) -> None:
                hold()
                steps.arm(number, end, ident=threading.get_ident())

            queue.schedule(task)
            holds("TK-5", gate.entered(), "a scheduled task did not run")
            queue.schedule(adapter.task(before))
            holds("TK-5", hold.entered(), "one task that blocks held up a queue for two at once")
            queue.schedule(task)
            hold.go.set()
            met = steps.was_met()
            steps.disarm()
            gate.go.set()
            holds("TK-2", runs.reached(2), f"a run ended at step {number} of taking the next one, which was lost")
            queue.drain(timing.limit)
            holds("TK-2", len(runs.entries) == 2, f"two schedules were {len(runs.entries)} runs")
            if not met:
                break
    holds("TK-2", not steps.errors, f"the end of a run raised {steps.errors[:1]}")
    adapter.settle()


@pytest.mark.clause("TK-3")
@pytest.mark.capability("concurrency")
def test_tasks_run_beside_each_other_but_never_beside_themselves(adapter: TaskAdapter, stage: Stage) -> None:
    """Four at once, eight tasks scheduled by all: each of them is always alone in its function."""
    queue = a_queue(adapter, stage, concurrency=4)
    functions = [Overlaps() for _ in range(8)]
    tasks = [adapter.task(each) for each in functions]

    def body() -> None:
        for _ in range(400):
            for task in tasks:
                queue.schedule(task)

    together(stage, body, body)
    queue.drain(timing.limit)
    most = [each.most for each in functions]
    holds("TK-3", most == [1] * 8, f"so many runs of one task were under way at once: {most}")
