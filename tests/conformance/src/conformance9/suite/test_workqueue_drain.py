"""WQ-6: flush, drain and destroy end when they must, and not before."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from conformance9.adapters_workqueue import WorkQueueAdapter
from conformance9.suite.kit import Ending, Lingering, Tally, await_state, nothing_came_late, together, verdict
from conformance9.suite.tools import Log, Stage, holds, interrupted_at, need, refuses, timing, wait_asleep
from conformance9.suite.works import KINDS, Payloads, a_blocked_queue, a_queue, a_queue_of


@pytest.mark.clause("WQ-6")
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("how", ["flush", "drain"])
def test_flush_and_drain_wait_for_all_before(adapter: WorkQueueAdapter, stage: Stage, kind: str, how: str) -> None:
    """One in the function, several waiting, the last one lingering; and only one in the function."""
    queue = a_queue_of(kind, adapter, stage, Payloads())
    for count in (1, 6):
        functions = [Lingering() for _ in range(count)]
        for number, function in enumerate(functions):
            cpu = adapter.cpus()[number % len(adapter.cpus())] if kind == "percpu" else None
            queue.enqueue(adapter.work(function), cpu=cpu)
        holds("WQ-3", functions[0].entered(), "an enqueued work did not run")
        getattr(queue, how)(timing.limit)
        left = sum(not function.ended for function in functions)
        holds("WQ-6", not left, f"{how} returned before {left} of {count} works enqueued before were over")
    together(stage, lambda: getattr(queue, how)(timing.limit))


@pytest.mark.clause("WQ-6")
@pytest.mark.parametrize("kind", KINDS)
def test_flush_does_not_wait_for_what_comes_later(adapter: WorkQueueAdapter, stage: Stage, kind: str) -> None:
    """Works that are enqueued again for ever: flushes beside each other return, each with its own works done."""
    stop = threading.Event()

    def func(work: Any, arg: Any) -> None:
        if work.payload is not None:
            work.payload()
        elif not stop.is_set():
            queue.enqueue(work)

    queue = a_queue_of(kind, adapter, stage, func)
    stage.at_end(stop.set)
    for _ in range(3):
        queue.enqueue(adapter.work())

    def flush() -> None:
        for _ in range(40):
            tally = Tally()
            for _ in range(3):
                queue.enqueue(adapter.work(tally))
            queue.flush(timing.limit)
            holds("WQ-6", tally.runs == 3, f"flush returned when {tally.runs} of 3 works enqueued before were over")

    together(stage, flush, flush, flush)
    stop.set()


@pytest.mark.clause("WQ-6")
@pytest.mark.capability("local")
@pytest.mark.parametrize("kind", KINDS)
def test_drain_waits_until_the_queue_is_empty(adapter: WorkQueueAdapter, stage: Stage, kind: str) -> None:
    """Works that enqueue others, thirty deep: drain returns after the last one."""
    tally = Tally()

    def func(work: Any, arg: Any) -> None:
        if work.payload:
            queue.enqueue(adapter.work(work.payload - 1))
        tally()

    queue = a_queue_of(kind, adapter, stage, func)
    for _ in range(5):
        before = tally.runs
        queue.enqueue(adapter.work(29))
        queue.drain(timing.limit)
        made = tally.runs - before
        holds("WQ-6", made == 30, f"drain returned after {made} of 30 calls that follow from each other")


@pytest.mark.clause("WQ-6")
@pytest.mark.capability("local")
@pytest.mark.parametrize("kind", KINDS)
def test_drain_waits_for_what_is_enqueued_from_inside_meanwhile(
    adapter: WorkQueueAdapter, stage: Stage, kind: str
) -> None:
    """While drain waits for a call, that enqueues another one, which lingers: drain returns after it."""
    function, gate = Lingering(), stage.gate()

    def func(work: Any, arg: Any) -> None:
        work.payload()
        if work.payload is gate:
            queue.enqueue(adapter.work(function))

    queue = a_queue_of(kind, adapter, stage, func)
    queue.enqueue(adapter.work(gate))
    holds("WQ-3", gate.entered(), "an enqueued work did not run")

    def drain() -> bool:
        queue.drain(3 * timing.limit)
        return function.ended

    drainer = stage.thread(drain)
    wait_asleep([drainer.native_id or 0])  # if it does not wait by then, the test only misses
    gate.go.set()
    drainer.join(timing.limit)
    holds("WQ-6", not drainer.is_alive(), "drain does not return")
    holds("WQ-6", drainer.result is True, "drain returned before what the function enqueued meanwhile was over")


def _refused(adapter: WorkQueueAdapter, queue: Any) -> bool:
    """Whether an enqueue is an error."""
    try:
        queue.enqueue(adapter.work("early"))
    except adapter.usage_error:
        return True
    return False


@pytest.mark.clause("WQ-6")
@pytest.mark.capability("timeouts")
def test_a_drain_that_gives_up_lets_nobody_into_another_one(adapter: WorkQueueAdapter, stage: Stage) -> None:
    """Two drains under way, one runs out of time: from outside enqueue is still an error, until the other one ends."""
    queue, _, gate = a_blocked_queue(adapter, stage)
    drainer = stage.thread(lambda: queue.drain(3 * timing.limit))
    await_state("WQ-6", "enqueues from outside are refused while the queue drains", lambda: _refused(adapter, queue))
    refuses("WQ-6", "a second drain with a timeout", adapter.timeout_error, lambda: queue.drain(0.01))
    holds(
        "WQ-6",
        _refused(adapter, queue),
        "after a drain that gave up, beside one that goes on, enqueue from outside said True",
    )
    gate.go.set()
    drainer.join(timing.limit)
    holds("WQ-6", not drainer.is_alive(), "drain does not return")
    holds("WQ-6", not _refused(adapter, queue), "after the last drain, enqueue from outside is refused")


@pytest.mark.clause("WQ-6")
@pytest.mark.parametrize("kind", KINDS)
def test_drain_lets_nobody_in_from_outside(adapter: WorkQueueAdapter, stage: Stage, kind: str) -> None:
    """While it drains: from outside an error that changes nothing, from the function True; afterwards all is well."""
    told, gate, local = Log(), stage.gate(), "local" in adapter.capabilities

    def func(work: Any, arg: Any) -> None:
        if work.payload == "gate":
            gate()
            if local:
                told.add(queue.enqueue(inside))

    queue = a_queue_of(kind, adapter, stage, func)
    inside, outside = adapter.work("inside"), adapter.work("outside")
    queue.enqueue(adapter.work("gate"))
    holds("WQ-3", gate.entered(), "an enqueued work did not run")
    drainer = stage.thread(lambda: queue.drain(timing.limit))
    await_state("WQ-6", "enqueues from outside are refused while the queue drains", lambda: _refused(adapter, queue))
    refuses("WQ-6", "enqueue from outside during a drain", adapter.usage_error, lambda: queue.enqueue(outside))
    holds("WQ-6", not outside.pending, "a refused enqueue left the work pending")
    holds("WQ-6", drainer.is_alive(), "drain returned before the queue was empty")
    gate.go.set()
    drainer.join(timing.limit)
    holds("WQ-6", not drainer.is_alive(), "drain does not return")
    holds("WQ-6", drainer.failure is None, f"drain raised {drainer.failure!r}")
    holds("WQ-6", told.entries == [True] * local, f"enqueue from the function during a drain said {told.entries}")
    holds("WQ-6", not inside.pending, "drain returned before what the function enqueued had been called")
    holds("WQ-6", queue.enqueue(outside) is True, "after the drain, enqueue must say True")


@pytest.mark.clause("WQ-6")
@pytest.mark.parametrize("how", ["flush", "drain"])
@pytest.mark.capability("timeouts")
def test_flush_and_drain_may_give_up(adapter: WorkQueueAdapter, stage: Stage, how: str) -> None:
    """With a timeout: the error says so, the queue takes works again, and nothing is lost."""
    queue, payloads, gate = a_blocked_queue(adapter, stage)
    queue.enqueue(adapter.work(1))
    refuses("WQ-6", f"{how} with a timeout", adapter.timeout_error, lambda: getattr(queue, how)(0.01))
    holds("WQ-6", queue.enqueue(adapter.work(2)) is True, f"after a {how} that gave up, enqueue must say True")
    gate.go.set()
    queue.flush(timing.limit)
    holds("WQ-6", payloads.plain() == [1, 2], f"after a {how} that gave up, calls were {payloads.plain()}")


@pytest.mark.clause("WQ-6")
@pytest.mark.capability("local")
@pytest.mark.parametrize("kind", KINDS)
def test_the_function_cannot_wait_for_its_own_queue(adapter: WorkQueueAdapter, stage: Stage, kind: str) -> None:
    """flush, drain and destroy from the queue's own function are errors, not hangs; of another queue they work."""
    verdicts = Log()

    def func(work: Any, arg: Any) -> None:
        calls: list[Callable[[], object]] = [
            lambda: queue.flush(timing.limit),
            lambda: queue.drain(timing.limit),
            queue.destroy,
        ]
        for call in calls:
            verdicts.add(verdict(call, adapter.usage_error))
        other.enqueue(adapter.work())
        other.flush(timing.limit)
        verdicts.add("flushed")

    other = a_queue(adapter, stage, lambda work, arg: verdicts.add("other"), "other")
    queue = a_queue_of(kind, adapter, stage, func)
    queue.enqueue(adapter.work())
    holds("WQ-6", verdicts.reached(5), f"waiting for queues from a function hangs after {verdicts.entries}")
    expected = ["refused", "refused", "refused", "other", "flushed"]
    holds("WQ-6", verdicts.entries == expected, f"own flush, drain, destroy, flush of another: {verdicts.entries}")


@pytest.mark.clause("WQ-6")
def test_destroy_is_refused_with_works_pending(adapter: WorkQueueAdapter, stage: Stage) -> None:
    """An error that changes nothing: the pending works are called, and enqueue goes on."""
    queue, payloads, gate = a_blocked_queue(adapter, stage)
    queue.enqueue(adapter.work(1))
    refuses("WQ-6", "destroy with a work pending", adapter.usage_error, queue.destroy)
    holds("WQ-6", queue.enqueue(adapter.work(2)) is True, "a refused destroy has closed the queue")
    gate.go.set()
    queue.flush(timing.limit)
    holds("WQ-6", payloads.plain() == [1, 2], f"after a refused destroy, calls were {payloads.plain()}")


@pytest.mark.clause("WQ-6")
@pytest.mark.parametrize("kind", KINDS)
def test_destroy_waits_for_the_call_and_is_the_end(adapter: WorkQueueAdapter, stage: Stage, kind: str) -> None:
    """With a work in the function: it returns after that; then enqueue is an error, another destroy one or nothing."""
    options: dict[str, Any] = {}
    if kind != "ordered":
        need(adapter, kind)
        options = {"percpu": True} if kind == "percpu" else {"max_active": 3}
    queue, function = adapter.queue("ending", Payloads(), **options), Lingering()
    queue.enqueue(adapter.work(function))
    holds("WQ-3", function.entered(), "an enqueued work did not run")
    cancelled = queue.destroy()
    holds("WQ-6", function.ended, "destroy returned before the call was over")
    holds("WQ-7", cancelled == (), f"destroy says that it cancelled {cancelled}, but nothing was delayed")
    work = adapter.work()
    refuses("WQ-6", "enqueue after destroy", adapter.usage_error, lambda: queue.enqueue(work))
    holds("WQ-6", not work.pending, "a refused enqueue left the work pending")
    said = verdict(queue.destroy, adapter.usage_error)
    holds("WQ-6", said in ("refused", "accepted"), f"a second destroy raised {said}")
    tally = Tally()
    other = a_queue(adapter, stage, tally, "other")
    holds("WQ-6", other.enqueue(work) is True, "a work that a destroyed queue refused can't go to another")
    other.flush(timing.limit)
    holds("WQ-6", tally.runs == 1, "a work that a destroyed queue refused did not run on another")


@pytest.mark.clause("WQ-6")
def test_a_destroy_at_any_step_of_an_enqueue_is_the_end(adapter: WorkQueueAdapter, stage: Stage) -> None:
    """By another thread, between any two bytecodes: the one or the other is refused, or the call was over by then."""
    another = a_queue(adapter, stage, Tally(), "another")
    another.enqueue(adapter.work())  # whose thread is at hand for what comes too late
    another.drain(timing.limit)
    endings = []
    for number in range(400):
        tally = Tally()
        queue, work = adapter.queue("ending", tally), adapter.work()
        ending = Ending(partial(verdict, queue.destroy, adapter.usage_error), tally)
        said: list[str] = []

        def enqueue(queue: Any = queue, work: Any = work, said: list[str] = said) -> None:
            said.append(verdict(lambda: queue.enqueue(work), adapter.usage_error))

        if not interrupted_at(number, enqueue, ending):
            queue.drain(timing.limit)
            queue.destroy()
            break
        destroyed = ending.result("WQ-6", f"a destroy at step {number} of an enqueue")
        if destroyed == "refused":
            queue.drain(timing.limit)
            queue.destroy()
            ending.runs = tally.runs
        else:
            holds("WQ-6", destroyed == "accepted", f"at step {number} of an enqueue, destroy raised {destroyed}")
        expected = {"accepted": 1, "refused": 0}.get(said[0])
        holds("WQ-6", expected == ending.runs, f"destroyed at step {number}, {said[0]}: {ending.runs} calls at return")
        holds("WQ-6", not work.pending, f"destroyed at step {number}, {said[0]}: it is pending")
        endings.append(ending)
    adapter.settle()
    nothing_came_late("WQ-6", endings)
