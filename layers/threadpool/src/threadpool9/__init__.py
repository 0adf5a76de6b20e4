"""threadpool9: shared pools of OS threads, after NetBSD's threadpool(9).

``get(pri)`` gives a reference to THE unbound pool of a priority, ``percpu_get(pri)`` to the pools that are bound
to a CPU each. A `Job` is reusable and belongs to the caller; it is scheduled from any context (signal handlers,
finalizers, hooks) and cancelled deterministically. Threads are made on demand and leave when idle.

For example::

    pool = threadpool9.get()
    job = threadpool9.Job(work)
    with job.interlock:
        pool.schedule(job)
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from ._aio import JobAio, PerCPUAio, PoolAio
from ._autoload import autoload_plugins
from ._errors import (
    CPUError,
    Error,
    FinalizingError,
    PluginError,
    PriorityError,
    PriorityRefused,
    Stalled,
    StartError,
    TunableError,
    UsageError,
    WaitTimeout,
)
from ._hooks import plugin_manager, register, unregister
from ._job import Job
from ._pool import Pool
from ._priority import (
    MAXPRI_KERNEL,
    MAXPRI_KERNEL_RT,
    MAXPRI_KTHREAD,
    MAXPRI_USER,
    MAXPRI_USER_RT,
    NPRI_KERNEL,
    NPRI_KERNEL_RT,
    NPRI_KTHREAD,
    NPRI_USER,
    NPRI_USER_RT,
    PRI_BIO,
    PRI_COUNT,
    PRI_IDLE,
    PRI_IOFLUSH,
    PRI_KERNEL,
    PRI_KERNEL_RT,
    PRI_KTHREAD,
    PRI_NONE,
    PRI_PGDAEMON,
    PRI_SOFTBIO,
    PRI_SOFTCLOCK,
    PRI_SOFTNET,
    PRI_SOFTSERIAL,
    PRI_USER,
    PRI_USER_RT,
    PRI_VM,
    PRI_XCALL,
    Scheduling,
)
from ._references import PerCPU, get, percpu_get
from ._registry import retire_idle
from ._specs import CPU, ErrorReport, hookimpl
from ._topology import allowed_cpus, current_cpu, topology
from ._tunables import tunables

# For what they do when they are imported; an import statement may be lazy (3.15).
import_module(f"{__name__}._exit")
import_module(f"{__name__}._fork")

if TYPE_CHECKING:
    from ._snapshot import Counters, PoolRecord, Snapshot, WorkerRecord, snapshot

__all__ = [
    "CPU",
    "MAXPRI_KERNEL",
    "MAXPRI_KERNEL_RT",
    "MAXPRI_KTHREAD",
    "MAXPRI_USER",
    "MAXPRI_USER_RT",
    "NPRI_KERNEL",
    "NPRI_KERNEL_RT",
    "NPRI_KTHREAD",
    "NPRI_USER",
    "NPRI_USER_RT",
    "PRI_BIO",
    "PRI_COUNT",
    "PRI_IDLE",
    "PRI_IOFLUSH",
    "PRI_KERNEL",
    "PRI_KERNEL_RT",
    "PRI_KTHREAD",
    "PRI_NONE",
    "PRI_PGDAEMON",
    "PRI_SOFTBIO",
    "PRI_SOFTCLOCK",
    "PRI_SOFTNET",
    "PRI_SOFTSERIAL",
    "PRI_USER",
    "PRI_USER_RT",
    "PRI_VM",
    "PRI_XCALL",
    "CPUError",
    "Counters",
    "Error",
    "ErrorReport",
    "FinalizingError",
    "Job",
    "JobAio",
    "PerCPU",
    "PerCPUAio",
    "PluginError",
    "Pool",
    "PoolAio",
    "PoolRecord",
    "PriorityError",
    "PriorityRefused",
    "Scheduling",
    "Snapshot",
    "Stalled",
    "StartError",
    "TunableError",
    "UsageError",
    "WaitTimeout",
    "WorkerRecord",
    "allowed_cpus",
    "autoload_plugins",
    "current_cpu",
    "get",
    "hookimpl",
    "percpu_get",
    "plugin_manager",
    "register",
    "retire_idle",
    "snapshot",
    "topology",
    "tunables",
    "unregister",
]


def __getattr__(name: str) -> object:
    """The records of snapshots are made when somebody first asks: that is half of the time that an import takes."""
    if name in ("Counters", "PoolRecord", "Snapshot", "WorkerRecord", "snapshot"):
        from . import _snapshot

        return getattr(_snapshot, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
