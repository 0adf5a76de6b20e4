"""What a storm on the timer leaves behind inside; what can be seen from outside is in the conformance suite."""

from __future__ import annotations

import task9
from conformance9.suite.tools import wait_until
from task9 import DelayedTask, TaskQueue


def test_tk12_a_hundred_thousand_armed_and_cancelled_leave_nothing_behind() -> None:
    """TK-12: cancelled entries do not pile up in the timer."""
    from task9._timer import timer

    with TaskQueue("armed") as queue:
        task = DelayedTask(lambda task: None)
        for _ in range(100_000):
            assert queue.schedule_delayed(task, 1000)
            assert task.cancel_async()
        # The timer throws them away as it comes to them.
        assert wait_until(lambda: not (timer._heap or timer._intake)), "cancelled entries pile up"
        assert task9.snapshot().armed == 0
