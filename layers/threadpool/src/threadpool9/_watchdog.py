"""The stall watchdog: what runs for longer than its limit is reported once, with its stack (TP-35, TK-4).

It costs what it watches nothing: the starter, which lives as long as there are workers, looks now and then at what each
of them has in hand. Whoever shows the same run for the limit, counted from the first look, is reported; so a report
is never early, and late by two looks at most. Off (no limit) it does not look at all.

The upper layers add a source of `Sight` each for what they run inside of a job; their jobs are `Job.plumbing`, which
this layer does not watch. Looking happens on the starter's thread, each report on one of its own.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable

from . import _hooks, _seam
from ._errors import Stalled
from ._texts import safe_repr

_LOOKS_PER_LIMIT = 4
_PERIOD_MIN, _PERIOD_MAX = 0.001, 1.0


class Sight:
    """Something that runs now.

    Args:
        runner: who runs it; identity.
        run: number of the run, so that the next one is not taken for the same.
        what: the job, task or work.
        limit: seconds that it may take, > 0.
        ident: thread that it runs on.
        where: the pool or queue, for the report.
    """

    __slots__ = ("ident", "limit", "run", "runner", "what", "where")

    def __init__(self, runner: object, run: int, what: object, limit: float, ident: int, where: str) -> None:
        self.runner, self.run, self.what = runner, run, what  # S
        self.limit, self.ident, self.where = limit, ident, where  # S


#: Each tells its shortest limit in seconds (0: nothing to watch) and what runs now. Appended at import only.
sources: list[tuple[Callable[[], float], Callable[[], Iterable[Sight]]]] = []


class Watchdog:
    """What the starter remembers between two looks."""

    def __init__(self) -> None:
        self._seen: dict[object, tuple[int, float, bool]] = {}  # runner to run, first seen, reported
        self._lock = _seam.RLock()  # held for a few lines, in thread context
        self._claimed: dict[object, int] = {}  # under _lock: runner to the run that was reported last
        #: Threads whose run was reported and goes on. Written whole, read anywhere.
        self.stalled: frozenset[int] = frozenset()
        self.reports = 0

    def period(self) -> float:
        """Seconds until the next look; 0 if there is nothing to watch."""
        limits = [limit for limit in (shortest() for shortest, _ in sources) if limit > 0]
        return min(max(min(limits) / _LOOKS_PER_LIMIT, _PERIOD_MIN), _PERIOD_MAX) if limits else 0.0

    def look(self) -> None:
        """Look at everything that runs now, report what is over its limit."""
        now = _seam.monotonic()
        seen, stalled = {}, set()
        for shortest, sights in sources:
            if shortest() <= 0:
                continue
            for sight in sights():
                run, first, reported = self._seen.get(sight.runner, (None, now, False))
                if run != sight.run:
                    first, reported = now, False
                if not reported and now - first >= sight.limit:
                    reported = True
                    # Either we report this run or, at its end, its runner: whoever takes the right to.
                    if self.claim(sight.runner, sight.run):
                        self.reports += 1
                        self._report(sight, now - first)
                if reported:
                    stalled.add(sight.ident)
                seen[sight.runner] = (sight.run, first, reported)
        self._seen = seen
        with self._lock:
            for runner in self._claimed.keys() - seen.keys():
                del self._claimed[runner]
        self.stalled = frozenset(stalled)

    def rest(self) -> None:
        """Nobody has a limit: nothing is stalled, and nobody is kept alive here."""
        if self._seen or self._claimed:
            self._seen, self.stalled = {}, frozenset()
            with self._lock:
                self._claimed.clear()

    def claim(self, runner: object, run: int) -> bool:
        """Take the right to report that run: True for the first caller, so that it is reported once. Any thread."""
        with self._lock:
            if self._claimed.get(runner, -1) >= run:
                return False
            self._claimed[runner] = run
            return True

    def _report(self, sight: Sight, seconds: float) -> None:
        import traceback  # 10 ms that only a stall costs

        frame = sys._current_frames().get(sight.ident)
        stack = "".join(traceback.format_stack(frame)) if frame is not None else "  (the thread has just gone)\n"
        del frame
        thread = _seam.thread_of(sight.ident)
        text = (
            f"{safe_repr(sight.what)} on {sight.where} has been running for {seconds:.3g} s, "
            f"its limit is {sight.limit:g} s; its stack:\n{stack}"
        )

        def report() -> None:
            _hooks.report_error(Stalled(text), origin=sight.what, thread=thread)

        try:
            # A reporter may wait for long, and the starter has workers to start.
            _seam.Thread(report, "threadpool9-report").start()
        except (RuntimeError, MemoryError):
            report()
