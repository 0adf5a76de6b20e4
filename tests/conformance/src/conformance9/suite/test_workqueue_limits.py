"""WQ-9, WQ-10: full queues, frozen queues, disabled works."""

from __future__ import annotations

import threading
from functools import partial
from typing import Any

import pytest

from conformance9.adapters_workqueue import WorkQueueAdapter, WorkQueueLike
from conformance9.suite.kit import Lingering, Tally, never, together
from conformance9.suite.tools import Log, Stage, holds, refuses, timing
from conformance9.suite.works import KINDS, Payloads, a_blocked_queue, a_queue, a_queue_of

# --- WQ-9: back-pressure


def _room(adapter: WorkQueueAdapter, queue: WorkQueueLike, at_most: int) -> list[Any]:
    """The works that a blocked queue still takes."""
    taken = []
    for number in range(at_most + 1):
        work = adapter.work(("room", number))
        try:
            queue.enqueue(work, block=False)
        except adapter.full_error:
            break
        taken.append(work)
    return taken


@pytest.mark.clause("WQ-9")
@pytest.mark.capability("max_pending")
def test_a_full_queue_says_so_and_drops_nothing(adapter: WorkQueueAdapter, stage: Stage) -> None:
    """Exactly max_pending works wait; one more: Full at once, or after the timeout, and nothing was changed."""
    queue, payloads, gate = a_blocked_queue(adapter, stage, max_pending=3)
    taken = _room(adapter, queue, 10)
    holds("WQ-9", len(taken) == 3, f"a queue with max_pending=3 took {len(taken)} works")
    work = adapter.work("too many")
    refuses(
        "WQ-9", "enqueue on a full queue, not blocking", adapter.full_error, lambda: queue.enqueue(work, block=False)
    )
    for limit in (0.01, 0) if "timeouts" in adapter.capabilities else ():
        what = f"enqueue on a full queue with a timeout of {limit}"
        refuses("WQ-9", what, adapter.full_error, lambda limit=limit: queue.enqueue(work, timeout=limit))
    holds("WQ-9", not work.pending, "a refused enqueue left the work pending")
    gate.go.set()
    queue.flush(timing.limit)
    holds("WQ-9", payloads.plain() == [("room", 0), ("room", 1), ("room", 2)], f"called were {payloads.plain()}")
    holds("WQ-9", queue.enqueue(work, block=False) is True, "an empty queue is not full")


@pytest.mark.clause("WQ-9")
@pytest.mark.capability("max_pending")
def test_who_blocks_on_a_full_queue_goes_on_when_there_is_room(adapter: WorkQueueAdapter, stage: Stage) -> None:
    """Five threads block on a full queue: none gets in before there is room, all of them after, nothing is lost."""
    queue, payloads, gate = a_blocked_queue(adapter, stage, max_pending=2)
    holds("WQ-9", len(_room(adapter, queue, 10)) == 2, "a queue with max_pending=2 must take 2 works")
    works, inside = [adapter.work(number) for number in range(5)], Log()
    threads = [stage.thread(lambda work=work: inside.add(queue.enqueue(work, timeout=timing.limit))) for work in works]
    assert never(gate.ended), "the test's own gate opened too early"
    holds("WQ-9", not inside.entries, "enqueue on a full queue returned though there was no room")
    holds("WQ-9", not any(work.pending for work in works), "a work whose enqueue blocks is pending")
    gate.go.set()
    for thread in threads:
        thread.join(timing.limit)
        holds("WQ-9", not thread.is_alive(), "there is room, and an enqueue blocks")
        holds("WQ-9", thread.failure is None, f"there was room in time, but enqueue raised {thread.failure!r}")
    queue.flush(timing.limit)
    called = sorted(payload for payload in payloads.plain() if isinstance(payload, int))
    holds("WQ-9", called == [0, 1, 2, 3, 4], f"five enqueues that blocked were the calls {called}")


@pytest.mark.clause("WQ-9", "WQ-5")
@pytest.mark.capability("max_pending")
def test_cancel_makes_room_once(adapter: WorkQueueAdapter, stage: Stage) -> None:
    """A cancelled work gives its place back, to one who blocks too; no place is lost or made."""
    queue, _, gate = a_blocked_queue(adapter, stage, max_pending=3)
    for number in range(10):
        taken = _room(adapter, queue, 10)
        holds("WQ-9", len(taken) == 3, f"after {number} rounds of fill and cancel, 3 places are {len(taken)}")
        again = partial(queue.enqueue, taken[0], block=False)
        refuses("WQ-3", "enqueue of a pending work", adapter.pending_error, again)
        refuses(
            "WQ-9", "enqueue on a full queue", adapter.full_error, lambda: queue.enqueue(adapter.work(), block=False)
        )
        for work in taken:
            holds("WQ-5", queue.cancel(work, timing.limit) is True, "cancel of a pending work must say True")
            holds("WQ-5", queue.cancel(work, timing.limit) is False, "cancel of an idle work must say False")
    taken = _room(adapter, queue, 10)
    blocked = adapter.work("blocked")
    thread = stage.thread(lambda: queue.enqueue(blocked, timeout=timing.limit))
    queue.cancel(taken[1], timing.limit)
    thread.join(timing.limit)
    holds("WQ-9", not thread.is_alive(), "a cancel made room, and an enqueue blocks")
    holds("WQ-9", blocked.pending, "an enqueue that got the place of a cancelled work is not pending")
    holds("WQ-9", not _room(adapter, queue, 10), "one cancel made more than one place")
    gate.go.set()


@pytest.mark.clause("WQ-9", "WQ-3")
@pytest.mark.capability("max_pending")
def test_a_refused_enqueue_takes_no_place(adapter: WorkQueueAdapter, stage: Stage) -> None:
    """With room left: a pending work is refused twenty times, and all the room is still there."""
    queue, _, gate = a_blocked_queue(adapter, stage, max_pending=4)
    work = adapter.work("pending")
    queue.enqueue(work)
    for _ in range(20):
        refuses("WQ-3", "enqueue of a pending work", adapter.pending_error, lambda: queue.enqueue(work, block=False))
        refuses("WQ-3", "enqueue of a pending work", adapter.pending_error, lambda: queue.enqueue(work, timeout=1))
    left = len(_room(adapter, queue, 10))
    holds("WQ-9", left == 3, f"of 4 places 1 is taken; after refused enqueues {left} are left")
    gate.go.set()


@pytest.mark.clause("WQ-9")
@pytest.mark.capability("max_pending")
@pytest.mark.parametrize("kind", KINDS)
def test_places_are_never_lost_or_made(adapter: WorkQueueAdapter, stage: Stage, kind: str) -> None:
    """A storm of enqueues that block, give up or are refused, and of cancels: then there is room as at first."""
    payloads = Payloads()
    queue = a_queue_of(kind, adapter, stage, payloads, max_pending=3)
    accepted, withdrawn = Log(), Log()
    limits = "timeouts" in adapter.capabilities

    def storm(which: int) -> None:
        for number in range(600):
            work = adapter.work((which, number))
            try:
                block = bool(number % 3 and (limits or number % 5))
                if queue.enqueue(work, block=block, timeout=timing.limit if number % 5 else 0):
                    accepted.add(work.payload)
            except adapter.full_error:
                continue
            if number % 7 == 0 and queue.cancel(work, timing.limit):
                withdrawn.add(work.payload)

    together(stage, *[lambda which=which: storm(which) for which in range(3)])
    queue.flush(timing.limit)
    expected = sorted(set(accepted.entries) - set(withdrawn.entries))
    holds(
        "WQ-9",
        sorted(payloads.seen) == expected,
        f"{len(accepted.entries)} were taken, {len(withdrawn.entries)} withdrawn, {len(payloads.seen)} called",
    )
    gates = [stage.gate() for _ in range({"ordered": 1, "percpu": len(adapter.cpus()), "max_active": 3}[kind])]
    for gate, cpu in zip(gates, adapter.cpus() if kind == "percpu" else [None] * 3, strict=False):
        queue.enqueue(adapter.work(gate), cpu=cpu, timeout=timing.limit)
        holds("WQ-9", gate.entered(), "after the storm a work was not called")
    room = len(_room(adapter, queue, 10))
    holds("WQ-9", room == 3, f"after the storm a queue with max_pending=3 takes {room} works")
    for gate in gates:
        gate.go.set()


@pytest.mark.clause("WQ-9", "WQ-7")
@pytest.mark.capability("max_pending", "delayed")
def test_a_work_that_is_moved_to_later_keeps_the_account(adapter: WorkQueueAdapter, stage: Stage) -> None:
    """modify takes works off a full queue into the timer, and cancel out of that: the room is as at first."""
    queue, _, gate = a_blocked_queue(adapter, stage, max_pending=3)
    for number in range(5):
        taken = _room(adapter, queue, 10)
        holds("WQ-9", len(taken) == 3, f"after {number} rounds of fill and modify, 3 places are {len(taken)}")
        for work in taken:
            holds("WQ-7", queue.modify(work, 3600) is True, "modify of a pending work must say True")
        others = _room(adapter, queue, 10)
        holds("WQ-9", len(others) == 3, f"three works are moved to later, and of their 3 places {len(others)} are free")
        for work in others:
            queue.cancel(work, timing.limit)
        for work in taken[:2]:
            holds("WQ-5", queue.cancel(work, timing.limit) is True, "cancel of a delayed work must say True")
        queue.cancel(taken[2], timing.limit)
    gate.go.set()


# --- WQ-10: freeze and thaw, disable and enable


@pytest.mark.clause("WQ-10")
@pytest.mark.capability("freeze")
@pytest.mark.parametrize("kind", KINDS)
def test_a_frozen_queue_accepts_and_holds(adapter: WorkQueueAdapter, stage: Stage, kind: str) -> None:
    """Frozen: enqueue says True, nothing is called; thaw: all are called, in order."""
    payloads, called = Payloads(), threading.Event()

    def func(work: Any, arg: Any) -> None:
        called.set()
        payloads(work, arg)

    queue = a_queue_of(kind, adapter, stage, func)
    for _ in range(2):
        payloads.seen.clear()
        called.clear()
        queue.freeze()
        works = [adapter.work(number) for number in range(20)]
        for number, work in enumerate(works):
            cpu = adapter.cpus()[number % len(adapter.cpus())] if kind == "percpu" else None
            holds("WQ-10", queue.enqueue(work, cpu=cpu) is True, "a frozen queue must accept works")
        holds("WQ-10", never(called), "a frozen queue called its function")
        holds("WQ-10", all(work.pending for work in works), "a work on a frozen queue is not pending")
        queue.thaw()
        holds("WQ-10", payloads.reached(20), f"after thaw {len(payloads.seen)} of 20 works were called")
        queue.flush(timing.limit)
        if kind == "ordered":
            holds("WQ-10", payloads.seen == list(range(20)), f"after thaw the order was {payloads.seen}")
        elif kind == "percpu":
            count = len(adapter.cpus())
            for first in range(count):
                order = [number for number in payloads.seen if number % count == first]
                holds("WQ-10", order == sorted(order), f"after thaw the order of one CPU was {order}")
        holds("WQ-10", sorted(payloads.seen) == list(range(20)), f"after thaw 0 to 19 were called as {payloads.seen}")


@pytest.mark.clause("WQ-10", "WQ-1")
@pytest.mark.capability("freeze", "max_active")
def test_after_thaw_as_many_run_at_once_as_before(adapter: WorkQueueAdapter, stage: Stage) -> None:
    """With max_active=3, three works that block are held and thawed: all three are in the function."""
    queue = a_queue(adapter, stage, Payloads(), max_active=3)
    for _ in range(3):
        gates = [stage.gate() for _ in range(3)]
        queue.freeze()
        for gate in gates:
            queue.enqueue(adapter.work(gate))
        queue.thaw()
        at_once = sum(gate.entered() for gate in gates)
        holds("WQ-10", at_once == 3, f"after thaw, of 3 works with max_active=3 only {at_once} are in the function")
        for gate in gates:
            gate.go.set()
        queue.flush(timing.limit)


@pytest.mark.clause("WQ-10", "WQ-7")
@pytest.mark.capability("freeze", "delayed")
def test_a_disabled_work_is_not_enqueued_for_later_either(adapter: WorkQueueAdapter, stage: Stage) -> None:
    """enqueue_delayed and modify of a disabled work say False and arm nothing; enabled again, they work."""
    tally = Tally()
    queue, work = a_queue(adapter, stage, tally), adapter.work()
    queue.enqueue_delayed(work, 3600)
    holds("WQ-10", queue.disable(work, timing.limit) is True, "disable of a delayed work must say True")
    for seconds in (3600, 0.001, 0):
        said = queue.enqueue_delayed(work, seconds)
        holds("WQ-10", said is False, f"enqueue_delayed of a disabled work by {seconds} s said {said}, not False")
        holds("WQ-10", queue.modify(work, seconds) is False, "modify of a work that is not pending must say False")
        holds("WQ-10", not work.pending, "a disabled work is pending")
    holds("WQ-10", queue.enable(work) is True, "enabled as often as disabled, enable must say True")
    holds("WQ-10", queue.enqueue_delayed(work, 0.001) is True, "enqueue_delayed of an enabled work must say True")
    queue.wait(work, timing.limit)
    holds("WQ-10", tally.runs == 1, f"enabled and delayed once, it was called {tally.runs} times")


@pytest.mark.clause("WQ-10")
@pytest.mark.capability("freeze")
def test_freeze_holds_what_waits_and_lets_go_on_what_runs(adapter: WorkQueueAdapter, stage: Stage) -> None:
    """Frozen with one work in its function: that one ends, the others wait, in order with those that come later."""
    queue, payloads, gate = a_blocked_queue(adapter, stage)
    for number in range(3):
        queue.enqueue(adapter.work(number))
    queue.freeze()
    for number in range(3, 6):
        queue.enqueue(adapter.work(number))
    gate.go.set()
    holds("WQ-10", payloads.reached(1), "freeze stopped the work that was in its function")
    queue.freeze()  # a second freeze is no more frozen than one
    assert never(threading.Event())  # only a moment for what must not happen
    holds("WQ-10", payloads.plain() == [], f"a frozen queue called {payloads.plain()}")
    holds("WQ-5", queue.cancel(_pending_of(adapter, queue), timing.limit) is True, "cancel on a frozen queue: True")
    queue.thaw()
    queue.flush(timing.limit)
    holds("WQ-10", payloads.plain() == list(range(6)), f"after thaw the order was {payloads.plain()}")
    queue.thaw()
    queue.enqueue(adapter.work(6))
    queue.flush(timing.limit)
    holds("WQ-10", payloads.plain()[-1] == 6, "after thaw a queue must call what is enqueued")


def _pending_of(adapter: WorkQueueAdapter, queue: WorkQueueLike) -> Any:
    """A work that was enqueued just now."""
    work = adapter.work("to be cancelled")
    queue.enqueue(work)
    return work


@pytest.mark.clause("WQ-10")
@pytest.mark.capability("freeze")
@pytest.mark.parametrize("kind", KINDS)
def test_nothing_is_lost_between_freeze_and_thaw(adapter: WorkQueueAdapter, stage: Stage, kind: str) -> None:
    """One thread freezes and thaws as fast as it can, another enqueues three thousand: all called, in order."""
    payloads, over = Payloads(), threading.Event()
    queue = a_queue_of(kind, adapter, stage, payloads)
    cpu = adapter.cpus()[0] if kind == "percpu" else None

    def flicker() -> None:
        while not over.is_set():
            queue.freeze()
            queue.thaw()

    def feed() -> None:
        try:
            for number in range(3000):
                queue.enqueue(adapter.work(number), cpu=cpu)
        finally:
            over.set()

    together(stage, flicker, feed)
    queue.flush(timing.limit)
    holds("WQ-10", len(payloads.seen) == 3000, f"of 3000 works {len(payloads.seen)} were called")
    if kind != "max_active":
        holds("WQ-10", payloads.seen == list(range(3000)), "freezing and thawing broke the order")


@pytest.mark.clause("WQ-10")
@pytest.mark.capability("freeze")
def test_disable_is_counted(adapter: WorkQueueAdapter, stage: Stage) -> None:
    """Disabled twice: enqueue says False until it was enabled twice; one enable too many is an error."""
    tally = Tally()
    queue, work, other = a_queue(adapter, stage, tally), adapter.work(), adapter.work()
    for _ in range(2):
        queue.disable(work, timing.limit)
        holds("WQ-10", queue.enqueue(work) is False, "enqueue of a disabled work must say False")
        holds("WQ-10", not work.pending, "a disabled work is pending")
    holds("WQ-10", queue.enqueue(other) is True, "disable of one work has disabled another")
    queue.flush(timing.limit)
    holds("WQ-10", tally.runs == 1, "a disabled work was called")
    holds("WQ-10", queue.enable(work) is False, "disabled twice and enabled once, enable must say False")
    holds("WQ-10", queue.enqueue(work) is False, "enqueue of a work that is disabled once more must say False")
    holds("WQ-10", queue.enable(work) is True, "enabled as often as disabled, enable must say True")
    queue.flush(timing.limit)
    holds("WQ-10", tally.runs == 1, "enable has called a work")
    holds("WQ-10", queue.enqueue(work) is True, "enqueue of a work that is enabled again must say True")
    queue.flush(timing.limit)
    holds("WQ-10", tally.runs == 2, f"enabled and enqueued once, it was called {tally.runs - 1} times")
    refuses("WQ-10", "one enable too many", adapter.usage_error, lambda: queue.enable(work))
    holds("WQ-10", queue.enqueue(work) is True, "a refused enable has changed the work")


@pytest.mark.clause("WQ-10", "WQ-5")
@pytest.mark.capability("freeze")
def test_disable_withdraws_and_waits(adapter: WorkQueueAdapter, stage: Stage) -> None:
    """Of a pending work: True, and it is not called; of one in its function: False, when the function has returned."""
    queue, payloads, gate = a_blocked_queue(adapter, stage)
    work, function = adapter.work("pending"), Lingering()
    queue.enqueue(work)
    holds("WQ-10", queue.disable(work, timing.limit) is True, "disable of a pending work must say True")
    gate.go.set()
    running = adapter.work(function)
    queue.enqueue(running)
    holds("WQ-3", function.entered(), "an enqueued work did not run")
    result = queue.disable(running, timing.limit)
    holds("WQ-10", function.ended, "disable returned before the call was over")
    holds("WQ-10", result is False, f"disable that had to wait said {result}, not False")
    queue.flush(timing.limit)
    holds("WQ-10", payloads.plain() == [], f"disabled while pending, and called: {payloads.plain()}")
    queue.enable(work)
    queue.enable(running)


@pytest.mark.clause("WQ-10", "WQ-9")
@pytest.mark.capability("freeze", "max_pending")
def test_a_disabled_work_takes_no_place(adapter: WorkQueueAdapter, stage: Stage) -> None:
    """Enqueued twenty times while disabled: all the room of a bounded queue is still there."""
    queue, _, gate = a_blocked_queue(adapter, stage, max_pending=3)
    work = adapter.work("disabled")
    queue.enqueue(work)
    holds("WQ-10", queue.disable(work, timing.limit) is True, "disable of a pending work must say True")
    for _ in range(20):
        holds("WQ-10", queue.enqueue(work, block=False) is False, "enqueue of a disabled work must say False")
    room = len(_room(adapter, queue, 10))
    holds("WQ-9", room == 3, f"of 3 places none is taken, but {room} are left")
    queue.enable(work)
    gate.go.set()
