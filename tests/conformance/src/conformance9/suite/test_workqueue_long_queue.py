"""Work queues where many works wait and many are withdrawn (WQ-1, WQ-5, WQ-9)."""

from __future__ import annotations

import random

import pytest

from conformance9.adapters_workqueue import WorkLike, WorkQueueAdapter
from conformance9.suite.tools import Broken, Stage, holds, refuses, timing
from conformance9.suite.works import a_blocked_queue


@pytest.mark.clause("WQ-1", "WQ-5")
def test_what_was_withdrawn_from_a_long_queue_is_not_called(adapter: WorkQueueAdapter, stage: Stage, seed: int) -> None:
    """WQ-5: of 300 works that wait 200 are withdrawn: the others come in order, then those that are enqueued again."""
    draw = random.Random(seed)
    queue, payloads, gate = a_blocked_queue(adapter, stage)
    works = [adapter.work(number) for number in range(300)]
    for work in works:
        queue.enqueue(work)
    withdrawn = draw.sample(range(300), 200)
    for number in withdrawn:
        said = queue.cancel(works[number], timing.limit)
        holds("WQ-5", said is True, f"cancel() of a work that waits returned {said!r}")
    again = withdrawn[:20]
    for number in again:
        holds("WQ-5", queue.enqueue(works[number]), "enqueue of a work that was withdrawn did not say True")
    gate.go.set()
    queue.flush(timing.limit)
    due, called = [*sorted(set(range(300)) - set(withdrawn)), *again], payloads.plain()
    lost, late = sorted(set(due) - set(called)), sorted(set(called) - set(due))
    holds("WQ-5", not late, f"works {late[:5]} were called though they had been withdrawn")
    holds("WQ-5", not lost, f"works {lost[:5]} were not called though they had not been withdrawn")
    holds("WQ-1", called == due, f"among works that were withdrawn, the others came in the order {called[:10]} ...")


@pytest.mark.clause("WQ-9")
@pytest.mark.capability("max_pending")
def test_a_large_bound_is_exact(adapter: WorkQueueAdapter, stage: Stage) -> None:
    """WQ-9: a thousand works wait and one more is refused; after ten were withdrawn there is room for ten."""
    queue, payloads, gate = a_blocked_queue(adapter, stage, max_pending=1000)

    def fill(works: list[WorkLike]) -> None:
        for number, work in enumerate(works):
            try:
                queue.enqueue(work, block=False)
            except adapter.full_error:
                raise Broken("WQ-9", f"with room for {len(works)} works there was none after {number}") from None
        refuses("WQ-9", "one more", adapter.full_error, lambda: queue.enqueue(adapter.work(), block=False))

    works = [adapter.work(number) for number in range(1000)]
    fill(works)
    for work in works[500:510]:
        queue.cancel(work, timing.limit)
    fill(works[500:510])
    gate.go.set()
    queue.flush(timing.limit)
    due = [*range(500), *range(510, 1000), *range(500, 510)]
    holds("WQ-9", payloads.plain() == due, f"of 1000 works that had a place {len(payloads.plain())} were called")
