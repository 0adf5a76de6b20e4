"""TK-11, TK-12: delayed tasks are never early, move and end exactly once, and there may be many of them."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from conformance9._adapters import Implementation
from conformance9.adapters_task import DelayedLike, TaskAdapter
from conformance9.suite.kit import Tally, await_state, idle_threads, together
from conformance9.suite.task_programs import outcome
from conformance9.suite.tasks import a_queue
from conformance9.suite.tools import (
    Log,
    Stage,
    holds,
    interrupted_everywhere,
    need,
    os_threads,
    os_tids,
    refuses,
    retire_threads,
    stepped,
    timing,
    wait_asleep,
    wait_until,
)

pytestmark = pytest.mark.capability("delayed")

FAR = 3600.0  # seconds; no test takes that long


def _jitter(adapter: TaskAdapter, seconds: float) -> dict[str, float]:
    """The argument for a jitter of `seconds`, none for none; an implementation may have no notion of it."""
    if not seconds:
        return {}
    need(adapter, "jitter")
    return {"jitter": seconds}


def _fired(clause: str, task: DelayedLike) -> None:
    """Wait until the task's timer has fired."""
    await_state(clause, "a timer fires", lambda: task.timed_out)


@pytest.mark.clause("TK-11")
@pytest.mark.parametrize("seconds", [-1, -0.001, float("nan"), float("-inf")])
def test_bad_delays_are_refused(adapter: TaskAdapter, stage: Stage, seconds: float) -> None:
    """A negative delay, or jitter where that is claimed, and NaN: ValueError, and nothing is armed."""
    queue, task = a_queue(adapter, stage), adapter.delayed(print)
    calls: dict[str, Callable[[], object]] = {
        "schedule_delayed": lambda: queue.schedule_delayed(task, seconds),
        "schedule": lambda: task.schedule(seconds, queue=queue),
        "reschedule": lambda: task.reschedule(seconds, queue=queue),
    }
    if "jitter" in adapter.capabilities:
        calls["schedule_delayed with this jitter"] = lambda: queue.schedule_delayed(task, 1, seconds)
        calls["reschedule with this jitter"] = lambda: task.reschedule(1, seconds, queue)
    for what, call in calls.items():
        refuses("TK-11", f"{what} of {seconds}", ValueError, call)
        holds("TK-11", not task.pending, f"a refused {what} left the task pending")
    holds("TK-11", queue.schedule_delayed(task, 0) is True, "after refusals the task can't be used")


@pytest.mark.clause("TK-11")
@pytest.mark.parametrize("jitter", [0.0, 0.01, 0.5])
def test_never_early(adapter: TaskAdapter, stage: Stage, seed: int, jitter: float) -> None:
    """Many timers with all sorts of delays, armed in any order: each runs once, and none before its time."""
    options = _jitter(adapter, jitter)
    queue, draw, log = a_queue(adapter, stage), random.Random(seed), Log()
    delays = [draw.choice([1e-6, 0.0001, 0.001, 0.005, 0.02, 0.05, 0.1]) * draw.uniform(1, 2) for _ in range(120)]
    for number, delay in enumerate(delays):
        task = adapter.delayed(lambda task, number=number: log.add((number, time.monotonic(), task.timed_out)))
        due = time.monotonic() + delay
        delays[number] = due
        holds("TK-11", queue.schedule_delayed(task, delay, **options) is True, "a new task was not newly armed")
    holds("TK-11", log.reached(len(delays)), f"of {len(delays)} armed tasks {len(log.entries)} ran")
    for number, ran, timed_out in log.entries:
        early = delays[number] - ran
        holds("TK-11", early <= 0, f"a task with jitter {jitter} ran {early * 1000:.3f} ms before its time")
        holds("TK-11", timed_out is True, "a task ran because its timer fired, but timed_out says no")
    holds("TK-11", len({number for number, _, _ in log.entries}) == len(log.entries), "one arming was two runs")


@pytest.mark.clause("TK-11")
def test_armed_one_after_the_other_never_early(adapter: TaskAdapter, stage: Stage, seed: int) -> None:
    """One timer at a time, each armed when nothing else is: not early, and not forgotten."""
    queue, draw, ran = a_queue(adapter, stage), random.Random(seed), threading.Event()
    moment = [0.0]

    def fn(task: Any) -> None:
        moment[0] = time.monotonic()
        ran.set()

    task = adapter.delayed(fn)
    for _ in range(60):
        delay = draw.choice([1e-5, 0.0005, 0.002, 0.006])
        due = time.monotonic() + delay
        holds("TK-11", queue.schedule_delayed(task, delay), "an idle task was not newly armed")
        holds("TK-11", ran.wait(timing.limit), "a delayed task did not run")
        ran.clear()
        holds("TK-11", moment[0] >= due, f"ran {(due - moment[0]) * 1000:.3f} ms before its time")
        queue.drain(timing.limit)


@pytest.mark.clause("TK-11")
def test_an_earlier_timer_is_not_held_up_by_a_later_one(adapter: TaskAdapter, stage: Stage) -> None:
    """While one is armed for in an hour, one armed for soon fires soon; also if the first is cancelled."""
    queue, log = a_queue(adapter, stage), Log()
    late, later = adapter.delayed(log.add), adapter.delayed(log.add)
    queue.schedule_delayed(late, FAR)
    queue.schedule_delayed(later, 2 * FAR)
    for number in range(20):
        soon = adapter.delayed(lambda task: log.add(1))
        queue.schedule_delayed(soon, 0.001)
        holds("TK-11", log.reached(number + 1), "a timer that is due waits for a later one")
        if number == 9:
            holds("TK-6", late.cancel() is True, "cancel of an armed task must say True")
    holds("TK-11", log.entries == [1] * 20, "a task armed for in an hour ran")
    holds("TK-11", later.pending, "a task armed for in an hour is not armed any more")
    later.cancel()


@pytest.mark.clause("TK-11")
def test_zero_means_now_without_a_timer(adapter: TaskAdapter, stage: Stage) -> None:
    """Delay 0 is put on the queue by the call itself: it runs before what is scheduled after."""
    queue, gate, seen = a_queue(adapter, stage), stage.gate(), Log()
    queue.schedule(adapter.task(gate))
    holds("TK-5", gate.entered(), "a scheduled task did not run")
    for number in range(10):
        if number % 2:
            queue.schedule(adapter.task(lambda task, number=number: seen.add(number)))
        else:
            task = adapter.delayed(lambda task, number=number: seen.add(number))
            holds("TK-11", queue.schedule_delayed(task, 0) is True, "a new task was not newly queued")
            holds("TK-1", queue.schedule_delayed(task, 0) is False, "a pending task was newly queued")
    gate.go.set()
    queue.drain(timing.limit)
    holds("TK-11", seen.entries == list(range(10)), f"with delay 0 tasks ran in the order {seen.entries}")


@pytest.mark.clause("TK-11")
def test_schedule_leaves_the_time_of_a_pending_one_alone(adapter: TaskAdapter, stage: Stage) -> None:
    """Armed for in an hour, scheduled for soon and for now: False, and it still waits when later timers have fired."""
    queue, tally, log = a_queue(adapter, stage), Tally(), Log()
    task = adapter.delayed(tally)
    holds("TK-11", queue.schedule_delayed(task, FAR) is True, "a new task was not newly armed")
    holds("TK-11", queue.schedule_delayed(task, 0.001) is False, "schedule of an armed task must say False")
    holds("TK-11", queue.schedule_delayed(task, 0) is False, "schedule of an armed task must say False")
    holds("TK-11", queue.schedule(task) is False, "schedule of an armed task must say False")
    witness = adapter.delayed(log.add)
    queue.schedule_delayed(witness, 0.03)
    holds("TK-11", log.reached(1), "a delayed task did not run")
    queue.drain(timing.limit)
    holds("TK-11", tally.runs == 0, "schedule has moved the time of an armed task")
    holds("TK-11", task.pending and not task.timed_out, "schedule has fired the timer of an armed task")
    holds("TK-6", task.cancel() is True, "cancel of an armed task must say True")
    holds("TK-6", not task.pending, "cancelled, and yet pending")


@pytest.mark.clause("TK-11")
def test_reschedule_moves_the_time_and_tells(adapter: TaskAdapter, stage: Stage) -> None:
    """Of an armed task: True, earlier or later; of an idle one: False, and it is armed."""
    queue, log = a_queue(adapter, stage), Log()
    task = adapter.delayed(lambda task: log.add(time.monotonic()))
    holds("TK-11", queue.schedule_delayed(task, FAR) is True, "a new task was not newly armed")
    due = time.monotonic() + 0.01
    holds("TK-11", task.reschedule(0.01) is True, "reschedule of an armed task must say True")
    holds("TK-11", log.reached(1), "a task that was moved to an earlier time did not run")
    holds("TK-11", log.entries[0] >= due, "a task that was moved ran before its new time")
    queue.drain(timing.limit)
    holds("TK-11", task.reschedule(0.001, queue=queue) is False, "reschedule of an idle task must say False")
    holds("TK-11", log.reached(2), "reschedule of an idle task did not arm it")
    queue.drain(timing.limit)
    holds("TK-11", task.reschedule(0, queue=queue) is False, "reschedule of an idle task must say False")
    holds("TK-11", log.reached(3), "reschedule of an idle task to now did not schedule it")
    queue.drain(timing.limit)
    queue.schedule_delayed(task, FAR)
    holds("TK-11", task.reschedule(0) is True, "reschedule of an armed task must say True")
    holds("TK-11", log.reached(4), "a task that was moved to now did not run")
    queue.drain(timing.limit)
    holds("TK-11", len(log.entries) == 4, f"4 armings were {len(log.entries)} runs")
    for _ in range(20):  # until the machine is fast enough to move it in time
        before = len(log.entries)
        queue.schedule_delayed(task, 0.05)
        moved = task.reschedule(FAR, queue=queue)
        witness = adapter.delayed(lambda task: log.add("witness"))
        queue.schedule_delayed(witness, 0.1)
        await_state("TK-11", "a timer fires", lambda witness=witness: witness.timed_out)
        queue.drain(timing.limit)
        ran = len(log.entries) - before - 1
        holds("TK-11", ran == (0 if moved else 1), f"reschedule to later said {moved}, and the old time was {ran} runs")
        holds("TK-6", task.cancel() is True, "cancel of an armed task must say True")
        if moved:
            break


@pytest.mark.clause("TK-11")
def test_reschedule_takes_back_what_has_fired_and_not_begun(adapter: TaskAdapter, stage: Stage) -> None:
    """The timer has fired, the task waits on its queue: it is pending, and is moved back into the timer."""
    queue, gate, tally = a_queue(adapter, stage), stage.gate(), Tally()
    queue.schedule(adapter.task(gate))
    holds("TK-5", gate.entered(), "a scheduled task did not run")
    task = adapter.delayed(tally)
    queue.schedule_delayed(task, 0.001)
    _fired("TK-11", task)
    holds("TK-11", task.pending, "fired, not begun, and yet not pending")
    holds("TK-11", queue.schedule_delayed(task, 0.001) is False, "schedule of a pending task must say False")
    holds("TK-11", task.reschedule(FAR) is True, "reschedule of a task that waits on its queue must say True")
    holds("TK-11", not task.timed_out, "armed anew, and yet timed_out")
    gate.go.set()
    queue.drain(timing.limit)
    holds("TK-11", tally.runs == 0, "a task that was moved to a later time ran at the old one")
    holds("TK-11", task.reschedule(0.001) is True, "reschedule of an armed task must say True")
    _fired("TK-11", task)
    await_state("TK-11", "a task that was moved runs", lambda: tally.runs)
    queue.drain(timing.limit)
    holds("TK-11", tally.runs == 1, f"moved twice, it ran {tally.runs} times")


@pytest.mark.clause("TK-11")
def test_reschedule_during_the_run_is_another_run(adapter: TaskAdapter, stage: Stage) -> None:
    """From outside and from inside: the task is not pending while it runs, and runs once more."""
    queue, gate = a_queue(adapter, stage), stage.gate()
    task = adapter.delayed(gate)
    queue.schedule_delayed(task, 0.001)
    holds("TK-11", gate.entered(), "a delayed task did not run")
    holds("TK-11", task.reschedule(0.001, queue=queue) is False, "a running task is not pending: reschedule says False")
    holds("TK-11", task.reschedule(0.002, queue=queue) is True, "reschedule of a pending task must say True")
    gate.go.set()
    await_state("TK-11", "the second run", lambda: gate.runs >= 2)
    await_state("TK-11", "the end", lambda: not task.pending)
    queue.drain(timing.limit)
    holds("TK-11", gate.runs == 2, f"armed before and moved during a run, it ran {gate.runs} times")
    left, log = [5], Log()

    def again(task: Any) -> None:
        left[0] -= 1
        if left[0]:
            queue.schedule_delayed(task, 0.001)
        else:
            log.add(1)

    queue.schedule_delayed(adapter.delayed(again), 0.001)
    holds("TK-11", log.reached(1), f"a task that arms itself stopped with {left[0]} runs to go")


@pytest.mark.clause("TK-11", "TK-6")
@pytest.mark.parametrize("how", ["cancel", "cancel_async"])
def test_between_expiry_and_run_cancel_withdraws(adapter: TaskAdapter, stage: Stage, how: str) -> None:
    """Armed, or fired and waiting on its queue: cancel says True and it never runs; then it can be armed again."""
    queue, gate, tally = a_queue(adapter, stage), stage.gate(), Tally()
    armed, fired = adapter.delayed(tally), adapter.delayed(tally)
    queue.schedule(adapter.task(gate))
    holds("TK-5", gate.entered(), "a scheduled task did not run")
    queue.schedule_delayed(armed, FAR)
    queue.schedule_delayed(fired, 0.001)
    _fired("TK-11", fired)
    for what, task in (("armed", armed), ("fired", fired)):
        # On its way from the timer to its queue it may be said to begin right now; so more than once, if need be.
        result = task.cancel(timeout=timing.limit) if how == "cancel" else wait_until(task.cancel_async)
        holds("TK-11", result is True, f"{how} of a task that has {what} and not begun said {result}, not True")
        holds("TK-6", not task.pending, "cancelled, and yet pending")
    gate.go.set()
    queue.drain(timing.limit)
    holds("TK-11", tally.runs == 0, "cancelled, and yet it ran")
    for task in (armed, fired):
        holds("TK-11", queue.schedule_delayed(task, 0.001) is True, "a task that was cancelled can't be armed again")
    await_state("TK-11", "tasks armed after a cancel run", lambda: tally.runs == 2)


@pytest.mark.clause("TK-11", "TK-6")
def test_expiry_cancel_and_reschedule_lose_and_double_nothing(adapter: TaskAdapter, stage: Stage, seed: int) -> None:
    """Two thousand timers firing while others cancel and move them: every arming is one run or one cancel."""
    queue, draw = a_queue(adapter, stage), random.Random(seed)

    class Counted:
        def __init__(self) -> None:
            self.runs, self.allowed, self.final = 0, 1, -1
            self.task = adapter.delayed(self.run)

        def run(self, task: Any) -> None:
            self.runs += 1

    timers = [Counted() for _ in range(2000)]
    for each in timers:
        holds("TK-11", queue.schedule_delayed(each.task, draw.uniform(0.0005, 0.02)), "not newly armed")

    def move() -> None:
        for each in timers[::3]:
            each.allowed += not each.task.reschedule(0.002, queue=queue)

    def cancel() -> None:
        for each in timers[1::3]:
            if each.task.cancel_async():
                each.final = each.runs

    def wait_out() -> None:
        for each in timers[2::6]:
            each.task.cancel(timeout=timing.limit)
            each.final = each.runs

    together(stage, move, cancel, wait_out)
    await_state("TK-11", "all timers fire", lambda: not any(each.task.pending for each in timers))
    queue.drain(timing.limit)
    for each in timers:
        holds("TK-11", each.runs <= each.allowed, f"{each.allowed} armings of one task were {each.runs} runs")
        if each.final >= 0:
            holds(
                "TK-6",
                each.runs == each.final,
                "it ran after the cancel had said that it is neither pending nor running",
            )
        else:
            holds("TK-11", each.runs == each.allowed, f"{each.allowed} armings of one task were {each.runs} runs")


@pytest.mark.clause("TK-11", "TK-12")
@pytest.mark.capability("any context")
def test_one_armed_at_any_step_of_the_timer_fires(adapter: TaskAdapter, stage: Stage) -> None:
    """Armed between any two bytecodes of the timer's thread, which fires its last task and goes idle; no other after.

    The queue is blocked, so that the timer's thread is the only one that does anything.
    """
    queue, gate = a_queue(adapter, stage), stage.gate()
    adapter.settle()
    with stepped() as steps:
        queue.schedule(adapter.task(gate))
        holds("TK-5", gate.entered(), "a scheduled task did not run")
        for number in range(1500):
            last, late = adapter.delayed(print), adapter.delayed(print)
            steps.arm(number, partial(queue.schedule_delayed, late, 1e-4))
            queue.schedule_delayed(last, 1e-4)
            _fired("TK-11", last)
            if not steps.was_met():
                steps.disarm()
                break  # it sleeps, after fewer bytecodes
            fires = wait_until(lambda late=late: late.timed_out)
            holds("TK-11", fires, f"armed at step {number} of the timer's thread, a task did not fire")
            for task in (last, late):
                holds("TK-11", task.cancel(timeout=timing.limit) is True, "cancel of what has fired must say True")
        gate.go.set()
    holds("TK-11", not steps.errors, f"arming on the timer's thread raised {steps.errors[:1]}")
    adapter.settle()


@pytest.mark.clause("TK-11")
@pytest.mark.parametrize("jitter", [0.0, 0.05])
def test_hardly_late(adapter: TaskAdapter, stage: Stage, jitter: float) -> None:
    """Of up to ten tasks, armed one after the other, one runs less than a quarter of a second after its jitter."""
    options = _jitter(adapter, jitter)
    queue, log = a_queue(adapter, stage), Log()
    late = []
    for number in range(10):  # until the machine is not too loaded to run one in time
        due = time.monotonic() + 0.002
        queue.schedule_delayed(adapter.delayed(lambda task: log.add(time.monotonic())), 0.002, **options)
        holds("TK-11", log.reached(number + 1), "a delayed task did not run")
        late.append(log.entries[-1] - due - jitter)
        if late[-1] < 0.25:
            return
    holds("TK-11", False, f"ten of ten tasks with jitter {jitter} were late, by {min(late):.3f} s at least")


@pytest.mark.clause("TK-11")
@pytest.mark.capability("jitter")
def test_jitter_coalesces_wake_ups(adapter: TaskAdapter, stage: Stage) -> None:
    """Fifty timers, 4 ms apart, that may each be 400 ms late, fire in a few groups and not each by itself.

    Of a group that fires together, only one can be less than 4 ms after its own time. A slow machine makes
    everything later, so it can't raise a false alarm.
    """
    queue, log, spacing, count = a_queue(adapter, stage), Log(), 0.004 * timing.scale, 50
    dues: dict[int, float] = {}
    for number in range(count):
        task = adapter.delayed(lambda task, number=number: log.add((number, time.monotonic())))
        delay = 0.1 * timing.scale + number * spacing
        dues[number] = time.monotonic() + delay
        queue.schedule_delayed(task, delay, 100 * spacing)
    holds("TK-11", log.reached(count), f"of {count} armed tasks {len(log.entries)} ran")
    own = sum(ran - dues[number] < spacing for number, ran in log.entries)
    holds("TK-11", own <= 10, f"{own} of {count} timers with much jitter fired each at its own time")


@pytest.mark.clause("TK-11")
@pytest.mark.capability("any context")
@pytest.mark.parametrize("inner", ["schedule", "reschedule", "cancel_async", "other"])
@pytest.mark.parametrize("outer", ["schedule", "reschedule", "cancel_async"])
def test_timer_operations_may_interrupt_themselves(adapter: TaskAdapter, stage: Stage, outer: str, inner: str) -> None:
    """Arming, moving and cancelling, interrupted between any two bytecodes by each other: no hang, nothing lost."""
    queue, tally = a_queue(adapter, stage), Tally()
    task, other = adapter.delayed(tally), adapter.delayed(tally)
    operations: dict[str, Callable[[], object]] = {
        "schedule": lambda: queue.schedule_delayed(task, FAR),
        "reschedule": lambda: task.reschedule(FAR, queue=queue),
        "cancel_async": task.cancel_async,
        "other": lambda: other.reschedule(FAR, queue=queue),
    }

    def operation() -> None:
        queue.schedule_delayed(task, FAR)
        operations[outer]()

    holds("TK-11", interrupted_everywhere(operation, operations[inner]), "the operation could not be interrupted")
    for each in (task, other):
        each.reschedule(0.001, queue=queue)
    await_state("TK-11", "moved after the storm, both run", lambda: tally.runs >= 2)
    await_state("TK-11", "after the storm nothing is pending", lambda: not (task.pending or other.pending))
    queue.drain(timing.limit)
    holds("TK-11", tally.runs == 2, f"two tasks, armed for in an hour and moved to now once, ran {tally.runs} times")


@pytest.mark.clause("TK-12")
def test_nothing_armed_no_thread(adapter: TaskAdapter, stage: Stage) -> None:
    """After the last timer was cancelled, and after the last one fired, the timer's thread leaves."""
    before, queue, tally = idle_threads(adapter), a_queue(adapter, stage), Tally()
    tasks = [adapter.delayed(tally) for _ in range(10)]
    for task in tasks:
        queue.schedule_delayed(task, FAR)
    for task in tasks:
        holds("TK-6", task.cancel() is True, "cancel of an armed task must say True")
    after = retire_threads(adapter, before)
    holds("TK-12", after <= before, f"all timers are cancelled, {after - before} threads are left")
    known, soon = os_tids(), adapter.delayed(print)
    for task in tasks:
        queue.schedule_delayed(task, FAR)
    queue.schedule_delayed(soon, 0.001)
    _fired("TK-12", soon)
    wait_asleep(os_tids() - known)  # now the timer's thread sleeps for an hour, if nobody wakes it
    for task in tasks:
        holds("TK-6", task.cancel() is True, "cancel of an armed task must say True")
    after = retire_threads(adapter, before)
    holds("TK-12", after <= before, f"cancelled while the timer slept for them, {after - before} threads are left")
    for task in tasks:
        queue.schedule_delayed(task, 0.001)
    await_state("TK-11", "timers fire", lambda: tally.runs == 10)
    after = retire_threads(adapter, before)
    holds("TK-12", after <= before, f"all timers have fired, {after - before} threads are left")


def _armed_at_once(adapter: TaskAdapter, stage: Stage, count: int) -> None:
    queue, tally = a_queue(adapter, stage), Tally()
    threads = os_threads()
    tasks = [adapter.delayed(tally) for _ in range(count)]
    for number, task in enumerate(tasks):
        queue.schedule_delayed(task, FAR + number * 0.001)
    # One for the timer, and helpers that come and go; not one for each.
    holds("TK-12", os_threads() <= threads + 8, f"{count} armed tasks own {os_threads() - threads} threads")
    soon, log = adapter.delayed(lambda task: None), Log()
    queue.schedule_delayed(soon, 0.001)
    queue.schedule_delayed(adapter.delayed(log.add), 0.002)
    holds("TK-12", log.reached(1), f"beside {count} armed tasks one that is due did not run")
    for task in tasks[:: max(1, count // 1000)]:
        holds("TK-11", task.reschedule(0.001) is True, "reschedule of an armed task must say True")
    moved = len(tasks[:: max(1, count // 1000)])
    await_state("TK-12", f"{moved} of {count} armed tasks, moved to now, run", lambda: tally.runs == moved)
    cancelled = sum(task.pending and task.cancel_async() for task in tasks)
    holds("TK-12", cancelled == count - moved, f"of {count} armed tasks {moved} ran and {cancelled} were cancelled")
    queue.drain(timing.limit)
    holds("TK-12", tally.runs == moved, "cancelled, and yet they ran")


@pytest.mark.clause("TK-12")
def test_many_armed_tasks(adapter: TaskAdapter, stage: Stage) -> None:
    """Thirty thousand armed: one that is due runs, some are moved, the others cancelled; no thread for each."""
    _armed_at_once(adapter, stage, 30_000)


@pytest.mark.thorough
@pytest.mark.clause("TK-12")
def test_a_million_armed_tasks(adapter: TaskAdapter, stage: Stage) -> None:
    """The same with a million."""
    _armed_at_once(adapter, stage, 1_000_000)


@pytest.mark.clause("TK-12", "TK-9")
def test_nothing_is_kept_of_what_was_cancelled(adapter: TaskAdapter, implementation: Implementation) -> None:
    """Beside one that stays armed, a thousand are armed and cancelled forty times: nothing piles up.

    In a process of its own, where there never were more: how much may be left goes by how much there was.
    """
    lines = outcome("TK-12", implementation, "cancelled")
    holds("TK-12", lines == ["few are left"], f"of 40 000 times that a task was armed and cancelled {lines}")


@pytest.mark.clause("TK-12")
def test_arming_does_not_get_slow(adapter: TaskAdapter, stage: Stage) -> None:
    """To arm and cancel a hundred beside 40 000 armed ones takes nothing like 40 times as long as beside 1000."""
    queue = a_queue(adapter, stage)

    def best() -> float:
        times = []
        for _ in range(12):
            tasks = [adapter.delayed(print) for _ in range(100)]
            start = time.perf_counter()
            for number, task in enumerate(tasks):
                queue.schedule_delayed(task, FAR / 2 + number)
            for task in tasks:
                task.cancel_async()
            times.append(time.perf_counter() - start)
        return min(times)

    armed: list[DelayedLike] = []
    measured = []
    for count in (1000, 40_000):
        while len(armed) < count:
            armed.append(adapter.delayed(print))
            queue.schedule_delayed(armed[-1], FAR + len(armed))
        measured.append(best())
    for task in armed:
        task.cancel_async()
    ratio = measured[1] / measured[0]
    holds("TK-12", ratio < 15, f"with 40 times as many armed, arming and cancelling takes {ratio:.0f} times as long")
