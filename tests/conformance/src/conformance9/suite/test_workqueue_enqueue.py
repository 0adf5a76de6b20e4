"""WQ-1, WQ-2, WQ-3, WQ-8, WQ-13: what runs where, in which order, how often, and beside what."""

from __future__ import annotations

import os
import threading
from typing import Any

import pytest

from conformance9.adapters_workqueue import WorkQueueAdapter
from conformance9.suite.kit import (
    Overlaps,
    Tally,
    await_state,
    idle_threads,
    interrupted_workers,
    never,
    some_cpus,
    together,
)
from conformance9.suite.tools import (
    Log,
    Stage,
    holds,
    interrupted_everywhere,
    os_threads,
    pinned,
    refuses,
    retire_threads,
    stepped,
    timing,
)
from conformance9.suite.works import KINDS, Payloads, a_blocked_queue, a_queue, a_queue_of, seen_by

# --- WQ-1: order


@pytest.mark.clause("WQ-1")
def test_first_in_first_out_with_the_queue_s_function_and_argument(adapter: WorkQueueAdapter, stage: Stage) -> None:
    """A thousand works: func(work, arg) with the very work and arg, in order, once each."""
    seen: list[Any] = []
    arg = object()
    queue = a_queue(adapter, stage, lambda work, arg: seen.append((work, arg)), arg=arg)
    works = [adapter.work(number) for number in range(1000)]
    for number, work in enumerate(works):
        holds("WQ-1", work.payload == number, "a work lost its payload")
        holds("WQ-3", queue.enqueue(work) is True, "enqueue of an idle work must say True")
    queue.flush(timing.limit)
    holds("WQ-1", len(seen) == 1000, f"1000 enqueues were {len(seen)} calls")
    holds("WQ-1", all(got is arg for _, got in seen), "the function was not given the queue's argument")
    wrong = next((at for at in range(1000) if seen[at][0] is not works[at]), 1000)
    holds("WQ-1", wrong == 1000, f"call {wrong} is not for work {wrong}")


@pytest.mark.clause("WQ-1")
def test_order_is_kept_for_what_comes_while_the_function_runs(adapter: WorkQueueAdapter, stage: Stage) -> None:
    """Enqueued while the queue is blocked, by four threads: of each thread's works the order is kept."""
    queue, payloads, gate = a_blocked_queue(adapter, stage)
    together(
        stage,
        *[lambda which=which: [queue.enqueue(adapter.work((which, n))) for n in range(250)] for which in range(4)],
    )
    gate.go.set()
    queue.flush(timing.limit)
    for which in range(4):
        order = [number for thread, number in payloads.plain() if thread == which]
        holds("WQ-1", order == list(range(250)), f"what one thread enqueued in order ran as {order[:20]} ...")


@pytest.mark.clause("WQ-1", "WQ-5")
def test_withdrawn_and_enqueued_again_a_work_is_the_last(adapter: WorkQueueAdapter, stage: Stage) -> None:
    """A, B, cancel A, enqueue A again: the function is called with B before A, and once with each."""
    queue, payloads, gate = a_blocked_queue(adapter, stage)
    first, second = adapter.work("A"), adapter.work("B")
    queue.enqueue(first)
    queue.enqueue(second)
    holds("WQ-5", queue.cancel(first) is True, "cancel of a work that waits must say True")
    holds("WQ-3", queue.enqueue(first) is True, "enqueue of a work that was withdrawn must say True")
    gate.go.set()
    queue.flush(timing.limit)
    holds("WQ-1", payloads.plain() == ["B", "A"], f"A, B, cancel A, A again were called as {payloads.plain()}")


@pytest.mark.clause("WQ-1")
def test_by_default_one_at_a_time(adapter: WorkQueueAdapter, stage: Stage) -> None:
    """Works whose function lingers: never two in the function."""
    function = Overlaps(linger=timing.moment / 5)
    queue = a_queue(adapter, stage, function)
    for _ in range(6):
        queue.enqueue(adapter.work())
    queue.flush(timing.limit)
    holds("WQ-1", (function.runs, function.most) == (6, 1), f"6 works: {function.runs} calls, {function.most} at once")


@pytest.mark.clause("WQ-1")
@pytest.mark.capability("max_active")
def test_max_active_is_that_many_and_no_more(adapter: WorkQueueAdapter, stage: Stage) -> None:
    """Three get on together; the fourth waits."""
    gates = [stage.gate() for _ in range(4)]
    queue = a_queue(adapter, stage, Payloads(), max_active=3)
    for gate in gates:
        queue.enqueue(adapter.work(gate))
    holds("WQ-1", all(gate.entered() for gate in gates[:3]), "a queue with max_active=3 does not run 3 at once")
    holds("WQ-1", never(gates[3].began), "a queue with max_active=3 runs 4 at once")
    for gate in gates:
        gate.go.set()
    queue.flush(timing.limit)
    function = Overlaps(linger=timing.moment / 50)
    queue = a_queue(adapter, stage, function, max_active=3)
    for _ in range(60):
        queue.enqueue(adapter.work())
    queue.flush(timing.limit)
    holds("WQ-1", function.most <= 3, f"a queue with max_active=3 ran {function.most} at once")


@pytest.mark.clause("WQ-1")
@pytest.mark.capability("max_active")
def test_with_max_active_works_start_in_order(adapter: WorkQueueAdapter, stage: Stage) -> None:
    """Two places, both taken; each that becomes free goes to the work that has waited longest."""
    gates = [stage.gate() for _ in range(8)]
    queue = a_queue(adapter, stage, Payloads(), max_active=2)
    for gate in gates:
        queue.enqueue(adapter.work(gate))
    for number in range(6):
        holds("WQ-1", gates[number + 1].entered(), f"a place was free, but work {number + 1} did not start")
        started = [later for later in range(number + 2, 8) if gates[later].began.is_set()]
        holds("WQ-1", not started, f"work {started[:1]} started before its turn")
        gates[number].go.set()


# --- WQ-2: per-CPU queues


@pytest.mark.clause("WQ-2")
@pytest.mark.capability("percpu")
@pytest.mark.parametrize("how", ["given", "current"])
def test_works_are_bound_to_the_cpu_and_ordered(adapter: WorkQueueAdapter, stage: Stage, how: str) -> None:
    """cpu given, or the caller's: the OS says that the thread is bound to it; each CPU's works in order."""
    seen: list[Any] = []
    queue = a_queue(adapter, stage, lambda work, arg: seen.append((work.payload, os.sched_getaffinity(0))), percpu=True)
    for number in range(30):
        for cpu in adapter.cpus():
            if how == "given":
                queue.enqueue(adapter.work((cpu, number)), cpu=cpu)
            else:
                with pinned(cpu):
                    queue.enqueue(adapter.work((cpu, number)))
    queue.flush(timing.limit)
    holds("WQ-6", len(seen) == 30 * len(adapter.cpus()), f"flushed, but {len(seen)} works had run")
    for (cpu, number), bound in seen:
        holds("WQ-2", bound == {cpu}, f"work {number} for CPU {cpu} ran on a thread bound to {bound}")
    for cpu in adapter.cpus():
        order = [number for (on, number), _ in seen if on == cpu]
        holds("WQ-2", order == list(range(30)), f"works of CPU {cpu} ran in the order {order}")


@pytest.mark.clause("WQ-2")
@pytest.mark.capability("percpu")
def test_a_cpu_s_queue_runs_one_at_a_time_and_cpus_in_parallel(adapter: WorkQueueAdapter, stage: Stage) -> None:
    """Of one CPU never two in the function; works on two CPUs wait for each other and get on."""
    function = Overlaps(linger=timing.moment / 5)
    queue = a_queue(adapter, stage, function, percpu=True)
    for _ in range(6):
        queue.enqueue(adapter.work(), cpu=adapter.cpus()[-1])
    queue.flush(timing.limit)
    holds("WQ-2", (function.runs, function.most) == (6, 1), f"6 works: {function.runs} calls, {function.most} at once")
    cpus, both, met = some_cpus(adapter.cpus(), 2), threading.Barrier(2), Log()

    def meet(work: Any, arg: Any) -> None:
        both.wait(timing.limit)
        met.add(1)

    parallel = a_queue(adapter, stage, meet, percpu=True)
    for cpu in cpus:
        parallel.enqueue(adapter.work(), cpu=cpu)
    holds("WQ-2", met.reached(2), "works on two CPUs did not run in parallel")


@pytest.mark.clause("WQ-2")
def test_a_cpu_is_for_percpu_queues(adapter: WorkQueueAdapter, stage: Stage) -> None:
    """cpu given on a queue that is not per-CPU: an error that changes nothing."""
    tally = Tally()
    queue, work = a_queue(adapter, stage, tally), adapter.work()
    refuses("WQ-2", "a cpu without WQ_PERCPU", adapter.usage_error, lambda: queue.enqueue(work, cpu=0))
    holds("WQ-2", not work.pending, "a refused enqueue left the work pending")
    queue.flush(timing.limit)
    holds("WQ-2", tally.runs == 0, "a refused enqueue made a call")
    holds("WQ-2", queue.enqueue(work) is True, "a refused enqueue has changed the work")


@pytest.mark.clause("WQ-2")
@pytest.mark.capability("percpu")
def test_a_cpu_that_may_not_be_used_is_refused(adapter: WorkQueueAdapter, stage: Stage) -> None:
    """A CPU beyond all: an error that changes nothing."""
    tally = Tally()
    queue, work = a_queue(adapter, stage, tally, percpu=True), adapter.work()
    for cpu in (99_999, -1):
        refuses("WQ-2", f"CPU {cpu}", adapter.cpu_error, lambda cpu=cpu: queue.enqueue(work, cpu=cpu))
        holds("WQ-2", not work.pending, "a refused enqueue left the work pending")
    holds("WQ-2", queue.enqueue(work, cpu=adapter.cpus()[0]) is True, "a refused enqueue has changed the work")
    queue.flush(timing.limit)
    holds("WQ-2", tally.runs == 1, f"one enqueue was {tally.runs} calls")


# --- WQ-3: enqueue


@pytest.mark.clause("WQ-3")
@pytest.mark.parametrize("kind", KINDS)
def test_the_function_may_enqueue_its_work_again(adapter: WorkQueueAdapter, stage: Stage, kind: str) -> None:
    """From inside the function: True, and one more call each time."""
    told: list[bool] = []
    left = [None] * 20

    def again(work: Any, arg: Any) -> None:
        tally()
        try:
            left.pop()  # it may be in two calls at once
        except IndexError:
            return
        told.append(queue.enqueue(work))

    tally = Tally()
    queue = a_queue_of(kind, adapter, stage, again)
    queue.enqueue(adapter.work())
    await_state("WQ-3", "21 calls follow from each other", lambda: tally.runs >= 21)
    queue.drain(timing.limit)
    holds("WQ-3", told == [True] * 20, f"enqueue of a work by its own function said {told}")
    holds("WQ-3", tally.runs == 21, f"21 enqueues of one work were {tally.runs} calls")


@pytest.mark.clause("WQ-3")
def test_a_work_may_be_enqueued_again_once_its_function_was_called(adapter: WorkQueueAdapter, stage: Stage) -> None:
    """From outside, while the function is in its call: it is not pending any more, True, and another call."""
    gate, other = stage.gate(), a_queue(adapter, stage, Payloads())
    work = adapter.work(gate)
    other.enqueue(work)
    holds("WQ-3", gate.entered(), "an enqueued work did not run")
    holds("WQ-3", not work.pending, "its function was called, and the work is pending")
    holds("WQ-3", other.enqueue(work) is True, "enqueue of a work whose function was called must say True")
    holds("WQ-3", work.pending, "enqueued again, and not pending")
    gate.go.set()
    other.flush(timing.limit)
    holds("WQ-3", gate.runs == 2, f"two enqueues were {gate.runs} calls")


@pytest.mark.clause("WQ-3")
def test_the_function_may_hand_its_work_to_another_queue(adapter: WorkQueueAdapter, stage: Stage) -> None:
    """From the call on the work is the function's: it runs on another queue while the first call is under way."""
    passed, verdict = threading.Event(), Log()

    def hand_on(work: Any, arg: Any) -> None:
        other.enqueue(work)
        verdict.add(passed.wait(timing.limit))

    queue = a_queue(adapter, stage, hand_on, "first")
    other = a_queue(adapter, stage, lambda work, arg: passed.set(), "other")
    queue.enqueue(adapter.work())
    holds("WQ-3", verdict.reached(1), "a work that its function handed on did not run")
    holds("WQ-3", verdict.entries == [True], "handed to another queue, the work waits for its first call to return")


@pytest.mark.clause("WQ-3")
@pytest.mark.parametrize("kind", KINDS)
def test_a_pending_work_is_refused_here_and_elsewhere(adapter: WorkQueueAdapter, stage: Stage, kind: str) -> None:
    """An error that changes nothing: it keeps its place, and is called once."""
    payloads, seen = Payloads(), []  # type: ignore[var-annotated]
    queue, other = a_queue_of(kind, adapter, stage, payloads), a_queue(adapter, stage, seen_by(seen), "other")
    gates = [stage.gate() for _ in range(3 if kind == "max_active" else 1)]
    with pinned(adapter.cpus()[0]):
        for gate in gates:
            queue.enqueue(adapter.work(gate))
        holds("WQ-3", all(gate.entered() for gate in gates), "an enqueued work did not run")
        works = [adapter.work(number) for number in range(3)]
        for work in works:
            queue.enqueue(work)
        for _ in range(3):
            refuses("WQ-3", "enqueue of a pending work", adapter.pending_error, lambda: queue.enqueue(works[1]))
            refuses(
                "WQ-3", "enqueue of a pending work elsewhere", adapter.pending_error, lambda: other.enqueue(works[1])
            )
    holds("WQ-3", works[1].pending, "a refused enqueue has withdrawn the work")
    for gate in gates:
        gate.go.set()
    queue.flush(timing.limit)
    other.flush(timing.limit)
    expected = sorted(payloads.plain()) if kind == "max_active" else payloads.plain()
    holds("WQ-3", expected == [0, 1, 2], f"after refused enqueues 0, 1, 2 were called as {payloads.plain()}")
    holds("WQ-3", seen == [], "a refused enqueue was called on the other queue")


@pytest.mark.clause("WQ-3")
def test_what_is_no_work_is_refused(adapter: WorkQueueAdapter, stage: Stage) -> None:
    """TypeError, and the queue goes on."""
    tally = Tally()
    queue = a_queue(adapter, stage, tally)
    refuses("WQ-3", "enqueue of a string", (TypeError, adapter.usage_error), lambda: queue.enqueue("work"))
    queue.enqueue(adapter.work())
    queue.flush(timing.limit)
    holds("WQ-3", tally.runs == 1, f"one enqueue was {tally.runs} calls")


@pytest.mark.clause("WQ-3")
def test_enqueue_does_not_block_while_the_function_runs(adapter: WorkQueueAdapter, stage: Stage) -> None:
    """A thousand enqueues on a blocked queue return."""
    queue, payloads, gate = a_blocked_queue(adapter, stage)
    works = [adapter.work(number) for number in range(1000)]
    together(stage, lambda: [queue.enqueue(work) for work in works])
    holds("WQ-3", not gate.ended.is_set(), "enqueue waits for the function")
    gate.go.set()
    queue.flush(timing.limit)
    holds(
        "WQ-1", payloads.plain() == list(range(1000)), "a thousand works enqueued on a blocked queue ran out of order"
    )


@pytest.mark.clause("WQ-3")
def test_12435_enqueues_of_one_work(adapter: WorkQueueAdapter, stage: Stage) -> None:
    """NetBSD's own test: enqueued with the producer's mutex held, each call awaited within 2 s, at PRI_SOFTNET."""
    condition, count = threading.Condition(), [0]

    def func(work: Any, arg: Any) -> None:
        with condition:
            count[0] += 1
            condition.notify_all()

    queue, work = a_queue(adapter, stage, func, "test", pri=adapter.softnet), adapter.work()
    with condition:
        for number in range(12_435):
            queue.enqueue(work)
            in_time = condition.wait_for(lambda number=number: count[0] > number, 2 * max(1.0, timing.scale))  # type: ignore[misc]
            holds("WQ-3", in_time, f"enqueue {number} was not followed by a call within 2 s")
    queue.flush(timing.limit)
    holds("WQ-3", count == [12_435], f"12 435 enqueues were {count[0]} calls")


@pytest.mark.clause("WQ-3")
@pytest.mark.capability("any context")
@pytest.mark.parametrize("kind", KINDS)
def test_enqueue_may_interrupt_itself(adapter: WorkQueueAdapter, stage: Stage, kind: str) -> None:
    """enqueue interrupted by enqueue between any two bytecodes: each of all the works is called once."""
    payloads, numbers = Payloads(), iter(range(10**9))
    queue = a_queue_of(kind, adapter, stage, payloads)

    def enqueue() -> None:
        holds("WQ-3", queue.enqueue(adapter.work(next(numbers))) is True, "enqueue of an idle work must say True")

    def three() -> None:
        for _ in range(3):
            enqueue()

    holds("WQ-3", interrupted_everywhere(three, enqueue), "enqueue can't be interrupted")
    queue.flush(timing.limit)
    count = next(numbers)
    holds("WQ-3", sorted(payloads.seen) == list(range(count)), f"of {count} works {len(payloads.seen)} calls were made")


@pytest.mark.clause("WQ-3")
@pytest.mark.capability("any context")
@pytest.mark.parametrize("kind", KINDS)
def test_enqueue_may_interrupt_the_queue_s_own_threads(adapter: WorkQueueAdapter, stage: Stage, kind: str) -> None:
    """enqueue between any two bytecodes of the threads that call the function: each work is called once."""
    payloads, numbers, errors = Payloads(), iter(range(10**9)), Log()
    queue = a_queue_of(kind, adapter, stage, payloads)
    made: list[int] = []

    def enqueue() -> None:
        try:
            number = next(numbers)
            made.append(number)
            queue.enqueue(adapter.work(number))
        except BaseException as error:
            errors.add(error)

    adapter.settle()
    with interrupted_workers(enqueue, 2000) as calls:
        for _ in range(50):
            enqueue()
            queue.flush(timing.limit)
            if calls() >= 2000:
                break
    for _ in range(2):
        enqueue()
        queue.drain(timing.limit)
    holds("WQ-3", not errors.entries, f"enqueue in an interrupted thread of the queue raised {errors.entries[:1]}")
    holds("WQ-3", sorted(payloads.seen) == sorted(made), f"of {len(made)} works {len(payloads.seen)} calls were made")
    adapter.settle()


@pytest.mark.clause("WQ-3")
@pytest.mark.capability("any context")
@pytest.mark.parametrize("kind", KINDS)
def test_an_enqueue_at_any_step_of_a_queue_that_goes_idle_is_a_call(
    adapter: WorkQueueAdapter, stage: Stage, kind: str
) -> None:
    """One enqueue, no other after it, between any two bytecodes of the thread that has just made the last call."""
    payloads = Payloads()
    queue = a_queue_of(kind, adapter, stage, payloads)
    cpu = adapter.cpus()[0] if kind == "percpu" else None
    late = adapter.work("late")
    adapter.settle()
    with stepped() as steps:
        for number in range(400):
            began = threading.Event()

            def last(number: int = number, began: threading.Event = began) -> None:
                steps.arm(number, lambda: queue.enqueue(late, cpu=cpu), ident=threading.get_ident())
                began.set()

            queue.enqueue(adapter.work(last), cpu=cpu)
            holds("WQ-3", began.wait(timing.limit), "an enqueued work did not run")
            if not steps.was_met():
                steps.disarm()
                break  # it sleeps, after fewer bytecodes
            called = payloads.reached(2 * (number + 1))
            holds("WQ-3", called, f"enqueued at step {number} of a thread that goes idle, a work was not called")
    holds("WQ-3", not steps.errors, f"enqueue in a thread of the queue raised {steps.errors[:1]}")
    adapter.settle()


# --- WQ-8, WQ-13: queues beside each other


@pytest.mark.clause("WQ-8")
def test_idle_queues_own_no_thread(adapter: WorkQueueAdapter, stage: Stage) -> None:
    """To make a thousand queues starts nothing; used and idle again, their threads leave."""
    before, tally = idle_threads(adapter), Tally()
    queues = [a_queue(adapter, stage, tally, f"idle {number}") for number in range(1000)]
    made = os_threads()
    holds("WQ-8", made <= before, f"a thousand idle queues own {made - before} threads")
    for queue in queues:
        queue.enqueue(adapter.work())
    for queue in queues:
        queue.flush(timing.limit)
    holds("WQ-6", tally.runs == 1000, f"flushed, but of 1000 works {tally.runs} had run")
    after = retire_threads(adapter, before)
    holds("WQ-8", after <= before, f"a thousand queues that are idle again own {after - before} threads")


@pytest.mark.clause("WQ-13")
def test_queues_run_in_parallel(adapter: WorkQueueAdapter, stage: Stage) -> None:
    """GCD's overcommit test: each of 32 queues blocks until all have begun."""
    barrier, met = threading.Barrier(32), Log()

    def meet(work: Any, arg: Any) -> None:
        barrier.wait(timing.limit)
        met.add(1)

    for number in range(32):
        a_queue(adapter, stage, meet, f"serial {number}").enqueue(adapter.work())
    holds("WQ-13", met.reached(32), f"of 32 queues that wait for each other only {len(met.entries)} got on")


@pytest.mark.clause("WQ-13")
@pytest.mark.capability("giant")
def test_giant_queues_exclude_each_other(adapter: WorkQueueAdapter, stage: Stage) -> None:
    """Functions of four queues under the giant lock never overlap, and an ordinary queue is not held up by them."""
    function = Overlaps(linger=timing.moment / 25)
    queues = [a_queue(adapter, stage, function, f"giant {number}", giant=True) for number in range(4)]
    for _ in range(5):
        for queue in queues:
            queue.enqueue(adapter.work())
    for queue in queues:
        queue.flush(timing.limit)
    holds("WQ-6", function.runs == 20, f"flushed, but of 20 works {function.runs} had run")
    holds("WQ-13", function.most == 1, f"{function.most} functions of queues under the giant lock overlapped")
    gate, tally = stage.gate(), Tally()
    giant = a_queue(adapter, stage, lambda work, arg: gate(), "giant", giant=True)
    giant.enqueue(adapter.work())
    holds("WQ-13", gate.entered(), "a work of a queue under the giant lock did not run")
    ordinary = a_queue(adapter, stage, tally, "ordinary")
    ordinary.enqueue(adapter.work())
    ordinary.flush(timing.limit)
    holds("WQ-13", tally.runs == 1, "a queue under the giant lock holds up one that is not")


def _pingpong(adapter: WorkQueueAdapter, stage: Stage, bounces: int) -> None:
    over, left = threading.Event(), [bounces]

    def bounce(work: Any, other: int) -> None:
        left[0] -= 1
        if left[0]:
            pair[other].enqueue(work)
        else:
            over.set()

    pair = [a_queue(adapter, stage, bounce, "ping", arg=1), a_queue(adapter, stage, bounce, "pong", arg=0)]
    pair[0].enqueue(adapter.work())
    holds("WQ-3", over.wait(timing.limit + bounces / 200), f"a ball between two queues is lost with {left[0]} to go")
    for queue in pair:
        queue.drain(timing.limit)
    holds("WQ-3", left == [0], f"{-left[0]} calls more than enqueues")


@pytest.mark.clause("WQ-3", "WQ-13")
def test_pingpong(adapter: WorkQueueAdapter, stage: Stage) -> None:
    """GCD's pingpong: one work bounces between two queues, ten thousand times."""
    _pingpong(adapter, stage, 10_000)


@pytest.mark.thorough
@pytest.mark.clause("WQ-3", "WQ-13")
def test_a_million_bounces(adapter: WorkQueueAdapter, stage: Stage) -> None:
    """GCD's pingpong with its own number of bounces."""
    _pingpong(adapter, stage, 1_000_000)


def _cascade(adapter: WorkQueueAdapter, stage: Stage, steps: int, works: int) -> None:
    arrived = Log()

    def fall(work: Any, at: int) -> None:
        if at + 1 < steps:
            queues[at + 1].enqueue(work)
        else:
            arrived.add(work.payload)

    queues = [a_queue(adapter, stage, fall, f"step {at}", arg=at) for at in range(steps)]
    for number in range(works):
        queues[0].enqueue(adapter.work(number))
    got = arrived.reached(works, timing.limit + steps * works / 2000)
    holds("WQ-3", got, f"of {works} works that fall through {steps} queues {len(arrived.entries)} arrived")
    holds("WQ-1", arrived.entries == list(range(works)), f"works fell through {steps} ordered queues out of order")


@pytest.mark.clause("WQ-1", "WQ-3")
def test_cascade(adapter: WorkQueueAdapter, stage: Stage) -> None:
    """GCD's cascade: works fall from queue to queue, 80 queues deep, and arrive in order."""
    _cascade(adapter, stage, 80, 200)


@pytest.mark.thorough
@pytest.mark.clause("WQ-1", "WQ-3")
def test_cascade_of_10000(adapter: WorkQueueAdapter, stage: Stage) -> None:
    """GCD's cascade with its own number of blocks."""
    _cascade(adapter, stage, 80, 10_000)


@pytest.mark.clause("WQ-3", "WQ-13")
def test_starfish(adapter: WorkQueueAdapter, stage: Stage) -> None:
    """GCD's starfish: 1000 queues; ten laps from the centre to every arm and back."""
    arms, laps, over, home, lap = 1000, 10, threading.Event(), [0], [0]

    def centre(work: Any, arg: Any) -> None:
        home[0] += 1
        if home[0] < arms:
            return
        home[0] = 0
        lap[0] += 1
        if lap[0] == laps:
            over.set()
            return
        for queue, ray in zip(queues, works, strict=True):
            queue.enqueue(ray)

    middle = a_queue(adapter, stage, centre, "centre")
    works = [adapter.work(number) for number in range(arms)]
    queues = [
        a_queue(adapter, stage, lambda work, arg: middle.enqueue(work), f"arm {number}") for number in range(arms)
    ]
    for queue, ray in zip(queues, works, strict=True):
        queue.enqueue(ray)
    holds(
        "WQ-3", over.wait(3 * timing.limit), f"the starfish stands still in lap {lap[0]} with {home[0]} of {arms} home"
    )
