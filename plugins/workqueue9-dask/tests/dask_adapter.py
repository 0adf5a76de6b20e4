"""The adapter of workqueue9's queues on Dask, for the conformance suite.

The suite's functions are closures over locks, and look at the very work that they were called with: neither crosses. So
the cluster is in this process, and a work goes there as a number, by which the function finds it.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable
from typing import Any

import threadpool9
import workqueue9
from workqueue9_dask import Cluster

#: More than works block at once in any test.
THREADS = 40

_things: dict[int, Any] = {}
_numbers = itertools.count()


class Handle:
    """Something of this process, for once."""

    def __init__(self, thing: Any) -> None:
        self.thing = thing

    def __reduce__(self) -> tuple[Any, ...]:
        number = next(_numbers)
        _things[number] = self.thing
        return _take, (number,)


def _take(number: int) -> Any:
    return _things.pop(number)


def _find(number: int) -> Any:
    return _things[number]


class Kept(Handle):
    """The same, as often as need be."""

    def __reduce__(self) -> tuple[Any, ...]:
        number = next(_numbers)
        _things[number] = self.thing
        return _find, (number,)


def _nothing(number: int) -> None:
    pass


def _enter(work: Any, about: tuple[Callable[[Any, Any], object], Any]) -> object:
    func, arg = about
    return func(work.payload, arg)


class Near(Cluster):
    """A cluster in this process."""

    def pack(self, queue: Any, work: Any) -> bytes:
        """The work itself instead of its payload."""
        return super().pack(queue, workqueue9.Work(Handle(work)))


@functools.cache
def near() -> Near:
    """One for the process."""
    import distributed

    cluster = distributed.LocalCluster(
        n_workers=1, threads_per_worker=THREADS, processes=False, dashboard_address=":0", silence_logs="CRITICAL"
    )
    client = distributed.Client(cluster, set_as_default=False)
    # It makes a thread for a task while there are fewer than that many: all of them now, so that no test counts them.
    client.gather(client.map(_nothing, range(THREADS)))
    return Near(client)


class OnDask:
    """Claims what the queue keeps at home: not what functions may do at home only, nor enqueues in any context."""

    implementation = "workqueue9 on Dask"
    capabilities = frozenset(
        (
            "await",
            "close",
            "delayed",
            "freeze",
            "jitter",
            "max_active",
            "max_pending",
            "on_error",
            "stats",
            "submit",
            "timeouts",
        )
    )
    usage_error = workqueue9.UsageError
    pending_error = workqueue9.WorkPending
    full_error = workqueue9.Full
    timeout_error = workqueue9.WaitTimeout
    softnet = None
    work = staticmethod(workqueue9.Work)
    cpus = staticmethod(threadpool9.allowed_cpus)

    def __init__(self) -> None:
        near()  # before a test counts threads

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
    ) -> Any:
        """WQ-1."""
        return workqueue9.WorkQueue(
            name,
            _enter if callable(func) else func,
            Kept((func, arg)),
            threadpool9.PRI_NONE if pri is None else pri,
            0,
            max_active,
            max_pending,
            on_error,
            backend=near(),
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
