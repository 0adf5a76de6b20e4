"""The adapter of threadpool9: its own names are those that the suite uses."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import threadpool9
from conformance9.adapters_threadpool import THREADPOOL_CAPABILITIES


class Threadpool9:
    """Claims everything."""

    implementation = "threadpool9"
    capabilities = frozenset(THREADPOOL_CAPABILITIES)
    usage_error = threadpool9.UsageError
    timeout_error = threadpool9.WaitTimeout
    cpu_error = threadpool9.CPUError
    start_error = threadpool9.StartError
    refused_error = threadpool9.PriorityRefused
    get = staticmethod(threadpool9.get)
    percpu_get = staticmethod(threadpool9.percpu_get)
    cpus = staticmethod(threadpool9.allowed_cpus)
    settle = staticmethod(threadpool9.retire_idle)
    snapshot = staticmethod(threadpool9.snapshot)

    def job(self, fn: Callable[[Any], object], interlock: Any = None, name: str | None = None) -> threadpool9.Job:
        """TP-20."""
        return threadpool9.Job(fn, interlock, name)

    def awaiting(self, thing: Any) -> Any:
        """AW-1."""
        return thing.aio

    def set_idle(self, seconds: float) -> None:
        """TP-4."""
        threadpool9.tunables.idle_ms = seconds * 1000

    def set_strict(self, on: bool) -> None:
        """TP-10."""
        threadpool9.tunables.strict_priorities = on

    def set_job_names(self, on: bool) -> None:
        """TP-11."""
        threadpool9.tunables.job_names = on

    def set_exit_policy(self, policy: str | float) -> None:
        """TP-32."""
        threadpool9.tunables.exit_policy = policy

    def set_stall(self, seconds: float) -> None:
        """TP-35."""
        threadpool9.tunables.stall_ms = seconds * 1000

    def reset(self) -> None:
        """Back to the defaults."""
        self.set_idle(30)
        self.set_strict(False)
        self.set_job_names(False)
        self.set_exit_policy("drain")
        self.set_stall(0)
