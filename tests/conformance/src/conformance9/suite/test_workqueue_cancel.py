"""WQ-5: cancel says whether it withdrew, and waits for the call that it could not withdraw."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from conformance9.adapters_workqueue import WorkQueueAdapter
from conformance9.suite.kit import Lingering, Tally
from conformance9.suite.tools import Log, Stage, holds, refuses, timing, wait_asleep
from conformance9.suite.works import KINDS, Payloads, a_blocked_queue, a_queue_of


@pytest.mark.clause("WQ-5")
@pytest.mark.parametrize("kind", KINDS)
def test_cancel_says_whether_it_withdrew(adapter: WorkQueueAdapter, stage: Stage, kind: str) -> None:
    """Idle: False. Pending: True, and it is not called. Finished: False. The others are not touched."""
    payloads = Payloads()
    queue = a_queue_of(kind, adapter, stage, payloads)
    works = [adapter.work(number) for number in range(4)]
    holds("WQ-5", queue.cancel(works[0]) is False, "cancel of a work that was never enqueued must say False")
    gates = [stage.gate() for _ in range(len(adapter.cpus()) if kind == "percpu" else 3 if kind == "max_active" else 1)]
    for gate, cpu in zip(gates, adapter.cpus() if kind == "percpu" else [None] * 3, strict=False):
        queue.enqueue(adapter.work(gate), cpu=cpu)
    holds("WQ-3", all(gate.entered() for gate in gates), "an enqueued work did not run")
    for work in works:
        queue.enqueue(work)
    holds("WQ-5", queue.cancel(works[1], timing.limit) is True, "cancel of a pending work must say True")
    holds("WQ-5", not works[1].pending, "cancelled, and yet pending")
    holds("WQ-5", queue.cancel(works[1], timing.limit) is False, "cancel of what was withdrawn already must say False")
    for gate in gates:
        gate.go.set()
    queue.flush(timing.limit)
    holds("WQ-5", sorted(payloads.plain()) == [0, 2, 3], f"of 0 to 3, 1 was cancelled; called were {payloads.plain()}")
    holds("WQ-5", queue.cancel(works[0], timing.limit) is False, "cancel of a work that had run must say False")
    holds("WQ-5", queue.enqueue(works[1]) is True, "a work that was cancelled can't be enqueued again")
    queue.flush(timing.limit)
    holds("WQ-5", sorted(payloads.plain()) == [0, 1, 2, 3], "enqueued again after a cancel, it was not called")


@pytest.mark.clause("WQ-5")
@pytest.mark.parametrize("kind", KINDS)
def test_cancel_waits_for_the_call(adapter: WorkQueueAdapter, stage: Stage, kind: str) -> None:
    """Of a work in its function: False, when the function has returned; pending again, it is withdrawn too."""
    payloads = Payloads()
    queue = a_queue_of(kind, adapter, stage, payloads)
    for again in (False, True):
        function, calls = Lingering(), Tally()

        def body(function: Lingering = function, calls: Tally = calls) -> None:
            calls()
            function()

        work = adapter.work(body)
        queue.enqueue(work)
        holds("WQ-3", function.entered(), "an enqueued work did not run")
        if again and kind == "ordered":
            queue.enqueue(work)
        result = queue.cancel(work, timing.limit)
        holds("WQ-5", function.ended, "cancel returned before the call was over")
        holds("WQ-5", not work.pending, "cancelled, and yet pending")
        if not again:
            holds("WQ-5", result is False, f"cancel that had to wait said {result}, not False")
        queue.flush(timing.limit)
        holds("WQ-5", calls.runs == 1, "it was called after cancel had returned")


@pytest.mark.clause("WQ-5")
@pytest.mark.capability("timeouts")
def test_cancel_may_give_up(adapter: WorkQueueAdapter, stage: Stage) -> None:
    """With a timeout: the error says so, the call goes on, and the work can be enqueued afterwards."""
    queue, _, gate = a_blocked_queue(adapter, stage)
    inside = stage.gate()
    work = adapter.work(inside)
    queue.enqueue(work)
    gate.go.set()
    holds("WQ-3", inside.entered(), "an enqueued work did not run")
    refuses("WQ-5", "cancel with a timeout", adapter.timeout_error, lambda: queue.cancel(work, 0.01))
    holds("WQ-5", queue.enqueue(work) is True, "after a cancel that gave up the work can't be enqueued")
    inside.go.set()
    queue.flush(timing.limit)
    holds("WQ-5", inside.runs == 2, f"after a cancel that gave up, two enqueues were {inside.runs} calls")


@pytest.mark.clause("WQ-5")
@pytest.mark.parametrize("kind", KINDS)
def test_each_enqueue_is_a_call_or_a_cancel(adapter: WorkQueueAdapter, stage: Stage, kind: str) -> None:
    """Four thousand times enqueue and cancel, at once or after a wait: calls and withdrawals add up."""
    tally = Tally()
    queue, work = a_queue_of(kind, adapter, stage, tally), adapter.work()
    withdrawn, tick = 0, threading.Event()
    for number in range(4000):
        before = tally.runs
        holds("WQ-3", queue.enqueue(work) is True, "enqueue of an idle work must say True")
        if number % 3 == 1:
            queue.wait(work, timing.limit)
        elif number % 50 == 2:
            tick.wait(0.0001)
        result = queue.cancel(work, timing.limit)
        withdrawn += result
        calls = tally.runs - before
        holds("WQ-5", calls == (not result), f"cancel said {result}, and the enqueue before it was {calls} calls")
    queue.flush(timing.limit)
    holds("WQ-5", tally.runs + withdrawn == 4000, f"4000 enqueues, {tally.runs} calls, {withdrawn} withdrawn")


@pytest.mark.clause("WQ-5")
@pytest.mark.parametrize("kind", KINDS)
def test_a_call_that_is_waited_for_is_the_last(adapter: WorkQueueAdapter, stage: Stage, kind: str) -> None:
    """While cancel waits for its call, a work enqueues itself: the enqueue says False, and no other call is made."""
    told, wrong = Log(), ""

    def func(work: Any, arg: Any) -> None:
        gate = work.payload
        gate()
        if gate.runs < 100:
            told.add(queue.enqueue(work))

    queue = a_queue_of(kind, adapter, stage, func)
    for _ in range(3):  # a cancel that begins after the call may withdraw another: so not each time must be right
        told.entries.clear()
        gate = stage.gate()
        work = adapter.work(gate)
        queue.enqueue(work)
        holds("WQ-3", gate.entered(), "an enqueued work did not run")
        canceller = stage.thread(lambda work=work: queue.cancel(work, 3 * timing.limit))
        wait_asleep([canceller.native_id or 0])
        gate.go.set()
        canceller.join(timing.limit)
        holds("WQ-5", not canceller.is_alive(), "cancel of a work that enqueues itself does not return")
        queue.flush(timing.limit)
        holds("WQ-5", not work.pending, "cancelled, and yet pending")
        if (gate.runs, told.entries) == (1, [False]):
            holds("WQ-5", canceller.result is False, f"cancel that had to wait said {canceller.result}, not False")
            return
        wrong = f"enqueues during a cancel said {told.entries[:3]}, and {gate.runs - 1} more calls were made"
    holds("WQ-5", False, wrong)
