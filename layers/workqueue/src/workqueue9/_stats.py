"""The counters of work queues, as immutable records (WQ-12)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs

from task9.lanes import Item
from threadpool9.lowlevel import Flock, contents

from ._group import BUCKETS
from ._remote import RemoteGroup

if TYPE_CHECKING:
    from ._workqueue import WorkQueue


@attrs.frozen
class QueueStats:
    """Counters of one queue (WQ-12); `started` - `completed` is what is in flight."""

    name: str
    """The queue's; several queues may have the same."""
    enqueued: int
    started: int
    completed: int
    cancelled: int
    errors: int
    run_seconds: float
    """Time spent in the function, summed over all works; with WQ_GIANT the wait for the giant lock is in it."""
    wait_seconds: float
    """Time from enqueue (of a delayed work: from its expiry) to the function, summed over the works that started."""
    wait_histogram: tuple[int, ...]
    """Bucket n counts works that waited less than 2**n nanoseconds (and at least half of that)."""
    pending: int
    running: int
    reruns: int = 0
    """Works that a back end has entered again, since what ran before may have been lost (WQ-15)."""


queues: Flock[WorkQueue[Any, Any]] = Flock()


def take(queue: WorkQueue[Any, Any]) -> QueueStats:
    """The counters of `queue` now. Any context."""
    group = queue.group
    executors = group.executors()
    measured = list(group.stats.values())
    started = sum(executor.started for executor in executors)
    running = group.running()  # after: what has begun in between runs, and is not taken for completed
    cancelled = group.cancelled.value()
    on_lanes = [ticket for lane in list(group.lanes) for ticket in contents(lane.items)]
    waiting = sum(isinstance(item, Item) and not item.marker for ticket in on_lanes for item in tuple(ticket))
    # One whose time has come is on its lane before it leaves the table.
    seen = set(map(id, on_lanes))
    armed = sum(1 for timing in list(group.armed) if timing.ticket and id(timing.ticket) not in seen)
    # What an executor has just taken is in none of them for a moment: a counter must not go back.
    queue.reported = max(queue.reported, started + cancelled + waiting + armed)
    queue.reported_completed = max(queue.reported_completed, started - running)
    return QueueStats(
        name=queue.name,
        enqueued=queue.reported,
        started=started,
        completed=min(queue.reported_completed, started),
        cancelled=cancelled,
        errors=sum(executor.errors for executor in executors),
        run_seconds=sum(stats.run_ns for stats in measured) / 1e9,
        wait_seconds=sum(stats.wait_ns for stats in measured) / 1e9,
        wait_histogram=tuple(sum(stats.waits[n] for stats in measured) for n in range(BUCKETS)),
        pending=waiting + armed,
        running=running,
        reruns=group.reruns.value() if isinstance(group, RemoteGroup) else 0,
    )


def snapshot() -> tuple[QueueStats, ...]:
    """The counters of every queue of the process that is not destroyed. Thread context."""
    return tuple(queue.stats() for queue in queues.all() if queue.state != "destroyed")
