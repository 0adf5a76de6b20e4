"""WQ-4: wait ends when the call does, and not before."""

from __future__ import annotations

import gc
import threading
import weakref
from typing import Any

import pytest

from conformance9.adapters_workqueue import WorkQueueAdapter, WorkQueueLike
from conformance9.suite.kit import Lingering, Tally, await_state, some_cpus, together
from conformance9.suite.tools import Gate, Log, Stage, holds, need, refuses, timing, wait_asleep
from conformance9.suite.works import KINDS, Payloads, a_blocked_queue, a_queue, a_queue_of


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
@pytest.mark.capability("delayed", "timeouts")
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
    if "timeouts" in adapter.capabilities:
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
    if "timeouts" in adapter.capabilities:
        refuses("WQ-4", "wait for a work in its function", adapter.timeout_error, lambda: queue.wait(work, 0.01))
    waiter = stage.thread(lambda: queue.wait(work, 3 * timing.limit))
    gate.go.set()
    waiter.join(timing.limit)
    holds("WQ-4", not waiter.is_alive(), "wait does not return though both calls are over")


@pytest.mark.clause("WQ-4")
@pytest.mark.capability("local")
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
@pytest.mark.capability("timeouts")
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
