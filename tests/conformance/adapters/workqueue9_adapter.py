"""The adapter of workqueue9: flags and priorities become arguments, the rest has the suite's names."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import threadpool9
import workqueue9
from conformance9.adapters_workqueue import WORKQUEUE_CAPABILITIES


def _softnet() -> int | None:
    """PRI_SOFTNET if the OS lets this process have it."""
    before = threadpool9.tunables.strict_priorities
    threadpool9.tunables.strict_priorities = True
    try:
        with contextlib.suppress(threadpool9.Error), threadpool9.get(threadpool9.PRI_SOFTNET):
            return threadpool9.PRI_SOFTNET
    finally:
        threadpool9.tunables.strict_priorities = before
    return None


class Workqueue9:
    """Claims everything."""

    implementation = "workqueue9"
    capabilities = frozenset(WORKQUEUE_CAPABILITIES)
    usage_error = workqueue9.UsageError
    pending_error = workqueue9.WorkPending
    full_error = workqueue9.Full
    timeout_error = workqueue9.WaitTimeout
    cpu_error = workqueue9.CPUError
    work = staticmethod(workqueue9.Work)
    cpus = staticmethod(threadpool9.allowed_cpus)

    @property
    def softnet(self) -> int | None:
        """PRI_SOFTNET."""
        return _softnet()

    def queue(
        self,
        name: str,
        func: Callable[[Any, Any], object],
        arg: Any = None,
        *,
        pri: int | None = None,
        percpu: bool = False,
        giant: bool = False,
        max_active: int = 1,
        max_pending: int | None = None,
        on_error: Callable[[BaseException, Any], object] | None = None,
    ) -> workqueue9.WorkQueue:
        """WQ-1."""
        return workqueue9.WorkQueue(
            name,
            func,
            arg,
            threadpool9.PRI_NONE if pri is None else pri,
            workqueue9.WQ_PERCPU * percpu | workqueue9.WQ_GIANT * giant,
            max_active,
            max_pending,
            on_error,
        )

    def awaiting(self, queue: Any) -> Any:
        """AW-1."""
        return queue.aio

    def wait_bounds(self) -> list[float]:
        """Bucket n of the histogram counts waits of less than 2**n nanoseconds."""
        return [2**bucket / 1e9 for bucket in range(64)]

    def settle(self) -> None:
        """TP-14."""
        threadpool9.retire_idle()
