"""task9: short actions that coalesce, run in order on a queue, now or later; after the task(9) drafts of NetBSD.

For example::

    task = task9.Task(refresh)
    task.schedule()                    # any context; many schedules before it starts are one run

A task is run on the system queue of the current CPU, on a shared queue of some priority (`get`), or on a queue
of its own (`TaskQueue`) where it may sleep. `DelayedTask` and `PeriodicTask` go through one timer.
"""

from __future__ import annotations

from importlib import import_module

from threadpool9 import (
    CPUError,
    Error,
    FinalizingError,
    PriorityError,
    StartError,
    TunableError,
    UsageError,
    WaitTimeout,
)

from . import _task
from ._aio import QueueAio, SharedQueueAio, TaskAio
from ._delayed import DelayedTask
from ._errors import LoopClosed, QueueClosed, ResultLost
from ._future import Future
from ._periodic import PeriodicTask
from ._queue import TaskQueue
from ._shared import SharedQueue, get, system_queue
from ._snapshot import LaneRecord, QueueRecord, Snapshot, snapshot
from ._task import Task
from ._watch import tunables

_task.system_queue = system_queue
import_module(f"{__name__}._lifecycle")  # for what it does; an import statement may be lazy (3.15)

__all__ = [
    "CPUError",
    "DelayedTask",
    "Error",
    "FinalizingError",
    "Future",
    "LaneRecord",
    "LoopClosed",
    "PeriodicTask",
    "PriorityError",
    "QueueAio",
    "QueueClosed",
    "QueueRecord",
    "ResultLost",
    "SharedQueue",
    "SharedQueueAio",
    "Snapshot",
    "StartError",
    "Task",
    "TaskAio",
    "TaskQueue",
    "TunableError",
    "UsageError",
    "WaitTimeout",
    "get",
    "snapshot",
    "tunables",
]
