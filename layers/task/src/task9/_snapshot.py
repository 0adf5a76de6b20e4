"""What queues, tasks and timers there are, as immutable records. Each record is true, all together a blur."""

from __future__ import annotations

import attrs

from threadpool9.lowlevel import safe_repr

from ._group import FREEZE, groups
from ._lifecycle import shown
from ._timer import timer


@attrs.frozen
class LaneRecord:
    """One lane: a FIFO and what its executors run now."""

    cpu: int | None
    pending: int
    running: tuple[str, ...]
    started: int
    """Runs begun so far."""
    errors: int


@attrs.frozen
class QueueRecord:
    """One queue."""

    name: str
    shared: bool
    frozen: bool
    lanes: tuple[LaneRecord, ...]


@attrs.frozen
class Snapshot:
    """Everything at one moment."""

    queues: tuple[QueueRecord, ...]
    armed: int
    """Delayed tasks in the timer."""


def snapshot() -> Snapshot:
    """Look at every queue and the timer. Thread context; disturbs nobody."""
    queues = []
    for group in groups.all():
        lanes = []
        for lane in list(group.lanes):
            lanes.append(
                LaneRecord(
                    cpu=lane.pool.cpu,
                    pending=len(lane.pending()),
                    running=tuple(safe_repr(item) for item in map(shown, lane.executors) if item is not None),
                    started=sum(executor.started for executor in lane.executors),
                    errors=sum(executor.errors for executor in lane.executors),
                )
            )
        queues.append(QueueRecord(group.name, group.shared, FREEZE in group.halts, tuple(lanes)))
    return Snapshot(tuple(queues), timer.armed())
