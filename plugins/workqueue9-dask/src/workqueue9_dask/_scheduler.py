"""What runs in the scheduler: it remembers the results of works with a key, and says how many workers there are.

A plugin of Dask's, one for all clients, which goes there by value as the workers' code does. What it remembers survives
every worker and is lost with the scheduler. All of it is called by the scheduler's event loop.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

from distributed.diagnostics.plugin import SchedulerPlugin

#: Its name there, which changes with what it does.
NAME = "workqueue9-dask/1"
#: Where it says how many workers there are.
TOPIC = "workqueue9-dask/workers"


class Memory(SchedulerPlugin):
    """The plugin.

    Args:
        limit: bytes of results that it remembers; the oldest are forgotten first. A result of more than a hundredth of
            it is not remembered.
    """

    name = NAME
    idempotent = True

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.size = 0
        self.results: OrderedDict[tuple[str, str], bytes] = OrderedDict()

    async def start(self, scheduler: Any) -> None:
        """As in Dask: it begins."""
        self.truncate = getattr(getattr(scheduler, "_broker", None), "truncate", None)  # Dask has no public name for it
        scheduler.handlers["workqueue9_recall"] = self.recall
        scheduler.handlers["workqueue9_remember"] = self.remember

    async def recall(self, queue: str, key: str) -> bytes | None:
        """The result of what has completed, or None."""
        return self.results.get((queue, key))

    async def remember(self, queue: str, key: str, result: bytes) -> bytes:
        """It has completed; returns the result that counts, which is the first."""
        first = self.results.get((queue, key))
        if first is not None:
            return first
        if (cost := _cost(queue, key, result)) <= self.limit // 100:
            self.results[queue, key] = result
            self.size += cost
        while self.size > self.limit:
            (queue, key), oldest = self.results.popitem(last=False)
            self.size -= _cost(queue, key, oldest)
        return result

    def log_event(self, topic: str, msg: Any) -> None:
        """As in Dask: it was sent to who has subscribed, and is not to be kept."""
        if topic.startswith("workqueue9-dask/") and self.truncate is not None:
            self.truncate(topic)

    def add_worker(self, scheduler: Any, worker: str) -> None:
        """As in Dask."""
        scheduler.log_event(TOPIC, len(scheduler.workers))

    def remove_worker(self, scheduler: Any, worker: str, **kwargs: Any) -> None:
        """As in Dask."""
        scheduler.log_event(TOPIC, len(scheduler.workers))


def _cost(queue: str, key: str, result: bytes) -> int:
    """Bytes that an entry takes, about."""
    return 300 + len(queue) + len(key) + len(result)
