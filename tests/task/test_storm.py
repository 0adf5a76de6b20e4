"""What a storm on the timer leaves behind inside; what can be seen from outside is in the conformance suite."""

from __future__ import annotations

import time

import task9
from task9 import DelayedTask, TaskQueue

LIMIT = 20.0


def test_tk12_a_hundred_thousand_armed_and_cancelled_leave_nothing_behind() -> None:
    """TK-12: cancelled entries do not pile up in the timer."""
    from task9._timer import timer

    with TaskQueue("armed") as queue:
        task = DelayedTask(lambda task: None)
        for _ in range(100_000):
            assert queue.schedule_delayed(task, 1000)
            assert task.cancel_async()
        # The timer throws them away as it comes to them.
        deadline = time.monotonic() + LIMIT
        while timer._heap or timer._intake:
            assert time.monotonic() < deadline, "cancelled entries pile up"
        assert task9.snapshot().armed == 0
