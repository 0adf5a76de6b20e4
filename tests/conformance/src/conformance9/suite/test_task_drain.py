"""TK-7, TK-16: drain waits for all that was before and nothing else; close ends a queue, says what it cut off."""

from __future__ import annotations

import gc
import threading
import warnings
from functools import partial
from typing import Any

import pytest

from conformance9.adapters_task import TaskAdapter
from conformance9.suite.kit import (
    Ending,
    Lingering,
    Tally,
    await_state,
    nothing_came_late,
    some_cpus,
    together,
    verdict,
)
from conformance9.suite.tasks import KINDS, a_queue, a_queue_of, a_shared
from conformance9.suite.tools import Log, Stage, holds, interrupted_at, pinned, refuses, stepped, timing

# --- TK-7: drain


@pytest.mark.clause("TK-7")
@pytest.mark.parametrize("kind", KINDS)
def test_drain_waits_for_the_one_that_runs(adapter: TaskAdapter, stage: Stage, kind: str) -> None:
    """Nothing waits, one task is in its function: drain returns after it."""
    queue = a_queue_of(kind, adapter, stage)
    for _ in range(3):
        function = Lingering()
        queue.schedule(adapter.task(function))
        holds("TK-5", function.entered(), "a scheduled task did not run")
        queue.drain(timing.limit)
        holds("TK-7", function.ended, "drain returned while a task that was scheduled before was running")


@pytest.mark.clause("TK-7")
@pytest.mark.parametrize("kind", KINDS)
def test_drain_waits_for_all_that_wait(adapter: TaskAdapter, stage: Stage, kind: str) -> None:
    """Several are in their functions, several wait, the last one lingers: drain returns after all."""
    queue = a_queue_of(kind, adapter, stage)
    for _ in range(3):
        functions = [Lingering() for _ in range(6)]
        for function in functions:
            queue.schedule(adapter.task(function))
        queue.drain(timing.limit)
        left = [number for number, function in enumerate(functions) if not function.ended]
        holds("TK-7", not left, f"drain returned before tasks {left} of 6 scheduled before were over")


@pytest.mark.clause("TK-7")
@pytest.mark.capability("percpu")
def test_drain_waits_on_every_cpu(adapter: TaskAdapter, stage: Stage) -> None:
    """One lingering task on each CPU: drain returns after all of them."""
    queue, functions = a_queue(adapter, stage, percpu=True), []
    for cpu in adapter.cpus():
        with pinned(cpu):
            for _ in range(2):
                functions.append(Lingering())
                queue.schedule(adapter.task(functions[-1]))
    queue.drain(timing.limit)
    left = sum(not function.ended for function in functions)
    holds("TK-7", not left, f"drain returned before {left} of {len(functions)} tasks on all CPUs were over")


@pytest.mark.clause("TK-7")
@pytest.mark.capability("shared")
def test_drain_of_a_shared_queue_waits_on_every_cpu(adapter: TaskAdapter, stage: Stage) -> None:
    """The same for the shared queue of a priority."""
    queue, functions = a_shared(adapter, stage, 26), []
    for cpu in adapter.cpus():
        with pinned(cpu):
            functions.append(Lingering())
            queue.schedule(adapter.task(functions[-1]))
    queue.drain(timing.limit)
    left = sum(not function.ended for function in functions)
    holds("TK-7", not left, f"drain returned before {left} of {len(functions)} tasks on all CPUs were over")


@pytest.mark.clause("TK-7")
@pytest.mark.parametrize("kind", KINDS)
def test_drain_waits_for_the_run_after_the_run(adapter: TaskAdapter, stage: Stage, kind: str) -> None:
    """A task that runs and was scheduled again, perhaps on another CPU: drain returns after the second run."""
    queue = a_queue_of(kind, adapter, stage)
    cpus = some_cpus(adapter.cpus(), 2) if kind == "percpu" else None
    for _ in range(5):
        gate, lingering, passed = stage.gate(), Lingering(), threading.Event()

        def fn(task: Any, gate: Any = gate, lingering: Lingering = lingering) -> None:
            if gate.runs:
                lingering()
            else:
                gate()

        task = adapter.task(fn)
        if cpus:
            with pinned(cpus[0]):
                queue.schedule(task)
                holds("TK-5", gate.entered(), "a scheduled task did not run")
            with pinned(cpus[1]):
                queue.schedule(task)
                queue.schedule(adapter.task(lambda task, passed=passed: passed.set()))
        else:
            queue.schedule(task)
            holds("TK-5", gate.entered(), "a scheduled task did not run")
            queue.schedule(task)
            queue.schedule(adapter.task(lambda task, passed=passed: passed.set()))
        if kind != "serial":
            holds("TK-5", passed.wait(timing.limit), "a task that blocks held up the rest of the queue")
        gate.go.set()
        queue.drain(timing.limit)
        holds("TK-7", lingering.ended, "drain returned before the second run, scheduled before, was over")


@pytest.mark.clause("TK-7")
@pytest.mark.parametrize("kind", KINDS)
def test_drain_does_not_wait_for_what_comes_later(adapter: TaskAdapter, stage: Stage, kind: str) -> None:
    """Tasks that reschedule themselves for ever keep the queue busy: several drainers all return all the same."""
    queue, stop = a_queue_of(kind, adapter, stage), threading.Event()
    stage.at_end(lambda: queue.drain(timing.limit))
    stage.at_end(stop.set)

    def again(task: Any) -> None:
        if not stop.is_set():
            queue.schedule(task)

    def drain() -> None:
        for _ in range(60):
            tallies = [Tally() for _ in range(3)]
            for tally in tallies:
                queue.schedule(adapter.task(tally))
            queue.drain(timing.limit)
            ran = sum(tally.runs for tally in tallies)
            holds("TK-7", ran == 3, f"drain returned when {ran} of 3 tasks scheduled before had run")

    for _ in range(3):
        queue.schedule(adapter.task(again))
    together(stage, drain, drain, drain)
    stop.set()


@pytest.mark.clause("TK-7")
@pytest.mark.capability("timeouts")
def test_drain_may_give_up_waiting(adapter: TaskAdapter, stage: Stage) -> None:
    """With a timeout: the error says so, nothing is lost, and a later drain works."""
    queue, gate, seen = a_queue(adapter, stage), stage.gate(), Log()
    queue.schedule(adapter.task(gate))
    holds("TK-5", gate.entered(), "a scheduled task did not run")
    for number in range(5):
        queue.schedule(adapter.task(lambda task, number=number: seen.add(number)))
        refuses("TK-7", "drain with a timeout", adapter.timeout_error, lambda: queue.drain(0.005))
    gate.go.set()
    queue.drain(timing.limit)
    holds("TK-5", seen.entries == [0, 1, 2, 3, 4], f"after drains that gave up, 0 to 4 ran as {seen.entries}")


@pytest.mark.clause("TK-7")
@pytest.mark.parametrize("kind", KINDS)
def test_drain_of_an_idle_queue_returns(adapter: TaskAdapter, stage: Stage, kind: str) -> None:
    """Fresh, and after use."""
    queue, tally = a_queue_of(kind, adapter, stage), Tally()
    for runs in range(3):
        together(stage, lambda: queue.drain(timing.limit))
        holds("TK-7", tally.runs == runs, f"drained, {tally.runs} of {runs} runs")
        queue.schedule(adapter.task(tally))
        queue.drain(timing.limit)


@pytest.mark.clause("TK-7", "TK-16")
@pytest.mark.parametrize("kind", KINDS)
def test_a_task_cannot_wait_for_its_own_queue(adapter: TaskAdapter, stage: Stage, kind: str) -> None:
    """drain and close from a task of the same queue are errors, not hangs; drain of another queue works."""
    queue, other, verdicts = a_queue_of(kind, adapter, stage), a_queue(adapter, stage, "other"), Log()

    def fn(task: Any) -> None:
        for call in (queue.drain, queue.close):
            verdicts.add(verdict(partial(call, timing.limit), adapter.usage_error))
        other.schedule(adapter.task(lambda task: verdicts.add("other ran")))
        other.drain(timing.limit)
        verdicts.add("other drained")

    queue.schedule(adapter.task(fn))
    holds("TK-7", verdicts.reached(4), f"waiting for queues from a task hangs after {verdicts.entries}")
    expected = ["refused", "refused", "other ran", "other drained"]
    holds("TK-7", verdicts.entries == expected, f"own drain, own close, drain of another: {verdicts.entries}")
    holds("TK-16", queue.schedule(adapter.task(print)) is True, "a refused close has closed the queue")


@pytest.mark.clause("TK-7")
@pytest.mark.capability("delayed")
def test_drain_does_not_wait_for_timers(adapter: TaskAdapter, stage: Stage) -> None:
    """Armed in an hour is not scheduled before."""
    queue = a_queue(adapter, stage)
    task = adapter.delayed(print)
    queue.schedule_delayed(task, 3600)
    together(stage, lambda: queue.drain(timing.limit))
    holds("TK-7", task.pending, "drain has disarmed a task")


# --- TK-16: close


@pytest.mark.clause("TK-16")
@pytest.mark.parametrize("kind", KINDS)
def test_close_completes_and_then_refuses(adapter: TaskAdapter, stage: Stage, kind: str) -> None:
    """What was scheduled has completed at return; a schedule is refused; a second close does nothing."""
    queue = a_queue_of(kind, adapter, stage)
    functions = [Lingering() for _ in range(3)]
    for function in functions:
        queue.schedule(adapter.task(function))
    cancelled = queue.close(timing.limit)
    left = sum(not function.ended for function in functions)
    holds("TK-16", not left, f"close returned before {left} of 3 tasks were over")
    holds("TK-16", cancelled == (), f"close says that it cancelled {cancelled}, but nothing was armed")
    task = adapter.task(print)
    refuses("TK-16", "schedule on a closed queue", adapter.closed_error, lambda: queue.schedule(task))
    holds("TK-16", not task.pending, "a refused schedule left the task pending")
    holds("TK-16", queue.close(timing.limit) == (), "a second close must do nothing")
    other = a_queue(adapter, stage, "other")
    holds("TK-16", other.schedule(task) is True, "a task that a closed queue refused can't go to another")


@pytest.mark.clause("TK-16")
def test_close_refuses_while_it_waits(adapter: TaskAdapter, stage: Stage) -> None:
    """From its beginning on, while it waits for what was scheduled before, close refuses new tasks."""
    queue, gate, tally = a_queue(adapter, stage), stage.gate(), Tally()
    queue.schedule(adapter.task(gate))
    holds("TK-5", gate.entered(), "a scheduled task did not run")
    queue.schedule(adapter.task(tally))
    closer = stage.thread(queue.close)

    def refused() -> bool:
        late = adapter.task(Tally())
        return verdict(lambda: queue.schedule(late), adapter.closed_error) == "refused"

    await_state("TK-16", "schedule is refused while a close waits", refused)
    holds("TK-16", closer.is_alive(), "close returned while a task ran")
    gate.go.set()
    closer.join(timing.limit)
    holds("TK-16", not closer.is_alive(), "close does not return")
    holds("TK-16", tally.runs == 1, "close lost a task that was scheduled before")


@pytest.mark.clause("TK-16")
@pytest.mark.capability("timeouts")
def test_close_may_give_up_waiting(adapter: TaskAdapter, stage: Stage) -> None:
    """With a timeout: the error says so, new tasks are refused all the same, and it goes on when called again."""
    queue, gate, tally = a_queue(adapter, stage), stage.gate(), Tally()
    queue.schedule(adapter.task(gate))
    holds("TK-5", gate.entered(), "a scheduled task did not run")
    queue.schedule(adapter.task(tally))
    refuses("TK-16", "close with a timeout", adapter.timeout_error, lambda: queue.close(0.01))
    refuses("TK-16", "schedule after a close", adapter.closed_error, lambda: queue.schedule(adapter.task(print)))
    gate.go.set()
    queue.close(timing.limit)
    holds("TK-16", tally.runs == 1, "close lost a task that was scheduled before")


@pytest.mark.clause("TK-16")
@pytest.mark.capability("delayed")
def test_close_cancels_what_is_armed_and_says_which(adapter: TaskAdapter, stage: Stage) -> None:
    """Armed tasks are returned, idle, and never run; they can be armed for another queue."""
    queue, tally = adapter.queue("closing"), Tally()
    armed = [adapter.delayed(tally) for _ in range(3)]
    for task in armed:
        queue.schedule_delayed(task, 3600)
    queue.schedule(adapter.task(tally))
    cancelled = queue.close(timing.limit)
    holds("TK-16", tally.runs == 1, f"1 task scheduled and 3 armed, {tally.runs} ran")
    holds("TK-16", set(map(id, cancelled)) == set(map(id, armed)), f"3 were armed, close says {len(cancelled)} others")
    holds("TK-16", not any(task.pending for task in armed), "cancelled by close, and yet pending")
    refuses("TK-16", "arming for a closed queue", adapter.closed_error, lambda: queue.schedule_delayed(armed[0], 1))
    other, log = a_queue(adapter, stage, "other"), Log()
    holds("TK-11", other.schedule_delayed(adapter.delayed(log.add), 0.001), "a new task was not newly armed")
    holds("TK-11", log.reached(1), "a delayed task did not run")
    holds("TK-16", other.schedule_delayed(armed[0], 0) is True, "a task that close cancelled can't be used again")


@pytest.mark.clause("TK-16")
def test_a_close_at_any_step_of_a_schedule_is_the_end(adapter: TaskAdapter, stage: Stage) -> None:
    """By another thread, between any two bytecodes of a schedule: that is refused, or has run when close returns."""
    another, seen = a_queue(adapter, stage, "another"), Log()
    another.schedule(adapter.task(seen.add))  # whose thread is at hand for what comes too late
    holds("TK-1", seen.reached(1), "a scheduled task did not run")
    endings = []
    for number in range(400):
        queue, tally = adapter.queue("closing"), Tally()
        task, ending = adapter.task(tally), Ending(partial(queue.close, timing.limit), tally)
        said: list[str] = []

        def schedule(queue: Any = queue, task: Any = task, said: list[str] = said) -> None:
            said.append(verdict(lambda: queue.schedule(task), adapter.closed_error))

        if not interrupted_at(number, schedule, ending):
            queue.close(timing.limit)
            break
        cancelled = ending.result("TK-16", f"a close at step {number} of a schedule")
        holds("TK-16", cancelled == (), f"at step {number} of a schedule, close said {cancelled!r}")
        expected = {"accepted": 1, "refused": 0}.get(said[0])
        holds("TK-16", expected == ending.runs, f"closed at step {number}, {said[0]}: {ending.runs} runs at return")
        holds("TK-16", not task.pending, f"closed at step {number}, {said[0]}: it is pending")
        endings.append(ending)
    adapter.settle()
    nothing_came_late("TK-16", endings)


@pytest.mark.clause("TK-16")
@pytest.mark.capability("delayed")
def test_a_close_at_any_step_of_a_timer_that_fires_is_the_end(adapter: TaskAdapter, stage: Stage) -> None:
    """Between any two bytecodes of the threads that see to a delayed task: it is cancelled and told, or has run."""
    endings, missed = [], 0
    with stepped() as steps:
        adapter.settle()
        for number in range(1500):
            queue, tally = adapter.queue("closing"), Tally()
            task, ending = adapter.delayed(tally), Ending(partial(queue.close, timing.limit), tally)
            steps.arm(number, ending)
            queue.schedule_delayed(task, 1e-4)
            if not ending.began.wait(timing.moment):
                steps.disarm()
                queue.close(timing.limit)
                missed += 1
                if missed == 5:
                    break  # they sleep, after fewer bytecodes
                continue  # or the timer was late
            cancelled = ending.result("TK-16", f"a close at step {number} of the threads of a timer and its queue")
            told = isinstance(cancelled, tuple) and len(cancelled) + ending.runs == 1
            holds("TK-16", told, f"at step {number} of a timer: {cancelled!r} cancelled, {ending.runs} runs at return")
            endings.append(ending)
    adapter.settle()
    nothing_came_late("TK-16", endings)


@pytest.mark.clause("TK-16")
@pytest.mark.capability("drop")
def test_a_dropped_queue_finishes_its_tasks_and_says_so(adapter: TaskAdapter, stage: Stage) -> None:
    """Dropped without close: ResourceWarning, and what is scheduled runs."""
    queue, gate, seen = adapter.queue("forgotten"), stage.gate(), Log()
    queue.schedule(adapter.task(gate))
    holds("TK-5", gate.entered(), "a scheduled task did not run")
    for number in range(5):
        queue.schedule(adapter.task(lambda task, number=number: seen.add(number)))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        del queue
        gc.collect()
    told = [str(warning.message) for warning in caught if issubclass(warning.category, ResourceWarning)]
    holds("TK-16", any("forgotten" in text for text in told), f"a dropped queue must say so by its name, said {told}")
    gate.go.set()
    holds("TK-16", seen.reached(5), f"of 5 tasks of a dropped queue {len(seen.entries)} ran")
    holds("TK-5", seen.entries == [0, 1, 2, 3, 4], f"tasks of a dropped queue ran in the order {seen.entries}")
