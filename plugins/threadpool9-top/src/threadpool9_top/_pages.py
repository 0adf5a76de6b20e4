"""One page of what a process tells about itself: the rows that a viewer has room for, in its order.

Runs in the observed process. With thousands of queues nearly all of the cost is in turning records into text, so
only the layer that is looked at is asked for its snapshot, and only the rows that are seen are described.

A `Pager` belongs to one viewer's connection and remembers what it saw last, for the rates.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import threadpool9

from . import _state
from ._wire import PROTOCOL, Query

__all__ = ["Pager"]

#: Names in a list of names: nobody reads more, and a pool may have a million jobs waiting.
_MOST_NAMES = 50
#: Who runs for shorter is not looked at for whether it gets on.
_LONG = 1.0
TIMER = "task9 timer"

Row = dict[str, Any]
Counts = dict[str, int]


class Pager:
    """The pages of one viewer. Not to be shared between threads."""

    def __init__(self) -> None:
        self._last: dict[str, tuple[float, Counts]] = {}  # by tab: when, and the counters of every row
        self._lanes: Counts = {}

    def page(self, query: Query) -> dict[str, Any]:
        """What `query` asks for, ready for JSON."""
        begun = time.thread_time()
        answer: dict[str, Any] = {"protocol": PROTOCOL, "tab": query.tab, "armed": 0, "trouble": None}
        snapshot: Any = None
        trouble = None
        try:
            snapshot = threadpool9.snapshot()
        except Exception as error:
            # One layer's fault must not hide the others: a viewer is wanted most when something is wrong.
            trouble = repr(error)
        answer["head"] = self._head(snapshot, trouble)
        try:
            rows = getattr(self, f"_{query.tab}")(snapshot, query, answer)
        except Exception as error:
            rows, answer["trouble"] = [], repr(error)
        self._choose(rows, query, answer)
        answer["cost"] = time.thread_time() - begun
        return answer

    def _head(self, snapshot: Any, trouble: str | None) -> dict[str, Any]:
        counters = snapshot.counters if snapshot is not None else threadpool9.Counters(0, 0, 0, 0, 0, 0, 0, 0)
        fields = {field: getattr(counters, field) for field in _state.COUNTERS}
        (rate,) = self._rates("head", {"": counters.completed}, [""])
        return {
            "pid": os.getpid(),
            "program": [word[:200] for word in sys.orig_argv[:20]],
            "python": _state.python(),
            "now": time.monotonic(),
            "allowed": list(threadpool9.allowed_cpus()),
            "stall_ms": threadpool9.tunables.stall_ms,
            "counters": fields,
            "rate": rate,
            "hook_errors": snapshot.hook_errors if snapshot is not None else 0,
            "pools": len(snapshot.pools) if snapshot is not None else 0,
            "workers": len(snapshot.workers) if snapshot is not None else 0,
            "trouble": trouble,
        }

    def _rates(self, what: str, counts: Counts, keys: Iterable[str]) -> list[float | None]:
        """Events per second since the last page of that kind, for each of `keys`; None where there was none."""
        now = time.monotonic()
        then, before = self._last.get(what, (now, {}))
        self._last[what] = (now, counts)
        if now <= then:
            return [None for _ in keys]
        return [None if key not in before else max(0.0, counts[key] - before[key]) / (now - then) for key in keys]

    def _choose(self, rows: list[Row], query: Query, answer: dict[str, Any]) -> None:
        """Filter, sort and cut: `rows` are cheap and may be many, `describe` is called for those that are seen."""
        answer["of"] = len(rows)
        if query.filter:
            word = query.filter.casefold()
            rows = [row for row in rows if word in row["text"].casefold()]
        if query.sort:
            rows.sort(key=lambda row: _sortable(row.get(query.sort)), reverse=query.reverse)
        elif query.reverse:
            rows.reverse()
        answer["total"] = total = len(rows)
        limit = query.limit if query.limit > 0 else total
        cursor = max(0, min(query.cursor, total - 1))
        if query.key and total and rows[cursor]["key"] != query.key:
            cursor = next((n for n, row in enumerate(rows) if row["key"] == query.key), cursor)
        offset = max(0, min(query.offset, total - limit))
        if query.limit > 0:
            offset = min(max(offset, cursor - limit + 1), cursor)
        answer["cursor"], answer["offset"] = cursor, offset
        answer["rows"] = seen = rows[offset : offset + limit]
        for row in seen:
            describe: Callable[[], Row] | None = row.pop("describe", None)
            if describe is not None:
                row.update(describe())
            del row["text"]
        if query.tab == "workers":
            _add_stacks(seen)

    # --- the tabs

    def _pools(self, snapshot: Any, query: Query, answer: dict[str, Any]) -> list[Row]:
        pools = sorted(snapshot.pools, key=lambda pool: (pool.pri, -1 if pool.cpu is None else pool.cpu))
        keys = [f"{pool.pri}/{pool.cpu}" for pool in pools]
        counts = {key: pool.counters.completed for key, pool in zip(keys, pools, strict=True)}
        rows = []
        for pool, key, rate in zip(pools, keys, self._rates("pools", counts, keys), strict=True):
            trouble = ["its CPU is gone"] if pool.cpu_lost else []
            rows.append(
                {
                    "key": key, "text": f"{pool.pri} {pool.cpu} {pool.policy}", "pri": pool.pri, "cpu": pool.cpu,
                    "references": pool.references, "working": max(0, pool.workers - pool.idle), "idle": pool.idle,
                    "waiting": len(pool.queued), "completed": pool.counters.completed, "rate": rate,
                    "errors": pool.counters.errors,
                    "policy": pool.policy, "trouble": trouble + ([pool.refused] if pool.refused else []),
                    "next": [str(job)[:200] for job in pool.queued[:_MOST_NAMES]],
                }
            )  # fmt: skip
        return rows

    def _workers(self, snapshot: Any, query: Query, answer: dict[str, Any]) -> list[Row]:
        alive = self._alive(snapshot, query)
        rows = [
            {
                "key": str(worker.tid), "text": f"{worker.job or ''} {worker.tid}", "pri": worker.pool_pri,
                "pool_cpu": worker.pool_cpu, "tid": worker.tid, "cpu": worker.cpu, "state": worker.state,
                "since": worker.since, "job": worker.job or "", "scheduling": worker.scheduling,
                "reported": worker.stalled, "alive": worker.job in alive, "at": "", "stack": [],
            }
            for worker in snapshot.workers
            if query.idle or worker.state != "idle"
        ]  # fmt: skip
        # Longest running first: what hangs is what one looks for. What runs for long by its nature comes after it.
        rows.sort(key=lambda row: (row["state"] == "idle", row["alive"], -row["since"], row["tid"]))
        return rows

    def _alive(self, snapshot: Any, query: Query) -> set[str]:
        """Names of jobs that run for long and do no harm: the timer, and queues that get on from task to task."""
        alive = {TIMER}
        limit = min(query.stall, _LONG) if query.stall else _LONG
        if any(w.since > limit and w.state != "idle" and w.job not in alive for w in snapshot.workers):
            # Only now: with thousands of queues this is what costs.
            started = dict(_started(_layer("task9")))
            alive |= {key.rpartition("/")[0] for key, n in started.items() if n > self._lanes.get(key, n)}
            self._lanes = started
        return alive

    def _tasks(self, snapshot: Any, query: Query, answer: dict[str, Any]) -> list[Row]:
        own = _layer("task9")
        if own is None:
            return []
        answer["armed"] = own.armed
        lanes = [(queue, lane) for queue in own.queues for lane in queue.lanes]
        counts: Counts = {}
        for key, started in _started(own):
            counts[key] = counts.get(key, 0) + started
        keys = [_lane_key(queue, lane) for queue, lane in lanes]
        rates = self._rates("tasks", counts, keys)
        return [
            {
                "key": key, "text": str(queue.name), "queue": queue.name, "shared": queue.shared,
                "frozen": queue.frozen, "cpu": lane.cpu, "waiting": lane.pending, "runs": lane.started, "rate": rate,
                "errors": lane.errors, "running": [str(task)[:200] for task in lane.running[:_MOST_NAMES]],
            }
            for (queue, lane), key, rate in zip(lanes, keys, rates, strict=True)
        ]  # fmt: skip

    def _works(self, snapshot: Any, query: Query, answer: dict[str, Any]) -> list[Row]:
        own = sorted(_layer("workqueue9") or (), key=lambda stats: stats.name)
        names = [stats.name for stats in own]
        counts, entered = dict.fromkeys(names, 0), dict.fromkeys(names, 0)
        for name, stats in zip(names, own, strict=True):
            counts[name] += stats.completed
            entered[name] += stats.enqueued
        rates = self._rates("works", counts, names), self._rates("works entered", entered, names)
        rows = []
        for stats, name, rate, enqueued_rate in zip(own, names, *rates, strict=True):
            done = stats.completed
            row: Row = {
                "key": name, "text": name, "queue": stats.name, "waiting": stats.pending,
                "running": stats.running, "enqueued": stats.enqueued, "enqueued_rate": enqueued_rate,
                "completed": done, "rate": rate, "cancelled": stats.cancelled, "errors": stats.errors,
                "mean": stats.run_seconds / done if done else None,
            }  # fmt: skip
            waits = stats.wait_histogram
            if query.sort in ("p50", "p95"):
                row[query.sort] = quantile(waits, int(query.sort[1:]) / 100)
            row["describe"] = lambda waits=waits: {
                "p50": quantile(waits, 0.5), "p95": quantile(waits, 0.95), "waits": list(waits)
            }  # fmt: skip
            rows.append(row)
        return rows


def quantile(waits: Iterable[int], share: float) -> float | None:
    """Seconds that `share` of the works waited at most, None if there were none; counts are by powers of two (ns)."""
    counts = list(waits)
    left = share * sum(counts)
    if not left:
        return None
    for n, count in enumerate(counts):
        left -= count
        if left <= 0:
            return float(2**n) / 1e9
    return None


def _sortable(value: object) -> tuple[int, Any]:
    """Anything that a field holds, so that it can be compared: nothing, numbers, texts, lists by their length."""
    if value is None:
        return (0, 0)
    if isinstance(value, (int, float)):
        return (1, value)
    if isinstance(value, list):
        return (1, len(value))
    return (2, str(value).casefold())


def _layer(name: str) -> Any:
    """The snapshot of a layer, None where the program never imported it."""
    take = getattr(sys.modules.get(name), "snapshot", None)
    return None if take is None else take()


def _started(own: Any) -> Iterator[tuple[str, int]]:
    if own is not None:
        for queue in own.queues:
            for lane in queue.lanes:
                yield _lane_key(queue, lane), lane.started


def _lane_key(queue: Any, lane: Any) -> str:
    return f"{queue.name}/{lane.cpu}"


def _add_stacks(rows: list[Row]) -> None:
    """Where the workers that are seen are now."""
    stacks = _state.stacks({row["tid"] for row in rows if row["state"] != "idle"})
    for row in rows:
        row["stack"] = stack = stacks.get(row["tid"], [])
        row["at"] = _state.at(stack)
