"""WQ-7: delayed works are never early, are moved and cancelled exactly, and nobody but their waiters waits for them."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import Any

import pytest

from conformance9.adapters_workqueue import WorkQueueAdapter
from conformance9.suite.kit import Tally, await_state, together
from conformance9.suite.tools import Log, Stage, holds, interrupted_everywhere, need, refuses, timing
from conformance9.suite.works import KINDS, Payloads, a_blocked_queue, a_queue, a_queue_of

pytestmark = [pytest.mark.clause("WQ-7"), pytest.mark.capability("delayed")]

FAR = 3600.0  # seconds; no test takes that long


@pytest.mark.parametrize("jitter", [0.0, 0.02])
@pytest.mark.parametrize("kind", KINDS)
def test_never_early(adapter: WorkQueueAdapter, stage: Stage, seed: int, kind: str, jitter: float) -> None:
    """Many works with all sorts of delays: each is called once, and none before its time."""
    options: dict[str, Any] = {"jitter": jitter} if jitter else {}
    need(adapter, *options)
    draw, log = random.Random(seed), Log()
    queue = a_queue_of(kind, adapter, stage, lambda work, arg: log.add((work.payload, time.monotonic())))
    dues = []
    for number in range(80):
        delay = draw.choice([0.0, 1e-6, 0.0005, 0.003, 0.02, 0.05]) * draw.uniform(1, 2)
        dues.append(time.monotonic() + delay)
        holds("WQ-7", queue.enqueue_delayed(adapter.work(number), delay, **options) is True, "must say True")
    holds("WQ-7", log.reached(80), f"of 80 delayed works {len(log.entries)} were called")
    queue.flush(timing.limit)
    for number, moment in log.entries:
        early = dues[number] - moment
        holds("WQ-7", early <= 0, f"a work with jitter {jitter} was called {early * 1000:.3f} ms before its time")
    holds("WQ-7", len(log.entries) == 80, f"80 delayed works were {len(log.entries)} calls")


@pytest.mark.parametrize("seconds", [-1, float("nan")])
def test_bad_delays_are_refused(adapter: WorkQueueAdapter, stage: Stage, seconds: float) -> None:
    """Negative, NaN: ValueError, and nothing is armed or moved."""
    tally = Tally()
    queue, work = a_queue(adapter, stage, tally), adapter.work()
    refuses("WQ-7", f"a delay of {seconds}", ValueError, lambda: queue.enqueue_delayed(work, seconds))
    refuses("WQ-7", f"modify to {seconds}", ValueError, lambda: queue.modify(work, seconds))
    holds("WQ-7", not work.pending, "a refused delay left the work pending")
    queue.enqueue_delayed(work, FAR)
    refuses("WQ-7", f"modify to {seconds}", ValueError, lambda: queue.modify(work, seconds))
    holds("WQ-7", work.pending, "a refused modify has withdrawn the work")
    holds("WQ-5", queue.cancel(work) is True, "cancel of a delayed work must say True")
    holds("WQ-7", tally.runs == 0, "a work delayed for an hour was called")


def test_zero_is_enqueue(adapter: WorkQueueAdapter, stage: Stage) -> None:
    """Delay 0 takes its place in the queue in the call itself."""
    queue, payloads, gate = a_blocked_queue(adapter, stage)
    for number in range(10):
        if number % 2:
            queue.enqueue(adapter.work(number))
        else:
            queue.enqueue_delayed(adapter.work(number), 0)
    gate.go.set()
    queue.flush(timing.limit)
    holds("WQ-7", payloads.plain() == list(range(10)), f"with delay 0 works ran in the order {payloads.plain()}")


def test_flush_and_drain_do_not_wait_for_timers(adapter: WorkQueueAdapter, stage: Stage) -> None:
    """With a work delayed for an hour flush returns, and the work stays armed."""
    tally = Tally()
    queue, work = a_queue(adapter, stage, tally), adapter.work()
    queue.enqueue_delayed(work, FAR)
    queue.enqueue(adapter.work())
    together(stage, lambda: queue.flush(timing.limit))
    holds("WQ-7", tally.runs == 1, f"one work enqueued and one delayed for an hour: {tally.runs} calls")
    holds("WQ-7", work.pending, "flush has disarmed a work")
    holds("WQ-5", queue.cancel(work) is True, "cancel of a delayed work must say True")
    holds("WQ-5", not work.pending, "cancelled, and yet pending")


def test_a_delayed_work_is_pending(adapter: WorkQueueAdapter, stage: Stage) -> None:
    """enqueue and enqueue_delayed of it, here and elsewhere, are errors that change nothing."""
    tally = Tally()
    queue, other, work = a_queue(adapter, stage, tally), a_queue(adapter, stage, tally, "other"), adapter.work()
    queue.enqueue_delayed(work, FAR)
    calls: dict[str, Callable[[], object]] = {
        "enqueue": lambda: queue.enqueue(work),
        "enqueue_delayed": lambda: queue.enqueue_delayed(work, 0.001),
        "enqueue_delayed by 0": lambda: queue.enqueue_delayed(work, 0),
        "enqueue elsewhere": lambda: other.enqueue(work),
        "enqueue_delayed elsewhere": lambda: other.enqueue_delayed(work, 0.001),
        "modify elsewhere": lambda: other.modify(work, 0.001),
    }
    for what, call in calls.items():
        refuses("WQ-3", f"{what} of a delayed work", adapter.pending_error, call)
        holds("WQ-7", work.pending, f"a refused {what} has withdrawn the work")
    log = Log()
    witness = a_queue(adapter, stage, lambda work, arg: log.add(1), "witness")
    witness.enqueue_delayed(adapter.work(), 0.02)
    holds("WQ-7", log.reached(1), "a delayed work was not called")
    queue.flush(timing.limit)
    other.flush(timing.limit)
    holds("WQ-7", tally.runs == 0, "a refused enqueue of a delayed work made a call")
    holds("WQ-5", queue.cancel(work) is True, "cancel of a delayed work must say True")


def test_modify_moves_and_tells(adapter: WorkQueueAdapter, stage: Stage) -> None:
    """Of a delayed work: True, earlier or later; of an idle one: False, and it is delayed."""
    log = Log()
    queue, work = a_queue(adapter, stage, lambda work, arg: log.add(time.monotonic())), adapter.work()
    queue.enqueue_delayed(work, FAR)
    due = time.monotonic() + 0.01
    holds("WQ-7", queue.modify(work, 0.01) is True, "modify of a delayed work must say True")
    queue.wait(work, timing.limit)
    holds("WQ-7", len(log.entries) == 1, f"moved to an earlier time and waited for, it was {len(log.entries)} calls")
    holds("WQ-7", log.entries[0] >= due, "a work that was moved was called before its new time")
    holds("WQ-7", queue.modify(work, 0.001) is False, "modify of an idle work must say False")
    queue.wait(work, timing.limit)
    holds("WQ-7", len(log.entries) == 2, "modify of an idle work did not enqueue it")
    queue.enqueue_delayed(work, FAR)
    holds("WQ-7", queue.modify(work, 0) is True, "modify of a delayed work must say True")
    queue.wait(work, timing.limit)
    holds("WQ-7", len(log.entries) == 3, "modify to now did not enqueue it")


def test_modify_takes_back_what_has_not_been_called(adapter: WorkQueueAdapter, stage: Stage) -> None:
    """Enqueued, waiting behind another: True, and it is delayed instead; moved to now it goes to the end."""
    queue, payloads, gate = a_blocked_queue(adapter, stage)
    works = [adapter.work(number) for number in range(3)]
    for work in works:
        queue.enqueue(work)
    holds("WQ-7", queue.modify(works[0], FAR) is True, "modify of a pending work must say True")
    holds("WQ-7", queue.modify(works[1], 0) is True, "modify of a pending work must say True")
    gate.go.set()
    queue.flush(timing.limit)
    holds(
        "WQ-7", payloads.plain() == [2, 1], f"0 moved to later, 1 to now, 2 left alone: called were {payloads.plain()}"
    )
    holds("WQ-7", works[0].pending, "a work that was moved to later is not pending")
    holds("WQ-7", queue.modify(works[0], 0.001) is True, "modify of a delayed work must say True")
    queue.wait(works[0], timing.limit)
    holds("WQ-7", payloads.plain() == [2, 1, 0], f"moved to later and back, called were {payloads.plain()}")


def test_destroy_cancels_what_is_delayed_and_says_which(adapter: WorkQueueAdapter, stage: Stage) -> None:
    """They are returned, idle, are never called, and can be used on another queue."""
    tally = Tally()
    queue, works = adapter.queue("ending", tally), [adapter.work(number) for number in range(3)]
    for work in works:
        queue.enqueue_delayed(work, FAR)
    cancelled = queue.destroy()
    holds("WQ-7", {id(work) for work in cancelled} == {id(work) for work in works}, f"destroy of 3 says {cancelled}")
    holds("WQ-7", len(cancelled) == 3, f"destroy of 3 says {cancelled}")
    holds("WQ-7", not any(work.pending for work in works), "cancelled by destroy, and yet pending")
    refuses("WQ-6", "enqueue_delayed after destroy", adapter.usage_error, lambda: queue.enqueue_delayed(works[0], 1))
    other = a_queue(adapter, stage, tally, "other")
    for work in works:
        holds("WQ-7", other.enqueue(work) is True, "a work that destroy cancelled can't be used again")
    other.flush(timing.limit)
    holds("WQ-7", tally.runs == 3, f"after destroy, three enqueues elsewhere were {tally.runs} calls")


@pytest.mark.parametrize("kind", KINDS)
def test_each_delayed_work_is_called_or_cancelled_once(
    adapter: WorkQueueAdapter, stage: Stage, seed: int, kind: str
) -> None:
    """A thousand firing while others move and cancel them: every enqueue is one call or one cancel that says True."""
    draw, calls = random.Random(seed), [0] * 1000

    def func(work: Any, arg: Any) -> None:
        calls[work.payload] += 1

    queue = a_queue_of(kind, adapter, stage, func)
    works = [adapter.work(number) for number in range(1000)]
    allowed, withdrawn = [1] * 1000, [0] * 1000
    for work in works:
        queue.enqueue_delayed(work, draw.uniform(0.0005, 0.02))

    def move() -> None:
        for work in works[::2]:
            allowed[work.payload] += not queue.modify(work, 0.001)

    def cancel() -> None:
        for work in works[1::2]:
            withdrawn[work.payload] += queue.cancel(work, timing.limit)

    together(stage, move, cancel)
    for work in works:
        queue.wait(work, timing.limit)
    queue.flush(timing.limit)
    for number in range(1000):
        came = calls[number] + withdrawn[number]
        holds(
            "WQ-7",
            came == allowed[number],
            f"{allowed[number]} enqueues of a work were {calls[number]} calls and {withdrawn[number]} cancels",
        )


@pytest.mark.capability("any context")
@pytest.mark.parametrize("outer", ["enqueue_delayed", "modify"])
def test_delaying_may_interrupt_itself(adapter: WorkQueueAdapter, stage: Stage, outer: str) -> None:
    """enqueue_delayed and modify interrupted by each other between any two bytecodes: no hang, nothing lost."""
    payloads = Payloads()
    queue, works = a_queue(adapter, stage, payloads), [adapter.work(number) for number in range(2)]

    def operation() -> None:
        if outer == "enqueue_delayed":
            queue.enqueue_delayed(works[0], FAR)
        else:
            queue.modify(works[0], FAR)

    holds("WQ-7", interrupted_everywhere(operation, lambda: queue.modify(works[1], FAR)), "could not be interrupted")
    holds("WQ-7", all(work.pending for work in works), "a work delayed for an hour is not pending")
    for work in works:
        holds("WQ-7", queue.modify(work, 0) is True, "modify of a delayed work must say True")
    queue.flush(timing.limit)
    holds("WQ-7", payloads.seen == [0, 1], f"two delayed works, moved to now, were called as {payloads.seen}")


def test_cancel_withdraws_what_has_fired_and_not_begun(adapter: WorkQueueAdapter, stage: Stage) -> None:
    """The timer has fired, the work waits behind another: cancel says True, and it is not called."""
    queue, payloads, gate = a_blocked_queue(adapter, stage)
    fired, later = adapter.work("fired"), adapter.work("later")
    queue.enqueue_delayed(fired, 0.001)
    other, log = a_queue(adapter, stage, lambda work, arg: log.add(1), "other"), Log()
    other.enqueue_delayed(adapter.work(), 0.02)
    holds("WQ-7", log.reached(1), "a delayed work was not called")
    queue.enqueue(later)
    holds("WQ-5", queue.cancel(fired, timing.limit) is True, "cancel of a work that has not been called must say True")
    gate.go.set()
    queue.flush(timing.limit)
    holds(
        "WQ-5", payloads.plain() == ["later"], f"cancelled after its time, before its call; called: {payloads.plain()}"
    )
    await_state("WQ-5", "nothing is pending", lambda: not fired.pending)
