"""WQ-11, WQ-12: exceptions and counters."""

from __future__ import annotations

import threading
import time
import traceback
from typing import Any

import pytest

from conformance9.adapters_workqueue import WorkQueueAdapter, WorkQueueLike
from conformance9.suite.kit import Tally, together
from conformance9.suite.tools import Log, Stage, holds, reported, timing
from conformance9.suite.works import KINDS, Payloads, a_blocked_queue, a_queue, a_queue_of


class Unusual(BaseException):
    """Not an Exception, like those that end programs."""


# --- WQ-11: exceptions


@pytest.mark.clause("WQ-11")
@pytest.mark.parametrize("kind", KINDS)
def test_exceptions_are_reported_by_name_and_the_queue_goes_on(
    adapter: WorkQueueAdapter, stage: Stage, kind: str
) -> None:
    """Of ten works every other one raises: each reaches threading.excepthook, naming queue and work; all are called."""
    tally = Tally()

    def func(work: Any, arg: Any) -> None:
        tally()
        number = int(work.payload.rpartition(" ")[2])
        if number % 2:
            raise (LookupError if number % 4 == 1 else Unusual)(number)

    queue = a_queue_of(kind, adapter, stage, func, name="brittle queue")
    with reported() as reports:
        works = [adapter.work(f"piece {number}") for number in range(10)]
        for work in works:
            queue.enqueue(work)
        queue.flush(timing.limit)
        holds("WQ-11", tally.runs == 10, f"of ten works, half of which raise, {tally.runs} were called")
        holds("WQ-11", reports.reached(5), f"5 works raised, {len(reports.entries)} exceptions were reported")
        holds("WQ-11", len(reports.entries) == 5, f"5 works raised, {len(reports.entries)} exceptions were reported")
        for error in reports.entries:
            text = "".join(traceback.format_exception(error))
            holds("WQ-11", "brittle queue" in text, f"the report does not name the queue: {text}")
            holds("WQ-11", f"piece {error.args[0]}" in text, f"the report does not name the work: {text}")
        holds("WQ-11", queue.enqueue(works[1]) is True, "a work that raised can't be enqueued again")
        queue.wait(works[1], timing.limit)
        holds("WQ-11", tally.runs == 11, "a work that raised was not called again")
        holds("WQ-11", reports.reached(6), "the second exception of a work was not reported")


@pytest.mark.clause("WQ-11", "WQ-4")
def test_who_waits_for_a_work_that_raises_gets_on(adapter: WorkQueueAdapter, stage: Stage) -> None:
    """wait, cancel and flush return when the call that they wait for raises."""
    gate = stage.gate()

    def func(work: Any, arg: Any) -> None:
        gate()
        raise LookupError("on purpose")

    queue, work = a_queue(adapter, stage, func), adapter.work()
    with reported() as reports:
        queue.enqueue(work)
        holds("WQ-3", gate.entered(), "an enqueued work did not run")
        threads = [
            stage.thread(lambda: queue.wait(work, timing.limit)),
            stage.thread(lambda: queue.cancel(work, timing.limit)),
            stage.thread(lambda: queue.flush(timing.limit)),
        ]
        gate.go.set()
        for thread in threads:
            thread.join(timing.limit)
            holds("WQ-11", not thread.is_alive(), "who waits for a call that raises waits for ever")
            holds("WQ-11", thread.failure is None, f"who waits for a call that raises got {thread.failure!r}")
        holds("WQ-11", reports.reached(1), "the exception was not reported")


@pytest.mark.clause("WQ-11")
@pytest.mark.capability("on_error")
def test_on_error_takes_the_place_of_the_hook(adapter: WorkQueueAdapter, stage: Stage) -> None:
    """on_error(exception, work) for this queue only; if it raises itself, that is reported and the queue goes on."""
    handled, tally = Log(), Tally()

    def func(work: Any, arg: Any) -> None:
        tally()
        raise LookupError(work.payload)

    def on_error(error: BaseException, work: Any) -> None:
        handled.add((error, work))
        if work.payload == "again":
            raise Unusual("in the handler")

    queue = a_queue(adapter, stage, func, "handled", on_error=on_error)
    other = a_queue(adapter, stage, func, "other")
    with reported() as reports:
        works = [adapter.work("first"), adapter.work("second")]
        for work in works:
            queue.enqueue(work)
        queue.flush(timing.limit)
        holds("WQ-11", handled.reached(2), f"2 works raised, on_error was called {len(handled.entries)} times")
        told = [(type(error), error.args, work) for error, work in handled.entries]
        holds("WQ-11", told == [(LookupError, (work.payload,), work) for work in works], f"on_error was given {told}")
        holds("WQ-11", not reports.entries, f"with on_error the hook was called too: {reports.entries}")
        other.enqueue(adapter.work("elsewhere"))
        holds("WQ-11", reports.reached(1), "on_error of one queue has taken the exception of another")
        queue.enqueue(adapter.work("again"))
        holds("WQ-11", reports.reached(2), "an exception of on_error itself was not reported")
        queue.enqueue(adapter.work("last"))
        queue.flush(timing.limit)
        holds("WQ-11", len(handled.entries) == 4, "after an exception of on_error the queue does not go on")
        other.flush(timing.limit)


# --- WQ-12: counters


def _counts(queue: WorkQueueLike) -> dict[str, int]:
    stats = queue.stats()
    names = ("enqueued", "started", "completed", "cancelled", "errors", "pending", "running")
    return {name: getattr(stats, name) for name in names}


@pytest.mark.clause("WQ-12")
@pytest.mark.capability("stats")
def test_counters_follow_each_work(adapter: WorkQueueAdapter, stage: Stage) -> None:
    """Step by step: one in the function, five waiting, one cancelled, one that raises, all done."""
    gate = stage.gate()

    def func(work: Any, arg: Any) -> None:
        if work.payload == "gate":
            gate()
        elif work.payload == "raise":
            raise LookupError("on purpose")

    def expect(when: str, **expected: int) -> None:
        names = ("enqueued", "started", "completed", "cancelled", "errors", "pending", "running")
        expected = dict.fromkeys(names, 0) | expected
        got = _counts(queue)
        wrong = {name: (got[name], expected[name]) for name in names if got[name] != expected[name]}
        holds("WQ-12", not wrong, f"{when}, counters are (got, expected): {wrong}")

    queue = a_queue(adapter, stage, func)
    expect("fresh")
    queue.enqueue(adapter.work("gate"))
    holds("WQ-3", gate.entered(), "an enqueued work did not run")
    expect("one in the function", enqueued=1, started=1, running=1)
    works = [adapter.work(number) for number in range(4)]
    for work in [*works, adapter.work("raise")]:
        queue.enqueue(work)
    expect("five waiting", enqueued=6, started=1, running=1, pending=5)
    queue.cancel(works[0], timing.limit)
    expect("one of them cancelled", enqueued=6, started=1, running=1, pending=4, cancelled=1)
    with reported():
        gate.go.set()
        queue.drain(timing.limit)
    expect("drained", enqueued=6, started=5, completed=5, cancelled=1, errors=1)
    for work in works:
        queue.enqueue(work)
    queue.drain(timing.limit)
    expect("and four more", enqueued=10, started=9, completed=9, cancelled=1, errors=1)


@pytest.mark.clause("WQ-12", "WQ-7")
@pytest.mark.capability("stats", "delayed")
def test_delayed_works_are_counted_as_pending(adapter: WorkQueueAdapter, stage: Stage) -> None:
    """Enqueued and pending from the call on, though it is called much later; then cancelled."""
    queue, works = a_queue(adapter, stage, Payloads()), [adapter.work() for _ in range(3)]
    for number, work in enumerate(works, 1):
        queue.enqueue_delayed(work, 3600)
        got = _counts(queue)
        holds("WQ-12", (got["enqueued"], got["pending"]) == (number, number), f"{number} works are delayed: {got}")
    for number, work in enumerate(works, 1):
        queue.cancel(work, timing.limit)
        got = _counts(queue)
        holds("WQ-12", (got["cancelled"], got["pending"]) == (number, 3 - number), f"{number} are cancelled: {got}")


@pytest.mark.clause("WQ-12", "WQ-1")
@pytest.mark.capability("stats", "max_active")
def test_counters_show_what_is_in_flight(adapter: WorkQueueAdapter, stage: Stage) -> None:
    """max_active=3 with six works that block: three run, three wait; started - completed is what is in flight."""
    gates = [stage.gate() for _ in range(6)]
    queue = a_queue(adapter, stage, Payloads(), max_active=3)
    for gate in gates:
        queue.enqueue(adapter.work(gate))
    holds("WQ-1", all(gate.entered() for gate in gates[:3]), "a queue with max_active=3 does not run 3 at once")
    got = _counts(queue)
    holds("WQ-12", (got["running"], got["pending"]) == (3, 3), f"3 of 6 works are in the function: {got}")
    holds("WQ-12", got["started"] - got["completed"] == 3, f"started - completed is not what is in flight: {got}")
    for gate in gates:
        gate.go.set()
    queue.drain(timing.limit)
    got = _counts(queue)
    holds(
        "WQ-12", (got["started"], got["completed"], got["running"], got["pending"]) == (6, 6, 0, 0), f"drained: {got}"
    )


@pytest.mark.clause("WQ-12")
@pytest.mark.capability("stats")
@pytest.mark.parametrize("kind", KINDS)
def test_counters_add_up_after_a_storm(adapter: WorkQueueAdapter, stage: Stage, kind: str) -> None:
    """Threads that enqueue, cancel and wait: enqueued is started + cancelled, started is completed."""
    tally = Tally()
    queue = a_queue_of(kind, adapter, stage, tally)
    over, odd = threading.Event(), Log()

    def storm() -> tuple[int, int]:
        enqueued = cancelled = 0
        work = adapter.work()
        for number in range(800):
            enqueued += queue.enqueue(work)
            if number % 2:
                queue.wait(work, timing.limit)
            cancelled += queue.cancel(work, timing.limit)
        return enqueued, cancelled

    def look() -> tuple[int, int]:
        while not over.wait(0.001):
            stats = queue.stats()
            if stats.completed > stats.started or min(_counts(queue).values()) < 0:
                odd.add(stats)
        return 0, 0

    watcher = stage.thread(look)
    told = together(stage, storm, storm, storm)
    over.set()
    watcher.join(timing.limit)
    queue.drain(timing.limit)
    holds("WQ-12", not odd.entries, f"counters that can't be: {odd.entries[:1]}")
    enqueued = sum(pair[0] for pair in told)
    cancelled = sum(pair[1] for pair in told)
    expected = {"enqueued": enqueued, "started": tally.runs, "completed": tally.runs, "cancelled": cancelled}
    expected |= {"errors": 0, "pending": 0, "running": 0}
    got = _counts(queue)
    holds("WQ-12", got == expected, f"counters are {got}, but the threads count {expected}")
    counted = sum(queue.stats().wait_histogram)
    holds("WQ-12", counted == tally.runs, f"{tally.runs} works were started, the histogram of waits has {counted}")


@pytest.mark.clause("WQ-12")
@pytest.mark.capability("stats")
def test_run_time_and_waits_are_measured(adapter: WorkQueueAdapter, stage: Stage) -> None:
    """The run time holds the time in the function; the histogram has each wait in its bucket."""
    queue, payloads, gate = a_blocked_queue(adapter, stage)
    inside = time.monotonic()
    before = list(queue.stats().wait_histogram)
    holds("WQ-12", sum(before) == 1, f"one work was started, the histogram of waits has {sum(before)}")
    earliest = time.monotonic()
    queue.enqueue(adapter.work("waits"))
    latest = time.monotonic()
    threading.Event().wait(timing.moment)
    released = time.monotonic()
    gate.go.set()
    queue.drain(timing.limit)
    end = time.monotonic()
    stats = queue.stats()
    holds(
        "WQ-12",
        stats.run_seconds >= released - inside,
        f"a function took {released - inside:.4f} s at least, the run time is {stats.run_seconds:.4f} s",
    )
    holds("WQ-12", stats.run_seconds <= end - inside + timing.limit, "the run time is longer than the test took")
    new = [bucket for bucket, count in enumerate(stats.wait_histogram) if count != before[bucket]]
    holds("WQ-12", len(new) == 1, f"one work more was started, the buckets that changed are {new}")
    holds(
        "WQ-12",
        sum(stats.wait_histogram) == 2,
        f"two works were started, the histogram has {sum(stats.wait_histogram)}",
    )
    bounds = [0.0, *adapter.wait_bounds()]
    low, high = bounds[new[0]], bounds[new[0] + 1]
    holds(
        "WQ-12",
        high >= released - latest,
        f"a wait of {released - latest:.4f} s at least is in the bucket {low}..{high} s",
    )
    holds("WQ-12", low <= end - earliest, f"a wait of {end - earliest:.4f} s at most is in the bucket {low}..{high} s")
    holds("WQ-1", payloads.plain() == ["waits"], "the work was not called")
