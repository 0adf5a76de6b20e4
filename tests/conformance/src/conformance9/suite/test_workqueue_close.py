"""The end of a work queue in one step (WQ-6)."""

from __future__ import annotations

from typing import Any

import pytest

from conformance9.adapters_workqueue import WorkQueueAdapter
from conformance9.suite.kit import never
from conformance9.suite.tools import Stage, holds, need, refuses, timing, within
from conformance9.suite.works import KINDS, Payloads

pytestmark = [pytest.mark.clause("WQ-6"), pytest.mark.capability("close")]


@pytest.mark.parametrize("kind", KINDS)
def test_close_completes_what_is_pending(adapter: WorkQueueAdapter, stage: Stage, kind: str) -> None:
    """WQ-6: what waits, and what the function enqueues meanwhile; others are refused. A second close does nothing."""
    options: dict[str, Any] = {}
    if kind != "ordered":
        need(adapter, kind)
        options[kind] = True if kind == "percpu" else 3
    payloads, gate, extra = Payloads(), stage.gate(), adapter.work("extra")
    queue = adapter.queue("queue", payloads, **options)
    queue.enqueue(adapter.work(gate))
    assert gate.entered(), "WQ-3: an enqueued work was not called"
    local = "local" in adapter.capabilities
    queue.enqueue(adapter.work((lambda: queue.enqueue(extra)) if local else "extra"))
    for number in range(5):
        queue.enqueue(adapter.work(number))
    thread = stage.thread(lambda: queue.close(timing.limit))
    holds("WQ-6", never(gate.ended) and thread.is_alive(), f"close() beside a work in the function: {thread.failure!r}")
    gate.go.set()
    thread.join(timing.limit)
    holds("WQ-6", not thread.is_alive(), "close() hangs")
    holds("WQ-6", thread.failure is None, f"close() with works pending raised {thread.failure!r}")
    seen = sorted(map(str, payloads.plain()))
    holds("WQ-6", seen == [*"01234", "extra"], f"close() returned when {seen} had been called")
    refuses("WQ-6", "enqueue on a closed queue", adapter.usage_error, lambda: queue.enqueue(adapter.work()))
    within("WQ-6", "a second close()", queue.close)


@pytest.mark.capability("freeze")
def test_close_runs_what_a_freeze_has_held(adapter: WorkQueueAdapter, stage: Stage) -> None:
    """WQ-6: nobody could thaw it afterwards."""
    payloads = Payloads()
    queue = adapter.queue("queue", payloads)
    queue.freeze()
    for number in range(3):
        queue.enqueue(adapter.work(number))
    within("WQ-6", "close() of a frozen queue", lambda: queue.close(timing.limit / 2))
    holds("WQ-6", payloads.seen == [0, 1, 2], f"of three works that were held close() completed {payloads.seen}")


@pytest.mark.capability("delayed")
def test_close_says_what_it_has_cancelled(adapter: WorkQueueAdapter, stage: Stage) -> None:
    """WQ-6: what is armed."""
    queue, armed = adapter.queue("queue", Payloads()), adapter.work()
    queue.enqueue_delayed(armed, 3600)
    cancelled = queue.close(timing.limit)
    holds("WQ-6", tuple(cancelled) == (armed,), f"with one work armed close() returned {cancelled!r}")
