"""WQ-4, WQ-5, WQ-6: wait, cancel, flush, drain and destroy end when they must, and not before."""

from __future__ import annotations

import gc
import threading
import weakref
from collections.abc import Callable
from typing import Any

import pytest

from conformance9.adapters_workqueue import WorkQueueAdapter, WorkQueueLike
from conformance9.suite.kit import Lingering, Tally, await_state, some_cpus, together
from conformance9.suite.tools import Gate, Log, Stage, holds, need, refuses, timing, wait_asleep
from conformance9.suite.works import KINDS, Payloads, a_blocked_queue, a_queue, a_queue_of

# --- WQ-4: wait


@pytest.mark.clause("WQ-4")
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("state", ["pending", "running"])
def test_wait_returns_after_the_call(adapter: WorkQueueAdapter, stage: Stage, kind: str, state: str) -> None:
    """Of a work that waits, and of one that is in its function: wait returns when the function has."""
    queue = a_queue_of(kind, adapter, stage, Payloads())
    for _ in range(3):
        function = Lingering()
        work = adapter.work(function)
        queue.enqueue(work)
        if state == "running":
            holds("WQ-3", function.entered(), "an enqueued work did not run")
        queue.wait(work, timing.limit)
        holds("WQ-4", function.ended, f"wait for a {state} work returned before its function had")


@pytest.mark.clause("WQ-4")
def test_wait_for_one_that_has_to_wait_itself(adapter: WorkQueueAdapter, stage: Stage) -> None:
    """Behind others on an ordered queue: wait returns after its call, also to many waiters at once."""
    queue, _, gate = a_blocked_queue(adapter, stage)
    functions = [Lingering() for _ in range(3)]
    works = [adapter.work(function) for function in functions]
    for work in works:
        queue.enqueue(work)
    verdicts = Log()

    def wait(which: int) -> None:
        queue.wait(works[which], timing.limit)
        verdicts.add((which, functions[which].ended))

    threads = [stage.thread(lambda which=which: wait(which)) for which in (0, 1, 2) * 4]
    gate.go.set()
    holds("WQ-4", verdicts.reached(12), f"of 12 threads that wait for 3 works {len(verdicts.entries)} returned")
    early = [which for which, ended in verdicts.entries if not ended]
    holds("WQ-4", not early, f"wait returned before the calls of works {sorted(set(early))} were over")
    for thread in threads:
        thread.join(timing.limit)


@pytest.mark.clause("WQ-4")
@pytest.mark.parametrize("kind", KINDS)
def test_wait_for_one_that_is_idle_returns(adapter: WorkQueueAdapter, stage: Stage, kind: str) -> None:
    """Never enqueued, and long finished; also while the queue is busy with others."""
    queue, gate, tally = a_queue_of(kind, adapter, stage, Payloads()), stage.gate(), Tally()
    never, finished = adapter.work(), adapter.work(tally)
    queue.enqueue(finished)
    queue.wait(finished, timing.limit)
    holds("WQ-4", tally.runs == 1, "wait returned before the call")
    together(stage, lambda: queue.wait(never, timing.limit), lambda: queue.wait(finished, timing.limit))
    queue.enqueue(adapter.work(gate))
    holds("WQ-3", gate.entered(), "an enqueued work did not run")
    together(stage, lambda: queue.wait(never, timing.limit), lambda: queue.wait(finished, timing.limit))


@pytest.mark.clause("WQ-4")
def test_wait_is_not_prolonged_by_later_works(adapter: WorkQueueAdapter, stage: Stage) -> None:
    """A work that is followed by one that blocks: wait returns while that one blocks."""
    queue, later = a_queue(adapter, stage, Payloads()), stage.gate()
    function = Lingering()
    work = adapter.work(function)
    queue.enqueue(work)
    queue.enqueue(adapter.work(later))
    together(stage, lambda: queue.wait(work, timing.limit))
    holds("WQ-4", function.ended, "wait returned before the call was over")
    holds("WQ-4", not later.ended.is_set(), "wait for a work waits for later ones")


@pytest.mark.clause("WQ-4")
@pytest.mark.parametrize("kind", KINDS)
def test_wait_is_bounded_though_the_work_comes_again_and_again(
    adapter: WorkQueueAdapter, stage: Stage, kind: str
) -> None:
    """A function that enqueues its work again for ever: several waiters all return."""
    stop = threading.Event()

    def again(work: Any, arg: Any) -> None:
        if not stop.is_set():
            queue.enqueue(work)

    queue = a_queue_of(kind, adapter, stage, again)
    stage.at_end(stop.set)
    work = adapter.work()
    queue.enqueue(work)

    def wait() -> None:
        for _ in range(30):
            queue.wait(work, timing.limit)

    together(stage, wait, wait, wait)
    stop.set()


@pytest.mark.clause("WQ-4")
def test_wait_is_over_when_the_call_is_though_the_work_is_pending_again(
    adapter: WorkQueueAdapter, stage: Stage
) -> None:
    """Its function enqueues it again, behind one that blocks: who has waited since before the call goes on."""
    bounded = False
    for _ in range(3):  # who begins to wait after the call waits for the second one: so not each time must be right
        first, later = stage.gate(), stage.gate()
        work, blocks = adapter.work(), adapter.work(later)

        def func(called: Any, queues: Any, work: Any = work, blocks: Any = blocks, later: Gate = later) -> None:
            if called.payload is not None:
                called.payload()
            elif not later.began.is_set():
                queues[0].enqueue(blocks)
                queues[0].enqueue(work)

        queues: list[WorkQueueLike] = []
        queue = a_queue(adapter, stage, func, arg=queues)
        queues.append(queue)
        queue.enqueue(adapter.work(first))
        holds("WQ-3", first.entered(), "an enqueued work did not run")
        queue.enqueue(work)
        waiter = stage.thread(lambda queue=queue, work=work: queue.wait(work, 3 * timing.limit))
        wait_asleep([waiter.native_id or 0])
        first.go.set()
        holds("WQ-3", later.entered(), "what the function enqueued did not run")
        holds("WQ-4", work.pending, "enqueued again by its function, and not pending")
        waiter.join(timing.limit / 2)
        bounded = not waiter.is_alive()
        later.go.set()
        if bounded:
            break
    holds("WQ-4", bounded, "wait for one call goes on with the next one of the same work")


@pytest.mark.clause("WQ-4", "WQ-5")
@pytest.mark.parametrize("how", ["cancel", "disable"])
def test_wait_is_over_when_the_work_is_withdrawn(adapter: WorkQueueAdapter, stage: Stage, how: str) -> None:
    """Three threads wait for a work behind one that blocks; it is cancelled: all of them go on."""
    if how == "disable":
        need(adapter, "freeze")
    queue, _, gate = a_blocked_queue(adapter, stage)
    work = adapter.work("withdrawn")
    queue.enqueue(work)
    waiters = [stage.thread(lambda: queue.wait(work, 3 * timing.limit)) for _ in range(3)]
    wait_asleep([waiter.native_id or 0 for waiter in waiters])  # who does not wait by then has nothing to wait for
    holds("WQ-5", getattr(queue, how)(work, timing.limit) is True, f"{how} of a pending work must say True")
    for waiter in waiters:
        waiter.join(timing.limit)
        holds("WQ-4", not waiter.is_alive(), f"who waits for a work that is withdrawn by {how} waits for ever")
    holds("WQ-4", not gate.ended.is_set(), "the test's own gate opened too early")
    gate.go.set()


@pytest.mark.clause("WQ-4", "WQ-7")
@pytest.mark.capability("delayed")
def test_wait_goes_on_when_the_time_of_a_delayed_work_comes(adapter: WorkQueueAdapter, stage: Stage) -> None:
    """Its time is over, and it is behind one that blocks: wait gives up at its time limit, and does not just return."""
    queue, payloads, gate = a_blocked_queue(adapter, stage)
    for number in range(5):
        work = adapter.work(number)
        queue.enqueue_delayed(work, 0.01)
        refuses("WQ-4", "wait with a timeout", adapter.timeout_error, lambda work=work: queue.wait(work, 0.05))
        holds("WQ-7", work.pending, "a work that has not been called is not pending")
    gate.go.set()
    together(stage, lambda: queue.wait(work, timing.limit))
    holds("WQ-7", payloads.plain() == list(range(5)), f"five delayed works were called as {payloads.plain()}")


@pytest.mark.clause("WQ-4")
def test_others_may_be_enqueued_during_a_wait(adapter: WorkQueueAdapter, stage: Stage) -> None:
    """With a thread waiting, enqueues return and run; the waited one is not lost."""
    queue, payloads, gate = a_blocked_queue(adapter, stage)
    work = adapter.work("waited")
    queue.enqueue(work)
    waiter = stage.thread(lambda: queue.wait(work, timing.limit))
    together(stage, lambda: [queue.enqueue(adapter.work(number)) for number in range(100)])
    gate.go.set()
    waiter.join(timing.limit)
    holds("WQ-4", not waiter.is_alive(), "wait does not return")
    queue.flush(timing.limit)
    holds("WQ-1", payloads.plain() == ["waited", *range(100)], "works enqueued beside a wait ran out of order")


@pytest.mark.clause("WQ-4")
@pytest.mark.capability("percpu")
def test_wait_finds_the_work_on_any_cpu(adapter: WorkQueueAdapter, stage: Stage) -> None:
    """Enqueued on one CPU after the other: wait returns after the call, wherever it is."""
    queue = a_queue(adapter, stage, Payloads(), percpu=True)
    for cpu in list(adapter.cpus()) * 2:
        function = Lingering()
        work = adapter.work(function)
        queue.enqueue(work, cpu=cpu)
        queue.wait(work, timing.limit)
        holds("WQ-4", function.ended, f"wait for a work on CPU {cpu} returned before its call was over")


@pytest.mark.clause("WQ-4")
@pytest.mark.capability("percpu")
def test_wait_finds_the_work_that_moved_to_another_cpu(adapter: WorkQueueAdapter, stage: Stage) -> None:
    """In its function on one CPU and enqueued again on another: wait returns after both calls."""
    here, there = some_cpus(adapter.cpus(), 2)
    queue = a_queue(adapter, stage, Payloads(), percpu=True)
    gate, second, blocker = stage.gate(), Lingering(), stage.gate()
    calls: Any = iter([gate, second])
    work = adapter.work(lambda: next(calls)())
    queue.enqueue(work, cpu=here)
    holds("WQ-3", gate.entered(), "an enqueued work did not run")
    queue.enqueue(adapter.work(blocker), cpu=there)
    queue.enqueue(work, cpu=there)
    verdicts = Log()

    def wait() -> None:
        queue.wait(work, timing.limit)
        verdicts.add((gate.ended.is_set(), second.ended))

    thread = stage.thread(wait)
    refuses("WQ-4", "wait with a timeout", adapter.timeout_error, lambda: queue.wait(work, 0.01))
    blocker.go.set()
    holds("WQ-3", second.entered(), "enqueued again on another CPU, the work did not run")
    gate.go.set()
    thread.join(timing.limit)
    holds(
        "WQ-4",
        verdicts.entries[:1] == [(True, True)],
        f"wait returned when its two calls were over: {verdicts.entries}",
    )


@pytest.mark.clause("WQ-4")
@pytest.mark.capability("percpu")
def test_wait_finds_the_call_on_the_cpu_before_the_last(adapter: WorkQueueAdapter, stage: Stage) -> None:
    """In its function on one CPU, called and done again on another: wait waits for the first call."""
    here, there = some_cpus(adapter.cpus(), 2)
    gate, log = stage.gate(), Log()

    def func(work: Any, arg: Any) -> None:
        log.add(work.payload)
        if work.payload == "moves" and not gate.began.is_set():
            gate()

    queue = a_queue(adapter, stage, func, percpu=True)
    work = adapter.work("moves")
    queue.enqueue(work, cpu=here)
    holds("WQ-3", gate.entered(), "an enqueued work did not run")
    queue.enqueue(work, cpu=there)
    queue.enqueue(adapter.work("after"), cpu=there)
    holds("WQ-2", log.reached(3), "a work that blocks on one CPU holds up another CPU")
    refuses("WQ-4", "wait for a work in its function", adapter.timeout_error, lambda: queue.wait(work, 0.01))
    waiter = stage.thread(lambda: queue.wait(work, 3 * timing.limit))
    gate.go.set()
    waiter.join(timing.limit)
    holds("WQ-4", not waiter.is_alive(), "wait does not return though both calls are over")


@pytest.mark.clause("WQ-4")
@pytest.mark.parametrize("kind", KINDS)
def test_wait_from_the_queue_s_own_function_returns(adapter: WorkQueueAdapter, stage: Stage, kind: str) -> None:
    """For itself and for one that waits behind it: at once, as it would wait for itself."""
    log = Log()

    def func(work: Any, arg: Any) -> None:
        if work is first:
            gate()
            queue.wait(first, timing.limit)
            queue.wait(second, timing.limit)
            log.add("returned")
        else:
            log.add("second")

    gate = stage.gate()
    queue = a_queue_of(kind, adapter, stage, func)
    first, second = adapter.work(), adapter.work()
    queue.enqueue(first)
    holds("WQ-3", gate.entered(), "an enqueued work did not run")
    if kind == "ordered":
        queue.enqueue(second)
    gate.go.set()
    holds("WQ-4", log.reached(1), "wait from the queue's own function hangs")
    queue.flush(timing.limit)
    holds("WQ-4", log.entries[0] == "returned", f"wait from the queue's own function; order {log.entries}")


@pytest.mark.clause("WQ-4")
def test_wait_may_give_up(adapter: WorkQueueAdapter, stage: Stage) -> None:
    """With a timeout, of a pending and of a running one: the error says so; nothing is lost."""
    queue, payloads, gate = a_blocked_queue(adapter, stage)
    running, work = stage.gate(), adapter.work("pending")
    blocked = adapter.work(running)
    queue.enqueue(work)
    queue.enqueue(blocked)
    refuses("WQ-4", "wait for a pending work with timeout 0", adapter.timeout_error, lambda: queue.wait(work, 0))
    refuses("WQ-4", "wait for a pending work with a timeout", adapter.timeout_error, lambda: queue.wait(work, 0.01))
    gate.go.set()
    holds("WQ-3", running.entered(), "an enqueued work did not run")
    refuses("WQ-4", "wait for a running work with a timeout", adapter.timeout_error, lambda: queue.wait(blocked, 0.01))
    running.go.set()
    queue.wait(blocked, timing.limit)
    holds("WQ-4", payloads.plain() == ["pending"], f"after waits that gave up, calls were {payloads.plain()}")


@pytest.mark.clause("WQ-4")
def test_wait_does_not_need_the_work_after_its_call(adapter: WorkQueueAdapter, stage: Stage) -> None:
    """The function re-uses its work on another queue, where it stays: wait on the first returns."""
    handed = threading.Event()

    def hand_on(work: Any, arg: Any) -> None:
        other.enqueue(work)
        handed.set()

    other, payloads, gate = a_blocked_queue(adapter, stage, "other")
    queue = a_queue(adapter, stage, hand_on, "first")
    work = adapter.work("reused")
    queue.enqueue(work)
    holds("WQ-3", handed.wait(timing.limit), "an enqueued work did not run")
    together(stage, lambda: queue.wait(work, timing.limit))
    holds("WQ-4", not gate.ended.is_set(), "wait on one queue waits for what the work does on another")
    gate.go.set()
    other.flush(timing.limit)
    holds("WQ-3", payloads.plain() == ["reused"], "the work did not run on the other queue")


@pytest.mark.clause("WQ-3", "WQ-4")
def test_a_work_that_was_called_is_kept_by_nobody(adapter: WorkQueueAdapter, stage: Stage) -> None:
    """Works with payloads, called, waited for and dropped: the payloads go away while the queue lives."""

    class Payload:
        pass

    queue = a_queue(adapter, stage, lambda work, arg: None)
    kept = []
    for _ in range(50):
        work = adapter.work(Payload())
        kept.append(weakref.ref(work.payload))
        queue.enqueue(work)
        queue.wait(work, timing.limit)
    del work
    adapter.settle()

    def gone() -> bool:
        gc.collect()
        return not any(ref() is not None for ref in kept)

    await_state("WQ-4", "works that were called and dropped go away", gone)


@pytest.mark.clause("WQ-4")
@pytest.mark.parametrize("kind", KINDS)
def test_storm_of_waits(adapter: WorkQueueAdapter, stage: Stage, kind: str) -> None:
    """Two threads enqueue and wait a thousand times, two others wait beside them: after each wait the call is over."""
    tallies = [Tally(), Tally()]
    queue = a_queue_of(kind, adapter, stage, lambda work, arg: tallies[work.payload]())
    works, over = [adapter.work(0), adapter.work(1)], threading.Event()

    def rounds(which: int) -> None:
        try:
            for number in range(1000):
                queue.enqueue(works[which])
                queue.wait(works[which], timing.limit)
                runs = tallies[which].runs
                holds("WQ-4", runs == number + 1, f"enqueued and waited for {number + 1} times, called {runs} times")
        finally:
            over.set()

    def beside(which: int) -> None:
        while not over.wait(0.0002):
            queue.wait(works[which], timing.limit)

    together(stage, lambda: rounds(0), lambda: rounds(1), lambda: beside(0), lambda: beside(1))


# --- WQ-5: cancel


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


# --- WQ-6: flush, drain, destroy


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
    told, gate = Log(), stage.gate()

    def func(work: Any, arg: Any) -> None:
        if work.payload == "gate":
            gate()
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
    holds("WQ-6", told.entries == [True], f"enqueue from the function during a drain said {told.entries}")
    holds("WQ-6", not inside.pending, "drain returned before what the function enqueued had been called")
    holds("WQ-6", queue.enqueue(outside) is True, "after the drain, enqueue must say True")


@pytest.mark.clause("WQ-6")
@pytest.mark.parametrize("how", ["flush", "drain"])
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
            try:
                call()
            except adapter.usage_error:
                verdicts.add("refused")
            except Exception as error:
                verdicts.add(repr(error))
            else:
                verdicts.add("accepted")
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
    """With one work in the function: it returns after that; then enqueue and a second destroy are errors."""
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
    refuses("WQ-6", "a second destroy", adapter.usage_error, queue.destroy)
    tally = Tally()
    other = a_queue(adapter, stage, tally, "other")
    holds("WQ-6", other.enqueue(work) is True, "a work that a destroyed queue refused can't go to another")
    other.flush(timing.limit)
    holds("WQ-6", tally.runs == 1, "a work that a destroyed queue refused did not run on another")
