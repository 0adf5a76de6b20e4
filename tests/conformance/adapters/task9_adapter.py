"""The adapter of task9: its own names are those that the suite uses."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import Context
from typing import Any

import task9
import threadpool9
from conformance9.adapters_task import TASK_CAPABILITIES


class Task9:
    """Claims everything."""

    implementation = "task9"
    capabilities = frozenset(TASK_CAPABILITIES)
    usage_error = task9.UsageError
    closed_error = task9.QueueClosed
    timeout_error = task9.WaitTimeout
    loop_error = task9.LoopClosed
    delayed = staticmethod(task9.DelayedTask)
    periodic = staticmethod(task9.PeriodicTask)
    shared = staticmethod(task9.get)
    cpus = staticmethod(threadpool9.allowed_cpus)

    def task(self, fn: Callable[[Any], object], context: Context | None = None) -> task9.Task:
        """TK-1, TK-15."""
        return task9.Task(fn, context)

    def queue(self, name: str, percpu: bool = False, concurrency: int = 1) -> task9.TaskQueue:
        """TK-5."""
        return task9.TaskQueue(name, percpu=percpu, concurrency=concurrency)

    def awaiting(self, thing: Any) -> Any:
        """AW-1."""
        return thing.aio

    def loop_queue(self, name: str, loop: Any) -> task9.TaskQueue:
        """TK-19."""
        return task9.TaskQueue(name, on=loop)

    def set_limit(self, seconds: float) -> None:
        """TK-4."""
        task9.tunables.limit_ms = seconds * 1000

    def settle(self) -> None:
        """TP-14."""
        threadpool9.retire_idle()
