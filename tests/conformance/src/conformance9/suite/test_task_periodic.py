"""TK-13: a period keeps its phase, skips what was missed, and says how many."""

from __future__ import annotations

import itertools
import threading
import time
from typing import Any

import pytest

from conformance9.adapters_task import PeriodicLike, TaskAdapter
from conformance9.suite.kit import await_state
from conformance9.suite.tasks import a_queue
from conformance9.suite.tools import Log, Stage, holds, timing

pytestmark = [pytest.mark.clause("TK-13"), pytest.mark.capability("periodic")]


class Watch:
    """The function of a periodic task: notes when it ran and what it had missed; blocks for a while if told to."""

    def __init__(self, stop_after: int, busy: dict[int, float] | None = None, always: float = 0.0) -> None:
        self.runs: list[tuple[float, int]] = []
        self.over = threading.Event()
        self._busy, self._always, self._stop_after = busy or {}, always, stop_after
        self._never = threading.Event()

    def __call__(self, task: Any) -> None:
        """Note, block, stop in time."""
        self.runs.append((time.monotonic(), task.missed))
        end = time.monotonic() + self._busy.get(len(self.runs), self._always)
        while (left := end - time.monotonic()) > 0:
            self._never.wait(left)
        if len(self.runs) == self._stop_after:
            task.cancel()
            self.over.set()

    def periods(self) -> list[int]:
        """For each run, which period it was for, if none was lost or made up for."""
        total, periods = 0, []
        for number, (_, missed) in enumerate(self.runs, 1):
            total += missed
            periods.append(number + total)
        return periods


def _started(
    adapter: TaskAdapter, stage: Stage, watch: Watch, period: float, **options: Any
) -> tuple[float, PeriodicLike]:
    queue = a_queue(adapter, stage)
    task = adapter.periodic(watch, period)
    stage.at_end(task.cancel)
    began = time.monotonic()
    holds("TK-13", task.start(queue=queue, **options) is True, "start of an idle periodic task must say True")
    holds("TK-13", task.start(queue=queue) is False, "a second start must say False")
    holds("TK-13", watch.over.wait(timing.limit), f"a periodic task stopped after {len(watch.runs)} runs")
    queue.drain(timing.limit)
    return began, task


def test_a_period_is_never_early_and_keeps_its_phase(adapter: TaskAdapter, stage: Stage) -> None:
    """A function that takes half of the period does not shift the later runs."""
    period = 0.02 * timing.scale
    watch = Watch(30, always=period / 2)
    began, _ = _started(adapter, stage, watch, period)
    late = []
    for (moment, _), number in zip(watch.runs, watch.periods(), strict=True):
        late.append(moment - began - number * period)
        holds("TK-13", late[-1] >= 0, f"the run of period {number} was {-late[-1] * 1000:.3f} ms early")
    # Half a period a run would add up to ten periods by now. Any one run in time shows that nothing adds up.
    drift = min(late[20:])
    holds(
        "TK-13", drift < 6 * period, f"after 20 runs every run is {drift / period:.1f} periods late: the phase drifts"
    )


def test_runs_that_begin_late_do_not_shift_the_phase(adapter: TaskAdapter, stage: Stage) -> None:
    """Whenever a period is over, the queue is busy for half of the next one: each run begins late, nothing adds up."""
    period = 0.02 * timing.scale
    queue, never, over = a_queue(adapter, stage), threading.Event(), threading.Event()
    runs: list[tuple[float, int]] = []

    def busy(task: Any) -> None:
        never.wait(1.5 * period)

    def fn(task: Any) -> None:
        runs.append((time.monotonic(), task.missed))
        if len(runs) == 30:
            task.cancel()
            over.set()
        else:
            queue.schedule(adapter.task(busy))

    task = adapter.periodic(fn, period)
    stage.at_end(task.cancel)
    began = time.monotonic()
    task.start(queue=queue)
    holds("TK-13", over.wait(timing.limit), f"a periodic task stopped after {len(runs)} runs")
    late, number = [], 0
    for moment, missed in runs:
        number += 1 + missed
        late.append(moment - began - number * period)
        holds("TK-13", late[-1] >= 0, f"the run of period {number} was {-late[-1] * 1000:.3f} ms early")
    # Half a period a run would add up to ten periods by now. Any one run in time shows that nothing adds up.
    drift = min(late[20:])
    shifts = f"after 20 runs that began late every run is {drift / period:.1f} periods late: the phase drifts"
    holds("TK-13", drift < 5 * period, shifts)


def test_what_was_missed_is_skipped_and_counted(adapter: TaskAdapter, stage: Stage) -> None:
    """A run that blocks for three and a half periods: the next one says what it missed, and nothing is made up for."""
    period = 0.03 * timing.scale
    watch = Watch(6, busy={2: 3.5 * period})
    began, _ = _started(adapter, stage, watch, period)
    missed = [missed for _, missed in watch.runs]
    holds("TK-13", missed[2] >= 2, f"3.5 periods were blocked, but the run after missed {missed[2]}; all: {missed}")
    for (moment, _), number in zip(watch.runs, watch.periods(), strict=True):
        early = began + number * period - moment
        holds("TK-13", early <= 0, f"the run of period {number} was {early * 1000:.3f} ms early; missed {missed}")


def test_the_first_run_may_be_at_another_time(adapter: TaskAdapter, stage: Stage) -> None:
    """start(first): the first run is then, the others a period after each other."""
    first, period = 0.001, 0.03 * timing.scale
    watch = Watch(4)
    began, _ = _started(adapter, stage, watch, period, first=first)
    for (moment, _), number in zip(watch.runs, watch.periods(), strict=True):
        early = began + first + (number - 1) * period - moment
        holds("TK-13", early <= 0, f"run {number} with first={first} was {early * 1000:.3f} ms early")
    log = Log()
    queue = a_queue(adapter, stage)
    task = adapter.periodic(lambda task: log.add(1), 3600.0)
    task.start(first=0, queue=queue)
    holds("TK-13", log.reached(1), "with first=0 a period of an hour did not begin at once")
    queue.drain(timing.limit)  # a cancel that has to wait for the end of the run says False
    holds("TK-13", task.pending, "after its first run a periodic task must be pending")
    holds("TK-6", task.cancel() is True, "cancel of an armed task must say True")


def test_cancel_stops_it_from_inside_and_outside(adapter: TaskAdapter, stage: Stage) -> None:
    """After cancel no run comes, and it can be started again."""
    period = 0.002
    watch = Watch(3)
    _, task = _started(adapter, stage, watch, period)
    holds("TK-13", not task.pending, "cancelled from inside, and yet pending")
    queue, log, witness = a_queue(adapter, stage), Log(), threading.Event()
    again = adapter.periodic(lambda task: log.add(1), period)
    again.start(queue=queue)
    holds("TK-13", log.reached(3), "a periodic task did not run three times")
    again.cancel(timeout=timing.limit)
    runs = len(log.entries)
    holds("TK-13", not again.pending, "cancelled, and yet pending")
    # A timer that is due several periods later has fired: so would have the task's.
    beside = adapter.periodic(lambda task: witness.set(), 5 * period)
    beside.start(queue=queue)
    holds("TK-13", witness.wait(timing.limit), "a periodic task did not run")
    beside.cancel(timeout=timing.limit)
    holds("TK-13", len(watch.runs) == 3, f"cancelled from inside the third run, it ran {len(watch.runs)} times")
    holds("TK-13", len(log.entries) == runs, "it ran after cancel had returned")
    holds("TK-13", again.start(queue=queue) is True, "after a cancel, start must say True")
    await_state("TK-13", "a periodic task that was started again runs", lambda: len(log.entries) > runs)
    again.cancel(timeout=timing.limit)


def test_it_never_runs_beside_itself(adapter: TaskAdapter, stage: Stage) -> None:
    """A function that takes longer than the period: one run at a time, nothing piles up."""
    period = 0.004 * timing.scale
    watch = Watch(8, always=2.5 * period)
    _started(adapter, stage, watch, period)
    moments = [moment for moment, _ in watch.runs]
    gaps = [after - before for before, after in itertools.pairwise(moments)]
    holds("TK-3", min(gaps) >= 2.5 * period, f"a run began {min(gaps)} s after one that takes {2.5 * period} s")
    missed = sum(missed for _, missed in watch.runs[1:])
    holds("TK-13", missed >= 7, f"7 runs that take 2.5 periods each missed only {missed}")


@pytest.mark.parametrize("period", [0, -1, float("nan")])
def test_a_bad_period_is_refused(adapter: TaskAdapter, period: float) -> None:
    """Zero, negative, NaN: ValueError."""
    from conformance9.suite.tools import refuses

    refuses("TK-13", f"a period of {period}", ValueError, lambda: adapter.periodic(print, period))
