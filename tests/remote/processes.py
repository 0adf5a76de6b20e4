"""A second back end (HK-6): a queue whose works run in the processes of a `concurrent.futures.ProcessPoolExecutor`."""

from __future__ import annotations

import pickle
from concurrent.futures import Future, ProcessPoolExecutor
from typing import Any

from workqueue9 import BackendDown, RemoteCall, RemoteGroup, Work


def _enter(packed: bytes) -> tuple[str, bytes]:
    """In the process: call the function with a work that has the payload."""
    import os

    func, payload, arg = pickle.loads(packed)
    return f"process {os.getpid()}", pickle.dumps(func(Work(payload), arg))


class Processes:
    """The back end."""

    def __init__(self, executor: ProcessPoolExecutor) -> None:
        self.executor = executor
        self.down = False

    def open(self, queue: RemoteGroup) -> None:
        """As `Backend.open`."""
        pickle.dumps((queue.func, queue.arg))

    def pack(self, queue: RemoteGroup, work: Work[Any]) -> bytes:
        """As `Backend.pack`."""
        try:
            return pickle.dumps((queue.func, work.payload, queue.arg))
        except Exception as error:
            raise TypeError(f"the payload of {work!r} can't be pickled: {error}") from error

    def start(self, call: RemoteCall) -> None:
        """As `Backend.start`."""
        if self.down:
            raise BackendDown(f"no process runs works of queue {call.queue.name!r}")
        call.leaving()
        future = self.executor.submit(_enter, call.parcel)
        future.add_done_callback(lambda done: self._over(call, done))

    def _over(self, call: RemoteCall, done: Future[tuple[str, bytes]]) -> None:
        if (error := done.exception()) is not None:
            call.failed(error)
        else:
            where, value = done.result()
            call.started(where)
            call.ended(pickle.loads(value))

    def ready(self) -> bool:
        """As `Backend.ready`."""
        return not self.down

    def close(self, queue: RemoteGroup) -> None:
        """As `Backend.close`."""
