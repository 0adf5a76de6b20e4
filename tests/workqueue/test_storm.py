"""What storms leave behind inside a work queue; those that can be seen from outside are in the conformance suite."""

from __future__ import annotations

import threading

import pytest
from pace import patience

import workqueue9
from workqueue9 import WQ_PERCPU, Work, WorkQueue

LIMIT = patience(20.0)


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
        assert not wq.group.sleepers


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
        assert stats in workqueue9.snapshot()
