"""What is compared with what, and how well it is to go: the one place for goals."""

from __future__ import annotations

import statistics
import sys
from dataclasses import dataclass

import bare  # noqa: F401  registers its contestants
import bursts  # noqa: F401  likewise
import costs  # noqa: F401  likewise
import loops  # noqa: F401  likewise
from contest import FREE_THREADED
from waits import CPUS, MILLISECONDS, SLEEPS, how_many

#: Which of the three goals of a row holds for this interpreter.
KIND = 2 if FREE_THREADED else int(sys.version_info >= (3, 12))
KINDS = ("3.11", "3.12 and later, with the GIL", "free-threaded")

Goals = tuple[float | None, float | None, float | None]


@dataclass(frozen=True)
class Row:
    """One line of the table: `ours` beside `peer`, both contestants of `group`."""

    what: str
    group: str
    ours: str
    peer: str | None = None  # None: the figure itself is judged, its worst round
    least: Goals | None = None  # the peer's time in units of ours is to be at least this, for each kind of build
    most: Goals | None = None  # our time (or figure) in units of the peer's is to be at most this

    @property
    def faster(self) -> bool:
        """Whether the ratio says how many times as fast ours is; else it is our time in units of the peer's."""
        return self.most is None and self.peer is not None

    @property
    def goal(self) -> float | None:
        """For this interpreter."""
        goals = self.least or self.most
        return None if goals is None else goals[KIND]

    def ratios(self, figures: dict[str, list[float]]) -> list[float]:
        """One for each round: what was measured in the same round is compared."""
        ours = figures[self.ours]
        if self.peer is None:
            return ours
        pairs = zip(ours, figures[self.peer], strict=True)
        return [theirs / mine if self.faster else mine / theirs for mine, theirs in pairs]

    def value(self, ratios: list[float]) -> float:
        """What is judged."""
        return max(ratios) if self.peer is None else statistics.median(ratios)

    def met(self, ratios: list[float]) -> bool | None:
        """Whether the goal is met; None without one."""
        if self.goal is None:
            return None
        value = self.value(ratios)
        return value >= self.goal if self.faster else value <= self.goal


def _all(limit: float) -> Goals:
    return (limit, limit, limit)


NONE: Goals = (None, None, None)  # shown as a time in units of the peer's, without a goal
TPE = "ThreadPoolExecutor"
IDLE = ", after 1 ms idle"
BARE = ("new Task", "new Work", "new Job", "call", "Task made before", "Work made before", "Job made before")


def _rows() -> list[Row]:
    rows = [
        Row("new Task per call", "burst", "new Task", TPE, least=(15, 12, 6)),
        Row("new Work per call", "burst", "new Work", TPE, least=(12, 9, 5)),
        Row("new Job per call, posted", "burst", "new Job", TPE, least=(8, 6, 3)),
        Row("TaskQueue.call", "burst", "call", TPE, least=(30, 25, 15)),
        Row("Task made before", "burst", "Task made before", TPE, least=(20, 15, 12)),
        Row("Work made before", "burst", "Work made before", TPE, least=(14, 12, 8)),
        Row("Job made before, posted", "burst", "Job made before", TPE, least=(12, 8, 6)),
        Row("new Task, 8 producers / one", "burst", "new Task, 8 producers", "new Task", least=_all(0.8)),
        Row("new Task, 8 producers", "burst", "new Task, 8 producers", TPE),
        *(
            Row(f"peer: {peer}", "burst", peer, TPE)
            for peer in ("multiprocessing ThreadPool", "queue.Queue loop", "SimpleQueue loop", "trio's thread cache")
        ),
        *(Row(f"bare {what}", "burst", f"bare {what}", TPE) for what in BARE),
        *(Row(f"{what}, beside a bare one", "burst", what, f"bare {what}", most=NONE) for what in BARE),
        Row("10 000 new Tasks, cold queue", "cold burst", "10 000 new Tasks", f"{TPE}(8)", most=_all(0.06)),
        Row("10 000 calls, cold queue", "cold burst", "10 000 calls", f"{TPE}(8)", most=_all(0.06)),
        Row("10 000 bare new Tasks, cold", "cold burst", "10 000 bare new Tasks", f"{TPE}(8)", most=NONE),
    ]
    for idle in ("", IDLE):
        for kind in ("task", "job"):
            for peer, goals in (
                ("trio's thread cache", (0.9, 0.9, None)),
                ("two SimpleQueues", (1.2, 1.2, None)),
                (TPE, (None, None, 0.9)),
            ):
                rows.append(
                    Row(f"round trip, {kind}{idle}", "round trip", f"{kind}{idle}", f"{peer}{idle}", most=goals)
                )
        rows.append(Row(f"round trip, call{idle}", "round trip", f"call{idle}", f"{TPE}{idle}", most=NONE))
        for peer in ("trio's thread cache", "two SimpleQueues"):
            rows.append(
                Row(f"round trip, bare task{idle}", "round trip", f"bare task{idle}", f"{peer}{idle}", most=NONE)
            )
    for loop, way, limit in (("asyncio", "to_thread", 0.7), ("trio", "to_thread.run_sync", 0.9)):
        rows.append(Row(f"await submit, {loop}", "await", f"{loop}, submit", f"{loop}.{way}", most=_all(limit)))
    for loop, way in (("asyncio", "call_soon_threadsafe"), ("trio", "run_sync_soon")):
        what, ours = f"coalesced schedule at home, {loop}", f"{loop}, schedule"
        rows.append(Row(what, "home", ours, way, least=_all(5) if loop == "asyncio" else None))
    for kind, limit in (("sleep", 1.2), ("sha256", 1.05)):
        for milliseconds in MILLISECONDS:
            name = f"{kind} {milliseconds} ms"
            number = SLEEPS if kind == "sleep" else how_many(milliseconds)
            rows.append(
                Row(f"{number} jobs, {name}", "short jobs", f"{name}, jobs", f"{name}, executor", most=_all(limit))
            )
    alone = "sha256 0.2 ms, one thread"
    for who in ("jobs", "executor", "SimpleQueue"):
        rows.append(Row(f"speed-up by sha256 {who}", "short jobs", f"sha256 0.2 ms, {who}", alone))
    rows.append(Row("workers made by 10 000 no-op jobs", "workers", "10 000 no-op jobs", most=_all(CPUS + 4)))
    for place in ("first", "second", "eighth"):
        ours, theirs = f"{place} worker", f"{place} thread of the executor"
        rows.append(Row(f"cold start, {place} worker", "cold start", ours, theirs, most=_all(1.5)))
    for unit, limit in (
        ("Task", 160),
        ("Work", 200),
        ("Job", 400),
        ("TaskQueue", 2048),
        ("WorkQueue", 2048),
        ("per-CPU TaskQueue", 2048 + 1536 * CPUS),
        ("per-CPU WorkQueue", 2048 + 1536 * CPUS),
    ):
        rows.append(Row(f"idle {unit}, bytes", "bytes", f"idle {unit}", most=_all(limit)))
    for kind in ("tasks", "works"):
        all_of, few = f"of 40 000 {kind}", f"of 4 000 {kind}"
        rows.append(Row(f"cancel 40 000 {kind}, each", "cancel", all_of, "of 40 000 futures", most=NONE))
        # O(1) is what the contract has; the caches of the CPU take their share.
        rows.append(Row(f"cancel 40 000 {kind} / 4 000, each", "cancel", all_of, few, most=_all(2)))
    rows += [
        Row("coalesced schedule", "coalesce", "schedule of a pending Task", "failing try-lock", most=_all(2)),
        Row("import threadpool9", "import", "import threadpool9", "import attrs, pluggy", most=_all(1.3)),
    ]
    return rows


ROWS = _rows()
