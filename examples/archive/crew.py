"""What packing, verifying and restoring have in common: a bounded queue on all CPUs, and who fills it (workqueue9)."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from typing import Any

from stopping import Stop

import threadpool9
import workqueue9

NAMED_PER_CPU = 16
"""Works that may wait, for each CPU, where they hold names only: so many that who fills the queue is seldom woken."""

LOADED_PER_CPU = 4
"""The same where they hold data: enough to bridge the time until who fills the queue runs again."""

_SLICE = 0.1  # seconds until somebody who waits looks whether to stop


def bounded(name: str, function: Callable[[Any, Any], object], arg: object, stop: Stop) -> workqueue9.WorkQueue:
    """A queue that runs as many works at once as there are CPUs, and lets some more wait."""
    cpus = len(threadpool9.allowed_cpus())
    return workqueue9.WorkQueue(
        name, function, arg, max_active=cpus, max_pending=NAMED_PER_CPU * cpus, on_error=stop.fail
    )


def send(queue: workqueue9.WorkQueue, work: workqueue9.Work, stop: Stop) -> bool:
    """Enqueue; waits while the queue is full (WQ-9). False if asked to stop meanwhile."""
    while not stop():
        try:
            return queue.enqueue(work, timeout=_SLICE)
        except workqueue9.Full:
            continue
    return False


def drain(queue: workqueue9.WorkQueue, stop: Stop) -> None:
    """Return once the queue is empty (WQ-6), or we are asked to stop."""
    while not stop():
        try:
            return queue.drain(timeout=_SLICE)
        except threadpool9.WaitTimeout:
            continue


def for_each(
    name: str, works: Iterable[workqueue9.Work], function: Callable[[Any, Any], object], arg: object, stop: Stop
) -> None:
    """Call ``function(work, arg)`` for each work on all CPUs; raises what went wrong with the first that failed."""
    with bounded(name, function, arg, stop) as queue:
        for work in works:
            if not send(queue, work, stop):
                break
    if stop.error is not None:
        raise stop.error


class Tally:
    """A number that several threads add to."""

    def __init__(self) -> None:
        self.value = 0  # written under the lock, read by anyone
        self._lock = threading.Lock()

    def add(self, number: int) -> None:
        """Add `number`. Thread context."""
        with self._lock:
            self.value += number
