"""Storms on work queues: wait, cancel, modify, freeze and back-pressure against enqueuers, with exact accounts."""

from __future__ import annotations

import threading

import pytest

import workqueue9
from workqueue9 import WQ_PERCPU, Full, Work, WorkPending, WorkQueue

LIMIT = 20.0


def in_threads(*bodies: object) -> None:
    """Run every body on a thread of its own; an exception in one fails the test."""
    errors: list[BaseException] = []

    def guarded(body: object) -> None:
        try:
            body()  # type: ignore[operator]
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=guarded, args=(body,)) for body in bodies]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(LIMIT)
        assert not thread.is_alive(), "a storm thread hangs"
    assert not errors, errors


@pytest.mark.parametrize("flags", [0, WQ_PERCPU])
def test_wq4_wait_returns_after_the_run_and_never_hangs(flags: int) -> None:
    """WQ-4: when wait returns the run that was pending is over, over thousands of rounds."""
    finished: list[Work] = []
    with WorkQueue("wait", lambda work, arg: finished.append(work), flags=flags) as wq:

        def rounds() -> None:
            work = Work()
            for number in range(1500):
                assert wq.enqueue(work)
                wq.wait(work, LIMIT)
                assert finished.count(work) == number + 1 if number < 50 else True

        in_threads(rounds, rounds)
        assert len(finished) == 3000
        assert wq._group.watches == {}


def test_wq5_cancel_is_exact() -> None:
    """WQ-5: every enqueue is a run or a True from cancel, never both, never neither."""
    runs: list[Work] = []
    with WorkQueue("cancel", lambda work, arg: runs.append(work)) as wq:
        enqueued = cancelled = 0
        work = Work()
        for number in range(5000):
            enqueued += wq.enqueue(work)
            if number % 2:
                wq.wait(work, LIMIT)
            cancelled += wq.cancel(work, LIMIT)
        wq.flush(LIMIT)
        assert len(runs) + cancelled == enqueued == 5000
        stats = wq.stats()
        assert (stats.enqueued, stats.started, stats.cancelled) == (5000, len(runs), cancelled)


@pytest.mark.parametrize("max_active", [1, 3])
def test_wq9_slots_are_never_lost_or_made(max_active: int) -> None:
    """WQ-9: after a storm of enqueues, cancels, refusals and timeouts the queue holds as many as at first."""
    wq = WorkQueue("slots", lambda work, arg: None, max_active=max_active, max_pending=3)
    accepted = []

    def storm() -> None:
        count = 0
        for number in range(1500):
            work = Work(number)
            try:
                count += wq.enqueue(work, block=number % 3 != 0, timeout=LIMIT if number % 5 else 0.0)
            except Full:
                continue
            if number % 7 == 0:
                wq.cancel(work, LIMIT)
            if number % 11 == 0:
                try:
                    wq.enqueue(work, block=False)
                    count += 1
                except (WorkPending, Full):
                    pass
        accepted.append(count)

    in_threads(storm, storm, storm)
    wq.drain(LIMIT)
    slots = wq._group.slots
    assert slots is not None
    assert len(slots) == 3
    stats = wq.stats()
    assert stats.enqueued == sum(accepted)
    assert stats.started == stats.completed
    wq.destroy()


def test_wq10_nothing_is_lost_between_freeze_and_thaw() -> None:
    """WQ-10: freezing and thawing beside enqueues loses no work and keeps the order."""
    order: list[int] = []
    with WorkQueue("freeze", lambda work, arg: order.append(work.payload)) as wq:
        stop = threading.Event()

        def flicker() -> None:
            while not stop.is_set():
                wq.freeze()
                wq.thaw()

        def feed() -> None:
            for number in range(5000):
                wq.enqueue(Work(number))
            stop.set()

        in_threads(flicker, feed)
        wq.flush(LIMIT)
    assert order == list(range(5000))


def test_wq7_delayed_works_fire_or_are_cancelled() -> None:
    """WQ-7: modify and cancel against expiry: each enqueue ends once."""
    runs: list[Work] = []
    with WorkQueue("delayed", lambda work, arg: runs.append(work)) as wq:
        works = [Work(n) for n in range(1000)]
        for work in works:
            wq.enqueue_delayed(work, 0.002)
        for work in works[::2]:
            wq.modify(work, 0.001)
        cancelled = sum(wq.cancel(work, LIMIT) for work in works[::3])
        for work in works:
            wq.wait(work, LIMIT)
        assert wq.stats().pending == 0
        assert len(runs) + cancelled >= len(works)
        stats = wq.stats()
        assert stats.enqueued == stats.started + stats.cancelled
        assert workqueue9.snapshot()["delayed"] == stats
