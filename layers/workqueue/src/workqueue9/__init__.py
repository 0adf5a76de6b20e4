"""workqueue9: named queues of works for one function, after NetBSD's workqueue(9).

For example::

    with workqueue9.WorkQueue("thumbnails", make_thumbnail) as wq:
        wq.enqueue(workqueue9.Work(path))

Ordered by default; several at once with `max_active`; one queue for each CPU with `WQ_PERCPU`; bounded with
`max_pending`; delayed, frozen, waited for, cancelled, counted.
"""

from __future__ import annotations

from importlib import import_module

from threadpool9 import CPUError, Error, FinalizingError, PriorityError, StartError, UsageError, WaitTimeout

from ._aio import WorkQueueAio
from ._backend import Backend, KeyedWork
from ._errors import BackendDown, Full, WorkPending
from ._flags import ANY, WQ_FPU, WQ_GIANT, WQ_MPSAFE, WQ_PERCPU
from ._remote import RemoteCall, RemoteGroup
from ._stats import QueueStats, snapshot
from ._work import Work
from ._workqueue import WorkQueue

import_module(f"{__name__}._lifecycle")  # for what it does; an import statement may be lazy (3.15)

__all__ = [
    "ANY",
    "WQ_FPU",
    "WQ_GIANT",
    "WQ_MPSAFE",
    "WQ_PERCPU",
    "Backend",
    "BackendDown",
    "CPUError",
    "Error",
    "FinalizingError",
    "Full",
    "KeyedWork",
    "PriorityError",
    "QueueStats",
    "RemoteCall",
    "RemoteGroup",
    "StartError",
    "UsageError",
    "WaitTimeout",
    "Work",
    "WorkPending",
    "WorkQueue",
    "WorkQueueAio",
    "snapshot",
]
